//! The road of one request: head → credential → identity → policy → claim → upstream → relay → record.
//!
//! Each stage takes the last one's value and returns its own; only the ledger, which carries the record, goes along.

use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use http::{HeaderName, Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use hyper::ext::Protocol as ExtendedConnect;
use keymoat_core::head::{Ask, Head, Transport};
use keymoat_core::origin::Page;
use keymoat_core::record::{InUrl, Protocol, Record};
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::{Trace, credential, origin, path, route};
use tracing::Instrument;

use crate::admission::{self, Admitted};
use crate::body::{Allowance, Cut, ToClient, ToUpstream, Upload};
use crate::clock;
use crate::cors::{self, Cors};
use crate::forwarded;
use crate::gated::{GateSignal, Passed};
use crate::ledger::Ledger;
use crate::memory::Pressure;
use crate::own::Own;
use crate::passage::Passage;
use crate::peer::Peer;
use crate::relay::Switch;
use crate::worker::Worker;
use crate::{answer, claim, mint, models, opening, own, relay, through, upstream};

/// The header that names a request's place in a trace.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Serves one HTTP/1 request that the gate has let through, or answers for one that it has not.
pub(crate) async fn serve_http1(
    worker: &Rc<Worker>,
    peer: &Rc<Peer>,
    signal: &GateSignal,
    mut request: Request<Incoming>,
) -> Response<ToClient> {
    let peer = &forwarded::behind(peer, request.headers(), &worker.shared.plan.load().trusted_proxies);
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
    let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let lean = worker.pressure() >= Pressure::Lean || worker.is_left();
    if !switches && (passed == Passed::Upgrade || lean) {
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
    let peer = &forwarded::behind(peer, request.headers(), &worker.shared.plan.load().trusted_proxies);
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
    if worker.shared.traces.load(Ordering::Relaxed) {
        let mut lines = request.headers().get_all(TRACEPARENT).iter();
        // Of two nobody can say which one holds (W3C Trace Context section 3.2.1).
        let only = lines.next().filter(|_| lines.next().is_none()).and_then(|line| line.to_str().ok());
        let (trace_id, span_id) = worker.fresh_trace();
        record.trace = Some(Trace::continued(only, trace_id, span_id));
    }
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
    let plan = worker.shared.plan.load_full();
    let uri = parts.uri.clone();
    let head = match Head::read_within(parts, transport, peer.tls_name.as_deref(), &plan.limits.of_heads()) {
        Ok(head) => head,
        Err(refusal) => {
            ledger.record.path = path::shown(uri.path(), None);
            return answer::refusal(&refusal, None, ledger);
        }
    };
    drop(uri);
    ledger.record.path = path::shown(&head.path, None);
    ledger.is_navigation = head.is_navigation();
    if let Some(own) = own::answer(&head) {
        return match refuse_own(worker, own) {
            Some(refusal) => answer::refusal(&refusal, None, ledger),
            None => answer::own(own, ledger),
        };
    }
    if let Some(probe) = through::asked(&head) {
        return match draining(worker).or_else(|| overloaded(worker)) {
            Some(refusal) => answer::refusal(&refusal, None, ledger),
            None => through::answer(worker, peer, &head, probe, switch, ledger),
        };
    }
    if let Some(asked) = mint::of_own(&head) {
        if let Some(refusal) = overloaded(worker) {
            return answer::refusal(&refusal, None, ledger);
        }
        let passage = Passage { worker, peer, plan: &plan, route: mint::own_route(), switch, ledger, metered: None };
        return match asked {
            Ok(asked) => Box::pin(mint::serve(passage, head, body, Page::Unchecked, asked)).await,
            Err(wrong) => answer::allowing(passage.refuse(&wrong.refusal), wrong.allowed),
        };
    }
    let Some(route) = route::find(&plan.routes, &head) else {
        let unknown =
            || Refusal::new(Code::RouteUnknown, "no route takes this path, look at the routes in keymoat.toml");
        if credential::is_in_query(&head) {
            ledger.record.in_url = InUrl::Stray;
        }
        return answer::refusal(&draining(worker).or_else(|| overloaded(worker)).unwrap_or_else(unknown), None, ledger);
    };
    ledger.record.route = Some(route.name.clone());
    ledger.record.upstream = Some(route.upstream.clone());
    ledger.record.dialect = Some(route.dialect);
    let page = route.origins.judge(&head, peer.tls);
    let cors = if matches!(head.ask, Ask::Http) { Cors::for_page(page) } else { Cors::Untouched };
    if matches!(page, Page::Listed(_)) && origin::is_preflight(&head) {
        // Also while everything else is refused: without it a browser never shows that refusal to its page.
        return cors::preflight(cors, route, ledger);
    }
    let mut answer = match overloaded(worker) {
        Some(refusal) => answer::refusal(&refusal, Some(route), ledger),
        None => {
            let passage = Passage { worker, peer, plan: &plan, route, switch, ledger, metered: None };
            pass(passage, head, body, page).await
        }
    };
    cors.dress(answer.headers_mut());
    answer
}

/// Why nobody is served at the moment, whoever it is: nothing more is read of the request then.
fn overloaded(worker: &Worker) -> Option<Refusal> {
    let sheds = worker.pressure() == Pressure::Shed;
    sheds.then(|| Refusal::new(Code::Unavailable, "too much is going on here, try again").retry_after_secs(1))
}

/// Why nothing is begun any more.
pub(crate) fn draining(worker: &Worker) -> Option<Refusal> {
    let restarts = worker.is_draining();
    restarts.then(|| Refusal::new(Code::Draining, "this server is restarting, try again").retry_after_secs(1))
}

/// Why one of our own endpoints says no: all of them while this server restarts, readiness also while it takes no new
/// work.
fn refuse_own(worker: &Worker, own: Own) -> Option<Refusal> {
    let ends_soon = || {
        let refusal = || Refusal::new(Code::Draining, "this server is about to restart").retry_after_secs(1);
        worker.shared.ends_soon.load(Ordering::Acquire).then(refusal)
    };
    let unready = || {
        let refusal = || Refusal::new(Code::Unavailable, "the store cannot be read: see the log").retry_after_secs(1);
        ends_soon().or_else(|| overloaded(worker)).or_else(|| (!worker.shared.is_ready()).then(refusal))
    };
    draining(worker).or_else(|| if own == Own::Ready { unready() } else { None })
}

/// The rest of the road, once the route is known.
async fn pass(mut passage: Passage<'_>, mut head: Head, body: Incoming, page: Page<'_>) -> Response<ToClient> {
    if let Some(asked) = mint::of_provider(passage.route, &head) {
        return Box::pin(mint::serve(passage, head, body, page, asked)).await;
    }
    let admitted = admission::admit(&mut passage, &mut head, page).await;
    match (std::mem::replace(&mut head.ask, Ask::Http), admitted) {
        (Ask::Http, Ok(admitted)) => Box::pin(http(passage, head, body, admitted)).await,
        (Ask::Http, Err(refusal)) => passage.refuse(&refusal),
        (Ask::WebSocket(_), _) if !passage.switch.is_possible() => {
            let refusal = Refusal::new(Code::RequestInvalid, "the upgrade cannot be told apart from a plain request");
            passage.refuse(&refusal)
        }
        (Ask::WebSocket(offered), admitted) => {
            passage.ledger.record.protocol = Protocol::WebSocket;
            match admitted {
                Ok(admitted) => Box::pin(opening::open(passage, head, offered, admitted)).await,
                Err(refusal) => opening::refuse(passage, &refusal, &offered),
            }
        }
    }
}

/// A plain request: sent up, and answered with what comes back.
async fn http(mut passage: Passage<'_>, head: Head, body: Incoming, admitted: Admitted) -> Response<ToClient> {
    let Admitted { access, path, unclaimed } = admitted;
    let source = match models::held(&passage, &head, &path, &access, body).await {
        Ok(source) => source,
        Err(refusal) => {
            let broken = passage.switch.body_error().map(answer::of_gate);
            return passage.refuse(broken.as_ref().unwrap_or(&refusal));
        }
    };
    let allowance = Allowance::of(&access, passage.metered.as_ref());
    let (upload, uploaded) = Upload::new(source, passage.plan.limits.body_idle, allowance);
    let request = passage.link().and_then(|link| {
        let upload = ToUpstream::Upload(upload);
        let request = upstream::for_http(&link, head, &path, &passage, &access, upload)?;
        Ok((link, request))
    });
    let (link, request) = match request {
        Ok(request) => request,
        Err(refusal) => return passage.refuse(&refusal),
    };
    let session = match unclaimed {
        None => None,
        Some(unclaimed) => {
            match claim::session_over_http(passage.worker, &passage.ledger.record, &access, &unclaimed).await {
                Ok(session) => Some(session),
                Err(refusal) => return passage.refuse(&refusal),
            }
        }
    };
    if let Err(refusal) = passage.ledger.keep_beginning(&passage.worker.shared).await {
        return passage.refuse(&refusal);
    }
    let asked_to_end = async {
        match &session {
            Some(session) => session.control().asked().await,
            None => pending().await,
        }
    };
    let sent = tokio::select! {
        biased;
        refusal = asked_to_end => {
            passage.ledger.record.bytes_in = uploaded.bytes();
            return answer::closing(passage.refuse(&refusal));
        }
        sent = link.send(request, &uploaded) => sent,
    };
    let failure = match sent {
        Ok((response, lent)) => {
            passage.ledger.record.upstream_millis = Some(passage.ledger.elapsed_millis());
            let mask = link.target.mask().clone();
            return relay::http(passage, response, lent, uploaded, &access, session, mask).await;
        }
        Err(failure) => failure,
    };
    passage.ledger.record.bytes_in = uploaded.bytes();
    if let Some(rejection) = passage.switch.body_error() {
        return answer::closing(passage.refuse(&answer::of_gate(rejection)));
    }
    match uploaded.cut() {
        None => answer::failure(&failure, Some(passage.route), passage.ledger),
        Some(Cut::Paused) => {
            let refusal = Refusal::new(Code::RequestTimeout, "the body paused for too long: send it at once");
            answer::closing(passage.refuse(&refusal))
        }
        Some(Cut::Beyond) => answer::closing(passage.refuse(&uploaded.beyond())),
        Some(Cut::Broken) => answer::closing(answer::cut_short(Some(passage.route), passage.ledger)),
    }
}
