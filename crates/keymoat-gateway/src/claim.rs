//! Claims: the shared writes on the road. A session takes its place in the registry, and a token's use is consumed,
//! before anything is dialled.

use std::time::Duration;

use keymoat_core::policy::Access;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::token::{Uses, told};
use keymoat_core::{Constraint, Digest, Record, Secret, Token, limits};
use keymoat_store::{Claim, Denial, DeskError, SessionId, Verdict};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::admission::Unclaimed;
use crate::clock;
use crate::meter::Metered;
use crate::relay::websocket::Bounds;
use crate::session::{SessionGuard, SessionInfo, expiry};
use crate::worker::{Shared, Worker};

/// Takes a session in, and decides once more: a revocation may have come between the decision and this moment, and a
/// later one finds the session in the registry.
///
/// # Errors
/// `unavailable` when there are too many sessions, `credential_revoked` when the key or the token no longer holds.
pub(crate) fn session(worker: &Worker, record: &Record, access: &Access) -> Result<SessionGuard, Refusal> {
    let (key_id, token_id) = (access.key_id(), access.token().map(|token| &token.id));
    let session = worker.shared.sessions.insert(SessionInfo::of(record, clock::now()))?;
    let snapshot = worker.shared.snapshots.load();
    if token_id.is_some_and(|token_id| snapshot.is_token_revoked(token_id)) {
        return Err(told::revoked());
    }
    // A key that was taken out of the configuration is in no view any more, neither revoked nor good.
    let is_lost = |key_id| snapshot.is_revoked(key_id) || snapshot.key_by_id(key_id).is_none();
    if key_id.is_some_and(|key_id| is_lost(key_id)) {
        return Err(match token_id {
            Some(_) => told::key_revoked(),
            None => Refusal::new(Code::CredentialRevoked, "this key was revoked, ask for a new one"),
        });
    }
    // Whoever looks for keys that expire has looked at this one, perhaps before the session was there.
    if key_id.and_then(|key_id| snapshot.key_by_id(key_id)).is_some_and(|key| !key.is_live(clock::now())) {
        return Err(if token_id.is_some() { told::key_expired() } else { expiry::expired() });
    }
    Ok(session)
}

/// Consumes a use of the token with this digest, or none where `resumes` is the digest of a handle that it was given.
/// Durable when it returns.
///
/// # Errors
/// Why the token opens nothing; `unavailable` when the store does not answer. A use may be gone then, and nothing is
/// granted for it.
pub(crate) async fn token_use(shared: &Shared, token: Digest, resumes: Option<Digest>) -> Result<(), Refusal> {
    let mut session = [0; 16];
    aws_lc_rs::rand::fill(&mut session).expect("the system gives random bytes");
    let claim = Claim { session: SessionId(session), token, resumes, now: clock::now() };
    match shared.desk()?.claim(claim).await.map_err(no_answer)? {
        Verdict::Granted { .. } => Ok(()),
        Verdict::Denied(denial) => Err(denied(denial)),
    }
}

/// Holds a token to as many sessions at once as it has uses, here: a resumption costs none.
pub(crate) fn session_granted(session: &SessionGuard, token: &Token) {
    let at_once_max = match token.uses {
        Uses::Unlimited => usize::MAX,
        Uses::AtMost(uses) => usize::try_from(uses).unwrap_or(usize::MAX),
    };
    session.take_the_place_of_older(at_once_max, &told::resumed_elsewhere());
}

/// The same for a session that can be resumed, over all nodes: each ends its own that are too old, a moment later.
pub(crate) fn resumable_session_granted(shared: &Shared, session: &mut SessionGuard, token: &Token) {
    session_granted(session, token);
    if let (Uses::AtMost(uses), Some(commons)) = (token.uses, shared.meters.commons())
        && commons.has_other_nodes()
    {
        let place = commons.note_newest(&token.id, uses, session.control());
        session.be_known_as(place);
    }
}

/// By what a resumption handle is known: it means something to the upstream that gave it out, and to no other.
pub(crate) fn handle_digest(shared: &Shared, upstream: &str, handle: &Secret) -> Digest {
    let snapshot = shared.snapshots.load();
    let mut known = Zeroizing::new(Vec::with_capacity(upstream.len() + 1 + handle.len()));
    known.extend_from_slice(upstream.as_bytes());
    known.push(0);
    // The digest is all that is kept.
    known.extend_from_slice(handle.expose());
    snapshot.pepper.digest(&known)
}

/// Consumes a use for a plain request, which is a session from its beginning to the end of its answer: what ends the
/// token reaches it.
///
/// # Errors
/// Those of [`session`] and [`token_use`], and `forbidden` for a token that is locked to live sessions.
pub(crate) async fn session_over_http(
    worker: &Worker,
    record: &Record,
    access: &Access,
    unclaimed: &Unclaimed,
) -> Result<SessionGuard, Refusal> {
    if unclaimed.token.constraint != Constraint::None {
        let text = "this token is locked to live sessions: mint one without a lock for requests";
        return Err(Refusal::new(Code::Forbidden, text));
    }
    let mut session = session(worker, record, access)?;
    if let Some((moment, refusal)) = bounds(access, None).and_then(|bounds| bounds.deadline) {
        session.end_at(moment, refusal);
    }
    token_use(&worker.shared, unclaimed.digest, None).await?;
    session_granted(&session, &unclaimed.token);
    Ok(session)
}

/// Why a token is good for nothing new, for whoever holds all of it.
fn denied(denial: Denial) -> Refusal {
    match denial {
        Denial::Unknown => Refusal::new(Code::CredentialInvalid, "the credential is not accepted"),
        Denial::Revoked => told::revoked(),
        Denial::KeyRevoked => told::key_revoked(),
        Denial::KeyExpired => told::key_expired(),
        Denial::Expired => told::expired(),
        Denial::ForeignHandle => told::foreign_handle(),
        Denial::StartPassed => told::start_passed(),
        Denial::UsedUp => told::used_up(),
    }
}

/// The store does not answer about tokens: nobody is let in by one.
pub(crate) fn no_answer(error: DeskError) -> Refusal {
    tracing::debug!(%error, "cannot ask about a token");
    Refusal::new(Code::Unavailable, "the store of tokens does not answer, try again").retry_after_secs(1)
}

/// What a session may take from this moment on, by its token and by the limits of its key; `None` if nothing bounds it.
pub(crate) fn bounds(access: &Access, metered: Option<&Metered>) -> Option<Bounds> {
    let Access::Keyed(grant) = access else { return None };
    let limits = &grant.identity.key.limits;
    let token = access.token();
    if token.is_none() && limits.are_none() {
        return None;
    }
    let mut bounds = token.map(|token| of_token(token)).unwrap_or_default();
    if let Some(secs) = limits.session_duration_secs {
        let end = Instant::now() + Duration::from_secs(secs);
        if bounds.deadline.as_ref().is_none_or(|(earlier, _)| end < *earlier) {
            bounds.deadline = Some((end, limits::session_over(secs)));
        }
    }
    if let Some(bytes) = limits.session_bytes
        && bounds.bytes_max.is_none_or(|fewer| bytes < fewer)
    {
        (bounds.bytes_max, bounds.bytes_over) = (Some(bytes), Some(limits::session_full(bytes)));
    }
    bounds.metered = metered.filter(|metered| metered.counts_bytes()).cloned();
    Some(bounds)
}

/// Has a session take its place among those that its key, on all nodes, and its token may have at once. Durable when it
/// returns.
///
/// # Errors
/// `rate_limited` when all are taken, `unavailable` when the store does not say.
pub(crate) async fn place(session: &mut SessionGuard, metered: Option<&Metered>) -> Result<(), Refusal> {
    if let Some(metered) = metered {
        session.keep(metered.take_places(session.control()).await?);
    }
    Ok(())
}

fn of_token(token: &Token) -> Bounds {
    let left = token.live_until.0.saturating_sub(clock::now().0);
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    let (left, refusal) = match token.limits.duration_secs_max.map(Duration::from_secs) {
        Some(duration) if duration < left => {
            let text = format!("a session of this token has {} s: open another", duration.as_secs());
            (duration, Refusal::new(Code::TokenExpired, text))
        }
        _ => (left, told::expired()),
    };
    Bounds {
        deadline: Some((Instant::now() + left, refusal)),
        bytes_max: token.limits.bytes_max,
        messages_max: token.limits.messages_max,
        ..Bounds::default()
    }
}
