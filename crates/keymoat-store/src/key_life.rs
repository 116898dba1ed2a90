//! What may be done to a key after it was made: its rotation, its changes, and how others are taken over.

use keymoat_core::{Key, KeyLimits, RotateAfter, Scopes, UnixMillis};

use crate::error::StoreError;
use crate::new_key::{NewKey, check_expiry, check_limits, check_owner, name_is_valid, scopes_are_valid};

/// An old secret may work beside the new one for so long, in milliseconds: a year.
pub const OVERLAP_MILLIS_MAX: i64 = 366 * 24 * 3_600_000;

/// How a key is to get another secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// For how long the secret in use goes on working, in milliseconds from 0, which ends it at once, to
    /// [`OVERLAP_MILLIS_MAX`].
    pub overlap_millis: i64,
    /// What happens if an older secret still works, because the last rotation has not come to its end.
    pub while_rotating: WhileRotating,
    /// Nothing is done if the newest secret is younger than so many milliseconds, so that a timer may ask again and again.
    pub unless_younger_than_millis: Option<i64>,
}

/// What a rotation does while another one is going on: a key has two secrets that work, and never three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhileRotating {
    /// It is refused. A rotation that is repeated by mistake changes nothing.
    #[default]
    Refuse,
    /// The oldest secret ends at once.
    EndOldest,
}

/// What became of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The secret that was handed in works.
    Done(Key),
    /// The newest secret is too young. The one that was handed in is not kept.
    NotDue(Key),
}

impl Rotated {
    /// The key as it is now.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Done(key) | Self::NotDue(key) => key,
        }
    }
}

/// What is to be different about a key; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// See [`Key::name`].
    pub name: Option<String>,
    /// See [`Key::owner`]; `Some(None)` is nobody in particular.
    pub owner: Option<Option<String>>,
    /// See [`Key::scopes`].
    pub scopes: Option<Scopes>,
    /// See [`Key::expires_at`]; `Some(None)` is never.
    pub expires_at: Option<Option<UnixMillis>>,
    /// See [`Key::rotate_after`]; `Some(None)` is never.
    pub rotate_after: Option<Option<RotateAfter>>,
    /// See [`Key::limits`]: all of them are replaced.
    pub limits: Option<KeyLimits>,
    /// The change is refused unless the key still is this one.
    pub only_if: Option<Key>,
}

impl KeyChange {
    /// What is to be different, in words: `name, limits`.
    #[must_use]
    pub fn words(&self) -> String {
        let words = [
            ("name", self.name.is_some()),
            ("scopes", self.scopes.is_some()),
            ("expiry", self.expires_at.is_some()),
            ("rotation", self.rotate_after.is_some()),
            ("limits", self.limits.is_some()),
        ];
        words.into_iter().filter_map(|(word, differs)| differs.then_some(word)).collect::<Vec<_>>().join(", ")
    }

    /// The key with what is to be different.
    pub(crate) fn applied_to(&self, key: &Key, now: UnixMillis) -> Result<Key, StoreError> {
        if self.only_if.as_ref().is_some_and(|expected| expected != key) {
            return Err(StoreError::KeyChangedMeanwhile);
        }
        let mut changed = key.clone();
        if let Some(name) = &self.name {
            if !name_is_valid(name) {
                return Err(StoreError::NameInvalid);
            }
            changed.name = name.as_str().into();
        }
        if let Some(owner) = &self.owner {
            check_owner(owner.as_deref())?;
            changed.owner = owner.as_deref().map(Into::into);
        }
        if let Some(scopes) = &self.scopes {
            if !scopes_are_valid(scopes) {
                return Err(StoreError::ScopesInvalid);
            }
            changed.scopes = scopes.clone();
        }
        if let Some(expires_at) = self.expires_at {
            check_expiry(expires_at, now)?;
            changed.expires_at = expires_at;
        }
        if let Some(rotate_after) = self.rotate_after {
            changed.rotate_after = rotate_after;
        }
        if let Some(limits) = &self.limits {
            check_limits(limits)?;
            changed.limits = limits.clone();
        }
        Ok(changed)
    }
}

/// A key that is taken over, with the secret that its holders have already.
#[derive(Debug)]
pub struct Import<'a> {
    /// What it is to be.
    pub new: NewKey,
    /// The secret in its canonical form. Only its digest is kept.
    pub secret: &'a keymoat_core::Secret,
}

/// Whether an import is done or only tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// Everything that can be taken over is.
    Commit,
    /// Nothing changes; what is told is what would have been.
    DryRun,
}

/// What became of one key of an import.
#[derive(Debug)]
pub enum Imported {
    /// It was taken over.
    Made(Key),
    /// Its secret is known already: as a secret of this key, also one that has ended.
    Known(Key),
    /// It cannot be taken over. The others are.
    Refused(StoreError),
}

/// What was counted of one day towards the limits of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayUse {
    /// The key, of the store or of the configuration.
    pub key_id: std::sync::Arc<str>,
    /// The day of UTC, counted from 1970 on.
    pub day: i64,
    /// Requests.
    pub requests: u64,
    /// Payload bytes of both directions.
    pub bytes: u64,
}
