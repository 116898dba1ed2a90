//! The emulated APIs in this process, and clients of them.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::time::Duration;

use http::HeaderName;
use keymoat_client::gemini::{Event, Modality, Session, Setup};
use keymoat_client::{Client, Credential, Endpoint, Secret};
use keymoat_emulator::{Options, Recorded, Running, start};

/// The one key that the emulator takes, without any known shape.
pub(crate) const KEY: &str = "canary-0b61f3a7c9";
/// Nothing in these tests takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) running: Running,
}

impl Bench {
    /// Strict about credentials in URLs, with everything sent a thousand times faster than real time.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(Secret::from(KEY));
        options.gemini.speed = 1000;
        options.sse_pause = Duration::from_millis(1);
        change(&mut options);
        Self { running: start(options).await.unwrap() }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        format!("http://{}", self.running.address()).parse().unwrap()
    }

    pub(crate) fn client(&self, credential: Credential) -> Client {
        Client::new(self.endpoint(), credential).unwrap()
    }

    /// Of Gemini, with the right key.
    pub(crate) fn gemini(&self) -> Client {
        self.client(Credential::api_key(KEY))
    }

    /// Of the home-security backend, with the right key.
    pub(crate) fn events(&self) -> Client {
        self.client(Credential::header(HeaderName::from_static("x-api-key"), KEY))
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.running.recorder().requests()
    }

    pub(crate) fn last(&self) -> Recorded {
        self.requests().pop().unwrap()
    }
}

/// A setup that answers in text.
pub(crate) fn text_setup() -> Setup {
    Setup::new("gemini-2.5-flash").answer_in(Modality::Text)
}

/// Reads until the turn is complete.
pub(crate) async fn turn(session: &mut Session) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = tokio::time::timeout(PATIENCE, session.receive()).await.expect("in time").unwrap();
        let is_over = event == Event::TurnComplete;
        events.push(event);
        if is_over {
            return events;
        }
    }
}

/// What the model wrote.
pub(crate) fn text(events: &[Event]) -> String {
    events.iter().filter_map(|event| if let Event::Text(text) = event { Some(text.as_str()) } else { None }).collect()
}

/// Says something and gives the answer.
pub(crate) async fn say(session: &mut Session, what: &str) -> String {
    session.send_text(what).await.unwrap();
    text(&turn(session).await)
}
