//! One thread's warm connections to one upstream.
//!
//! HTTP/1.1: a stack of idle connections; one is lent for a request and given back when the response's body has ended,
//! not before. HTTP/2: one connection that all requests share.

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Request, Response, Uri, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::connect::{Purpose, Spoken, dial};
use super::{Failure, Link};
use crate::body::{ToUpstream, Uploaded};
use crate::executor::LocalExecutor;
use crate::stream::UpstreamStream;

/// Idle connections kept per thread and upstream.
const IDLE_MAX: usize = 64;
/// An idle connection older than this is not used again: servers commonly close theirs after 60 s or more.
const IDLE_AGE_MAX: Duration = Duration::from_secs(50);
/// Warm connections that may turn out dead under one request before a new one is dialled.
const STALE_MAX: usize = 3;

/// One thread's connections to one upstream.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Option<http2::SendRequest<ToUpstream>>>,
}

struct Idle {
    sender: http1::SendRequest<ToUpstream>,
    since: Instant,
}

/// A connection that one request uses alone.
pub(crate) struct Lent {
    sender: http1::SendRequest<ToUpstream>,
    pool: Rc<Pool>,
}

impl Lent {
    /// Makes the connection available to the next request.
    pub(crate) fn give_back(self) {
        let mut idle = self.pool.idle.borrow_mut();
        if self.sender.is_closed() || idle.len() >= IDLE_MAX {
            return;
        }
        idle.push(Idle { sender: self.sender, since: Instant::now() });
    }
}

impl Pool {
    fn take_idle(&self) -> Option<http1::SendRequest<ToUpstream>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE_AGE_MAX);
        let ready = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(idle.swap_remove(ready).sender)
    }

    fn take_shared(&self) -> Option<http2::SendRequest<ToUpstream>> {
        let mut shared = self.shared.borrow_mut();
        if shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
            *shared = None;
        }
        shared.clone()
    }
}

impl Link {
    /// Sends a request in origin form and waits for the head of its answer; the wait begins anew with every part of the
    /// body that passes.
    ///
    /// A request that met a warm connection which had just been closed is sent again on another one: when nothing of it
    /// had been written, or when it has no body and may be repeated (RFC 9110 section 9.2.2).
    pub(crate) async fn send(
        &self,
        request: Request<ToUpstream>,
        uploaded: &Uploaded,
    ) -> Result<(Response<Incoming>, Option<Lent>), Failure> {
        let limit = self.limits.response_head;
        let mut sending = pin!(self.send_untimed(request));
        let answer = loop {
            let moved = uploaded.moved();
            match tokio::time::timeout_at(moved + limit, sending.as_mut()).await {
                Ok(answer) => break answer?,
                Err(_) if uploaded.moved() > moved => {}
                Err(_) => return Err(Failure::Slow(self.target.name().clone(), limit)),
            }
        };
        if answer.0.status().is_informational() {
            // A 101 to a request that is no upgrade: what follows it is not HTTP.
            return Err(Failure::Protocol(self.target.name().clone(), String::from("it switched protocols unasked")));
        }
        Ok(answer)
    }

    async fn send_untimed(
        &self,
        mut request: Request<ToUpstream>,
    ) -> Result<(Response<Incoming>, Option<Lent>), Failure> {
        for _ in 0..STALE_MAX {
            if let Some(mut sender) = self.pool.take_shared() {
                match sender.try_send_request(self.in_absolute_form(request)).await {
                    Ok(response) => return Ok((response, None)),
                    Err(mut error) => {
                        let Some(unsent) = error.take_message() else { return Err(self.broke(&error.into_error())) };
                        self.pool.shared.borrow_mut().take();
                        request = self.in_origin_form(unsent);
                    }
                }
            }
            let Some(mut sender) = self.pool.take_idle() else { break };
            let copy = repeatable(&request);
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Some(Lent { sender, pool: self.pool.clone() }))),
                Err(mut error) => {
                    let copy = copy.filter(|_| is_closed(error.error()));
                    let Some(again) = error.take_message().or(copy) else {
                        return Err(self.broke(&error.into_error()));
                    };
                    request = again;
                }
            }
        }
        self.send_on_new_connection(request).await
    }

    async fn send_on_new_connection(
        &self,
        request: Request<ToUpstream>,
    ) -> Result<(Response<Incoming>, Option<Lent>), Failure> {
        let (stream, spoken) = dial(&self.target, Purpose::Http, &self.limits).await?;
        self.send_over(stream, spoken, request).await
    }

    /// Sends a request in origin form as the first one of a new connection.
    pub(super) async fn send_over(
        &self,
        stream: UpstreamStream,
        spoken: Spoken,
        request: Request<ToUpstream>,
    ) -> Result<(Response<Incoming>, Option<Lent>), Failure> {
        let io = TokioIo::new(stream);
        match spoken {
            Spoken::Http1 => {
                let (mut sender, connection) =
                    http1::Builder::new().handshake(io).await.map_err(|error| self.broke(&error))?;
                tokio::task::spawn_local(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection to upstream ended");
                    }
                });
                let response = sender.send_request(request).await.map_err(|error| self.broke(&error))?;
                Ok((response, Some(Lent { sender, pool: self.pool.clone() })))
            }
            Spoken::Http2 => {
                let (mut sender, connection) = http2::Builder::new(LocalExecutor)
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(256 * 1024)
                    .initial_connection_window_size(1024 * 1024)
                    .keep_alive_interval(Duration::from_secs(20))
                    .handshake(io)
                    .await
                    .map_err(|error| self.broke(&error))?;
                tokio::task::spawn_local(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection to upstream ended");
                    }
                });
                self.pool.shared.borrow_mut().replace(sender.clone());
                let request = self.in_absolute_form(request);
                let response = sender.send_request(request).await.map_err(|error| self.broke(&error))?;
                Ok((response, None))
            }
        }
    }

    /// HTTP/2 wants scheme and authority in the URI (RFC 9113 section 8.3.1).
    fn in_absolute_form(&self, mut request: Request<ToUpstream>) -> Request<ToUpstream> {
        request.headers_mut().remove(header::HOST);
        let mut parts = request.uri().clone().into_parts();
        let scheme = if self.target.tls.is_some() { "https" } else { "http" };
        parts.scheme = scheme.parse().ok();
        parts.authority = self.target.authority.to_str().ok().and_then(|text| text.parse().ok());
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request
    }

    /// HTTP/1.1 wants the path alone and a `Host` (RFC 9112 section 3.2.1).
    fn in_origin_form(&self, mut request: Request<ToUpstream>) -> Request<ToUpstream> {
        request.headers_mut().insert(header::HOST, self.target.authority.clone());
        if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = Uri::from(path);
        }
        request
    }

    fn broke(&self, error: &hyper::Error) -> Failure {
        Failure::Protocol(self.target.name().clone(), error_chain(error))
    }
}

/// A second copy of a request that may be sent twice: without a body, and idempotent.
fn repeatable(request: &Request<ToUpstream>) -> Option<Request<ToUpstream>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(ToUpstream::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// Whether the upstream closed the connection before it had answered.
fn is_closed(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let reset = source.is_some_and(|error| {
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected)
    });
    reset || error.is_incomplete_message()
}

/// An error with its causes; hyper's own text says too little. What a peer wrote is left out: the debug data of an
/// HTTP/2 GOAWAY could repeat a credential.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = words(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&words(error));
        cause = error.source();
    }
    text
}

fn words(error: &(dyn Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return error.reason().map_or_else(|| "HTTP/2 failed".to_owned(), |reason| format!("HTTP/2: {reason}"));
    }
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => words(inner),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn an_error_is_told_with_its_causes() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(error_chain(&Outer(refused)), "outer: connection refused");
        let wrapped = io::Error::other(h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM));
        assert!(error_chain(&Outer(wrapped)).starts_with("outer: HTTP/2: "));
    }
}
