//! The state that decisions read: immutable, in memory, replaced as a whole.

use std::collections::HashMap;
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
}
