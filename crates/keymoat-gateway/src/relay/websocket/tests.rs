//! The relay between two in-memory peers, in paused time. Numbers in names are rows of the list of bad inputs, group B.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod closing;
mod first;
mod flow;
mod framing;
mod liveness;
mod watching;

use std::time::Duration;

use bytes::Bytes;
use keymoat_core::Dialect;
use keymoat_core::websocket::frame::mask;
use keymoat_core::websocket::{Close, Header, Opcode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{End, RelayEnd, close_refused, relay};
use crate::session::SessionControl;
use crate::settings::Limits;

const KEY: [u8; 4] = [0xA1, 0x02, 0x73, 0xF4];
const PIPE_BYTES: usize = 64 << 10;

/// A relay that runs, and its two peers.
struct Scenario {
    client: Peer,
    upstream: Peer,
    control: SessionControl,
    relay: JoinHandle<RelayEnd>,
}

impl Scenario {
    fn start() -> Self {
        Self::with(Limits::default(), Dialect::Generic)
    }

    fn gemini() -> Self {
        Self::with(Limits::default(), Dialect::Gemini)
    }

    fn with(limits: Limits, dialect: Dialect) -> Self {
        Self::with_read_ahead(limits, dialect, Bytes::new(), Bytes::new())
    }

    fn with_read_ahead(limits: Limits, dialect: Dialect, of_client: Bytes, of_upstream: Bytes) -> Self {
        let (client, client_end) = duplex(PIPE_BYTES);
        let (upstream, upstream_end) = duplex(PIPE_BYTES);
        let control = SessionControl::default();
        let handle = control.clone();
        let relay = tokio::spawn(async move {
            let client = End { stream: client_end, already_read: of_client };
            let upstream = End { stream: upstream_end, already_read: of_upstream };
            relay(client, upstream, &limits, &handle, dialect).await
        });
        let client = Peer { stream: client, key: Some(KEY) };
        Self { client, upstream: Peer { stream: upstream, key: None }, control, relay }
    }

    /// The end, after both peers are gone.
    async fn end(self) -> RelayEnd {
        let Self { client, upstream, relay, .. } = self;
        drop((client, upstream));
        relay.await.unwrap()
    }

    /// The end while both peers are still there, reading nothing.
    async fn end_of(relay: JoinHandle<RelayEnd>) -> RelayEnd {
        timeout(Duration::from_secs(3600), relay).await.expect("the relay ends").unwrap()
    }
}

struct Peer {
    stream: DuplexStream,
    key: Option<[u8; 4]>,
}

impl Peer {
    async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn send(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        let bytes = frame(self.key, fin, opcode, payload);
        self.send_bytes(&bytes).await;
    }

    async fn text(&mut self, text: &str) {
        self.send(true, Opcode::Text, text.as_bytes()).await;
    }

    async fn close(&mut self, code: u16, reason: &str) {
        self.send(true, Opcode::Close, &close_payload(code, reason)).await;
    }

    /// The next frame, or `None` at the end of the stream.
    async fn frame(&mut self) -> Option<Received> {
        let mut bytes = Vec::new();
        let header = loop {
            if let Some((header, _)) = Header::parse(&bytes).unwrap() {
                break header;
            }
            bytes.push(self.stream.read_u8().await.ok()?);
        };
        // What is sent to a server is masked, what is sent to a client is not.
        assert_eq!(header.mask.is_some(), self.key.is_none());
        let mut payload = vec![0; usize::try_from(header.payload_bytes).unwrap()];
        self.stream.read_exact(&mut payload).await.ok()?;
        if let Some(key) = header.mask {
            mask(&mut payload, key);
        }
        Some(Received { fin: header.fin, opcode: header.opcode, payload })
    }

    async fn expect_text(&mut self, text: &str) {
        let received = self.frame().await.expect("a frame");
        assert_eq!((received.opcode, received.payload.as_slice()), (Opcode::Text, text.as_bytes()));
    }

    /// Skips frames until a close frame; gives its code and reason, 1005 for none, 1006 at the end of the stream.
    async fn closed(&mut self) -> (u16, String) {
        while let Some(received) = self.frame().await {
            if received.opcode == Opcode::Close {
                let close = Close::parse(&received.payload).expect("a close frame that may be sent");
                return close.map_or((1005, String::new()), |close| (close.code, close.reason.to_owned()));
            }
        }
        (1006, String::new())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Received {
    fin: bool,
    opcode: Opcode,
    payload: Vec<u8>,
}

fn frame(key: Option<[u8; 4]>, fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header { fin, opcode, mask: key, payload_bytes: payload.len() as u64 }.write(&mut bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut bytes[start..], key);
    }
    bytes
}

fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}
