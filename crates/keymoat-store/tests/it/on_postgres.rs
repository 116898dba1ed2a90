//! The conformance suite over PostgreSQL: a server of its own for each test.

#[path = "conformance/mod.rs"]
pub(crate) mod conformance;

use std::sync::Arc;

use keymoat_core::{Secret, UnixMillis};
use keymoat_postgres_stand::Postgres;
use keymoat_store::{MasterKey, Store, TokenDesk};
use tempfile::TempDir;

use crate::stand::PATIENCE;
use crate::{NOW, named, secret};

/// A server, and the folder of a node with the master key.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) server: Postgres,
}

/// A store in a database of its own, which goes away with it. It is [`NOW`] there.
pub(crate) struct Scenario {
    pub(crate) dir: Place,
    pub(crate) store: Store,
}

pub(crate) type Stand = crate::stand::AnyStand<Place>;

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), server: Postgres::start() }
    }

    /// The store, as another process or node has it.
    pub(crate) fn open(&self) -> Store {
        self.open_at(&self.server.url())
    }

    pub(crate) fn open_at(&self, url: &str) -> Store {
        Store::open_database(&Secret::from(url), self.dir.path(), &MasterKey::InFolder).unwrap()
    }

    /// Stops the database's clock at a moment.
    pub(crate) fn at(&self, now: UnixMillis) {
        self.server.sql(&format!(
            "SET search_path = keymoat; CREATE TABLE IF NOT EXISTS test_clock (now bigint);
             DELETE FROM test_clock; INSERT INTO test_clock VALUES ({});
             CREATE OR REPLACE FUNCTION keymoat_now() RETURNS bigint LANGUAGE sql VOLATILE
                 AS 'SELECT now FROM keymoat.test_clock'",
            now.0
        ));
    }
}

impl Scenario {
    pub(crate) fn new() -> Self {
        let dir = Place::new();
        let store = dir.open();
        dir.at(NOW);
        Self { dir, store }
    }

    pub(crate) fn again(&self) -> Store {
        self.dir.open()
    }
}

impl Stand {
    pub(crate) fn new() -> Self {
        Self::with(PATIENCE)
    }

    pub(crate) fn with(wait: std::time::Duration) -> Self {
        let Scenario { dir, store } = Scenario::new();
        let store = Arc::new(store);
        let key = store.create_key(named("parent"), &secret("parent"), NOW).unwrap();
        let desk = TokenDesk::start_with(Arc::clone(&store), wait).unwrap();
        Self { dir, store, desk, key }
    }

    pub(crate) fn again(&self) -> Store {
        self.dir.open()
    }

    pub(crate) fn at(&self, now: UnixMillis) {
        self.dir.at(now);
    }
}
