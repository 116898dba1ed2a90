//! One connection from a client: which HTTP version it speaks, and the parser in front of the road.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::gated::Gated;
use crate::memory::Pressure;
use crate::outflow::{Outflow, Outgoing, Streams};
use crate::peer::Peer;
use crate::serve;
use crate::settings::Limits;
use crate::stream::{ClientStream, MaybeTls, Unstalled};
use crate::upstream::error_chain;
use crate::worker::Worker;

/// What hyper reads an HTTP/1 client through: the strict gate, over a socket that gives up on a peer that does not read.
pub(crate) type GatedClient = Gated<Unstalled<ClientStream>>;

/// hyper's buffer per connection, at least.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How many headers hyper takes unasked. To name a number costs thousands of instructions a request.
const HYPER_FIELDS_MAX: usize = 100;

/// Streams of one HTTP/2 connection that its client has reset before they were looked at (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 20;
/// Streams of one HTTP/2 connection that were reset for its client's mistakes.
const ERROR_RESETS_MAX: usize = 1024;

/// Serves one connection to its end, or to the point where it became a WebSocket's.
pub(crate) async fn serve(worker: Rc<Worker>, stream: ClientStream, peer: Peer) {
    let limits = worker.shared.plan.load().limits;
    let version = match &stream {
        MaybeTls::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Version::HTTP_2,
        MaybeTls::Tls(_) => Version::HTTP_11,
        MaybeTls::Plain(stream) => match first_bytes(stream, limits.head).await {
            Some(version) => version,
            None => return,
        },
    };
    let stream = Unstalled::new(stream, limits.write_stall);
    let peer = Rc::new(peer);
    if version == Version::HTTP_2 {
        Box::pin(serve_http2(worker, stream, peer)).await;
    } else {
        Box::pin(serve_http1(worker, stream, peer)).await;
    }
}

/// HTTP/2 in plain text begins with `PRI * HTTP/2.0` (RFC 9113 section 3.4); no HTTP/1 method that we take does. `None`
/// if nothing came in time.
async fn first_bytes(stream: &TcpStream, limit: Duration) -> Option<Version> {
    const PREFACE: &[u8] = b"PRI ";
    let mut seen = [0; PREFACE.len()];
    let deadline = Instant::now() + limit;
    loop {
        let read =
            tokio::time::timeout_at(deadline, stream.peek(&mut seen)).await.ok()?.ok().filter(|read| *read > 0)?;
        let (seen, expected) = (seen.get(..read)?, PREFACE.get(..read)?);
        if seen != expected {
            return Some(Version::HTTP_11);
        }
        if read == PREFACE.len() {
            return Some(Version::HTTP_2);
        }
        if Instant::now() >= deadline {
            // The gate answers a head that does not end.
            return Some(Version::HTTP_11);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve_http1(worker: Rc<Worker>, stream: Unstalled<ClientStream>, peer: Rc<Peer>) {
    let limits = worker.shared.plan.load().limits;
    let io = Gated::new(stream, Vec::new(), limits.of_heads(), limits.head);
    let signal = io.signal();
    let outflow = Rc::<Outflow>::default();
    let service = {
        let (worker, outflow) = (worker.clone(), outflow.clone());
        service_fn(move |request: Request<Incoming>| {
            let (worker, peer, signal, outflow) = (worker.clone(), peer.clone(), signal.clone(), outflow.clone());
            async move {
                let answer = serve::serve_http1(&worker, &peer, &signal, request).await;
                Ok::<_, Infallible>(Outgoing::http1(answer, &outflow))
            }
        })
    };
    let mut builder = http1::Builder::new();
    // Heads come whole from the gate, so hyper's buffer must hold the largest one.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.keep_alive)
        .max_buf_size(READ_BYTES_MAX.max(2 * (limits.head_bytes_max + limits.url_bytes_max)));
    if limits.head_fields_max > HYPER_FIELDS_MAX {
        builder.max_headers(limits.head_fields_max);
    }
    let connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
    // Not as soon as another process accepts: hyper would close a connection whose first request is still on its way.
    // Such a connection ends with its next answer, or when nothing is asked for `keep_alive`.
    let leave = |connection: Pin<&mut _>| http1::UpgradeableConnection::graceful_shutdown(connection);
    to_its_end(&worker, connection, worker.draining(), leave, outflow.ended()).await;
}

async fn serve_http2(worker: Rc<Worker>, stream: Unstalled<ClientStream>, peer: Rc<Peer>) {
    let limits = worker.shared.plan.load().limits;
    let requests = Rc::<Requests>::default();
    // Memory is: nothing that is open ends, but no more requests are taken.
    let tight = Rc::new(Notify::new());
    let service = {
        let (worker, requests, tight) = (worker.clone(), requests.clone(), tight.clone());
        service_fn(move |request: Request<Incoming>| {
            requests.one_more();
            let (worker, peer, tight) = (worker.clone(), peer.clone(), tight.clone());
            async move {
                let answer = serve::serve_http2(&worker, &peer, request).await;
                if worker.pressure() >= Pressure::Lean {
                    tight.notify_one();
                }
                Ok::<_, Infallible>(Outgoing::http2(answer, &Outflow::of_stream()))
            }
        })
    };
    let streams = Streams::new(limits.write_stall);
    let connection = http2_builder(&limits, streams.clone()).serve_connection(TokioIo::new(stream), service);
    let enough = async {
        tokio::select! {
            () = worker.leaving() => {}
            () = no_more_requests(&requests, &limits) => {}
            () = tight.notified() => {}
        }
    };
    let leaving = Cell::new(false);
    let leave = |connection: Pin<&mut _>| {
        leaving.set(true);
        http2::Connection::graceful_shutdown(connection);
    };
    let state = || (leaving.get(), streams.open());
    to_its_end(&worker, connection, enough, leave, only_leftovers(state, &requests, &limits)).await;
}

/// The requests of one connection.
#[derive(Default)]
struct Requests {
    count: Cell<u64>,
    first: Notify,
}

impl Requests {
    fn one_more(&self) {
        self.count.set(self.count.get() + 1);
        if self.count.get() == 1 {
            self.first.notify_waiters();
        }
    }

    /// Waits for the first one; false if none comes `within` that time.
    async fn first(&self, within: Duration) -> bool {
        self.count.get() > 0 || tokio::time::timeout(within, self.first.notified()).await.is_ok()
    }
}

/// Waits until nothing is asked any more: no first request came in the time that a head may take, or none for as long as a
/// connection may wait for its next one, up to twice that long. Streams that are open then may go on, but their client
/// opens another connection for its next request.
async fn no_more_requests(requests: &Requests, limits: &Limits) {
    if !requests.first(limits.head).await {
        return;
    }
    loop {
        let before = requests.count.get();
        tokio::time::sleep(limits.keep_alive).await;
        if requests.count.get() == before {
            return;
        }
    }
}

/// Waits until a connection that was told to end has nothing left but the ends of answers, and its client has taken
/// none of them for as long as a write may be stalled, up to twice that long. `state` tells whether it was told, and how
/// many streams are being served. Where there has been no request there is nothing left but a head that does not end.
async fn only_leftovers(state: impl Fn() -> (bool, usize), requests: &Requests, limits: &Limits) {
    loop {
        let before = (state(), requests.count.get());
        if before.1 > 0 {
            tokio::time::sleep(limits.write_stall).await;
        } else if requests.first(limits.head).await {
            continue;
        }
        if (state(), requests.count.get()) == before && matches!(before.0, (true, 0)) {
            return;
        }
    }
}

/// Drives a connection until it ends, is told to when there was `enough`, or has to: when it is `over`, or when
/// everything stops.
async fn to_its_end<C>(
    worker: &Worker,
    connection: C,
    enough: impl Future<Output = ()>,
    leave: impl FnOnce(Pin<&mut C>),
    over: impl Future<Output = ()>,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let (mut connection, mut over) = (pin!(connection), pin!(over));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = over.as_mut() => return,
        () = enough => {
            leave(connection.as_mut());
            tokio::select! {
                biased;
                ended = connection => ended,
                () = over => return,
                () = worker.stopping() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error_chain(&error), "connection from client ended");
    }
}

/// The bounds of one HTTP/2 connection (RFC 9113 section 10.5).
fn http2_builder(limits: &Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .initial_stream_window_size(limits.http2_stream_window)
        .initial_connection_window_size(limits.http2_connection_window)
        .max_frame_size(16 * 1024)
        .max_header_list_size(header_list_bytes_max(limits))
        .max_send_buf_size(64 * 1024)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .keep_alive_interval(limits.keep_alive)
        .keep_alive_timeout(Duration::from_secs(20))
        .enable_connect_protocol();
    builder
}

/// The bound of h2, which answers 431 without a word. It holds whatever the road takes, so that the road itself refuses what
/// is a little larger: with a reason and a record. RFC 9113 section 6.5.2 counts 32 bytes for each field.
fn header_list_bytes_max(limits: &Limits) -> u32 {
    const PSEUDO_HEADERS: usize = 5;
    let fields = (limits.head_fields_max + PSEUDO_HEADERS + 1) * 32;
    let names = 64;
    u32::try_from(limits.head_bytes_max + limits.url_bytes_max + fields + names).unwrap_or(u32::MAX)
}
