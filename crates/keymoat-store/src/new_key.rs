//! What someone asks for when they make a key, and the checks that it passes before it is stored.

use std::sync::Arc;

use keymoat_core::{Key, KeyLimits, RotateAfter, Scopes, Secret, UnixMillis, format};

use crate::error::StoreError;
use crate::id;

/// A key's name may have this many characters.
pub const NAME_CHARS_MAX: usize = 100;

/// What is said of a key's owner may have this many characters.
pub const OWNER_CHARS_MAX: usize = 100;

/// A key to be made. Its secret is handed in beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The name that a person gives it, unique among the keys that are not revoked.
    pub name: String,
    /// Who answers for it: a person, a team, an address; one line of up to [`OWNER_CHARS_MAX`] characters.
    pub owner: Option<String>,
    /// Where it may be used.
    pub scopes: Scopes,
    /// From when on it is refused, if ever.
    pub expires_at: Option<UnixMillis>,
    /// When somebody is to be reminded that it wants another secret.
    pub rotate_after: Option<RotateAfter>,
    /// How much may be done with it.
    pub limits: KeyLimits,
}

impl NewKey {
    /// A key that may be used everywhere, without an end and without limits.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let limits = KeyLimits::default();
        Self { name: name.to_owned(), owner: None, scopes: Scopes::All, expires_at: None, rotate_after: None, limits }
    }

    /// Checks what was asked for and gives it an id, and one to its first secret, which begins with `prefix`.
    pub(crate) fn into_key(self, prefix: Option<Arc<str>>, now: UnixMillis) -> Result<Key, StoreError> {
        if !name_is_valid(&self.name) {
            return Err(StoreError::NameInvalid);
        }
        if !scopes_are_valid(&self.scopes) {
            return Err(StoreError::ScopesInvalid);
        }
        check_owner(self.owner.as_deref())?;
        check_expiry(self.expires_at, now)?;
        check_limits(&self.limits)?;
        let key = Key {
            owner: self.owner.map(Arc::from),
            scopes: self.scopes,
            expires_at: self.expires_at,
            rotate_after: self.rotate_after,
            limits: self.limits,
            ..Key::new(&id::draw(id::KEY)?, &self.name, now)
        };
        let mut key = key.with_secret(&id::draw(id::SECRET)?, now);
        key.secrets.iter_mut().for_each(|secret| secret.prefix.clone_from(&prefix));
        Ok(key)
    }
}

/// What may be shown of a secret for good: what all of its form begin with.
pub(crate) fn public_prefix(secret: &Secret) -> Option<Arc<str>> {
    format::public_prefix(secret).map(Arc::from)
}

/// An owner is shown like a name, and is no place for a credential.
pub(crate) fn check_owner(owner: Option<&str>) -> Result<(), StoreError> {
    let Some(owner) = owner else { return Ok(()) };
    let is_valid = (1..=OWNER_CHARS_MAX).contains(&owner.chars().count())
        && owner.trim() == owner
        && !owner.chars().any(char::is_control)
        && !format::is_in(owner.as_bytes());
    if is_valid { Ok(()) } else { Err(StoreError::OwnerInvalid) }
}

pub(crate) fn check_expiry(expires_at: Option<UnixMillis>, now: UnixMillis) -> Result<(), StoreError> {
    match expires_at.filter(|expires_at| *expires_at <= now) {
        Some(expires_at) => Err(StoreError::ExpiryPassed { expires_at, now }),
        None => Ok(()),
    }
}

pub(crate) fn check_limits(limits: &KeyLimits) -> Result<(), StoreError> {
    limits.check().map_err(StoreError::Limits)
}

/// A name is shown in terminals and logs, and must not be mistaken for an id or be a credential.
pub(crate) fn name_is_valid(name: &str) -> bool {
    let taken = ["km_", "kmt_", "kma_", id::KEY, id::SECRET, id::TOKEN, id::ADMIN];
    (1..=NAME_CHARS_MAX).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control)
        && !taken.iter().any(|prefix| name.starts_with(prefix))
}

/// A `*` among other words would come back as "all" when it is read.
pub(crate) fn scopes_are_valid(scopes: &Scopes) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word != "*" && !word.contains(|c: char| c.is_whitespace() || c.is_control());
    match scopes {
        Scopes::All => true,
        Scopes::Only(words) => !words.is_empty() && words.iter().all(|word| is_word(word)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn new(name: &str, scopes: Scopes) -> NewKey {
        NewKey { scopes, ..NewKey::named(name) }
    }

    #[test]
    fn takes_ordinary_names() {
        for name in ["backend", "voice app (staging)", "münchen", "a", &"x".repeat(NAME_CHARS_MAX)] {
            let key = new(name, Scopes::All).into_key(None, UnixMillis(1)).unwrap();
            assert_eq!(&*key.name, name);
            assert!(key.id.starts_with("key_") && key.id.len() == 16, "{}", key.id);
        }
    }

    #[test]
    fn refuses_names_that_mislead_and_does_not_repeat_them() {
        for name in ["", " a", "a ", "a\nb", "a\u{1b}[2J", "km_pasted", "kmt_pasted", "key_0123", &"x".repeat(101)] {
            let refused = new(name, Scopes::All).into_key(None, UnixMillis(1)).unwrap_err();
            assert!(matches!(refused, StoreError::NameInvalid), "{name:?}");
            assert!(!refused.to_string().contains("pasted"));
        }
    }

    #[test]
    fn an_owner_is_one_short_line_without_a_credential() {
        let owned = |owner: &str| {
            let new = NewKey { owner: Some(owner.to_owned()), ..NewKey::named("a") };
            new.into_key(None, UnixMillis(1)).map(|key| key.owner)
        };
        assert_eq!(owned("Payments, payments@example.org").unwrap().as_deref(), Some("Payments, payments@example.org"));
        for owner in ["", " a", "a\nb", "a\u{1b}[2J", "ask km_0123456789abcdef", &"x".repeat(OWNER_CHARS_MAX + 1)] {
            let refused = owned(owner).unwrap_err();
            assert!(matches!(refused, StoreError::OwnerInvalid), "{owner:?}");
            assert!(!refused.to_string().contains("0123456789"));
        }
    }

    #[test]
    fn refuses_scopes_that_would_be_read_back_as_others() {
        for words in [vec![], vec![""], vec!["a b"], vec!["a", "*"], vec!["a\tb"]] {
            let scopes = Scopes::Only(words.into_iter().map(Into::into).collect());
            assert!(matches!(new("a", scopes).into_key(None, UnixMillis(1)), Err(StoreError::ScopesInvalid)));
        }
    }

    #[test]
    fn refuses_a_key_that_has_expired() {
        let expired = NewKey { expires_at: Some(UnixMillis(5)), ..new("a", Scopes::All) };
        assert!(matches!(expired.clone().into_key(None, UnixMillis(5)), Err(StoreError::ExpiryPassed { .. })));
        assert!(expired.into_key(None, UnixMillis(4)).is_ok());
    }
}
