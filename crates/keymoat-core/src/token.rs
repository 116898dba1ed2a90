//! What is known of a short-lived token, without the token itself.

use std::sync::Arc;

use crate::key::Scopes;
use crate::origin::Origins;
use crate::time::UnixMillis;

/// A token as decisions see it. The credential is not in it; the store finds it by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its stable id, such as `tok_7f3k…`: safe to log, and what commands name it by.
    pub id: Arc<str>,
    /// The key that it was minted from.
    pub key_id: Arc<str>,
    /// The routes that it may use; never `mint`.
    pub scopes: Scopes,
    /// What it may open.
    pub calls: Calls,
    /// How many sessions it may open.
    pub uses: Uses,
    /// When it was made.
    pub created_at: UnixMillis,
    /// From when on it opens no new session.
    pub start_by: UnixMillis,
    /// When it, and its sessions, end.
    pub live_until: UnixMillis,
    /// Since when it is revoked.
    pub revoked_at: Option<UnixMillis>,
    /// The pages that may use it.
    pub origins: Origins,
    /// How much one of its sessions may take.
    pub limits: SessionLimits,
    /// What its sessions may ask for.
    pub constraint: Constraint,
}

/// What a token may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Requests and WebSockets.
    Any,
    /// WebSockets only.
    LiveOnly,
}

/// How many sessions a token may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    /// As many as it likes.
    Unlimited,
    /// So many.
    AtMost(u32),
}

/// How much one session may take; nothing said, no limit of the token's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLimits {
    /// Seconds.
    pub duration_secs_max: Option<u64>,
    /// Bytes, both directions together.
    pub bytes_max: Option<u64>,
    /// Messages, both directions together.
    pub messages_max: Option<u64>,
}

/// What a token's sessions may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Constraint {
    /// Whatever the route lets pass.
    #[default]
    None,
}

/// A token to be made. Its secret is handed in beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The key that it is minted from.
    pub key_id: Arc<str>,
    /// The routes that it may use.
    pub scopes: Scopes,
    /// What it may open.
    pub calls: Calls,
    /// How many sessions it may open.
    pub uses: Uses,
    /// From when on it opens no new session.
    pub start_by: UnixMillis,
    /// When it, and its sessions, end.
    pub live_until: UnixMillis,
    /// The pages that may use it.
    pub origins: Origins,
    /// How much one of its sessions may take.
    pub limits: SessionLimits,
    /// What its sessions may ask for.
    pub constraint: Constraint,
    /// Two requests with the same one get the same token.
    pub idempotency_key: Option<String>,
}
