//! A WebSocket whose credential is in a header or a subprotocol: bounded, kept alive by pings, ended with code and reason.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message as Raw, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self};

use crate::client::{Client, Shared};
use crate::close::Close;
use crate::credential::Credential;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exchange::{self, Call};
use crate::transport::Stream;

/// How long the other side's part of a close is waited for.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// The longest close reason (RFC 6455 section 5.5: 125 bytes less the code).
const REASON_BYTES_MAX: usize = 123;
/// What an end without a close counts as.
const NO_CLOSE: u16 = 1006;

/// An open WebSocket.
///
/// ```no_run
/// # async fn run() -> Result<(), keymoat_client::Error> {
/// use keymoat_client::{Credential, Message, WebSocket};
/// let endpoint = "wss://gateway.example/ws/events".parse()?;
/// let mut socket = WebSocket::connect(endpoint, Credential::keymoat("km_…"), &[]).await?;
/// while let Message::Text(event) = socket.receive().await? {
///     println!("{event}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct WebSocket {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    stream: WebSocketStream<Box<dyn Stream>>,
    protocol: Option<String>,
    heard: Instant,
    pinged: Option<Instant>,
    ended: Option<Close>,
}

/// A message of a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// The bytes of either kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl WebSocket {
    /// Opens a WebSocket with the default limits, trusting the machine's certificate authorities.
    ///
    /// # Errors
    /// As [`Client::new`] and [`Client::websocket`].
    pub async fn connect(endpoint: Endpoint, credential: Credential, protocols: &[&str]) -> Result<Self, Error> {
        Client::new(endpoint, credential)?.websocket("", protocols).await
    }

    /// The subprotocol that the server selected, unless that is the credential's own.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Sends text.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::TooLarge`], [`Error::Timeout`], [`Error::Lost`].
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<(), Error> {
        let text = text.into();
        self.send(text.len(), Raw::text(text)).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// As [`WebSocket::send_text`].
    pub async fn send_binary(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        let bytes = bytes.into();
        self.send(bytes.len(), Raw::binary(bytes)).await
    }

    /// The next message. Pings are answered, and sent while the server is silent. What was not received yet is not lost when
    /// this is dropped, so it may stand in a `select!`.
    ///
    /// # Errors
    /// [`Error::Closed`] when the server closes, and from then on; [`Error::Timeout`] when it is silent for too long.
    pub async fn receive(&mut self) -> Result<Message, Error> {
        if let Some(close) = &self.ended {
            return Err(Error::Closed(close.clone()));
        }
        loop {
            let silence = self.shared.transport.limits.silence;
            let wake = match self.pinged {
                Some(pinged) => pinged + silence * 2 / 3,
                None => self.heard + silence / 3,
            };
            tokio::select! {
                biased;
                next = self.stream.next() => {
                    (self.heard, self.pinged) = (Instant::now(), None);
                    match next {
                        Some(Ok(Raw::Text(text))) => return Ok(Message::Text(text.to_string())),
                        Some(Ok(Raw::Binary(bytes))) => return Ok(Message::Binary(bytes)),
                        Some(Ok(Raw::Close(frame))) => return Err(self.closed(frame).await),
                        Some(Ok(Raw::Ping(_) | Raw::Pong(_) | Raw::Frame(_))) => {}
                        Some(Err(error)) => return Err(self.failed(&error)),
                        None => return Err(self.end(Close::new(NO_CLOSE, ""))),
                    }
                }
                () = sleep_until(wake) => {
                    if self.pinged.is_some() {
                        let error = Error::timeout(&self.endpoint, "sign of life", silence);
                        self.ended = Some(Close::new(NO_CLOSE, "the server fell silent"));
                        return Err(error);
                    }
                    self.pinged = Some(Instant::now());
                    self.send(0, Raw::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    /// Closes with 1000 and waits a moment for the server's close.
    pub async fn close(self) {
        self.close_with(1000, "").await;
    }

    /// Closes with a code and a reason, which is cut to 123 bytes, and waits a moment for the server's close.
    pub async fn close_with(mut self, code: u16, reason: &str) {
        if self.ended.is_some() {
            return;
        }
        let reason = cut(reason).to_owned();
        let closing = async {
            let _ = self.stream.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await;
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        let _ = tokio::time::timeout(CLOSE_WAIT, closing).await;
    }

    async fn send(&mut self, bytes: usize, message: Raw) -> Result<(), Error> {
        if let Some(close) = &self.ended {
            return Err(Error::Closed(close.clone()));
        }
        let limits = self.shared.transport.limits;
        if bytes > limits.message_bytes_max {
            return Err(Error::TooLarge { what: "a message", bytes_max: limits.message_bytes_max });
        }
        match tokio::time::timeout(limits.answer, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.unsent(&error).await),
            Err(_) => Err(Error::timeout(&self.endpoint, "progress in sending", limits.answer)),
        }
    }

    /// Why sending failed. Where the server has closed, that is what is told: it says why.
    async fn unsent(&mut self, error: &tungstenite::Error) -> Error {
        let reading = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Raw::Close(frame))) => return Some(frame),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        if let Ok(Some(frame)) = tokio::time::timeout(CLOSE_WAIT, reading).await {
            return self.closed(frame).await;
        }
        self.failed(error)
    }

    /// Takes note of the server's close, and answers it.
    async fn closed(&mut self, frame: Option<CloseFrame>) -> Error {
        let (code, reason) = frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
        let error = self.end(Close::new(code, self.shared.credential.shown(&reason)));
        let answering = async { while let Some(Ok(_)) = self.stream.next().await {} };
        let _ = tokio::time::timeout(CLOSE_WAIT, answering).await;
        error
    }

    fn failed(&mut self, error: &tungstenite::Error) -> Error {
        use tungstenite::Error as Cause;
        match error {
            Cause::ConnectionClosed
            | Cause::AlreadyClosed
            | Cause::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing) => {
                self.end(Close::new(NO_CLOSE, ""))
            }
            Cause::Capacity(CapacityError::MessageTooLong { .. }) => {
                self.ended = Some(Close::new(1009, "the server's message is too large"));
                Error::TooLarge {
                    what: "a message of the server",
                    bytes_max: self.shared.transport.limits.message_bytes_max,
                }
            }
            Cause::Io(cause) => {
                self.ended = Some(Close::new(NO_CLOSE, ""));
                Error::lost(&self.endpoint, cause)
            }
            other => {
                self.ended = Some(Close::new(1002, ""));
                Error::protocol(&self.endpoint, self.shared.credential.shown(&other.to_string()))
            }
        }
    }

    fn end(&mut self, close: Close) -> Error {
        self.ended = Some(close.clone());
        Error::Closed(close)
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("endpoint", &self.endpoint)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Shakes hands; `protocols` are the application's own.
pub(crate) async fn open(shared: Arc<Shared>, endpoint: Endpoint, protocols: &[&str]) -> Result<WebSocket, Error> {
    let key = generate_key();
    let offer = Offer::new(&shared.credential, protocols, &endpoint)?;
    let headers = headers(&key, &offer, &endpoint)?;
    let response = exchange::send(&shared, Call::Special(&endpoint, headers)).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(exchange::refused(&shared, &endpoint, response).await);
    }
    let protocol = check(&response, &key, &offer).map_err(|cause| Error::protocol(&endpoint, cause))?;
    let upgraded = hyper::upgrade::on(response).await.map_err(|cause| Error::lost(&endpoint, cause))?;
    let bytes_max = shared.transport.limits.message_bytes_max;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(bytes_max.saturating_mul(2).saturating_add(64 << 10))
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max));
    let stream: Box<dyn Stream> = Box::new(TokioIo::new(upgraded));
    let stream = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
    Ok(WebSocket { shared, endpoint, stream, protocol, heard: Instant::now(), pinged: None, ended: None })
}

/// What is offered in `Sec-WebSocket-Protocol`.
struct Offer {
    plain: Vec<String>,
    /// The whole header where one entry is the credential.
    with_credential: Option<HeaderValue>,
}

impl Offer {
    fn new(credential: &Credential, protocols: &[&str], endpoint: &Endpoint) -> Result<Self, Error> {
        let mut plain: Vec<String> = Vec::new();
        for protocol in protocols {
            if protocol.is_empty()
                || !protocol.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",/:;<=>?@[\\]{}()".contains(&byte))
            {
                return Err(Error::protocol(endpoint, "a subprotocol has a character that none may have"));
            }
            if credential.is_in(protocol) {
                return Err(Error::protocol(endpoint, "a credential goes into `Credential::in_subprotocol`"));
            }
            plain.push((*protocol).to_owned());
        }
        let Some((label, entry)) = credential.entries() else { return Ok(Self { plain, with_credential: None }) };
        if !plain.iter().any(|protocol| protocol == label) {
            plain.insert(0, label.to_owned());
        }
        // Into the one header that is sent, which shows itself to nobody.
        let line = [plain.join(", ").as_bytes(), b", ", entry.expose()].concat();
        let line = HeaderValue::from_bytes(&line).map_err(|cause| Error::protocol(endpoint, cause))?;
        Ok(Self { plain, with_credential: Some(line) })
    }
}

fn headers(key: &str, offer: &Offer, endpoint: &Endpoint) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    let value = |text: &str| HeaderValue::from_str(text).map_err(|cause| Error::protocol(endpoint, cause));
    headers.insert(SEC_WEBSOCKET_KEY, value(key)?);
    if let Some(line) = &offer.with_credential {
        let mut line = line.clone();
        line.set_sensitive(true);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, line);
    } else if !offer.plain.is_empty() {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value(&offer.plain.join(", "))?);
    }
    Ok(headers)
}

/// Checks what the server switched to (RFC 6455 section 4.1) and gives the selected subprotocol.
fn check<B>(response: &Response<B>, key: &str, offer: &Offer) -> Result<Option<String>, &'static str> {
    let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if !header(UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err("it switched to another protocol");
    }
    let upgrades = |value: &str| value.split(',').any(|entry| entry.trim().eq_ignore_ascii_case("upgrade"));
    if !header(CONNECTION).is_some_and(upgrades) {
        return Err("its `Connection` does not say `Upgrade`");
    }
    if header(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err("its `Sec-WebSocket-Accept` is wrong");
    }
    if response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err("it uses an extension that was not offered");
    }
    let Some(selected) = response.headers().get(SEC_WEBSOCKET_PROTOCOL) else { return Ok(None) };
    if let Some(plain) = offer.plain.iter().find(|protocol| protocol.as_bytes() == selected.as_bytes()) {
        return Ok(Some(plain.clone()));
    }
    // Some servers select the credential's own entry; it is nothing to show.
    let own = offer.with_credential.as_ref().is_some_and(|line| line.as_bytes().ends_with(selected.as_bytes()));
    if own && !selected.is_empty() { Ok(None) } else { Err("it selected a subprotocol that was not offered") }
}

/// Cuts a close reason to what fits, at a character.
fn cut(reason: &str) -> &str {
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    reason.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
