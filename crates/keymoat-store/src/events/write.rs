//! Appends events: their numbers, rows and counts in one transaction.

use keymoat_core::Event;
use keymoat_core::refusal::Code;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::Entry;
use super::count::Tally;
use crate::error::StoreError;

pub(super) fn append(connection: &mut Connection, entries: &[Entry<'_>]) -> Result<u64, StoreError> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let first: i64 = change.query_row("SELECT seq FROM next_event WHERE id = 1", [], |row| row.get(0))?;
    let mut next = first;
    let mut tally = Tally::default();
    for (place, entry) in entries.iter().enumerate() {
        insert(&change, next, entry)?;
        next += 1;
        if let Event::Decision(record) = entry.event {
            tally.count(place, record);
        }
    }
    change.prepare_cached("UPDATE next_event SET seq = ?1 WHERE id = 1")?.execute([next])?;
    tally.write(first, &change)?;
    change.commit()?;
    Ok(u64::try_from(first).unwrap_or_default())
}

fn insert(change: &Transaction<'_>, seq: i64, entry: &Entry<'_>) -> Result<(), StoreError> {
    let Entry { at, event, body } = entry;
    let record = event.record();
    let decided = match event {
        Event::Decision(record) => Some(record),
        Event::Begun(_) | Event::Act(_) | Event::Lost(_) => None,
    };
    let sql = "INSERT INTO event (seq, at, kind, type, severity, outcome, code, route, carrier, key_id, token_id, body) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    change.prepare_cached(sql)?.execute(params![
        seq,
        at.0,
        event.kind().word(),
        event.word(),
        event.severity() as i64,
        decided.map(|record| record.outcome.word()),
        decided.and_then(|record| record.code).map(Code::word),
        record.and_then(|record| record.route.as_deref()),
        record.and_then(|record| record.carrier.as_ref()).map(ToString::to_string),
        key_id(event),
        record.and_then(|record| record.token_id.as_deref()),
        body,
    ])?;
    Ok(())
}

/// The key that an event is about. What an act names may be anything, so only what has the form of a key's id counts.
pub(crate) fn key_id(event: &Event) -> Option<&str> {
    match event {
        Event::Begun(record) | Event::Decision(record) => record.key_id.as_deref(),
        Event::Act(act) => act.target.as_deref().filter(|target| is_key_id(target)),
        Event::Lost(_) => None,
    }
}

/// `key_` and a few letters and digits (`crate::id`).
fn is_key_id(text: &str) -> bool {
    let rest = text.strip_prefix("key_");
    rest.is_some_and(|rest| rest.len() <= 32 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_are_taken_for_ids() {
        assert!(is_key_id("key_r3pk1shfmy30"));
        assert!(!is_key_id("backend") && !is_key_id("key_a secret") && !is_key_id(&format!("key_{}", "a".repeat(40))));
    }
}
