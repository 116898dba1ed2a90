//! Parts of what keys have for a day: what was granted is counted, not what was used.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::share::{Budget, PartAsked, part};

/// Grants a part inside the caller's transaction.
pub(super) fn grant(change: &Connection, asked: &PartAsked) -> Result<u64, StoreError> {
    let sql = "SELECT requests, bytes FROM limit_use WHERE key_id = ?1 AND day = ?2";
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()));
    let counted = change.prepare_cached(sql)?.query_row(params![asked.key_id, asked.day], read).optional()?;
    let (requests, bytes) = counted.unwrap_or_default();
    let taken = match asked.of {
        Budget::Requests => requests,
        Budget::Bytes => bytes,
    };
    let part = part(asked.most, taken, asked.least, asked.plenty);
    if part > 0 {
        let more = i64::try_from(part).unwrap_or(i64::MAX);
        let (requests, bytes) = match asked.of {
            Budget::Requests => (more, 0),
            Budget::Bytes => (0, more),
        };
        change
            .prepare_cached(
                "INSERT INTO limit_use (key_id, day, requests, bytes) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key_id, day) DO UPDATE SET requests = limit_use.requests + excluded.requests,
                 bytes = limit_use.bytes + excluded.bytes",
            )?
            .execute(params![asked.key_id, asked.day, requests, bytes])?;
    }
    Ok(part)
}
