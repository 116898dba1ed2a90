//! A server that does what a script says: one list of steps for each connection, the last list for all that follow.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use keymoat_client::Endpoint;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

/// What the server does next.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Value),
    /// Waits for a message of the client.
    Hear,
    Close(u16, &'static str),
    /// Ends the connection without a word.
    Vanish,
}

pub(crate) struct Scripted {
    pub(crate) endpoint: Endpoint,
    /// What clients said, one list for each connection.
    heard: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Scripted {
    /// Speaks WebSocket. The first message of each connection, the setup, is awaited before its script begins.
    pub(crate) async fn websocket(scripts: Vec<Vec<Step>>) -> Self {
        Self::start(move |stream, number, heard| {
            let script = scripts.get(number).or(scripts.last()).cloned().unwrap_or_default();
            run(stream, number, script, heard)
        })
        .await
    }

    /// Reads a request, answers with bytes and ends.
    pub(crate) async fn http(answers: Vec<String>) -> Self {
        Self::start(move |mut stream, number, heard| {
            let answer = answers.get(number).or(answers.last()).cloned().unwrap_or_default();
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                heard.lock().unwrap()[number].push(String::from_utf8_lossy(&head).into_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    pub(crate) fn heard(&self) -> Vec<Vec<String>> {
        self.heard.lock().unwrap().clone()
    }

    async fn start<F>(serve: impl Fn(TcpStream, usize, Heard) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let heard = Heard::default();
        let noted = Arc::clone(&heard);
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                noted.lock().unwrap().push(Vec::new());
                tokio::spawn(serve(stream, number, Arc::clone(&noted)));
            }
        });
        Self { endpoint, heard }
    }
}

type Heard = Arc<Mutex<Vec<Vec<String>>>>;

async fn run(stream: TcpStream, number: usize, script: Vec<Step>, heard: Heard) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    for step in [vec![Step::Hear], script].concat() {
        match step {
            Step::Send(value) => socket.send(Message::text(value.to_string())).await.unwrap(),
            Step::Hear => {
                let Some(Ok(message)) = socket.next().await else { return };
                heard.lock().unwrap()[number].push(message.to_string());
            }
            Step::Close(code, reason) => {
                let _ = socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await;
                while let Some(Ok(_)) = socket.next().await {}
                return;
            }
            Step::Vanish => return,
        }
    }
    while let Some(Ok(_)) = socket.next().await {}
}
