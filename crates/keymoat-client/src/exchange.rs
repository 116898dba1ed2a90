//! One HTTP/1.1 request and its answer. This is the only place where a request is built: from an endpoint, which holds no
//! credential, and a credential, which goes into a header.
//!
//! WebSockets begin here too and not in tungstenite, which writes the heads of its handshakes, credentials included, to the log.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::Shared;
use crate::endpoint::Endpoint;
use crate::error::{Error, Refused};

const AGENT: &str = concat!("keymoat-client/", env!("CARGO_PKG_VERSION"));
/// The largest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 128;
/// How much is read of what a failure says, and how much of that is told.
const FAILURE_BYTES_MAX: usize = 16 << 10;
const MESSAGE_LETTERS_MAX: usize = 500;

/// What to ask for.
pub(crate) enum Call<'a> {
    Get(&'a Endpoint),
    Post(&'a Endpoint, Vec<u8>),
    /// With headers of a protocol's own: an event stream or an upgrade.
    Special(&'a Endpoint, HeaderMap),
}

/// Asks, and reads JSON.
pub(crate) async fn json<T: DeserializeOwned>(shared: &Shared, call: Call<'_>) -> Result<T, Error> {
    let endpoint = call.endpoint().clone();
    let response = send(shared, call).await?;
    if !response.status().is_success() {
        return Err(refused(shared, &endpoint, response).await);
    }
    let (within, bytes_max) = (shared.transport.limits.answer, shared.transport.limits.body_bytes_max);
    let body = match tokio::time::timeout(within, read(response.into_body(), bytes_max)).await {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => return Err(Error::TooLarge { what: "an answer", bytes_max }),
        Ok(Err(cause)) => return Err(Error::lost(&endpoint, cause)),
        Err(_) => return Err(Error::timeout(&endpoint, "whole answer", within)),
    };
    // An answer without content is JSON's `null`.
    let body = if body.is_empty() { &b"null"[..] } else { &body };
    serde_json::from_slice(body).map_err(|cause| {
        // Serde repeats values in some of its texts.
        Error::Malformed { what: "the answer", cause: shared.credential.shown(&cause.to_string()) }
    })
}

/// Asks, and gives the answer's head with its body still to come.
pub(crate) async fn send(shared: &Shared, call: Call<'_>) -> Result<Response<Incoming>, Error> {
    let endpoint = call.endpoint().clone();
    let request = request(shared, call)?;
    let stream = shared.transport.connect(&endpoint).await?;
    let within = shared.transport.limits.answer;
    match tokio::time::timeout(within, exchange(stream, request)).await {
        Ok(answered) => answered.map_err(|cause| Error::lost(&endpoint, cause)),
        Err(_) => Err(Error::timeout(&endpoint, "answer", within)),
    }
}

/// What a server said with a status other than the one that was hoped for.
pub(crate) async fn refused(shared: &Shared, endpoint: &Endpoint, response: Response<Incoming>) -> Error {
    let (head, body) = response.into_parts();
    let reading = tokio::time::timeout(shared.transport.limits.answer, beginning(body));
    let body = reading.await.unwrap_or_default();
    let (code, message) = explained(&body);
    let redirected =
        head.status.is_redirection().then(|| "redirects are not followed, because they lead elsewhere".to_owned());
    let message = redirected.or(message).unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    let shown = shared.credential.shown(&message);
    Error::Refused(Refused {
        url: endpoint.to_string(),
        status: head.status.as_u16(),
        code: code.map(|code| shared.credential.shown(&code).chars().take(80).collect()),
        message: shown.chars().take(MESSAGE_LETTERS_MAX).collect(),
        retry_after: retry_after(&head.headers),
    })
}

impl Call<'_> {
    fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Get(endpoint) | Self::Post(endpoint, _) | Self::Special(endpoint, _) => endpoint,
        }
    }
}

fn request(shared: &Shared, call: Call<'_>) -> Result<Request<Full<Bytes>>, Error> {
    let endpoint = call.endpoint().clone();
    // A key that has no known shape is still known here.
    if shared.credential.is_in(endpoint.target()) || shared.credential.is_in(&endpoint.authority()) {
        let url =
            if shared.credential.is_in(&endpoint.authority()) { "the host".to_owned() } else { endpoint.authority() };
        return Err(Error::CredentialInUrl { url });
    }
    let (method, mut headers, body) = match call {
        Call::Get(_) => (Method::GET, json_headers(), Vec::new()),
        Call::Post(_, body) => {
            let mut headers = json_headers();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            (Method::POST, headers, body)
        }
        Call::Special(_, headers) => (Method::GET, headers, Vec::new()),
    };
    let host = HeaderValue::from_str(&endpoint.authority()).map_err(|cause| Error::connect(&endpoint, cause))?;
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    // Where a subprotocol carries it, it is there already.
    if !headers.contains_key(http::header::SEC_WEBSOCKET_PROTOCOL) || shared.credential.entries().is_none() {
        shared.credential.put_on(&mut headers)?;
    }
    let mut request = Request::builder()
        .method(method)
        .uri(endpoint.target())
        .body(Full::new(Bytes::from(body)))
        .map_err(|cause| Error::connect(&endpoint, cause))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))])
}

async fn exchange(
    stream: Box<dyn crate::transport::Stream>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // It ends with the answer's body, or with the upgrade.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await
}

/// A whole body, or none if it is too large.
async fn read(mut body: Incoming, bytes_max: usize) -> hyper::Result<Option<Bytes>> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole.freeze()))
}

/// The beginning of a body, as far as it comes.
async fn beginning(mut body: Incoming) -> Vec<u8> {
    let mut begun = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        begun.extend(data.iter().take(FAILURE_BYTES_MAX - begun.len()));
        if begun.len() >= FAILURE_BYTES_MAX {
            break;
        }
    }
    begun
}

/// Code and message of a failure: Keymoat's problem document, or the `error` of Google and OpenAI.
fn explained(body: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return (None, None) };
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let code = text("/code").or_else(|| text("/error/status")).or_else(|| text("/error/code"));
    let message =
        text("/detail").or_else(|| text("/error/message")).or_else(|| text("/title")).or_else(|| text("/error"));
    (code, message)
}

/// Seconds only: a date would need a clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(Duration::from_secs(3600)))
}

/// Whether a status means that there is nothing more to come.
pub(crate) fn is_over(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_failures_of_all_three_kinds() {
        for (body, code, message) in [
            (
                r#"{"code":"credential_invalid","detail":"what to do","status":401}"#,
                Some("credential_invalid"),
                Some("what to do"),
            ),
            (
                r#"{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}"#,
                Some("INVALID_ARGUMENT"),
                Some("bad"),
            ),
            (r#"{"error":{"code":"invalid_api_key","message":"bad"}}"#, Some("invalid_api_key"), Some("bad")),
            (r#"{"error":"bad"}"#, None, Some("bad")),
            ("<html>", None, None),
            ("[]", None, None),
        ] {
            assert_eq!(explained(body.as_bytes()), (code.map(str::to_owned), message.map(str::to_owned)), "{body}");
        }
    }
}
