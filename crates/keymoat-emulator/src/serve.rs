//! Accepts connections and sends each request to its surface.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::answer::{self, Body};
use crate::emulator::Emulator;
use crate::recorder::Entry;
use crate::{demo, events, gemini, openai};

/// How long a TLS handshake or the head of a request may take.
const HEAD_WAIT: Duration = Duration::from_secs(15);
/// The pause after an accept that failed, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The longest body that is read.
const BODY_BYTES_MAX: usize = 20 * 1024 * 1024;

/// Accepts until the emulator is stopped.
pub(crate) async fn accept(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, emulator: Arc<Emulator>) {
    let tls = tls.map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = emulator.stopped() => return,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Over the limit the socket is dropped, which the peer sees at once.
        let Some(permit) = emulator.permit() else { continue };
        let connection = connection(socket, tls.clone(), Arc::clone(&emulator));
        emulator.spawn(permit, connection);
    }
}

async fn connection(socket: TcpStream, tls: Option<TlsAcceptor>, emulator: Arc<Emulator>) {
    let _ = socket.set_nodelay(true);
    let Some(tls) = tls else { return exchange(socket, emulator).await };
    match tokio::time::timeout(HEAD_WAIT, tls.accept(socket)).await {
        Ok(Ok(stream)) => exchange(stream, emulator).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

/// Serves HTTP/1.1 or HTTP/2, told apart by the first bytes (the same that ALPN promises).
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, emulator: Arc<Emulator>) {
    let service = service_fn(move |request| {
        let emulator = Arc::clone(&emulator);
        async move { Ok::<_, Infallible>(answer(emulator, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        // Without its causes, in which a peer has words of its own.
        tracing::debug!(%error, "connection ended early");
    }
}

async fn answer(emulator: Arc<Emulator>, request: Request<Incoming>) -> Response<Body> {
    let path = collapsed(request.uri().path());
    if path == "/emulator/record" && emulator.record_endpoint {
        return record(&emulator, request.method());
    }
    let entry = emulator.recorder.open(&request);
    let response = route(&emulator, request, &path, &entry).await;
    entry.status(response.status().as_u16());
    response
}

async fn route(emulator: &Arc<Emulator>, request: Request<Incoming>, path: &str, entry: &Entry) -> Response<Body> {
    if let Some(socket) = gemini::socket_path(path) {
        return gemini::socket(emulator, request, entry, socket);
    }
    if path == openai::realtime::PATH {
        return openai::realtime::socket(emulator, request, entry);
    }
    if path == "/ws/events" {
        return events::socket(emulator, request, entry);
    }
    if path.starts_with("/demo/") && emulator.is_strict() && emulator.holds_key(&request.uri().to_string()) {
        return answer::json(StatusCode::UNAUTHORIZED, &json!({"error": "the real key came in the URL"}));
    }
    if path == "/demo/ws" {
        return demo::socket(emulator, request, entry);
    }
    let (head, body) = request.into_parts();
    // Read before anything is decided, so that the record also holds the bodies of refused calls.
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return answer::json(StatusCode::PAYLOAD_TOO_LARGE, &json!({"error": "body too long or broken off"}));
    };
    let body = body.to_bytes();
    entry.body(&body);
    if let Some(call) = openai::rest::call(path, &head.headers) {
        return openai::rest::answer(emulator, &head, &body, call);
    }
    if let Some(call) = gemini::upload::call(path) {
        return gemini::upload::answer(emulator, &head, &body, &call);
    }
    if let Some(call) = gemini::rest::call(path) {
        return gemini::rest::answer(emulator, &head, &body, call);
    }
    match path {
        "/api/events" => events::list(emulator, &head),
        "/demo/echo" => demo::echo(emulator, &head, &body),
        "/demo/sse" => demo::sse(emulator, &head),
        _ => answer::json(StatusCode::NOT_FOUND, &json!({"error": "nothing is emulated at this path"})),
    }
}

fn record(emulator: &Emulator, method: &Method) -> Response<Body> {
    match *method {
        Method::GET => match serde_json::to_value(emulator.recorder.requests()) {
            Ok(requests) => answer::json(StatusCode::OK, &json!({ "requests": requests })),
            Err(_) => answer::empty(StatusCode::INTERNAL_SERVER_ERROR),
        },
        Method::DELETE => {
            emulator.recorder.clear();
            answer::empty(StatusCode::NO_CONTENT)
        }
        _ => answer::json(StatusCode::METHOD_NOT_ALLOWED, &Value::Null),
    }
}

/// Joins doubled slashes: Google's own JavaScript SDK asks for `//ws/…`.
fn collapsed(path: &str) -> String {
    let mut joined = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        joined.push('/');
        joined.push_str(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_doubled_slashes() {
        assert_eq!(collapsed("//ws/x"), "/ws/x");
        assert_eq!(collapsed("/a//b/"), "/a/b");
        assert_eq!(collapsed("/"), "");
    }
}
