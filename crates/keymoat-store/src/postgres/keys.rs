//! The statements about keys. Those that change something run inside the caller's transaction.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::{Client, GenericClient, Transaction};
use keymoat_core::{Digest, Key, Scopes, UnixMillis};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::error::failed;
use crate::error::StoreError;
use crate::sqlite::schema::PEPPER_VERSION;

/// A count of changes, and which history it belongs to.
pub(crate) type ChangeMark = (i64, String);

/// Starts every statement that reads keys with [`read_key`].
macro_rules! select {
    ($($rest:literal)*) => {
        concat!("SELECT id, name, scopes, api_key.created_at, expires_at, revoked_at ", $($rest),*)
    };
}

/// Stores a key and the digest of its first secret.
pub(super) async fn insert(change: &Transaction<'_>, key: &Key, digest: &Digest) -> Result<(), StoreError> {
    let taken = "SELECT FROM api_key WHERE name = $1 AND revoked_at IS NULL";
    let taken = change.query_opt(taken, &[&&*key.name]).await.map_err(|error| failed(&error))?;
    let name_taken = || StoreError::NameTaken { name: key.name.to_string() };
    if taken.is_some() {
        return Err(name_taken());
    }
    let expires_at = key.expires_at.map(|at| at.0);
    let sql = "INSERT INTO api_key (id, name, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
    let words = key.scopes.words().join(" ");
    let done = change.execute(sql, &[&&*key.id, &&*key.name, &words, &key.created_at.0, &expires_at]).await;
    done.map_err(|error| if is_taken(&error) { name_taken() } else { failed(&error) })?;
    let sql = "INSERT INTO api_key_secret (digest, pepper_version, api_key_id, created_at) VALUES ($1, $2, $3, $4)";
    let done = change.execute(sql, &[&&digest.0[..], &PEPPER_VERSION, &&*key.id, &key.created_at.0]).await;
    done.map(drop).map_err(|error| if is_taken(&error) { StoreError::SecretTaken } else { failed(&error) })
}

/// All keys, oldest first.
pub(super) async fn all(client: &Client) -> Result<Vec<Key>, StoreError> {
    let rows = client.query(select!("FROM api_key ORDER BY created_at, number"), &[]).await;
    rows.and_then(|rows| rows.iter().map(read_key).collect()).map_err(|error| failed(&error))
}

/// The key with this id, or the live or last revoked one with this name.
pub(super) async fn find(moment: &Transaction<'_>, id_or_name: &str) -> Result<Key, StoreError> {
    let sql = select!(
        "FROM api_key WHERE id = $1 OR name = $1
         ORDER BY id = $1 DESC, revoked_at IS NULL DESC, revoked_at DESC, number DESC LIMIT 1"
    );
    let row = moment.query_opt(sql, &[&id_or_name]).await.map_err(|error| failed(&error))?;
    read_key(&row.ok_or(StoreError::KeyUnknown)?).map_err(|error| failed(&error))
}

/// Marks a key as revoked, unless it was before, and gives since when it is.
pub(super) async fn revoke(change: &Transaction<'_>, id: &str, now: UnixMillis) -> Result<UnixMillis, StoreError> {
    let sql = "UPDATE api_key SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING revoked_at";
    let row = change.query_one(sql, &[&id, &now.0]).await;
    row.and_then(|row| row.try_get(0)).map(UnixMillis).map_err(|error| failed(&error))
}

/// Every digest with its key. Both secrets of a key that is being rotated lead to the same one.
pub(super) async fn by_digest(moment: &Transaction<'_>) -> Result<HashMap<Digest, Arc<Key>>, StoreError> {
    let sql = "SELECT id, name, scopes, api_key.created_at, expires_at, revoked_at, digest
               FROM api_key JOIN api_key_secret ON api_key_id = id WHERE pepper_version = $1 ORDER BY id";
    let rows = moment.query(sql, &[&PEPPER_VERSION]).await.map_err(|error| failed(&error))?;
    let mut keys = HashMap::with_capacity(rows.len());
    let mut last: Option<Arc<Key>> = None;
    for row in &rows {
        let key = read_key(row).map_err(|error| failed(&error))?;
        let key = last.take().filter(|last| last.id == key.id).unwrap_or_else(|| Arc::new(key));
        keys.insert(digest(row, 6)?, Arc::clone(&key));
        last = Some(key);
    }
    Ok(keys)
}

/// How many changes were committed so far, and in which history.
pub(super) async fn change_mark(client: &Client) -> Result<ChangeMark, StoreError> {
    mark_of(client).await
}

/// The same, as of the moment that is being read.
pub(super) async fn change_mark_in(moment: &Transaction<'_>) -> Result<ChangeMark, StoreError> {
    mark_of(moment).await
}

async fn mark_of(client: &impl GenericClient) -> Result<ChangeMark, StoreError> {
    let read = async {
        let statement = client.prepare_cached("SELECT seq, mark::text FROM change").await?;
        let row = client.query_one(&statement, &[]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    };
    read.await.map_err(|error: tokio_postgres::Error| failed(&error))
}

/// Counts the change that the transaction makes, and announces it at its commit. The count's row stays locked until
/// then, so that counts are in the order of commits.
pub(super) async fn count_change(change: &Transaction<'_>) -> Result<(), StoreError> {
    let sql = "UPDATE change SET seq = seq + 1, mark = gen_random_uuid(); SELECT pg_notify('keymoat_change', '')";
    change.batch_execute(sql).await.map_err(|error| failed(&error))
}

/// A digest in a column. Another length is damage.
pub(super) fn digest(row: &Row, column: usize) -> Result<Digest, StoreError> {
    let bytes: &[u8] = row.try_get(column).map_err(|error| failed(&error))?;
    bytes.try_into().map(Digest).map_err(|_| StoreError::DatabaseDamaged)
}

pub(super) fn is_taken(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

fn read_key(row: &Row) -> Result<Key, tokio_postgres::Error> {
    Ok(Key {
        id: row.try_get::<_, &str>(0)?.into(),
        name: row.try_get::<_, &str>(1)?.into(),
        scopes: Scopes::from_words(row.try_get::<_, &str>(2)?.split_whitespace()),
        created_at: UnixMillis(row.try_get(3)?),
        expires_at: row.try_get::<_, Option<i64>>(4)?.map(UnixMillis),
        revoked_at: row.try_get::<_, Option<i64>>(5)?.map(UnixMillis),
    })
}
