//! The first-message opening: our 101, one message, the decision, the claim, the dial, and the message as we render it.
//!
//! Only the message tells a resumption, which costs no use, from a new session; and only it says what the session asks
//! for. So nothing is claimed or dialled before it has come.

use std::rc::Rc;

use http::{Request, Response};
use keymoat_core::Dialect;
use keymoat_core::gemini::{Call, FirstMessage, Lock};
use keymoat_core::head::{Head, Opening};
use keymoat_core::models::narrow_gemini;
use keymoat_core::policy::Access;
use keymoat_core::record::{Outcome, Side};
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::setup;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::Instrument;

use super::{Held, Relaying, refuse, selection};
use crate::admission::Unclaimed;
use crate::body::{ToClient, ToUpstream};
use crate::claim;
use crate::ledger::Ledger;
use crate::passage::Passage;
use crate::relay::ClientEnd;
use crate::relay::websocket::{
    Bounds, End, GeminiWatch, Message, Mode, NoMessage, Watcher, close_refused, first_message,
};
use crate::session::{SessionGuard, Setup};
use crate::settings::Limits;
use crate::upstream::{self, Link};
use crate::worker::Worker;

/// Everything that the session needs once its first message is there.
struct Waiting {
    worker: Rc<Worker>,
    ledger: Ledger,
    session: SessionGuard,
    /// None for a key that is held to a list of models.
    unclaimed: Option<Unclaimed>,
    lock: Lock,
    call: Call,
    bounds: Option<Bounds>,
    link: Link,
    request: Request<ToUpstream>,
    /// What the upstream's 101 must answer.
    key: String,
    limits: Limits,
    dialect: Dialect,
}

/// Answers the opening and goes on in a task of its own, which holds the connection's place and the record to the end.
pub(super) async fn open(
    mut passage: Passage<'_>,
    head: Head,
    opening: &Opening,
    (path, call): (&str, Call),
    access: &Access,
    unclaimed: Option<Unclaimed>,
) -> Response<ToClient> {
    let key = upstream::fresh_key();
    let prepared = claim::session(passage.worker, &passage.ledger.record, access).and_then(|session| {
        let lock = match &unclaimed {
            Some(unclaimed) => unclaimed.token.constraint.for_gemini()?.into_owned(),
            None => Lock::default(),
        };
        let lock = access.model_lists().try_fold(lock, narrow_gemini)?;
        let link = passage.link()?;
        // Our answer goes out before the upstream's, so that no subprotocol can be offered to it.
        let request = upstream::for_websocket(&link, head, path, &passage, access, (&key, &[]))?;
        Ok((session, lock, link, request))
    });
    let (mut session, lock, link, request) = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => return refuse(passage, &refusal, opening),
    };
    if let Err(refusal) = claim::place(&mut session, passage.metered.as_ref()).await {
        return refuse(passage, &refusal, opening);
    }
    let Passage { worker, peer, plan, route, switch, mut ledger, metered } = passage;
    let selected = selection(opening, None, &mut ledger);
    let answer = switch.answer(opening, selected);
    ledger.record.status = Some(answer.status().as_u16());
    let span = tracing::debug_span!(parent: None, "session", id = %ledger.record.id, route = %route.name);
    let bounds = claim::bounds(access, metered.as_ref());
    let (worker, peer, limits, dialect) = (worker.clone(), peer.clone(), plan.limits, route.dialect);
    let waiting =
        Waiting { worker, ledger, session, unclaimed, lock, call, bounds, link, request, key, limits, dialect };
    let going_on = async move {
        let _peer = peer;
        match Box::pin(switch.take()).await {
            Some(ClientEnd::Http1(client)) => waiting.go_on(client).await,
            Some(ClientEnd::Http2(client)) => waiting.go_on(client).await,
            None => {}
        }
    };
    tokio::task::spawn_local(going_on.instrument(span));
    answer
}

impl Waiting {
    async fn go_on<C: AsyncRead + AsyncWrite + Unpin>(mut self, client: End<C>) {
        let bytes_max = self.limits.first_message_bytes_max;
        let (message, client) = Box::pin(first_message(client, bytes_max, self.given_up())).await;
        let message = match message {
            Ok(message) => message,
            Err(no_message) => return self.close_without(client, no_message).await,
        };
        let opcode = message.opcode;
        if let Some(bounds) = &mut self.bounds
            && let Err(refusal) = bounds.take_first(message.payload.len() as u64).await
        {
            return self.close(client, &refusal, Outcome::Refused).await;
        }
        let record = &mut self.ledger.record;
        (record.bytes_in, record.messages_in) = (message.payload.len() as u64, 1);
        let control = self.session.control().clone();
        let first = tokio::select! {
            biased;
            refusal = control.asked() => Err(refusal),
            first = self.claim(&message) => first,
        };
        let first = match first {
            Ok(first) => first,
            Err(refusal) => return self.close(client, &refusal, Outcome::Refused).await,
        };
        self.dial(client, Message { opcode, payload: first.rendered }).await;
    }

    /// Why no message is awaited any longer.
    async fn given_up(&self) -> Refusal {
        let patience = self.limits.first_message;
        tokio::select! {
            refusal = self.session.control().asked() => refusal,
            () = self.worker.draining() => {
                Refusal::new(Code::Draining, "this server is restarting, connect again").retry_after_secs(1)
            }
            () = tokio::time::sleep(patience) => {
                let text = format!("no message within {} s: send the setup first", patience.as_secs());
                Refusal::new(Code::RequestTimeout, text)
            }
        }
    }

    /// Decides about the message and consumes a use, or none for a session that the token was given before.
    async fn claim(&mut self, message: &Message) -> Result<FirstMessage, Refusal> {
        let first = self.lock.first(&message.payload, self.call)?;
        if let Some(model) = &first.model {
            self.session.control().note_model(model);
        }
        let (asked, effective) = (setup::shown(&message.payload), setup::shown(&first.rendered));
        self.session.control().note_setup(Setup { asked, effective });
        let Some(unclaimed) = &self.unclaimed else { return Ok(first) };
        let shared = &self.worker.shared;
        let upstream = self.link.target.name();
        let resumes = first.resumes.as_ref().map(|handle| claim::handle_digest(shared, upstream, handle));
        claim::token_use(shared, unclaimed.digest, resumes).await?;
        match self.call {
            Call::Live => claim::resumable_session_granted(shared, &mut self.session, &unclaimed.token),
            Call::LiveMusic | Call::Rest => claim::session_granted(&self.session, &unclaimed.token),
        }
        self.ledger.keep_beginning(shared).await?;
        Ok(first)
    }

    async fn dial<C: AsyncRead + AsyncWrite + Unpin>(mut self, client: End<C>, first: Message) {
        let request = std::mem::replace(&mut self.request, Request::new(ToUpstream::Empty));
        let opened = tokio::select! {
            biased;
            refusal = self.session.control().asked() => return self.close(client, &refusal, Outcome::Refused).await,
            opened = Box::pin(upstream::open_websocket(&self.link, request, &self.key, &[])) => opened,
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                self.ledger.record.cause = Some(failure.to_string());
                return self.close(client, &failure.refusal(), Outcome::Failed).await;
            }
        };
        self.ledger.record.upstream_millis = Some(self.ledger.elapsed_millis());
        let token_id = self.unclaimed.as_ref().map(|unclaimed| unclaimed.token.id.clone());
        // The handles that a token's sessions are given are its own; those of keys are nobody's in particular.
        let is_given_handles = self.call == Call::Live && token_id.is_some();
        let upstream = self.link.target.name().clone();
        let watch = GeminiWatch::new(self.lock, self.worker.shared.clone(), token_id, upstream);
        let watcher = Box::new(Watcher::Gemini(watch));
        let mode = if is_given_handles { Mode::WatchBoth(watcher) } else { Mode::WatchClient(watcher) };
        let relaying = Relaying {
            ledger: self.ledger,
            session: self.session,
            mask: self.link.target.mask().clone(),
            limits: self.limits,
            dialect: self.dialect,
            held: Held { mode, bounds: self.bounds, first: Some(first) },
        };
        relaying.run(client, opened).await;
    }

    /// Ends a client that sent nothing to decide about.
    async fn close_without<C: AsyncRead + AsyncWrite + Unpin>(mut self, client: End<C>, why: NoMessage) {
        let refusal = match why {
            NoMessage::Gone => return,
            NoMessage::Closed(code) => {
                let record = &mut self.ledger.record;
                (record.close_code, record.closed_by) = (Some(code), Some(Side::Client));
                return close_refused(client, code, "").await;
            }
            NoMessage::Refused(refusal) => return self.close(client, &refusal, Outcome::Refused).await,
            NoMessage::Flood => Refusal::new(Code::RateLimited, "too many pings and pongs in a second"),
            NoMessage::Faulty(fault) => {
                let word = if fault.close_code() == 1009 { Code::BodyTooLarge } else { Code::RequestInvalid };
                let refusal = Refusal::new(word, fault.to_string());
                return self.close_with(client, fault.close_code(), &refusal, Outcome::Refused).await;
            }
        };
        self.close_with(client, 1008, &refusal, Outcome::Refused).await;
    }

    async fn close<C: AsyncRead + AsyncWrite + Unpin>(self, client: End<C>, refusal: &Refusal, outcome: Outcome) {
        let code = refusal.code.close_code(self.dialect);
        self.close_with(client, code, refusal, outcome).await;
    }

    async fn close_with<C: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        client: End<C>,
        code: u16,
        refusal: &Refusal,
        outcome: Outcome,
    ) {
        let record = &mut self.ledger.record;
        (record.outcome, record.code) = (outcome, Some(refusal.code));
        (record.close_code, record.closed_by) = (Some(code), Some(Side::Keymoat));
        record.close_reason = Some(refusal.reason().into());
        // The session's place is free while the client reads why.
        drop(self.session);
        let reason = refusal.reason();
        tokio::select! {
            () = close_refused(client, code, &reason) => {}
            () = self.worker.stopping() => {}
        }
    }
}
