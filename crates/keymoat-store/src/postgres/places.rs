//! Places for live sessions: taken by one statement for a group, whatever node asks, and counted in the row of their
//! holder, which whoever takes one holds locked until the commit.
//!
//! The places themselves are not counted by the statement: at READ COMMITTED it would not see those that another node has
//! taken while it waited for the lock. The count in the locked row is read after the wait.

use deadpool_postgres::Transaction;
use tokio_postgres::{Client, Row, Statement};

use super::error::failed;
use crate::error::StoreError;
use crate::share::{PlaceAsked, PlaceKind, Placed};
use crate::token::SessionId;

/// Takes places: `$1` are the sessions, `$2` their holders, `$3` how many those may have, `$4` the nodes that ask.
pub(super) const TAKE: &str = "
    WITH asked AS (
        SELECT sid, holder, most, node, row_number() OVER (PARTITION BY holder ORDER BY place) AS turn
        FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::text[])
            WITH ORDINALITY AS asked (sid, holder, most, node, place)
    ), held AS MATERIALIZED (
        SELECT id, taken FROM holder WHERE id IN (SELECT holder FROM asked) ORDER BY id FOR UPDATE
    ), steady AS MATERIALIZED (
        SELECT id FROM node WHERE id IN (SELECT node FROM asked) AND seen_at + closes_after > keymoat_now()
    ), granted AS (
        INSERT INTO place (sid, holder, node)
        SELECT asked.sid, asked.holder, asked.node FROM asked JOIN held ON held.id = asked.holder
        WHERE held.taken + asked.turn <= asked.most AND asked.node IN (SELECT id FROM steady)
        ON CONFLICT (sid) DO NOTHING RETURNING sid, holder
    ), counted AS (
        UPDATE holder SET taken = taken + more.places
        FROM (SELECT holder, count(*) AS places FROM granted GROUP BY holder) AS more
        WHERE holder.id = more.holder RETURNING holder.id
    )
    SELECT asked.sid, granted.sid IS NOT NULL, held.id IS NOT NULL, asked.node IN (SELECT id FROM steady)
    FROM asked LEFT JOIN granted ON granted.sid = asked.sid LEFT JOIN held ON held.id = asked.holder";

/// Notes the sessions of tokens, of which the newest live: they are not counted.
const NOTE: &str = "
    INSERT INTO place (sid, holder, node, newest)
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[]) ON CONFLICT (sid) DO NOTHING";

/// Those of `$1` that have as many newer ones as they may have at once are over, also if the newer ones end.
const SUPERSEDE: &str = "
    UPDATE place SET newest = 0 WHERE holder = ANY($1::text[]) AND newest > 0 AND newest <=
        (SELECT count(*) FROM place AS other WHERE other.holder = place.holder AND other.newest IS NOT NULL
             AND other.number > place.number)";

/// Frees places. The holders are locked first, in the order in which whoever takes places locks them.
macro_rules! free {
    ($which:literal) => {
        concat!(
            "WITH gone AS MATERIALIZED (
                 SELECT sid, holder FROM place WHERE ",
            $which,
            "), held AS MATERIALIZED (
                 SELECT id FROM holder WHERE id IN (SELECT holder FROM gone) ORDER BY id FOR UPDATE
             ), freed AS (
                 DELETE FROM place WHERE sid IN (SELECT sid FROM gone) AND (SELECT count(*) FROM held) >= 0
                 RETURNING holder, newest
             )
             UPDATE holder SET taken = taken - fewer.places
             FROM (SELECT holder, count(*) AS places FROM freed WHERE newest IS NULL GROUP BY holder) AS fewer
             WHERE holder.id = fewer.holder"
        )
    };
}

/// The places of a node.
pub(super) const OF_NODE: &str = "SELECT sid FROM place WHERE node = $1";

/// The sessions of a node whose token has as many newer ones as it may have at once.
pub(super) const SUPERSEDED: &str = "
    SELECT sid FROM place WHERE node = $1 AND newest IS NOT NULL AND newest <=
        (SELECT count(*) FROM place AS other WHERE other.holder = place.holder AND other.newest IS NOT NULL
             AND other.number > place.number)";

/// Decides about a group and answers in its order. None is a place that lost a race, and may be asked for again.
pub(super) async fn take(
    client: &Client,
    take: &Statement,
    asked: &[PlaceAsked],
) -> Result<Vec<Option<Placed>>, StoreError> {
    let mut placed = vec![None; asked.len()];
    note_newest(client, asked, &mut placed).await?;
    // A holder that nobody has asked for before has no row yet.
    for is_first in [true, false] {
        let open: Vec<usize> = (0..asked.len()).filter(|at| placed[*at].is_none()).collect();
        if open.is_empty() {
            break;
        }
        let unknown = take_once(client, take, asked, &open, &mut placed).await?;
        if unknown.is_empty() || !is_first {
            break;
        }
        let sql =
            "INSERT INTO holder (id, taken) SELECT id, 0 FROM unnest($1::text[]) AS asked (id) ON CONFLICT DO NOTHING";
        client.execute(sql, &[&unknown]).await.map_err(|error| failed(&error))?;
    }
    Ok(placed)
}

async fn note_newest(client: &Client, asked: &[PlaceAsked], placed: &mut [Option<Placed>]) -> Result<(), StoreError> {
    let (mut sids, mut holders, mut nodes, mut newest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (asked, placed) in asked.iter().zip(placed) {
        if let PlaceKind::Newest(most) = asked.kind {
            sids.push(&asked.session.0[..]);
            holders.push(&*asked.holder);
            nodes.push(&*asked.node);
            newest.push(i64::from(most.max(1)));
            *placed = Some(Placed::Taken);
        }
    }
    if sids.is_empty() {
        return Ok(());
    }
    client.execute(NOTE, &[&sids, &holders, &nodes, &newest]).await.map_err(|error| failed(&error))?;
    // A statement of its own, which sees what the first one has written.
    client.execute(SUPERSEDE, &[&holders]).await.map(drop).map_err(|error| failed(&error))
}

/// Gives the holders that have no row.
async fn take_once<'a>(
    client: &Client,
    take: &Statement,
    asked: &'a [PlaceAsked],
    open: &[usize],
    placed: &mut [Option<Placed>],
) -> Result<Vec<&'a str>, StoreError> {
    let of_open = || open.iter().filter_map(|at| asked.get(*at));
    let sids: Vec<&[u8]> = of_open().map(|asked| &asked.session.0[..]).collect();
    let holders: Vec<&str> = of_open().map(|asked| &*asked.holder).collect();
    let nodes: Vec<&str> = of_open().map(|asked| &*asked.node).collect();
    let most: Vec<i64> = of_open()
        .map(|asked| match asked.kind {
            PlaceKind::AtMost(most) | PlaceKind::Newest(most) => i64::from(most),
        })
        .collect();
    let rows = client.query(take, &[&sids, &holders, &most, &nodes]).await.map_err(|error| failed(&error))?;
    let mut unknown = Vec::new();
    for row in &rows {
        let session = session(row)?;
        let holds = |column| row.try_get::<_, bool>(column).map_err(|error| failed(&error));
        let (is_taken, is_known, is_steady) = (holds(1)?, holds(2)?, holds(3)?);
        let Some(at) = open.iter().find(|at| asked.get(**at).is_some_and(|asked| asked.session == session)) else {
            continue;
        };
        placed[*at] = match (is_taken, is_steady, is_known) {
            (true, ..) => Some(Placed::Taken),
            (false, false, _) => Some(Placed::NodeLapsed),
            (false, true, true) => Some(Placed::Full),
            (false, true, false) => {
                unknown.push(&*asked[*at].holder);
                None
            }
        };
    }
    unknown.sort_unstable();
    unknown.dedup();
    Ok(unknown)
}

/// Frees places; one that is free already is no error.
pub(super) async fn free(client: &Client, places: &[SessionId]) -> Result<(), StoreError> {
    let sids: Vec<&[u8]> = places.iter().map(|session| &session.0[..]).collect();
    let done = client.execute(free!("sid = ANY($1::bytea[])"), &[&sids]).await;
    done.map(drop).map_err(|error| failed(&error))
}

/// Frees all places of a node.
pub(super) async fn free_of_node(change: &Transaction<'_>, node: &str) -> Result<(), StoreError> {
    let done = change.execute(free!("node = $1"), &[&node]).await;
    done.map(drop).map_err(|error| failed(&error))
}

/// A session's name in the first column. Another length is damage.
pub(super) fn session(row: &Row) -> Result<SessionId, StoreError> {
    let bytes: &[u8] = row.try_get(0).map_err(|error| failed(&error))?;
    bytes.try_into().map(SessionId).map_err(|_| StoreError::DatabaseDamaged)
}
