//! Passes one read on frame by frame, where frames are counted before they pass or whole messages are watched.
//!
//! A watched message is held until its last byte is there; then the watcher says what becomes of it. What came in one
//! frame and one read goes on as those very bytes, everything else in one frame of our own. An upstream's message that
//! is too large to hold a resumption handle is not held: it passes as it comes.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use keymoat_core::record::Side;
use keymoat_core::websocket::frame::mask;
use keymoat_core::websocket::{Header, Opcode, Step};
use tokio::time::Instant;

use super::first::Message;
use super::leg::{Leg, Reading};
use super::pump::{Io, Session, deliver};
use super::watcher::Verdict;

/// A larger message of an upstream holds no resumption handle, and is not watched.
const UPSTREAM_WATCHED_MAX: u64 = 16 << 10;

/// The message that is coming, in a watched direction.
#[derive(Debug)]
pub(super) enum Coming {
    /// It is held until it is whole.
    Held(Held),
    /// It is whole, and goes on once something is kept.
    Waiting(Waiting),
    /// It passes unwatched.
    Unwatched,
}

/// A message that has not come whole, unmasked.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How it began.
    opcode: Option<Opcode>,
    payload: Vec<u8>,
    /// The mask of the frame that is coming, turned to its next byte.
    key: [u8; 4],
}

/// A message that may go on once something is kept.
pub(super) struct Waiting {
    kept: Pin<Box<dyn Future<Output = ()> + Send>>,
    frame: Vec<u8>,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("frame_bytes", &self.frame.len()).finish_non_exhaustive()
    }
}

/// How a message came.
enum Came<'a> {
    /// In one frame, which is whole in this read.
    Frame { opcode: Opcode, frame: &'a [u8] },
    /// In pieces.
    Held(Message),
}

/// Passes one read on, control frames taken out.
pub(super) fn pass<A: Io, B: Io>(
    from: &mut Leg<A>,
    to: &mut Leg<B>,
    session: &mut Session<'_>,
    cx: &mut Context<'_>,
    bytes: &[u8],
) {
    let mut rest = bytes;
    while from.reading == Reading::Open {
        if matches!(from.coming.as_deref(), Some(Coming::Waiting(_))) {
            return from.unread(rest);
        }
        let (piece, start) = from.next_piece(rest);
        if let Some((header, _)) = &start {
            match session.admit(from, to, header) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(refusal)) => return session.refuse(from, to, &refusal, cx),
                Poll::Pending => return from.unread(rest),
            }
        }
        let before = (from.flow.messages(), from.flow.payload_bytes());
        let taken = match from.flow.advance(piece) {
            Ok(Step::Forward { bytes, .. }) if !to.takes_messages() => {
                from.coming = None;
                from.discard(bytes, before);
                bytes
            }
            Ok(Step::Forward { bytes, boundary }) => {
                session.traffic = session.now;
                let unwatched = matches!(from.coming.as_deref(), Some(Coming::Unwatched));
                if session.watches(from.flow.direction()) && !unwatched {
                    watch(from, to, session, cx, piece, start, before.0);
                } else {
                    deliver(to, session.now, cx, piece, boundary);
                }
                if !from.flow.is_inside_message() {
                    from.coming.take_if(|coming| matches!(**coming, Coming::Unwatched));
                    if from.side() == Side::Upstream {
                        session.send_notice(to, from, cx);
                    }
                }
                bytes
            }
            Ok(Step::Control { bytes, control }) => {
                session.take_control(from, to, &control, rest.get(..bytes).unwrap_or_default(), cx);
                bytes
            }
            Ok(Step::Incomplete) => return from.carry(rest),
            Err(error) => return session.frame_fault(from, to, error),
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
}

/// Sends a message that waited for something to be kept; false while it waits.
pub(super) fn send_waiting<A: Io, B: Io>(
    from: &mut Leg<A>,
    to: &mut Leg<B>,
    now: Instant,
    cx: &mut Context<'_>,
) -> bool {
    let Some(Coming::Waiting(waiting)) = from.coming.as_deref_mut() else { return true };
    if waiting.kept.as_mut().poll(cx).is_pending() {
        return false;
    }
    if to.takes_messages() {
        deliver(to, now, cx, &waiting.frame, Some(waiting.frame.len()));
    }
    from.coming = None;
    to.poll_drain(cx, now).is_ready()
}

/// Takes in a piece of a watched message, and asks about it once it is whole.
fn watch<A: Io, B: Io>(
    from: &mut Leg<A>,
    to: &mut Leg<B>,
    session: &mut Session<'_>,
    cx: &mut Context<'_>,
    piece: &[u8],
    start: Option<(Header, usize)>,
    messages_before: u64,
) {
    let ended = from.flow.messages() > messages_before;
    if let Some((header, length)) = start {
        let held_bytes = held(from).map_or(0, |held| held.payload.len() as u64);
        if from.side() == Side::Upstream && held_bytes + header.payload_bytes > UPSTREAM_WATCHED_MAX {
            return stop_watching(from, to, session, cx, piece);
        }
        if ended && header.opcode != Opcode::Continuation {
            let message = unmasked(piece.get(length..).unwrap_or_default(), header.mask);
            let verdict = session.ask(from.flow.direction(), &message);
            return conclude(from, to, session, cx, verdict, Came::Frame { opcode: header.opcode, frame: piece });
        }
        if from.coming.is_none() {
            from.coming = Some(Box::new(Coming::Held(Held::default())));
        }
    }
    if let Some(held) = held(from) {
        held.push(piece, start);
    }
    if ended && let Some(Coming::Held(held)) = from.coming.take().map(|coming| *coming) {
        let message = held.into_message();
        let verdict = session.ask(from.flow.direction(), &message.payload);
        conclude(from, to, session, cx, verdict, Came::Held(message));
    }
}

/// Lets an upstream's message pass that turns out too large, from what is held of it on.
fn stop_watching<A: Io, B: Io>(
    from: &mut Leg<A>,
    to: &mut Leg<B>,
    session: &mut Session<'_>,
    cx: &mut Context<'_>,
    piece: &[u8],
) {
    if let Some(Coming::Held(held)) = from.coming.take().map(|coming| *coming) {
        let message = held.into_message();
        let first = frame_for(to, message.opcode, false, &message.payload);
        deliver(to, session.now, cx, &first, Some(first.len()));
    }
    from.coming = Some(Box::new(Coming::Unwatched));
    let boundary = if from.flow.at_boundary() { piece.len() } else { 0 };
    deliver(to, session.now, cx, piece, Some(boundary));
}

fn held<A: Io>(from: &mut Leg<A>) -> Option<&mut Held> {
    match from.coming.as_deref_mut() {
        Some(Coming::Held(held)) => Some(held),
        Some(Coming::Waiting(_) | Coming::Unwatched) | None => None,
    }
}

fn conclude<A: Io, B: Io>(
    from: &mut Leg<A>,
    to: &mut Leg<B>,
    session: &mut Session<'_>,
    cx: &mut Context<'_>,
    verdict: Verdict,
    came: Came<'_>,
) {
    let frame = match verdict {
        Verdict::Pass => came.frame(to),
        Verdict::Forward(message) => Cow::Owned(frame_for(to, came.opcode(), true, &message)),
        Verdict::PassAfter(kept) => {
            let frame = came.frame(to).into_owned();
            from.coming = Some(Box::new(Coming::Waiting(Waiting { kept, frame })));
            return;
        }
        Verdict::Close(refusal) => {
            from.discard_message(came.payload_bytes());
            return session.refuse(from, to, &refusal, cx);
        }
    };
    deliver(to, session.now, cx, &frame, Some(frame.len()));
}

impl Held {
    /// Takes in a piece of a frame, with its header where it begins with one.
    pub(super) fn push(&mut self, piece: &[u8], start: Option<(Header, usize)>) {
        let payload = match start {
            Some((header, length)) => {
                self.opcode.get_or_insert(header.opcode);
                self.key = header.mask.unwrap_or_default();
                piece.get(length..).unwrap_or_default()
            }
            None => piece,
        };
        let already = self.payload.len();
        self.payload.extend_from_slice(payload);
        if let Some(pushed) = self.payload.get_mut(already..) {
            mask(pushed, self.key);
        }
        self.key.rotate_left(payload.len() % 4);
    }

    /// The message, once it is whole.
    pub(super) fn into_message(self) -> Message {
        Message { opcode: self.opcode.unwrap_or(Opcode::Binary), payload: self.payload }
    }
}

impl<'a> Came<'a> {
    const fn opcode(&self) -> Opcode {
        match self {
            Self::Frame { opcode, .. } => *opcode,
            Self::Held(message) => message.opcode,
        }
    }

    fn payload_bytes(&self) -> u64 {
        match self {
            Self::Frame { frame, .. } => {
                Header::parse(frame).ok().flatten().map_or(0, |(header, _)| header.payload_bytes)
            }
            Self::Held(message) => message.payload.len() as u64,
        }
    }

    /// The message as it goes on.
    fn frame<B: Io>(self, to: &Leg<B>) -> Cow<'a, [u8]> {
        match self {
            Self::Frame { frame, .. } => Cow::Borrowed(frame),
            Self::Held(message) => Cow::Owned(frame_for(to, message.opcode, true, &message.payload)),
        }
    }
}

fn unmasked(payload: &[u8], key: Option<[u8; 4]>) -> Cow<'_, [u8]> {
    let Some(key) = key else { return Cow::Borrowed(payload) };
    let mut message = payload.to_vec();
    mask(&mut message, key);
    Cow::Owned(message)
}

/// One frame of our own for `to`.
pub(super) fn frame_for<B: Io>(to: &Leg<B>, opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let key = to.masking_key();
    let mut frame = Vec::with_capacity(payload.len() + keymoat_core::websocket::frame::HEADER_BYTES_MAX);
    Header { fin, opcode, mask: key, payload_bytes: payload.len() as u64 }.write(&mut frame);
    let start = frame.len();
    frame.extend_from_slice(payload);
    if let (Some(key), Some(written)) = (key, frame.get_mut(start..)) {
        mask(written, key);
    }
    frame
}
