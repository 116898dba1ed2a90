//! The state that decisions read: immutable, in memory, replaced as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::digest::{Digest, Pepper};
use crate::key::Key;
use crate::time::UnixMillis;

/// What a digest leads to: a key, and which of its secrets it is the digest of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The key.
    pub key: Arc<Key>,
    /// The id of the secret. A secret that the key does not have lets nobody in.
    pub secret_id: Arc<str>,
}

impl Held {
    /// The newest secret of a key; a key without one is let in by nothing.
    #[must_use]
    pub fn newest(key: Arc<Key>) -> Self {
        let secret_id = key.newest_secret().map(|secret| Arc::clone(&secret.id)).unwrap_or_default();
        Self { key, secret_id }
    }
}

/// Everything the store knows that a decision needs. A request holds one snapshot for its whole road.
#[derive(Debug)]
pub struct Snapshot {
    /// What credentials are digested with before they are looked up.
    pub pepper: Arc<Pepper>,
    /// All keys, revoked and expired ones too, and their secrets that have ended, so that their holders can be told.
    pub keys: HashMap<Digest, Held>,
    by_id: HashMap<Arc<str>, Arc<Key>>,
    revoked: HashSet<Arc<str>>,
    revoked_tokens: HashSet<Arc<str>>,
    /// When keys that are not revoked expire, earliest first.
    expiries: Vec<(UnixMillis, Arc<str>)>,
}

impl Snapshot {
    /// Of all `keys`, found by their digests under `pepper`.
    #[must_use]
    pub fn new(pepper: Arc<Pepper>, keys: HashMap<Digest, Held>) -> Self {
        let by_id: HashMap<Arc<str>, Arc<Key>> =
            keys.values().map(|held| (held.key.id.clone(), Arc::clone(&held.key))).collect();
        let revoked = by_id.values().filter(|key| key.revoked_at.is_some()).map(|key| key.id.clone()).collect();
        let expires = |key: &Arc<Key>| Some((key.expires_at.filter(|_| key.revoked_at.is_none())?, key.id.clone()));
        let mut expiries: Vec<_> = by_id.values().filter_map(expires).collect();
        expiries.sort_unstable();
        Self { pepper, keys, by_id, revoked, revoked_tokens: HashSet::new(), expiries }
    }

    /// The same, with the ids of revoked tokens whose sessions may still live. Tokens themselves are not in it: the
    /// store is asked for each.
    #[must_use]
    pub fn with_revoked_tokens(mut self, ids: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.revoked_tokens.extend(ids);
        self
    }

    /// The key with this id.
    #[must_use]
    pub fn key_by_id(&self, key_id: &str) -> Option<&Arc<Key>> {
        self.by_id.get(key_id)
    }

    /// Whether the key with this id is known to be revoked.
    #[must_use]
    pub fn is_revoked(&self, key_id: &str) -> bool {
        self.revoked.contains(key_id)
    }

    /// Each key once, in no order.
    pub fn each_key(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.by_id.values()
    }

    /// The ids of the keys that expired after `since` and not after `now`; those that are revoked are not among them.
    pub fn expired_within(&self, since: Option<UnixMillis>, now: UnixMillis) -> impl Iterator<Item = &Arc<str>> {
        let from = since.map_or(0, |since| self.expiries.partition_point(|(at, _)| *at <= since));
        let to = self.expiries.partition_point(|(at, _)| *at <= now);
        self.expiries.get(from..to).unwrap_or_default().iter().map(|(_, id)| id)
    }

    /// The ids of the revoked tokens in it.
    pub fn revoked_tokens(&self) -> impl Iterator<Item = &Arc<str>> {
        self.revoked_tokens.iter()
    }

    /// Whether the token with this id is known to be revoked. One that is not may be revoked all the same, if the store
    /// says so.
    #[must_use]
    pub fn is_token_revoked(&self, token_id: &str) -> bool {
        self.revoked_tokens.contains(token_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn keys_expire_in_the_order_of_their_moments_and_each_once() {
        let pepper = Arc::new(Pepper::derive(&Secret::from("a master key of thirty-two bytes")));
        let expiring = |id: &str, at, revoked_at| {
            let key = Key { expires_at: Some(UnixMillis(at)), revoked_at, ..Key::new(id, id, UnixMillis(0)) };
            (pepper.digest(id.as_bytes()), Held::newest(Arc::new(key)))
        };
        let keys = HashMap::from([
            expiring("b", 20, None),
            expiring("a", 10, None),
            expiring("gone", 10, Some(UnixMillis(1))),
            expiring("c", 30, None),
        ]);
        let snapshot = Snapshot::new(Arc::clone(&pepper), keys);
        let expired = |since: Option<i64>, now| -> Vec<&str> {
            snapshot.expired_within(since.map(UnixMillis), UnixMillis(now)).map(|id| &**id).collect()
        };
        assert_eq!(expired(None, 9), [""; 0]);
        assert_eq!(expired(None, 20), ["a", "b"]);
        assert_eq!(expired(Some(10), 20), ["b"]);
        assert_eq!(expired(Some(20), 10), [""; 0], "a clock that steps back expires nothing");
    }
}
