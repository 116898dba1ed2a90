//! What `keymoat doctor` asks for from outside, to learn what a proxy in front does to WebSockets and event streams.
//!
//! Nobody needs a key here, so there is nothing to be had: an answer takes a second at most, costs no upstream, and
//! repeats nothing but two names of our own.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response};
use keymoat_core::head::{Ask, Head};
use keymoat_core::record::{Outcome, Protocol};
use keymoat_core::refusal::{Code, Refusal};
use serde_json::json;
use tokio::time::{Sleep, sleep};

use crate::answer;
use crate::body::ToClient;
use crate::ledger::Ledger;
use crate::peer::Peer;
use crate::relay::websocket::close_refused_after;
use crate::relay::{ClientEnd, Switch};
use crate::worker::Worker;

/// Where both are found.
const BELOW: &str = "/keymoat/v1/probe/";

/// The subprotocol that is offered beside the marker.
const LABEL: &str = "keymoat.probe";

/// How many pieces an event stream comes in.
const PIECES: u8 = 5;
/// How long it waits between two of them.
const BETWEEN: Duration = Duration::from_millis(200);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Which subprotocols arrived.
    WebSocket,
    /// Pieces, one after another.
    Events,
}

/// Which of them `head` asks for, if any.
pub(crate) fn asked(head: &Head) -> Option<Probe> {
    match head.path.strip_prefix(BELOW)? {
        "websocket" => Some(Probe::WebSocket),
        "events" if head.method == Method::GET => Some(Probe::Events),
        _ => None,
    }
}

/// Answers it.
pub(crate) fn answer(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    head: &Head,
    probe: Probe,
    switch: Switch,
    mut ledger: Ledger,
) -> Response<ToClient> {
    ledger.record.outcome = Outcome::Allowed;
    match (&head.ask, probe) {
        (Ask::Http, Probe::Events) => {
            let mut response = Response::new(ToClient::Timed(Timed::default()));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            ledger.record.status = Some(200);
            response
        }
        (Ask::WebSocket(opening), Probe::WebSocket) if switch.is_possible() => {
            let arrived: Vec<&str> = opening.offer.labels().filter(|label| *label == LABEL).collect();
            let told = json!({ "subprotocols": arrived }).to_string();
            let selected = arrived.first().and(Some(HeaderValue::from_static(LABEL)));
            let answer = switch.answer(opening, selected);
            ledger.record.protocol = Protocol::WebSocket;
            ledger.record.status = Some(answer.status().as_u16());
            ledger.record.close_code = Some(1000);
            let (peer, worker) = (Rc::clone(peer), Rc::clone(worker));
            tokio::task::spawn_local(async move {
                let _peer = peer;
                let telling = async {
                    match switch.take().await {
                        Some(ClientEnd::Http1(client)) => close_refused_after(client, Some(&told), 1000, "").await,
                        Some(ClientEnd::Http2(client)) => close_refused_after(client, Some(&told), 1000, "").await,
                        None => {}
                    }
                };
                tokio::select! {
                    () = telling => {}
                    () = worker.stopping() => {}
                }
            });
            answer
        }
        _ => {
            let refusal = Refusal::new(Code::RequestInvalid, "this is for `keymoat doctor --through`");
            answer::refusal(&refusal, None, ledger)
        }
    }
}

/// An event stream that comes in pieces, with a pause before each but the first.
#[derive(Default)]
pub(crate) struct Timed {
    sent: u8,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    pub(crate) fn is_over(&self) -> bool {
        self.sent >= PIECES
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.is_over() {
            return Poll::Ready(None);
        }
        if self.sent > 0 {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(BETWEEN)));
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        self.sent += 1;
        Poll::Ready(Some(Bytes::from(format!("data: piece {} of {PIECES}\n\n", self.sent))))
    }
}
