//! Clients that send whatever they are told to, and keep every byte that comes back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a client waits for more before it takes what it has for everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client sends once a WebSocket is open: a message, and this as the reason of its close.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a>(pub(crate) &'a str);

impl Message<'_> {
    fn frames(self) -> Vec<u8> {
        let reason = self.0.get(..100).unwrap_or(self.0);
        [frame(1, self.0.as_bytes()), frame(8, &[&4999_u16.to_be_bytes(), reason.as_bytes()].concat())].concat()
    }
}

/// Sends `request` in plain text and gives everything that comes back, up to the end.
pub(crate) fn exchange(address: &str, request: &[u8], message: Message<'_>) -> Vec<u8> {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    talk(stream, request, message)
}

/// The same under TLS, asking for `name` in the handshake. A handshake that fails is an answer too.
pub(crate) fn exchange_tls(address: &str, ca: &Path, name: &str, request: &[u8], message: Message<'_>) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("the authority")).expect("a certificate");
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    talk(rustls::StreamOwned::new(session, stream), request, message)
}

fn talk(mut stream: impl Read + Write, request: &[u8], message: Message<'_>) -> Vec<u8> {
    let mut received = Vec::new();
    // An answer may come, and the connection end, before all was sent: what came is what counts.
    if let Err(error) = stream.write_all(request) {
        received.extend_from_slice(error.kind().to_string().as_bytes());
    }
    let mut switched = false;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return received,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
            Err(error) => {
                // The kind alone: our own TLS would quote the name that we asked for.
                received.extend_from_slice(error.kind().to_string().as_bytes());
                return received;
            }
        }
        if !switched && received.starts_with(b"HTTP/1.1 101") && received.windows(4).any(|end| end == b"\r\n\r\n") {
            switched = true;
            let _ = stream.write_all(&message.frames());
        }
    }
}

/// One masked frame; the mask is zero, which is as good as any other.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short");
    let mut frame = vec![0x80 | opcode];
    if length < 126 {
        frame.push(0x80 | length.to_be_bytes()[1]);
    } else {
        frame.push(0x80 | 126);
        frame.extend(length.to_be_bytes());
    }
    [frame.as_slice(), &[0; 4], payload].concat()
}

/// Sends a request over HTTP/2 in plain text: a target, header lines, and a body, or a WebSocket (RFC 8441).
///
/// `None` when HTTP/2 itself cannot carry it.
pub(crate) fn exchange_http2(
    address: &str,
    target: &str,
    headers: &[(String, String)],
    body: Option<&str>,
    message: Message<'_>,
) -> Option<Vec<u8>> {
    let host = headers.iter().find(|(name, _)| name == "host").map_or("localhost", |(_, host)| host);
    let mut builder = http::Request::builder().version(http::Version::HTTP_2).uri(format!("http://{host}{target}"));
    builder = match body {
        Some(_) => builder.method("POST"),
        None => builder.method("CONNECT").extension(Protocol::from_static("websocket")),
    };
    for (name, value) in headers.iter().filter(|(name, _)| name != "host") {
        builder = builder.header(name, value);
    }
    if body.is_none() {
        builder = builder.header("sec-websocket-version", "13");
    }
    let request = builder.body(Full::new(Bytes::from(body.unwrap_or_default().to_owned()))).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a small thing");
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2 is spoken");
        tokio::spawn(connection);
        // The server's settings must have come before CONNECT may name a protocol.
        tokio::time::timeout(PATIENCE, sender.ready()).await.ok()?.ok()?;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let answered = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.ok()?;
        let response = match answered {
            Ok(response) => response,
            Err(error) => return Some(format!("{error:?}").into_bytes()),
        };
        let mut received = format!("{} {:?}\n", response.status(), response.headers()).into_bytes();
        if body.is_none() && response.status().is_success() {
            let upgraded = hyper::upgrade::on(response).await.ok()?;
            let mut stream = TokioIo::new(upgraded);
            let _ = stream.write_all(&message.frames()).await;
            let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut received)).await;
            return Some(received);
        }
        if let Ok(Ok(collected)) = tokio::time::timeout(PATIENCE, response.into_body().collect()).await {
            received.extend_from_slice(&collected.to_bytes());
        }
        Some(received)
    })
}
