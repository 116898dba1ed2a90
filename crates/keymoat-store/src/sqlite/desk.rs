//! What the desk's threads do on their own connections.

use std::path::Path;
use std::sync::Arc;

use keymoat_core::{Digest, Pepper, Token, UnixMillis};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::claims::Opened;
use super::token_store::{Before, revoke};
use super::{Sqlite, claims, mint, parts, places, tokens};
use crate::Store;
use crate::error::StoreError;
use crate::file_system;
use crate::share::{PartAsked, PlaceAsked, Placed};
use crate::token::{Claim, MintOrder, Minting, SessionId, Verdict};

/// So many old rows go in one transaction: about a millisecond.
const FORGET_ROWS_MAX: u32 = 256;

/// A first connection to write with.
pub(crate) fn writing(store: &Store) -> Result<Connection, StoreError> {
    sqlite(store).connect_again(Before::Nothing)
}

/// A connection to write with after one that failed: the database is checked from end to end first.
pub(crate) fn writing_again(store: &Store) -> Result<Connection, StoreError> {
    sqlite(store).connect_again(Before::Failure)
}

/// A connection to read with.
pub(crate) fn reading(store: &Store) -> Result<Connection, StoreError> {
    let connection = sqlite(store).connect_again(Before::Nothing)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// The token with this digest.
pub(crate) fn find(connection: &Connection, digest: &Digest) -> Result<Option<Arc<Token>>, StoreError> {
    Ok(tokens::by_digest(connection, digest)?.map(|kept| Arc::new(kept.token)))
}

/// Forgets some of what ended long ago, and says whether there may be more of it.
pub(crate) fn forget(connection: &mut Connection, now: UnixMillis) -> Result<bool, StoreError> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let more = tokens::forget(&change, now, FORGET_ROWS_MAX)?;
    change.commit()?;
    Ok(more)
}

/// Changes that are committed together. One that fails takes nothing else along: but for claims, each stands in a savepoint of
/// its own.
pub(crate) struct Group<'a> {
    pepper: &'a Pepper,
    folder: &'a Path,
    change: Transaction<'a>,
}

impl<'a> Group<'a> {
    pub(crate) fn begin(store: &'a Store, connection: &'a mut Connection) -> Result<Self, StoreError> {
        let sqlite = sqlite(store);
        sqlite.refuse_replaced()?;
        let _turn = sqlite.path.parent().and_then(file_system::turn);
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Self { pepper: &sqlite.pepper, folder: sqlite.folder(), change })
    }

    /// The outer error is the group's: it must not be committed.
    pub(crate) fn claim(&self, claim: &Claim) -> Result<Result<Verdict, StoreError>, StoreError> {
        // Without a savepoint: opening is one statement, which fails as a whole, and what was not paid for is the group's.
        match claims::open(&self.change, claim) {
            Ok(Opened::Unpaid(number)) => {
                claims::pay(&self.change, number)?;
                Ok(Ok(Verdict::Granted { resumed: false }))
            }
            Ok(Opened::Told(verdict)) => Ok(Ok(verdict)),
            Err(error) if error.is_of_the_disk() => Err(error),
            Err(error) => Ok(Err(error)),
        }
    }

    pub(crate) fn mint(&self, order: MintOrder) -> Result<Result<Minting, StoreError>, StoreError> {
        self.apart(|| mint::mint(&self.change, self.pepper, order))
    }

    pub(crate) fn revoke(
        &self,
        id: &str,
        by_key: Option<&str>,
        now: UnixMillis,
    ) -> Result<Result<Option<Arc<Token>>, StoreError>, StoreError> {
        self.apart(|| Ok(revoke(&self.change, id, by_key, now)?.map(|kept| Arc::new(kept.token))))
    }

    pub(crate) fn note_handle(
        &self,
        token_id: &str,
        handle: &Digest,
        now: UnixMillis,
    ) -> Result<Result<(), StoreError>, StoreError> {
        self.apart(|| tokens::note_handle(&self.change, token_id, handle, now))
    }

    pub(crate) fn take_place(&self, asked: &PlaceAsked) -> Result<Result<Placed, StoreError>, StoreError> {
        self.apart(|| places::take(&self.change, self.folder, asked))
    }

    pub(crate) fn free_place(&self, session: SessionId) -> Result<Result<(), StoreError>, StoreError> {
        self.apart(|| places::free(&self.change, session))
    }

    pub(crate) fn take_part(&self, asked: &PartAsked) -> Result<Result<u64, StoreError>, StoreError> {
        self.apart(|| parts::grant(&self.change, asked))
    }

    /// Makes everything durable. After an error it is not known whether it is.
    pub(crate) fn commit(self) -> Result<(), StoreError> {
        Ok(self.change.commit()?)
    }

    fn apart<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<Result<T, StoreError>, StoreError> {
        let run = |sql| -> Result<(), StoreError> { Ok(self.change.prepare_cached(sql)?.execute([]).map(drop)?) };
        run("SAVEPOINT one")?;
        match work() {
            Ok(done) => {
                run("RELEASE one")?;
                Ok(Ok(done))
            }
            // The disk is the group's trouble, and damage is everybody's.
            Err(error) if error.is_of_the_disk() => Err(error),
            Err(error) => {
                run("ROLLBACK TO one")?;
                run("RELEASE one")?;
                Ok(Err(error))
            }
        }
    }
}

fn sqlite(store: &Store) -> &Sqlite {
    match store {
        Store::Sqlite(sqlite) => sqlite,
        // The desk has asked which one it is before it started these threads.
        Store::Postgres(_) => unreachable!("the desk of a PostgreSQL store has no thread of SQLite"),
    }
}
