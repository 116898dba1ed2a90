//! One attempt to talk: a WebSocket opened as an app would open it, a setup, a sentence, and what is heard.

use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use keymoat_core::Secret;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The method that the app of the forum post called: the plain one, which the provider opens to no token.
const PATH: &str = "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of one second of the model's voice: 24 kHz, sixteen bits, mono.
const BYTES_PER_SECOND: u64 = 48_000;

/// Where an attempt puts the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Carrying {
    /// `?key=`, percent-encoded.
    KeyParameter,
    /// `Authorization: Bearer`.
    Bearer,
    /// `x-goog-api-key`.
    GoogleHeader,
}

impl Carrying {
    /// All three, in the order of the forum post.
    pub(crate) const ALL: [Self; 3] = [Self::KeyParameter, Self::Bearer, Self::GoogleHeader];

    /// As a person reads it.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::KeyParameter => "?key=<token>",
            Self::Bearer => "Authorization: Bearer <token>",
            Self::GoogleHeader => "x-goog-api-key: <token>",
        }
    }
}

/// How an attempt came out.
#[derive(Debug, Serialize)]
pub(crate) struct Attempt {
    pub(crate) carrying: Carrying,
    /// How much of the model's voice was heard.
    pub(crate) heard_millis: u64,
    /// How the connection ended, when it was not the app that ended it.
    pub(crate) ended: Option<Ended>,
}

impl Attempt {
    /// Whether the model was heard.
    pub(crate) const fn talked(&self) -> bool {
        self.heard_millis > 0 && self.ended.is_none()
    }
}

/// The end of a connection, as an app reads it.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    /// The close code; 1006 when the connection just broke off.
    pub(crate) code: u16,
    /// The reason.
    pub(crate) reason: String,
}

/// Makes one attempt: connects, says `text`, hears the answer, and closes.
pub(crate) async fn make(host: &str, token: &Secret, carrying: Carrying, text: &str) -> Attempt {
    let (heard_millis, ended) = match try_to_talk(host, token, carrying, text).await {
        Ok(Heard { millis, ended }) => (millis, ended),
        Err(error) => (0, Some(Ended { code: 1006, reason: format!("{error:#}") })),
    };
    Attempt { carrying, heard_millis, ended }
}

async fn try_to_talk(host: &str, token: &Secret, carrying: Carrying, text: &str) -> anyhow::Result<Heard> {
    let mut talk = Talk::open(host, token, carrying).await?;
    if let Err(ended) = talk.said(text).await? {
        return Ok(Heard { millis: 0, ended: Some(ended) });
    }
    let heard = talk.listen(|_| false).await?;
    if heard.ended.is_none() {
        talk.socket.close(None).await.ok();
    }
    Ok(heard)
}

/// An open conversation.
pub(crate) struct Talk {
    socket: WebSocketStream<TcpStream>,
}

/// What was heard, and whether the other side ended it.
struct Heard {
    millis: u64,
    ended: Option<Ended>,
}

impl Talk {
    /// Connects to `host`, an address and port on loopback, and sends the setup.
    pub(crate) async fn open(host: &str, token: &Secret, carrying: Carrying) -> anyhow::Result<Self> {
        let request = request(host, token, carrying)?;
        let stream = TcpStream::connect(host).await.with_context(|| format!("connecting to {host}"))?;
        let opening = timeout(PATIENCE, tokio_tungstenite::client_async(request, stream));
        let (socket, _) = opening.await.context("no answer to the handshake")?.map_err(told)?;
        let mut talk = Self { socket };
        let setup = json!({"setup": {"model": "models/gemini-2.0-flash-exp", "generationConfig": {"responseModalities": ["AUDIO"]}}});
        talk.send(&setup).await?;
        Ok(talk)
    }

    /// Says `text` once the setup is complete.
    pub(crate) async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.said(text).await?.map_err(|ended| anyhow::anyhow!("closed with {}: {}", ended.code, ended.reason))
    }

    async fn said(&mut self, text: &str) -> anyhow::Result<Result<(), Ended>> {
        let complete = self.next().await?;
        let Ok(_setup_complete) = complete else { return Ok(complete.map(drop)) };
        let turn = json!({"role": "user", "parts": [{"text": text}]});
        self.send(&json!({"clientContent": {"turns": [turn], "turnComplete": true}})).await?;
        Ok(Ok(()))
    }

    /// Listens until so much was heard, and says how much, in milliseconds.
    pub(crate) async fn listen_for(&mut self, length: Duration) -> anyhow::Result<u64> {
        let enough = millis(length);
        let heard = self.listen(|heard| heard >= enough).await?;
        match heard.ended {
            None => Ok(heard.millis),
            Some(ended) => anyhow::bail!("closed with {}: {}", ended.code, ended.reason),
        }
    }

    /// Listens until the other side ends it, and says how much was heard and how it ended.
    pub(crate) async fn listen_to_the_end(mut self) -> (u64, Ended) {
        let began = Instant::now();
        match self.listen(|_| began.elapsed() > PATIENCE).await {
            Ok(Heard { millis, ended: Some(ended) }) => (millis, ended),
            Ok(Heard { millis, ended: None }) => (millis, Ended { code: 0, reason: "it went on".to_owned() }),
            Err(error) => (0, Ended { code: 1006, reason: format!("{error:#}") }),
        }
    }

    /// Listens until `enough` of the milliseconds heard so far, the end of the turn, or the end of the connection.
    async fn listen(&mut self, enough: impl Fn(u64) -> bool) -> anyhow::Result<Heard> {
        let mut bytes = 0;
        loop {
            let heard = bytes * 1000 / BYTES_PER_SECOND;
            if enough(heard) {
                return Ok(Heard { millis: heard, ended: None });
            }
            let content = match self.next().await? {
                Ok(message) => message.get("serverContent").cloned().unwrap_or_default(),
                Err(ended) => return Ok(Heard { millis: heard, ended: Some(ended) }),
            };
            bytes += sound_in(&content);
            if content.get("turnComplete").and_then(Value::as_bool) == Some(true) {
                return Ok(Heard { millis: bytes * 1000 / BYTES_PER_SECOND, ended: None });
            }
        }
    }

    async fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        match self.socket.send(Message::text(message.to_string())).await {
            // What the other side closed with is read by whoever listens next.
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_)) => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    /// The next message, or how the other side ended it.
    async fn next(&mut self) -> anyhow::Result<Result<Value, Ended>> {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await.context("nothing was said for too long")?;
            let message = match next {
                Some(Ok(message)) => message,
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_)))
                | None => {
                    return Ok(Err(Ended { code: 1006, reason: "the connection broke off".to_owned() }));
                }
                Some(Err(error)) => return Err(told(error)),
            };
            match message {
                Message::Text(_) | Message::Binary(_) => {
                    return Ok(Ok(serde_json::from_slice(&message.into_data()).context("a message is no JSON")?));
                }
                Message::Close(frame) => {
                    let ended = frame.map_or_else(
                        || Ended { code: 1005, reason: String::new() },
                        |frame| Ended { code: frame.code.into(), reason: frame.reason.to_string() },
                    );
                    return Ok(Err(ended));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

/// How many bytes of sound are in what the model said.
fn sound_in(content: &Value) -> u64 {
    let parts = content.pointer("/modelTurn/parts").and_then(Value::as_array);
    let data = parts.into_iter().flatten().filter_map(|part| part.pointer("/inlineData/data")?.as_str());
    data.filter_map(|data| STANDARD.decode(data).ok()).map(|sound| sound.len() as u64).sum()
}

/// The handshake with the token where `carrying` says, as an app would write it.
fn request(host: &str, token: &Secret, carrying: Carrying) -> anyhow::Result<http::Request<()>> {
    // The story is about where apps put their token: it is written into the handshake as they do.
    let text = token.expose();
    let query = match carrying {
        Carrying::KeyParameter => format!("?key={}", percent_encode(text, NON_ALPHANUMERIC)),
        Carrying::Bearer | Carrying::GoogleHeader => String::new(),
    };
    let mut request = format!("ws://{host}{PATH}{query}").into_client_request().map_err(told)?;
    let (name, before): (_, &[u8]) = match carrying {
        Carrying::KeyParameter => return Ok(request),
        Carrying::Bearer => ("authorization", b"Bearer "),
        Carrying::GoogleHeader => ("x-goog-api-key", b""),
    };
    let mut value = HeaderValue::from_bytes(&[before, text].concat()).context("the token fits into no header")?;
    value.set_sensitive(true);
    request.headers_mut().insert(name, value);
    Ok(request)
}

/// An error of the library without what it may repeat of the request.
fn told(error: Error) -> anyhow::Error {
    match error {
        Error::Http(response) => anyhow::anyhow!("HTTP {}", response.status().as_u16()),
        Error::Io(error) => anyhow::anyhow!("the connection broke: {}", error.kind()),
        _ => anyhow::anyhow!("the WebSocket could not be opened"),
    }
}

/// Whole milliseconds.
pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
