//! The schema's versions in PostgreSQL: each migration runs once, all of them in one transaction, one node at a time.

use keymoat_core::{Digest, Pepper};
use tokio_postgres::{Client, Transaction};

use super::error::failed;
use crate::error::StoreError;
use crate::master_key::Place;
use crate::sqlite::schema::{PEPPER_VERSION, PROOF_TEXT};

/// In order; the position is the version. A migration that was released is never edited.
const MIGRATIONS: [&str; 6] = [
    include_str!("../../migrations/postgres/0001_keys_secrets_tokens.sql"),
    include_str!("../../migrations/postgres/0002_admins_and_overrides.sql"),
    include_str!("../../migrations/postgres/0003_events.sql"),
    include_str!("../../migrations/postgres/0004_key_owner_and_url_client.sql"),
    include_str!("../../migrations/postgres/0005_token_limits.sql"),
    include_str!("../../migrations/postgres/0006_nodes.sql"),
];

/// Whoever opens or migrates holds this lock ("keymoat" in ASCII).
const LOCK: i64 = 0x6b_65_79_6d_6f_61_74;

/// The version that this program knows.
pub(super) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// The version that the database has; 0 where there is nothing of Keymoat.
pub(super) async fn found(client: &Client) -> Result<i64, StoreError> {
    let there = client.query_one("SELECT to_regclass('keymoat.schema_version') IS NOT NULL", &[]).await;
    if !there.and_then(|row| row.try_get(0)).map_err(|error| failed(&error))? {
        return Ok(0);
    }
    let found = client.query_one("SELECT version FROM keymoat.schema_version", &[]).await;
    found.and_then(|row| row.try_get(0)).map_err(|error| failed(&error))
}

/// Brings the schema up to date, or leaves it as it was, and gives the version that was found.
pub(super) async fn migrate(client: &mut Client) -> Result<i64, StoreError> {
    let before = found(client).await?;
    if before == known() {
        return Ok(before);
    }
    refuse_newer(before)?;
    let change = client.transaction().await.map_err(|error| failed(&error))?;
    hold(&change).await?;
    // Another node may have been faster.
    let before = found(change.client()).await?;
    refuse_newer(before)?;
    let run = async {
        if before == 0 {
            change.batch_execute("CREATE SCHEMA IF NOT EXISTS keymoat").await?;
            change
                .batch_execute(
                    "CREATE TABLE keymoat.schema_version (
                         only_row integer PRIMARY KEY CHECK (only_row = 1), version bigint NOT NULL);
                     INSERT INTO keymoat.schema_version (only_row, version) VALUES (1, 0)",
                )
                .await?;
        }
        for migration in MIGRATIONS.iter().skip(usize::try_from(before).unwrap_or(usize::MAX)) {
            change.batch_execute(migration).await?;
        }
        change.execute("UPDATE keymoat.schema_version SET version = $1", &[&known()]).await
    };
    run.await.map_err(|error| refused(&error))?;
    change.commit().await.map_err(|error| failed(&error))?;
    Ok(before)
}

/// Waits for its turn to open or change the schema.
pub(super) async fn hold(change: &Transaction<'_>) -> Result<(), StoreError> {
    let held = async {
        change.batch_execute("SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = '10min'").await?;
        change.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await
    };
    held.await.map(drop).map_err(|error| failed(&error))
}

/// The digest by which the database knows its pepper; none in a new one.
pub(super) async fn proof(client: &Client) -> Result<Option<Vec<u8>>, StoreError> {
    let row = client.query_opt("SELECT proof FROM pepper WHERE version = $1", &[&PEPPER_VERSION]).await;
    row.and_then(|row| row.map(|row| row.try_get(0)).transpose()).map_err(|error| failed(&error))
}

/// Refuses a master key that the stored digests were not made with; a new store remembers its first one.
pub(super) async fn prove_pepper(change: &Transaction<'_>, pepper: &Pepper, place: Place) -> Result<(), StoreError> {
    let Digest(expected) = pepper.digest(PROOF_TEXT);
    match proof(change.client()).await? {
        Some(known) if known == expected => Ok(()),
        Some(_) => Err(StoreError::MasterKeyWrong { place }),
        None => {
            let sql = "INSERT INTO pepper (version, proof) VALUES ($1, $2)";
            let done = change.execute(sql, &[&PEPPER_VERSION, &&expected[..]]).await;
            done.map(drop).map_err(|error| failed(&error))
        }
    }
}

fn refuse_newer(found: i64) -> Result<(), StoreError> {
    if found <= known() { Ok(()) } else { Err(StoreError::SchemaTooNew { found, known: known() }) }
}

/// A role that may read and write rows need not be one that may change the schema.
fn refused(error: &tokio_postgres::Error) -> StoreError {
    if error.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) {
        return StoreError::DatabaseMigration;
    }
    failed(error)
}
