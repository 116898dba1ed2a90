//! What the holder of a whole token is told when it is refused. Nobody else learns that there is such a token.

use crate::refusal::{Code, Refusal};

/// The token's time is over.
#[must_use]
pub fn expired() -> Refusal {
    Refusal::new(Code::TokenExpired, "the token's time is over: mint a new one")
}

/// The token begins nothing new any more.
#[must_use]
pub fn start_passed() -> Refusal {
    Refusal::new(Code::TokenExpired, "the time to start with this token is over: mint a new one and connect at once")
}

/// The key that the token was minted from has expired.
#[must_use]
pub fn key_expired() -> Refusal {
    Refusal::new(Code::TokenExpired, "the key that minted this token has expired: mint a new one with another key")
}

/// All uses are spent.
#[must_use]
pub fn used_up() -> Refusal {
    Refusal::new(Code::TokenUsedUp, "the token has no uses left: mint a new one")
}

/// All its sessions together have carried as much as they may.
#[must_use]
pub fn carried_all(total_bytes: u64) -> Refusal {
    let text = format!("the token has {total_bytes} bytes in all, and they are used up: mint a new one");
    Refusal::new(Code::TokenUsedUp, text)
}

/// The session was resumed on another connection, and the token has no use for both.
#[must_use]
pub fn resumed_elsewhere() -> Refusal {
    Refusal::new(Code::TokenUsedUp, "the token's newest session took the place of this one: it has no more uses")
}

/// The token was revoked.
#[must_use]
pub fn revoked() -> Refusal {
    Refusal::new(Code::CredentialRevoked, "this token was revoked: mint a new one")
}

/// The key that the token was minted from was revoked.
#[must_use]
pub fn key_revoked() -> Refusal {
    Refusal::new(Code::CredentialRevoked, "the key that minted this token was revoked: mint one with another key")
}

/// The setup names a session that this token was not given.
#[must_use]
pub fn foreign_handle() -> Refusal {
    Refusal::new(Code::Forbidden, "the resumption handle is not one that this token was given: start a new session")
}
