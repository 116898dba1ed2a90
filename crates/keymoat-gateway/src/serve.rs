//! The road of one request: head → credential → identity → policy → claim → upstream → relay → record.
//!
//! Each stage takes the last one's value and returns its own; only the ledger, which carries the record, goes along.

use std::rc::Rc;

use http::{Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use hyper::ext::Protocol as ExtendedConnect;
use keymoat_core::head::{Ask, Head, Opening, Transport};
use keymoat_core::policy::Grant;
use keymoat_core::record::{Outcome, Protocol, Record};
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::Route;
use keymoat_core::{credential, identity, path, policy, route};

use tracing::Instrument;

use crate::body::{ToClient, ToUpstream, Upload};
use crate::clock;
use crate::gated::{GateSignal, Passed};
use crate::ledger::Ledger;
use crate::peer::Peer;
use crate::relay::Switch;
use crate::worker::Worker;
use crate::{answer, dialect, own, relay, upstream};

/// Serves one HTTP/1 request that the gate has let through, or answers for one that it has not.
pub(crate) async fn serve_http1(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    signal: &GateSignal,
    mut request: Request<Incoming>,
) -> Response<ToClient> {
    let mut ledger = begin(worker, peer, Protocol::Http1, &request);
    let passed = match signal.next_request() {
        Ok(passed) => passed,
        Err(rejection) => {
            // The request at hand is the gate's stand-in for one that must not be read.
            ledger.record.method = "-";
            return answer::closing(answer::refusal(&answer::of_gate(rejection), None, ledger));
        }
    };
    let switch = Switch::http1(hyper::upgrade::on(&mut request), signal.clone(), passed);
    let (parts, body) = request.into_parts();
    let span = span(&ledger);
    let answer = travel(worker, peer, parts, body, Transport::Http1, switch, ledger).instrument(span).await;
    if passed == Passed::Upgrade && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return answer::closing(answer);
    }
    answer
}

/// Serves one HTTP/2 request.
pub(crate) async fn serve_http2(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    mut request: Request<Incoming>,
) -> Response<ToClient> {
    let ledger = begin(worker, peer, Protocol::Http2, &request);
    let websocket = request.method() == Method::CONNECT
        && request.extensions().get::<ExtendedConnect>().is_some_and(|protocol| protocol.as_str() == "websocket");
    let transport = if websocket { Transport::Http2WebSocket } else { Transport::Http2 };
    let switch = Switch::http2(hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let span = span(&ledger);
    travel(worker, peer, parts, body, transport, switch, ledger).instrument(span).await
}

fn begin(worker: &Worker, peer: &Peer, protocol: Protocol, request: &Request<Incoming>) -> Ledger {
    let now = clock::now();
    let mut record = Record::begin(now, peer.client, protocol);
    record.id = worker.record_id(now);
    record.method = known_method(request.method());
    Ledger::begin(record, worker.shared.records.clone())
}

/// What diagnostics of this request are found by; they name the record and nothing that a client could have chosen.
fn span(ledger: &Ledger) -> tracing::Span {
    let record = &ledger.record;
    tracing::debug_span!("request", id = %record.id, protocol = record.protocol.word(), method = record.method)
}

/// The method as a word from a closed list, because a client's own could carry anything.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    const WORDS: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.iter().zip(WORDS).find(|(known, _)| *known == method).map_or("-", |(_, word)| word)
}

async fn travel(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    parts: request::Parts,
    body: Incoming,
    transport: Transport,
    switch: Switch,
    mut ledger: Ledger,
) -> Response<ToClient> {
    if worker.is_draining() {
        let refusal = Refusal::new(Code::Draining, "this server is restarting, try again").retry_after_secs(1);
        ledger.record.path = path::shown(parts.uri.path(), None);
        return answer::refusal(&refusal, None, ledger);
    }
    let uri = parts.uri.clone();
    let mut head = match Head::read(parts, transport, peer.tls_name.as_deref()) {
        Ok(head) => head,
        Err(refusal) => {
            ledger.record.path = path::shown(uri.path(), None);
            return answer::refusal(&refusal, None, ledger);
        }
    };
    drop(uri);
    ledger.record.path = path::shown(&head.path, None);
    if let Some(answer) = own::answer(&head) {
        return answer::own(answer, ledger);
    }
    let Some(route) = route::find(&worker.shared.routes, &head) else {
        let refusal = Refusal::new(Code::RouteUnknown, "no route takes this path, look at the routes in keymoat.toml");
        return answer::refusal(&refusal, None, ledger);
    };
    ledger.record.route = Some(route.name.clone());
    ledger.record.upstream = Some(route.upstream.clone());
    ledger.record.dialect = Some(route.dialect);
    let admitted = admit(worker, &mut head, route, &mut ledger.record)
        .and_then(|grant| Ok((grant, dialect::upstream_path(route, &mut head)?)));
    match std::mem::replace(&mut head.ask, Ask::Http) {
        Ask::Http => match admitted {
            Ok((grant, path)) => Box::pin(http(worker, peer, head, &path, body, route, grant, &switch, ledger)).await,
            Err(refusal) => answer::refusal(&refusal, Some(route), ledger),
        },
        Ask::WebSocket(_) if !switch.is_possible() => {
            let refusal = Refusal::new(Code::RequestInvalid, "the upgrade cannot be told apart from a plain request");
            answer::refusal(&refusal, Some(route), ledger)
        }
        Ask::WebSocket(opening) => {
            ledger.record.protocol = Protocol::WebSocket;
            match admitted {
                Ok((grant, path)) => {
                    Box::pin(websocket_dial_first(worker, peer, head, opening, &path, route, grant, switch, ledger))
                        .await
                }
                Err(refusal) => relay::refuse_websocket(&refusal, &opening, route, switch, peer, worker, ledger),
            }
        }
    }
}

/// Credential → identity → policy: pure decisions on one snapshot.
fn admit(worker: &Worker, head: &mut Head, route: &Route, record: &mut Record) -> Result<Grant, Refusal> {
    let snapshot = worker.shared.snapshots.load();
    let presented = credential::take(head, route, &snapshot, record)?;
    let identity = identity::find(presented, &snapshot, clock::now(), record)?;
    policy::decide(identity, route, record)
}

#[expect(clippy::too_many_arguments, reason = "the stages' values, each used once")]
async fn http(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    head: Head,
    path: &str,
    body: Incoming,
    route: &Route,
    grant: Grant,
    switch: &Switch,
    mut ledger: Ledger,
) -> Response<ToClient> {
    let (upload, uploaded) = Upload::new(body, worker.shared.limits.body_idle);
    let request = link(worker, route).and_then(|link| {
        let request = upstream::for_http(link, head, path, route.dialect, peer, ToUpstream::Upload(upload))?;
        Ok((link, request))
    });
    let (link, request) = match request {
        Ok(request) => request,
        Err(refusal) => return answer::refusal(&refusal, Some(route), ledger),
    };
    match link.send(request).await {
        Ok((response, lent)) => {
            ledger.record.upstream_millis = Some(ledger.elapsed_millis());
            relay::http(worker, response, lent, uploaded, route, grant, ledger)
        }
        Err(failure) => {
            ledger.record.bytes_in = uploaded.get();
            if let Some(rejection) = switch.body_error() {
                return answer::closing(answer::refusal(&answer::of_gate(rejection), Some(route), ledger));
            }
            answer::failure(&failure, Some(route), ledger)
        }
    }
}

/// The opening for dialects whose credential and limits are known from the head: dial, and only then switch.
#[expect(clippy::too_many_arguments, reason = "the stages' values, each used once")]
async fn websocket_dial_first(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    head: Head,
    opening: Opening,
    path: &str,
    route: &Route,
    grant: Grant,
    switch: Switch,
    mut ledger: Ledger,
) -> Response<ToClient> {
    let key = upstream::fresh_key();
    let labels: Vec<String> = opening.offer.labels().map(str::to_owned).collect();
    let request = link(worker, route).and_then(|link| {
        let request = upstream::for_websocket(link, head, path, route.dialect, peer, (&key, &labels))?;
        Ok((link, request))
    });
    let (link, request) = match request {
        Ok(request) => request,
        Err(refusal) => return relay::refuse_websocket(&refusal, &opening, route, switch, peer, worker, ledger),
    };
    match upstream::open_websocket(link, request, &key, &labels).await {
        Ok(opened) => {
            ledger.record.upstream_millis = Some(ledger.elapsed_millis());
            relay::websocket(worker, peer, opened, &opening, route, grant, switch, ledger)
        }
        Err(failure) => {
            ledger.record.cause = Some(failure.to_string());
            ledger.record.outcome = Outcome::Failed;
            relay::refuse_websocket(&failure.refusal(), &opening, route, switch, peer, worker, ledger)
        }
    }
}

fn link<'a>(worker: &'a Worker, route: &Route) -> Result<&'a upstream::Link, Refusal> {
    worker
        .link(&route.upstream)
        .ok_or_else(|| Refusal::new(Code::Unavailable, "the route's upstream is not configured"))
}
