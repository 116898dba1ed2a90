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
    /// How the last message began.
    opcode: Option<Opcode>,
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
            opcode: None,
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

    /// Payload bytes of the current data frame that have not passed.
    #[must_use]
    pub const fn frame_bytes_left(&self) -> u64 {
        self.left
    }

    /// Whether a message has begun and not ended, so that no other may stand here.
    #[must_use]
    pub const fn is_inside_message(&self) -> bool {
        self.open
    }

    /// Text or binary: how the last message began, if there was one.
    #[must_use]
    pub const fn last_opcode(&self) -> Option<Opcode> {
        self.opcode
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
        if header.opcode != Opcode::Continuation {
            self.opcode = Some(header.opcode);
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAPS: Caps = Caps { frame_bytes_max: 1000, message_bytes_max: 1500 };

    fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Header { fin, opcode, mask: None, payload_bytes: payload.len() as u64 }.write(&mut bytes);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn upstream() -> Flow {
        Flow::new(Direction::FromUpstream, CAPS)
    }

    #[test]
    fn forwards_a_whole_read_of_data_frames_at_once() {
        let bytes = [
            frame(false, Opcode::Text, b"a"),
            frame(true, Opcode::Continuation, b"b"),
            frame(true, Opcode::Binary, b""),
        ];
        let bytes = bytes.concat();
        let mut flow = upstream();
        let step = flow.advance(&bytes);
        assert_eq!(step, Ok(Step::Forward { bytes: bytes.len(), boundary: Some(bytes.len()) }));
        assert_eq!((flow.messages(), flow.payload_bytes()), (2, 2));
        assert_eq!(flow.advance(&[]), Ok(Step::Incomplete));
    }

    #[test]
    fn a_read_inside_a_frame_has_no_boundary_until_the_frame_ends() {
        let bytes = frame(true, Opcode::Binary, &[7; 10]);
        let mut flow = upstream();
        assert_eq!(flow.advance(&bytes[..4]), Ok(Step::Forward { bytes: 4, boundary: Some(0) }));
        assert!(!flow.at_boundary());
        assert_eq!(flow.advance(&bytes[4..6]), Ok(Step::Forward { bytes: 2, boundary: None }));
        let next = [&bytes[6..], &bytes[..5]].concat();
        assert_eq!(flow.advance(&next), Ok(Step::Forward { bytes: 11, boundary: Some(6) }));
        assert_eq!(flow.messages(), 1);
    }

    #[test]
    fn a_control_frame_is_taken_out_whole_and_unmasked() {
        let mut bytes = Vec::new();
        frame::write_control(&mut bytes, Opcode::Ping, b"hello", Some([1, 2, 3, 4]));
        let mut flow = Flow::new(Direction::FromClient, CAPS);
        for cut in 0..bytes.len() {
            assert_eq!(flow.advance(&bytes[..cut]), Ok(Step::Incomplete));
        }
        let Ok(Step::Control { bytes: 11, control }) = flow.advance(&bytes) else { panic!("a ping") };
        assert_eq!((control.opcode(), control.payload()), (Opcode::Ping, &b"hello"[..]));
        assert_eq!(flow.messages(), 0);
    }

    #[test]
    fn refuses_wrong_masks_and_wrong_order() {
        let masked = [0x81, 0x80, 1, 2, 3, 4];
        assert_eq!(upstream().advance(&masked), Err(FrameError::MaskUnexpected));
        let plain = frame(true, Opcode::Ping, b"");
        assert_eq!(Flow::new(Direction::FromClient, CAPS).advance(&plain), Err(FrameError::MaskMissing));
        let continuation = frame(true, Opcode::Continuation, b"");
        assert_eq!(upstream().advance(&continuation), Err(FrameError::ContinuationUnexpected));
        let mut flow = upstream();
        let twice = frame(false, Opcode::Text, b"a").repeat(2);
        assert_eq!(flow.advance(&twice), Ok(Step::Forward { bytes: 3, boundary: Some(3) }));
        assert_eq!(flow.advance(&twice[3..]), Err(FrameError::ContinuationExpected));
    }

    #[test]
    fn caps_frames_messages_and_fragments() {
        assert_eq!(upstream().advance(&frame(true, Opcode::Text, &[0; 1001])), Err(FrameError::FrameTooLarge(1000)));
        let mut flow = upstream();
        let first = frame(false, Opcode::Text, &[0; 1000]);
        assert_eq!(flow.advance(&first), Ok(Step::Forward { bytes: 1004, boundary: Some(1004) }));
        let second = frame(true, Opcode::Continuation, &[0; 501]);
        assert_eq!(flow.advance(&second), Err(FrameError::MessageTooLarge(1500)));
        assert!(flow.advance(&second[..0]).is_ok());
        let mut flow = upstream();
        assert!(flow.advance(&frame(false, Opcode::Text, b"")).is_ok());
        let empties = frame(false, Opcode::Continuation, b"").repeat(EMPTY_FRAGMENTS_MAX as usize);
        let passed = empties.len() - 2;
        assert_eq!(flow.advance(&empties), Ok(Step::Forward { bytes: passed, boundary: Some(passed) }));
        assert_eq!(flow.advance(&empties[passed..]), Err(FrameError::TooManyFragments));
    }

    /// All steps over `bytes` cut at `cuts`: the bytes forwarded, the control frames, the error.
    fn run(bytes: &[u8], chunk_bytes: usize) -> (Vec<u8>, Vec<Control>, Option<FrameError>) {
        let (mut forwarded, mut controls) = (Vec::new(), Vec::new());
        let mut flow = upstream();
        let mut carry: Vec<u8> = Vec::new();
        for chunk in bytes.chunks(chunk_bytes) {
            let read = [&carry[..], chunk].concat();
            let mut rest = &read[..];
            loop {
                let taken = match flow.advance(rest) {
                    Ok(Step::Forward { bytes, boundary }) => {
                        assert!(bytes > 0 && boundary.is_none_or(|boundary| boundary <= bytes));
                        forwarded.extend_from_slice(&rest[..bytes]);
                        bytes
                    }
                    Ok(Step::Control { bytes, control }) => {
                        controls.push(control);
                        bytes
                    }
                    Ok(Step::Incomplete) => break,
                    Err(error) => return (forwarded, controls, Some(error)),
                };
                rest = &rest[taken..];
            }
            assert!(rest.len() < frame::HEADER_BYTES_MAX + CONTROL_BYTES_MAX);
            carry = rest.to_vec();
        }
        (forwarded, controls, None)
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_changes_nothing(
            frames in prop::collection::vec((any::<bool>(), 0_u8..16, prop::collection::vec(any::<u8>(), 0..200)), 0..20),
            chunk_bytes in 1_usize..300,
        ) {
            let mut bytes = Vec::new();
            for (fin, bits, payload) in &frames {
                bytes.push(u8::from(*fin) << 7 | bits);
                match u8::try_from(payload.len()) {
                    Ok(short @ 0..=125) => bytes.push(short),
                    _ => bytes.extend([126, 0, payload.len() as u8]),
                }
                bytes.extend_from_slice(payload);
            }
            prop_assert_eq!(run(&bytes, chunk_bytes), run(&bytes, usize::MAX));
        }
    }
}
