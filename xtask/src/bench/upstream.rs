//! The upstream of a measurement: answers every GET alike and echoes WebSocket frames, as cheaply as it can.

use std::net::SocketAddr;
use std::thread;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::wire;

/// What every GET is answered with.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 28\r\n\r\n\
    {\"answer\":\"of the upstream\"}";

/// Starts it on a thread of its own, which lives as long as this process.
pub(crate) fn start() -> Result<SocketAddr> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").context("no port for the upstream")?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("upstream".into()).spawn(move || runtime.block_on(serve(socket)))?;
    Ok(address)
}

async fn serve(socket: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(socket) else { return };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            // A client that goes away in the middle of something is no business of ours.
            tokio::spawn(async move { answer(stream).await.ok() });
        }
    }
}

async fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(4096);
    loop {
        let Some(head) = wire::read_head(&mut stream, &mut bytes).await? else { return Ok(()) };
        let Some(key) = wire::header(&head, "sec-websocket-key") else {
            stream.write_all(ANSWER).await?;
            continue;
        };
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await?;
        drop(head);
        return echo(stream).await;
    }
}

/// Sends every frame back without its mask, which is zero; ends after a close frame.
async fn echo(mut stream: TcpStream) -> Result<()> {
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    loop {
        while let Some(frame) = wire::client_frame(&bytes) {
            let end = bytes.first().is_some_and(|first| first & 0x0f == wire::CLOSE);
            wire::server_frame(&bytes, &frame, &mut frames);
            stream.write_all(&frames).await?;
            bytes.drain(..frame.end);
            if end {
                // A server ends the connection first (RFC 6455 section 7.1.1), and nginx waits for it.
                return Ok(());
            }
        }
        if bytes.is_empty() {
            // An idle session costs the upstream little, too.
            (bytes, frames) = (Vec::new(), Vec::new());
            stream.readable().await?;
        }
        bytes.reserve(8192);
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}
