//! Keeps events and counts of them, in a database of its own beside the store's: `events.db`.
//!
//! ```text
//! append ──▶ one transaction: numbers, events, counts by hour and day, last seen ──▶ commit
//! events, usage, last_seen, url_clients ──▶ another connection, which never waits for the first
//! ```
//! Every process that has the folder may append: numbers are given inside the transaction, so that there are no gaps
//! and none is given twice.

pub(crate) mod count;
mod filter;
pub(crate) mod forget;
mod read;
mod schema;
mod store;
pub(crate) mod usage;
pub(crate) mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use keymoat_core::UnixMillis;
use keymoat_core::event::{Event, Kind, Severity};
use rusqlite::{Connection, OpenFlags, Row};

use crate::error::StoreError;
use crate::sqlite::{create_database, held, keep_plans, wait_for_locks};
use crate::{file_system, private_file};

pub use self::filter::{Filter, SCAN_MAX};
pub use self::forget::Retention;
pub use self::read::Page;
pub use self::store::EventStore;
pub use self::usage::{Counts, Dimension, LastSeen, LastUse, Span, UrlClients, UrlKeyUse, Usage, UsageQuery};

/// The name of the database in the store's folder.
pub const FILE_NAME: &str = "events.db";

/// What a commit outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process; a power loss may take the last moments.
    Process,
    /// A power loss.
    Power,
}

/// An event on its way into the store.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When it is written down.
    pub at: UnixMillis,
    /// What happened.
    pub event: &'a Event,
    /// Its JSON object, masked.
    pub body: &'a str,
}

/// An event of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub seq: u64,
    /// When it was written down.
    pub at: UnixMillis,
    /// What sort of event it is.
    pub kind: Kind,
    /// Its type, such as `request.refused`.
    pub word: Box<str>,
    /// How much it matters.
    pub severity: Severity,
    /// Its JSON object without the number.
    pub body: Box<str>,
}

impl Kept {
    /// The whole JSON object: the number, when it was written down, and what happened.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = format!("{{\"seq\":{},\"recorded_at\":\"", self.seq);
        self.at.write_with_millis(&mut text);
        text.push_str("\",");
        text.push_str(self.body.strip_prefix('{').unwrap_or(&self.body));
        text
    }
}

/// The events in one folder. Several processes may have it open at once.
#[derive(Debug)]
pub(crate) struct EventsFile {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    /// SQLite's counter of commits by others, as of the last look.
    seen: Mutex<Option<i64>>,
}

impl EventsFile {
    /// Opens the events of the store in the folder `dir`, and makes what is missing: the folder 0700, `events.db` 0600.
    ///
    /// # Errors
    /// A database that others can read, a schema that is newer than this program, a network file system, and whatever
    /// the disk or SQLite refuses.
    pub(crate) fn open(dir: &Path, durability: Durability) -> Result<Self, StoreError> {
        private_file::create_folder(dir)?;
        file_system::refuse_network(dir)?;
        let _lock = file_system::lock(dir)?;
        let path = dir.join(FILE_NAME);
        create_database(&path)?;
        private_file::check(&path)?;
        let mut writer = connect(&path, durability)?;
        schema::migrate(&mut writer)?;
        let reader = connect(&path, durability)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(Self { path, writer: Mutex::new(writer), reader: Mutex::new(reader), seen: Mutex::default() })
    }

    /// Writes events down, in their order and all or none, and gives the number of the first. The others follow it
    /// without a gap. Counts are kept of the decisions among them.
    ///
    /// # Errors
    /// Whatever the disk refuses: nothing is written and no number is taken then.
    pub(crate) fn append(&self, entries: &[Entry<'_>]) -> Result<u64, StoreError> {
        let _turn = self.path.parent().and_then(file_system::turn);
        write::append(&mut held(&self.writer), entries)
    }

    /// A page of events, the newest first: those with a number below `before`, if one is given.
    ///
    /// At most [`SCAN_MAX`] events are looked at. When there may be more, the page has the number to go on with, even if
    /// nothing on it matched.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub(crate) fn events(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        read::page(&mut held(&self.reader), filter, before, limit)
    }

    /// The event with this number, unless it is too old to be kept.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub(crate) fn event(&self, seq: u64) -> Result<Option<Kept>, StoreError> {
        read::one(&held(&self.reader), seq)
    }

    /// Up to `limit` events that follow the number `after`, the oldest first: what a reader missed.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub(crate) fn since(&self, after: u64, limit: usize) -> Result<Vec<Kept>, StoreError> {
        read::since(&held(&self.reader), after, limit)
    }

    /// The number of the newest event, 0 if there was none.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub(crate) fn last_seq(&self) -> Result<u64, StoreError> {
        read::last_seq(&held(&self.reader))
    }

    /// Whether anybody has appended something since this was asked before; the first time always. Cheap.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub(crate) fn has_grown(&self) -> Result<bool, StoreError> {
        let reader = held(&self.reader);
        let version: i64 = reader.pragma_query_value(None, "data_version", |row| row.get(0))?;
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(seen.replace(version) != Some(version))
    }

    /// Counts of decisions.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub(crate) fn usage(&self, query: &UsageQuery) -> Result<Vec<Usage>, StoreError> {
        usage::usage(&held(&self.reader), query)
    }

    /// When each secret was last seen in each carrier: of one key, or of all, by key and then the latest first.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub(crate) fn last_seen(&self, key_id: Option<&str>) -> Result<Vec<LastSeen>, StoreError> {
        usage::last_seen(&held(&self.reader), key_id)
    }

    /// The long-lived keys that were let in by a URL since the beginning of the hour of `since`, by route and carrier:
    /// what would be refused if URL keys were.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub(crate) fn url_key_use(&self, since: UnixMillis) -> Result<Vec<UrlKeyUse>, StoreError> {
        usage::url_key_use(&held(&self.reader), since)
    }

    /// As of [`EventStore::url_clients`].
    pub(crate) fn url_clients(&self, since: UnixMillis, most: usize) -> Result<UrlClients, StoreError> {
        usage::url_clients(&mut held(&self.reader), since, most)
    }

    /// As of [`EventStore::last_use`].
    pub(crate) fn last_use(&self, key_ids: &[Arc<str>]) -> Result<HashMap<Arc<str>, LastUse>, StoreError> {
        usage::last_use(&held(&self.reader), key_ids)
    }

    /// As of [`EventStore::events_of`].
    pub(crate) fn events_of(&self, seqs: &[u64]) -> Result<Vec<Kept>, StoreError> {
        let reader = held(&self.reader);
        seqs.iter().filter_map(|seq| read::one(&reader, *seq).transpose()).collect()
    }

    /// Deletes some of what is older than it has to be, and says whether there is more of it. A slice takes few
    /// milliseconds, so that nobody waits for it.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub(crate) fn forget(&self, retention: Retention, now: UnixMillis) -> Result<bool, StoreError> {
        let _turn = self.path.parent().and_then(file_system::turn);
        forget::forget(&mut held(&self.writer), retention, now)
    }
}

fn connect(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    wait_for_locks(&mut connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    let synchronous = match durability {
        Durability::Process => "normal",
        Durability::Power => "full",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // A log that grew in a rush gives its room back.
    connection.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    keep_plans(&connection)?;
    Ok(connection)
}

/// A number that the schema keeps from being negative.
fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(at)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, number))
}
