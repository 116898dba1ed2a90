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
    revoked: HashSet<Arc<str>>,
}

impl Snapshot {
    /// Of all `keys`, found by their digests under `pepper`.
    #[must_use]
    pub fn new(pepper: Arc<Pepper>, keys: HashMap<Digest, Arc<Key>>) -> Self {
        let revoked = keys.values().filter(|key| key.revoked_at.is_some()).map(|key| key.id.clone()).collect();
        Self { pepper, keys, revoked }
    }

    /// Whether the key with this id is known to be revoked.
    #[must_use]
    pub fn is_revoked(&self, key_id: &str) -> bool {
        self.revoked.contains(key_id)
    }
}
