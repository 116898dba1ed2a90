//! Overrides of routes: statements, and what the store does with them.

use std::sync::Arc;

use keymoat_core::{OverrideFields, RouteOverride, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{Sqlite, held, keys};
use crate::error::StoreError;

/// What is read of an override, in the order of [`read`].
const COLUMNS: &str = "route, query, carriers, sunset, made_at, made_by, note";

impl Sqlite {
    pub(crate) fn override_route(&self, over: &RouteOverride) -> Result<(), StoreError> {
        let fields = &over.fields;
        if fields.is_empty() || fields.read_carriers().is_err() {
            return Err(StoreError::OverrideSenseless);
        }
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute("DELETE FROM route_override WHERE route = ?1", [&over.route])?;
        change.execute(
            "INSERT INTO route_override (route, query, carriers, sunset, made_at, made_by, note)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                over.route,
                fields.query.map(keymoat_core::QueryPolicy::word),
                fields.carriers.as_ref().map(|carriers| carriers.join("\n")),
                fields.sunset.map(|sunset| sunset.0),
                over.made_at.0,
                over.made_by,
                over.note,
            ],
        )?;
        keys::count_change(&change)?;
        change.commit()?;
        Ok(())
    }

    pub(crate) fn remove_override(&self, route: &str) -> Result<RouteOverride, StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let removed = change
            .query_row(&format!("SELECT {COLUMNS} FROM route_override WHERE route = ?1"), [route], read)
            .optional()?
            .ok_or(StoreError::OverrideUnknown)?;
        change.execute("DELETE FROM route_override WHERE route = ?1", [route])?;
        keys::count_change(&change)?;
        change.commit()?;
        Ok(removed)
    }

    pub(crate) fn route_overrides(&self) -> Result<Vec<RouteOverride>, StoreError> {
        all(&held(&self.reader))
    }

    pub(crate) fn note_sunset(&self, route: &str, sunset: UnixMillis, now: UnixMillis) -> Result<bool, StoreError> {
        self.refuse_replaced()?;
        let noted = held(&self.writer).execute(
            "INSERT INTO sunset_reached (route, sunset, noted_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![route, sunset.0, now.0],
        )?;
        Ok(noted > 0)
    }
}

/// All overrides, by route.
pub(super) fn all(connection: &Connection) -> Result<Vec<RouteOverride>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM route_override ORDER BY route"))?;
    let overrides = statement.query_map([], read)?;
    Ok(overrides.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<RouteOverride> {
    let query: Option<String> = row.get(1)?;
    let carriers: Option<String> = row.get(2)?;
    Ok(RouteOverride {
        route: row.get(0)?,
        fields: OverrideFields {
            // The schema allows no other words.
            query: query.and_then(|word| word.parse().ok()),
            carriers: carriers.map(|lines| lines.lines().map(Arc::from).collect()),
            sunset: row.get::<_, Option<i64>>(3)?.map(UnixMillis),
        },
        made_at: UnixMillis(row.get(4)?),
        made_by: row.get(5)?,
        note: row.get(6)?,
    })
}
