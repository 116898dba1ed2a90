//! Stands between a client's stream and hyper's HTTP/1 parser and shows hyper only what the gate lets through.
//!
//! - What goes through stays where it was read, in hyper's own buffer. Only the bytes of an incomplete head (or of
//!   incomplete trailers) are kept aside until the rest came.
//! - A refused head is replaced by a fixed one of our own, and nothing after it is read. The service meets it as a
//!   request like any other, is told by [`GateSignal::next_request`] that it must refuse it, and hyper writes the
//!   answers in the order of the requests.
//! - A broken body is an error of the read, so that nobody takes it for a body that ended.
//! - Behind a WebSocket upgrade nothing is read before [`GateSignal::tunnel`].
//!
//! The parser behind it needs a buffer of at least 25 KiB (`max_buf_size`), because heads come whole.

mod signal;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use keymoat_core::gate::{Gate, GateError, Limits, Step};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

pub use signal::{GateSignal, Passed};

/// What hyper parses in place of a refused head. It is never served: the service asks the signal first.
const REPLACEMENT: &[u8] = b"GET / HTTP/1.1\r\nhost: gate.invalid\r\nconnection: close\r\n\r\n";

/// How much more of a head is read at once while its beginning is kept aside.
const FILL_BYTES: usize = 4096;

/// After a refusal, what the client goes on sending is thrown away up to here, so that it can read the answer: closing
/// with unread bytes would reset the connection.
const LINGER_BYTES_MAX: usize = 256 << 10;

/// How long it may go on sending.
const LINGER: Duration = Duration::from_secs(2);

/// A client's stream behind a gate.
pub struct Gated<S> {
    io: S,
    gate: Gate,
    /// Bytes that were read and not given to hyper: first `ready` ones that may go on, then the rest.
    held: Vec<u8>,
    ready: usize,
    phase: Phase,
    signal: GateSignal,
    head_time: Duration,
    /// When the head that has begun must be complete, with its number.
    deadline: Option<(u64, Pin<Box<Sleep>>)>,
    linger: Option<Linger>,
}

#[derive(Debug)]
enum Phase {
    /// The first bytes were read by the owner and not judged yet.
    Unjudged,
    Reading,
    /// A head was refused, and so much of the replacement was given to hyper.
    Replaced(usize),
    Broken(GateError),
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> Gated<S> {
    /// Puts a gate in front of `io`, of which the owner has read `first` already (to look for the HTTP/2 preface).
    /// A head may take `head_time` from its first byte to its end.
    pub fn new(io: S, first: Vec<u8>, limits: Limits, head_time: Duration) -> Self {
        Self {
            io,
            gate: Gate::new(limits),
            held: first,
            ready: 0,
            phase: Phase::Unjudged,
            signal: GateSignal::default(),
            head_time,
            deadline: None,
            linger: None,
        }
    }

    /// The handle by which the service of this connection hears from the gate.
    #[must_use]
    pub fn signal(&self) -> GateSignal {
        self.signal.clone()
    }

    /// Takes the stream back after an upgrade, with the bytes that were read from it and went nowhere.
    #[must_use]
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.io, self.held)
    }

    /// Judges `input`, tells the signal, and returns how many bytes may go on. The caller keeps the rest.
    fn judge(&mut self, input: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(rest) = input.get(passed..).filter(|rest| !rest.is_empty()) {
            match self.gate.step(rest) {
                Step::Pass(length) => passed += length,
                Step::More | Step::Hold => break,
                Step::Reject(error) => {
                    self.reject(error);
                    break;
                }
                Step::Abort(error) => {
                    self.signal.set_broken(self.gate.heads(), error);
                    self.phase = Phase::Broken(error);
                    break;
                }
            }
        }
        if self.gate.is_waiting() {
            self.signal.set_upgrade(self.gate.heads());
        }
        self.set_deadline();
        passed
    }

    fn reject(&mut self, error: GateError) {
        self.signal.set_rejected(self.gate.heads() + 1, error);
        self.phase = Phase::Replaced(0);
    }

    fn set_deadline(&mut self) {
        let head = self.gate.heads();
        match &self.deadline {
            _ if !self.gate.is_mid_head() => self.deadline = None,
            Some((number, _)) if *number == head => {}
            _ => self.deadline = Some((head, Box::pin(sleep_until(Instant::now() + self.head_time)))),
        }
    }

    /// Judges what is held, after its unready part grew.
    fn judge_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        self.ready = self.judge(&held);
        if !matches!(self.phase, Phase::Reading) {
            held.truncate(self.ready);
        }
        self.held = held;
    }

    /// Gives hyper bytes that may go on.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.ready.min(buf.remaining());
        buf.put_slice(self.held.get(..length).unwrap_or_default());
        self.held.drain(..length);
        self.ready -= length;
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Gated<S> {
    /// Reads into hyper's buffer and judges in place. Returns whether hyper has anything to do: bytes or the end.
    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let passed = self.judge(fresh);
        if matches!(self.phase, Phase::Reading) {
            self.held.extend_from_slice(fresh.get(passed..).unwrap_or_default());
        }
        buf.set_filled(before + passed);
        Poll::Ready(Ok(passed > 0))
    }

    /// Reads more of what is held back. Returns whether the stream has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.held.reserve(FILL_BYTES);
        let filled = pin!(self.io.read_buf(&mut self.held)).poll(cx);
        if let Poll::Ready(read) = filled {
            if read? == 0 {
                return Poll::Ready(Ok(true));
            }
            self.judge_held();
            return Poll::Ready(Ok(false));
        }
        // Asked only when the socket is empty: a head that lies there complete is in time, whenever hyper reads it.
        let Some((_, deadline)) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(cx));
        self.gate.expire();
        self.deadline = None;
        self.held = Vec::new();
        self.reject(GateError::HeadTimeout);
        Poll::Ready(Ok(false))
    }

    /// Throws away what a refused client goes on sending, for a while.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            until: Box::pin(sleep_until(Instant::now() + LINGER)),
            bytes_left: LINGER_BYTES_MAX,
        });
        while linger.bytes_left > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut scratch = [0; 2048];
            let mut scratch = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut scratch)) {
                Ok(()) if !scratch.filled().is_empty() => {
                    linger.bytes_left = linger.bytes_left.saturating_sub(scratch.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.ready > 0 {
                this.give(buf);
                return Poll::Ready(Ok(()));
            }
            match &mut this.phase {
                Phase::Unjudged => {
                    this.phase = Phase::Reading;
                    this.judge_held();
                    continue;
                }
                Phase::Reading => {}
                Phase::Replaced(given) => {
                    let rest = REPLACEMENT.get(*given..).unwrap_or_default();
                    if rest.is_empty() {
                        // Not the end: hyper would take that for a client that left, and drop the answer.
                        return Poll::Pending;
                    }
                    let length = rest.len().min(buf.remaining());
                    buf.put_slice(rest.get(..length).unwrap_or_default());
                    *given += length;
                    return Poll::Ready(Ok(()));
                }
                Phase::Broken(error) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, *error))),
            }
            if this.gate.is_waiting() {
                ready!(this.signal.poll_tunnel(cx));
                this.gate.open();
                this.ready = this.held.len();
                continue;
            }
            if this.held.is_empty() {
                if ready!(this.poll_direct(cx, buf))? {
                    return Poll::Ready(Ok(()));
                }
            } else if ready!(this.poll_fill(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Ends the stream to the client. If the gate stopped reading, or a body was not read to its end, what the client
    /// still sends is thrown away, at most 256 KiB and two seconds of it, so that the answer reaches it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        let stopped = matches!(this.phase, Phase::Replaced(_) | Phase::Broken(_));
        if stopped || this.gate.is_waiting() || this.gate.is_mid_body() {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: fmt::Debug> fmt::Debug for Gated<S> {
    /// Shows how much is held but not what: the beginning of a head can hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated")
            .field("io", &self.io)
            .field("gate", &self.gate)
            .field("phase", &self.phase)
            .field("held_bytes", &self.held.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

    fn pair() -> (DuplexStream, Gated<DuplexStream>) {
        let (client, server) = duplex(64 << 10);
        (client, Gated::new(server, Vec::new(), Limits::default(), Duration::from_secs(10)))
    }

    /// Reads what is there now; `None` if the reader would wait.
    async fn now(gated: &mut Gated<DuplexStream>) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 32 << 10];
        let read = tokio::time::timeout(Duration::from_millis(1), gated.read(&mut bytes)).await.ok()?.unwrap();
        bytes.truncate(read);
        Some(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_comes_whole_and_a_body_as_it_comes() {
        let (mut client, mut gated) = pair();
        for byte in b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r" {
            client.write_all(&[*byte]).await.unwrap();
            assert_eq!(now(&mut gated).await, None);
        }
        client.write_all(b"\nhe").await.unwrap();
        assert!(now(&mut gated).await.unwrap().ends_with(b"\r\n\r\nhe"));
        client.write_all(b"l").await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), b"l");
        client.write_all(&[b"lo", GET, b"GET"].concat()).await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), [b"lo", GET].concat());
        assert_eq!(now(&mut gated).await, None);
        drop(client);
        assert_eq!(now(&mut gated).await.unwrap(), b"", "half a head and the end is an end");
    }

    #[tokio::test(start_paused = true)]
    async fn shows_nothing_of_what_it_holds() {
        let (mut client, mut gated) = pair();
        client.write_all(b"GET / HTTP/1.1\r\nX-Api-Key: hunter2").await.unwrap();
        assert_eq!(now(&mut gated).await, None);
        // The test's own stream shows its buffer, which is empty.
        let hidden = format!("{:?}", b"hunter2".to_vec());
        let shown = format!("{gated:?}");
        assert!(shown.contains("held_bytes: 34"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains(hidden.trim_matches(['[', ']'])), "{shown}");
    }

    #[tokio::test(start_paused = true)]
    async fn judges_what_the_owner_has_read_first() {
        let (mut client, server) = duplex(1024);
        let mut gated = Gated::new(server, GET[..7].to_vec(), Limits::default(), Duration::from_secs(10));
        client.write_all(&GET[7..]).await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), GET);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_a_large_head_to_a_small_buffer() {
        let (mut client, mut gated) = pair();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(9000));
        client.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < head.len() {
            let mut bytes = [0; 1000];
            let read = gated.read(&mut bytes).await.unwrap();
            seen.extend_from_slice(&bytes[..read]);
        }
        assert_eq!(seen, head.as_bytes());
        assert_eq!(gated.held.capacity(), 0, "an idle connection keeps no buffer");
    }

    #[tokio::test(start_paused = true)]
    async fn replaces_a_refused_head_and_reads_nothing_more() {
        let (mut client, mut gated) = pair();
        let signal = gated.signal();
        client.write_all(&[GET, b"GET / HTTP/1.1\r\n\r\n", GET].concat()).await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), GET);
        assert_eq!(now(&mut gated).await.unwrap(), REPLACEMENT);
        assert_eq!(now(&mut gated).await, None);
        assert_eq!(signal.next_request(), Ok(Passed::Request));
        assert_eq!(signal.next_request(), Err(GateError::HostMissing));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_body_is_an_error_and_not_an_end() {
        let (mut client, mut gated) = pair();
        let signal = gated.signal();
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n")
            .await
            .unwrap();
        assert!(now(&mut gated).await.unwrap().ends_with(b"hello"));
        let error = gated.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(signal.body_error(), None, "the service has not come to this request");
        assert_eq!(signal.next_request(), Ok(Passed::Request));
        assert_eq!(signal.body_error(), Some(GateError::ChunkLineEnd));
    }

    #[tokio::test(start_paused = true)]
    async fn reads_nothing_behind_an_upgrade_before_the_tunnel() {
        let (mut client, mut gated) = pair();
        let signal = gated.signal();
        client.write_all(&[UPGRADE, GET].concat()).await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), UPGRADE);
        assert_eq!(signal.next_request(), Ok(Passed::Upgrade));
        client.write_all(b"later").await.unwrap();
        assert_eq!(now(&mut gated).await, None);
        signal.tunnel();
        assert_eq!(now(&mut gated).await.unwrap(), GET);
        assert_eq!(now(&mut gated).await.unwrap(), b"later");
    }

    #[tokio::test(start_paused = true)]
    async fn gives_back_the_stream_and_what_went_nowhere() {
        let (mut client, mut gated) = pair();
        client.write_all(&[UPGRADE, b"early"].concat()).await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), UPGRADE);
        client.write_all(b"later").await.unwrap();
        let (mut io, left) = gated.into_parts();
        assert_eq!(left, b"early");
        let mut bytes = [0; 5];
        io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"later");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_a_deadline_from_its_first_byte() {
        let (mut client, mut gated) = pair();
        let signal = gated.signal();
        client.write_all(GET).await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), GET);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(now(&mut gated).await, None, "waiting for a head has no deadline here");
        for byte in &GET[..9] {
            client.write_all(&[*byte]).await.unwrap();
            assert_eq!(now(&mut gated).await, None);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(now(&mut gated).await, None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(now(&mut gated).await.unwrap(), REPLACEMENT);
        assert_eq!(signal.next_request(), Ok(Passed::Request));
        assert_eq!(signal.next_request(), Err(GateError::HeadTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_lies_in_the_socket_is_in_time() {
        let (mut client, mut gated) = pair();
        client.write_all(&GET[..9]).await.unwrap();
        assert_eq!(now(&mut gated).await, None);
        client.write_all(&GET[9..]).await.unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(now(&mut gated).await.unwrap(), GET);
    }

    #[tokio::test(start_paused = true)]
    async fn lingers_after_a_refusal_but_not_for_ever() {
        let (mut client, mut gated) = pair();
        client.write_all(b"\r\n").await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), REPLACEMENT);
        let begin = Instant::now();
        gated.shutdown().await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), LINGER.as_secs(), "a client that never closes");

        let (mut client, mut gated) = pair();
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await.unwrap();
        assert!(now(&mut gated).await.unwrap().ends_with(b"he"));
        let begin = Instant::now();
        gated.shutdown().await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), LINGER.as_secs(), "a client that has not sent all of its body");

        let (mut client, mut gated) = pair();
        client.write_all(GET).await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), GET);
        let begin = Instant::now();
        gated.shutdown().await.unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO, "nothing more is expected");

        let (mut client, mut gated) = pair();
        client.write_all(b"\r\n").await.unwrap();
        assert_eq!(now(&mut gated).await.unwrap(), REPLACEMENT);
        let flood = tokio::spawn(async move { while client.write_all(&[0; 1024]).await.is_ok() {} });
        let begin = Instant::now();
        gated.shutdown().await.unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO, "a client that never stops");
        drop(gated);
        flood.await.unwrap();
    }
}
