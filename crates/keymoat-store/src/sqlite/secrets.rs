//! The upstreams' sealed secrets: statements, and what the store does with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use keymoat_core::{Secret, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{Sqlite, held, keys};
use crate::error::StoreError;
use crate::seal::{self, Kek, KekId, Sealed};
use crate::upstream_secret::{SealedSecret, SecretChange, SecretState, check_name, check_secret};

/// The version of each upstream's secret that a watch has seen.
pub(crate) type Versions = BTreeMap<Arc<str>, u32>;

/// What must be there before a secret is sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// No secret of this upstream.
    Nothing,
    /// One, which is retired.
    Secret,
}

impl Sqlite {
    pub(crate) fn seal_secret(
        &self,
        upstream: &str,
        before: Before,
        secret: &Secret,
        now: UnixMillis,
    ) -> Result<SealedSecret, StoreError> {
        check_name(upstream)?;
        check_secret(secret)?;
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let retired = retire(&change, upstream, now)?;
        match (before, retired.is_some()) {
            (Before::Nothing, true) => return Err(StoreError::SecretExists { upstream: upstream.to_owned() }),
            (Before::Secret, false) => return Err(StoreError::SecretUnknown),
            _ => {}
        }
        let version = next_version(&change, upstream)?;
        let sealed = self.kek.seal(seal::Row { upstream, version }, secret)?;
        change.execute(
            "INSERT INTO upstream_secret (upstream, version, kek_id, wrapped_dek, sealed, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![upstream, version, sealed.kek_id.0, sealed.wrapped_dek, sealed.sealed, now.0],
        )?;
        keys::count_change(&change)?;
        change.commit()?;
        Ok(SealedSecret { upstream: upstream.into(), version, created_at: now, retired_at: None })
    }

    pub(crate) fn remove_secret(&self, upstream: &str, now: UnixMillis) -> Result<SealedSecret, StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let removed = retire(&change, upstream, now)?.ok_or(StoreError::SecretUnknown)?;
        keys::count_change(&change)?;
        change.commit()?;
        Ok(removed)
    }

    pub(crate) fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, StoreError> {
        let reader = held(&self.reader);
        let mut statement = reader.prepare_cached(
            "SELECT upstream, version, created_at, retired_at FROM upstream_secret ORDER BY upstream, version",
        )?;
        let secrets = statement.query_map([], read_dates)?;
        Ok(secrets.collect::<Result<_, _>>()?)
    }

    pub(crate) fn open_secret(&self, upstream: &str) -> Result<Option<(u32, Secret)>, StoreError> {
        let Some((version, sealed)) = live(&held(&self.reader), upstream)? else { return Ok(None) };
        Ok(Some((version, self.kek.open(seal::Row { upstream, version }, &sealed)?)))
    }
}

/// The upstreams whose version is another one than `seen` has, opened; `seen` follows only when all could be read.
pub(super) fn changes(
    connection: &Connection,
    kek: &Kek,
    seen: &mut Versions,
) -> Result<Vec<SecretChange>, StoreError> {
    let now = live_versions(connection)?;
    let mut changes = Vec::new();
    for (upstream, version) in now.iter().filter(|(upstream, version)| seen.get(*upstream) != Some(version)) {
        let Some((_, sealed)) = live(connection, upstream)? else { continue };
        let row = seal::Row { upstream, version: *version };
        let becomes = match kek.open(row, &sealed) {
            Ok(secret) => SecretState::Opened { version: *version, secret },
            Err(error) => SecretState::Unopenable(error),
        };
        changes.push(SecretChange { upstream: Arc::clone(upstream), becomes });
    }
    let removed = seen.keys().filter(|upstream| !now.contains_key(*upstream));
    changes
        .extend(removed.map(|upstream| SecretChange { upstream: Arc::clone(upstream), becomes: SecretState::Removed }));
    *seen = now;
    Ok(changes)
}

fn live_versions(connection: &Connection) -> Result<Versions, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT upstream, version FROM upstream_secret WHERE retired_at IS NULL")?;
    let versions = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(versions.collect::<Result<_, _>>()?)
}

fn live(connection: &Connection, upstream: &str) -> Result<Option<(u32, Sealed)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT version, kek_id, wrapped_dek, sealed FROM upstream_secret WHERE upstream = ?1 AND retired_at IS NULL",
    )?;
    Ok(statement.query_row([upstream], read_sealed).optional()?)
}

fn read_sealed(row: &Row<'_>) -> rusqlite::Result<(u32, Sealed)> {
    Ok((row.get(0)?, Sealed { kek_id: KekId(row.get(1)?), wrapped_dek: row.get(2)?, sealed: row.get(3)? }))
}

fn read_dates(row: &Row<'_>) -> rusqlite::Result<SealedSecret> {
    Ok(SealedSecret {
        upstream: row.get(0)?,
        version: row.get(1)?,
        created_at: UnixMillis(row.get(2)?),
        retired_at: row.get::<_, Option<i64>>(3)?.map(UnixMillis),
    })
}

/// Leaves the dates of the live version, if there is one, and nothing to open.
fn retire(connection: &Connection, upstream: &str, now: UnixMillis) -> Result<Option<SealedSecret>, StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE upstream_secret SET retired_at = ?2, wrapped_dek = NULL, sealed = NULL
         WHERE upstream = ?1 AND retired_at IS NULL RETURNING upstream, version, created_at, retired_at",
    )?;
    Ok(statement.query_row(params![upstream, now.0], read_dates).optional()?)
}

fn next_version(connection: &Connection, upstream: &str) -> Result<u32, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT coalesce(max(version), 0) + 1 FROM upstream_secret WHERE upstream = ?1")?;
    Ok(statement.query_row([upstream], |row| row.get(0))?)
}
