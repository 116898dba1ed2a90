//! One request from outside, byte by byte, with the time at which each piece of the answer came.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::Uri;
use keymoat_gateway::tls;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is kept.
const BYTES_MAX: usize = 64 << 10;

/// Where the gateway is: scheme, host and port of a URL, with what stands before its paths.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    is_tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// What came, and when.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) bytes: Vec<u8>,
    /// How many bytes were there after how long.
    arrivals: Vec<(usize, Duration)>,
}

impl Address {
    /// Reads `https://gateway.example`, also with a path that a proxy takes off.
    ///
    /// # Errors
    /// What to write.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write a URL without a query, such as https://gateway.example".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_tls = match uri.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(wrong()),
        };
        if uri.query().is_some() || uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?.to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { is_tls, host, port, path: uri.path().trim_end_matches('/').to_owned() })
    }

    /// Asks for `target` with further header lines, each with its end, and reads until the answer ends or `is_enough`.
    pub(super) fn ask(
        &self,
        target: &str,
        lines: &str,
        ca: Option<&Path>,
        is_enough: impl Fn(&[u8]) -> bool,
    ) -> anyhow::Result<Answered> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let host = if self.port == if self.is_tls { 443 } else { 80 } {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        };
        let request = format!("GET {}{target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n", self.path);
        let asked = async { tokio::time::timeout(PATIENCE, self.asked(&request, ca, is_enough)).await };
        let answered = runtime.block_on(asked);
        answered.with_context(|| format!("{self} did not answer within {} seconds", PATIENCE.as_secs()))?
    }

    async fn asked(
        &self,
        request: &str,
        ca: Option<&Path>,
        is_enough: impl Fn(&[u8]) -> bool,
    ) -> anyhow::Result<Answered> {
        let bare = self.host.trim_matches(['[', ']']);
        let tcp = TcpStream::connect((bare, self.port)).await.with_context(|| format!("cannot reach {self}"))?;
        if !self.is_tls {
            return exchange(tcp, request, is_enough).await;
        }
        let config = tls::client::config(ca, tls::client::Alpn::Http1)?;
        let name = ServerName::try_from(bare.to_owned()).context("the URL has no valid host")?;
        let stream = TlsConnector::from(config).connect(name, tcp).await.with_context(|| format!("TLS with {self}"))?;
        exchange(stream, request, is_enough).await
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
    is_enough: impl Fn(&[u8]) -> bool,
) -> anyhow::Result<Answered> {
    stream.write_all(request.as_bytes()).await?;
    let began = Instant::now();
    let mut answered = Answered::default();
    let mut buffer = vec![0; 4096];
    while answered.bytes.len() < BYTES_MAX && !is_enough(&answered.bytes) {
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => {
                answered.bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
                answered.arrivals.push((answered.bytes.len(), began.elapsed()));
            }
            Ok(0) | Err(_) => break,
        }
    }
    Ok(answered)
}

impl Answered {
    /// The HTTP status.
    pub(super) fn status(&self) -> Option<u16> {
        let text = String::from_utf8_lossy(self.bytes.get(..self.bytes.len().min(64)).unwrap_or_default());
        text.split(' ').nth(1)?.parse().ok()
    }

    /// How long the body took to come, from its first piece to its last.
    pub(super) fn body_took(&self) -> Option<Duration> {
        let head = memchr::memmem::find(&self.bytes, b"\r\n\r\n")? + 4;
        let mut of_body = self.arrivals.iter().filter(|(there, _)| *there > head).map(|(_, when)| *when);
        let first = of_body.next()?;
        Some(of_body.next_back().unwrap_or(first).saturating_sub(first))
    }

    /// Whether the body comes in a coding (RFC 9110 section 8.4).
    pub(super) fn is_coded(&self) -> bool {
        let head = memchr::memmem::find(&self.bytes, b"\r\n\r\n").and_then(|end| self.bytes.get(..end));
        let head = head.unwrap_or_default().to_ascii_lowercase();
        memchr::memmem::find(&head, b"\r\ncontent-encoding:").is_some()
    }

    /// When `text` had come, if it has.
    pub(super) fn when(&self, text: &str) -> Option<Duration> {
        let end = memchr::memmem::find(&self.bytes, text.as_bytes())? + text.len();
        self.arrivals.iter().find(|(there, _)| *there >= end).map(|(_, when)| *when)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}
