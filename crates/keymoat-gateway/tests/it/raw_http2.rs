//! A client that writes raw HTTP/2 frames (RFC 9113 section 4.1) with uncompressed fields (RFC 7541).

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::stand::Stand;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A length with a prefix of seven bits (RFC 7541 section 5.1).
pub(crate) fn length(mut length: usize) -> Vec<u8> {
    if length < 127 {
        return vec![u8::try_from(length).expect("short")];
    }
    let mut bytes = vec![127];
    length -= 127;
    while length >= 128 {
        bytes.push(u8::try_from(length % 128).expect("seven bits") | 0x80);
        length /= 128;
    }
    bytes.push(u8::try_from(length).expect("seven bits"));
    bytes
}

/// Literal fields that are not put into the table (RFC 7541 section 6.2.2).
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        block.extend(length(name.len()));
        block.extend(name.as_bytes());
        block.extend(length(value.len()));
        block.extend(value.as_bytes());
    }
    block
}

pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(stand: &Stand) -> Self {
        let mut stream = stand.connect();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).expect("sent");
        Self { stream }
    }

    /// Sends bytes; the gateway may have closed by then.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// What comes up to the answer to a ping, or to the end of the connection.
    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        self.send(&frame(PING, 0, 0, b"barrier!"));
        let mut frames = Vec::new();
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).is_err() {
                return frames;
            }
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            if self.stream.read_exact(&mut payload).is_err() {
                return frames;
            }
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if head[3] == PING && head[4] & ACK != 0 {
                return frames;
            }
            frames.push(Frame { kind: head[3], flags: head[4], stream, payload });
        }
    }

    /// What comes up to the end of stream 1, whole or reset, or of the connection.
    pub(crate) fn answer(&mut self) -> Vec<Frame> {
        let ended = |frame: &Frame| {
            let over = frame.kind == RESET || matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            frame.kind == GO_AWAY || frame.stream == 1 && over
        };
        let mut all = Vec::new();
        for _ in 0..1000 {
            let frames = self.frames();
            if frames.iter().any(ended) {
                all.extend(frames);
                return all;
            }
            all.extend(frames);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        panic!("no answer came");
    }
}

pub(crate) fn good<'a>(path: &'a str, key: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", path), ("x-api-key", key)]
}
