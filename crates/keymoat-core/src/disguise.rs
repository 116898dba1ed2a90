//! The disguises in which text can hold a credential: percent-encoded up to three times, and base64 in both alphabets.

use memchr::memmem;
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

/// How often text is percent-decoded while looking for a credential in it.
pub(crate) const LEVELS: usize = 3;

/// Shorter runs of base64 characters cannot hold a credential that is worth looking for.
const BASE64_RUN_MIN: usize = 20;

/// A credential shorter than this is compared with whole values only: `test` inside other text means nothing.
pub(crate) const NEEDLE_MIN: usize = 8;

/// Whether `test` holds for `text`, or for what it says once its disguises are taken off.
pub(crate) fn any_reading(text: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    any_reading_below(text, LEVELS, test)
}

fn any_reading_below(text: &[u8], levels: usize, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    if test(text) || base64_runs(text, test) {
        return true;
    }
    if levels == 0 || !text.contains(&b'%') {
        return false;
    }
    let decoded = Zeroizing::new(percent_decode(text).collect::<Vec<u8>>());
    // As long as before: there was no escape in it.
    decoded.len() < text.len() && any_reading_below(&decoded, levels - 1, test)
}

/// Whether `needle` is in `text`; a short one must be all of it.
pub(crate) fn holds(text: &[u8], needle: &[u8]) -> bool {
    if needle.len() < NEEDLE_MIN {
        return !needle.is_empty() && text == needle;
    }
    // Most texts are shorter, and preparing a search costs more than that to find out.
    text.len() >= needle.len() && memmem::find(text, needle).is_some()
}

/// Decodes every long run of base64 characters from each of the four places where a quantum can start, because the
/// run may begin with a word that belongs to the alphabet too.
fn base64_runs(text: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    if text.len() < BASE64_RUN_MIN {
        return false;
    }
    text.split(|byte| sextet(*byte).is_none())
        .filter(|run| run.len() >= BASE64_RUN_MIN)
        .any(|run| (0..4).any(|start| test(&decode(run.get(start..).unwrap_or_default()))))
}

/// Decodes a run whose characters are all of one of the alphabets (RFC 4648 sections 4 and 5); spare bits are dropped.
fn decode(run: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(run.len() * 3 / 4));
    let (mut bits, mut held) = (0u32, 0u32);
    for value in run.iter().filter_map(|byte| sextet(*byte)) {
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(((bits >> held) & 0xff) as u8);
        }
    }
    bytes
}

const fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::*;

    use super::*;

    fn seen(text: &str) -> bool {
        any_reading(text.as_bytes(), &mut |reading| holds(reading, b"a-secret-value?"))
    }

    #[test]
    fn sees_through_percent_and_base64() {
        assert!(seen("x a-secret-value? y"));
        assert!(seen("%61-secret-value%3F"));
        assert!(seen("%2561-secret-value%253F"));
        assert!(seen("%252561-secret-value%25253F"));
        for text in ["a-secret-value?", "user:a-secret-value?", "ua-secret-value?", "u:a-secret-value?x"] {
            assert!(seen(&BASE64_STANDARD.encode(text)), "{text}");
            assert!(seen(&format!("Basic {}", BASE64_STANDARD.encode(text))));
            assert!(seen(&format!("prefix_{}", BASE64_URL_SAFE_NO_PAD.encode(text))));
        }
    }

    #[test]
    fn stops_after_three_levels_and_at_broken_escapes() {
        assert!(!seen("%25252561-secret-value%2525253F"));
        assert!(!seen("%zz%6"));
    }

    #[test]
    fn a_short_needle_must_be_the_whole_text() {
        assert!(holds(b"test", b"test"));
        assert!(!holds(b"a test", b"test"));
        assert!(!holds(b"", b""));
    }
}
