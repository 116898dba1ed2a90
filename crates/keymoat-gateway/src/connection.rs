//! One connection from a client: which HTTP version it speaks, and the parser in front of the road.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use keymoat_core::gate;
use tokio::net::TcpStream;

use crate::executor::LocalExecutor;
use crate::gated::Gated;
use crate::peer::Peer;
use crate::serve;
use crate::settings::Limits;
use crate::stream::{ClientStream, MaybeTls, Unstalled};
use crate::worker::Worker;

/// What hyper reads an HTTP/1 client through: the strict gate, over a socket that gives up on a peer that does not read.
pub(crate) type GatedClient = Gated<Unstalled<ClientStream>>;

/// hyper's buffer per connection; heads come whole from the gate, so it must hold the largest one.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Serves one connection to its end, or to the point where it became a WebSocket's.
pub(crate) async fn serve(worker: Rc<Worker>, stream: ClientStream, peer: Peer) {
    let limits = worker.shared.limits;
    let version = match &stream {
        MaybeTls::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Version::HTTP_2,
        MaybeTls::Tls(_) => Version::HTTP_11,
        MaybeTls::Plain(stream) => match tokio::time::timeout(limits.head, first_bytes(stream)).await {
            Ok(Some(version)) => version,
            Ok(None) | Err(_) => return,
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

/// HTTP/2 in plain text begins with `PRI * HTTP/2.0` (RFC 9113 section 3.4); no HTTP/1 method that we take does.
async fn first_bytes(stream: &TcpStream) -> Option<Version> {
    const PREFACE: &[u8] = b"PRI ";
    let mut seen = [0; PREFACE.len()];
    loop {
        let read = stream.peek(&mut seen).await.ok().filter(|read| *read > 0)?;
        let (seen, expected) = (seen.get(..read)?, PREFACE.get(..read)?);
        if seen != expected {
            return Some(Version::HTTP_11);
        }
        if read == PREFACE.len() {
            return Some(Version::HTTP_2);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve_http1(worker: Rc<Worker>, stream: Unstalled<ClientStream>, peer: Rc<Peer>) {
    let limits = worker.shared.limits;
    let io = Gated::new(stream, Vec::new(), gate::Limits::default(), limits.head);
    let signal = io.signal();
    let service = {
        let worker = worker.clone();
        service_fn(move |request: Request<Incoming>| {
            let (worker, peer, signal) = (worker.clone(), peer.clone(), signal.clone());
            async move { Ok::<_, Infallible>(serve::serve_http1(&worker, &peer, &signal, request).await) }
        })
    };
    // At most 100 headers, as is hyper's own limit; naming it here would cost thousands of instructions a request.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.keep_alive)
        .max_buf_size(READ_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = worker.draining() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = worker.stopping() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %crate::upstream::error_chain(&error), "connection from client ended");
    }
}

async fn serve_http2(worker: Rc<Worker>, stream: Unstalled<ClientStream>, peer: Rc<Peer>) {
    let service = {
        let worker = worker.clone();
        service_fn(move |request: Request<Incoming>| {
            let (worker, peer) = (worker.clone(), peer.clone());
            async move { Ok::<_, Infallible>(serve::serve_http2(&worker, &peer, request).await) }
        })
    };
    let connection = http2_builder(&worker.shared.limits).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = worker.draining() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = worker.stopping() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %crate::upstream::error_chain(&error), "connection from client ended");
    }
}

/// The bounds of one HTTP/2 connection (RFC 9113 section 10.5).
fn http2_builder(limits: &Limits) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_frame_size(16 * 1024)
        .max_header_list_size(16 * 1024)
        .max_send_buf_size(64 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(1024)
        .keep_alive_interval(limits.keep_alive)
        .keep_alive_timeout(Duration::from_secs(20))
        .enable_connect_protocol();
    builder
}
