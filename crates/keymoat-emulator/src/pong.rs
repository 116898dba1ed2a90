//! A stream that holds WebSocket pongs back, because a real provider's pongs can take many seconds.
//!
//! ```text
//! tungstenite ── frames ──▶ split ──┬─ others ─────────────▶ ready ──▶ socket
//!                                   └─ pongs ─▶ held, due ──────▲
//! ```

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// More pongs than this are dropped, the oldest first: RFC 6455 section 5.5.3 asks for the latest only.
const HELD_MAX: usize = 16;
/// Writing waits while this much is not sent yet.
const READY_MAX: usize = 256 * 1024;
const PONG: u8 = 0x0a;

/// Passes everything through, but writes pong frames only after a delay.
pub(crate) struct DelayedPongs<S> {
    stream: S,
    delay: Duration,
    unsplit: BytesMut,
    ready: BytesMut,
    held: VecDeque<(Instant, Bytes)>,
    timer: Pin<Box<Sleep>>,
}

impl<S> DelayedPongs<S> {
    pub(crate) fn new(stream: S, delay: Duration) -> Self {
        let timer = Box::pin(sleep_until(Instant::now()));
        Self { stream, delay, unsplit: BytesMut::new(), ready: BytesMut::new(), held: VecDeque::new(), timer }
    }

    /// Moves every complete frame on: pongs to `held`, others to `ready`.
    fn split(&mut self) {
        while let Some(length) = frame_length(&self.unsplit) {
            let frame = self.unsplit.split_to(length).freeze();
            if frame.first().is_none_or(|first| first & 0x0f != PONG) {
                self.ready.extend_from_slice(&frame);
                continue;
            }
            if self.held.len() >= HELD_MAX {
                self.held.pop_front();
            }
            self.held.push_back((Instant::now() + self.delay, frame));
        }
    }

    /// Moves due pongs to `ready` and asks to be woken for the next.
    fn release(&mut self, context: &mut Context<'_>) {
        while let Some((due, _)) = self.held.front() {
            self.timer.as_mut().reset(*due);
            if self.timer.as_mut().poll(context).is_pending() {
                return;
            }
            if let Some((_, frame)) = self.held.pop_front() {
                self.ready.extend_from_slice(&frame);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> DelayedPongs<S> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ready.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.ready))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.ready.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for DelayedPongs<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.held.is_empty() {
            this.release(context);
            if let Poll::Ready(drained) = this.poll_drain(context) {
                drained?;
            }
        }
        Pin::new(&mut this.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for DelayedPongs<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.delay.is_zero() {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        }
        if this.ready.len() >= READY_MAX {
            ready!(this.poll_drain(context))?;
        }
        this.unsplit.extend_from_slice(bytes);
        this.split();
        if let Poll::Ready(drained) = this.poll_drain(context) {
            drained?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

/// The length of the frame at the start of `bytes`, if all of it is there. A server's frames are not masked
/// (RFC 6455 section 5.2).
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let payload = match *bytes.get(1)? & 0x7f {
        126 => 4 + usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        127 => usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?.checked_add(10)?,
        short => 2 + usize::from(short),
    };
    (bytes.len() >= payload).then_some(payload)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn measures_short_long_and_unfinished_frames() {
        assert_eq!(frame_length(&[0x8a, 0x02, 1, 2, 9]), Some(4));
        assert_eq!(frame_length(&[0x8a, 0x02, 1]), None);
        let mut long = vec![0x82, 126, 1, 0];
        long.resize(4 + 256, 0);
        assert_eq!(frame_length(&long), Some(260));
        assert_eq!(frame_length(&[]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pong_is_late_and_a_message_is_not() {
        let (near, mut far) = duplex(1024);
        let mut stream = DelayedPongs::new(near, Duration::from_secs(8));
        let began = Instant::now();
        stream.write_all(&[0x8a, 0x01, b'p', 0x81, 0x01, b'm']).await.expect("the duplex is open");
        let mut message = [0; 3];
        far.read_exact(&mut message).await.expect("the message is there");
        assert_eq!((message, began.elapsed()), ([0x81, 0x01, b'm'], Duration::ZERO));
        let reading = tokio::spawn(async move { stream.read_u8().await });
        far.read_exact(&mut message).await.expect("the pong comes");
        assert_eq!((message, began.elapsed()), ([0x8a, 0x01, b'p'], Duration::from_secs(8)));
        reading.abort();
    }
}
