//! Keeps: Keymoat's keys behind one [`Store`], snapshots of it, and the feed that notices changes of other processes.
//!
//! This is the only crate with SQL. No credential is ever stored: a key is found by its keyed digest.
//! Every function here may wait for the disk (bounded by [`BUSY_WAIT`] for locks), so none is called from a thread
//! that serves connections.

mod error;
pub mod feed;
mod file_system;
mod master_key;
mod new_key;
pub mod private_file;
mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keymoat_core::{Key, Pepper, Secret, Snapshot, UnixMillis};

pub use error::StoreError;
pub use feed::{Feed, Freshness};
pub use new_key::{NAME_CHARS_MAX, NewKey};
pub use sqlite::{Sqlite, Watch};

/// How long a reader or writer waits for another process's lock before it gives up with [`StoreError::Busy`].
pub const BUSY_WAIT: Duration = Duration::from_millis(250);

/// Where keys are kept. Several processes may have one store open at once.
#[derive(Debug)]
pub enum Store {
    /// One folder with a SQLite database and the master key.
    Sqlite(Sqlite),
}

impl Store {
    /// Opens the store in the folder `dir` and makes folder, database and master key where they are missing.
    ///
    /// The folder gets mode 0700, `keymoat.db` and `master.key` 0600; the schema is brought up to date.
    ///
    /// # Errors
    /// A master key or database that others can read, a missing or wrong master key, a schema that is newer than this
    /// program, a network file system, and whatever the disk or SQLite refuses.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Sqlite::open(dir).map(Self::Sqlite)
    }

    /// What credentials are digested with before they are stored or looked up.
    #[must_use]
    pub fn pepper(&self) -> &Arc<Pepper> {
        match self {
            Self::Sqlite(sqlite) => sqlite.pepper(),
        }
    }

    /// Stores a new key with the digest of `secret`, which is its canonical form and is not kept. Draws the key's id.
    ///
    /// # Errors
    /// A name that is taken or malformed, scopes that mean nothing, an expiry that has passed, and whatever the disk refuses.
    pub fn create_key(&self, new: NewKey, secret: &Secret, now: UnixMillis) -> Result<Key, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.create_key(new, secret, now),
        }
    }

    /// All keys, oldest first, the expired and revoked ones too.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn keys(&self) -> Result<Vec<Key>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.keys(),
        }
    }

    /// The key with this id or name. Of several keys with one name it is the live one, or else the one revoked last.
    ///
    /// # Errors
    /// [`StoreError::KeyUnknown`] when there is none, and whatever the disk refuses.
    pub fn key(&self, id_or_name: &str) -> Result<Key, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.key(id_or_name),
        }
    }

    /// Revokes the key with this id or name, durably, and gives it back. A key that is revoked keeps its first time.
    ///
    /// # Errors
    /// [`StoreError::KeyUnknown`] when there is none, and whatever the disk refuses. After [`StoreError::Io`] the
    /// revocation may or may not have happened: repeat it.
    pub fn revoke_key(&self, id_or_name: &str, now: UnixMillis) -> Result<Key, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.revoke_key(id_or_name, now),
        }
    }

    /// Everything that decisions need, as of one moment.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.snapshot(),
        }
    }

    /// A snapshot if anything changed since `watch` saw one, by this process or another; the first time always.
    ///
    /// Cheap when nothing changed. `watch` moves on only when a snapshot is returned, so a failure loses nothing.
    /// A watch belongs to the store it was first used with.
    ///
    /// # Errors
    /// [`StoreError::Replaced`] when the database file is another one than was opened, and whatever the disk refuses.
    pub fn changed_since(&self, watch: &mut Watch) -> Result<Option<Snapshot>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.changed_since(watch),
        }
    }
}
