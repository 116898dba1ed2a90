//! The payload of a close frame: a code and a reason (RFC 6455 sections 5.5.1 and 7.4).

use super::frame::FrameError;
use crate::refusal::REASON_BYTES_MAX;

/// The code of a close frame without a payload. Never on the wire.
pub const NO_STATUS: u16 = 1005;
/// The code of a connection that ended without a close frame. Never on the wire.
pub const ABNORMAL: u16 = 1006;

/// What a close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// Why, as a number.
    pub code: u16,
    /// Why, as text; may be empty.
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    /// Reads a close payload, unmasked; an empty one is `None`.
    ///
    /// # Errors
    /// [`FrameError`] for a single byte, a code that may not be sent, or a reason that is not UTF-8.
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, FrameError> {
        if payload.is_empty() {
            return Ok(None);
        }
        let Some((&code, reason)) = payload.split_first_chunk::<2>() else { return Err(FrameError::CloseTruncated) };
        let code = u16::from_be_bytes(code);
        if !may_be_sent(code) {
            return Err(FrameError::CloseCodeInvalid(code));
        }
        let reason = std::str::from_utf8(reason).map_err(|_| FrameError::CloseReasonNotUtf8)?;
        Ok(Some(Self { code, reason }))
    }

    /// The payload, with the reason cut at a character so that it fits [`REASON_BYTES_MAX`]. A code that may not be
    /// sent gives the empty payload, which says nothing.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        if !may_be_sent(self.code) {
            return Vec::new();
        }
        let (reason, _) = self.reason.split_at(self.reason.floor_char_boundary(REASON_BYTES_MAX));
        let mut payload = Vec::with_capacity(2 + reason.len());
        payload.extend_from_slice(&self.code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
        payload
    }
}

/// Whether a code may stand in a close frame: defined by RFC 6455 or registered since, or an application's own.
#[must_use]
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_code_and_reason() {
        assert_eq!(Close::parse(b"\x03\xe8bye"), Ok(Some(Close { code: 1000, reason: "bye" })));
        assert_eq!(Close::parse(&4001_u16.to_be_bytes()), Ok(Some(Close { code: 4001, reason: "" })));
        assert_eq!(Close::parse(b""), Ok(None));
    }

    #[test]
    fn refuses_codes_that_may_not_be_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535_u16] {
            assert_eq!(Close::parse(&code.to_be_bytes()), Err(FrameError::CloseCodeInvalid(code)));
            assert_eq!(Close { code, reason: "x" }.payload(), b"");
        }
        for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999_u16] {
            assert!(Close::parse(&code.to_be_bytes()).is_ok(), "{code}");
        }
    }

    #[test]
    fn refuses_a_single_byte_and_a_reason_that_is_not_utf8() {
        assert_eq!(Close::parse(&[3]), Err(FrameError::CloseTruncated));
        assert_eq!(Close::parse(b"\x03\xe8\xff"), Err(FrameError::CloseReasonNotUtf8));
        assert_eq!(FrameError::CloseReasonNotUtf8.close_code(), 1007);
    }

    #[test]
    fn cuts_a_long_reason_at_a_character() {
        let payload = Close { code: 1008, reason: &"€".repeat(50) }.payload();
        assert_eq!(payload.len(), 2 + 123);
        assert_eq!(Close::parse(&payload), Ok(Some(Close { code: 1008, reason: &"€".repeat(41) })));
        assert_eq!(Close { code: 1008, reason: &"ä".repeat(62) }.payload().len(), 2 + 122);
    }

    proptest! {
        #[test]
        fn any_payload_is_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..126)) {
            if let Ok(Some(close)) = Close::parse(&payload) {
                prop_assert_eq!(close.payload(), payload);
            }
        }
    }
}
