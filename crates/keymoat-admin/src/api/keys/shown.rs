//! A key as the API shows it, without its secrets.

use keymoat_core::key::{KeySecret, RotateAfter};
use keymoat_core::{Key, UnixMillis};
use keymoat_store::events::LastUse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::limits::LimitsBody;
use crate::api::moment::Moment;

/// Whether a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum KeyState {
    /// It works.
    Live,
    /// Its time is over.
    Expired,
    /// Somebody revoked it.
    Revoked,
}

impl From<KeyState> for keymoat_store::KeyState {
    fn from(state: KeyState) -> Self {
        match state {
            KeyState::Live => Self::Live,
            KeyState::Expired => Self::Expired,
            KeyState::Revoked => Self::Revoked,
        }
    }
}

/// Where a key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum KeySource {
    /// In the store.
    Store,
    /// In the configuration, and changed there.
    File,
}

/// A key, without its secrets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(in crate::api) struct KeyShown {
    /// Such as `key_7f3k…`.
    id: String,
    /// The name.
    name: String,
    /// Who answers for it; null where nobody said so.
    owner: Option<String>,
    /// What its newest secret begins with, such as `km_`: all that is public of it. Null for one that came from elsewhere.
    prefix: Option<String>,
    /// Where it is kept.
    source: KeySource,
    /// The routes that it may use, `mint` to make tokens, or `*` for everything.
    scopes: Vec<String>,
    /// Whether it works.
    state: KeyState,
    /// When it was made.
    created_at: Moment,
    /// From when on it is refused; null for never.
    expires_at: Option<Moment>,
    /// Since when it is revoked.
    revoked_at: Option<Moment>,
    /// From when on its secret is to be replaced; null where nobody is reminded.
    rotate_after: Option<Moment>,
    /// How old its secret may become before that, in seconds.
    rotate_after_secs: Option<i64>,
    /// Its secrets, the oldest first: two while it is rotated.
    secrets: Vec<SecretShown>,
    /// How much may be done with it; null where nothing is limited.
    limits: Option<LimitsBody>,
}

/// A secret of a key, without the secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeySecret)]
pub(in crate::api) struct SecretShown {
    /// Such as `sec_7f3k…`.
    id: String,
    /// When it was made.
    created_at: Moment,
    /// From when on it is refused, because another one took its place; null for never.
    ends_at: Option<Moment>,
    /// Whether it works.
    is_live: bool,
}

/// A key of a list: when and how it last came is no part of its state, and so of no `ETag`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct KeyListed {
    /// The key.
    #[serde(flatten)]
    key: KeyShown,
    /// When it, or a token of it, last went upstream or was refused; null if that was not seen.
    last_used_at: Option<Moment>,
    /// Where the credential sat then.
    last_carrier: Option<String>,
}

impl KeyListed {
    /// The key at `now`, and where it was seen last.
    pub(super) fn of(key: &Key, last: Option<&LastUse>, now: UnixMillis) -> Self {
        Self {
            key: KeyShown::of(key, now),
            last_used_at: last.map(|last| Moment(last.at)),
            last_carrier: last.map(|last| last.carrier.clone()),
        }
    }
}

impl KeyShown {
    /// The key at `now`.
    pub(super) fn of(key: &Key, now: UnixMillis) -> Self {
        let is_of_file = ["file_", "env_"].iter().any(|prefix| key.id.starts_with(prefix));
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            owner: key.owner.as_ref().map(ToString::to_string),
            prefix: key.newest_secret().and_then(|secret| secret.prefix.as_ref()).map(ToString::to_string),
            source: if is_of_file { KeySource::File } else { KeySource::Store },
            scopes: key.scopes.words().iter().map(ToString::to_string).collect(),
            state: state(key, now),
            created_at: Moment(key.created_at),
            expires_at: key.expires_at.map(Moment),
            revoked_at: key.revoked_at.map(Moment),
            rotate_after: key.rotation_due().map(Moment),
            rotate_after_secs: match key.rotate_after {
                Some(RotateAfter::Age(millis)) => Some(millis / 1000),
                _ => None,
            },
            secrets: key.secrets.iter().map(|secret| SecretShown::of(secret, now)).collect(),
            limits: LimitsBody::of(&key.limits),
        }
    }
}

impl SecretShown {
    fn of(secret: &KeySecret, now: UnixMillis) -> Self {
        Self {
            id: secret.id.to_string(),
            created_at: Moment(secret.created_at),
            ends_at: secret.ends_at.map(Moment),
            is_live: secret.is_live(now),
        }
    }
}

/// Whether a key works at `now`.
fn state(key: &Key, now: UnixMillis) -> KeyState {
    match keymoat_store::KeyState::of(key, now) {
        keymoat_store::KeyState::Live => KeyState::Live,
        keymoat_store::KeyState::Expired => KeyState::Expired,
        keymoat_store::KeyState::Revoked => KeyState::Revoked,
    }
}
