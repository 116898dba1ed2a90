//! Reads events: pages of them, newest first, and what follows a number.

use keymoat_core::UnixMillis;
use keymoat_core::event::{Kind, Severity};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::filter::{Filter, SCAN_MAX};
use super::{Kept, unsigned};
use crate::error::StoreError;

/// Some events, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The events.
    pub items: Vec<Kept>,
    /// With which `before` the next page is read, when there may be one.
    pub next: Option<u64>,
}

const COLUMNS: &str = "seq, at, kind, type, severity, body";

pub(super) fn page(
    connection: &mut Connection,
    filter: &Filter,
    before: Option<u64>,
    limit: usize,
) -> Result<Page, StoreError> {
    let moment = connection.transaction()?;
    let limit = limit.clamp(1, SCAN_MAX);
    let below = match (before, filter.to) {
        (before, Some(to)) => number(before).min(first_at_or_after(&moment, to)?),
        (before, None) => number(before),
    };
    let least = match filter.from {
        Some(from) => first_at_or_after(&moment, from)?,
        None => 0,
    };
    // Mostly a few are enough; more are looked at only where they are not.
    let few = (4 * limit).min(SCAN_MAX);
    let page = looked_through(&moment, filter, (below, least), (few, limit))?;
    if page.items.len() == limit || page.next.is_none() || few == SCAN_MAX {
        return Ok(page);
    }
    looked_through(&moment, filter, (below, least), (SCAN_MAX, limit))
}

/// What matches of the newest `scan` events between two numbers, and where to go on if there were as many.
fn looked_through(
    moment: &Connection,
    filter: &Filter,
    (below, least): (i64, i64),
    (scan, limit): (usize, usize),
) -> Result<Page, StoreError> {
    let (driving, whole) = (filter.driving(), filter.whole());
    // The inner part reads an index only, and a bounded part of it.
    let looked_at =
        format!("SELECT seq FROM event WHERE seq < ? AND seq >= ?{} ORDER BY seq DESC LIMIT {scan}", driving.sql);
    let bounds = || [Value::from(below), Value::from(least)].into_iter().chain(driving.values.iter().cloned());
    let sql = format!(
        "SELECT {COLUMNS} FROM event WHERE seq IN ({looked_at}){} ORDER BY seq DESC LIMIT {}",
        whole.sql,
        limit + 1
    );
    let values = bounds().chain(whole.values.iter().cloned());
    let mut statement = moment.prepare_cached(&sql)?;
    let mut items = statement.query_map(params_from_iter(values), kept)?.collect::<Result<Vec<_>, _>>()?;
    if items.len() > limit {
        items.truncate(limit);
        let next = items.last().map(|last| last.seq);
        return Ok(Page { items, next });
    }
    let sql = format!("SELECT count(*), min(seq) FROM ({looked_at})");
    let counted = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?));
    let (looked_at, lowest) = moment.prepare_cached(&sql)?.query_row(params_from_iter(bounds()), counted)?;
    Ok(Page { items, next: lowest.filter(|_| looked_at == scan as i64).map(i64::unsigned_abs) })
}

pub(super) fn one(connection: &Connection, seq: u64) -> Result<Option<Kept>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM event WHERE seq = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([number(Some(seq))], kept).optional()?)
}

pub(super) fn since(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Kept>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(statement.query_map(params![number(Some(after)), limit], kept)?.collect::<Result<_, _>>()?)
}

pub(super) fn last_seq(connection: &Connection) -> Result<u64, StoreError> {
    let next =
        connection.prepare_cached("SELECT seq FROM next_event WHERE id = 1")?.query_row([], |row| unsigned(row, 0))?;
    Ok(next.saturating_sub(1))
}

/// The number of the first event that was written down at `at` or later, or the number that the next one will have.
/// Times follow the numbers and numbers have no gaps, so that halving finds it without an index.
pub(super) fn first_at_or_after(connection: &Connection, at: UnixMillis) -> Result<i64, StoreError> {
    let bounds = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
    let sql = "SELECT (SELECT min(seq) FROM event), (SELECT max(seq) FROM event)";
    let (Some(mut low), Some(high)) = connection.prepare_cached(sql)?.query_row([], bounds)? else {
        return Ok(i64::MAX);
    };
    let mut high = high + 1;
    let mut time_of = connection.prepare_cached("SELECT at FROM event WHERE seq = ?1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let then: Option<i64> = time_of.query_row([middle], |row| row.get(0)).optional()?;
        if then.is_some_and(|then| then >= at.0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

fn number(seq: Option<u64>) -> i64 {
    seq.and_then(|seq| i64::try_from(seq).ok()).unwrap_or(i64::MAX)
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let (kind, word, severity, body): (String, String, i64, String) =
        (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
    Ok(Kept {
        seq: unsigned(row, 0)?,
        at: UnixMillis(row.get(1)?),
        // What a later version may have added is an act to this one.
        kind: Kind::from_word(&kind).unwrap_or(Kind::Act),
        word: word.into(),
        severity: usize::try_from(severity)
            .ok()
            .and_then(|at| Severity::ALL.get(at))
            .copied()
            .unwrap_or(Severity::Critical),
        body: body.into(),
    })
}
