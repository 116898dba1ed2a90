//! The statements about keys. Those that change something run inside the caller's transaction.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::{Client, GenericClient, Transaction};
use keymoat_core::{Digest, Held, Key, KeyLimits, KeySecret, Pace, RotateAfter, Scopes, UnixMillis};
use tokio_postgres::Row;

use super::error::failed;
use super::events::query;
use crate::error::StoreError;
use crate::key_query::{Dialect, KeyQuery};
use crate::sqlite::schema::PEPPER_VERSION;

/// A count of changes, and which history it belongs to.
pub(crate) type ChangeMark = (i64, String);

/// So many secrets of one key that have ended are remembered, so that their holders can be told.
const ENDED_SECRETS_MAX: i64 = 8;

/// Starts every statement that reads keys with [`read_key`].
macro_rules! select {
    ($($rest:literal)*) => {
        concat!(
            "SELECT id, name, scopes, created_at, expires_at, revoked_at, rotate_at, rotate_age, requests_per_second,
                    burst, requests_per_day, bytes_per_day, sessions_max, session_duration_secs, session_bytes, models, owner
             FROM api_key ",
            $($rest),*
        )
    };
}

/// Waits until nobody else changes anything of what a snapshot holds, on any node, until the transaction has ended.
pub(super) async fn hold(change: &Transaction<'_>) -> Result<(), StoreError> {
    change.execute("SELECT FROM change FOR UPDATE", &[]).await.map(drop).map_err(|error| failed(&error))
}

/// Stores a key and the digest of its first secret.
pub(super) async fn insert(change: &Transaction<'_>, key: &Key, digest: &Digest) -> Result<(), StoreError> {
    check_name_is_free(change, &key.name, &key.id).await?;
    let sql = "INSERT INTO api_key (id, name, scopes, created_at) VALUES ($1, $2, $3, $4)";
    let words = key.scopes.words().join(" ");
    let done = change.execute(sql, &[&&*key.id, &&*key.name, &words, &key.created_at.0]).await;
    done.map_err(|error| failed(&error))?;
    update(change, key).await?;
    for (secret, number) in key.secrets.iter().zip(1..) {
        insert_secret(change, &key.id, secret, number, digest).await?;
    }
    Ok(())
}

/// Stores what may change of a key, all of it.
pub(super) async fn update(change: &Transaction<'_>, key: &Key) -> Result<(), StoreError> {
    check_name_is_free(change, &key.name, &key.id).await?;
    let (rotate_at, rotate_age) = match key.rotate_after {
        None => (None, None),
        Some(RotateAfter::Moment(at)) => (Some(at.0), None),
        Some(RotateAfter::Age(millis)) => (None, Some(millis)),
    };
    let limits = &key.limits;
    let signed = |number: Option<u64>| number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let models = (!limits.models.is_empty()).then(|| limits.models.join(" "));
    let sql = "UPDATE api_key SET name = $2, scopes = $3, expires_at = $4, rotate_at = $5, rotate_age = $6,
                   requests_per_second = $7, burst = $8, requests_per_day = $9, bytes_per_day = $10, sessions_max = $11,
                   session_duration_secs = $12, session_bytes = $13, models = $14, owner = $15 WHERE id = $1";
    let done = change
        .execute(
            sql,
            &[
                &&*key.id,
                &&*key.name,
                &key.scopes.words().join(" "),
                &key.expires_at.map(|at| at.0),
                &rotate_at,
                &rotate_age,
                &limits.requests_per_second.map(|pace| i64::from(pace.per_second)),
                &limits.requests_per_second.map(|pace| i64::from(pace.burst)),
                &signed(limits.requests_per_day),
                &signed(limits.bytes_per_day),
                &limits.sessions.map(i64::from),
                &signed(limits.session_duration_secs),
                &signed(limits.session_bytes),
                &models,
                &key.owner.as_deref(),
            ],
        )
        .await;
    done.map(drop).map_err(|error| failed(&error))
}

/// Stores a further secret of a key, and forgets the oldest of those that ended long ago.
pub(super) async fn add_secret(
    change: &Transaction<'_>,
    key_id: &str,
    secret: &KeySecret,
    digest: &Digest,
) -> Result<(), StoreError> {
    let sql = "SELECT 1 + coalesce(max(number), 0) FROM api_key_secret WHERE api_key_id = $1";
    let row = change.query_one(sql, &[&key_id]).await;
    let number = row.and_then(|row| row.try_get(0)).map_err(|error| failed(&error))?;
    insert_secret(change, key_id, secret, number, digest).await?;
    let sql = "DELETE FROM api_key_secret WHERE api_key_id = $1 AND ends_at <= $2 AND number <=
               (SELECT number FROM api_key_secret WHERE api_key_id = $1 AND ends_at <= $2
                ORDER BY number DESC LIMIT 1 OFFSET $3)";
    let done = change.execute(sql, &[&key_id, &secret.created_at.0, &ENDED_SECRETS_MAX]).await;
    done.map(drop).map_err(|error| failed(&error))
}

async fn insert_secret(
    change: &Transaction<'_>,
    key_id: &str,
    secret: &KeySecret,
    number: i64,
    digest: &Digest,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO api_key_secret (digest, pepper_version, api_key_id, created_at, id, number, ends_at, prefix)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (digest) DO NOTHING";
    let ends_at = secret.ends_at.map(|at| at.0);
    let (digest, id, prefix) = (&digest.0[..], &*secret.id, secret.prefix.as_deref());
    let created_at = secret.created_at.0;
    let done =
        change.execute(sql, &[&digest, &PEPPER_VERSION, &key_id, &created_at, &id, &number, &ends_at, &prefix]).await;
    match done.map_err(|error| failed(&error))? {
        0 => Err(StoreError::SecretTaken),
        _ => Ok(()),
    }
}

/// Ends a secret at a moment.
pub(super) async fn end_secret(change: &Transaction<'_>, secret_id: &str, at: UnixMillis) -> Result<(), StoreError> {
    let done = change.execute("UPDATE api_key_secret SET ends_at = $2 WHERE id = $1", &[&secret_id, &at.0]).await;
    done.map(drop).map_err(|error| failed(&error))
}

/// The id of the key that a secret with this digest belongs to, also one that has ended.
pub(super) async fn owner(change: &Transaction<'_>, digest: &Digest) -> Result<Option<String>, StoreError> {
    let row = change.query_opt("SELECT api_key_id FROM api_key_secret WHERE digest = $1", &[&&digest.0[..]]).await;
    row.and_then(|row| row.map(|row| row.try_get(0)).transpose()).map_err(|error| failed(&error))
}

/// All keys, oldest first.
pub(super) async fn all(moment: &Transaction<'_>) -> Result<Vec<Key>, StoreError> {
    let mut secrets: HashMap<Arc<str>, Vec<KeySecret>> = HashMap::new();
    for (key_id, secret, _) in every_secret(moment).await? {
        secrets.entry(key_id).or_default().push(secret);
    }
    let rows = moment.query(select!("ORDER BY created_at, number"), &[]).await.map_err(|error| failed(&error))?;
    let keys = rows.iter().map(|row| {
        let key = read_key(row)?;
        Ok(Key { secrets: secrets.remove(&key.id).unwrap_or_default(), ..key })
    });
    keys.collect()
}

/// The key with this id, or the live or last revoked one with this name.
pub(super) async fn find(moment: &Transaction<'_>, id_or_name: &str) -> Result<Key, StoreError> {
    let sql = select!(
        "WHERE id = $1 OR name = $1
         ORDER BY id = $1 DESC, revoked_at IS NULL DESC, revoked_at DESC, number DESC LIMIT 1"
    );
    let row = moment.query_opt(sql, &[&id_or_name]).await.map_err(|error| failed(&error))?;
    let key = read_key(&row.ok_or(StoreError::KeyUnknown)?)?;
    let sql = "SELECT id, created_at, ends_at, prefix FROM api_key_secret WHERE api_key_id = $1 ORDER BY number";
    let rows = moment.query(sql, &[&&*key.id]).await.map_err(|error| failed(&error))?;
    let secrets = rows.iter().map(|row| read_secret(row, 0)).collect::<Result<_, _>>()?;
    Ok(Key { secrets, ..key })
}

/// One page of the keys that are asked for, the newest first.
pub(super) async fn page(moment: &Transaction<'_>, asked: &KeyQuery) -> Result<Vec<Key>, StoreError> {
    let (condition, values) =
        asked.condition(&Dialect { lowered: "lower", place_of: "strpos", bytewise: " COLLATE \"C\"" });
    let rows = query(moment, &format!("{}{condition}", select!()), values).await?;
    let keys: Vec<Key> = rows.iter().map(read_key).collect::<Result<_, _>>()?;
    let ids: Vec<&str> = keys.iter().map(|key| &*key.id).collect();
    let sql = "SELECT api_key_id, id, created_at, ends_at, prefix FROM api_key_secret WHERE api_key_id = ANY ($1)
               ORDER BY api_key_id, number";
    let mut secrets: HashMap<Arc<str>, Vec<KeySecret>> = HashMap::new();
    for row in &moment.query(sql, &[&ids]).await.map_err(|error| failed(&error))? {
        secrets.entry(text(row, 0)?.into()).or_default().push(read_secret(row, 1)?);
    }
    Ok(keys.into_iter().map(|key| Key { secrets: secrets.remove(&key.id).unwrap_or_default(), ..key }).collect())
}

/// Marks a key as revoked.
pub(super) async fn revoke(change: &Transaction<'_>, id: &str, now: UnixMillis) -> Result<(), StoreError> {
    let sql = "UPDATE api_key SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    change.execute(sql, &[&id, &now.0]).await.map(drop).map_err(|error| failed(&error))
}

/// Every digest with its key. All secrets of a key lead to the same one.
pub(super) async fn by_digest(moment: &Transaction<'_>) -> Result<HashMap<Digest, Held>, StoreError> {
    let keys = all(moment).await?.into_iter().map(|key| (Arc::clone(&key.id), Arc::new(key)));
    let keys: HashMap<Arc<str>, Arc<Key>> = keys.collect();
    let held = every_secret(moment).await?.into_iter().filter_map(|(key_id, secret, digest)| {
        keys.get(&key_id).map(|key| (digest, Held { key: Arc::clone(key), secret_id: secret.id }))
    });
    Ok(held.collect())
}

/// Each secret with its key's id and its digest; those of one key oldest first.
async fn every_secret(moment: &Transaction<'_>) -> Result<Vec<(Arc<str>, KeySecret, Digest)>, StoreError> {
    let sql = "SELECT api_key_id, digest, id, created_at, ends_at, prefix FROM api_key_secret WHERE pepper_version = $1
               ORDER BY api_key_id, number";
    let rows = moment.query(sql, &[&PEPPER_VERSION]).await.map_err(|error| failed(&error))?;
    rows.iter().map(|row| Ok((text(row, 0)?.into(), read_secret(row, 2)?, digest(row, 1)?))).collect()
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

async fn check_name_is_free(change: &Transaction<'_>, name: &str, own_id: &str) -> Result<(), StoreError> {
    let sql = "SELECT FROM api_key WHERE name = $1 AND revoked_at IS NULL AND id <> $2";
    match change.query_opt(sql, &[&name, &own_id]).await.map_err(|error| failed(&error))? {
        Some(_) => Err(StoreError::NameTaken { name: name.to_owned() }),
        None => Ok(()),
    }
}

/// A key without its secrets.
fn read_key(row: &Row) -> Result<Key, StoreError> {
    let number = |column| row.try_get::<_, Option<i64>>(column).map_err(|error| failed(&error));
    let unsigned = |column| Ok::<_, StoreError>(number(column)?.map(i64::unsigned_abs));
    let small = |column| {
        number(column)?.map(|number| u32::try_from(number).map_err(|_| StoreError::DatabaseDamaged)).transpose()
    };
    let pace = match (small(8)?, small(9)?) {
        (Some(per_second), burst) => Some(Pace { per_second, burst: burst.unwrap_or(per_second) }),
        (None, _) => None,
    };
    let models = row.try_get::<_, Option<&str>>(15).map_err(|error| failed(&error))?;
    Ok(Key {
        id: text(row, 0)?.into(),
        name: text(row, 1)?.into(),
        owner: row.try_get::<_, Option<&str>>(16).map_err(|error| failed(&error))?.map(Arc::from),
        scopes: Scopes::from_words(text(row, 2)?.split_whitespace()),
        created_at: UnixMillis(number(3)?.ok_or(StoreError::DatabaseDamaged)?),
        expires_at: number(4)?.map(UnixMillis),
        revoked_at: number(5)?.map(UnixMillis),
        rotate_after: match (number(6)?, number(7)?) {
            (Some(at), _) => Some(RotateAfter::Moment(UnixMillis(at))),
            (None, age) => age.map(RotateAfter::Age),
        },
        secrets: Vec::new(),
        limits: KeyLimits {
            requests_per_second: pace,
            requests_per_day: unsigned(10)?,
            bytes_per_day: unsigned(11)?,
            sessions: small(12)?,
            session_duration_secs: unsigned(13)?,
            session_bytes: unsigned(14)?,
            models: models.unwrap_or_default().split_whitespace().map(Arc::from).collect(),
        },
    })
}

/// A secret, from `first` of its columns on.
fn read_secret(row: &Row, first: usize) -> Result<KeySecret, StoreError> {
    let number = |column| row.try_get::<_, Option<i64>>(column).map_err(|error| failed(&error));
    Ok(KeySecret {
        id: text(row, first)?.into(),
        created_at: UnixMillis(number(first + 1)?.ok_or(StoreError::DatabaseDamaged)?),
        ends_at: number(first + 2)?.map(UnixMillis),
        prefix: row.try_get::<_, Option<&str>>(first + 3).map_err(|error| failed(&error))?.map(Arc::from),
    })
}

fn text(row: &Row, column: usize) -> Result<&str, StoreError> {
    row.try_get(column).map_err(|error| failed(&error))
}
