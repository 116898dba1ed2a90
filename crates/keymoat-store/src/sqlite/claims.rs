//! The claim: one conditional statement opens the session, and another one takes the use that it costs.
//!
//! Whether it is granted is decided by the first statement alone, in a transaction that nobody else writes beside; why it is
//! not is read afterwards, in the same transaction.

use keymoat_core::{Digest, UnixMillis};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::token::{Claim, Denial, SessionId, Verdict};

/// What must hold of a token for whatever it is used for, at `?2`. A clock that steps back brings nothing back that was revoked.
macro_rules! stands {
    () => {
        "token.revoked_at IS NULL AND live_until > ?2
         AND (key_is_stored = 0 OR EXISTS (SELECT 1 FROM api_key WHERE api_key.id = key_id
              AND api_key.revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)))"
    };
}

/// What a token is asked for.
#[derive(Clone, Copy)]
pub(super) enum Use {
    /// A new session.
    Fresh,
    /// A session that goes on where another one ended.
    Resumed(Digest),
    /// A session that it was granted before.
    Again,
}

/// Opens a session for whoever pays afterwards: `?1` is the token's digest, `?2` the time, `?3` the session. It is public for
/// whoever measures the database beside Keymoat.
pub const OPEN_SESSION: &str = concat!(
    "INSERT INTO token_session (sid, token, resumed, opened_at)
     SELECT ?3, number, 0, ?2 FROM token
     WHERE digest = ?1 AND start_by > ?2 AND (uses_left IS NULL OR uses_left > 0) AND ",
    stands!(),
    " ON CONFLICT (sid) DO NOTHING RETURNING token"
);

/// Takes the use off the token with the number `?1`; of those whose sessions are not counted there is none to take.
pub const TAKE_USE: &str = "UPDATE token SET uses_left = uses_left - 1 WHERE number = ?1 AND uses_left IS NOT NULL";

/// Opens a session by the handle `?4`, which costs nothing.
const RESUME: &str = concat!(
    "INSERT INTO token_session (sid, token, resumed, opened_at)
     SELECT ?3, token.number, 1, ?2 FROM token JOIN token_handle ON token_handle.token = token.number AND handle = ?4
     WHERE digest = ?1 AND ",
    stands!(),
    " ON CONFLICT (sid) DO NOTHING RETURNING token"
);

/// What comes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// The session is open, and the token with this number has to [`pay`] for it in the same transaction.
    Unpaid(i64),
    /// There is nothing to pay.
    Told(Verdict),
}

/// Opens a session, or says why not. A session that was granted before costs nothing more. What fails has changed nothing.
pub(super) fn open(connection: &Connection, claim: &Claim) -> Result<Opened, StoreError> {
    let Claim { session, token, resumes, now } = claim;
    let paid: Option<i64> = match resumes {
        None => {
            let mut statement = connection.prepare_cached(OPEN_SESSION)?;
            statement.query_row(params![token.0, now.0, session.0], |row| row.get(0)).optional()?
        }
        Some(handle) => {
            let mut statement = connection.prepare_cached(RESUME)?;
            statement.query_row(params![token.0, now.0, session.0, handle.0], |row| row.get(0)).optional()?
        }
    };
    match (paid, resumes) {
        (Some(number), None) => return Ok(Opened::Unpaid(number)),
        (Some(_), Some(_)) => return Ok(Opened::Told(Verdict::Granted { resumed: true })),
        (None, _) => {}
    }
    if let Some((of, resumed)) = opened(connection, *session)? {
        let denial = match of == Some(*token) {
            true => denial(connection, token, Use::Again, *now)?,
            false => Some(Denial::Unknown),
        };
        return Ok(Opened::Told(denial.map_or(Verdict::Granted { resumed }, Verdict::Denied)));
    }
    let denial = denial(connection, token, resumes.map_or(Use::Fresh, Use::Resumed), *now)?;
    Ok(Opened::Told(Verdict::Denied(denial.unwrap_or(Denial::Unknown))))
}

/// Takes a use off the token with this number. After an error the transaction must not be committed.
pub(super) fn pay(connection: &Connection, number: i64) -> Result<(), StoreError> {
    connection.prepare_cached(TAKE_USE)?.execute([number])?;
    Ok(())
}

/// Why a token would be denied, if it would.
pub(super) fn denial(
    connection: &Connection,
    token: &Digest,
    asked: Use,
    now: UnixMillis,
) -> Result<Option<Denial>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT token.revoked_at IS NOT NULL,
                key_is_stored AND (api_key.id IS NULL OR api_key.revoked_at IS NOT NULL),
                key_is_stored AND coalesce(expires_at <= ?2, 0),
                live_until <= ?2, start_by <= ?2, coalesce(uses_left = 0, 0), number
         FROM token LEFT JOIN api_key ON api_key.id = key_id WHERE digest = ?1",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        let holds: [bool; 6] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
        Ok((holds, row.get(6)?))
    };
    let Some((holds, number)) = statement.query_row(params![token.0, now.0], read).optional()? else {
        return Ok(Some(Denial::Unknown));
    };
    let [revoked, key_revoked, key_expired, expired, start_passed, used_up] = holds;
    let is_foreign = match asked {
        Use::Resumed(handle) => !knows_handle(connection, number, &handle)?,
        Use::Fresh | Use::Again => false,
    };
    let is_fresh = matches!(asked, Use::Fresh);
    let reasons = [
        (revoked, Denial::Revoked),
        (key_revoked, Denial::KeyRevoked),
        (key_expired, Denial::KeyExpired),
        (expired, Denial::Expired),
        (is_foreign, Denial::ForeignHandle),
        (is_fresh && start_passed, Denial::StartPassed),
        (is_fresh && used_up, Denial::UsedUp),
    ];
    Ok(reasons.into_iter().find_map(|(holds, denial)| holds.then_some(denial)))
}

/// The token of a session that was granted before, if it is remembered, and whether the session was resumed.
fn opened(connection: &Connection, session: SessionId) -> Result<Option<(Option<Digest>, bool)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, resumed FROM token_session LEFT JOIN token ON token.number = token WHERE sid = ?1",
    )?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<[u8; 32]>>(0)?.map(Digest), row.get(1)?));
    Ok(statement.query_row([session.0], read).optional()?)
}

fn knows_handle(connection: &Connection, number: i64, handle: &Digest) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM token_handle WHERE token = ?1 AND handle = ?2")?;
    Ok(statement.exists(params![number, handle.0])?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::sqlite::schema;

    const NOW: i64 = 1000;
    const TOKEN: Digest = Digest([1; 32]);
    const HANDLE: Digest = Digest([2; 32]);

    /// What may be wrong with a token, in the order in which it is told.
    const FAULTS: [(Denial, &str); 7] = [
        (Denial::Revoked, "UPDATE token SET revoked_at = 1"),
        (Denial::KeyRevoked, "UPDATE api_key SET revoked_at = 1"),
        (Denial::KeyExpired, "UPDATE api_key SET expires_at = 1000"),
        (Denial::Expired, "UPDATE token SET live_until = 1000"),
        (Denial::ForeignHandle, "DELETE FROM token_handle"),
        (Denial::StartPassed, "UPDATE token SET start_by = 1000"),
        (Denial::UsedUp, "UPDATE token SET uses_left = 0"),
    ];

    fn one_token() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        connection
            .execute_batch(
                "INSERT INTO pepper VALUES (1, zeroblob(32));
                 INSERT INTO api_key (id, name, scopes, created_at, expires_at) VALUES ('key_a', 'a', '*', 0, 1001);
                 INSERT INTO token VALUES (1, 'tok_a', zeroblob(32), 1, 'key_a', 1, '*', 'any', 2, 2, 0, 1001, 1001, NULL)",
            )
            .unwrap();
        connection.execute("UPDATE token SET digest = ?1", [TOKEN.0]).unwrap();
        connection.execute("INSERT INTO token_handle VALUES (1, 1, ?1, 0)", [HANDLE.0]).unwrap();
        connection
    }

    fn claimed(connection: &Connection, resumes: Option<Digest>) -> Verdict {
        let session = SessionId([3; 16]);
        match open(connection, &Claim { session, token: TOKEN, resumes, now: UnixMillis(NOW) }).unwrap() {
            Opened::Unpaid(number) => {
                pay(connection, number).unwrap();
                Verdict::Granted { resumed: false }
            }
            Opened::Told(verdict) => verdict,
        }
    }

    #[test]
    fn what_is_told_is_what_was_decided_whatever_is_wrong_at_once() {
        let connection = one_token();
        for faults in 0_u32..1 << FAULTS.len() {
            for resumes in [None, Some(HANDLE)] {
                connection.execute_batch("SAVEPOINT here").unwrap();
                let present = FAULTS.iter().enumerate().filter(|(bit, _)| faults & (1 << bit) != 0);
                let present: Vec<_> = present.map(|(_, fault)| fault).collect();
                for (_, sql) in &present {
                    connection.execute_batch(sql).unwrap();
                }
                let matters = |denial: &Denial| match denial {
                    Denial::ForeignHandle => resumes.is_some(),
                    Denial::StartPassed | Denial::UsedUp => resumes.is_none(),
                    _ => true,
                };
                let first = present.iter().map(|(denial, _)| *denial).find(matters);
                let expected = first.map_or(Verdict::Granted { resumed: resumes.is_some() }, Verdict::Denied);
                assert_eq!(claimed(&connection, resumes), expected, "{present:?}");
                connection.execute_batch("ROLLBACK TO here; RELEASE here").unwrap();
            }
        }
    }

    #[test]
    fn a_key_that_is_gone_takes_its_tokens_along() {
        let connection = one_token();
        connection.execute_batch("DELETE FROM api_key").unwrap();
        for resumes in [None, Some(HANDLE)] {
            assert_eq!(claimed(&connection, resumes), Verdict::Denied(Denial::KeyRevoked));
        }
    }
}
