//! Minting: an order becomes a token, and the same order under its idempotency key the same token again.

use aws_lc_rs::rand;
use keymoat_core::format::{self, Kind};
use keymoat_core::token::{NewToken, TokenLimits, Uses};
use keymoat_core::{Digest, Origin, Pepper, Secret, Token, UnixMillis};
use rusqlite::{Connection, OptionalExtension, params};

use super::claims::{self, Use};
use super::tokens;
use crate::error::StoreError;
use crate::id;
use crate::new_key::scopes_are_valid;
use crate::token::{MintDenial, MintOrder, Minted, Minting};

/// What is digested of an order starts with these words, which no credential does.
const ORDER: &[u8] = b"keymoat token order v1\0";
const CONTENT: &[u8] = b"keymoat token order content v1\0";
const SEED: &[u8] = b"keymoat token order seed v1\0";

/// Mints a token inside the caller's transaction, or says why not.
pub(super) fn mint(connection: &Connection, pepper: &Pepper, order: MintOrder) -> Result<Minting, StoreError> {
    let MintOrder { token: new, secret, live_tokens_max, now } = order;
    if !makes_sense(&new, now) {
        return Ok(Minting::Denied(MintDenial::Senseless));
    }
    if !key_stands(connection, &new.key_id, now)? {
        return Ok(Minting::Denied(MintDenial::KeyRevoked));
    }
    let repeatable = new.idempotency_key.as_deref().map(|key| Repeatable::of(&new, key, pepper));
    if let Some(repeatable) = &repeatable
        && let Some(again) = repeatable.again(connection, pepper, now)?
    {
        return Ok(again);
    }
    if tokens::open_ones(connection, &new.key_id, now, live_tokens_max)? >= live_tokens_max {
        return Ok(Minting::Denied(MintDenial::TooManyLive { live_tokens_max }));
    }
    let seed = repeatable.as_ref().map(|_| draw_seed()).transpose()?;
    let secret = seed.as_ref().map_or(secret, |seed| grown(seed, pepper));
    let token = made(new, now)?;
    // Only the digest of the secret is stored.
    let digest = pepper.digest(secret.expose());
    let number = tokens::insert(connection, &token, &digest)?;
    if let (Some(Repeatable { order, content }), Some(seed)) = (repeatable, seed) {
        connection
            .prepare_cached("INSERT INTO token_order (token, digest, content, seed) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![number, order.0, content.0, seed])?;
    }
    Ok(Minting::Made(Minted { token: token.into(), secret }))
}

/// The two digests by which a repeated order is known.
pub(crate) struct Repeatable {
    pub(crate) order: Digest,
    pub(crate) content: Digest,
}

impl Repeatable {
    pub(crate) fn of(new: &NewToken, idempotency_key: &str, pepper: &Pepper) -> Self {
        let order = [ORDER, new.key_id.as_bytes(), b"\0", idempotency_key.as_bytes()].concat();
        Self { order: pepper.digest(&order), content: pepper.digest(&content(new)) }
    }

    /// What the order was answered with before, if it was.
    fn again(&self, connection: &Connection, pepper: &Pepper, now: UnixMillis) -> Result<Option<Minting>, StoreError> {
        let before: Option<(i64, [u8; 32], [u8; 32])> = connection
            .prepare_cached("SELECT token, content, seed FROM token_order WHERE digest = ?1")?
            .query_row([self.order.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((number, content, seed)) = before else { return Ok(None) };
        let conflict = Ok(Some(Minting::Denied(MintDenial::Conflict)));
        let Some(kept) = tokens::by_number(connection, number)? else { return conflict };
        if content != self.content.0 || claims::denial(connection, &kept.digest, Use::Fresh, now)?.is_some() {
            return conflict;
        }
        Ok(Some(Minting::Made(Minted { token: kept.token.into(), secret: grown(&seed, pepper) })))
    }
}

/// What was ordered, but for the times: a request that names none asks for others each time.
fn content(new: &NewToken) -> Vec<u8> {
    let origins: Vec<&str> = new.origins.iter().map(Origin::as_str).collect();
    let words = format!(
        "{}\0{:?}\0{:?}\0{}\0{:?}\0",
        new.scopes.words().join(" "),
        new.calls,
        new.uses,
        origins.join(" "),
        of_session(&new.limits)
    );
    let overall = new.limits.overall_to_json().unwrap_or_default();
    [CONTENT, words.as_bytes(), new.constraint.to_json().as_bytes(), overall.as_bytes()].concat()
}

/// The limits of one session. The form does not change: digests of it are kept.
fn of_session(limits: &TokenLimits) -> String {
    format!(
        "SessionLimits {{ duration_secs_max: {:?}, bytes_max: {:?}, messages_max: {:?} }}",
        limits.duration_secs_max, limits.bytes_max, limits.messages_max
    )
}

/// A token's secret that can be drawn again from its seed by whoever has the master key.
pub(crate) fn grown(seed: &[u8; 32], pepper: &Pepper) -> Secret {
    let mut block = 0_u32;
    format::generate(Kind::Token, &mut |bytes| {
        for chunk in bytes.chunks_mut(32) {
            let Digest(drawn) = pepper.digest(&[SEED, seed, &block.to_be_bytes()].concat());
            chunk.copy_from_slice(&drawn[..chunk.len()]);
            block += 1;
        }
    })
}

pub(crate) fn draw_seed() -> Result<[u8; 32], StoreError> {
    let mut seed = [0; 32];
    rand::fill(&mut seed).map_err(|_| StoreError::Random)?;
    Ok(seed)
}

/// A key of the configuration is the gateway's to judge.
fn key_stands(connection: &Connection, key_id: &str, now: UnixMillis) -> Result<bool, StoreError> {
    if !key_id.starts_with(id::KEY) {
        return Ok(true);
    }
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM api_key WHERE id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)",
    )?;
    Ok(statement.exists(params![key_id, now.0])?)
}

pub(crate) fn makes_sense(new: &NewToken, now: UnixMillis) -> bool {
    scopes_are_valid(&new.scopes)
        && new.uses != Uses::AtMost(0)
        && new.start_by > now
        && new.live_until > now
        && !new.key_id.is_empty()
}

pub(crate) fn made(new: NewToken, now: UnixMillis) -> Result<Token, StoreError> {
    Ok(Token {
        id: id::draw(id::TOKEN)?.into(),
        key_id: new.key_id,
        scopes: new.scopes,
        calls: new.calls,
        uses: new.uses,
        created_at: now,
        start_by: new.start_by,
        live_until: new.live_until,
        revoked_at: None,
        origins: new.origins,
        limits: new.limits,
        bytes_used: 0,
        constraint: new.constraint,
    })
}
