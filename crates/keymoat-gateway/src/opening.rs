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
//! open. [`first_message`] is for what depends on the message: the sessions that tokens open at Gemini. Both end in
//! [`Relaying`].

mod first_message;
mod openai;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Request, Response};
use keymoat_core::gemini::Call;
use keymoat_core::head::{Head, Opening};
use keymoat_core::models::narrow_openai;
use keymoat_core::openai::Lock;
use keymoat_core::policy::Access;
use keymoat_core::record::{Outcome, Side};
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::{Dialect, Mask};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tracing::Instrument;

use crate::admission::{Admitted, Unclaimed};
use crate::answer;
use crate::body::{ToClient, ToUpstream};
use crate::claim;
use crate::exposed;
use crate::ledger::Ledger;
use crate::passage::Passage;
use crate::relay::ClientEnd;
use crate::relay::websocket::{Bounds, End, Message, Mode, Terms, close_refused_after, relay_under};
use crate::session::SessionGuard;
use crate::settings::Limits;
use crate::upstream::{self, Failure, Link, Opened};

/// How long a refused Gemini client may take to begin its first message.
const FIRST_MESSAGE: Duration = Duration::from_millis(500);
/// How much of it is read before the refusal.
const FIRST_BYTES: usize = 2048;

/// Opens a WebSocket in the order that its dialect and its credential ask for.
pub(crate) async fn open(passage: Passage<'_>, head: Head, opening: Opening, admitted: Admitted) -> Response<ToClient> {
    let Admitted { access, path, unclaimed } = admitted;
    match unclaimed {
        unclaimed
            if passage.route.dialect == Dialect::Gemini
                && (unclaimed.is_some() || access.model_lists().next().is_some()) =>
        {
            let call = if path.ends_with("BidiGenerateMusic") { Call::LiveMusic } else { Call::Live };
            first_message::open(passage, head, &opening, (&path, call), &access, unclaimed).await
        }
        unclaimed => dial_first(passage, head, opening, &path, access, unclaimed).await,
    }
}

/// Dial first: claim, dial, the upstream's 101, ours with what it selected, relay.
async fn dial_first(
    mut passage: Passage<'_>,
    head: Head,
    opening: Opening,
    path: &str,
    access: Access,
    unclaimed: Option<Unclaimed>,
) -> Response<ToClient> {
    let key = upstream::fresh_key();
    let labels: Vec<String> = opening.offer.labels().map(str::to_owned).collect();
    let claimed = claimed(&mut passage, head, path, &access, unclaimed, (&key, &labels)).await;
    let (session, link, request, terms) = match claimed {
        Ok(claimed) => claimed,
        Err(refusal) => return refuse(passage, &refusal, &opening),
    };
    let (route, since) = (passage.route, passage.worker.shared.started_at);
    match upstream::open_websocket(&link, request, &key, &labels).await {
        Ok(opened) => {
            let mut answer = start(passage, opened, &opening, session, link.target.mask().clone(), terms);
            if access.is_query_warned() {
                exposed::warn(answer.headers_mut(), since, route);
            }
            answer
        }
        Err(failure) => refuse_failed(passage, &failure, &opening),
    }
}

/// All that has to be in place before the upstream is dialled.
async fn claimed(
    passage: &mut Passage<'_>,
    mut head: Head,
    path: &str,
    access: &Access,
    unclaimed: Option<Unclaimed>,
    (key, labels): (&str, &[String]),
) -> Result<(SessionGuard, Link, Request<ToUpstream>, Held), Refusal> {
    let mut session = claim::session(passage.worker, &passage.ledger.record, access)?;
    let link = passage.link()?;
    let mut held = Held::default();
    if passage.route.dialect == Dialect::OpenAi {
        let lock = match &unclaimed {
            Some(unclaimed) => unclaimed.token.constraint.for_openai()?.into_owned(),
            None => Lock::default(),
        };
        let lock = access.model_lists().try_fold(lock, narrow_openai)?;
        held = openai::hold(lock, &mut head, path, session.control())?;
    }
    let request = upstream::for_websocket(&link, head, path, passage, access, (key, labels))?;
    held.bounds = claim::bounds(access, passage.metered.as_ref());
    claim::place(&mut session, passage.metered.as_ref()).await?;
    if let Some(Unclaimed { token, digest }) = unclaimed {
        claim::token_use(&passage.worker.shared, digest, None).await?;
        claim::session_granted(&session, &token);
    }
    passage.ledger.keep_beginning(&passage.worker.shared).await?;
    Ok((session, link, request, held))
}

/// What a session's relay is held to beyond the limits of all.
#[derive(Default)]
struct Held {
    mode: Mode,
    bounds: Option<Bounds>,
    first: Option<Message>,
}

/// Answers the opening and relays in a task of its own, which holds the connection's place and the record to the end.
fn start(
    passage: Passage<'_>,
    opened: Opened,
    opening: &Opening,
    session: SessionGuard,
    mask: Arc<Mask>,
    held: Held,
) -> Response<ToClient> {
    let Passage { peer, plan, route, switch, mut ledger, .. } = passage;
    ledger.record.upstream_millis = Some(ledger.elapsed_millis());
    let selected = selection(opening, opened.selected.as_deref(), &mut ledger);
    let answer = switch.answer(opening, selected);
    ledger.record.status = Some(answer.status().as_u16());
    let span = tracing::debug_span!(parent: None, "session", id = %ledger.record.id, route = %route.name);
    let (limits, dialect, peer) = (plan.limits, route.dialect, peer.clone());
    let relaying = Relaying { ledger, session, mask, limits, dialect, held };
    let relaying = async move {
        let _peer = peer;
        match Box::pin(switch.take()).await {
            Some(ClientEnd::Http1(client)) => relaying.run(client, opened).await,
            Some(ClientEnd::Http2(client)) => relaying.run(client, opened).await,
            None => {}
        }
    };
    tokio::task::spawn_local(relaying.instrument(span));
    answer
}

/// A relay that is about to begin.
struct Relaying {
    ledger: Ledger,
    session: SessionGuard,
    mask: Arc<Mask>,
    limits: Limits,
    dialect: Dialect,
    held: Held,
}

impl Relaying {
    /// Relays to the end, and notes it in the record.
    async fn run<C: AsyncRead + AsyncWrite + Unpin>(self, client: End<C>, opened: Opened) {
        let Self { mut ledger, session, mask, limits, dialect, held } = self;
        let upstream = End { stream: opened.stream, already_read: opened.already_read };
        let Held { mode, bounds, first } = held;
        let terms = Terms { mask: &mask, mode, bounds, first, ..Terms::new(&limits, session.control(), dialect) };
        let end = Box::pin(relay_under(client, upstream, terms)).await;
        let record = &mut ledger.record;
        record.outcome = end.outcome;
        record.code = end.code;
        record.cause = end.cause;
        (record.close_code, record.close_reason) = (end.close_code, end.close_reason);
        record.closed_by = Some(end.closed_by);
        // The message that decided about the session is counted already.
        record.bytes_in += end.bytes_in;
        record.messages_in += end.messages_in;
        (record.bytes_out, record.messages_out) = (end.bytes_out, end.messages_out);
    }
}

fn refuse_failed(mut passage: Passage<'_>, failure: &Failure, opening: &Opening) -> Response<ToClient> {
    passage.ledger.record.cause = Some(failure.to_string());
    passage.ledger.record.outcome = Outcome::Failed;
    refuse(passage, &failure.refusal(), opening)
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
    (ledger.record.close_code, ledger.record.close_reason) = (Some(close), Some(refusal.reason().into()));
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
        ledger.record.subprotocol_selected = Some(opening.offer.told_of(&selected));
        return HeaderValue::try_from(selected).ok();
    }
    // The one exemption from "never echoed": a browser fails without it, and the route says so.
    let echo = opening.offer.expose_lone_credential()?.expose();
    let mut value = HeaderValue::from_bytes(echo).ok()?;
    value.set_sensitive(true);
    ledger.record.lone_subprotocol_echoed = true;
    Some(value)
}
