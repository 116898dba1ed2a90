//! The nodes over one database: each says that it is there, and frees what those held that say so no more.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use keymoat_core::UnixMillis;
use tokio_postgres::Row;

use super::error::failed;
use super::{LOOK_WAIT, Postgres, Shared, places, wait_for};
use crate::error::StoreError;
use crate::id;
use crate::node::{Beat, FORGOTTEN_AFTER, FREED_GRACE, Node, NodeAbout, NodeSeen, NodeState, Pulse};
use crate::token::SessionId;

/// Says that a node is there. Whether it was before is read as of before; `$9` is how much longer than their own bound
/// those that are gone keep their places.
const BEAT: &str = "
    WITH before AS (
        SELECT seen_at + closes_after > keymoat_now() AS is_steady FROM node WHERE id = $1
    ), said AS (
        INSERT INTO node (id, name, version, address, state, started_at, seen_at, clock_ahead, change_seen, closes_after)
        VALUES ($1, $2, $3, $4, $5, $6, keymoat_now(), $7 - keymoat_now(), $8, $10)
        ON CONFLICT (id) DO UPDATE SET (state, seen_at, clock_ahead, change_seen, closes_after, is_freed)
            = (excluded.state, keymoat_now(), $7 - keymoat_now(), excluded.change_seen, excluded.closes_after, false)
    )
    SELECT coalesce((SELECT is_steady FROM before), false),
           ARRAY(SELECT id FROM node WHERE id <> $1 AND NOT is_freed AND seen_at + closes_after + $9 < keymoat_now()),
           EXISTS (SELECT FROM node WHERE is_freed AND seen_at < keymoat_now() - $11)";

const SEEN: &str = "
    SELECT id, name, version, address, started_at, state, seen_at, greatest(keymoat_now() - seen_at, 0),
           greatest((SELECT seq FROM change) - change_seen, 0), clock_ahead
    FROM node WHERE seen_at > keymoat_now() - $1 ORDER BY name COLLATE \"C\", started_at, id";

impl Postgres {
    pub(crate) fn join(&self, about: NodeAbout) -> Result<Node, StoreError> {
        // Its row comes with its first beat.
        Ok(Node { id: id::draw(id::NODE)?.into(), about, lock: None })
    }

    pub(crate) fn beat(&self, node: &Node, beat: Beat) -> Result<Pulse, StoreError> {
        let (id, about, shared) = (Arc::clone(&node.id), node.about.clone(), Arc::clone(&self.shared));
        wait_for(&self.handle, LOOK_WAIT, async move { shared.beat(&id, &about, beat).await })
    }

    pub(crate) fn leave(&self, node: &Node) -> Result<(), StoreError> {
        let id = Arc::clone(&node.id);
        self.ask(move |shared| async move {
            let leave = async |change: &mut Transaction<'_>| {
                places::free_of_node(change, &id).await?;
                let done = change.execute("DELETE FROM node WHERE id = $1", &[&&*id]).await;
                done.map(drop).map_err(|error| failed(&error))
            };
            shared.in_one(leave).await
        })
    }

    pub(crate) fn nodes(&self) -> Result<Vec<NodeSeen>, StoreError> {
        self.ask(move |shared| async move {
            let read = async |moment: &Transaction<'_>| {
                let rows = moment.query(SEEN, &[&millis(FORGOTTEN_AFTER)]).await.map_err(|error| failed(&error))?;
                rows.iter().map(seen).collect()
            };
            shared.at_one_moment(read).await
        })
    }

    pub(crate) fn places_of(&self, node: &Node) -> Result<Vec<SessionId>, StoreError> {
        self.sessions(&node.id, places::OF_NODE)
    }

    pub(crate) fn superseded(&self, node: &Node) -> Result<Vec<SessionId>, StoreError> {
        self.sessions(&node.id, places::SUPERSEDED)
    }

    pub(crate) fn free_places(&self, places: &[SessionId]) -> Result<(), StoreError> {
        let places = places.to_vec();
        self.ask(move |shared| async move {
            let client = shared.client().await?;
            places::free(&client, &places).await?;
            client.done();
            Ok(())
        })
    }

    fn sessions(&self, node: &Arc<str>, sql: &'static str) -> Result<Vec<SessionId>, StoreError> {
        let (node, shared) = (Arc::clone(node), Arc::clone(&self.shared));
        wait_for(&self.handle, LOOK_WAIT, async move {
            let client = shared.client().await?;
            let read = async {
                let statement = client.prepare_cached(sql).await?;
                client.query(&statement, &[&&*node]).await
            };
            let rows = read.await.map_err(|error| failed(&error))?;
            client.done();
            rows.iter().map(places::session).collect()
        })
    }
}

impl Shared {
    async fn beat(&self, id: &str, about: &NodeAbout, beat: Beat) -> Result<Pulse, StoreError> {
        let client = self.client().await?;
        let (closes_after, grace) = (millis(about.closes_after).max(1), millis(FREED_GRACE));
        let said = async {
            let statement = client.prepare_cached(BEAT).await?;
            let row = client
                .query_one(
                    &statement,
                    &[
                        &id,
                        &about.name,
                        &about.version,
                        &about.address,
                        &beat.state.word(),
                        &about.started_at.0,
                        &beat.now.0,
                        &beat.change_seen,
                        &grace,
                        &closes_after,
                        &millis(FORGOTTEN_AFTER),
                    ],
                )
                .await?;
            Ok((row.try_get(0)?, row.try_get::<_, Vec<String>>(1)?, row.try_get(2)?))
        };
        let (is_steady, gone, forget) = said.await.map_err(|error: tokio_postgres::Error| failed(&error))?;
        client.done();
        for gone in gone {
            self.free_gone(&gone, grace).await?;
        }
        if forget {
            let client = self.client().await?;
            let sql = "DELETE FROM node WHERE is_freed AND seen_at < keymoat_now() - $1";
            client.execute(sql, &[&millis(FORGOTTEN_AFTER)]).await.map_err(|error| failed(&error))?;
            client.done();
        }
        Ok(if is_steady { Pulse::Steady } else { Pulse::Lapsed })
    }

    /// Frees the places of a node that is gone, unless it is back.
    async fn free_gone(&self, id: &str, grace: i64) -> Result<(), StoreError> {
        let free = async |change: &mut Transaction<'_>| {
            let sql = "UPDATE node SET is_freed = true
                       WHERE id = $1 AND NOT is_freed AND seen_at + closes_after + $2 < keymoat_now()";
            match change.execute(sql, &[&id, &grace]).await.map_err(|error| failed(&error))? {
                0 => Ok(()),
                _ => places::free_of_node(change, id).await,
            }
        };
        self.in_one(free).await
    }
}

fn seen(row: &Row) -> Result<NodeSeen, StoreError> {
    let state: &str = row.try_get(5).map_err(|error| failed(&error))?;
    let state = NodeState::of_word(state)?;
    let read = || -> Result<NodeSeen, tokio_postgres::Error> {
        Ok(NodeSeen {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            version: row.try_get(2)?,
            address: row.try_get(3)?,
            started_at: UnixMillis(row.try_get(4)?),
            state,
            seen_at: UnixMillis(row.try_get(6)?),
            unseen_millis: row.try_get(7)?,
            changes_behind: row.try_get(8)?,
            clock_ahead_millis: row.try_get(9)?,
        })
    };
    read().map_err(|error| failed(&error))
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
