//! The home-security backend: a list of events over HTTP, and a stream of them over a WebSocket.
//!
//! Topics, for `subscribe`: an event with a risk score of 70 or more is `alert.created`, another is
//! `event.created`, a status is `system.status`. Without a subscription everything is sent.

use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::answer::{self, Body};
use crate::emulator::Emulator;
use crate::recorder::Entry;
use crate::websocket::{self, End, Gone, Received, Socket};
use crate::{Credentials, Frames, credential};

/// How many events the list holds unless `?limit=` asks for fewer.
const LISTED: u64 = 20;
/// How many patterns one client may subscribe to.
const PATTERNS_MAX: usize = 64;
/// Every how many events a status is sent.
const STATUS_EVERY: u64 = 5;
const CAMERAS: [&str; 4] = ["front-door", "driveway", "garden", "garage"];
const SUMMARIES: [&str; 4] =
    ["A person walks by", "A parcel is left at the door", "A cat crosses the lawn", "An unknown person tries the door"];

/// Lists recent events, newest first.
pub(crate) fn list(emulator: &Emulator, head: &Parts) -> Response<Body> {
    if head.method != Method::GET {
        return answer::json(StatusCode::METHOD_NOT_ALLOWED, &json!({"detail": "Method Not Allowed"}));
    }
    if let Err(refused) = admit(emulator, &head.headers, &head.uri) {
        return answer::json(StatusCode::UNAUTHORIZED, &json!({"detail": refused.detail()}));
    }
    let asked = credential::parameters(head.uri.query()).find(|(name, _)| name == "limit");
    let limit = asked.and_then(|(_, value)| value.parse().ok()).unwrap_or(LISTED).min(LISTED);
    let events: Vec<_> = (1..=LISTED).rev().take(usize::try_from(limit).unwrap_or_default()).map(event).collect();
    let mut response = answer::json(StatusCode::OK, &Value::Array(events));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    response
}

/// Accepts an event stream; a bad credential is refused after the 101, so that a browser can read why.
pub(crate) fn socket(emulator: &Arc<Emulator>, request: Request<Incoming>, entry: &Entry) -> Response<Body> {
    let admitted = admit(emulator, request.headers(), request.uri());
    // The backend echoes the credential's own entry, right or wrong, because a browser fails without a selection.
    let offered = credential::subprotocols(request.headers());
    let with_key = offered.iter().find(|entry| entry.strip_prefix("api-key.").is_some_and(|key| !key.is_empty()));
    let with_key = with_key.filter(|_| emulator.credentials == Credentials::Provider).cloned();
    let shared = Arc::clone(emulator);
    websocket::accept(emulator, request, entry, with_key.as_deref(), move |mut socket| async move {
        let end = match admitted {
            Ok(()) => match stream(&shared, &mut socket).await {
                Ok(end) => end,
                Err(Gone) => End::Gone,
            },
            Err(refused) => refused.end(),
        };
        socket.end(end).await;
    })
}

/// Why a client is refused.
enum Refused {
    Unauthenticated,
    InUrl(String),
}

impl Refused {
    fn detail(&self) -> String {
        match self {
            Self::Unauthenticated => "Authentication required".to_owned(),
            Self::InUrl(place) => {
                format!("credential in the URL ({place}): this emulator is strict, send X-API-Key")
            }
        }
    }

    fn end(&self) -> End {
        let code = match self {
            Self::Unauthenticated => 4001,
            Self::InUrl(_) => 1008,
        };
        End::Close(code, self.detail())
    }
}

fn admit(emulator: &Emulator, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
    let found = credential::find(headers, uri.query());
    let mut carriers = vec!["header:x-api-key"];
    match emulator.credentials {
        Credentials::Provider => carriers.extend(["subprotocol:api-key", "query:api_key"]),
        Credentials::Strict => {
            if let Some(place) = credential::in_url(&found) {
                return Err(Refused::InUrl(place.to_owned()));
            }
            if emulator.holds_key(&uri.to_string()) {
                return Err(Refused::InUrl("path or query".to_owned()));
            }
        }
    }
    let value = carriers.into_iter().find_map(|place| credential::at(&found, place));
    match value.is_some_and(|value| emulator.is_key(value)) {
        true => Ok(()),
        false => Err(Refused::Unauthenticated),
    }
}

async fn stream(emulator: &Emulator, socket: &mut Socket) -> Result<End, Gone> {
    let options = &emulator.events;
    let mut client = Client::default();
    let mut next_event = Instant::now() + options.interval;
    let mut next_ping = Instant::now() + options.ping;
    let mut idle_at = Instant::now() + options.idle;
    let mut sequence = 0_u64;
    socket.send(&status(sequence), Frames::Text).await?;
    loop {
        tokio::select! {
            biased;
            message = socket.receive() => {
                idle_at = Instant::now() + options.idle;
                let answer = match message {
                    Received::Text(text) => client.take(&text),
                    Received::Binary(bytes) => client.take(&credential::lossy(&bytes)),
                    Received::Gone => return Ok(End::Gone),
                };
                if let Some(answer) = answer {
                    socket.send(&answer, Frames::Text).await?;
                }
            }
            () = sleep_until(next_event) => {
                next_event += options.interval;
                sequence += 1;
                if client.wants(topic(sequence)) {
                    socket.send(&json!({"type": "event", "data": event(sequence)}), Frames::Text).await?;
                }
                if sequence.is_multiple_of(STATUS_EVERY) && client.wants("system.status") {
                    socket.send(&status(sequence), Frames::Text).await?;
                }
            }
            () = sleep_until(next_ping) => {
                next_ping += options.ping;
                socket.send(&json!({"type": "ping", "lastSeq": sequence}), Frames::Text).await?;
            }
            () = sleep_until(idle_at) => return Ok(End::Close(1000, "idle".to_owned())),
        }
    }
}

/// What one client asked for.
#[derive(Debug, Default)]
struct Client {
    patterns: Vec<String>,
}

impl Client {
    /// Takes a message and answers it.
    fn take(&mut self, text: &str) -> Option<Value> {
        if text.trim() == "ping" {
            return Some(json!({"type": "pong"}));
        }
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return Some(error("invalid_json", "the message is not JSON", json!({})));
        };
        let Some(kind) = message.get("type").and_then(Value::as_str) else {
            return Some(error("invalid_message_format", "the message has no `type`", json!({})));
        };
        match kind {
            "ping" => Some(json!({"type": "pong"})),
            "pong" => None,
            "subscribe" | "unsubscribe" => Some(self.change(kind, message.get("data"))),
            _ => {
                let known = json!({"known": ["ping", "pong", "subscribe", "unsubscribe"]});
                Some(error("unknown_message_type", "no such message type", known))
            }
        }
    }

    fn change(&mut self, kind: &str, data: Option<&Value>) -> Value {
        let events = data.and_then(|data| data.get("events")).and_then(Value::as_array);
        let patterns: Option<Vec<String>> =
            events.and_then(|events| events.iter().map(|event| event.as_str().map(str::to_owned)).collect());
        let patterns = patterns.filter(|patterns| (1..=PATTERNS_MAX).contains(&patterns.len()));
        let Some(patterns) = patterns.filter(|patterns| patterns.iter().all(|pattern| !pattern.is_empty())) else {
            let expected = format!("`data.events` must be a list of 1 to {PATTERNS_MAX} patterns");
            return error("validation_error", &expected, json!({"field": "data.events"}));
        };
        self.patterns.retain(|known| !patterns.contains(known));
        if kind == "unsubscribe" {
            return json!({"action": "unsubscribed", "events": patterns});
        }
        if self.patterns.len() + patterns.len() > PATTERNS_MAX {
            return error("validation_error", "too many subscriptions", json!({"field": "data.events"}));
        }
        self.patterns.extend(patterns.iter().cloned());
        json!({"action": "subscribed", "events": patterns})
    }

    fn wants(&self, topic: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => topic.starts_with(prefix),
            None => topic == pattern,
        };
        self.patterns.is_empty() || self.patterns.iter().any(matches)
    }
}

/// Event number `n`, the same every time.
fn event(n: u64) -> Value {
    let score = risk(n);
    let level = match score {
        0..40 => "low",
        40..70 => "medium",
        70..90 => "high",
        _ => "critical",
    };
    let pick = |from: &[&'static str; 4]| from.get((n % 4) as usize).copied().unwrap_or_default();
    json!({
        "id": n,
        "event_id": n,
        "batch_id": format!("batch-{n:04}"),
        "camera_id": pick(&CAMERAS),
        "risk_score": score,
        "risk_level": level,
        "summary": pick(&SUMMARIES),
        "started_at": format!("2026-01-03T10:{:02}:{:02}Z", n / 60 % 60, n % 60),
    })
}

fn risk(n: u64) -> u64 {
    n.wrapping_mul(37) % 101
}

fn topic(n: u64) -> &'static str {
    if risk(n) >= 70 { "alert.created" } else { "event.created" }
}

fn status(sequence: u64) -> Value {
    let data = json!({"health": "healthy", "cameras": CAMERAS.len(), "events": sequence});
    json!({"type": "system_status", "data": data, "timestamp": "2026-01-03T10:00:00Z"})
}

fn error(code: &str, message: &str, details: Value) -> Value {
    json!({"type": "error", "error": code, "message": message, "details": details})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(client: &mut Client, text: &str) -> Value {
        client.take(text).unwrap_or_default()
    }

    #[test]
    fn answers_pings_in_both_forms() {
        let mut client = Client::default();
        for ping in ["ping", r#"{"type":"ping"}"#] {
            assert_eq!(answered(&mut client, ping), json!({"type": "pong"}));
        }
        assert_eq!(client.take(r#"{"type":"pong"}"#), None);
    }

    #[test]
    fn a_subscription_filters_by_topic_until_it_is_taken_back() {
        let mut client = Client::default();
        assert!(client.wants("event.created"));
        let subscribed = answered(&mut client, r#"{"type":"subscribe","data":{"events":["alert.*"]}}"#);
        assert_eq!(subscribed, json!({"action": "subscribed", "events": ["alert.*"]}));
        assert!(client.wants("alert.created") && !client.wants("event.created"));
        answered(&mut client, r#"{"type":"unsubscribe","data":{"events":["alert.*"]}}"#);
        assert!(client.wants("event.created"));
    }

    #[test]
    fn names_what_is_wrong_with_a_message() {
        for (text, code) in [
            ("{", "invalid_json"),
            ("[]", "invalid_message_format"),
            (r#"{"type":"dance"}"#, "unknown_message_type"),
            (r#"{"type":"subscribe","data":{"events":[1]}}"#, "validation_error"),
            (r#"{"type":"subscribe"}"#, "validation_error"),
        ] {
            assert_eq!(answered(&mut Client::default(), text)["error"], code, "{text}");
        }
    }

    #[test]
    fn some_events_are_alerts() {
        let alerts = (1..=20).filter(|n| topic(*n) == "alert.created").count();
        assert!((1..20).contains(&alerts), "{alerts} of 20");
    }
}
