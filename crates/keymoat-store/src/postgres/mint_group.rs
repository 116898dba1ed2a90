//! Minting in groups: what waits is minted in one transaction, so that a key's tokens do not wait for a commit each.
//!
//! ```text
//! orders ─▶ lock of each key, in one order ─▶ time, keys and counts, read after the locks ─▶ one insert ─▶ commit
//! ```
//! An order with an idempotency key is none for a group: the same one may stand in it twice.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::Transaction;
use keymoat_core::token::Uses;
use keymoat_core::{Digest, Pepper, Token, UnixMillis};

use super::error::failed;
use super::{Shared, commit};
use crate::error::StoreError;
use crate::id;
use crate::sqlite::mint::{made, makes_sense};
use crate::sqlite::schema::PEPPER_VERSION;
use crate::token::{MintDenial, MintOrder, Minted, Minting};

/// The locks are taken in one order, whoever mints: nobody waits in a circle.
const LOCK: &str = "
    SELECT pg_advisory_xact_lock(lock) FROM (
        SELECT DISTINCT hashtextextended(key_id, 1) AS lock FROM unnest($1::text[]) AS asked (key_id) ORDER BY 1) AS locks";

/// The time, whether each key stands, and how many tokens it has that may still open sessions, no further than `$3`.
const KEYS: &str = "
    SELECT keymoat_now(),
           NOT is_stored OR EXISTS (SELECT FROM api_key WHERE id = asked.key_id AND revoked_at IS NULL
               AND (expires_at IS NULL OR expires_at > keymoat_now())),
           (SELECT count(*) FROM (SELECT FROM token WHERE key_id = asked.key_id AND start_by > keymoat_now()
               AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0) LIMIT most) AS open_ones)
    FROM unnest($1::text[], $2::boolean[], $3::bigint[]) WITH ORDINALITY AS asked (key_id, is_stored, most, place)
    ORDER BY place";

const INSERT: &str = "
    WITH asked AS (
        SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::bigint[],
                             $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[],
                             $14::bigint[], $15::text[], $17::text[])
            AS asked (id, digest, key_id, key_is_stored, scopes, calls, uses, created_at, start_by, live_until, origins,
                      duration_secs_max, bytes_max, messages_max, constraints, limits)
    ), made AS (
        INSERT INTO token (id, digest, pepper_version, key_id, key_is_stored, scopes, calls, uses_max, uses_left,
                           created_at, start_by, live_until)
        SELECT id, digest, $16, key_id, key_is_stored, scopes, calls, uses, uses, created_at, start_by, live_until
        FROM asked RETURNING number, id
    )
    INSERT INTO token_terms (token, origins, duration_secs_max, bytes_max, messages_max, constraints, limits)
    SELECT number, origins, duration_secs_max, bytes_max, messages_max, constraints, limits FROM made JOIN asked USING (id)";

/// A key of the orders, as of the moment when nobody else mints from it.
struct Minter {
    stands: bool,
    open: i64,
}

impl Shared {
    /// Mints all of them or none, and gives what became of each in their order.
    pub(super) async fn mint_group(&self, orders: Vec<MintOrder>) -> Result<Vec<Minting>, StoreError> {
        let mut client = self.client().await?;
        let change = client.begin().await?;
        let (now, mut keys) = keys(&change, &orders).await?;
        let (mut minted, mut digests) = (Vec::new(), Vec::new());
        let mut decide = |order: MintOrder| -> Result<Minting, StoreError> {
            let Some(key) = keys.get_mut(&*order.token.key_id) else { return Err(StoreError::DatabaseDamaged) };
            if let Some(denial) = key.denial(&order, now) {
                return Ok(Minting::Denied(denial));
            }
            key.open += 1;
            let token = Arc::new(made(order.token, now)?);
            // Only the digest of the secret is stored.
            digests.push(digest(&self.pepper, &order.secret));
            minted.push(Arc::clone(&token));
            Ok(Minting::Made(Minted { token, secret: order.secret }))
        };
        let told = orders.into_iter().map(&mut decide).collect::<Result<Vec<_>, _>>()?;
        if !minted.is_empty() {
            insert(&change, &minted, &digests).await?;
        }
        commit(change, &self.link).await?;
        client.done();
        Ok(told)
    }
}

impl Minter {
    fn denial(&self, order: &MintOrder, now: UnixMillis) -> Option<MintDenial> {
        let live_tokens_max = order.live_tokens_max;
        if !makes_sense(&order.token, now) {
            return Some(MintDenial::Senseless);
        }
        if !self.stands {
            return Some(MintDenial::KeyRevoked);
        }
        (self.open >= i64::from(live_tokens_max)).then_some(MintDenial::TooManyLive { live_tokens_max })
    }
}

/// Waits until nobody else mints from the keys of these orders, and reads the time and what holds of the keys.
async fn keys(
    change: &Transaction<'_>,
    orders: &[MintOrder],
) -> Result<(UnixMillis, HashMap<String, Minter>), StoreError> {
    let mut most: HashMap<&str, i64> = HashMap::new();
    for order in orders {
        let most = most.entry(&order.token.key_id).or_default();
        *most = (*most).max(order.live_tokens_max.into());
    }
    let (ids, most): (Vec<&str>, Vec<i64>) = most.into_iter().unzip();
    let stored: Vec<bool> = ids.iter().map(|id| id.starts_with(id::KEY)).collect();
    let run = async {
        let lock = change.prepare_cached(LOCK).await?;
        change.execute(&lock, &[&ids]).await?;
        let read = change.prepare_cached(KEYS).await?;
        let rows = change.query(&read, &[&ids, &stored, &most]).await?;
        let mut now = UnixMillis(0);
        let mut keys = HashMap::with_capacity(ids.len());
        for (id, row) in ids.iter().zip(rows) {
            now = UnixMillis(row.try_get(0)?);
            keys.insert((*id).to_owned(), Minter { stands: row.try_get(1)?, open: row.try_get(2)? });
        }
        Ok((now, keys))
    };
    run.await.map_err(|error: tokio_postgres::Error| failed(&error))
}

fn digest(pepper: &Pepper, secret: &keymoat_core::Secret) -> Digest {
    // It is what the token is known by.
    pepper.digest(secret.expose())
}

async fn insert(change: &Transaction<'_>, tokens: &[Arc<Token>], digests: &[Digest]) -> Result<(), StoreError> {
    fn each<'a, T>(tokens: &'a [Arc<Token>], column: impl Fn(&'a Token) -> T) -> Vec<T> {
        tokens.iter().map(|token| column(token)).collect()
    }
    let limit = |limit: Option<u64>| limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let digests: Vec<&[u8]> = digests.iter().map(|digest| &digest.0[..]).collect();
    let uses = |token: &Token| match token.uses {
        Uses::Unlimited => None,
        Uses::AtMost(uses) => Some(i64::from(uses)),
    };
    let origins = |token: &Token| {
        let origins: Vec<&str> = token.origins.iter().map(keymoat_core::Origin::as_str).collect();
        (!origins.is_empty()).then(|| origins.join(" "))
    };
    let run = async {
        let statement = change.prepare_cached(INSERT).await?;
        change
            .execute(
                &statement,
                &[
                    &each(tokens, |token| &*token.id),
                    &digests,
                    &each(tokens, |token| &*token.key_id),
                    &each(tokens, |token| token.key_id.starts_with(id::KEY)),
                    &each(tokens, |token| token.scopes.words().join(" ")),
                    &each(tokens, |token| token.calls.word()),
                    &each(tokens, uses),
                    &each(tokens, |token| token.created_at.0),
                    &each(tokens, |token| token.start_by.0),
                    &each(tokens, |token| token.live_until.0),
                    &each(tokens, origins),
                    &each(tokens, |token| limit(token.limits.duration_secs_max)),
                    &each(tokens, |token| limit(token.limits.bytes_max)),
                    &each(tokens, |token| limit(token.limits.messages_max)),
                    &each(tokens, |token| token.constraint.to_json()),
                    &PEPPER_VERSION,
                    &each(tokens, |token| token.limits.overall_to_json()),
                ],
            )
            .await
    };
    run.await.map(drop).map_err(|error: tokio_postgres::Error| failed(&error))
}
