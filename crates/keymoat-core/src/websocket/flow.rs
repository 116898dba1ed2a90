//! The flow of one direction of a WebSocket: tells what of each read is passed on and what is for us.
//!
//! ```text
//!            ┌────────── text / binary without FIN ──────────┐
//!   between messages                                      inside a message ──┐ continuation
//!            └────────────── continuation with FIN ──────────┘             ◀─┘ without FIN
//! ```
//! Control frames may stand in both states, never inside a frame. Payloads of data frames are only counted.

use super::frame::{self, CONTROL_BYTES_MAX, FrameError, Header, Opcode};

/// One message may come in this many frames: 16 MiB in pieces of 64 bytes.
pub const FRAGMENTS_MAX: u32 = 1 << 18;
/// One message may hold this many empty frames.
pub const EMPTY_FRAGMENTS_MAX: u32 = 1024;

/// Who sends, and thereby whether frames are masked (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Masked frames of a client.
    FromClient,
    /// Plain frames of a server.
    FromUpstream,
}

/// How much one frame and one message may hold, in bytes of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// One frame.
    pub frame_bytes_max: u64,
    /// One message, over all its frames.
    pub message_bytes_max: u64,
}

/// What to do with the first bytes of those handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first `bytes` bytes, at least one, go on as they are.
    Forward {
        /// How many.
        bytes: usize,
        /// The last place among them, 0 and `bytes` included, where a control frame of our own may be put between.
        boundary: Option<usize>,
    },
    /// The first `bytes` bytes are one whole control frame.
    Control {
        /// How many.
        bytes: usize,
        /// The frame.
        control: Control,
    },
    /// Nothing more can be said: hand the bytes in again, before those that come. They are the start of a header or of
    /// a control frame, fewer than 14 + 125.
    Incomplete,
}

/// A control frame, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    opcode: Opcode,
    payload: [u8; CONTROL_BYTES_MAX],
    length: u8,
}

impl Control {
    /// Close, ping or pong.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// What it holds.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.payload.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// The state of one direction.
///
/// INVARIANT: an error leaves everything as it was before the frame at fault, so that what was forwarded ends at a
/// frame boundary.
#[derive(Clone, Debug)]
pub struct Flow {
    direction: Direction,
    caps: Caps,
    /// Payload bytes of the current data frame that have not passed.
    left: u64,
    /// The current data frame is the last of its message.
    last: bool,
    /// A message is open: its next frame must be a continuation.
    open: bool,
    message_bytes: u64,
    fragments: u32,
    empty_fragments: u32,
    messages: u64,
    payload_bytes: u64,
}

impl Flow {
    /// A direction that has not carried anything.
    #[must_use]
    pub const fn new(direction: Direction, caps: Caps) -> Self {
        Self {
            direction,
            caps,
            left: 0,
            last: false,
            open: false,
            message_bytes: 0,
            fragments: 0,
            empty_fragments: 0,
            messages: 0,
            payload_bytes: 0,
        }
    }

    /// Who sends.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// Messages that have passed whole.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes of payload that have passed, control frames not counted.
    #[must_use]
    pub const fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Whether all that was forwarded ends where a frame ends, so that a frame of our own may follow.
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// Looks at `bytes`, the next ones of this direction, and says what to do with the first of them. Call it again
    /// with the rest until it says [`Step::Incomplete`].
    ///
    /// # Errors
    /// [`FrameError`] when the first frame in `bytes` may not be passed on; the direction is of no use afterwards.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Step, FrameError> {
        let mut rest = bytes;
        let mut boundary = self.at_boundary().then_some(0);
        loop {
            rest = self.pass_payload(rest);
            if !self.at_boundary() {
                break;
            }
            let passed = bytes.len() - rest.len();
            if passed > 0 {
                boundary = Some(passed);
            }
            let (header, length) = match self.next_header(rest) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => break,
                // What stands before the frame at fault goes on; the next call meets the fault at its first byte.
                Err(_) if passed > 0 => break,
                Err(error) => return Err(error),
            };
            if header.opcode.is_control() {
                if passed > 0 {
                    break;
                }
                return Ok(take_control(header, length, bytes));
            }
            self.begin(header);
            rest = rest.get(length..).unwrap_or_default();
        }
        match bytes.len() - rest.len() {
            0 => Ok(Step::Incomplete),
            bytes => Ok(Step::Forward { bytes, boundary }),
        }
    }

    /// Passes what `rest` holds of the current frame, and ends the frame with its last byte.
    fn pass_payload<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        if self.left == 0 {
            return rest;
        }
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
        self.left -= here as u64;
        self.payload_bytes += here as u64;
        if self.left == 0 {
            self.end();
        }
        rest.get(here..).unwrap_or_default()
    }

    fn next_header(&self, rest: &[u8]) -> Result<Option<(Header, usize)>, FrameError> {
        let Some((header, length)) = Header::parse(rest)? else { return Ok(None) };
        match (self.direction, header.mask) {
            (Direction::FromClient, None) => return Err(FrameError::MaskMissing),
            (Direction::FromUpstream, Some(_)) => return Err(FrameError::MaskUnexpected),
            _ => {}
        }
        if header.opcode.is_control() {
            return Ok(Some((header, length)));
        }
        match (header.opcode, self.open) {
            (Opcode::Continuation, false) => return Err(FrameError::ContinuationUnexpected),
            (Opcode::Text | Opcode::Binary, true) => return Err(FrameError::ContinuationExpected),
            _ => {}
        }
        if header.payload_bytes > self.caps.frame_bytes_max {
            return Err(FrameError::FrameTooLarge(self.caps.frame_bytes_max));
        }
        if self.message_bytes.saturating_add(header.payload_bytes) > self.caps.message_bytes_max {
            return Err(FrameError::MessageTooLarge(self.caps.message_bytes_max));
        }
        let empty = header.payload_bytes == 0 && self.empty_fragments >= EMPTY_FRAGMENTS_MAX;
        if empty || self.fragments >= FRAGMENTS_MAX {
            return Err(FrameError::TooManyFragments);
        }
        Ok(Some((header, length)))
    }

    /// Enters a data frame whose header was found good.
    fn begin(&mut self, header: Header) {
        self.open = true;
        self.last = header.fin;
        self.left = header.payload_bytes;
        self.message_bytes += header.payload_bytes;
        self.fragments += 1;
        if header.payload_bytes == 0 {
            self.empty_fragments += 1;
            self.end();
        }
    }

    /// Leaves a data frame.
    fn end(&mut self) {
        if !self.last {
            return;
        }
        self.open = false;
        self.message_bytes = 0;
        self.fragments = 0;
        self.empty_fragments = 0;
        self.messages += 1;
    }
}

fn take_control(header: Header, length: usize, bytes: &[u8]) -> Step {
    let payload_bytes = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
    let Some(found) = bytes.get(length..length.saturating_add(payload_bytes)) else { return Step::Incomplete };
    let mut control = Control { opcode: header.opcode, payload: [0; CONTROL_BYTES_MAX], length: 0 };
    for (slot, byte) in control.payload.iter_mut().zip(found) {
        *slot = *byte;
        control.length += 1;
    }
    if let Some(key) = header.mask {
        frame::mask(&mut control.payload, key);
    }
    Step::Control { bytes: length + payload_bytes, control }
}
