//! Minting: an order becomes a token, and the same order under its idempotency key the same token again.

use deadpool_postgres::Transaction;
use keymoat_core::{Digest, Pepper, UnixMillis};

use super::claims::{Asked, denials};
use super::error::failed;
use super::tokens;
use crate::error::StoreError;
use crate::id;
use crate::sqlite::mint::{Repeatable, draw_seed, grown, made, makes_sense};
use crate::token::{MintDenial, MintOrder, Minted, Minting};

/// Mints a token inside the caller's transaction, or says why not. The database's clock decides, not `order.now`.
pub(super) async fn mint(change: &Transaction<'_>, pepper: &Pepper, order: MintOrder) -> Result<Minting, StoreError> {
    let MintOrder { token: new, secret, live_tokens_max, .. } = order;
    let (now, key_stands) = begin(change, &new.key_id).await?;
    if !makes_sense(&new, now) {
        return Ok(Minting::Denied(MintDenial::Senseless));
    }
    if !key_stands {
        return Ok(Minting::Denied(MintDenial::KeyRevoked));
    }
    let repeatable = new.idempotency_key.as_deref().map(|key| Repeatable::of(&new, key, pepper));
    if let Some(repeatable) = &repeatable
        && let Some(again) = again(change, repeatable, pepper).await?
    {
        return Ok(again);
    }
    if tokens::open_ones(change, &new.key_id, live_tokens_max).await? >= i64::from(live_tokens_max) {
        return Ok(Minting::Denied(MintDenial::TooManyLive { live_tokens_max }));
    }
    let seed = repeatable.as_ref().map(|_| draw_seed()).transpose()?;
    let secret = seed.as_ref().map_or(secret, |seed| grown(seed, pepper));
    let token = made(new, now)?;
    // Only the digest of the secret is stored.
    let digest = pepper.digest(secret.expose());
    let number = tokens::insert(change, &token, &digest).await?;
    if let (Some(Repeatable { order, content }), Some(seed)) = (repeatable, seed) {
        let sql = "INSERT INTO token_order (token, digest, content, seed) VALUES ($1, $2, $3, $4)";
        let done = change.execute(sql, &[&number, &&order.0[..], &&content.0[..], &&seed[..]]).await;
        done.map_err(|error| failed(&error))?;
    }
    Ok(Minting::Made(Minted { token: token.into(), secret }))
}

/// Waits until nobody else mints from the key, so that its tokens are counted exactly, and tells the time and whether
/// the key stands. A key of the configuration is the gateway's to judge.
async fn begin(change: &Transaction<'_>, key_id: &str) -> Result<(UnixMillis, bool), StoreError> {
    let run = async {
        let lock = change.prepare_cached("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))").await?;
        change.execute(&lock, &[&key_id]).await?;
        let statement = change
            .prepare_cached(
                "SELECT keymoat_now(), NOT $2 OR EXISTS (SELECT FROM api_key WHERE id = $1 AND revoked_at IS NULL
                     AND (expires_at IS NULL OR expires_at > keymoat_now()))",
            )
            .await?;
        let row = change.query_one(&statement, &[&key_id, &key_id.starts_with(id::KEY)]).await?;
        Ok((UnixMillis(row.try_get(0)?), row.try_get(1)?))
    };
    run.await.map_err(|error: tokio_postgres::Error| failed(&error))
}

/// What the order was answered with before, if it was.
async fn again(
    change: &Transaction<'_>,
    repeatable: &Repeatable,
    pepper: &Pepper,
) -> Result<Option<Minting>, StoreError> {
    let sql = "SELECT token, content, seed FROM token_order WHERE digest = $1";
    let before = change.query_opt(sql, &[&&repeatable.order.0[..]]).await.map_err(|error| failed(&error))?;
    let Some(before) = before else { return Ok(None) };
    let bytes = |column| -> Result<[u8; 32], StoreError> {
        let bytes: &[u8] = before.try_get(column).map_err(|error| failed(&error))?;
        bytes.try_into().map_err(|_| StoreError::DatabaseDamaged)
    };
    let number = before.try_get(0).map_err(|error| failed(&error))?;
    let conflict = Ok(Some(Minting::Denied(MintDenial::Conflict)));
    let Some(kept) = tokens::by_number(change, number).await? else { return conflict };
    let is_same = Digest(bytes(1)?) == repeatable.content;
    let told = denials(&**change, &[Asked::fresh(kept.digest)]).await?;
    if !is_same || told.iter().any(|told| told.denial.is_some()) {
        return conflict;
    }
    Ok(Some(Minting::Made(Minted { token: kept.token.into(), secret: grown(&bytes(2)?, pepper) })))
}
