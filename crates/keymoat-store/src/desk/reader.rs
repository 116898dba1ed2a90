//! The thread that finds tokens.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use keymoat_core::{Digest, Token};
use rusqlite::Connection;

use super::DeskError;
use super::job::Lookup;
use crate::Store;
use crate::error::StoreError;
use crate::sqlite::desk;

/// Answers questions, one after the other. A connection that failed is opened anew for the next one.
pub(super) struct Reader {
    store: Arc<Store>,
    connection: Option<Connection>,
    is_failing: bool,
}

impl Reader {
    pub(super) fn open(store: Arc<Store>) -> Result<Self, StoreError> {
        let connection = Some(desk::reading(&store)?);
        Ok(Self { store, connection, is_failing: false })
    }

    pub(super) fn run(mut self, lookups: &Receiver<Lookup>) {
        while let Ok(Lookup::Find(digest, reply)) = lookups.recv() {
            if reply.is_closed() {
                continue;
            }
            let found = self.find(&digest);
            match &found {
                Err(error) if !self.is_failing => tracing::error!(%error, "cannot look for tokens in the store"),
                Ok(_) if self.is_failing => tracing::info!("tokens can be found again"),
                _ => {}
            }
            self.is_failing = found.is_err();
            // Whoever asked may have given up meanwhile.
            let _ = reply.send(found.map_err(|_| DeskError::Broken));
        }
    }

    fn find(&mut self, digest: &Digest) -> Result<Option<Arc<Token>>, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => desk::reading(&self.store)?,
        };
        let token = desk::find(&connection, digest)?;
        self.connection = Some(connection);
        Ok(token)
    }
}
