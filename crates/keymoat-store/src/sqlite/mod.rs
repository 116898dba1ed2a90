//! The store in one folder: a SQLite database in WAL mode, and the master key beside it or elsewhere.
//!
//! INVARIANT: `reader` never writes: it sees the writes of this process, through `writer` and the desk's own
//! connection, like those of others.

pub(crate) mod admin_orders;
pub(crate) mod admins;
mod backup;
mod claims;
mod copy;
pub(crate) mod desk;
mod key_store;
mod keys;
pub(crate) mod mint;
mod nodes;
mod overrides;
mod parts;
mod places;
pub(crate) mod schema;
mod secrets;
mod token_store;
pub(crate) mod tokens;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use keymoat_core::{Pepper, Snapshot};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::master_key::MasterKey;
use crate::postgres::ChangeMark;
use crate::private_file::PrivateFileError;
use crate::seal::Kek;
use crate::upstream_secret::Change;
use crate::{BUSY_WAIT, file_system, master_key, private_file};

pub use self::claims::{OPEN_SESSION, TAKE_USE};
pub(crate) use self::key_store::{DAYS_REMEMBERED, live};
pub(crate) use self::secrets::Before;

/// A store on SQLite; used through [`crate::Store`].
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    file: FileId,
    pepper: Arc<Pepper>,
    kek: Kek,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

/// What a reader has seen of a store's changes; starts with nothing.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    seen: Option<Seen>,
    pub(crate) secrets: secrets::Versions,
    /// The same for PostgreSQL.
    pub(crate) mark: Option<ChangeMark>,
}

impl Watch {
    /// The count of changes that the view shows.
    pub(crate) fn changes(&self) -> i64 {
        let of_postgres = self.mark.as_ref().map(|(seq, _)| *seq);
        of_postgres.or(self.seen.map(|seen| seen.seq)).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// SQLite's own counter of commits by other connections: a cheap hint.
    data_version: i64,
    /// The sequence of the changes that a snapshot shows.
    seq: i64,
}

/// Which file a path led to (device and inode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl Sqlite {
    pub(crate) fn open(dir: &Path, master_key: &MasterKey) -> Result<Self, StoreError> {
        private_file::create_folder(dir)?;
        file_system::refuse_network(dir)?;
        let _lock = file_system::lock(dir)?;
        let path = dir.join("keymoat.db");
        let place = || master_key.place(dir);
        let master = match (master_key.read(dir)?, master_key) {
            (Some(master), _) => master,
            (None, _) if path.exists() => return Err(StoreError::MasterKeyMissing { place: place() }),
            (None, MasterKey::InFolder) => master_key::create(dir)?,
            (None, _) => return Err(StoreError::MasterKeyAbsent { place: place() }),
        };
        let pepper = Arc::new(Pepper::derive(&master));
        let kek = Kek::derive(&master);
        create_database(&path)?;
        private_file::check(&path)?;
        let file = FileId::of(&path)?;
        let mut writer = connect(&path)?;
        schema::migrate(&mut writer)?;
        schema::prove_pepper(&mut writer, &pepper, place())?;
        let reader = connect(&path)?;
        reader.pragma_update(None, "query_only", true)?;
        keys::teach(&reader)?;
        Ok(Self { path, file, pepper, kek, writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    /// The folder that the database is in.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    pub(crate) fn pepper(&self) -> &Arc<Pepper> {
        &self.pepper
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut reader = held(&self.reader);
        let moment = reader.transaction()?;
        self.snapshot_of(&moment)
    }

    pub(crate) fn changed_since(&self, watch: &mut Watch) -> Result<Option<Change>, StoreError> {
        self.refuse_replaced()?;
        let mut reader = held(&self.reader);
        // Read before the sequence: a commit in between shows as a new version the next time, never as none.
        let data_version = reader.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if watch.seen.is_some_and(|seen| seen.data_version == data_version) {
            return Ok(None);
        }
        let moment = reader.transaction()?;
        let seq = keys::change_seq(&moment)?;
        if let Some(seen) = watch.seen.as_mut().filter(|seen| seen.seq == seq) {
            seen.data_version = data_version;
            return Ok(None);
        }
        let snapshot = self.snapshot_of(&moment)?;
        let secrets = secrets::changes(&moment, &self.kek, &mut watch.secrets)?;
        let overrides = overrides::all(&moment)?;
        watch.seen = Some(Seen { data_version, seq });
        Ok(Some(Change { snapshot, secrets, overrides }))
    }

    fn snapshot_of(&self, moment: &Connection) -> Result<Snapshot, StoreError> {
        let keys = keys::by_digest(moment)?;
        Ok(Snapshot::new(Arc::clone(&self.pepper), keys).with_revoked_tokens(tokens::revoked(moment)?))
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.refuse_replaced()?;
        let found: String = held(&self.reader).pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if found != "ok" {
            return Err(StoreError::Unsound { path: self.path.clone() });
        }
        let mut writer = held(&self.writer);
        // Taken back at its end: a write that is possible is all that is to be known.
        let change = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        keys::count_change(&change)?;
        Ok(change.rollback()?)
    }

    /// A file that was moved away still answers, but nobody else's revocations reach it.
    fn refuse_replaced(&self) -> Result<(), StoreError> {
        match FileId::of(&self.path) {
            Ok(file) if file == self.file => Ok(()),
            _ => Err(StoreError::Replaced { path: self.path.clone() }),
        }
    }
}

impl FileId {
    fn of(path: &Path) -> Result<Self, PrivateFileError> {
        let metadata = fs::metadata(path).map_err(|source| PrivateFileError::Io {
            action: "examine",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }
}

/// How often a lock is looked at that another connection holds, and for how long so often.
const LOOK_OFTEN: Duration = Duration::from_micros(100);
const OFTEN_FOR: Duration = Duration::from_millis(20);
const LOOK_SELDOM: Duration = Duration::from_millis(2);

/// A panic while the lock was held has rolled its transaction back: the connection itself is sound.
pub(crate) fn held(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the file with the right mode before SQLite can make it with another; its WAL inherits the mode.
pub(crate) fn create_database(path: &Path) -> Result<(), PrivateFileError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(refused) if refused.kind() != io::ErrorKind::AlreadyExists => {
            Err(PrivateFileError::Io { action: "create", path: path.to_owned(), source: refused })
        }
        _ => Ok(()),
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    wait_for_locks(&mut connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // FULL: a commit that was acknowledged survives a power loss.
    connection.pragma_update(None, "synchronous", "full")?;
    // What is deleted or retired is overwritten, not only forgotten.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    keep_plans(&connection)?;
    Ok(connection)
}

/// Makes whoever finds the database locked wait for up to [`BUSY_WAIT`], looking often at first: SQLite's own wait soon
/// sleeps for longer than a group of claims holds the lock.
pub(crate) fn wait_for_locks(connection: &mut Connection) -> Result<(), StoreError> {
    let mut began = Instant::now();
    connection.busy_handler(Some(move |count| {
        if count == 0 {
            began = Instant::now();
        }
        let waited = began.elapsed();
        thread::sleep(if waited < OFTEN_FOR { LOOK_OFTEN } else { LOOK_SELDOM });
        waited < BUSY_WAIT
    }))?;
    Ok(())
}

/// Keeps SQLite from preparing a statement anew whenever other values are bound to it ("QPSG" in its documentation): that
/// took as long as the statement itself.
pub(crate) fn keep_plans(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use keymoat_core::{Key, Secret, UnixMillis};

    use super::*;
    use crate::new_key::NewKey;

    fn create(store: &Sqlite, name: &str) -> Result<Key, StoreError> {
        store.create_key(NewKey::named(name), &Secret::from(name), UnixMillis(1))
    }

    #[test]
    fn a_full_disk_is_called_full_and_leaves_what_there_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(dir.path(), &MasterKey::InFolder).unwrap();
        // SQLite's own bound stands in for the disk's: it fails in the same place and with the same code.
        let pages: i64 = held(&store.writer).pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        held(&store.writer).pragma_update_and_check(None, "max_page_count", pages + 1, |_| Ok(())).unwrap();
        let made = (0..10_000).take_while(|number| match create(&store, &format!("number {number}")) {
            Ok(_) => true,
            Err(StoreError::Full { .. }) => false,
            Err(other) => panic!("{other}"),
        });
        let made = made.count();
        assert!((1..10_000).contains(&made), "{made}");
        assert_eq!(store.keys().unwrap().len(), made);
        assert_eq!(store.snapshot().unwrap().keys.len(), made);
    }

    #[test]
    fn a_failing_disk_is_told_from_a_full_one() {
        let failed = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        let error = StoreError::from(rusqlite::Error::SqliteFailure(failed, None));
        assert!(matches!(error, StoreError::Io { .. }));
    }

    #[test]
    fn acknowledged_commits_are_synced_and_the_reader_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(dir.path(), &MasterKey::InFolder).unwrap();
        let ask = |name: &str| -> String {
            let writer = held(&store.writer);
            writer
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
                .map_or_else(|error| error.to_string(), |value| format!("{value:?}"))
        };
        assert_eq!(ask("journal_mode"), r#"Text("wal")"#);
        assert_eq!(ask("synchronous"), "Integer(2)");
        assert_eq!(ask("secure_delete"), "Integer(1)");
        assert_eq!(ask("foreign_keys"), "Integer(1)");
        assert!(held(&store.writer).db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG).unwrap());
        assert!(keys::count_change(&held(&store.reader)).is_err());
    }
}
