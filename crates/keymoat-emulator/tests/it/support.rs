//! A running emulator and small clients for it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use keymoat_core::Secret;
use keymoat_emulator::{Options, Recorded, Running, start};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// The one real key of every test.
pub(crate) const KEY: &str = "AIza-made-up-for-tests";
/// The header that carries it.
pub(crate) const WITH_KEY: [(&str, &str); 1] = [("x-goog-api-key", KEY)];
/// Nothing in these tests takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn live(version: &str, method: &str) -> String {
    format!("/ws/google.ai.generativelanguage.{version}.GenerativeService.{method}")
}

pub(crate) struct Bench {
    pub(crate) running: Running,
}

/// What an HTTP call was answered with.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }
}

impl Bench {
    /// Strict, with everything sent a thousand times faster than real time.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(Secret::from(KEY));
        options.gemini.speed = 1000;
        options.openai.speed = 1000;
        options.sse_pause = Duration::from_millis(1);
        change(&mut options);
        Self { running: start(options).await.unwrap() }
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.running.address()).await.unwrap()
    }

    pub(crate) async fn call(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.tcp().await)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, text }
    }

    /// Opens a WebSocket; refused with the HTTP status when there is no 101.
    pub(crate) async fn websocket(&self, target: &str, headers: &[(&str, &str)]) -> Result<Client, StatusCode> {
        let mut request = format!("ws://localhost{target}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        match client_async(request, self.tcp().await).await {
            Ok((stream, response)) => {
                let selected = response.headers().get("sec-websocket-protocol");
                let selected = selected.map(|value| value.to_str().unwrap().to_owned());
                Ok(Client { stream, selected })
            }
            Err(Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a WebSocket that is refused after the 101; the code and the reason.
    pub(crate) async fn refused(&self, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
        self.websocket(target, headers).await.unwrap().closed().await
    }

    /// Opens a Live session with the key and waits for `setupComplete`.
    pub(crate) async fn live(&self, setup: Value) -> Client {
        let mut client = self.websocket(&live("v1beta", "BidiGenerateContent"), &WITH_KEY).await.unwrap();
        client.send(json!({ "setup": setup })).await;
        let complete = client.receive().await;
        assert!(complete.get("setupComplete").is_some(), "{complete}");
        client
    }

    /// What the last request left in the record.
    pub(crate) fn last(&self) -> Recorded {
        self.running.recorder().requests().pop().unwrap()
    }
}

pub(crate) struct Client {
    pub(crate) stream: WebSocketStream<TcpStream>,
    pub(crate) selected: Option<String>,
}

impl Client {
    pub(crate) async fn send(&mut self, value: Value) {
        self.stream.send(Message::text(value.to_string())).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("in time").expect("not ended").unwrap()
    }

    /// The next message as JSON, whichever kind of frame it is in.
    pub(crate) async fn receive(&mut self) -> Value {
        let message = self.next().await;
        assert!(message.is_text() || message.is_binary(), "{message:?}");
        serde_json::from_slice(&message.into_data()).unwrap()
    }

    /// Reads until a message has `path` (a JSON pointer); all messages, that one last.
    pub(crate) async fn until(&mut self, path: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            let message = self.receive().await;
            let found = message.pointer(path).is_some();
            messages.push(message);
            if found {
                return messages;
            }
        }
    }

    /// Reads until the turn is complete; the text of the model and all messages.
    pub(crate) async fn turn(&mut self) -> (String, Vec<Value>) {
        let messages = self.until("/serverContent/turnComplete").await;
        let texts = messages.iter().filter_map(|message| message.pointer("/serverContent/modelTurn/parts/0/text"));
        (texts.map(|text| text.as_str().unwrap()).collect(), messages)
    }

    pub(crate) async fn say(&mut self, text: &str) -> (String, Vec<Value>) {
        self.send(user(text)).await;
        self.turn().await
    }

    /// Reads until the peer closes; the code and the reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.next().await {
                let frame = frame.expect("a close with a code");
                return (frame.code.into(), frame.reason.as_str().to_owned());
            }
        }
    }

    /// Closes and waits until the emulator has noticed.
    pub(crate) async fn leave(mut self) {
        self.stream.close(None).await.unwrap();
        while let Some(Ok(_)) = self.stream.next().await {}
    }
}

/// One complete turn of the user.
pub(crate) fn user(text: &str) -> Value {
    json!({"clientContent": {"turns": [{"role": "user", "parts": [{"text": text}]}], "turnComplete": true}})
}

/// A setup that answers in text, with more fields.
pub(crate) fn text_setup(more: Value) -> Value {
    let mut setup = json!({"model": "models/gemini-2.5-flash", "generationConfig": {"responseModalities": ["TEXT"]}});
    setup.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    setup
}
