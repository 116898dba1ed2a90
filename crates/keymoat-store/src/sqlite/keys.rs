//! The statements about keys. All of them run inside the caller's transaction.

use std::collections::HashMap;
use std::sync::Arc;

use keymoat_core::{Digest, Held, Key, KeyLimits, KeySecret, Pace, RotateAfter, Scopes, UnixMillis};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, ToSql, named_params, params, params_from_iter};

use super::schema::PEPPER_VERSION;
use crate::error::StoreError;
use crate::key_query::{Dialect, KeyQuery};

/// So many secrets of one key that have ended are remembered, so that their holders can be told.
const ENDED_SECRETS_MAX: i64 = 8;

/// Starts every statement that reads keys with [`read_key`].
macro_rules! select {
    () => {
        "SELECT id, name, scopes, created_at, expires_at, revoked_at, rotate_at, rotate_age, requests_per_second, burst,
                requests_per_day, bytes_per_day, sessions_max, session_duration_secs, session_bytes, models, owner
         FROM api_key "
    };
}

/// Stores a key and the digest of its first secret.
pub(super) fn insert(connection: &Connection, key: &Key, digest: &Digest) -> Result<(), StoreError> {
    check_name_is_free(connection, &key.name, &key.id)?;
    connection
        .prepare_cached("INSERT INTO api_key (id, name, scopes, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![key.id, key.name, key.scopes.words().join(" "), key.created_at.0])?;
    update(connection, key)?;
    for (secret, number) in key.secrets.iter().zip(1..) {
        insert_secret(connection, &key.id, secret, number, digest)?;
    }
    Ok(())
}

/// Stores what may change of a key, all of it.
pub(super) fn update(connection: &Connection, key: &Key) -> Result<(), StoreError> {
    check_name_is_free(connection, &key.name, &key.id)?;
    let (rotate_at, rotate_age) = match key.rotate_after {
        None => (None, None),
        Some(RotateAfter::Moment(at)) => (Some(at.0), None),
        Some(RotateAfter::Age(millis)) => (None, Some(millis)),
    };
    let limits = &key.limits;
    let signed = |number: Option<u64>| number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let models = (!limits.models.is_empty()).then(|| limits.models.join(" "));
    connection
        .prepare_cached(
            "UPDATE api_key SET name = :name, scopes = :scopes, expires_at = :expires_at, rotate_at = :rotate_at,
                    rotate_age = :rotate_age, requests_per_second = :pace, burst = :burst,
                    requests_per_day = :requests, bytes_per_day = :bytes, sessions_max = :sessions,
                    session_duration_secs = :duration, session_bytes = :session_bytes, models = :models,
                    owner = :owner WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": key.id,
            ":name": key.name,
            ":scopes": key.scopes.words().join(" "),
            ":expires_at": key.expires_at.map(|at| at.0),
            ":rotate_at": rotate_at,
            ":rotate_age": rotate_age,
            ":pace": limits.requests_per_second.map(|pace| pace.per_second),
            ":burst": limits.requests_per_second.map(|pace| pace.burst),
            ":requests": signed(limits.requests_per_day),
            ":bytes": signed(limits.bytes_per_day),
            ":sessions": limits.sessions,
            ":duration": signed(limits.session_duration_secs),
            ":session_bytes": signed(limits.session_bytes),
            ":models": models,
            ":owner": key.owner,
        })?;
    Ok(())
}

/// Stores a further secret of a key, and forgets the oldest of those that ended long ago.
pub(super) fn add_secret(
    connection: &Connection,
    key_id: &str,
    secret: &KeySecret,
    digest: &Digest,
) -> Result<(), StoreError> {
    let number: i64 = connection
        .prepare_cached("SELECT 1 + coalesce(max(number), 0) FROM api_key_secret WHERE api_key_id = ?1")?
        .query_row([key_id], |row| row.get(0))?;
    insert_secret(connection, key_id, secret, number, digest)?;
    connection
        .prepare_cached(
            "DELETE FROM api_key_secret WHERE api_key_id = ?1 AND ends_at <= ?2 AND number <=
             (SELECT number FROM api_key_secret WHERE api_key_id = ?1 AND ends_at <= ?2
              ORDER BY number DESC LIMIT 1 OFFSET ?3)",
        )?
        .execute(params![key_id, secret.created_at.0, ENDED_SECRETS_MAX])?;
    Ok(())
}

fn insert_secret(
    connection: &Connection,
    key_id: &str,
    secret: &KeySecret,
    number: i64,
    digest: &Digest,
) -> Result<(), StoreError> {
    let stored = connection
        .prepare_cached(
            "INSERT INTO api_key_secret (digest, pepper_version, api_key_id, created_at, id, number, ends_at,
                    prefix)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            digest.0,
            PEPPER_VERSION,
            key_id,
            secret.created_at.0,
            secret.id,
            number,
            secret.ends_at.map(|at| at.0),
            secret.prefix
        ]);
    match stored {
        Err(refused) if refused.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(StoreError::SecretTaken)
        }
        stored => Ok(stored.map(drop)?),
    }
}

/// Ends a secret at a moment.
pub(super) fn end_secret(connection: &Connection, secret_id: &str, at: UnixMillis) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE api_key_secret SET ends_at = ?2 WHERE id = ?1")?
        .execute(params![secret_id, at.0])?;
    Ok(())
}

/// The id of the key that a secret with this digest belongs to, also one that has ended.
pub(super) fn owner(connection: &Connection, digest: &Digest) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT api_key_id FROM api_key_secret WHERE digest = ?1")?;
    Ok(statement.query_row([digest.0], |row| row.get(0)).optional()?)
}

/// All keys, oldest first.
pub(super) fn all(connection: &Connection) -> Result<Vec<Key>, StoreError> {
    let mut secrets = HashMap::new();
    each_secret(connection, |key_id, secret, _| secrets.entry(key_id).or_insert_with(Vec::new).push(secret))?;
    let mut statement = connection.prepare_cached(concat!(select!(), "ORDER BY created_at, rowid"))?;
    let keys = statement.query_map([], read_key)?;
    let mut with_secrets = |key: Key| Key { secrets: secrets.remove(&key.id).unwrap_or_default(), ..key };
    Ok(keys.map(|key| key.map(&mut with_secrets)).collect::<Result<_, _>>()?)
}

/// The key with this id, or the live or last revoked one with this name.
pub(super) fn find(connection: &Connection, id_or_name: &str) -> Result<Key, StoreError> {
    let mut statement = connection.prepare_cached(concat!(
        select!(),
        "WHERE id = ?1 OR name = ?1
         ORDER BY id = ?1 DESC, revoked_at IS NULL DESC, revoked_at DESC, rowid DESC LIMIT 1"
    ))?;
    let key = statement.query_row([id_or_name], read_key).optional()?.ok_or(StoreError::KeyUnknown)?;
    with_secrets(connection, key)
}

/// One page of the keys that are asked for, the newest first.
pub(super) fn page(connection: &Connection, asked: &KeyQuery) -> Result<Vec<Key>, StoreError> {
    let (condition, values) = asked.condition(&Dialect { lowered: "lowered", place_of: "instr", bytewise: "" });
    let sql = format!("{}{condition}", select!());
    let mut statement = connection.prepare_cached(&sql)?;
    let keys = statement.query_map(params_from_iter(values), read_key)?.collect::<Result<Vec<_>, _>>()?;
    keys.into_iter().map(|key| with_secrets(connection, key)).collect()
}

/// Teaches a connection `lowered(text)`, which knows the letters of all languages.
pub(super) fn teach(connection: &Connection) -> Result<(), StoreError> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let lowered = |context: &Context<'_>| Ok(context.get::<String>(0)?.to_lowercase());
    Ok(connection.create_scalar_function("lowered", 1, flags, lowered)?)
}

fn with_secrets(connection: &Connection, key: Key) -> Result<Key, StoreError> {
    let sql = "SELECT id, created_at, ends_at, prefix FROM api_key_secret WHERE api_key_id = ?1 ORDER BY number";
    let mut statement = connection.prepare_cached(sql)?;
    let secrets = statement.query_map([&key.id], |row| read_secret(row, 0))?.collect::<Result<_, _>>()?;
    Ok(Key { secrets, ..key })
}

/// Marks a live key as revoked.
pub(super) fn revoke(connection: &Connection, id: &str, now: UnixMillis) -> Result<(), StoreError> {
    connection
        .execute("UPDATE api_key SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL", params![id, now.0])?;
    Ok(())
}

/// Every digest with its key. All secrets of a key lead to the same one.
pub(super) fn by_digest(connection: &Connection) -> Result<HashMap<Digest, Held>, StoreError> {
    let keys: HashMap<Arc<str>, Arc<Key>> =
        all(connection)?.into_iter().map(|key| (Arc::clone(&key.id), Arc::new(key))).collect();
    let mut held = HashMap::new();
    each_secret(connection, |key_id, secret, digest| {
        if let Some(key) = keys.get(&key_id) {
            held.insert(digest, Held { key: Arc::clone(key), secret_id: secret.id });
        }
    })?;
    Ok(held)
}

/// Gives each secret with its key's id and its digest; those of one key oldest first.
fn each_secret(connection: &Connection, mut take: impl FnMut(Arc<str>, KeySecret, Digest)) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT api_key_id, digest, id, created_at, ends_at, prefix FROM api_key_secret WHERE pepper_version = ?1
         ORDER BY api_key_id, number",
    )?;
    let mut rows = statement.query([PEPPER_VERSION])?;
    while let Some(row) = rows.next()? {
        take(row.get(0)?, read_secret(row, 2)?, Digest(row.get(1)?));
    }
    Ok(())
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

fn check_name_is_free(connection: &Connection, name: &str, own_id: &str) -> Result<(), StoreError> {
    let taken = "SELECT 1 FROM api_key WHERE name = ?1 AND revoked_at IS NULL AND id <> ?2";
    let of_another: [&dyn ToSql; 2] = [&name, &own_id];
    if connection.prepare_cached(taken)?.exists(of_another)? {
        return Err(StoreError::NameTaken { name: name.to_owned() });
    }
    Ok(())
}

/// A key without its secrets.
fn read_key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let scopes: String = row.get(2)?;
    let time = |column| -> rusqlite::Result<_> { Ok(row.get::<_, Option<i64>>(column)?.map(UnixMillis)) };
    let number =
        |column| -> rusqlite::Result<Option<u64>> { Ok(row.get::<_, Option<i64>>(column)?.map(i64::unsigned_abs)) };
    let pace = match (row.get::<_, Option<u32>>(8)?, row.get::<_, Option<u32>>(9)?) {
        (Some(per_second), burst) => Some(Pace { per_second, burst: burst.unwrap_or(per_second) }),
        (None, _) => None,
    };
    let models: Option<String> = row.get(15)?;
    Ok(Key {
        id: row.get(0)?,
        name: row.get(1)?,
        owner: row.get(16)?,
        scopes: Scopes::from_words(scopes.split_whitespace()),
        created_at: UnixMillis(row.get(3)?),
        expires_at: time(4)?,
        revoked_at: time(5)?,
        rotate_after: match (time(6)?, row.get::<_, Option<i64>>(7)?) {
            (Some(at), _) => Some(RotateAfter::Moment(at)),
            (None, age) => age.map(RotateAfter::Age),
        },
        secrets: Vec::new(),
        limits: KeyLimits {
            requests_per_second: pace,
            requests_per_day: number(10)?,
            bytes_per_day: number(11)?,
            sessions: row.get(12)?,
            session_duration_secs: number(13)?,
            session_bytes: number(14)?,
            models: models.unwrap_or_default().split_whitespace().map(Arc::from).collect(),
        },
    })
}

/// A secret, from `first` of its columns on.
fn read_secret(row: &Row<'_>, first: usize) -> rusqlite::Result<KeySecret> {
    Ok(KeySecret {
        id: row.get(first)?,
        created_at: UnixMillis(row.get(first + 1)?),
        ends_at: row.get::<_, Option<i64>>(first + 2)?.map(UnixMillis),
        prefix: row.get(first + 3)?,
    })
}
