//! The clients of a measurement: each waits for its answer before it asks again.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::wire;

/// How many clients there are at once where the work is counted.
const CLIENTS: usize = 32;
/// How many sessions are opened at the same time.
const OPENING: usize = 64;

/// Where clients connect to, and with which key.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) key: Arc<str>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// An open WebSocket.
pub(crate) struct Session(Box<dyn Stream>);

impl Target {
    async fn connect(&self) -> Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from("localhost")?;
        Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, stream).await?))
    }

    async fn open(&self) -> Result<Session> {
        let mut stream = self.connect().await?;
        let opening = format!(
            "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Api-Key: {}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.key
        );
        stream.write_all(opening.as_bytes()).await?;
        let head = wire::read_head(&mut stream, &mut Vec::new()).await?.context("no answer to an opening")?;
        ensure!(head.starts_with("HTTP/1.1 101"), "no WebSocket: {head}");
        Ok(Session(stream))
    }
}

/// Sends `requests` GETs over connections that are kept.
pub(crate) async fn get(target: &Target, requests: usize) -> Result<()> {
    let request: Rc<str> = format!(
        "GET /api/items?page=2 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Api-Key: {}\r\n\r\n",
        target.key
    )
    .into();
    each(requests, |left| {
        let (target, request) = (target.clone(), request.clone());
        async move {
            let mut stream = target.connect().await?;
            let mut bytes = Vec::with_capacity(4096);
            while take(&left) {
                stream.write_all(request.as_bytes()).await?;
                let head = wire::read_head(&mut stream, &mut bytes).await?.context("no answer to a GET")?;
                ensure!(head.starts_with("HTTP/1.1 200"), "not answered: {head}");
                let length: usize = wire::header(&head, "content-length").context("no length")?.parse()?;
                while bytes.len() < length {
                    ensure!(stream.read_buf(&mut bytes).await? > 0, "half an answer");
                }
                ensure!(bytes.len() == length, "more than an answer");
                bytes.clear();
            }
            Ok(())
        }
    })
    .await
}

/// Opens and closes `sessions` WebSockets, with the whole closing handshake.
pub(crate) async fn open_and_close(target: &Target, sessions: usize) -> Result<()> {
    each(sessions, |left| {
        let target = target.clone();
        async move {
            while take(&left) {
                close(target.open().await?).await?;
            }
            Ok(())
        }
    })
    .await
}

/// Opens `sessions` WebSockets and sends one message over each.
pub(crate) async fn open(target: &Target, sessions: usize) -> Result<Vec<Session>> {
    let mut opened = Vec::with_capacity(sessions);
    while opened.len() < sessions {
        let mut opening = JoinSet::new();
        for _ in 0..OPENING.min(sessions - opened.len()) {
            let target = target.clone();
            opening.spawn_local(async move {
                let mut session = target.open().await?;
                echo(&mut session, &wire::message(4096), wire::server_frame_bytes(4096)).await?;
                anyhow::Ok(session)
            });
        }
        while let Some(session) = opening.join_next().await {
            opened.push(session??);
        }
    }
    Ok(opened)
}

/// Sends `messages` over a few sessions and waits for each to come back; gives the sessions back.
pub(crate) async fn messages(sessions: Vec<Session>, messages: usize, payload_bytes: usize) -> Result<Vec<Session>> {
    let (left, message) = (Rc::new(Cell::new(messages)), Rc::new(wire::message(payload_bytes)));
    let mut sending = JoinSet::new();
    for mut session in sessions {
        let (left, message) = (left.clone(), message.clone());
        sending.spawn_local(async move {
            while take(&left) {
                echo(&mut session, &message, wire::server_frame_bytes(payload_bytes)).await?;
            }
            anyhow::Ok(session)
        });
    }
    sending.join_all().await.into_iter().collect()
}

/// How many sessions [`messages`] is meant for.
pub(crate) async fn open_few(target: &Target) -> Result<Vec<Session>> {
    open(target, CLIENTS).await
}

/// Closes sessions one after the other.
pub(crate) async fn close_all(sessions: Vec<Session>) -> Result<()> {
    for session in sessions {
        close(session).await?;
    }
    Ok(())
}

async fn echo(session: &mut Session, message: &[u8], answer_bytes: usize) -> Result<()> {
    session.0.write_all(message).await?;
    session.0.flush().await?;
    let mut answer = vec![0; answer_bytes];
    session.0.read_exact(&mut answer).await.context("a message did not come back")?;
    Ok(())
}

async fn close(mut session: Session) -> Result<()> {
    session.0.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await?;
    let mut rest = Vec::new();
    session.0.read_to_end(&mut rest).await.context("no end after a close frame")?;
    ensure!(rest == [0x88, 2, 0x03, 0xe8], "not closed as asked: {rest:?}");
    Ok(())
}

/// Runs [`CLIENTS`] clients that share what is to be done.
async fn each<F: Future<Output = Result<()>> + 'static>(
    count: usize,
    client: impl Fn(Rc<Cell<usize>>) -> F,
) -> Result<()> {
    let left = Rc::new(Cell::new(count));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn_local(client(left.clone()));
    }
    clients.join_all().await.into_iter().collect()
}

fn take(left: &Cell<usize>) -> bool {
    let count = left.get();
    left.set(count.saturating_sub(1));
    count > 0
}
