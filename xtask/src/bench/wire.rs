//! As much of HTTP/1.1 and of WebSocket frames as a measurement needs; the masks are zero, so that nothing is computed.

use std::ops::Range;

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The opcode of a close frame.
pub(crate) const CLOSE: u8 = 8;
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Reads one head; what came behind it stays in `bytes`. Nothing at the end of the stream.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<Option<String>> {
    loop {
        if let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") {
            let head = bytes.drain(..end + 4).collect();
            return Ok(Some(String::from_utf8(head)?));
        }
        ensure!(bytes.len() < HEAD_BYTES_MAX, "a head is too long");
        if stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// The value of the header `name` in `head`.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// A masked binary frame of `payload_bytes`, as a client sends it.
pub(crate) fn message(payload_bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u16::try_from(payload_bytes) {
        Ok(short @ ..126) => frame.push(0x80 | short as u8),
        Ok(length) => frame.extend([&[0x80 | 126], length.to_be_bytes().as_slice()].concat()),
        Err(_) => frame.extend([&[0x80 | 127], (payload_bytes as u64).to_be_bytes().as_slice()].concat()),
    }
    frame.resize(frame.len() + 4 + payload_bytes, 0);
    frame
}

/// Where the payload of the first frame in `bytes` is, if it is there whole and masked.
pub(crate) fn client_frame(bytes: &[u8]) -> Option<Range<usize>> {
    let (length, header) = match bytes.get(1)? & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let payload = header + 4..header + 4 + length;
    (bytes.len() >= payload.end).then_some(payload)
}

/// Makes `frame` the same frame without its mask.
pub(crate) fn server_frame(bytes: &[u8], payload: &Range<usize>, frame: &mut Vec<u8>) {
    frame.clear();
    frame.extend_from_slice(bytes.get(..payload.start - 4).unwrap_or_default());
    if let Some(length) = frame.get_mut(1) {
        *length &= 0x7f;
    }
    frame.extend_from_slice(bytes.get(payload.clone()).unwrap_or_default());
}

/// How long a frame of `payload_bytes` from a server is.
pub(crate) fn server_frame_bytes(payload_bytes: usize) -> usize {
    message(payload_bytes).len() - 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_form_are_found_again() {
        for payload_bytes in [0, 125, 126, 4096, 70_000] {
            let sent = message(payload_bytes);
            let payload = client_frame(&sent).expect("whole");
            assert_eq!((payload.len(), payload.end), (payload_bytes, sent.len()));
            assert_eq!(client_frame(&sent[..sent.len() - 1]), None);
            let mut echoed = Vec::new();
            server_frame(&sent, &payload, &mut echoed);
            assert_eq!(echoed.len(), server_frame_bytes(payload_bytes));
        }
    }

    #[test]
    fn a_header_is_found_whatever_its_case() {
        let head = "GET / HTTP/1.1\r\nSec-WebSocket-Key:  abc\r\n\r\n";
        assert_eq!(header(head, "sec-websocket-key"), Some("abc"));
        assert_eq!(header(head, "host"), None);
    }
}
