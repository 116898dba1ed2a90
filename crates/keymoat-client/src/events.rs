//! An event stream that comes back where it broke off.
//!
//! ```text
//! waiting ──▶ connecting ──200──▶ open ──events──▶ …
//!    ▲            │ failed         │ ended, broke, silent
//!    └────────────┴────────────────┘          204, or a refusal that time does not help ──▶ over
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::backoff::{self, Reconnect};
use crate::client::{Client, Shared};
use crate::credential::Credential;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exchange::{self, Call};
use crate::sse::{Parser, ServerEvent};

/// Server-sent events, read as they come. It reconnects with `Last-Event-ID`, like a browser's `EventSource`, but with the
/// credential in a header.
pub struct EventStream {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    reconnect: Reconnect,
    parser: Parser,
    events: VecDeque<ServerEvent>,
    /// Attempts in a row without an event.
    failures: u32,
    state: State,
}

enum State {
    Idle,
    /// It goes on where it was when `next` is dropped and called again.
    Connecting(Pin<Box<dyn Future<Output = Result<Option<Incoming>, Error>> + Send>>),
    Open(Incoming),
    Over,
}

/// Reads server-sent events with the default limits, trusting the machine's certificate authorities.
///
/// # Errors
/// As [`Client::new`].
pub fn events(endpoint: Endpoint, credential: Credential) -> Result<EventStream, Error> {
    Client::new(endpoint, credential)?.events("")
}

impl EventStream {
    pub(crate) fn new(shared: Arc<Shared>, endpoint: Endpoint) -> Self {
        let parser = Parser::new(shared.transport.limits.body_bytes_max, String::new());
        let (reconnect, events) = (Reconnect::default(), VecDeque::new());
        Self { shared, endpoint, reconnect, parser, events, failures: 0, state: State::Idle }
    }

    /// Sets how often and how fast it comes back; `attempts_max: 1` for never.
    #[must_use]
    pub fn reconnecting(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Starts after the event with this id.
    #[must_use]
    pub fn after(mut self, id: &str) -> Self {
        self.parser = Parser::new(self.shared.transport.limits.body_bytes_max, id.to_owned());
        self
    }

    /// The id of the last event, which a later stream may start after.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.parser.last_id()
    }

    /// The next event; none when the server said that there will be no more (204). Nothing is lost when this is dropped, so it
    /// may stand in a `select!`.
    ///
    /// # Errors
    /// A refusal that time does not help, and what the last attempt failed with when there were too many in a row.
    pub async fn next(&mut self) -> Result<Option<ServerEvent>, Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.failures = 0;
                return Ok(Some(event));
            }
            match &mut self.state {
                State::Over => return Ok(None),
                State::Idle => self.state = self.connecting(None)?,
                State::Connecting(connecting) => match connecting.await {
                    Ok(Some(body)) => self.state = State::Open(body),
                    Ok(None) => self.state = State::Over,
                    Err(error) => self.again(error)?,
                },
                State::Open(_) => {
                    if let Err(error) = self.read().await {
                        self.again(error)?;
                    }
                }
            }
        }
    }

    /// Reads one piece of the stream.
    async fn read(&mut self) -> Result<(), Error> {
        let State::Open(body) = &mut self.state else { return Ok(()) };
        let silence = self.shared.transport.limits.silence;
        let frame = match tokio::time::timeout(silence, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(cause))) => return Err(Error::lost(&self.endpoint, cause)),
            Ok(None) => return Err(Error::lost(&self.endpoint, "the server ended the stream")),
            Err(_) => return Err(Error::timeout(&self.endpoint, "event or comment", silence)),
        };
        let Ok(bytes) = frame.into_data() else { return Ok(()) };
        let bytes_max = self.shared.transport.limits.body_bytes_max;
        self.events.extend(self.parser.push(&bytes).map_err(|_| Error::TooLarge { what: "an event", bytes_max })?);
        Ok(())
    }

    /// Makes the next attempt, or gives up.
    fn again(&mut self, error: Error) -> Result<(), Error> {
        self.state = State::Idle;
        self.failures = self.failures.saturating_add(1);
        if !error.may_pass() {
            return Err(error);
        }
        let told = error.retry_after();
        self.state = match self.connecting(told) {
            Ok(connecting) => connecting,
            Err(_) => return Err(error),
        };
        Ok(())
    }

    fn connecting(&mut self, told: Option<std::time::Duration>) -> Result<State, Error> {
        let told = told.max(self.parser.retry().filter(|_| self.failures > 0));
        let Some(wait) = self.reconnect.wait(self.failures, told, backoff::random()) else {
            self.failures = 0;
            return Err(Error::lost(&self.endpoint, "no attempt is left"));
        };
        let last_id = self.parser.last_id().to_owned();
        // What was not ended when the connection broke is not an event.
        let bytes_max = self.shared.transport.limits.body_bytes_max;
        self.parser = Parser::new(bytes_max, last_id.clone()).with_retry(self.parser.retry());
        let (shared, endpoint) = (Arc::clone(&self.shared), self.endpoint.clone());
        Ok(State::Connecting(Box::pin(async move {
            tokio::time::sleep(wait).await;
            connect(&shared, &endpoint, &last_id).await
        })))
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventStream").field(&self.endpoint).finish_non_exhaustive()
    }
}

/// Opens the stream; none if the server says that there will be no more.
async fn connect(shared: &Shared, endpoint: &Endpoint, last_id: &str) -> Result<Option<Incoming>, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !last_id.is_empty() {
        let id = HeaderValue::from_bytes(last_id.as_bytes()).map_err(|cause| Error::protocol(endpoint, cause))?;
        headers.insert(HeaderName::from_static("last-event-id"), id);
    }
    let response = exchange::send(shared, Call::Special(endpoint, headers)).await?;
    if exchange::is_over(response.status()) {
        return Ok(None);
    }
    if !response.status().is_success() {
        return Err(exchange::refused(shared, endpoint, response).await);
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.trim().to_ascii_lowercase().starts_with("text/event-stream") {
        return Err(Error::protocol(endpoint, "it sends no `text/event-stream`"));
    }
    Ok(Some(response.into_body()))
}
