//! One connection: TLS, then HTTP/1.1 within bounds.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::Peer;

/// How long the head of a request may take, and how long a connection may wait for its next one.
const HEAD: Duration = Duration::from_secs(30);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long to leave the listener alone after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// How many header fields a request may have.
const FIELDS_MAX: usize = 100;

/// Accepts connections and serves them.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) service: Router,
    pub(super) places: Arc<Semaphore>,
}

impl Door {
    /// Accepts clients until the end.
    pub(super) async fn run_tcp(
        self,
        listener: TcpListener,
        tls: Option<Arc<ArcSwap<ServerConfig>>>,
        mut ended: watch::Receiver<bool>,
    ) {
        loop {
            let accepted = tokio::select! {
                () = is_over(&mut ended) => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "the admin listener cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // One that has no place is closed.
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { continue };
            let _ = stream.set_nodelay(true);
            let (service, peer, ended) = (self.service.clone(), Peer::Client(address), ended.clone());
            match &tls {
                None => drop(tokio::spawn(serve(stream, service, peer, place, ended))),
                Some(tls) => {
                    let handshake = TlsAcceptor::from(tls.load_full()).accept(stream);
                    tokio::spawn(async move {
                        match tokio::time::timeout(HANDSHAKE, handshake).await {
                            Ok(Ok(stream)) => serve(stream, service, peer, place, ended).await,
                            Ok(Err(error)) => tracing::debug!(%error, "no TLS with a client of the admin listener"),
                            Err(_) => {}
                        }
                    });
                }
            }
        }
    }

    /// Accepts commands until the end.
    pub(super) async fn run_unix(self, listener: UnixListener, mut ended: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                () = is_over(&mut ended) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { continue };
                    tokio::spawn(serve(stream, self.service.clone(), Peer::Command, place, ended.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "the admin socket cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until all `places` are free again.
    pub(super) async fn empty(&self, places: usize) {
        let all = u32::try_from(places).unwrap_or(u32::MAX);
        let _ = self.places.acquire_many(all).await;
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Router,
    peer: Peer,
    place: OwnedSemaphorePermit,
    mut ended: watch::Receiver<bool>,
) {
    let _place = place;
    let answer = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            tower_service::Service::call(&mut service.clone(), request).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = is_over(&mut ended) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin listener broke off");
    }
}

/// Waits until the end was asked for.
async fn is_over(ended: &mut watch::Receiver<bool>) {
    // Without a sender it is over, too.
    let _ = ended.wait_for(|ended| *ended).await;
}
