//! A Live session: what is said to it, what it says, and how it goes on on another connection.
//!
//! ```text
//! open ──goAway──▶ leaving ──turn over, time up──▶ reconnecting ──setupComplete──▶ open
//!  └───────────────closed, and time helps───────────────▲│ failed: wait, again; at last an error
//! ```
//! Only a session with [`super::Live::reconnecting`] and a handle takes these ways. Others end with the server's close.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use base64::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::event::{self, Event};
use super::resumption::Handle;
use super::setup::Setup;
use super::{Version, open, parse};
use crate::backoff::{self, Reconnect};
use crate::client::Client;
use crate::error::Error;
use crate::websocket::{Message, WebSocket};

/// The rate that Gemini listens at.
const RATE: u32 = 16_000;
/// A leaving session is over so long before the server ends it.
const LEAVE_BEFORE: Duration = Duration::from_secs(1);

/// All that a connection of a session is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) client: Client,
    pub(crate) version: Version,
    pub(crate) method: &'static str,
    pub(crate) setup: Setup,
}

/// An open Live session.
///
/// [`Session::receive`] may stand in a `select!` beside what is sent. It has to be called again and again, also while the
/// application only sends: it answers pings and reconnects.
pub struct Session {
    opening: Opening,
    reconnect: Option<Reconnect>,
    state: State,
    events: VecDeque<Event>,
    handle: Option<Handle>,
    /// Whether the handle holds all that was said.
    is_fresh: bool,
    /// Whether the model is expected to say more.
    in_turn: bool,
    /// When the connection is left at the latest.
    leaves: Option<Instant>,
    /// Connections in a row on which nothing came.
    failures: u32,
}

enum State {
    Open(Box<WebSocket>),
    /// It goes on where it was when `receive` is dropped and called again.
    Connecting(Pin<Box<dyn Future<Output = Result<WebSocket, Error>> + Send>>),
    Over,
}

/// What a function gave.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionResponse {
    /// The id of the call.
    pub id: String,
    /// The name of the function.
    pub name: String,
    /// What it gave, an object.
    pub response: Value,
}

impl Opening {
    async fn open(&self, handle: Option<&Handle>) -> Result<WebSocket, Error> {
        let setup = match handle {
            Some(handle) => self.setup.clone().resuming(handle),
            None => self.setup.clone(),
        };
        open(&self.client, self.version, self.method, &setup.value()).await
    }
}

impl Session {
    pub(crate) async fn open(opening: Opening, reconnect: Option<Reconnect>) -> Result<Self, Error> {
        let socket = Box::pin(opening.open(None)).await?;
        Ok(Self {
            opening,
            reconnect,
            state: State::Open(Box::new(socket)),
            events: VecDeque::new(),
            handle: None,
            is_fresh: false,
            in_turn: false,
            leaves: None,
            failures: 0,
        })
    }

    /// Says something in text, as a whole turn of the user.
    ///
    /// # Errors
    /// [`Error::Closed`] and what else a connection fails with. While a session reconnects, what is sent waits for that.
    pub async fn send_text(&mut self, text: &str) -> Result<(), Error> {
        let turn = json!({"role": "user", "parts": [{ "text": text }]});
        self.send_turns(json!([turn]), true).await
    }

    /// Adds turns, such as the history of an earlier conversation; `is_complete` lets the model answer.
    ///
    /// # Errors
    /// As [`Session::send_text`].
    pub async fn send_turns(&mut self, turns: Value, is_complete: bool) -> Result<(), Error> {
        self.send(json!({"clientContent": {"turns": turns, "turnComplete": is_complete}})).await?;
        (self.in_turn, self.is_fresh) = (self.in_turn || is_complete, false);
        Ok(())
    }

    /// Lets the model hear PCM: 16 kHz, 16 bits, little endian, one channel. Pieces of 20 to 100 ms are usual.
    ///
    /// # Errors
    /// As [`Session::send_text`].
    pub async fn send_audio(&mut self, pcm: &[u8]) -> Result<(), Error> {
        self.send_audio_at(RATE, pcm).await
    }

    /// The same with another number of samples a second.
    ///
    /// # Errors
    /// As [`Session::send_text`].
    pub async fn send_audio_at(&mut self, rate: u32, pcm: &[u8]) -> Result<(), Error> {
        let data = BASE64_STANDARD.encode(pcm);
        self.send(json!({"realtimeInput": {"audio": {"data": data, "mimeType": format!("audio/pcm;rate={rate}")}}}))
            .await
    }

    /// Says that the microphone is off, so that the model answers what it heard.
    ///
    /// # Errors
    /// As [`Session::send_text`].
    pub async fn end_audio(&mut self) -> Result<(), Error> {
        self.send(json!({"realtimeInput": {"audioStreamEnd": true}})).await?;
        (self.in_turn, self.is_fresh) = (true, false);
        Ok(())
    }

    /// Lets the model see one picture, such as `image/jpeg`.
    ///
    /// # Errors
    /// As [`Session::send_text`].
    pub async fn send_video(&mut self, mime_type: &str, picture: &[u8]) -> Result<(), Error> {
        let data = BASE64_STANDARD.encode(picture);
        self.is_fresh = false;
        self.send(json!({"realtimeInput": {"video": {"data": data, "mimeType": mime_type}}})).await
    }

    /// Answers the model's calls.
    ///
    /// # Errors
    /// As [`Session::send_text`].
    pub async fn send_tool_response(&mut self, responses: Vec<FunctionResponse>) -> Result<(), Error> {
        let member = |response: FunctionResponse| json!({"id": response.id, "name": response.name, "response": response.response});
        let responses: Vec<Value> = responses.into_iter().map(member).collect();
        self.send(json!({"toolResponse": {"functionResponses": responses}})).await?;
        (self.in_turn, self.is_fresh) = (true, false);
        Ok(())
    }

    /// Sends any message that this version does not know.
    ///
    /// # Errors
    /// As [`Session::send_text`].
    pub async fn send_message(&mut self, message: Value) -> Result<(), Error> {
        self.send(message).await
    }

    /// What happens next. Nothing is lost when this is dropped.
    ///
    /// # Errors
    /// [`Error::Closed`] when the session is over; its [`crate::Close::meaning`] says what helps.
    pub async fn receive(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.settle().await?;
            if !self.events.is_empty() {
                continue;
            }
            let leaves = self.leaves;
            let State::Open(socket) = &mut self.state else { continue };
            let received = tokio::select! {
                biased;
                received = socket.receive() => received,
                () = sleep_until(leaves.unwrap_or_else(Instant::now)), if leaves.is_some() => {
                    self.leave()?;
                    continue;
                }
            };
            match received {
                Ok(message) => self.take(&message)?,
                Err(error) => self.again(error)?,
            }
        }
    }

    /// The newest handle, with which the session can go on later or elsewhere.
    #[must_use]
    pub fn handle(&self) -> Option<&Handle> {
        self.handle.as_ref()
    }

    /// Ends the session.
    pub async fn close(self) {
        if let State::Open(socket) = self.state {
            socket.close().await;
        }
    }

    async fn send(&mut self, message: Value) -> Result<(), Error> {
        let text = message.to_string();
        self.settle().await?;
        let State::Open(socket) = &mut self.state else { return Err(over(&self.opening)) };
        match socket.send_text(text.clone()).await {
            Ok(()) => Ok(()),
            Err(error @ Error::TooLarge { .. }) => Err(error),
            Err(error) => {
                self.again(error)?;
                self.settle().await?;
                let State::Open(socket) = &mut self.state else { return Err(over(&self.opening)) };
                socket.send_text(text).await
            }
        }
    }

    /// Waits until there is a connection.
    async fn settle(&mut self) -> Result<(), Error> {
        loop {
            match &mut self.state {
                State::Open(_) => return Ok(()),
                State::Over => return Err(over(&self.opening)),
                State::Connecting(connecting) => match connecting.await {
                    Ok(socket) => {
                        self.state = State::Open(Box::new(socket));
                        self.leaves = None;
                        self.in_turn = false;
                        self.events.push_back(Event::Reconnected);
                    }
                    Err(error) => self.again(error)?,
                },
            }
        }
    }

    /// Takes a message of the server.
    fn take(&mut self, message: &Message) -> Result<(), Error> {
        let before = self.events.len();
        event::read(parse(message)?, &mut self.events);
        let mut leaves_now = false;
        for event in self.events.range(before..) {
            match event {
                Event::GoAway { time_left } => {
                    let left = time_left.unwrap_or_default().saturating_sub(LEAVE_BEFORE);
                    self.leaves = Some(Instant::now() + left);
                    leaves_now |= !self.in_turn && self.is_fresh;
                }
                Event::Resumption(handle) => {
                    self.is_fresh = handle.is_some();
                    if handle.is_some() {
                        self.handle.clone_from(handle);
                    }
                    leaves_now |= self.leaves.is_some() && !self.in_turn && self.is_fresh;
                    self.failures = 0;
                }
                Event::TurnComplete => self.in_turn = false,
                Event::Audio(_) | Event::Text(_) | Event::Thought(_) | Event::ToolCall(_) => {
                    (self.in_turn, self.is_fresh, self.failures) = (true, false, 0);
                }
                _ => {}
            }
        }
        if leaves_now {
            self.leave()?;
        }
        Ok(())
    }

    /// Leaves the connection before the server ends it, if the session can go on.
    fn leave(&mut self) -> Result<(), Error> {
        self.leaves = None;
        if self.reconnect.is_none() || self.handle.is_none() {
            return Ok(());
        }
        self.reconnect_or(None)
    }

    /// Reconnects after `error`, or gives it back.
    fn again(&mut self, error: Error) -> Result<(), Error> {
        if self.reconnect.is_none() || self.handle.is_none() || !error.may_pass() {
            self.state = State::Over;
            return Err(error);
        }
        self.failures = self.failures.saturating_add(1);
        self.reconnect_or(Some(error))
    }

    fn reconnect_or(&mut self, error: Option<Error>) -> Result<(), Error> {
        let told = error.as_ref().and_then(Error::retry_after);
        let policy = self.reconnect.unwrap_or_default();
        let Some(wait) = policy.wait(self.failures, told, backoff::random()) else {
            self.state = State::Over;
            return Err(error.unwrap_or_else(|| over(&self.opening)));
        };
        let (opening, handle) = (self.opening.clone(), self.handle.clone());
        let old = std::mem::replace(&mut self.state, State::Over);
        self.state = State::Connecting(Box::pin(async move {
            // A session is not resumed while its old connection is open.
            if let State::Open(socket) = old {
                socket.close().await;
            }
            tokio::time::sleep(wait).await;
            opening.open(handle.as_ref()).await
        }));
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("opening", &self.opening).field("handle", &self.handle).finish_non_exhaustive()
    }
}

fn over(opening: &Opening) -> Error {
    Error::lost(&opening.client.shared().endpoint, "the session is over")
}
