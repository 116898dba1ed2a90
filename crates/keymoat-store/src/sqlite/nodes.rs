//! The processes on one folder: each holds a lock on a file of its own, which the kernel takes back when it is gone.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keymoat_core::UnixMillis;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use rustix::fs::{FlockOperation, flock};

use super::{Sqlite, held, places};
use crate::error::StoreError;
use crate::id;
use crate::node::{Beat, Node, NodeAbout, NodeSeen, NodeState, Pulse};
use crate::private_file::PrivateFileError;
use crate::token::SessionId;

impl Sqlite {
    pub(crate) fn join(&self, about: NodeAbout) -> Result<Node, StoreError> {
        let id = id::draw(id::NODE)?;
        let lock = hold(self.folder(), &id)?;
        self.change(|change| {
            free_gone(change, self.folder())?;
            change
                .prepare_cached(
                    "INSERT INTO node (id, name, version, address, state, started_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    id,
                    about.name,
                    about.version,
                    about.address,
                    NodeState::Ready.word(),
                    about.started_at.0
                ])?;
            Ok(())
        })?;
        Ok(Node { id: id.into(), about, lock: Some(lock) })
    }

    pub(crate) fn beat(&self, node: &Node, beat: Beat) -> Result<Pulse, StoreError> {
        let sql = "SELECT state FROM node WHERE id = ?1";
        let known: Option<String> =
            held(&self.reader).prepare_cached(sql)?.query_row([&node.id], |row| row.get(0)).optional()?;
        if known.is_some_and(|known| known != beat.state.word()) {
            self.change(|change| {
                let sql = "UPDATE node SET state = ?2 WHERE id = ?1";
                change.prepare_cached(sql)?.execute(params![node.id, beat.state.word()])?;
                Ok(())
            })?;
        }
        // It lives, and so nobody takes what it holds.
        Ok(Pulse::Steady)
    }

    pub(crate) fn leave(&self, node: &Node) -> Result<(), StoreError> {
        self.change(|change| forget(change, &node.id))?;
        // Whoever finds it later removes it.
        let _ = fs::remove_file(file(self.folder(), &node.id));
        Ok(())
    }

    pub(crate) fn nodes(&self, now: UnixMillis) -> Result<Vec<NodeSeen>, StoreError> {
        let rows: Vec<(String, NodeSeen)> = {
            let reader = held(&self.reader);
            let mut statement = reader.prepare_cached(
                "SELECT state, id, name, version, address, started_at FROM node ORDER BY name, started_at, id",
            )?;
            let rows = statement.query_map([], |row| {
                let seen = NodeSeen {
                    id: row.get(1)?,
                    name: row.get(2)?,
                    version: row.get(3)?,
                    address: row.get(4)?,
                    started_at: UnixMillis(row.get(5)?),
                    state: NodeState::Ready,
                    seen_at: now,
                    unseen_millis: 0,
                    changes_behind: 0,
                    clock_ahead_millis: 0,
                };
                Ok((row.get(0)?, seen))
            })?;
            rows.collect::<Result<_, _>>()?
        };
        let mut nodes = Vec::new();
        for (state, seen) in rows.into_iter().filter(|(_, seen)| lives(self.folder(), &seen.id)) {
            nodes.push(NodeSeen { state: NodeState::of_word(&state)?, ..seen });
        }
        Ok(nodes)
    }

    pub(crate) fn places_of(&self, node: &Node) -> Result<Vec<SessionId>, StoreError> {
        places::of_node(&held(&self.reader), &node.id)
    }

    pub(crate) fn superseded(&self, node: &Node) -> Result<Vec<SessionId>, StoreError> {
        places::superseded(&held(&self.reader), &node.id)
    }

    pub(crate) fn free_places(&self, sessions: &[SessionId]) -> Result<(), StoreError> {
        self.change(|change| sessions.iter().try_for_each(|session| places::free(change, *session)))
    }

    /// Runs `change` in one transaction.
    fn change<T>(&self, change: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// Frees what processes held that are gone, and forgets them.
pub(super) fn free_gone(change: &Connection, folder: &Path) -> Result<(), StoreError> {
    let ids: Vec<Arc<str>> = {
        let mut statement = change.prepare_cached("SELECT id FROM node")?;
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?
    };
    for id in ids.iter().filter(|id| !lives(folder, id)) {
        forget(change, id)?;
        // It is no lock of anybody's any more, and removed again if it could not be.
        let _ = fs::remove_file(file(folder, id));
    }
    Ok(())
}

fn forget(change: &Connection, id: &str) -> Result<(), StoreError> {
    change.prepare_cached("DELETE FROM place WHERE node = ?1")?.execute([id])?;
    change.prepare_cached("DELETE FROM node WHERE id = ?1")?.execute([id])?;
    Ok(())
}

fn file(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.lock"))
}

/// Takes the lock by which the others know that this process lives.
fn hold(folder: &Path, id: &str) -> Result<File, StoreError> {
    let path = file(folder, id);
    let failed = |source| PrivateFileError::Io { action: "create and lock", path: path.clone(), source };
    let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|refused| failed(refused.into()))?;
    Ok(lock)
}

/// Whether somebody holds the lock. Where that cannot be told, somebody does.
fn lives(folder: &Path, id: &str) -> bool {
    match File::open(file(folder, id)) {
        // Shared, so that two who look at once do not take each other for the process.
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockShared) != Ok(()),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
