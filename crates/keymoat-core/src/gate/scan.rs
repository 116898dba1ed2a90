//! Finds the lines of a head: validates runs of text eight bytes at a time and remembers how far it came.

use super::GateError;

/// Horizontal tab and printable ASCII: all that a line of a head may hold.
pub(super) const TEXT: u8 = 1;
/// `tchar` of RFC 9110 section 5.6.2.
pub(super) const TOKEN: u8 = 1 << 1;
/// What a path may hold raw: RFC 3986 section 3.3, and what browsers leave unescaped but for `\`.
pub(super) const PATH: u8 = 1 << 2;
/// What a query may hold raw: RFC 3986 section 3.4, and what browsers leave unescaped.
pub(super) const QUERY: u8 = 1 << 3;
/// Letters, digits, `-`, `.` and `_`: a host name or an IPv4 address.
pub(super) const HOST: u8 = 1 << 4;
/// Hexadecimal digits, `:` and `.`: what stands between the brackets of an IPv6 address.
pub(super) const IPV6: u8 = 1 << 5;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b == b'\t' || matches!(b, b' '..=b'~') {
            class |= TEXT;
        }
        if b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
        {
            class |= TOKEN;
        }
        if b.is_ascii_graphic() && !matches!(b, b'#' | b'<' | b'>' | b'?' | b'\\' | b'`') {
            class |= PATH;
        }
        if b.is_ascii_graphic() && !matches!(b, b'"' | b'#' | b'<' | b'>') {
            class |= QUERY;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_') {
            class |= HOST;
        }
        if b.is_ascii_hexdigit() || matches!(b, b':' | b'.') {
            class |= IPV6;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

/// Returns how many bytes at the start are of `class`.
#[inline]
pub(super) fn run(bytes: &[u8], class: u8) -> usize {
    bytes.iter().position(|&byte| CLASSES[usize::from(byte)] & class == 0).unwrap_or(bytes.len())
}

/// Splits off the bytes of `class` at the start.
#[inline]
pub(super) fn split_run(bytes: &[u8], class: u8) -> (&[u8], &[u8]) {
    bytes.split_at(run(bytes, class))
}

/// The same as `run(bytes, TEXT)`, by words of eight bytes.
#[inline]
fn text_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = ONES << 7;
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let deletes = (word ^ (ONES * 0x7f)).wrapping_sub(ONES) & !(word ^ (ONES * 0x7f));
        // A borrow can flag a good byte, but only above a bad one: the lowest flag is always right.
        let flags = (controls | deletes | word) & HIGHS;
        if flags == 0 {
            at += 8;
            continue;
        }
        at += flags.trailing_zeros() as usize / 8;
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
    at + run(bytes.get(at..).unwrap_or_default(), TEXT)
}

/// How far a block of lines was read. Offsets are from the block's first byte, which stays where it is between calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Everything before this is text or a line end.
    pub(super) at: usize,
    /// Where the current line starts.
    pub(super) line: usize,
}

/// What [`Scan::line`] found.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// A line without its CRLF, and the offset at which it starts.
    Whole(&'a [u8], usize),
    /// The line goes on after the input.
    Partial,
    /// The line goes on at the limit.
    TooLong,
}

impl Scan {
    /// Reads the next line of the block; its CRLF must stand before `limit`.
    pub(super) fn line<'a>(&mut self, block: &'a [u8], limit: usize) -> Result<Line<'a>, GateError> {
        let window = block.get(..limit).unwrap_or(block);
        let cut = if window.len() == limit { Line::TooLong } else { Line::Partial };
        self.at += text_run(window.get(self.at..).unwrap_or_default());
        match (window.get(self.at), window.get(self.at + 1)) {
            (None, _) | (Some(b'\r'), None) => Ok(cut),
            (Some(b'\r'), Some(b'\n')) => {
                let start = self.line;
                let line = window.get(start..self.at).unwrap_or_default();
                self.at += 2;
                self.line = self.at;
                Ok(Line::Whole(line, start))
            }
            (Some(b'\r'), Some(_)) => Err(GateError::BareCr),
            (Some(b'\n'), _) => Err(GateError::BareLf),
            (Some(0x80..), _) => Err(GateError::FieldNonAscii),
            (Some(_), _) => Err(GateError::ControlByte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_and_bytes_agree(bytes in proptest::collection::vec(prop_oneof![20 => 0x20_u8..0x7f, 1 => Just(b'\t'), 1 => any::<u8>()], 0..80)) {
            prop_assert_eq!(text_run(&bytes), run(&bytes, TEXT));
        }
    }

    #[test]
    fn a_line_end_is_found_at_every_position() {
        for length in 0..40 {
            let mut block = vec![b'x'; length];
            block.extend_from_slice(b"\r\nnext");
            let mut scan = Scan::default();
            assert!(matches!(scan.line(&block, 100), Ok(Line::Whole(line, 0)) if line.len() == length));
            assert!(matches!(scan.line(&block, 100), Ok(Line::Partial)));
            assert!(matches!(scan.line(&block, block.len()), Ok(Line::TooLong)));
        }
    }
}
