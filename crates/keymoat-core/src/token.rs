//! What is known of a short-lived token, without the token itself.

mod constraint;
pub mod explained;
mod limits;
pub mod own;
pub(crate) mod request;
pub mod told;

use std::sync::Arc;

use crate::format::Spelling;
use crate::key::Scopes;
use crate::origin::Origin;
use crate::secret::Secret;
use crate::time::UnixMillis;

pub use constraint::{Constraint, MalformedConstraint};
pub use limits::{MalformedLimits, TokenLimits};

/// An idempotency key may be this long.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A token as decisions see it. The credential is not in it; the store finds it by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its stable id, such as `tok_7f3k…`: safe to log.
    pub id: Arc<str>,
    /// The id of the key that it was minted from. The token ends with it.
    pub key_id: Arc<str>,
    /// The routes that it may use, of those that its key may use. `mint` in it means nothing: no token mints tokens.
    pub scopes: Scopes,
    /// What it may be used for there.
    pub calls: Calls,
    /// How many sessions or requests it may begin.
    pub uses: Uses,
    /// When it was minted.
    pub created_at: UnixMillis,
    /// From when on it begins nothing new. A session may be resumed until `live_until`.
    pub start_by: UnixMillis,
    /// From when on it is refused, and its sessions end.
    pub live_until: UnixMillis,
    /// Since when it is revoked.
    pub revoked_at: Option<UnixMillis>,
    /// Pages of which origins may use it, beyond what the route says; empty for no such limit. Pages of the gateway's own
    /// origin and clients that name none are not kept out: see [`crate::origin`].
    pub origins: Vec<Origin>,
    /// What one session of it may take, and all of them together.
    pub limits: TokenLimits,
    /// Payload bytes that the store knew its sessions to have carried when it was asked; counted where `limits` has a total.
    pub bytes_used: u64,
    /// What its sessions may ask for.
    pub constraint: Constraint,
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Calls {
    /// Everything that its routes take.
    Any,
    /// WebSockets only: what providers mint is for live sessions.
    LiveOnly,
}

impl Calls {
    /// The stored word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::LiveOnly => "live",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Any, Self::LiveOnly].into_iter().find(|calls| calls.word() == word)
    }
}

/// How often a token may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uses {
    /// As often as its time allows.
    Unlimited,
    /// So many sessions or requests, at least one. Resuming a session is not a use.
    AtMost(u32),
}

/// A token that is to be made: all that the store needs, but for the credential, the id and the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The id of the key that mints it.
    pub key_id: Arc<str>,
    /// See [`Token::scopes`].
    pub scopes: Scopes,
    /// See [`Token::calls`].
    pub calls: Calls,
    /// See [`Token::uses`].
    pub uses: Uses,
    /// See [`Token::start_by`].
    pub start_by: UnixMillis,
    /// See [`Token::live_until`].
    pub live_until: UnixMillis,
    /// See [`Token::origins`].
    pub origins: Vec<Origin>,
    /// See [`Token::limits`].
    pub limits: TokenLimits,
    /// See [`Token::constraint`].
    pub constraint: Constraint,
    /// The same key and the same request again give the same token: visible ASCII, at most
    /// [`IDEMPOTENCY_KEY_BYTES_MAX`].
    pub idempotency_key: Option<Arc<str>>,
}

/// What a request for a token asks for, before it is known who asks and by which route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTokenParts {
    /// The routes that it names; `None` if it names none.
    pub scopes: Option<Scopes>,
    /// See [`Token::calls`].
    pub calls: Calls,
    /// See [`Token::uses`].
    pub uses: Uses,
    /// See [`Token::start_by`].
    pub start_by: UnixMillis,
    /// See [`Token::live_until`].
    pub live_until: UnixMillis,
    /// See [`Token::origins`].
    pub origins: Vec<Origin>,
    /// See [`Token::limits`].
    pub limits: TokenLimits,
    /// See [`Token::constraint`].
    pub constraint: Constraint,
    /// See [`NewToken::idempotency_key`].
    pub idempotency_key: Option<Arc<str>>,
}

impl NewTokenParts {
    /// The whole, minted from the key with `key_id`; `scopes` where the request named none.
    #[must_use]
    pub fn minted_from(self, key_id: Arc<str>, scopes: Scopes) -> NewToken {
        NewToken {
            key_id,
            scopes: self.scopes.unwrap_or(scopes),
            calls: self.calls,
            uses: self.uses,
            start_by: self.start_by,
            live_until: self.live_until,
            origins: self.origins,
            limits: self.limits,
            constraint: self.constraint,
            idempotency_key: self.idempotency_key,
        }
    }
}

/// What may be minted: by a route's `tokens`, or by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MintRules {
    /// The most uses of one token.
    pub uses_max: Option<u32>,
    /// Whether a token may have no limit of uses. With `uses_max` none may.
    pub unlimited_allowed: bool,
    /// How long a token may live, in milliseconds, and how long it may begin sessions.
    pub live_millis_max: i64,
    /// How many tokens of one key may be alive at once.
    pub live_tokens_max: u32,
}

impl Default for MintRules {
    /// Google's own bound, 20 hours, and no other on one token; 10 000 tokens of one key.
    fn default() -> Self {
        Self { uses_max: None, unlimited_allowed: true, live_millis_max: 20 * 3_600_000, live_tokens_max: 10_000 }
    }
}

impl MintRules {
    /// Whether tokens without a limit of uses may be minted.
    #[must_use]
    pub const fn allow_unlimited(&self) -> bool {
        self.unlimited_allowed && self.uses_max.is_none()
    }
}

/// A token in one of its spellings, for the answer to whoever minted it.
///
/// ```
/// use keymoat_core::{Secret, format::Spelling, token};
/// let spelled = token::spelled(&Secret::from("kmt_x"), Spelling::AuthTokens);
/// assert!(spelled.matches(&Secret::from("auth_tokens/kmt_x")));
/// ```
#[must_use]
pub fn spelled(canonical: &Secret, spelling: Spelling) -> Secret {
    written(canonical, &[Piece::Token(spelling)])
}

/// A part of an answer that holds a token.
pub(crate) enum Piece<'a> {
    /// What stands around it.
    Text(&'a str),
    /// The token itself, which has no character that JSON escapes.
    Token(Spelling),
}

/// The pieces one after the other, which together are as secret as the token.
pub(crate) fn written(canonical: &Secret, pieces: &[Piece<'_>]) -> Secret {
    let mut text = Vec::with_capacity(512);
    for piece in pieces {
        match piece {
            Piece::Text(around) => text.extend_from_slice(around.as_bytes()),
            Piece::Token(spelling) => {
                text.extend_from_slice(spelling.prefix().as_bytes());
                // The copy is a secret again.
                text.extend_from_slice(canonical.expose());
            }
        }
    }
    Secret::new(text)
}
