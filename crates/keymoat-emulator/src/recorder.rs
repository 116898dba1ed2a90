//! What the emulator was sent, kept in a bounded ring so that tests can search it.
//!
//! This is a test tool: it keeps and shows credentials as they came. Give the emulator made-up keys only.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use serde::Serialize;

use crate::credential;

/// How many requests are kept; the oldest is forgotten first.
const REQUESTS_MAX: usize = 512;
/// How many bytes of a body or of a WebSocket message are kept.
const BYTES_MAX: usize = 64 * 1024;
/// How many bytes of bodies and messages are kept in all; over it the oldest requests are forgotten.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many messages of one WebSocket are kept.
const MESSAGES_MAX: usize = 256;

/// A handle on what was received; clones look at the same ring.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Ring>>);

#[derive(Default)]
struct Ring {
    next: u64,
    kept_bytes: usize,
    requests: VecDeque<Recorded>,
}

impl Ring {
    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.requests.pop_front() {
            self.kept_bytes = self.kept_bytes.saturating_sub(oldest.kept_bytes());
        }
    }
}

/// One request as it came.
#[derive(Debug, Clone, Serialize)]
pub struct Recorded {
    /// Counts requests from 1.
    pub id: u64,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The method.
    pub method: String,
    /// The path as it came, doubled slashes included.
    pub path: String,
    /// The query as it came, not decoded.
    pub query: Option<String>,
    /// Every header line: name in lower case, and value.
    pub headers: Vec<(String, String)>,
    /// Where credentials stood, valid or not.
    pub credentials: Vec<Found>,
    /// The first 64 KiB of the body, as text.
    pub body: String,
    /// How long the body was.
    pub body_bytes: u64,
    /// The first 256 messages of the WebSocket.
    pub messages: Vec<RecordedMessage>,
    /// The HTTP status that was answered.
    pub status: Option<u16>,
    /// What the emulator closed the WebSocket with.
    pub close: Option<Close>,
    /// What the client closed the WebSocket with; 1005 when it gave no code.
    pub client_close: Option<Close>,
}

/// A credential and the place it stood in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// `header:NAME`, `subprotocol:PREFIX` or `query:NAME`.
    pub place: String,
    /// What stood there.
    pub value: String,
}

/// One WebSocket message of the client.
#[derive(Debug, Clone, Serialize)]
pub struct RecordedMessage {
    /// Whether it came in binary frames.
    pub binary: bool,
    /// Its first 64 KiB, as text.
    pub text: String,
    /// How long it was.
    pub bytes: u64,
}

/// A WebSocket close code and reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Close {
    /// The code.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: String,
}

impl Recorder {
    /// What was received, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.ring().requests.iter().cloned().collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut ring = self.ring();
        ring.requests.clear();
        ring.kept_bytes = 0;
    }

    /// Every place of every request that holds `needle`; see [`Recorded::places_of`].
    #[must_use]
    pub fn places_of(&self, needle: &str) -> Vec<String> {
        self.ring().requests.iter().flat_map(|request| request.places_of(needle)).collect()
    }

    pub(crate) fn open<B>(&self, request: &Request<B>) -> Entry {
        let uri = request.uri();
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), credential::lossy(value.as_bytes())));
        let mut ring = self.ring();
        ring.next = ring.next.saturating_add(1);
        let id = ring.next;
        let recorded = Recorded {
            id,
            version: format!("{:?}", request.version()),
            method: request.method().to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            headers: headers.collect(),
            credentials: credential::find(request.headers(), uri.query()),
            body: String::new(),
            body_bytes: 0,
            messages: Vec::new(),
            status: None,
            close: None,
            client_close: None,
        };
        if ring.requests.len() >= REQUESTS_MAX {
            ring.forget_oldest();
        }
        ring.requests.push_back(recorded);
        drop(ring);
        Entry { recorder: self.clone(), id }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    /// Every place that holds `needle`, as it is or percent-encoded: `method`, `path`, `query:NAME` (a query that
    /// holds it in a name is `query`), `header:NAME`, `body`, `message:N`.
    #[must_use]
    pub fn places_of(&self, needle: &str) -> Vec<String> {
        let mut places = Vec::new();
        if needle.is_empty() {
            return places;
        }
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().contains(needle);
        if self.method.contains(needle) {
            places.push("method".to_owned());
        }
        if self.path.contains(needle) || decoded(&self.path) {
            places.push("path".to_owned());
        }
        let in_values = credential::parameters(self.query.as_deref()).filter(|(_, value)| value.contains(needle));
        let mut in_query: Vec<_> = in_values.map(|(name, _)| format!("query:{name}")).collect();
        if in_query.is_empty() && self.query.as_deref().is_some_and(|query| query.contains(needle) || decoded(query)) {
            in_query.push("query".to_owned());
        }
        places.extend(in_query);
        let in_headers = self.headers.iter().filter(|(_, value)| value.contains(needle) || decoded(value));
        places.extend(in_headers.map(|(name, _)| format!("header:{name}")));
        if self.body.contains(needle) {
            places.push("body".to_owned());
        }
        let in_messages = self.messages.iter().enumerate().filter(|(_, message)| message.text.contains(needle));
        places.extend(in_messages.map(|(n, _)| format!("message:{n}")));
        places
    }

    fn kept_bytes(&self) -> usize {
        self.body.len() + self.messages.iter().map(|message| message.text.len()).sum::<usize>()
    }

    /// The first value of a header, its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({} requests)", self.ring().requests.len())
    }
}

/// One request in the ring, for what is learned about it after its head.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    recorder: Recorder,
    id: u64,
}

impl Entry {
    pub(crate) fn body(&self, bytes: &[u8]) {
        self.update(|recorded| {
            recorded.body = cut(bytes);
            recorded.body_bytes = bytes.len() as u64;
        });
    }

    pub(crate) fn message(&self, binary: bool, bytes: &[u8]) {
        self.update(|recorded| {
            if recorded.messages.len() < MESSAGES_MAX {
                recorded.messages.push(RecordedMessage { binary, text: cut(bytes), bytes: bytes.len() as u64 });
            }
        });
    }

    pub(crate) fn status(&self, status: u16) {
        self.update(|recorded| recorded.status = Some(status));
    }

    pub(crate) fn close(&self, code: u16, reason: &str) {
        self.update(|recorded| recorded.close = Some(Close { code, reason: reason.to_owned() }));
    }

    pub(crate) fn client_close(&self, code: u16, reason: &str) {
        self.update(|recorded| recorded.client_close = Some(Close { code, reason: reason.to_owned() }));
    }

    fn update(&self, change: impl FnOnce(&mut Recorded)) {
        let mut ring = self.recorder.ring();
        if let Some(recorded) = ring.requests.iter_mut().rev().find(|recorded| recorded.id == self.id) {
            let before = recorded.kept_bytes();
            change(recorded);
            let grown = recorded.kept_bytes().saturating_sub(before);
            ring.kept_bytes = ring.kept_bytes.saturating_add(grown);
        }
        while ring.kept_bytes > KEPT_BYTES_MAX {
            ring.forget_oldest();
        }
    }
}

fn cut(bytes: &[u8]) -> String {
    credential::lossy(bytes.get(..BYTES_MAX).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request<()> {
        let request = Request::builder().uri(uri).header("x-goog-api-key", "K-1").body(());
        request.expect("the test's own request is well formed")
    }

    #[test]
    fn names_every_place_that_holds_a_string() {
        let recorder = Recorder::default();
        let entry = recorder.open(&request("/a/K-1?key=K%2D1&x=1"));
        entry.body(b"{\"k\":\"K-1\"}");
        entry.message(false, b"nothing");
        entry.message(true, b"K-1");
        assert_eq!(recorder.places_of("K-1"), ["path", "query:key", "header:x-goog-api-key", "body", "message:1"]);
        assert!(recorder.places_of("K-2").is_empty());
    }

    #[test]
    fn forgets_the_oldest_request_first() {
        let recorder = Recorder::default();
        for _ in 0..=REQUESTS_MAX {
            recorder.open(&request("/"));
        }
        let kept = recorder.requests();
        assert_eq!(kept.len(), REQUESTS_MAX);
        assert_eq!(kept.first().map(|recorded| recorded.id), Some(2));
    }

    #[test]
    fn forgets_the_oldest_requests_when_they_are_too_large_together() {
        let recorder = Recorder::default();
        for _ in 0..5 {
            let entry = recorder.open(&request("/"));
            for _ in 0..MESSAGES_MAX {
                entry.message(true, &vec![b'x'; BYTES_MAX]);
            }
        }
        // Each holds 16 MiB, so four fit into 64 MiB.
        let ids: Vec<_> = recorder.requests().iter().map(|recorded| recorded.id).collect();
        assert_eq!(ids, [2, 3, 4, 5]);
    }

    #[test]
    fn cuts_a_long_message_but_tells_its_length() {
        let recorder = Recorder::default();
        recorder.open(&request("/")).message(true, &vec![b'x'; BYTES_MAX + 1]);
        let requests = recorder.requests();
        let message = requests.first().and_then(|recorded| recorded.messages.first()).cloned();
        assert_eq!(message.map(|message| (message.text.len(), message.bytes)), Some((BYTES_MAX, BYTES_MAX as u64 + 1)));
    }
}
