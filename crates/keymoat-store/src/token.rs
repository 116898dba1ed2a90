//! What is asked of the store about tokens, and what it answers.

use std::fmt;
use std::sync::Arc;

use keymoat_core::{Digest, NewToken, Secret, Token, UnixMillis};

/// A session's name, drawn at random by whoever opens it. A claim that is repeated under one name costs one use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 16]);

/// A session that a token is to open.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The session.
    pub session: SessionId,
    /// The token's digest.
    pub token: Digest,
    /// The digest of the handle by which the session resumes one before it, which costs no use.
    pub resumes: Option<Digest>,
    /// When it is asked.
    pub now: UnixMillis,
}

/// What becomes of a claim. It is durable when it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The session may be opened.
    Granted {
        /// It resumes one before it and has cost no use.
        resumed: bool,
    },
    /// The session may not be opened; nothing was consumed.
    Denied(Denial),
}

/// Why a token opens no session. Of several reasons the first one here is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No token has this digest.
    Unknown,
    /// The token was revoked.
    Revoked,
    /// The key that it was minted from was revoked, or is gone.
    KeyRevoked,
    /// The key that it was minted from has expired.
    KeyExpired,
    /// The token has expired.
    Expired,
    /// The handle was not issued to this token.
    ForeignHandle,
    /// The time to open new sessions has passed.
    StartPassed,
    /// No use is left.
    UsedUp,
}

/// A token to be minted.
#[derive(Debug)]
pub struct MintOrder {
    /// What it is to be.
    pub token: NewToken,
    /// The token itself, in its canonical form; another one is made for an order with an idempotency key.
    pub secret: Secret,
    /// How many tokens that may still open sessions its key may have, this one among them.
    pub live_tokens_max: u32,
    /// When it is asked.
    pub now: UnixMillis,
}

/// A token that was minted: the only time that its secret is given.
#[derive(Debug)]
pub struct Minted {
    /// What is known of it.
    pub token: Arc<Token>,
    /// The token itself, in its canonical form. It is not kept.
    pub secret: Secret,
}

/// What becomes of an order.
#[derive(Debug)]
pub enum Minting {
    /// A token; the same one for an order that is repeated under its idempotency key.
    Made(Minted),
    /// None.
    Denied(MintDenial),
}

/// Why no token is minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MintDenial {
    /// It would have no use, or be over before it begins, or its routes mean nothing.
    Senseless,
    /// The key was revoked, has expired or is gone.
    KeyRevoked,
    /// The key has as many tokens that may still open sessions as it may.
    TooManyLive {
        /// That many.
        live_tokens_max: u32,
    },
    /// The idempotency key stands for another token, or for one that opens no session any more.
    Conflict,
}

/// Payload bytes of a token's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBytes {
    /// The token's id.
    pub token_id: Arc<str>,
    /// How many.
    pub bytes: u64,
}

/// A token as the store has it, for whoever looks after it.
#[derive(Clone, Debug)]
pub struct TokenState {
    /// What is known of it.
    pub token: Arc<Token>,
    /// How many uses are left; none for a token whose uses are not counted.
    pub uses_left: Option<u32>,
    /// Why it would open no new session at the time it was asked.
    pub denial: Option<Denial>,
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}
