//! The demo surface: an echo, an event stream and a WebSocket echo, open to everyone.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use crate::answer::{self, Body};
use crate::credential;
use crate::emulator::Emulator;
use crate::recorder::Entry;
use crate::websocket::{self, Received, Socket};

/// How many events one `/demo/sse` stream holds unless `?count=` says otherwise.
const EVENTS: u64 = 100;
/// The most that `?count=` may ask for.
const EVENTS_MAX: u64 = 100_000;

/// Answers with what came: method, path, query, the names of the headers, the body, and whether a credential in a
/// header was the real key. Header values stay out, so that the answer shows no credential.
pub(crate) fn echo(emulator: &Emulator, head: &Parts, body: &[u8]) -> Response<Body> {
    let found = credential::find(&head.headers, head.uri.query());
    let in_header = found.iter().filter(|found| found.place.starts_with("header:"));
    let value = |value: &str| value.split_once(' ').map_or(value, |(_, bare)| bare).to_owned();
    let verdicts: Vec<_> = in_header.map(|found| emulator.is_key(&value(&found.value))).collect();
    let credential = match verdicts.iter().any(|valid| *valid) {
        true => "valid",
        false if verdicts.is_empty() => "none",
        false => "invalid",
    };
    let mut names: Vec<_> = head.headers.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    let mut told = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": names,
        "credential": credential,
    });
    let (field, text) = match std::str::from_utf8(body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_base64", STANDARD.encode(body)),
    };
    if let Some(told) = told.as_object_mut() {
        told.insert(field.to_owned(), text.into());
    }
    answer::json(StatusCode::OK, &told)
}

/// Streams counted events; `Last-Event-ID` goes on after the one that it names.
pub(crate) fn sse(emulator: &Emulator, head: &Parts) -> Response<Body> {
    if head.method != Method::GET {
        return answer::json(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "only GET is served here"}));
    }
    let last = head.headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let first = u64::saturating_add(last.unwrap_or(0), 1);
    let asked = credential::parameters(head.uri.query()).find(|(name, _)| name == "count");
    let count = asked.and_then(|(_, value)| value.parse().ok()).unwrap_or(EVENTS).min(EVENTS_MAX);
    answer::streamed("text/event-stream", first, emulator.sse_pause, move |n| {
        (n <= count).then(|| format!("id: {n}\nevent: tick\ndata: {}\n\n", json!({ "n": n })))
    })
}

/// Echoes messages as they came; the first offered subprotocol is selected.
pub(crate) fn socket(emulator: &Arc<Emulator>, request: Request<Incoming>, entry: &Entry) -> Response<Body> {
    let offered = credential::subprotocols(request.headers());
    let first = offered.first().filter(|entry| !entry.is_empty()).map(String::as_str);
    websocket::accept(emulator, request, entry, first, echo_messages)
}

async fn echo_messages(mut socket: Socket) {
    loop {
        let sent = match socket.receive().await {
            Received::Text(text) => socket.send_text(text).await,
            Received::Binary(bytes) => socket.send_binary(bytes).await,
            Received::Gone => return,
        };
        if sent.is_err() {
            return;
        }
    }
}
