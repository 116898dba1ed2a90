//! The schema's versions: each migration runs once, all of them in one transaction.

use keymoat_core::{Digest, Pepper};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::error::StoreError;
use crate::master_key::Place;

/// In order; the position is the version. A migration that was released is never edited.
const MIGRATIONS: [&str; 9] = [
    include_str!("../../migrations/0001_keys.sql"),
    include_str!("../../migrations/0002_upstream_secrets.sql"),
    include_str!("../../migrations/0003_tokens.sql"),
    include_str!("../../migrations/0004_key_life.sql"),
    include_str!("../../migrations/0005_admins.sql"),
    include_str!("../../migrations/0006_route_overrides.sql"),
    include_str!("../../migrations/0007_key_owner.sql"),
    include_str!("../../migrations/0008_token_limits.sql"),
    include_str!("../../migrations/0009_nodes.sql"),
];

/// The pepper that new digests are made with.
pub(crate) const PEPPER_VERSION: i64 = 1;

/// What is digested to tell one pepper from another. No credential has this form.
pub(crate) const PROOF_TEXT: &[u8] = b"keymoat pepper proof v1";

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

/// The version on the disk, and the one that is known here.
pub(crate) fn of_folder(dir: &std::path::Path) -> Result<(i64, i64), StoreError> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(dir.join("keymoat.db"), flags)?;
    let known = i64::try_from(MIGRATIONS.len()).expect("there are few migrations");
    Ok((database.pragma_query_value(None, "user_version", |row| row.get(0))?, known))
}

/// Refuses a master key that the stored digests were not made with; a new store remembers its first one.
pub(super) fn prove_pepper(connection: &mut Connection, pepper: &Pepper, place: Place) -> Result<(), StoreError> {
    let Digest(proof) = pepper.digest(PROOF_TEXT);
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known: Option<[u8; 32]> = change
        .query_row("SELECT proof FROM pepper WHERE version = ?1", [PEPPER_VERSION], |row| row.get(0))
        .optional()?;
    match known {
        Some(known) if known == proof => Ok(()),
        Some(_) => Err(StoreError::MasterKeyWrong { place }),
        None => {
            change.execute("INSERT INTO pepper (version, proof) VALUES (?1, ?2)", params![PEPPER_VERSION, proof])?;
            change.commit()?;
            Ok(())
        }
    }
}
