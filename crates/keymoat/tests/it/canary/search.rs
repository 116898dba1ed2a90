//! Finds a canary in what came out, in whatever spelling: half of it is enough.
//!
//! Texts are read as they are, percent-decoded up to three times and JSON-unescaped; in each reading a canary is looked
//! for raw, in hex and in base64 (both alphabets, all three alignments), all in any case.

use std::collections::{BTreeSet, HashMap};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode;

/// Looks for all canaries at once.
pub(crate) struct Searcher {
    needles: HashMap<[u8; WINDOW], Vec<Needle>>,
}

/// One spelling of one part of a canary, in lower case.
struct Needle {
    canary: &'static str,
    spelling: &'static str,
    rest: Vec<u8>,
}

/// Every needle is looked up by so many of its first bytes.
const WINDOW: usize = 8;

/// What was found: the canary's name and how it was spelled. Never the canary.
pub(crate) type Found = BTreeSet<(&'static str, &'static str)>;

impl Searcher {
    /// For canaries of these names and texts.
    pub(crate) fn new(canaries: &[(&'static str, &str)]) -> Self {
        let mut searcher = Self { needles: HashMap::new() };
        for (name, text) in canaries {
            assert!(text.len() >= 32 && text.is_ascii(), "{name} is too short to be told from chance");
            let half = text.len() / 2;
            for start in [0, half / 2, text.len() - half] {
                searcher.add_part(name, &text[start..start + half]);
            }
        }
        searcher
    }

    fn add_part(&mut self, canary: &'static str, part: &str) {
        self.add(canary, "raw", part.as_bytes());
        let hex: String = part.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.add(canary, "hex", hex.as_bytes());
        for offset in 0..3 {
            let shifted = [&[0; 2][..offset], part.as_bytes()].concat();
            // Characters that share bits with a neighbour are left out.
            let (from, to) = ((offset * 8).div_ceil(6), (offset + part.len()) * 8 / 6);
            self.add(canary, "base64", &STANDARD_NO_PAD.encode(&shifted).as_bytes()[from..to]);
            self.add(canary, "base64url", &URL_SAFE_NO_PAD.encode(&shifted).as_bytes()[from..to]);
        }
    }

    fn add(&mut self, canary: &'static str, spelling: &'static str, needle: &[u8]) {
        let needle = needle.to_ascii_lowercase();
        let (start, rest) = needle.split_first_chunk().expect("longer than a window");
        self.needles.entry(*start).or_default().push(Needle { canary, spelling, rest: rest.to_vec() });
    }

    /// Every canary in `bytes`, with the spelling in which it stands there.
    pub(crate) fn find(&self, bytes: &[u8]) -> Found {
        let mut found = Found::new();
        let mut reading = bytes.to_vec();
        for _ in 0..=3 {
            self.find_in(&reading, &mut found);
            self.find_in(&json_unescaped(&reading), &mut found);
            let decoded: Vec<u8> = percent_decode(&reading).collect();
            if decoded.len() == reading.len() {
                break;
            }
            reading = decoded;
        }
        found
    }

    fn find_in(&self, reading: &[u8], found: &mut Found) {
        let reading = reading.to_ascii_lowercase();
        for (at, window) in reading.windows(WINDOW).enumerate() {
            let Some(needles) = self.needles.get(window) else { continue };
            let behind = &reading[at + WINDOW..];
            let here = needles.iter().filter(|needle| behind.starts_with(&needle.rest));
            found.extend(here.map(|needle| (needle.canary, needle.spelling)));
        }
    }
}

/// Replaces `\u0041` by what it stands for, as far as that is one byte.
fn json_unescaped(text: &[u8]) -> Vec<u8> {
    let mut unescaped = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = rest.strip_prefix(b"\\u").and_then(|rest| std::str::from_utf8(rest.get(..4)?).ok());
        let letter = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        unescaped.push(letter.unwrap_or(byte));
        rest = if letter.is_some() { &rest[6..] } else { behind };
    }
    unescaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    const CANARY: &str = "km_Q7w?zR1>tY4~uI8oP2aS5dF9gH3jK6lZ0xC7vB1nM";

    fn spellings(text: &str) -> Vec<&'static str> {
        let found = Searcher::new(&[("canary", CANARY)]).find(format!("before {text} behind").as_bytes());
        found.into_iter().map(|(_, spelling)| spelling).collect()
    }

    fn spelled(each: impl Fn(u8) -> String) -> String {
        CANARY.bytes().map(each).collect()
    }

    #[test]
    fn every_spelling_is_found() {
        assert_eq!(spellings(CANARY), ["raw"]);
        assert_eq!(spellings(&CANARY.to_lowercase()), ["raw"]);
        assert_eq!(spellings(&CANARY.to_uppercase()), ["raw"]);
        assert_eq!(spellings(&spelled(|byte| format!("{byte:02x}"))), ["hex"]);
        assert_eq!(spellings(&spelled(|byte| format!("{byte:02X}"))), ["hex"]);
        assert_eq!(spellings(&spelled(|byte| format!("%{byte:02x}"))), ["raw"]);
        assert_eq!(spellings(&spelled(|byte| format!("%{byte:02X}"))), ["raw"]);
        assert_eq!(spellings(&spelled(|byte| format!("%25{byte:02x}"))), ["raw"]);
        assert_eq!(spellings(&spelled(|byte| format!("%2525{byte:02X}"))), ["raw"]);
        assert_eq!(spellings(&spelled(|byte| format!("\\u{byte:04x}"))), ["raw"]);
        assert_eq!(spellings(&spelled(|byte| format!("\\u{byte:04X}"))), ["raw"]);
        assert_eq!(spellings(&spelled(|byte| format!("%5cu{byte:04X}"))), ["raw"]);
        for before in ["", "u", "us", "user:"] {
            let text = format!("{before}{CANARY}behind");
            assert!(spellings(&STANDARD.encode(&text)).contains(&"base64"), "{before}");
            assert!(spellings(&URL_SAFE.encode(&text)).contains(&"base64url"), "{before}");
        }
    }

    #[test]
    fn half_of_a_canary_is_found_and_a_quarter_is_not() {
        let half = CANARY.len() / 2;
        assert_eq!(spellings(&CANARY[..half]), ["raw"]);
        assert_eq!(spellings(&CANARY[half..]), ["raw"]);
        assert!(spellings(&CANARY[..half / 2]).is_empty());
        assert!(spellings("nothing at all, only text that goes on for a while, and then some more of it").is_empty());
    }

    #[test]
    fn a_canary_in_the_middle_of_bytes_is_found() {
        let bytes = [&[0xff, 0, b'%'][..], CANARY.as_bytes(), &[0xfe, b'\\', b'u']].concat();
        assert_eq!(Searcher::new(&[("canary", CANARY)]).find(&bytes).len(), 1);
    }
}
