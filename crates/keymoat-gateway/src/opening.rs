//! How a WebSocket comes to be open, or is refused so that its client can read why.
//!
//! There are two orders. In both, no byte of the client crosses before the upstream's valid 101.
//!
//! ```text
//! dial first       claim ─▶ dial ─▶ upstream's 101 ─▶ our 101 ─▶ relay
//! first message    our 101 ─▶ one message ─▶ decide ─▶ claim ─▶ dial ─▶ upstream's 101 ─▶ the message ─▶ relay
//! ```
//!
//! [`dial_first`] serves every session whose credential and limits are known from its head: all that long-lived keys
//! open. The first-message order is for limits that depend on the message; it shares [`start`] from the dialling on.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Response};
use keymoat_core::Mask;
use keymoat_core::head::{Head, Opening};
use keymoat_core::policy::Access;
use keymoat_core::record::{Outcome, Side};
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::Dialect;
use tokio::io::{AsyncRead, AsyncReadExt};
use tracing::Instrument;

use crate::answer;
use crate::body::ToClient;
use crate::claim;
use crate::ledger::Ledger;
use crate::passage::Passage;
use crate::relay::ClientEnd;
use crate::relay::websocket::{End, close_refused_after, relay_masked};
use crate::session::SessionGuard;
use crate::upstream::{self, Opened};

/// How long a refused Gemini client may take to begin its first message.
const FIRST_MESSAGE: Duration = Duration::from_millis(500);
/// How much of it is read before the refusal.
const FIRST_BYTES: usize = 2048;

/// Dial first: claim, dial, the upstream's 101, ours with what it selected, relay.
pub(crate) async fn dial_first(
    mut passage: Passage<'_>,
    head: Head,
    opening: Opening,
    path: &str,
    access: Access,
) -> Response<ToClient> {
    let key = upstream::fresh_key();
    let labels: Vec<String> = opening.offer.labels().map(str::to_owned).collect();
    let claimed = claim::session(passage.worker, passage.route, &access).and_then(|session| {
        let link = passage.link()?;
        let request = upstream::for_websocket(&link, head, path, &passage, &access, (&key, &labels))?;
        Ok((session, link, request))
    });
    let (session, link, request) = match claimed {
        Ok(claimed) => claimed,
        Err(refusal) => return refuse(passage, &refusal, &opening),
    };
    match upstream::open_websocket(&link, request, &key, &labels).await {
        Ok(opened) => {
            passage.ledger.record.upstream_millis = Some(passage.ledger.elapsed_millis());
            start(passage, opened, &opening, session, link.target.mask().clone())
        }
        Err(failure) => {
            passage.ledger.record.cause = Some(failure.to_string());
            passage.ledger.record.outcome = Outcome::Failed;
            refuse(passage, &failure.refusal(), &opening)
        }
    }
}

/// Answers the opening and relays in a task of its own, which holds the connection's place and the record to the end.
fn start(
    passage: Passage<'_>,
    opened: Opened,
    opening: &Opening,
    session: SessionGuard,
    mask: Arc<Mask>,
) -> Response<ToClient> {
    let Passage { peer, plan, route, switch, mut ledger, .. } = passage;
    let selected = selection(opening, opened.selected.as_deref(), &mut ledger);
    let answer = switch.answer(opening, selected);
    ledger.record.status = Some(answer.status().as_u16());
    let (limits, dialect, peer) = (plan.limits, route.dialect, peer.clone());
    let span = tracing::debug_span!(parent: None, "session", id = %ledger.record.id, route = %route.name);
    let relaying = async move {
        let _peer = peer;
        let Some(client) = Box::pin(switch.take()).await else { return };
        let upstream = End { stream: opened.stream, already_read: opened.already_read };
        let control = session.control();
        let end = match client {
            ClientEnd::Http1(client) => {
                Box::pin(relay_masked(client, upstream, &limits, control, dialect, &mask)).await
            }
            ClientEnd::Http2(client) => {
                Box::pin(relay_masked(client, upstream, &limits, control, dialect, &mask)).await
            }
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
pub(crate) fn refuse(passage: Passage<'_>, refusal: &Refusal, opening: &Opening) -> Response<ToClient> {
    if matches!(refusal.code, Code::RequestInvalid) {
        return passage.refuse(refusal);
    }
    let Passage { worker, peer, route, switch, mut ledger, .. } = passage;
    let selected = selection(opening, None, &mut ledger);
    let answer = switch.answer(opening, selected);
    let outcome = if ledger.record.outcome == Outcome::Failed { Outcome::Failed } else { Outcome::Refused };
    ledger.refused(refusal, outcome, answer.status().as_u16());
    let close = refusal.code.close_code(route.dialect);
    ledger.record.close_code = Some(close);
    ledger.record.closed_by = Some(Side::Keymoat);
    let (peer, worker, reason, dialect) = (peer.clone(), worker.clone(), refusal.reason(), route.dialect);
    let event = answer::event(refusal, dialect, &ledger.record.id.to_string());
    tokio::task::spawn_local(async move {
        let _peer = peer;
        let closing = async {
            match switch.take().await {
                Some(ClientEnd::Http1(client)) => {
                    close_refused_after(hear(client, dialect).await, event.as_deref(), close, &reason).await;
                }
                Some(ClientEnd::Http2(client)) => {
                    close_refused_after(hear(client, dialect).await, event.as_deref(), close, &reason).await;
                }
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
