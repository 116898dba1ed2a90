//! The statements about tokens. All of them run inside the caller's transaction.

use std::sync::Arc;

use keymoat_core::token::{Calls, Constraint, TokenLimits, Uses};
use keymoat_core::{Digest, Origin, Scopes, Token, UnixMillis};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::schema::PEPPER_VERSION;
use crate::error::StoreError;
use crate::id;

/// A token is remembered for so long after its end, so that its holder can be told.
pub(crate) const REMEMBERED_MILLIS: i64 = 2 * 3_600_000;

/// A claim is not repeated later than this.
pub(crate) const REPEATED_MILLIS: i64 = 10 * 60_000;

/// Sessions that seem to lie so far ahead were noted under a clock that went wrong.
pub(crate) const AHEAD_MILLIS: i64 = 24 * 3_600_000;

/// Nothing is counted beyond this, so that no sum overflows.
pub(crate) const BYTES_USED_MAX: i64 = 1 << 62;

/// So many resumption handles of one token are remembered, the last ones.
pub(crate) const HANDLES_MAX: i64 = 256;

/// Starts every statement that reads tokens with [`read`].
macro_rules! select {
    () => {
        "SELECT token.number, id, key_id, scopes, calls, uses_max, uses_left, created_at, start_by, live_until,
                revoked_at, origins, duration_secs_max, bytes_max, messages_max, constraints, digest, limits, bytes_used
         FROM token JOIN token_terms ON token_terms.token = token.number "
    };
}

/// A token with what only the store knows of it.
pub(super) struct Kept {
    pub(super) number: i64,
    pub(super) token: Token,
    pub(super) uses_left: Option<u32>,
    pub(super) digest: Digest,
}

/// Stores a token and gives its number.
pub(super) fn insert(connection: &Connection, token: &Token, digest: &Digest) -> Result<i64, StoreError> {
    let uses = match token.uses {
        Uses::Unlimited => None,
        Uses::AtMost(uses) => Some(uses),
    };
    connection
        .prepare_cached(
            "INSERT INTO token (id, digest, pepper_version, key_id, key_is_stored, scopes, calls, uses_max, uses_left,
                                created_at, start_by, live_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            token.id,
            digest.0,
            PEPPER_VERSION,
            token.key_id,
            token.key_id.starts_with(id::KEY),
            token.scopes.words().join(" "),
            token.calls.word(),
            uses,
            token.created_at.0,
            token.start_by.0,
            token.live_until.0,
        ])?;
    let number = connection.last_insert_rowid();
    let origins: Vec<&str> = token.origins.iter().map(Origin::as_str).collect();
    let limit = |limit: Option<u64>| limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    connection
        .prepare_cached(
            "INSERT INTO token_terms (token, origins, duration_secs_max, bytes_max, messages_max, constraints, limits)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            number,
            (!origins.is_empty()).then(|| origins.join(" ")),
            limit(token.limits.duration_secs_max),
            limit(token.limits.bytes_max),
            limit(token.limits.messages_max),
            token.constraint.to_json(),
            token.limits.overall_to_json(),
        ])?;
    Ok(number)
}

/// The token with this digest.
pub(super) fn by_digest(connection: &Connection, digest: &Digest) -> Result<Option<Kept>, StoreError> {
    one(connection, concat!(select!(), "WHERE digest = ?1"), &digest.0)
}

/// The token with this id.
pub(super) fn by_id(connection: &Connection, id: &str) -> Result<Option<Kept>, StoreError> {
    one(connection, concat!(select!(), "WHERE id = ?1"), &id)
}

/// The token with this number.
pub(super) fn by_number(connection: &Connection, number: i64) -> Result<Option<Kept>, StoreError> {
    one(connection, concat!(select!(), "WHERE token.number = ?1"), &number)
}

/// All tokens that are remembered, or those of one key, oldest first.
pub(super) fn all(connection: &Connection, key_id: Option<&str>) -> Result<Vec<Kept>, StoreError> {
    let sql = concat!(select!(), "WHERE ?1 IS NULL OR key_id = ?1 ORDER BY token.number");
    let tokens = connection.prepare_cached(sql)?.query_map([key_id], read)?.collect::<Result<_, _>>()?;
    Ok(tokens)
}

/// Marks a token as revoked, unless it was before.
pub(super) fn revoke(connection: &Connection, number: i64, now: UnixMillis) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE token SET revoked_at = ?2 WHERE number = ?1 AND revoked_at IS NULL")?
        .execute(params![number, now.0])?;
    Ok(())
}

/// Revokes every token, and forgets how any could be given out again.
pub(super) fn void(connection: &Connection, now: UnixMillis) -> Result<(), StoreError> {
    connection.execute("UPDATE token SET revoked_at = ?1 WHERE revoked_at IS NULL", [now.0])?;
    connection.execute("DELETE FROM token_order", [])?;
    Ok(())
}

/// The ids of all revoked tokens that are remembered.
pub(super) fn revoked(connection: &Connection) -> Result<Vec<Arc<str>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM token WHERE revoked_at IS NOT NULL")?;
    let ids = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ids)
}

/// How many tokens of a key may still open sessions; counts no further than `most`.
pub(super) fn open_ones(connection: &Connection, key_id: &str, now: UnixMillis, most: u32) -> Result<u32, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM token WHERE key_id = ?1 AND start_by > ?2 AND revoked_at IS NULL
                               AND (uses_left IS NULL OR uses_left > 0) LIMIT ?3)",
    )?;
    Ok(statement.query_row(params![key_id, now.0, most], |row| row.get(0))?)
}

/// Remembers a resumption handle of a token, and forgets the oldest of too many. A token that is gone has none.
pub(super) fn note_handle(
    connection: &Connection,
    token_id: &str,
    handle: &Digest,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let number: Option<i64> = connection
        .prepare_cached("SELECT number FROM token WHERE id = ?1")?
        .query_row([token_id], |row| row.get(0))
        .optional()?;
    let Some(number) = number else { return Ok(()) };
    connection
        .prepare_cached(
            "INSERT INTO token_handle (token, handle, given_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?
        .execute(params![number, handle.0, now.0])?;
    connection
        .prepare_cached(
            "DELETE FROM token_handle WHERE token = ?1 AND number <=
             (SELECT number FROM token_handle WHERE token = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![number, HANDLES_MAX])?;
    Ok(())
}

/// Adds payload bytes that a token's sessions have carried, and gives all of them; none for a token that is gone.
pub(super) fn add_bytes(connection: &Connection, token_id: &str, bytes: u64) -> Result<Option<u64>, StoreError> {
    let sql = "UPDATE token_terms SET bytes_used = min(bytes_used + ?2, ?3)
               WHERE token = (SELECT number FROM token WHERE id = ?1) RETURNING bytes_used";
    let bytes = i64::try_from(bytes).unwrap_or(BYTES_USED_MAX).min(BYTES_USED_MAX);
    let all = connection
        .prepare_cached(sql)?
        .query_row(params![token_id, bytes, BYTES_USED_MAX], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(all.map(i64::unsigned_abs))
}

/// Forgets some of what ended long ago, and says whether there may be more of it. A token takes its handles along, and so
/// counts more than a session.
pub(super) fn forget(connection: &Connection, now: UnixMillis, rows_max: u32) -> Result<bool, StoreError> {
    let tokens_max = rows_max.div_ceil(8);
    let tokens = connection
        .prepare_cached(
            "DELETE FROM token WHERE number IN
             (SELECT number FROM token WHERE live_until <= ?1 ORDER BY live_until LIMIT ?2)",
        )?
        .execute(params![now.0.saturating_sub(REMEMBERED_MILLIS), tokens_max])?;
    let sessions = connection
        .prepare_cached(
            "DELETE FROM token_session WHERE number IN
             (SELECT number FROM (SELECT number, opened_at FROM token_session ORDER BY number LIMIT ?3)
              WHERE opened_at NOT BETWEEN ?1 AND ?2)",
        )?
        .execute(params![now.0.saturating_sub(REPEATED_MILLIS), now.0.saturating_add(AHEAD_MILLIS), rows_max])?;
    let reaches = |count: usize, most: u32| u32::try_from(count).is_ok_and(|count| count >= most);
    Ok(reaches(tokens, tokens_max) || reaches(sessions, rows_max))
}

fn one(connection: &Connection, sql: &str, what: &dyn ToSql) -> Result<Option<Kept>, StoreError> {
    Ok(connection.prepare_cached(sql)?.query_row([what], read).optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let damaged = |column, kind| move || rusqlite::Error::FromSqlConversionFailure(column, kind, "damaged".into());
    let limit =
        |column| -> rusqlite::Result<Option<u64>> { Ok(row.get::<_, Option<i64>>(column)?.map(i64::unsigned_abs)) };
    let origins = row.get::<_, Option<String>>(11)?.unwrap_or_default();
    let origins: Result<Vec<Origin>, _> = origins.split_ascii_whitespace().map(Origin::parse).collect();
    let uses = row.get::<_, Option<u32>>(5)?.map_or(Uses::Unlimited, Uses::AtMost);
    let constraint: String = row.get(15)?;
    let of_session = TokenLimits {
        duration_secs_max: limit(12)?,
        bytes_max: limit(13)?,
        messages_max: limit(14)?,
        ..TokenLimits::default()
    };
    let limits = match row.get::<_, Option<String>>(17)? {
        Some(overall) => of_session.with_overall(&overall).ok().ok_or_else(damaged(17, Type::Text))?,
        None => of_session,
    };
    let token = Token {
        id: row.get(1)?,
        key_id: row.get(2)?,
        scopes: Scopes::from_words(row.get::<_, String>(3)?.split_ascii_whitespace()),
        calls: Calls::from_word(&row.get::<_, String>(4)?).ok_or_else(damaged(4, Type::Text))?,
        uses,
        created_at: UnixMillis(row.get(7)?),
        start_by: UnixMillis(row.get(8)?),
        live_until: UnixMillis(row.get(9)?),
        revoked_at: row.get::<_, Option<i64>>(10)?.map(UnixMillis),
        origins: origins.ok().ok_or_else(damaged(11, Type::Text))?,
        limits,
        bytes_used: row.get::<_, i64>(18)?.unsigned_abs(),
        constraint: Constraint::from_json(&constraint).ok().ok_or_else(damaged(15, Type::Text))?,
    };
    Ok(Kept { number: row.get(0)?, token, uses_left: row.get(6)?, digest: Digest(row.get(16)?) })
}
