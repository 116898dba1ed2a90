//! The WebSocket end: the handshake over hyper's upgrade, and a socket that records and is bounded.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, error::CapacityError};

use crate::Frames;
use crate::answer::{self, Body};
use crate::emulator::Emulator;
use crate::pong::DelayedPongs;
use crate::recorder::Entry;

/// The longest message that is taken.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest close reason (RFC 6455 section 5.5: 125 bytes less the code).
const REASON_BYTES_MAX: usize = 123;
/// How long one message may take to send before the peer counts as gone.
const SEND_WAIT: Duration = Duration::from_secs(30);
/// How long the peer's own close is waited for.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// One accepted WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<DelayedPongs<TokioIo<Upgraded>>>,
    entry: Entry,
}

/// What came from the peer.
pub(crate) enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// The peer closed, is gone, or broke the protocol (then it was closed with the right code).
    Gone,
}

/// The peer is gone; there is nobody to tell.
#[derive(Debug)]
pub(crate) struct Gone;

/// Why a session ends: what it is closed with, or that nobody is left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Close with this code and reason.
    Close(u16, String),
    /// The peer is gone.
    Gone,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Whether the request asks for a WebSocket at all.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    let asks = |name, word: &str| {
        let lines = headers.get_all(name).into_iter().filter_map(|line: &HeaderValue| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(word))
    };
    asks(UPGRADE, "websocket") && asks(CONNECTION, "upgrade")
}

/// Answers the handshake and runs `session` on the socket; `protocol` is the subprotocol to select.
pub(crate) fn accept<F>(
    emulator: &Arc<Emulator>,
    mut request: Request<Incoming>,
    entry: &Entry,
    protocol: Option<&str>,
    session: impl FnOnce(Socket) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let headers = request.headers();
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_asked_for(headers)) else {
        let mut response =
            answer::json(StatusCode::UPGRADE_REQUIRED, &json!({"error": "this path expects a WebSocket upgrade"}));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        return response;
    };
    if request.method() != Method::GET || headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return answer::json(StatusCode::BAD_REQUEST, &json!({"error": "expected GET and WebSocket version 13"}));
    }
    let accept = derive_accept_key(key.as_bytes());
    let Some(permit) = emulator.permit() else {
        return answer::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": "too many connections"}));
    };
    let mut response = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    let answered = response.headers_mut();
    answered.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answered.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        answered.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(Ok(protocol)) = protocol.map(HeaderValue::from_str) {
        answered.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let upgrading = hyper::upgrade::on(&mut request);
    let (entry, delay) = (entry.clone(), emulator.pong_delay);
    emulator.spawn(permit, async move {
        let Ok(upgraded) = upgrading.await else { return };
        let stream = DelayedPongs::new(TokioIo::new(upgraded), delay);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        // Boxed: the sessions' states are large, and the task would hold the largest of them from the start.
        Box::pin(session(Socket { stream, entry })).await;
    });
    response
}

impl Socket {
    /// The next message. Cancelling loses nothing.
    pub(crate) async fn receive(&mut self) -> Received {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    self.entry.message(false, text.as_bytes());
                    return Received::Text(text.as_str().to_owned());
                }
                Some(Ok(Message::Binary(bytes))) => {
                    self.entry.message(true, &bytes);
                    return Received::Binary(bytes);
                }
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) =
                        frame.as_ref().map_or((1005, ""), |frame| (frame.code.into(), frame.reason.as_str()));
                    self.entry.client_close(code, reason);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => {
                    self.fail(&error).await;
                    return Received::Gone;
                }
                None => return Received::Gone,
            }
        }
    }

    /// Sends one JSON value in the given kind of frame.
    pub(crate) async fn send(&mut self, value: &Value, frames: Frames) -> Result<(), Gone> {
        let text = value.to_string();
        self.send_message(match frames {
            Frames::Text => Message::text(text),
            Frames::Binary => Message::binary(text.into_bytes()),
        })
        .await
    }

    /// Sends a text message as it is.
    pub(crate) async fn send_text(&mut self, text: String) -> Result<(), Gone> {
        self.send_message(Message::text(text)).await
    }

    /// Sends a binary message as it is.
    pub(crate) async fn send_binary(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.send_message(Message::binary(bytes)).await
    }

    /// Closes with what `end` says and waits a little for the peer's close.
    pub(crate) async fn end(mut self, end: End) {
        let End::Close(code, reason) = end else { return };
        let reason = cut(&reason);
        self.entry.close(code, reason);
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        let closing = async {
            let _ = self.stream.close(Some(frame)).await;
            while let Some(Ok(message)) = self.stream.next().await {
                if let Message::Close(frame) = message {
                    let (code, reason) =
                        frame.as_ref().map_or((1005, ""), |frame| (frame.code.into(), frame.reason.as_str()));
                    self.entry.client_close(code, reason);
                }
            }
        };
        let _ = tokio::time::timeout(CLOSE_WAIT, closing).await;
    }

    async fn send_message(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(SEND_WAIT, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// Tells the peer what it broke, as far as that is possible.
    async fn fail(&mut self, error: &Error) {
        let (code, reason) = match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => (1009, "message too long"),
            Error::Utf8(_) => (1007, "text message is not UTF-8"),
            Error::Protocol(_) => (1002, "WebSocket protocol error"),
            _ => return,
        };
        self.entry.close(code, reason);
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        let _ = tokio::time::timeout(CLOSE_WAIT, self.stream.close(Some(frame))).await;
    }
}

/// Cuts a close reason to what fits, at a character.
fn cut(reason: &str) -> &str {
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    reason.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_a_reason_at_a_character() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(200)).len(), 123);
        assert_eq!(cut(&"ä".repeat(100)).len(), 122);
    }
}
