//! Deletes what is older than it has to be, a bounded slice at a time.

use keymoat_core::UnixMillis;
use rusqlite::{Connection, TransactionBehavior, params};

use super::read::first_at_or_after;
use super::usage::{KEY_HOURS_KEPT_MILLIS, Span};
use crate::error::StoreError;

/// So many rows are deleted at once.
pub(crate) const SLICE: i64 = 1_000;

/// Counts are kept for so long.
pub(crate) const COUNTS_KEPT_MILLIS: i64 = 400 * Span::Day.millis();

/// How long events are kept, and how many of them. Counts stay for 400 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds.
    pub keep_millis: i64,
    /// The newest so many.
    pub keep_max: u64,
}

pub(super) fn forget(connection: &mut Connection, retention: Retention, now: UnixMillis) -> Result<bool, StoreError> {
    let Retention { keep_millis, keep_max } = retention;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let old = first_at_or_after(&change, now.plus_millis(keep_millis.saturating_neg()))?;
    let next: i64 = change.query_row("SELECT seq FROM next_event WHERE id = 1", [], |row| row.get(0))?;
    let beyond = next.saturating_sub(i64::try_from(keep_max).unwrap_or(i64::MAX));
    let first: Option<i64> = change.query_row("SELECT min(seq) FROM event", [], |row| row.get(0))?;
    let end = old.min(next).max(beyond);
    let mut more = false;
    if let Some(first) = first.filter(|first| *first < end) {
        let slice_end = end.min(first.saturating_add(SLICE));
        change.prepare_cached("DELETE FROM event WHERE seq < ?1")?.execute([slice_end])?;
        more = slice_end < end;
    }
    let counts_from = now.plus_millis(-COUNTS_KEPT_MILLIS);
    let key_hours_from = now.plus_millis(-KEY_HOURS_KEPT_MILLIS);
    for (table, column, from) in [
        ("usage_hour", "start", counts_from),
        ("usage_day", "start", counts_from),
        ("usage_key_hour", "start", key_hours_from),
        ("usage_key_day", "start", counts_from),
        ("last_seen", "last_at", counts_from),
        ("url_client", "last_at", counts_from),
    ] {
        more |= delete_slice(&change, table, column, from)?;
    }
    change.commit()?;
    Ok(more)
}

/// Deletes the oldest rows, whole moments at a time.
fn delete_slice(change: &Connection, table: &str, column: &str, from: UnixMillis) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT max({column}), count(*) FROM \
         (SELECT {column} FROM {table} WHERE {column} < ?1 ORDER BY {column} LIMIT ?2)"
    );
    let (last, count): (Option<i64>, i64) =
        change.prepare_cached(&sql)?.query_row(params![from.0, SLICE], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(last) = last else { return Ok(false) };
    change.prepare_cached(&format!("DELETE FROM {table} WHERE {column} <= ?1"))?.execute([last])?;
    Ok(count == SLICE)
}
