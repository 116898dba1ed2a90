//! The schema's versions: each migration runs once, all of them in one transaction.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// In order; the position is the version. A migration that was released is never edited.
const MIGRATIONS: [&str; 2] = [
    include_str!("../../migrations/events/0001_events.sql"),
    include_str!("../../migrations/events/0002_url_client_and_types.sql"),
];

/// Brings the schema up to date, or leaves it as it was.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).expect("there are few migrations");
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found == known {
        return Ok(());
    }
    let done = usize::try_from(found).ok().filter(|_| found < known);
    let Some(done) = done else { return Err(StoreError::SchemaTooNew { found, known }) };
    for migration in MIGRATIONS.iter().skip(done) {
        change.execute_batch(migration)?;
    }
    change.pragma_update(None, "user_version", known)?;
    change.commit()?;
    Ok(())
}
