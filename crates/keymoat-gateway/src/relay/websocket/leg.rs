//! One side of a relay: its stream, what it has not taken yet, and our own frames that wait for a frame boundary.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use keymoat_core::Refusal;
use keymoat_core::record::Side;
use keymoat_core::websocket::frame::write_control;
use keymoat_core::websocket::{Caps, Close, Direction, Flow, Header, Opcode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::End;
use super::buffer::CARRY_BYTES_MAX;
use super::framewise::Coming;

/// How many control frames a peer may send in a second.
const CONTROLS_PER_SECOND_MAX: u32 = 100;
/// How many bytes are read and thrown away of a peer that was sent a close frame and goes on sending.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// What is still expected of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Frames.
    Open,
    /// Nothing after its close frame.
    Closed,
    /// Nothing that could be understood.
    Deaf,
    /// Nothing: its stream is at its end, or failed.
    Ended,
}

/// One side.
///
/// INVARIANT: while `pending` holds bytes nothing is read for this side, so it never holds more than one read and a few
/// control frames; otherwise it is not allocated.
#[derive(Debug)]
pub(super) struct Leg<S> {
    stream: S,
    already_read: Bytes,
    /// What this side sends.
    pub(super) flow: Flow,
    pub(super) reading: Reading,
    /// The start of a header or control frame that has not come whole.
    carry: Vec<u8>,
    /// The message of it that is coming, in a watched direction.
    pub(super) coming: Option<Box<Coming>>,
    /// What its next frame costs, where that had to be asked for.
    pub(super) payment: Option<Box<Payment>>,
    /// What this side has not taken yet, and how much of it has been written since.
    pending: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// Writing to it failed, or was given up.
    pub(super) failed: Option<io::ErrorKind>,
    /// The payload of its latest ping that was not answered.
    pong: Option<Box<[u8]>>,
    pub(super) ping_due: bool,
    /// The payload of the close frame that waits for a frame boundary.
    close: Option<Vec<u8>>,
    /// What it is answered if the other side does not answer its close frame.
    pub(super) answer: Option<Vec<u8>>,
    pub(super) close_sent: bool,
    shut: bool,
    /// How much of it was read only to be thrown away, and the messages and payload bytes in that.
    pub(super) discarded: usize,
    discarded_messages: u64,
    discarded_payload_bytes: u64,
    controls: u32,
    controls_since: Instant,
    /// When something of it was read last.
    pub(super) heard: Instant,
    /// When it was sent a ping that nothing has followed.
    pub(super) pinged: Option<Instant>,
    /// Since when it takes nothing.
    pub(super) stalled: Option<Instant>,
    /// It is not read because the other side is blocked.
    suspended: bool,
}

/// What becomes of the bytes of a frame that is not begun yet.
pub(super) enum Payment {
    /// They are asked for.
    Asked(Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>),
    /// The frame may pass.
    Paid,
}

impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked(_) => "Asked(..)",
            Self::Paid => "Paid",
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Leg<S> {
    pub(super) fn new(end: End<S>, direction: Direction, caps: Caps, now: Instant) -> Self {
        Self {
            stream: end.stream,
            already_read: end.already_read,
            flow: Flow::new(direction, caps),
            reading: Reading::Open,
            carry: Vec::new(),
            coming: None,
            payment: None,
            pending: Vec::new(),
            written: 0,
            unflushed: false,
            failed: None,
            pong: None,
            ping_due: false,
            close: None,
            answer: None,
            close_sent: false,
            shut: false,
            discarded: 0,
            discarded_messages: 0,
            discarded_payload_bytes: 0,
            controls: 0,
            controls_since: now,
            heard: now,
            pinged: None,
            stalled: None,
            suspended: false,
        }
    }

    pub(super) const fn side(&self) -> Side {
        match self.flow.direction() {
            Direction::FromClient => Side::Client,
            Direction::FromUpstream => Side::Upstream,
        }
    }

    /// Waits for the payment of its next frame, if that is asked for. Without `takes_messages` nothing is passed on any
    /// more, and nothing is to be paid.
    pub(super) fn poll_payment(&mut self, cx: &mut Context<'_>, takes_messages: bool) -> Poll<Result<(), Refusal>> {
        let Some(Payment::Asked(grant)) = self.payment.as_deref_mut() else { return Poll::Ready(Ok(())) };
        if takes_messages && let Err(refusal) = ready!(grant.as_mut().poll(cx)) {
            self.payment = None;
            return Poll::Ready(Err(refusal));
        }
        self.payment = Some(Box::new(Payment::Paid));
        Poll::Ready(Ok(()))
    }

    /// Whether the frame that begins is paid for. It is so once.
    pub(super) fn is_paid(&mut self) -> bool {
        self.payment.take_if(|payment| matches!(**payment, Payment::Paid)).is_some()
    }

    /// Reads into `buffer`, behind what was carried over from the last read; gives both, nothing at the end.
    pub(super) fn poll_read<'a>(&mut self, cx: &mut Context<'_>, buffer: &'a mut [u8]) -> Poll<io::Result<&'a [u8]>> {
        let start = CARRY_BYTES_MAX - self.carry.len().min(CARRY_BYTES_MAX);
        let (before, room) = buffer.split_at_mut(CARRY_BYTES_MAX);
        let read = if self.already_read.is_empty() {
            let mut read = ReadBuf::new(room);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            read.filled().len()
        } else {
            let bytes = self.already_read.len().min(room.len());
            self.already_read.copy_to_slice(room.get_mut(..bytes).unwrap_or_default());
            if self.already_read.is_empty() {
                // An empty `Bytes` may still pin the block that it was cut from.
                self.already_read = Bytes::new();
            }
            bytes
        };
        if read == 0 {
            return Poll::Ready(Ok(&[]));
        }
        let carried = std::mem::take(&mut self.carry);
        for (slot, byte) in before.iter_mut().skip(start).zip(carried) {
            *slot = byte;
        }
        Poll::Ready(Ok(buffer.get(start..CARRY_BYTES_MAX + read).unwrap_or_default()))
    }

    /// Keeps the start of something incomplete for the next read.
    pub(super) fn carry(&mut self, rest: &[u8]) {
        debug_assert!(rest.len() < CARRY_BYTES_MAX, "only an incomplete header or control frame is carried");
        self.carry = rest.to_vec();
    }

    /// Puts back what was read too early: it is read again before what comes.
    pub(super) fn unread(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.already_read = [rest, &self.already_read].concat().into();
        }
    }

    /// Whether all that was passed on of it ends where a frame ends. A message that is held has not been passed on.
    pub(super) fn is_passed_to_boundary(&self) -> bool {
        self.flow.at_boundary() || self.is_held()
    }

    /// Whether all that was passed on of it ends where a message ends, and no message waits to be.
    pub(super) fn is_passed_between_messages(&self) -> bool {
        match self.coming.as_deref() {
            None => !self.flow.is_inside_message(),
            Some(Coming::Held(_)) => true,
            Some(Coming::Waiting(_) | Coming::Unwatched) => false,
        }
    }

    fn is_held(&self) -> bool {
        matches!(self.coming.as_deref(), Some(Coming::Held(_)))
    }

    /// Has `frames` of our own sent to it before anything else.
    pub(super) fn send_first(&mut self, frames: Vec<u8>) {
        self.pending = frames;
    }

    /// Ends our use of it. Nothing may be pending.
    pub(super) fn into_end(mut self) -> End<S> {
        let carried = std::mem::take(&mut self.carry);
        self.unread(&carried);
        End { stream: self.stream, already_read: self.already_read }
    }

    /// What of `rest` belongs to the next frame or to the rest of this one, and the header with its length where a data
    /// frame begins. A control frame is not cut off, nor is a faulty one: the flow says what is wrong.
    pub(super) fn next_piece<'a>(&self, rest: &'a [u8]) -> (&'a [u8], Option<(Header, usize)>) {
        let at_boundary = self.flow.at_boundary();
        let start = if at_boundary { Header::parse(rest).ok().flatten() } else { None };
        let start = start.filter(|(header, _)| !header.opcode.is_control());
        let bytes = match &start {
            Some((header, length)) => header.payload_bytes.saturating_add(*length as u64),
            None if at_boundary => u64::MAX,
            None => self.flow.frame_bytes_left(),
        };
        (usize::try_from(bytes).ok().and_then(|bytes| rest.get(..bytes)).unwrap_or(rest), start)
    }

    /// Writes `data` as far as it is taken at once, and keeps the rest.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, now: Instant, data: &[u8]) {
        if self.failed.is_some() || data.is_empty() {
            return;
        }
        let mut rest = data;
        if self.pending.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, data) {
                Poll::Ready(Ok(0)) => return self.give_up(io::ErrorKind::WriteZero),
                Poll::Ready(Ok(taken)) => rest = data.get(taken..).unwrap_or_default(),
                Poll::Ready(Err(error)) => return self.give_up(error.kind()),
                Poll::Pending => {}
            }
            self.unflushed = true;
        }
        if !rest.is_empty() {
            self.stalled.get_or_insert(now);
            self.pending.extend_from_slice(rest);
        }
    }

    /// Writes what is pending and flushes; ready when there is nothing left, also because writing failed.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        while let Some(rest @ [_, ..]) = self.pending.get(self.written..) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => self.give_up(io::ErrorKind::WriteZero),
                Poll::Ready(Ok(taken)) => {
                    self.written += taken;
                    self.unflushed = true;
                    self.stalled = Some(now);
                }
                Poll::Ready(Err(error)) => self.give_up(error.kind()),
                Poll::Pending => {
                    self.stalled.get_or_insert(now);
                    return Poll::Pending;
                }
            }
        }
        if !self.pending.is_empty() {
            self.pending = Vec::new();
            self.written = 0;
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => self.give_up(error.kind()),
                Poll::Pending => {
                    self.stalled.get_or_insert(now);
                    return Poll::Pending;
                }
            }
        }
        self.stalled = None;
        Poll::Ready(())
    }

    /// Writes nothing to it any more.
    pub(super) fn give_up(&mut self, why: io::ErrorKind) {
        self.failed.get_or_insert(why);
        self.pending = Vec::new();
        self.written = 0;
        self.unflushed = false;
        self.stalled = None;
    }

    /// Notes that nothing is read of it while the other side is blocked; its silence does not count meanwhile.
    pub(super) const fn suspend(&mut self) {
        self.suspended = true;
    }

    /// Ends what [`Self::suspend`] began.
    pub(super) const fn resume(&mut self, now: Instant) {
        if self.suspended {
            self.suspended = false;
            self.heard = now;
            self.pinged = None;
        }
    }

    /// Whether messages still go to it.
    pub(super) const fn takes_messages(&self) -> bool {
        !self.close_sent && self.failed.is_none()
    }

    /// Notes that of what it sent, everything counted since `before` went nowhere. Nothing is read of it any more when
    /// it goes on like that for too long.
    pub(super) fn discard(&mut self, bytes: usize, before: (u64, u64)) {
        self.discarded += bytes;
        self.discarded_messages += self.flow.messages() - before.0;
        self.discarded_payload_bytes += self.flow.payload_bytes() - before.1;
        if self.discarded >= DISCARDED_BYTES_MAX {
            self.reading = Reading::Deaf;
        }
    }

    /// Notes that its last message went nowhere.
    pub(super) const fn discard_message(&mut self, payload_bytes: u64) {
        self.discarded_messages += 1;
        self.discarded_payload_bytes += payload_bytes;
    }

    /// Messages and payload bytes of it that were passed on.
    pub(super) const fn passed(&self) -> (u64, u64) {
        let (messages, payload_bytes) = (self.flow.messages(), self.flow.payload_bytes());
        (messages - self.discarded_messages, payload_bytes - self.discarded_payload_bytes)
    }

    /// Counts a control frame of it; false when there are too many.
    pub(super) fn admits_control(&mut self, now: Instant) -> bool {
        if now.duration_since(self.controls_since) >= Duration::from_secs(1) {
            self.controls_since = now;
            self.controls = 0;
        }
        self.controls += 1;
        self.controls <= CONTROLS_PER_SECOND_MAX
    }

    /// Has the latest ping of it answered at the next frame boundary.
    pub(super) fn answer_ping(&mut self, payload: &[u8]) {
        self.pong = Some(payload.into());
    }

    /// Puts a text message of our own, as one frame, before everything that is sent to a client from now on. Nothing
    /// may have been sent to it yet.
    pub(super) fn say(&mut self, text: &str) {
        debug_assert!(self.side() == Side::Client && self.pending.is_empty(), "only a client is told something, first");
        let header = Header { fin: true, opcode: Opcode::Text, mask: None, payload_bytes: text.len() as u64 };
        header.write(&mut self.pending);
        self.pending.extend_from_slice(text.as_bytes());
    }

    /// Has it closed at the next frame boundary; the first close stands.
    pub(super) fn close_with(&mut self, code: u16, reason: &str) {
        self.close_with_payload(Close { code, reason }.payload());
    }

    /// The same with a payload as it stands on the wire.
    pub(super) fn close_with_payload(&mut self, payload: Vec<u8>) {
        if !self.closes() {
            self.close = Some(payload);
        }
    }

    /// Whether a close frame was sent to it or waits to be.
    pub(super) const fn closes(&self) -> bool {
        self.close_sent || self.close.is_some()
    }

    /// Whether frames of our own wait that may be sent at a frame boundary.
    pub(super) const fn has_own(&self) -> bool {
        if self.close_sent || self.failed.is_some() {
            return false;
        }
        // Behind a peer that does not read, pongs would pile up: only the close frame is put there.
        self.close.is_some() || (self.pending.is_empty() && (self.pong.is_some() || self.ping_due))
    }

    /// Sends them. What was sent before must end at a frame boundary.
    pub(super) fn send_own(&mut self, cx: &mut Context<'_>, now: Instant) {
        if !self.has_own() {
            return;
        }
        let mut frames = Vec::new();
        if let Some(payload) = self.close.take() {
            write_control(&mut frames, Opcode::Close, &payload, self.masking_key());
            self.close_sent = true;
        } else {
            if let Some(payload) = self.pong.take() {
                write_control(&mut frames, Opcode::Pong, &payload, self.masking_key());
            }
            if self.ping_due {
                write_control(&mut frames, Opcode::Ping, &[], self.masking_key());
                self.ping_due = false;
                self.pinged = Some(now);
            }
        }
        self.send(cx, now, &frames);
    }

    /// A fresh key for a frame to an upstream, nothing for one to a client (RFC 6455 section 5.3).
    pub(super) fn masking_key(&self) -> Option<[u8; 4]> {
        if self.side() == Side::Client {
            return None;
        }
        let mut key = [0; 4];
        // The key keeps proxies on the way from reading chosen bytes as something else.
        aws_lc_rs::rand::fill(&mut key).expect("the system gives random bytes");
        Some(key)
    }

    /// Whether nothing more is to be exchanged with it, given whether what it was sent ends at a frame boundary for good.
    pub(super) fn is_settled(&self, cut_short: bool) -> bool {
        match self.reading {
            Reading::Ended => true,
            Reading::Open => false,
            Reading::Closed | Reading::Deaf => self.close_sent || self.failed.is_some() || cut_short,
        }
    }

    /// When its silence or its stall has to be looked at next.
    pub(super) fn deadline(&self, patience: &Patience) -> Option<Instant> {
        let stall = self.stalled.map(|since| after(since, patience.write_stall));
        if self.suspended || self.reading != Reading::Open {
            return stall;
        }
        let silence = match self.pinged {
            Some(since) => Some(after(since, patience.pong_wait)),
            None if self.ping_due => None,
            None => Some(after(self.heard, patience.ping_every)),
        };
        match (stall, silence) {
            (Some(stall), Some(silence)) => Some(stall.min(silence)),
            (one, other) => one.or(other),
        }
    }

    /// What is overdue at `now`; a ping that is due is noted.
    pub(super) fn overdue(&mut self, now: Instant, patience: &Patience) -> Option<Overdue> {
        if self.stalled.is_some_and(|since| now >= after(since, patience.write_stall)) {
            return Some(Overdue::Write);
        }
        if self.suspended || self.reading != Reading::Open {
            return None;
        }
        match self.pinged {
            Some(since) if now >= after(since, patience.pong_wait) => return Some(Overdue::Pong),
            None if now >= after(self.heard, patience.ping_every) => self.ping_due = true,
            _ => {}
        }
        None
    }

    /// Notes that bytes of it were read.
    pub(super) const fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
        self.ping_due = false;
    }

    /// Shuts the stream down, then reads what may still come of a peer that has not closed: a socket that is closed
    /// with unread bytes resets the connection, and the close frame with it.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>, now: Instant, buffer: &mut [u8]) -> Poll<()> {
        ready!(self.poll_drain(cx, now));
        if !self.shut {
            // A failure leaves nothing to do but to let go of the stream.
            let result = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
            self.shut = true;
            if result.is_err() {
                self.reading = Reading::Ended;
            }
        }
        while matches!(self.reading, Reading::Open | Reading::Deaf) && self.discarded < DISCARDED_BYTES_MAX {
            match ready!(self.poll_read(cx, buffer)) {
                Ok([]) | Err(_) => self.reading = Reading::Ended,
                Ok(bytes) => self.discarded += bytes.len(),
            }
        }
        Poll::Ready(())
    }

    #[cfg(test)]
    pub(super) const fn pending_bytes(&self) -> usize {
        self.pending.capacity()
    }
}

/// How long a side may stall, and be silent before and after a ping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) write_stall: Duration,
    pub(super) ping_every: Duration,
    pub(super) pong_wait: Duration,
}

/// What a side has failed to do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It does not read.
    Write,
    /// It does not answer a ping, nor send anything else.
    Pong,
}

/// `since` plus `wait`, held at a time that never comes.
pub(super) fn after(since: Instant, wait: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    since + wait.min(NEVER)
}
