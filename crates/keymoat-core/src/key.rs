//! What is known of a long-lived key, without the key itself.

use std::sync::Arc;

use crate::limits::KeyLimits;
use crate::time::UnixMillis;

/// The scope that allows minting tokens; no route has this name.
pub const MINT: &str = "mint";

/// A key has so many secrets at once that work: the newest, and while it is rotated the one before.
pub const LIVE_SECRETS_MAX: usize = 2;

/// A key as decisions see it. The credential is not in it; the snapshot finds it by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its stable id, such as `key_7f3k…`: safe to log, and what commands name it by.
    pub id: Arc<str>,
    /// The name that a person gave it.
    pub name: Arc<str>,
    /// Who answers for it, in a person's own words.
    pub owner: Option<Arc<str>>,
    /// Where it may be used.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: UnixMillis,
    /// From when on it is refused, if ever.
    pub expires_at: Option<UnixMillis>,
    /// Since when it is revoked.
    pub revoked_at: Option<UnixMillis>,
    /// When somebody is to be reminded that it wants another secret.
    pub rotate_after: Option<RotateAfter>,
    /// Its secrets, oldest first: one, two while it is rotated, and the last ones that have ended, whose holders are told.
    pub secrets: Vec<KeySecret>,
    /// How much may be done with it and its tokens.
    pub limits: KeyLimits,
}

/// What is known of one secret of a key: neither the secret nor its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    /// Its stable id, such as `sec_7f3k…`: safe to log.
    pub id: Arc<str>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// From when on it is refused, because another one took its place.
    pub ends_at: Option<UnixMillis>,
    /// What all keys of its form begin with, such as `km_`: nothing of the secret itself. Absent where its form is not ours
    /// or not known.
    pub prefix: Option<Arc<str>>,
}

impl KeySecret {
    /// Whether it works at `now`.
    #[must_use]
    pub fn is_live(&self, now: UnixMillis) -> bool {
        self.ends_at.is_none_or(|at| at > now)
    }
}

/// When a key wants another secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RotateAfter {
    /// At this moment, unless its newest secret is younger than that.
    Moment(UnixMillis),
    /// When its newest secret is so many milliseconds old.
    Age(i64),
}

impl Key {
    /// A key that may be used everywhere, without an end, limits or secrets.
    #[must_use]
    pub fn new(id: &str, name: &str, created_at: UnixMillis) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            owner: None,
            scopes: Scopes::All,
            created_at,
            expires_at: None,
            revoked_at: None,
            rotate_after: None,
            secrets: Vec::new(),
            limits: KeyLimits::default(),
        }
    }

    /// The same key with one secret more, which has no end.
    #[must_use]
    pub fn with_secret(mut self, id: &str, created_at: UnixMillis) -> Self {
        self.secrets.push(KeySecret { id: id.into(), created_at, ends_at: None, prefix: None });
        self
    }

    /// The secret with this id.
    #[must_use]
    pub fn secret(&self, secret_id: &str) -> Option<&KeySecret> {
        self.secrets.iter().find(|secret| &*secret.id == secret_id)
    }

    /// The secret that clients are to come with: the last one that was made.
    #[must_use]
    pub fn newest_secret(&self) -> Option<&KeySecret> {
        self.secrets.last()
    }

    /// The secret that works beside the newest one at `now`, until its end.
    #[must_use]
    pub fn ending_secret(&self, now: UnixMillis) -> Option<&KeySecret> {
        let (_, before) = self.secrets.split_last()?;
        before.iter().rev().find(|secret| secret.is_live(now))
    }

    /// Whether it is neither revoked nor expired at `now`.
    #[must_use]
    pub fn is_live(&self, now: UnixMillis) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| at > now)
    }

    /// When it wants another secret, if somebody said so; the moment may have passed.
    #[must_use]
    pub fn rotation_due(&self) -> Option<UnixMillis> {
        let newest = self.newest_secret().map_or(self.created_at, |secret| secret.created_at);
        match self.rotate_after? {
            RotateAfter::Moment(at) => (newest < at).then_some(at),
            RotateAfter::Age(millis) => Some(newest.plus_millis(millis)),
        }
    }
}

/// Where a key may be used: route names, or all of them; the scope `mint` allows minting tokens and is not a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// Every route, those that come later too; also `mint`.
    All,
    /// These and no others.
    Only(Vec<Arc<str>>),
}

impl Scopes {
    /// Reads the stored list; the single entry `*` means all.
    #[must_use]
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let words: Vec<Arc<str>> = words.into_iter().map(Arc::from).collect();
        if words.iter().any(|word| &**word == "*") { Self::All } else { Self::Only(words) }
    }

    /// The list as it is stored and shown.
    #[must_use]
    pub fn words(&self) -> Vec<Arc<str>> {
        match self {
            Self::All => vec!["*".into()],
            Self::Only(words) => words.clone(),
        }
    }

    /// Whether `word` (a route's name, or `mint`) is within them.
    #[must_use]
    pub fn allow(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(words) => words.iter().any(|known| &**known == word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_allows_everything_and_a_list_only_itself() {
        assert!(Scopes::from_words(["*"]).allow("voice"));
        let some = Scopes::from_words(["voice", "mint"]);
        assert!(some.allow("voice") && some.allow("mint") && !some.allow("events"));
        assert!(!Scopes::from_words([]).allow("voice"));
    }

    #[test]
    fn a_rotation_is_due_by_the_age_of_the_newest_secret() {
        let mut key = Key::new("key_1", "one", UnixMillis(0)).with_secret("sec_1", UnixMillis(100));
        assert_eq!(key.rotation_due(), None);
        key.rotate_after = Some(RotateAfter::Age(1000));
        assert_eq!(key.rotation_due(), Some(UnixMillis(1100)));
        key.rotate_after = Some(RotateAfter::Moment(UnixMillis(500)));
        assert_eq!(key.rotation_due(), Some(UnixMillis(500)));
        let rotated = key.clone().with_secret("sec_2", UnixMillis(500));
        assert_eq!(rotated.rotation_due(), None, "it was rotated when it was due");
        let aged = Key { rotate_after: Some(RotateAfter::Age(1000)), ..rotated };
        assert_eq!(aged.rotation_due(), Some(UnixMillis(1500)));
    }

    #[test]
    fn the_ending_secret_is_the_one_before_the_newest_for_as_long_as_it_works() {
        let mut key = Key::new("key_1", "one", UnixMillis(0)).with_secret("sec_1", UnixMillis(0));
        assert_eq!(key.ending_secret(UnixMillis(1)), None);
        key = key.with_secret("sec_2", UnixMillis(10));
        if let Some(first) = key.secrets.first_mut() {
            first.ends_at = Some(UnixMillis(20));
        }
        let ending = |now| key.ending_secret(UnixMillis(now)).map(|secret| &*secret.id);
        assert_eq!((ending(19), ending(20)), (Some("sec_1"), None));
        assert_eq!(key.newest_secret().map(|secret| &*secret.id), Some("sec_2"));
    }
}
