//! Copies a store into another one, of whichever backend: everything but the tokens, which live for minutes.
//!
//! Both schemas have the same tables and columns, so the rows are carried over as they are: digests stay good under the
//! same master key, and so do sealed secrets.

use crate::Store;
use crate::error::StoreError;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Text,
    Bytes,
}

/// A value on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// A table that is copied whole, in this order.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, Kind)],
    /// In which order rows were made, so that they keep it.
    pub(crate) order: &'static str,
}

/// All rows of a table.
pub(crate) type Rows = Vec<Vec<Value>>;

/// How much was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Keys, the revoked ones too.
    pub keys: usize,
    /// Sealed secrets, the retired ones too.
    pub secrets: usize,
    /// Those who may administer.
    pub admins: usize,
    /// Overrides of routes.
    pub overrides: usize,
}

use self::Kind::{Bytes, Number, Text};

/// What is copied. Claim links, orders of the API and tokens are for the moment, and stay behind.
pub(crate) const TABLES: [Table; 7] = [
    Table {
        name: "api_key",
        columns: &[
            ("id", Text),
            ("name", Text),
            ("scopes", Text),
            ("created_at", Number),
            ("expires_at", Number),
            ("revoked_at", Number),
            ("rotate_at", Number),
            ("rotate_age", Number),
            ("requests_per_second", Number),
            ("burst", Number),
            ("requests_per_day", Number),
            ("bytes_per_day", Number),
            ("sessions_max", Number),
            ("session_duration_secs", Number),
            ("session_bytes", Number),
            ("models", Text),
            ("owner", Text),
        ],
        order: "created_at, id",
    },
    Table {
        name: "api_key_secret",
        columns: &[
            ("digest", Bytes),
            ("pepper_version", Number),
            ("api_key_id", Text),
            ("created_at", Number),
            ("id", Text),
            ("number", Number),
            ("ends_at", Number),
            ("prefix", Text),
        ],
        order: "api_key_id, number",
    },
    Table {
        name: "upstream_secret",
        columns: &[
            ("upstream", Text),
            ("version", Number),
            ("kek_id", Bytes),
            ("wrapped_dek", Bytes),
            ("sealed", Bytes),
            ("created_at", Number),
            ("retired_at", Number),
        ],
        order: "upstream, version",
    },
    Table {
        name: "limit_use",
        columns: &[("key_id", Text), ("day", Number), ("requests", Number), ("bytes", Number)],
        order: "key_id, day",
    },
    Table {
        name: "admin",
        columns: &[
            ("id", Text),
            ("name", Text),
            ("role", Text),
            ("digest", Bytes),
            ("password", Text),
            ("created_at", Number),
            ("expires_at", Number),
            ("removed_at", Number),
            ("version", Number),
        ],
        order: "created_at, id",
    },
    Table {
        name: "route_override",
        columns: &[
            ("route", Text),
            ("query", Text),
            ("carriers", Text),
            ("sunset", Number),
            ("made_at", Number),
            ("made_by", Text),
            ("note", Text),
        ],
        order: "route",
    },
    Table {
        name: "sunset_reached",
        columns: &[("route", Text), ("sunset", Number), ("noted_at", Number)],
        order: "route, sunset",
    },
];

impl Table {
    pub(crate) fn select(&self) -> String {
        format!("SELECT {} FROM {} ORDER BY {}", self.names(), self.name, self.order)
    }

    /// With `$1` and so on in the place of values, which both backends take.
    pub(crate) fn insert(&self) -> String {
        let places: Vec<String> = (1..=self.columns.len()).map(|place| format!("${place}")).collect();
        format!("INSERT INTO {} ({}) VALUES ({})", self.name, self.names(), places.join(", "))
    }

    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

impl Store {
    /// Copies everything but tokens into `target`, which has to be empty and opened with the same master key. The copy is
    /// of one moment, and all or nothing.
    ///
    /// Tokens stay behind, because one that is used in both would have its uses twice: whoever holds one mints another.
    ///
    /// # Errors
    /// [`StoreError::CopyTargetUsed`] when there is anything in `target`, [`StoreError::CopyMasterKey`] when it has
    /// another master key, and whatever either store refuses.
    pub fn copy_into(&self, target: &Self) -> Result<Copied, StoreError> {
        let proof = b"keymoat store copy v1";
        if self.pepper().digest(proof) != target.pepper().digest(proof) {
            return Err(StoreError::CopyMasterKey);
        }
        let rows = match self {
            Self::Sqlite(sqlite) => sqlite.rows()?,
            Self::Postgres(postgres) => postgres.rows()?,
        };
        let count =
            |name| TABLES.iter().zip(&rows).find(|(table, _)| table.name == name).map_or(0, |(_, rows)| rows.len());
        let copied = Copied {
            keys: count("api_key"),
            secrets: count("upstream_secret"),
            admins: count("admin"),
            overrides: count("route_override"),
        };
        match target {
            Self::Sqlite(sqlite) => sqlite.fill(&rows)?,
            Self::Postgres(postgres) => postgres.fill(rows)?,
        }
        Ok(copied)
    }
}
