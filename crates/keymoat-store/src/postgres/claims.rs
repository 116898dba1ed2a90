//! The claim: one statement by which tokens pay for the sessions of a group, whatever node asks.
//!
//! ```text
//! asked ─▶ held: with their counted tokens, locked one after the other ─▶ payable ─▶ opened: sessions that are new
//!                                                                              └─▶ paid: as many uses as were opened
//! ```
//! The statement is a transaction of its own: whoever gets its answer has its commit. At READ COMMITTED a row that
//! another node has changed meanwhile is looked at again under its lock, and the clock is read after the wait. Why a
//! session was not opened is read afterwards.

use std::collections::HashMap;

use keymoat_core::Digest;
use tokio_postgres::{Row, Statement};

use super::error::failed;
use crate::error::StoreError;
use crate::token::{Claim, Denial, SessionId, Verdict};

/// What must hold of a token for whatever it is used for.
macro_rules! stands {
    () => {
        "token.revoked_at IS NULL AND token.live_until > keymoat_now()
         AND (NOT token.key_is_stored OR EXISTS (SELECT FROM api_key WHERE api_key.id = token.key_id
              AND api_key.revoked_at IS NULL AND (api_key.expires_at IS NULL OR api_key.expires_at > keymoat_now())))"
    };
}

/// The statement that consumes uses on PostgreSQL: a group of claims in one commit. `$1` are the sessions, `$2` the tokens'
/// digests, `$3` the handles' or NULL. It is public for whoever measures the database beside Keymoat.
pub const CONSUME: &str = concat!(
    "WITH asked AS (
         SELECT sid, digest, handle, row_number() OVER (PARTITION BY digest, handle IS NULL ORDER BY place) AS turn
         FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS asked (sid, digest, handle, place)
     ), held AS MATERIALIZED (
         SELECT sid, turn, number, uses_left, start_by, live_until FROM asked JOIN token USING (digest)
         WHERE handle IS NULL AND uses_left > 0 AND start_by > keymoat_now() AND ",
    stands!(),
    "    ORDER BY number, turn FOR UPDATE OF token
     ), payable AS (
         SELECT sid, number, false AS resumed FROM held
         WHERE turn <= uses_left AND start_by > keymoat_now() AND live_until > keymoat_now()
         UNION ALL
         SELECT sid, number, false FROM asked JOIN token USING (digest)
         WHERE handle IS NULL AND uses_max IS NULL AND start_by > keymoat_now() AND ",
    stands!(),
    "    UNION ALL
         SELECT sid, token.number, true FROM asked JOIN token USING (digest)
             JOIN token_handle ON token_handle.token = token.number AND token_handle.handle = asked.handle
         WHERE ",
    stands!(),
    "), opened AS (
         INSERT INTO token_session (sid, token, resumed, opened_at)
         SELECT sid, number, resumed, keymoat_now() FROM payable
         ON CONFLICT (sid) DO NOTHING RETURNING sid, token, resumed
     ), paid AS (
         UPDATE token SET uses_left = uses_left - spent.uses
         FROM (SELECT token, count(*) AS uses FROM opened WHERE NOT resumed GROUP BY token) AS spent
         WHERE token.number = spent.token AND uses_left IS NOT NULL RETURNING token.number
     )
     SELECT sid, resumed FROM opened"
);

/// What is wrong with what was asked, in the order of asking.
const WRONG: &str = "
    SELECT token_session.sid IS NOT NULL, coalesce(token_session.resumed, false),
           coalesce(token_session.token = token.number, false),
           token.number IS NULL, token.revoked_at IS NOT NULL,
           coalesce(token.key_is_stored AND (api_key.id IS NULL OR api_key.revoked_at IS NOT NULL), false),
           coalesce(token.key_is_stored AND api_key.expires_at <= keymoat_now(), false),
           coalesce(token.live_until <= keymoat_now(), false),
           asked.handle IS NOT NULL AND token_handle.handle IS NULL,
           coalesce(token.start_by <= keymoat_now(), false), coalesce(token.uses_left = 0, false)
    FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS asked (sid, digest, handle, place)
        LEFT JOIN token ON token.digest = asked.digest
        LEFT JOIN api_key ON api_key.id = token.key_id
        LEFT JOIN token_session ON token_session.sid = asked.sid
        LEFT JOIN token_handle ON token_handle.token = token.number AND token_handle.handle = asked.handle
    ORDER BY asked.place";

/// What a token is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    session: Option<SessionId>,
    token: Digest,
    resumes: Option<Digest>,
}

/// What becomes of it.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// Why a session would not be opened, if it would not.
    pub(super) denial: Option<Denial>,
    /// The session was opened before, and whether it was resumed then.
    opened: Option<bool>,
}

impl Asked {
    /// A new session, of no name.
    pub(super) fn fresh(token: Digest) -> Self {
        Self { session: None, token, resumes: None }
    }

    fn of(claim: &Claim) -> Self {
        Self { session: Some(claim.session), token: claim.token, resumes: claim.resumes }
    }
}

/// Decides about a group of claims and gives the verdicts in their order. None is a claim that lost a race and would be
/// granted if it were repeated.
pub(super) async fn claim(
    client: &tokio_postgres::Client,
    consume: &Statement,
    claims: &[Claim],
) -> Result<Vec<Option<Verdict>>, StoreError> {
    let sids: Vec<&[u8]> = claims.iter().map(|claim| &claim.session.0[..]).collect();
    let tokens: Vec<&[u8]> = claims.iter().map(|claim| &claim.token.0[..]).collect();
    let handles: Vec<Option<&[u8]>> =
        claims.iter().map(|claim| claim.resumes.as_ref().map(|handle| &handle.0[..])).collect();
    let rows = client.query(consume, &[&sids, &tokens, &handles]).await.map_err(|error| failed(&error))?;
    let mut verdicts = vec![None; claims.len()];
    // Of a session that stands twice in one group the first one is told.
    let places: HashMap<&[u8], usize> = sids.iter().enumerate().rev().map(|(place, sid)| (*sid, place)).collect();
    for row in &rows {
        let sid: &[u8] = row.try_get(0).map_err(|error| failed(&error))?;
        let resumed = row.try_get(1).map_err(|error| failed(&error))?;
        if let Some(place) = places.get(sid) {
            verdicts[*place] = Some(Verdict::Granted { resumed });
        }
    }
    let open: Vec<usize> = (0..claims.len()).filter(|place| verdicts[*place].is_none()).collect();
    if !open.is_empty() {
        let asked: Vec<Asked> = open.iter().map(|place| Asked::of(&claims[*place])).collect();
        for (place, told) in open.into_iter().zip(denials(client, &asked).await?) {
            verdicts[place] = match (told.opened, told.denial) {
                (_, Some(denial)) => Some(Verdict::Denied(denial)),
                (Some(resumed), None) => Some(Verdict::Granted { resumed }),
                (None, None) => None,
            };
        }
    }
    Ok(verdicts)
}

/// Why each would be denied, if it would.
pub(super) async fn denials(
    client: &(impl tokio_postgres::GenericClient + Sync),
    asked: &[Asked],
) -> Result<Vec<Told>, StoreError> {
    let sids: Vec<Option<&[u8]>> =
        asked.iter().map(|asked| asked.session.as_ref().map(|session| &session.0[..])).collect();
    let tokens: Vec<&[u8]> = asked.iter().map(|asked| &asked.token.0[..]).collect();
    let handles: Vec<Option<&[u8]>> =
        asked.iter().map(|asked| asked.resumes.as_ref().map(|handle| &handle.0[..])).collect();
    let rows = client.query(WRONG, &[&sids, &tokens, &handles]).await.map_err(|error| failed(&error))?;
    rows.iter().zip(asked).map(|(row, asked)| judge(row, asked)).collect()
}

fn judge(row: &Row, asked: &Asked) -> Result<Told, StoreError> {
    let holds = |column| row.try_get::<_, bool>(column).map_err(|error| failed(&error));
    let is_opened = holds(0)?;
    // A session that was granted before needs neither a use nor the time to begin, but its own token.
    let is_fresh = asked.resumes.is_none() && !is_opened;
    let reasons = [
        (holds(3)? || is_opened && !holds(2)?, Denial::Unknown),
        (holds(4)?, Denial::Revoked),
        (holds(5)?, Denial::KeyRevoked),
        (holds(6)?, Denial::KeyExpired),
        (holds(7)?, Denial::Expired),
        (holds(8)? && !is_opened, Denial::ForeignHandle),
        (is_fresh && holds(9)?, Denial::StartPassed),
        (is_fresh && holds(10)?, Denial::UsedUp),
    ];
    let denial = reasons.into_iter().find_map(|(holds, denial)| holds.then_some(denial));
    Ok(Told { denial, opened: is_opened.then_some(holds(1)?) })
}
