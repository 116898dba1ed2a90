//! Walks a chunked body to its last chunk (RFC 9112 section 7.1), without looking at the data.
//!
//! ```text
//! size ──CR──▶ size line feed ──LF──▶ data ──▶ CR ──▶ LF ──▶ size
//!                     └──── size 0 ────▶ Last
//! ```

use super::GateError;

/// Where in a chunked body the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In a size of so many digits so far.
    Size { digits: u8, size: u64 },
    /// After a size's carriage return.
    SizeLf { size: u64 },
    /// In the data, with so many bytes left.
    Data { left: u64 },
    /// After the data.
    DataCr,
    /// After the data's carriage return.
    DataLf,
    /// After the line of the last chunk: trailers or the empty line follow.
    Last,
}

/// Sixteen digits, leading zeros included, are all that 64 bits need.
const DIGITS_MAX: u8 = 16;

impl Chunk {
    /// The start of a chunked body.
    pub(super) const START: Self = Self::Size { digits: 0, size: 0 };

    /// Walks over as much of `input` as is well-formed. Returns that length, and the error at which it stopped.
    pub(super) fn walk(&mut self, input: &[u8]) -> (usize, Option<GateError>) {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            let next = match *self {
                Self::Last => break,
                Self::Data { left } => {
                    let here = (input.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - here as u64;
                    at += here;
                    *self = if left == 0 { Self::DataCr } else { Self::Data { left } };
                    continue;
                }
                state => state.next(byte),
            };
            match next {
                Ok(next) => *self = next,
                Err(error) => return (at, Some(error)),
            }
            at += 1;
        }
        (at, None)
    }

    fn next(self, byte: u8) -> Result<Self, GateError> {
        match (self, byte) {
            (Self::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                if digits == DIGITS_MAX || size > i64::MAX as u64 >> 4 {
                    return Err(GateError::ChunkOverflow);
                }
                Ok(Self::Size { digits: digits + 1, size: size << 4 | digit })
            }
            (Self::Size { digits: 1.., size }, b'\r') => Ok(Self::SizeLf { size }),
            (Self::Size { digits: 1.., .. }, b';') => Err(GateError::ChunkExtension),
            (Self::Size { digits: 1.., .. }, b'\n') => Err(GateError::ChunkLineEnd),
            (Self::Size { .. }, _) => Err(GateError::ChunkSize),
            (Self::SizeLf { size: 0 }, b'\n') => Ok(Self::Last),
            (Self::SizeLf { size }, b'\n') => Ok(Self::Data { left: size }),
            (Self::DataCr, b'\r') => Ok(Self::DataLf),
            (Self::DataLf, b'\n') => Ok(Self::START),
            (Self::SizeLf { .. } | Self::DataCr | Self::DataLf | Self::Data { .. } | Self::Last, _) => {
                Err(GateError::ChunkLineEnd)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_to_the_last_chunk_at_any_split() {
        let body = b"5\r\nhello\r\n0a\r\n0123456789\r\n0\r\n\r\nGET";
        for split in 0..body.len() {
            let mut chunk = Chunk::START;
            let (first, error) = chunk.walk(&body[..split]);
            let (second, later) = chunk.walk(&body[first..]);
            assert_eq!((first + second, error, later, chunk), (29, None, None, Chunk::Last), "split at {split}");
        }
    }

    #[test]
    fn stops_before_the_first_bad_byte() {
        for (body, good, error) in [
            (&b"5\nhello"[..], 1, GateError::ChunkLineEnd),
            (b"0x5\r\n", 1, GateError::ChunkSize),
            (b"-1\r\n", 0, GateError::ChunkSize),
            (b" 5\r\n", 0, GateError::ChunkSize),
            (b"5 \r\n", 1, GateError::ChunkSize),
            (b"\r\n", 0, GateError::ChunkSize),
            (b"5;a=b\r\n", 1, GateError::ChunkExtension),
            (b"5\rhello", 2, GateError::ChunkLineEnd),
            (b"5\r\nhelloworld", 8, GateError::ChunkLineEnd),
            (b"5\r\nhello\rX", 9, GateError::ChunkLineEnd),
            (b"8000000000000000\r\n", 15, GateError::ChunkOverflow),
            (b"00000000000000005\r\n", 16, GateError::ChunkOverflow),
        ] {
            let mut chunk = Chunk::START;
            assert_eq!(chunk.walk(body), (good, Some(error)), "{}", body.escape_ascii());
        }
        let mut chunk = Chunk::START;
        assert_eq!(chunk.walk(b"7fffffffffffffff\r\n"), (18, None));
    }
}
