//! The state that decisions read: immutable, in memory, replaced as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::digest::{Digest, Pepper};
use crate::key::Key;

/// Everything the store knows that a decision needs. A request holds one snapshot for its whole road.
#[derive(Debug)]
pub struct Snapshot {
    /// What credentials are digested with before they are looked up.
    pub pepper: Arc<Pepper>,
    /// All keys, revoked and expired ones too, so that their holders can be told.
    pub keys: HashMap<Digest, Arc<Key>>,
    by_id: HashMap<Arc<str>, Arc<Key>>,
    revoked: HashSet<Arc<str>>,
    revoked_tokens: HashSet<Arc<str>>,
}

impl Snapshot {
    /// Of all `keys`, found by their digests under `pepper`.
    #[must_use]
    pub fn new(pepper: Arc<Pepper>, keys: HashMap<Digest, Arc<Key>>) -> Self {
        let revoked = keys.values().filter(|key| key.revoked_at.is_some()).map(|key| key.id.clone()).collect();
        let by_id = keys.values().map(|key| (key.id.clone(), Arc::clone(key))).collect();
        Self { pepper, keys, by_id, revoked, revoked_tokens: HashSet::new() }
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
