//! The events of a store, whichever backend keeps them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use keymoat_core::{Secret, UnixMillis};

use super::{
    Durability, Entry, EventsFile, Filter, Kept, LastSeen, LastUse, Page, Retention, UrlClients, UrlKeyUse, Usage,
    UsageQuery,
};
use crate::error::StoreError;
use crate::postgres::{EventsDatabase, Postgres};

/// The events of one store: of one machine in a file, or of all nodes in a database. Several processes may have it open at
/// once.
#[derive(Debug)]
pub struct EventStore {
    kept_in: KeptIn,
}

#[derive(Debug)]
enum KeptIn {
    File(Box<EventsFile>),
    Database(EventsDatabase),
}

impl EventStore {
    /// Opens the events of the store in the folder `dir`, and makes what is missing: the folder 0700, `events.db` 0600.
    ///
    /// # Errors
    /// A database that others can read, a schema that is newer than this program, a network file system, and whatever
    /// the disk or SQLite refuses.
    pub fn open(dir: &Path, durability: Durability) -> Result<Self, StoreError> {
        Ok(Self { kept_in: KeptIn::File(Box::new(EventsFile::open(dir, durability)?)) })
    }

    /// Opens the events of all nodes in the PostgreSQL database at `url`.
    ///
    /// # Errors
    /// As of [`crate::Store::open_database`].
    pub fn open_database(url: &Secret) -> Result<Self, StoreError> {
        Ok(Self { kept_in: KeptIn::Database(EventsDatabase::open(url)?) })
    }

    /// Opens those of a store that is open.
    pub(crate) fn in_database_of(postgres: &Postgres) -> Result<Self, StoreError> {
        Ok(Self { kept_in: KeptIn::Database(EventsDatabase::of(postgres.link())?) })
    }

    /// Opens the events beside a store: in its folder `dir`, or in its database.
    ///
    /// # Errors
    /// As of [`Self::open`] and [`Self::open_database`].
    pub fn open_beside(dir: &Path, database: Option<&Secret>, durability: Durability) -> Result<Self, StoreError> {
        match database {
            Some(url) => Self::open_database(url),
            None => Self::open(dir, durability),
        }
    }

    /// Writes events down, in their order and all or none, and gives the number of the first. The others follow it
    /// without a gap. Counts are kept of the decisions among them.
    ///
    /// # Errors
    /// Whatever the disk refuses: nothing is written and no number is taken then.
    pub fn append(&self, entries: &[Entry<'_>]) -> Result<u64, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.append(entries),
            KeptIn::Database(database) => database.append(entries),
        }
    }

    /// A page of events, the newest first: those with a number below `before`, if one is given.
    ///
    /// At most 2,500 events are looked at. When there may be more, the page has the number to go on with, even if
    /// nothing on it matched.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn events(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.events(filter, before, limit),
            KeptIn::Database(database) => database.events(filter, before, limit),
        }
    }

    /// The event with this number, unless it is too old to be kept.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn event(&self, seq: u64) -> Result<Option<Kept>, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.event(seq),
            KeptIn::Database(database) => database.event(seq),
        }
    }

    /// Those of the events with these numbers that are kept.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn events_of(&self, seqs: &[u64]) -> Result<Vec<Kept>, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.events_of(seqs),
            KeptIn::Database(database) => database.events_of(seqs),
        }
    }

    /// Up to `limit` events that follow the number `after`, the oldest first: what a reader missed.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn since(&self, after: u64, limit: usize) -> Result<Vec<Kept>, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.since(after, limit),
            KeptIn::Database(database) => database.since(after, limit),
        }
    }

    /// The number of the newest event, 0 if there was none.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn last_seq(&self) -> Result<u64, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.last_seq(),
            KeptIn::Database(database) => database.last_seq(),
        }
    }

    /// Whether anybody has appended something since this was asked before; the first time always. Cheap.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn has_grown(&self) -> Result<bool, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.has_grown(),
            KeptIn::Database(database) => database.has_grown(),
        }
    }

    /// Counts of decisions.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn usage(&self, query: &UsageQuery) -> Result<Vec<Usage>, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.usage(query),
            KeptIn::Database(database) => database.usage(query),
        }
    }

    /// When each secret was last seen in each carrier: of one key, or of all, by key and then the latest first.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn last_seen(&self, key_id: Option<&str>) -> Result<Vec<LastSeen>, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.last_seen(key_id),
            KeptIn::Database(database) => database.last_seen(key_id),
        }
    }

    /// When and in which carrier each of these keys was seen last; what was never seen is left out.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn last_use(&self, key_ids: &[Arc<str>]) -> Result<HashMap<Arc<str>, LastUse>, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.last_use(key_ids),
            KeptIn::Database(database) => database.last_use(key_ids),
        }
    }

    /// Who came with a long-lived key in a URL since the beginning of the day of `since`, and how often the `most` busiest
    /// did. It takes about as long for a year of use as for a day of it.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn url_clients(&self, since: UnixMillis, most: usize) -> Result<UrlClients, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.url_clients(since, most),
            KeptIn::Database(database) => database.url_clients(since, most),
        }
    }

    /// The long-lived keys that were let in by a URL since the beginning of the hour of `since`, by route and carrier:
    /// what would be refused if URL keys were.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn url_key_use(&self, since: UnixMillis) -> Result<Vec<UrlKeyUse>, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.url_key_use(since),
            KeptIn::Database(database) => database.url_key_use(since),
        }
    }

    /// Deletes some of what is older than it has to be, and says whether there is more of it. A slice takes few
    /// milliseconds, so that nobody waits for it.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn forget(&self, retention: Retention, now: UnixMillis) -> Result<bool, StoreError> {
        match &self.kept_in {
            KeptIn::File(file) => file.forget(retention, now),
            KeptIn::Database(database) => database.forget(retention, now),
        }
    }
}
