//! The statements about tokens, and what the store does with them. The database's clock decides.

use std::sync::Arc;

use deadpool_postgres::{GenericClient, Transaction};
use keymoat_core::token::{Calls, Constraint, TokenLimits, Uses};
use keymoat_core::{Digest, Origin, Scopes, Token, UnixMillis};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::claims::{Asked, denials};
use super::error::failed;
use super::{Postgres, Shared, commit, keys, mint};
use crate::error::StoreError;
use crate::id;
use crate::sqlite::schema::PEPPER_VERSION;
use crate::sqlite::tokens::{AHEAD_MILLIS, BYTES_USED_MAX, HANDLES_MAX, REMEMBERED_MILLIS, REPEATED_MILLIS};
use crate::token::{MintOrder, Minting, TokenBytes, TokenState};

/// So many old rows go in one transaction.
const FORGET_ROWS_MAX: i64 = 1024;

/// Starts every statement that reads tokens with [`read`].
macro_rules! select {
    ($($rest:literal)*) => {
        concat!(
            "SELECT token.number, id, key_id, scopes, calls, uses_max, uses_left, created_at, start_by, live_until,
                    revoked_at, origins, duration_secs_max, bytes_max, messages_max, constraints, digest, limits, bytes_used
             FROM token JOIN token_terms ON token_terms.token = token.number ",
            $($rest),*
        )
    };
}

/// A token with what only the store knows of it.
pub(super) struct Kept {
    pub(super) number: i64,
    pub(super) token: Token,
    pub(super) uses_left: Option<u32>,
    pub(super) digest: Digest,
}

impl Postgres {
    pub(crate) fn mint_token(&self, order: MintOrder) -> Result<Minting, StoreError> {
        self.ask(move |shared| async move { shared.mint(order).await })
    }

    pub(crate) fn token(&self, id: &str) -> Result<TokenState, StoreError> {
        let id = id.to_owned();
        self.ask(move |shared| async move {
            let found = shared.states(select!("WHERE id = $1"), &[&id]).await?.pop();
            found.ok_or(StoreError::TokenUnknown)
        })
    }

    pub(crate) fn token_of(&self, digest: &Digest) -> Result<TokenState, StoreError> {
        let digest = *digest;
        self.ask(move |shared| async move {
            let found = shared.states(select!("WHERE digest = $1"), &[&&digest.0[..]]).await?.pop();
            found.ok_or(StoreError::TokenNotFound)
        })
    }

    pub(crate) fn tokens(&self, key_id: Option<&str>) -> Result<Vec<TokenState>, StoreError> {
        let key_id = key_id.map(str::to_owned);
        self.ask(move |shared| async move {
            let sql = select!("WHERE $1::text IS NULL OR key_id = $1 ORDER BY token.number");
            shared.states(sql, &[&key_id]).await
        })
    }

    pub(crate) fn revoke_token(&self, id: &str) -> Result<TokenState, StoreError> {
        let id = id.to_owned();
        self.ask(move |shared| async move {
            shared.revoke_token(&id, None).await?.ok_or(StoreError::TokenUnknown)?;
            let found = shared.states(select!("WHERE id = $1"), &[&id]).await?.pop();
            found.ok_or(StoreError::TokenUnknown)
        })
    }

    pub(crate) fn add_token_bytes(&self, carried: &[TokenBytes]) -> Result<Vec<TokenBytes>, StoreError> {
        let mut carried = carried.to_vec();
        // All nodes lock the rows in one order.
        carried.sort_by(|one, other| one.token_id.cmp(&other.token_id));
        self.ask(move |shared| async move {
            let mut client = shared.client().await?;
            let change = client.begin().await?;
            let mut all = Vec::with_capacity(carried.len());
            for TokenBytes { token_id, bytes } in carried {
                let bytes = i64::try_from(bytes).unwrap_or(BYTES_USED_MAX).min(BYTES_USED_MAX);
                let sql = "UPDATE token_terms SET bytes_used = least(bytes_used + $2, $3)
                           WHERE token = (SELECT number FROM token WHERE id = $1) RETURNING bytes_used";
                let row = change.query_opt(sql, &[&&*token_id, &bytes, &BYTES_USED_MAX]).await;
                let Some(row) = row.map_err(|error| failed(&error))? else { continue };
                let bytes = row.try_get::<_, i64>(0).map_err(|error| failed(&error))?.unsigned_abs();
                all.push(TokenBytes { token_id, bytes });
            }
            commit(change, &shared.link).await?;
            client.done();
            Ok(all)
        })
    }

    pub(crate) fn forget_tokens(&self) -> Result<bool, StoreError> {
        self.ask(|shared| async move { shared.forget().await })
    }
}

impl Shared {
    /// Revokes a token; none where there is none, or none of the key `by_key`.
    pub(super) async fn revoke_token(&self, id: &str, by_key: Option<&str>) -> Result<Option<Arc<Token>>, StoreError> {
        let mut client = self.client().await?;
        let change = client.begin().await?;
        // The row is locked, so that two nodes agree on the first time.
        let sql = select!("WHERE id = $1 AND ($2::text IS NULL OR key_id = $2) FOR UPDATE OF token");
        let row = change.query_opt(sql, &[&id, &by_key]).await.map_err(|error| failed(&error))?;
        let mut kept = row.as_ref().map(read).transpose()?;
        if let Some(kept) = kept.as_mut().filter(|kept| kept.token.revoked_at.is_none()) {
            let sql = "UPDATE token SET revoked_at = keymoat_now() WHERE number = $1 RETURNING revoked_at";
            let row = change.query_one(sql, &[&kept.number]).await;
            let at = row.and_then(|row| row.try_get(0)).map_err(|error| failed(&error))?;
            kept.token.revoked_at = Some(UnixMillis(at));
            keys::count_change(&change).await?;
        }
        commit(change, &self.link).await?;
        client.done();
        Ok(kept.map(|kept| Arc::new(kept.token)))
    }

    pub(super) async fn mint(&self, order: MintOrder) -> Result<Minting, StoreError> {
        let mut client = self.client().await?;
        let change = client.begin().await?;
        let minting = mint::mint(&change, &self.pepper, order).await?;
        commit(change, &self.link).await?;
        client.done();
        Ok(minting)
    }

    /// Forgets some of what ended long ago, and says whether there may be more of it. Nodes that do it at once do not
    /// wait for each other.
    pub(super) async fn forget(&self) -> Result<bool, StoreError> {
        let client = self.client().await?;
        // A token's row among the holders of places goes with it; its sessions have ended long ago.
        let tokens = "WITH gone AS (DELETE FROM token WHERE number IN
            (SELECT number FROM token WHERE live_until <= keymoat_now() - $1 ORDER BY live_until LIMIT $2
             FOR UPDATE SKIP LOCKED) RETURNING id),
            let_go AS (DELETE FROM holder USING gone WHERE holder.id = gone.id)
            SELECT id FROM gone";
        let sessions = "DELETE FROM token_session WHERE sid IN
            (SELECT sid FROM token_session
             WHERE opened_at < keymoat_now() - $1 OR opened_at > keymoat_now() + $2 LIMIT $3 FOR UPDATE SKIP LOCKED)";
        let tokens_max = FORGET_ROWS_MAX / 8;
        let gone = client.query(tokens, &[&REMEMBERED_MILLIS, &tokens_max]).await.map_err(|error| failed(&error))?;
        let closed = client.execute(sessions, &[&REPEATED_MILLIS, &AHEAD_MILLIS, &FORGET_ROWS_MAX]).await;
        let closed = closed.map_err(|error| failed(&error))?;
        client.done();
        Ok(gone.len() as u64 >= tokens_max.unsigned_abs() || closed >= FORGET_ROWS_MAX.unsigned_abs())
    }

    async fn states(&self, sql: &str, what: &[&(dyn ToSql + Sync)]) -> Result<Vec<TokenState>, StoreError> {
        let mut client = self.client().await?;
        let moment = client.moment().await?;
        let rows = moment.query(sql, what).await.map_err(|error| failed(&error))?;
        let kept = rows.iter().map(read).collect::<Result<Vec<Kept>, _>>()?;
        let asked: Vec<Asked> = kept.iter().map(|kept| Asked::fresh(kept.digest)).collect();
        let told = denials(&*moment, &asked).await?;
        drop(moment);
        client.done();
        let state = |(kept, told): (Kept, super::claims::Told)| TokenState {
            token: Arc::new(kept.token),
            uses_left: kept.uses_left,
            denial: told.denial,
        };
        Ok(kept.into_iter().zip(told).map(state).collect())
    }
}

/// Stores a token and gives its number.
pub(super) async fn insert(change: &Transaction<'_>, token: &Token, digest: &Digest) -> Result<i64, StoreError> {
    let uses = match token.uses {
        Uses::Unlimited => None,
        Uses::AtMost(uses) => Some(i64::from(uses)),
    };
    let origins: Vec<&str> = token.origins.iter().map(Origin::as_str).collect();
    let origins = (!origins.is_empty()).then(|| origins.join(" "));
    let limit = |limit: Option<u64>| limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let limits = &token.limits;
    let run = async {
        let statement = change
            .prepare_cached(
                "WITH made AS (
                     INSERT INTO token (id, digest, pepper_version, key_id, key_is_stored, scopes, calls, uses_max,
                                        uses_left, created_at, start_by, live_until)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11) RETURNING number)
                 INSERT INTO token_terms (token, origins, duration_secs_max, bytes_max, messages_max, constraints, limits)
                 SELECT number, $12, $13, $14, $15, $16, $17 FROM made RETURNING token",
            )
            .await?;
        let row = change
            .query_one(
                &statement,
                &[
                    &&*token.id,
                    &&digest.0[..],
                    &PEPPER_VERSION,
                    &&*token.key_id,
                    &token.key_id.starts_with(id::KEY),
                    &token.scopes.words().join(" "),
                    &token.calls.word(),
                    &uses,
                    &token.created_at.0,
                    &token.start_by.0,
                    &token.live_until.0,
                    &origins,
                    &limit(limits.duration_secs_max),
                    &limit(limits.bytes_max),
                    &limit(limits.messages_max),
                    &token.constraint.to_json(),
                    &limits.overall_to_json(),
                ],
            )
            .await?;
        row.try_get(0)
    };
    run.await.map_err(|error: tokio_postgres::Error| failed(&error))
}

/// The tokens with these digests, in no order.
pub(super) async fn by_digests(
    client: &tokio_postgres::Client,
    statement: &tokio_postgres::Statement,
    digests: &[&[u8]],
) -> Result<Vec<(Digest, Arc<Token>)>, StoreError> {
    let rows = client.query(statement, &[&digests]).await.map_err(|error| failed(&error))?;
    rows.iter().map(|row| read(row).map(|kept| (kept.digest, Arc::new(kept.token)))).collect()
}

/// The statement of [`by_digests`].
pub(super) const BY_DIGESTS: &str = select!("WHERE digest = ANY ($1)");

/// The token with this number.
pub(super) async fn by_number(moment: &Transaction<'_>, number: i64) -> Result<Option<Kept>, StoreError> {
    let row = moment.query_opt(select!("WHERE token.number = $1"), &[&number]).await;
    row.map_err(|error| failed(&error))?.as_ref().map(read).transpose()
}

/// The ids of all revoked tokens that are remembered.
pub(super) async fn revoked(moment: &Transaction<'_>) -> Result<Vec<Arc<str>>, StoreError> {
    let rows = moment.query("SELECT id FROM token WHERE revoked_at IS NOT NULL", &[]).await;
    let ids = rows.and_then(|rows| rows.iter().map(|row| row.try_get::<_, &str>(0).map(Into::into)).collect());
    ids.map_err(|error| failed(&error))
}

/// How many tokens of a key may still open sessions; counts no further than `most`.
pub(super) async fn open_ones(change: &Transaction<'_>, key_id: &str, most: u32) -> Result<i64, StoreError> {
    let run = async {
        let statement = change
            .prepare_cached(
                "SELECT count(*) FROM (SELECT FROM token WHERE key_id = $1 AND start_by > keymoat_now()
                     AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0) LIMIT $2) AS open_ones",
            )
            .await?;
        change.query_one(&statement, &[&key_id, &i64::from(most)]).await?.try_get(0)
    };
    run.await.map_err(|error: tokio_postgres::Error| failed(&error))
}

/// Remembers resumption handles, and forgets the oldest of too many of one token. Of a token that is gone there are none.
pub(super) const NOTE_HANDLES: &str = "
    INSERT INTO token_handle (token, handle, given_at)
    SELECT token.number, given.handle, keymoat_now()
    FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS given (id, handle, place) JOIN token USING (id)
    ORDER BY given.place ON CONFLICT DO NOTHING";

/// The second half of [`NOTE_HANDLES`].
pub(super) const FORGET_HANDLES: &str = "
    DELETE FROM token_handle WHERE number IN (
        SELECT number FROM (
            SELECT number, row_number() OVER (PARTITION BY token ORDER BY number DESC) AS age FROM token_handle
            WHERE token IN (SELECT number FROM token WHERE id = ANY ($1))) AS aged
        WHERE age > $2)";

/// The bound of [`FORGET_HANDLES`].
pub(super) const HANDLES_KEPT: i64 = HANDLES_MAX;

fn read(row: &Row) -> Result<Kept, StoreError> {
    let kept = read_columns(row);
    // A value that cannot be what the schema says is damage too.
    kept.map_err(|error| error.map_or(StoreError::DatabaseDamaged, |error| failed(&error)))
}

/// None as an error is damage.
fn read_columns(row: &Row) -> Result<Kept, Option<tokio_postgres::Error>> {
    let text = |column| row.try_get::<_, &str>(column).map_err(Some);
    let number = |column| row.try_get::<_, i64>(column).map_err(Some);
    let maybe = |column| row.try_get::<_, Option<i64>>(column).map_err(Some);
    let count = |column| maybe(column)?.map(|count| u32::try_from(count).map_err(|_| None)).transpose();
    let limit = |column| Ok::<_, Option<tokio_postgres::Error>>(maybe(column)?.map(i64::unsigned_abs));
    let origins = row.try_get::<_, Option<&str>>(11).map_err(Some)?.unwrap_or_default();
    let origins: Result<Vec<Origin>, _> = origins.split_ascii_whitespace().map(Origin::parse).collect();
    let of_session = TokenLimits {
        duration_secs_max: limit(12)?,
        bytes_max: limit(13)?,
        messages_max: limit(14)?,
        ..TokenLimits::default()
    };
    let limits = match row.try_get::<_, Option<&str>>(17).map_err(Some)? {
        Some(overall) => of_session.with_overall(overall).map_err(|_| None)?,
        None => of_session,
    };
    let token = Token {
        id: text(1)?.into(),
        key_id: text(2)?.into(),
        scopes: Scopes::from_words(text(3)?.split_ascii_whitespace()),
        calls: Calls::from_word(text(4)?).ok_or(None)?,
        uses: count(5)?.map_or(Uses::Unlimited, Uses::AtMost),
        created_at: UnixMillis(number(7)?),
        start_by: UnixMillis(number(8)?),
        live_until: UnixMillis(number(9)?),
        revoked_at: maybe(10)?.map(UnixMillis),
        origins: origins.map_err(|_| None)?,
        limits,
        bytes_used: number(18)?.unsigned_abs(),
        constraint: Constraint::from_json(text(15)?).map_err(|_| None)?,
    };
    let digest = row.try_get::<_, &[u8]>(16).map_err(Some)?.try_into().map_err(|_| None)?;
    Ok(Kept { number: number(0)?, token, uses_left: count(6)?, digest: Digest(digest) })
}
