//! Places for live sessions: one writer at a time counts them, and takes what is free.

use std::path::Path;

use rusqlite::{Connection, params};

use super::nodes;
use crate::error::StoreError;
use crate::share::{PlaceAsked, PlaceKind, Placed};
use crate::token::SessionId;

/// Takes a place inside the caller's transaction. Where all are taken, those of processes that are gone are freed first.
pub(super) fn take(change: &Connection, folder: &Path, asked: &PlaceAsked) -> Result<Placed, StoreError> {
    let newest = match asked.kind {
        PlaceKind::Newest(most) => Some(most.max(1)),
        PlaceKind::AtMost(most) => {
            if taken(change, &asked.holder)? >= most {
                nodes::free_gone(change, folder)?;
                if taken(change, &asked.holder)? >= most {
                    return Ok(Placed::Full);
                }
            }
            None
        }
    };
    change
        .prepare_cached("INSERT INTO place (sid, holder, node, newest) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?
        .execute(params![asked.session.0, asked.holder, asked.node, newest])?;
    if newest.is_some() {
        change
            .prepare_cached(
                "UPDATE place SET newest = 0 WHERE holder = ?1 AND newest > 0 AND newest <= (SELECT count(*)
                 FROM place AS other WHERE other.holder = place.holder AND other.newest IS NOT NULL
                     AND other.number > place.number)",
            )?
            .execute([&asked.holder])?;
    }
    Ok(Placed::Taken)
}

/// Frees a place; one that is free already is no error.
pub(super) fn free(change: &Connection, session: SessionId) -> Result<(), StoreError> {
    change.prepare_cached("DELETE FROM place WHERE sid = ?1")?.execute([session.0])?;
    Ok(())
}

/// The places of a node.
pub(super) fn of_node(connection: &Connection, node: &str) -> Result<Vec<SessionId>, StoreError> {
    sessions(connection, node, "SELECT sid FROM place WHERE node = ?1")
}

/// The sessions of a node whose token has as many newer ones as it may have at once.
pub(super) fn superseded(connection: &Connection, node: &str) -> Result<Vec<SessionId>, StoreError> {
    let sql = "SELECT sid FROM place WHERE node = ?1 AND newest IS NOT NULL AND newest <=
               (SELECT count(*) FROM place AS other WHERE other.holder = place.holder AND other.newest IS NOT NULL
                    AND other.number > place.number)";
    sessions(connection, node, sql)
}

fn sessions(connection: &Connection, node: &str, sql: &str) -> Result<Vec<SessionId>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let sessions = statement.query_map([node], |row| Ok(SessionId(row.get(0)?)))?;
    Ok(sessions.collect::<Result<_, _>>()?)
}

fn taken(connection: &Connection, holder: &str) -> Result<u32, StoreError> {
    let sql = "SELECT count(*) FROM place WHERE holder = ?1 AND newest IS NULL";
    Ok(connection.prepare_cached(sql)?.query_row([holder], |row| row.get(0))?)
}
