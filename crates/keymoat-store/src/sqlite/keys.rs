//! The statements about keys. All of them run inside the caller's transaction.

use std::collections::HashMap;
use std::sync::Arc;

use keymoat_core::{Digest, Key, Scopes, UnixMillis};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use super::schema::PEPPER_VERSION;
use crate::error::StoreError;

/// Stores a key and the digest of its first secret.
pub(super) fn insert(connection: &Connection, key: &Key, digest: &Digest) -> Result<(), StoreError> {
    let name_taken = "SELECT 1 FROM api_key WHERE name = ?1 AND revoked_at IS NULL";
    if connection.prepare_cached(name_taken)?.exists([&key.name])? {
        return Err(StoreError::NameTaken { name: key.name.to_string() });
    }
    connection.execute(
        "INSERT INTO api_key (id, name, scopes, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![key.id, key.name, key.scopes.words().join(" "), key.created_at.0, key.expires_at.map(|at| at.0)],
    )?;
    let stored = connection.execute(
        "INSERT INTO api_key_secret (digest, pepper_version, api_key_id, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![digest.0, PEPPER_VERSION, key.id, key.created_at.0],
    );
    match stored {
        Err(refused) if refused.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(StoreError::SecretTaken)
        }
        stored => Ok(stored.map(drop)?),
    }
}

/// All keys, oldest first.
pub(super) fn all(connection: &Connection) -> Result<Vec<Key>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, scopes, created_at, expires_at, revoked_at FROM api_key ORDER BY created_at, rowid",
    )?;
    let keys = statement.query_map([], read_key)?.collect::<Result<_, _>>()?;
    Ok(keys)
}

/// The key with this id, or the live or last revoked one with this name.
pub(super) fn find(connection: &Connection, id_or_name: &str) -> Result<Key, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, scopes, created_at, expires_at, revoked_at FROM api_key WHERE id = ?1 OR name = ?1
         ORDER BY id = ?1 DESC, revoked_at IS NULL DESC, revoked_at DESC, rowid DESC LIMIT 1",
    )?;
    statement.query_row([id_or_name], read_key).optional()?.ok_or(StoreError::KeyUnknown)
}

/// Marks a live key as revoked.
pub(super) fn revoke(connection: &Connection, id: &str, now: UnixMillis) -> Result<(), StoreError> {
    connection
        .execute("UPDATE api_key SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL", params![id, now.0])?;
    Ok(())
}

/// Every digest with its key. Both secrets of a key that is being rotated lead to the same one.
pub(super) fn by_digest(connection: &Connection) -> Result<HashMap<Digest, Arc<Key>>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, scopes, api_key.created_at, expires_at, revoked_at, digest
         FROM api_key JOIN api_key_secret ON api_key_id = id WHERE pepper_version = ?1 ORDER BY id",
    )?;
    let mut rows = statement.query([PEPPER_VERSION])?;
    let mut keys = HashMap::new();
    let mut last: Option<Arc<Key>> = None;
    while let Some(row) = rows.next()? {
        let key = read_key(row)?;
        let key = last.take().filter(|last| last.id == key.id).unwrap_or_else(|| Arc::new(key));
        keys.insert(Digest(row.get(6)?), Arc::clone(&key));
        last = Some(key);
    }
    Ok(keys)
}

/// How many changes were committed so far.
pub(super) fn change_seq(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.prepare_cached("SELECT seq FROM change")?.query_row([], |row| row.get(0))?)
}

/// Counts the change that the transaction makes, so that watchers see it.
pub(super) fn count_change(connection: &Connection) -> Result<(), StoreError> {
    connection.execute("UPDATE change SET seq = seq + 1", [])?;
    Ok(())
}

fn read_key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let scopes: String = row.get(2)?;
    Ok(Key {
        id: row.get(0)?,
        name: row.get(1)?,
        scopes: Scopes::from_words(scopes.split_whitespace()),
        created_at: UnixMillis(row.get(3)?),
        expires_at: row.get::<_, Option<i64>>(4)?.map(UnixMillis),
        revoked_at: row.get::<_, Option<i64>>(5)?.map(UnixMillis),
    })
}
