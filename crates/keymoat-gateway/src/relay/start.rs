//! Starts the relay of a WebSocket, or closes one that was refused so that its client can read why.

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Response};
use keymoat_core::head::Opening;
use keymoat_core::policy::Grant;
use keymoat_core::record::{Outcome, Side};
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::{Dialect, Route};
use tokio::io::{AsyncRead, AsyncReadExt};
use tracing::Instrument;

use super::switch::{ClientEnd, Switch};
use super::websocket::{End, close_refused, relay};
use crate::answer;
use crate::body::ToClient;
use crate::clock;
use crate::ledger::Ledger;
use crate::peer::Peer;
use crate::session::{SessionGuard, SessionInfo};
use crate::upstream::Opened;
use crate::worker::Worker;

/// How long a refused Gemini client may take to begin its first message.
const FIRST_MESSAGE: Duration = Duration::from_millis(500);
/// How much of it is read before the refusal.
const FIRST_BYTES: usize = 2048;

/// Answers the opening and relays in a task of its own, which holds the connection's place and the record to the end.
#[expect(clippy::too_many_arguments, reason = "the stages' values, each used once")]
pub(crate) fn websocket(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    opened: Opened,
    opening: &Opening,
    route: &Route,
    grant: Grant,
    switch: Switch,
    mut ledger: Ledger,
) -> Response<ToClient> {
    let session = match open_session(worker, route, &grant) {
        Ok(session) => session,
        Err(refusal) => return refuse_websocket(&refusal, opening, route, switch, peer, worker, ledger),
    };
    let selected = selection(opening, opened.selected.as_deref(), &mut ledger);
    let answer = switch.answer(opening, selected);
    ledger.record.status = Some(answer.status().as_u16());
    let (limits, dialect) = (worker.shared.limits, route.dialect);
    let peer = peer.clone();
    let span = tracing::debug_span!(parent: None, "session", id = %ledger.record.id, route = %route.name);
    let relaying = async move {
        let _peer = peer;
        let Some(client) = Box::pin(switch.take()).await else { return };
        let upstream = End { stream: opened.stream, already_read: opened.already_read };
        let control = session.control();
        let end = match client {
            ClientEnd::Http1(client) => Box::pin(relay(client, upstream, &limits, control, dialect)).await,
            ClientEnd::Http2(client) => Box::pin(relay(client, upstream, &limits, control, dialect)).await,
        };
        let record = &mut ledger.record;
        record.outcome = end.outcome;
        record.code = end.code;
        record.cause = end.cause;
        record.close_code = end.close_code;
        record.closed_by = Some(end.closed_by);
        (record.bytes_in, record.bytes_out) = (end.bytes_in, end.bytes_out);
        (record.messages_in, record.messages_out) = (end.messages_in, end.messages_out);
    };
    tokio::task::spawn_local(relaying.instrument(span));
    answer
}

/// Refuses a WebSocket in the one way that a browser can read: upgraded, then closed with code and reason.
pub(crate) fn refuse_websocket(
    refusal: &Refusal,
    opening: &Opening,
    route: &Route,
    switch: Switch,
    peer: &Rc<Peer>,
    worker: &Rc<Worker>,
    mut ledger: Ledger,
) -> Response<ToClient> {
    if matches!(refusal.code, Code::RequestInvalid) {
        return answer::refusal(refusal, Some(route), ledger);
    }
    let selected = selection(opening, None, &mut ledger);
    let answer = switch.answer(opening, selected);
    let outcome = if ledger.record.outcome == Outcome::Failed { Outcome::Failed } else { Outcome::Refused };
    ledger.refused(refusal, outcome, answer.status().as_u16());
    let close = refusal.code.close_code(route.dialect);
    ledger.record.close_code = Some(close);
    ledger.record.closed_by = Some(Side::Keymoat);
    let (peer, worker, reason, dialect) = (peer.clone(), worker.clone(), refusal.reason(), route.dialect);
    tokio::task::spawn_local(async move {
        let _peer = peer;
        let closing = async {
            match switch.take().await {
                Some(ClientEnd::Http1(client)) => close_refused(hear(client, dialect).await, close, &reason).await,
                Some(ClientEnd::Http2(client)) => close_refused(hear(client, dialect).await, close, &reason).await,
                None => {}
            }
        };
        tokio::select! {
            () = closing => {}
            () = worker.stopping() => {}
        }
    });
    answer
}

/// Waits a moment for the beginning of a Gemini client's first message. Google's Python SDK sends its setup before it
/// reads: closed any earlier, it shows a failed send and not the refusal.
async fn hear<C: AsyncRead + Unpin>(mut client: End<C>, dialect: Dialect) -> End<C> {
    if dialect != Dialect::Gemini || !client.already_read.is_empty() {
        return client;
    }
    let mut beginning = BytesMut::with_capacity(FIRST_BYTES);
    // A silent client, and one that has gone, are refused like any other.
    let _ = tokio::time::timeout(FIRST_MESSAGE, client.stream.read_buf(&mut beginning)).await;
    client.already_read = beginning.freeze();
    client
}

/// The subprotocol that the client is told. A lone credential is echoed where the route demands it: that is recorded.
fn selection(opening: &Opening, upstream: Option<&str>, ledger: &mut Ledger) -> Option<HeaderValue> {
    if let Some(selected) = opening.offer.select(upstream) {
        return HeaderValue::try_from(selected).ok();
    }
    // The one exemption from "never echoed": a browser fails without it, and the route says so.
    let echo = opening.offer.expose_lone_credential()?.expose();
    let mut value = HeaderValue::from_bytes(echo).ok()?;
    value.set_sensitive(true);
    ledger.record.lone_subprotocol_echoed = true;
    Some(value)
}

/// Takes a session in, and decides once more: a revocation may have come between the decision and this moment.
pub(crate) fn open_session(worker: &Worker, route: &Route, grant: &Grant) -> Result<SessionGuard, Refusal> {
    let key = &grant.identity.key;
    let info = SessionInfo { key_id: Some(key.id.clone()), route: route.name.clone(), opened_at: clock::now() };
    let session = worker.shared.sessions.insert(info)?;
    if worker.shared.snapshots.load().is_revoked(&key.id) {
        return Err(Refusal::new(Code::CredentialRevoked, "this key was revoked, ask for a new one"));
    }
    Ok(session)
}
