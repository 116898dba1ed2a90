//! Where a value ends, by context.

use crate::names::{before, byte, is_quote};
use crate::shape::mark_end;
use crate::work;

/// What kind of text stands around a value without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// A URL or form: `& ; #` end it.
    Query,
    /// `name=value`: a comma ends it too, a `#` does not.
    Assignment,
    /// One word of a header or of prose.
    Word,
}

/// The end of the value without quotes that starts at `start`.
pub(super) fn unquoted(text: &[u8], start: usize, around: Around) -> usize {
    let mut at = start;
    while let Some(&byte) = text.get(at) {
        if !may_end(byte) {
            at += 1;
            continue;
        }
        match byte {
            0..=b' ' | 0x7f | b'"' | b'\'' | b'`' | b'<' | b'>' | b')' | b']' | b'}' => break,
            b'&' | b';' if around != Around::Word => break,
            b'#' if around == Around::Query => break,
            b',' if around != Around::Query => break,
            b'|' if at >= start + 8 => break,
            b'[' | b'(' => at = mark_end(text, at).unwrap_or(at + 1),
            b'\\' => match escape(text, at) {
                Escape::Ends => break,
                Escape::Letter(length) => at += length,
            },
            _ => at += 1,
        }
    }
    work::passed(at - start);
    trimmed(text, start, at)
}

/// Whether what a byte means to a value depends on anything.
#[inline]
fn may_end(byte: u8) -> bool {
    const ENDS: [bool; 256] = {
        let mut ends = [false; 256];
        let all = b"\"'`<>)]}&;#,|[(\\\x7f";
        let mut index = 0;
        while index < all.len() {
            ends[all[index] as usize] = true;
            index += 1;
        }
        let mut control = 0;
        while control <= b' ' {
            ends[control as usize] = true;
            control += 1;
        }
        ends
    };
    ENDS.get(usize::from(byte)).copied().unwrap_or(true)
}

/// A value less the punctuation of the sentence or text around it.
pub(super) fn trimmed(text: &[u8], start: usize, mut end: usize) -> usize {
    if matches!(byte(text, end), 0..=b' ' | b'\\') {
        while end > start && matches!(before(text, end), b'.' | b',' | b':' | b'!' | b'?' | b';') {
            end -= 1;
        }
    }
    while end > start && before(text, end) == b'\\' {
        end -= 1;
    }
    end
}

enum Escape {
    Ends,
    Letter(usize),
}

/// Whether the backslash at `at` starts something that ends a value.
#[inline(never)]
fn escape(text: &[u8], at: usize) -> Escape {
    let code = |digits: std::ops::Range<usize>| {
        let digits = text.get(digits)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let (length, code) = match byte(text, at + 1) {
        b'"' | b'\'' | b'`' | b'n' | b'r' | b't' => return Escape::Ends,
        b'\\' => {
            let behind = text.get(at..).unwrap_or_default().iter().take(16).take_while(|byte| **byte == b'\\').count();
            return match byte(text, at + behind) {
                b'"' | b'\'' | b'`' | b'n' | b'r' | b't' | b'u' | b'x' | 0 => Escape::Ends,
                _ => Escape::Letter(behind),
            };
        }
        b'x' => (4, code(at + 2..at + 4)),
        b'u' => (6, code(at + 2..at + 6)),
        b'/' => return Escape::Letter(2),
        _ => return Escape::Letter(1),
    };
    match code.and_then(char::from_u32) {
        Some(c) if c <= ' ' || "\"'`&;#<>\u{7f}".contains(c) => Escape::Ends,
        Some(_) => Escape::Letter(length),
        None => Escape::Letter(1),
    }
}

/// A quoted value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quoted {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) quote: u8,
    pub(super) backslashes: usize,
    /// Whether the closing quote was there.
    pub(super) closed: bool,
}

impl Quoted {
    /// Behind the closing quote.
    pub(super) fn behind(&self) -> usize {
        if self.closed { self.end + self.backslashes + 1 } else { self.end }
    }
}

/// The quoted value whose opening quote, with its backslashes, is at `at`.
pub(super) fn quoted(text: &[u8], at: usize) -> Option<Quoted> {
    let backslashes = text.get(at..)?.iter().take(16).take_while(|byte| **byte == b'\\').count();
    let quote = byte(text, at + backslashes);
    if !is_quote(quote) {
        return None;
    }
    let start = at + backslashes + 1;
    // `"""` opens a literal of several lines.
    if backslashes == 0 && byte(text, start) == quote && byte(text, start + 1) == quote {
        let end = memchr::memmem::find(text.get(start + 2..)?, &[quote; 3]).map(|end| start + 2 + end);
        work::passed(end.unwrap_or(text.len()) - start);
        return Some(Quoted {
            start: start + 2,
            end: end.unwrap_or(text.len()),
            quote,
            backslashes: 0,
            closed: end.is_some(),
        });
    }
    let (end, closed) = closing(text, start, quote, backslashes);
    Some(Quoted { start, end, quote, backslashes, closed })
}

/// Where the string that is open at `start` ends: before its closing quote, or at the end of the text.
pub(super) fn closing(text: &[u8], start: usize, quote: u8, backslashes: usize) -> (usize, bool) {
    let mut from = start;
    while let Some(found) = text.get(from..).and_then(|rest| memchr::memchr(quote, rest)) {
        let at = from + found;
        let mut first = at;
        while first > start && before(text, first) == b'\\' {
            first -= 1;
        }
        let run = at - first;
        work::passed(run + found);
        if closes(run, backslashes) {
            return (at - run.min(backslashes), true);
        }
        from = at + 1;
    }
    work::passed(text.len().saturating_sub(from));
    (text.len(), false)
}

/// Whether a quote behind `run` backslashes closes a string that was opened behind `backslashes`: at that level of
/// escaping, or at one outside of it.
fn closes(run: usize, backslashes: usize) -> bool {
    let mut run = run;
    let mut opened = backslashes;
    loop {
        if run.is_multiple_of(2) {
            return true;
        }
        if opened == 0 {
            return false;
        }
        run /= 2;
        opened /= 2;
    }
}

/// Where the line ends, or the escaped one that ends first.
pub(super) fn break_at(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'\\', 0, rest)) {
        let place = at + found;
        if byte(text, place) == 0 || matches!(byte(text, place + 1), b'r' | b'n') {
            work::passed(place - start);
            return place;
        }
        at = place + 1;
    }
    work::passed(text.len().saturating_sub(start));
    text.len()
}

/// The end of the line, or of the escaped one that ends first, without blanks.
pub(super) fn line(text: &[u8], start: usize) -> usize {
    before_blanks(text, start, break_at(text, start))
}

pub(super) fn before_blanks(text: &[u8], start: usize, mut end: usize) -> usize {
    while end > start && matches!(before(text, end), b' ' | b'\t' | b'\r' | b'\\') {
        end -= 1;
        work::passed(1);
    }
    end
}

/// The first byte from `at` on that is no blank.
pub(super) fn blank(text: &[u8], at: usize) -> usize {
    let blanks = text.get(at..).unwrap_or_default().iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    work::passed(blanks);
    at + blanks
}

/// Whether nothing but white space follows.
pub(super) fn is_end(text: &[u8], at: usize) -> bool {
    matches!(text.get(at..).unwrap_or_default(), [] | [b'\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_quotes_ends_by_what_is_around_it() {
        for (text, around, expected) in [
            ("K&x", Around::Query, "K"),
            ("K,L&x", Around::Query, "K,L"),
            ("K,L", Around::Assignment, "K"),
            ("K#L;", Around::Assignment, "K#L"),
            ("K\\u0026y=2", Around::Query, "K"),
            ("\\x5A\\x6B\\x22", Around::Query, "\\x5A\\x6B"),
            ("K\\\\\"", Around::Query, "K"),
            ("K. And", Around::Query, "K"),
            ("a[REDACTED:x]b c", Around::Word, "a[REDACTED:x]b"),
        ] {
            assert_eq!(&text[..unquoted(text.as_bytes(), 0, around)], expected, "{text}");
        }
    }

    #[test]
    fn a_quoted_value_ends_at_its_own_depth() {
        for (text, expected) in [
            (r#""a\"b" c"#, r#"a\"b"#),
            (r#""a\\" c"#, r"a\\"),
            (r#"\"a\" c"#, "a"),
            (r#"\"a\\\"b\" c"#, r#"a\\\"b"#),
            (r#"\\\"a\\\" c"#, "a"),
            (r#"\"a" c"#, "a"),
            ("'a\"b' c", "a\"b"),
            ("\"open", "open"),
        ] {
            let found = quoted(text.as_bytes(), 0).expect("a quote");
            assert_eq!(&text[found.start..found.end], expected, "{text}");
        }
    }
}
