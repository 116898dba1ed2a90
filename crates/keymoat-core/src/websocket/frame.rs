//! The header of one frame: reading, writing and masking (RFC 6455 sections 5.2 and 5.3).

/// A header is at most this long: two bytes, eight of length, four of mask.
pub const HEADER_BYTES_MAX: usize = 14;
/// A control frame's payload is at most this long (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further frame of the message that is open.
    Continuation,
    /// The first frame of a text message.
    Text,
    /// The first frame of a binary message.
    Binary,
    /// The end of the connection.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Opcode {
    /// Whether it may stand between the frames of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    /// The four bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    const fn from_bits(bits: u8) -> Result<Self, FrameError> {
        match bits {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xA => Ok(Self::Pong),
            reserved => Err(FrameError::ReservedOpcode(reserved)),
        }
    }
}

/// What is wrong with what a peer sent. The text may be a close reason: it is our own and holds nothing of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit is set, and no extension was agreed on.
    #[error("a reserved bit is set without an extension")]
    ReservedBit,
    /// An opcode that RFC 6455 does not define.
    #[error("opcode {0} is reserved")]
    ReservedOpcode(u8),
    /// A length that would have fitted a shorter form.
    #[error("the length is not in its shortest form")]
    LengthNotMinimal,
    /// A length of 2^63 or more.
    #[error("the length is 2^63 or more")]
    LengthTooLarge,
    /// A control frame of more than 125 bytes.
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A control frame without FIN.
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// A client's frame without a mask (RFC 6455 section 5.1).
    #[error("a frame of a client is not masked")]
    MaskMissing,
    /// A server's frame with a mask (RFC 6455 section 5.1).
    #[error("a frame of a server is masked")]
    MaskUnexpected,
    /// A continuation while no message is open.
    #[error("a continuation without a message")]
    ContinuationUnexpected,
    /// A new message while another one is open.
    #[error("a new message inside another")]
    ContinuationExpected,
    /// A frame above the cap.
    #[error("a frame is larger than {0} bytes")]
    FrameTooLarge(u64),
    /// A message above the cap, over all its frames.
    #[error("a message is larger than {0} bytes")]
    MessageTooLarge(u64),
    /// A message in too many frames.
    #[error("a message comes in too many frames")]
    TooManyFragments,
    /// A close payload of one byte.
    #[error("a close payload of one byte")]
    CloseTruncated,
    /// A close code that may not stand on the wire.
    #[error("close code {0} may not be sent")]
    CloseCodeInvalid(u16),
    /// A close reason that is not UTF-8.
    #[error("a close reason is not UTF-8")]
    CloseReasonNotUtf8,
}

impl FrameError {
    /// The code to close with (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::ReservedBit
            | Self::ReservedOpcode(_)
            | Self::LengthNotMinimal
            | Self::LengthTooLarge
            | Self::ControlTooLong
            | Self::ControlFragmented
            | Self::MaskMissing
            | Self::MaskUnexpected
            | Self::ContinuationUnexpected
            | Self::ContinuationExpected
            | Self::CloseTruncated
            | Self::CloseCodeInvalid(_) => 1002,
            Self::CloseReasonNotUtf8 => 1007,
            Self::TooManyFragments => 1008,
            Self::FrameTooLarge(_) | Self::MessageTooLarge(_) => 1009,
        }
    }
}

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The masking key.
    pub mask: Option<[u8; 4]>,
    /// The length of the payload, below 2^63.
    pub payload_bytes: u64,
}

impl Header {
    /// Reads the header at the start of `bytes` and gives it with its own length, or `None` while it is incomplete.
    /// What is wrong is told as soon as it is visible, from the first byte on.
    ///
    /// # Errors
    /// [`FrameError`] for reserved bits and opcodes, lengths that are not minimal or at least 2^63, and control frames
    /// that are long or fragmented.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBit);
        }
        let opcode = Opcode::from_bits(first & 0x0F)?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(FrameError::ControlFragmented);
        }
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        let short = second & 0x7F;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(FrameError::ControlTooLong);
        }
        let Some((payload_bytes, rest)) = parse_length(short, rest)? else { return Ok(None) };
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let Some((&mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            (Some(mask), rest)
        };
        Ok(Some((Self { fin, opcode, mask, payload_bytes }, bytes.len() - rest.len())))
    }

    /// Appends the header in its one shortest form.
    pub fn write(&self, out: &mut Vec<u8>) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(if self.fin { 0x80 } else { 0 } | self.opcode.bits());
        match (u8::try_from(self.payload_bytes), u16::try_from(self.payload_bytes)) {
            (Ok(short @ 0..=125), _) => out.push(masked | short),
            (_, Ok(medium)) => {
                out.push(masked | 126);
                out.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&self.payload_bytes.to_be_bytes());
            }
        }
        if let Some(mask) = self.mask {
            out.extend_from_slice(&mask);
        }
    }
}

fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    match short {
        126 => {
            let Some((&medium, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            let length = u16::from_be_bytes(medium);
            if length < 126 { Err(FrameError::LengthNotMinimal) } else { Ok(Some((length.into(), rest))) }
        }
        127 => {
            let Some((&long, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            match u64::from_be_bytes(long) {
                length if length >> 63 != 0 => Err(FrameError::LengthTooLarge),
                length if length <= u64::from(u16::MAX) => Err(FrameError::LengthNotMinimal),
                length => Ok(Some((length, rest))),
            }
        }
        _ => Ok(Some((short.into(), rest))),
    }
}

/// Masks or unmasks a payload from its first byte (RFC 6455 section 5.3).
pub fn mask(payload: &mut [u8], key: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends a whole control frame; a payload above [`CONTROL_BYTES_MAX`] is cut.
pub fn write_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) {
    let payload = payload.get(..CONTROL_BYTES_MAX).unwrap_or(payload);
    Header { fin: true, opcode, mask: key, payload_bytes: payload.len() as u64 }.write(out);
    let start = out.len();
    out.extend_from_slice(payload);
    if let (Some(key), Some(written)) = (key, out.get_mut(start..)) {
        mask(written, key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_examples_of_the_rfc() {
        let text = Header { fin: true, opcode: Opcode::Text, mask: None, payload_bytes: 5 };
        assert_eq!(Header::parse(&[0x81, 0x05, 0x48]), Ok(Some((text, 2))));
        let masked = Header { mask: Some([0x37, 0xfa, 0x21, 0x3d]), ..text };
        assert_eq!(Header::parse(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f]), Ok(Some((masked, 6))));
        let kilobytes = Header { fin: true, opcode: Opcode::Binary, mask: None, payload_bytes: 65_536 };
        assert_eq!(Header::parse(&[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]), Ok(Some((kilobytes, 10))));
    }

    #[test]
    fn refuses_lengths_that_are_not_minimal_or_absurd() {
        assert_eq!(Header::parse(&[0x82, 126, 0, 125]), Err(FrameError::LengthNotMinimal));
        assert_eq!(Header::parse(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), Err(FrameError::LengthNotMinimal));
        assert_eq!(Header::parse(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::LengthTooLarge));
    }

    #[test]
    fn refuses_reserved_bits_and_opcodes_from_the_first_byte_on() {
        for bit in [0x40, 0x20, 0x10] {
            assert_eq!(Header::parse(&[0x82 | bit]), Err(FrameError::ReservedBit));
        }
        for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
            assert_eq!(Header::parse(&[0x80 | opcode]), Err(FrameError::ReservedOpcode(opcode)));
        }
    }

    #[test]
    fn refuses_long_and_fragmented_control_frames() {
        for opcode in [8, 9, 10] {
            assert_eq!(Header::parse(&[opcode]), Err(FrameError::ControlFragmented));
            assert_eq!(Header::parse(&[0x80 | opcode, 126]), Err(FrameError::ControlTooLong));
            assert_eq!(Header::parse(&[0x80 | opcode, 0xFF]), Err(FrameError::ControlTooLong));
        }
    }

    fn opcodes() -> impl Strategy<Value = Opcode> {
        prop::sample::select(vec![Opcode::Continuation, Opcode::Text, Opcode::Binary])
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_every_prefix_is_incomplete(
            fin: bool, opcode in opcodes(), mask: Option<[u8; 4]>, shift in 1_u32..64, bits: u64,
        ) {
            let header = Header { fin, opcode, mask, payload_bytes: bits >> shift };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            prop_assert!(bytes.len() <= HEADER_BYTES_MAX);
            prop_assert_eq!(Header::parse(&bytes), Ok(Some((header, bytes.len()))));
            for cut in 0..bytes.len() {
                prop_assert_eq!(Header::parse(&bytes[..cut]), Ok(None));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic_and_only_in_their_one_form(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(Some((header, length))) = Header::parse(&bytes) {
                let mut again = Vec::new();
                header.write(&mut again);
                prop_assert_eq!(&again[..], &bytes[..length]);
            }
        }

        #[test]
        fn masking_twice_gives_the_payload_back(payload: Vec<u8>, key: [u8; 4]) {
            let mut masked = payload.clone();
            mask(&mut masked, key);
            mask(&mut masked, key);
            prop_assert_eq!(masked, payload);
        }
    }
}
