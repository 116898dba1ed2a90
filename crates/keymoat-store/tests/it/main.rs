//! The store as its callers see it: a folder, one or more processes, and what is found in the files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::duplicate_mod, reason = "the conformance suite is compiled once for each backend")]

mod desk_faults;
mod desk_on_sqlite;
mod events;
mod faults;
mod files;
mod nodes;
mod on_postgres;
mod on_sqlite;
mod postgres;
mod processes;
mod sealed_files;
mod stand;

use std::path::Path;

use keymoat_core::{Secret, UnixMillis};
use keymoat_store::{NewKey, Store};
use tempfile::TempDir;

/// When the tests take place.
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// A folder that goes away with it.
struct Folder(TempDir);

impl std::ops::Deref for Folder {
    type Target = TempDir;

    fn deref(&self) -> &TempDir {
        &self.0
    }
}

impl Folder {
    /// The store in it, as another process has it.
    fn open(&self) -> Store {
        Store::open(&self.0.path().join("store")).unwrap()
    }
}

/// A store in a folder of its own.
struct Scenario {
    dir: Folder,
    store: Store,
}

impl Scenario {
    fn new() -> Self {
        let dir = Folder(tempfile::tempdir().unwrap());
        let store = dir.open();
        Self { dir, store }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    /// A second opening of the same folder, as another process has it.
    fn again(&self) -> Store {
        self.dir.open()
    }
}

/// A key that may do everything, never expires, and has this name.
fn named(name: &str) -> NewKey {
    NewKey::named(name)
}

/// A secret that is like no other test's.
fn secret(tag: &str) -> Secret {
    Secret::from(format!("km_{tag:A<43}0000000"))
}

/// Takes back what the fourth migration did, and those after it.
fn forget_the_life_of_keys(database: &rusqlite::Connection) {
    let later = ["admin", "admin_claim", "admin_order", "route_override", "sunset_reached", "node", "place"];
    for table in later {
        database.execute_batch(&format!("DROP TABLE IF EXISTS {table}")).unwrap();
    }
    // A test may have dropped the table itself.
    for column in ["limits", "bytes_used"] {
        let _ = database.execute_batch(&format!("ALTER TABLE token_terms DROP COLUMN {column}"));
    }
    database
        .execute_batch("DROP INDEX IF EXISTS api_key_by_age; DROP INDEX api_key_secret_id; DROP TABLE limit_use")
        .unwrap();
    let of_keys = "rotate_at rotate_age requests_per_second burst requests_per_day bytes_per_day sessions_max \
                   session_duration_secs session_bytes models owner";
    for (table, columns) in [("api_key", of_keys), ("api_key_secret", "id number ends_at prefix")] {
        for column in columns.split(' ') {
            database.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}")).unwrap();
        }
    }
}

/// Every file of the folder, with its content.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}
