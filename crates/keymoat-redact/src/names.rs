//! Names: reading one backwards from a separator, normalising it, and looking it up.

use crate::anchor::PAIR_NAMES;
use crate::finding::Kind;
use crate::shape::mark_end;
use crate::streams::{Core, cores_of, fold};
use crate::table::{HEADERS, HeaderRule, NAMES, Scope};

/// How many letters of a name are searched for words, from its end.
const LETTERS: usize = 40;
/// How many bytes a name may have.
const BYTES: usize = 128;

/// Each letter and digit in lower case; [`JOINT`] for what may stand between them in a name, 0 for every other byte.
const FOLDED: [u8; 256] = {
    let mut folded = [0; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        if byte.is_ascii_alphanumeric() {
            folded[byte as usize] = byte.to_ascii_lowercase();
        } else if matches!(byte, b'_' | b'-' | b'.') {
            folded[byte as usize] = JOINT;
        }
        byte += 1;
    }
    folded
};
const JOINT: u8 = 1;

#[inline]
fn folded(byte: u8) -> u8 {
    FOLDED.get(usize::from(byte)).copied().unwrap_or(0)
}

/// The last eight letters of [`PAIR_NAMES`].
const PAIR_TAILS: [u64; PAIR_NAMES.len()] = {
    let mut tails = [0; PAIR_NAMES.len()];
    let mut index = 0;
    while index < tails.len() {
        let name = PAIR_NAMES[index].as_bytes();
        let mut back = 1;
        while back <= 8 && back <= name.len() {
            tails[index] |= (name[name.len() - back] as u64) << (64 - 8 * back);
            back += 1;
        }
        index += 1;
    }
    tails
};

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) scope: Scope,
    pub(crate) kind: Kind,
    pub(crate) header: Option<HeaderRule>,
}

/// How many lists of names there are; a power of two.
const LISTS: usize = 512;

/// The names, by their last four letters.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    by_tail: Vec<Vec<Entry>>,
    /// A bit for each letter that a name ends with.
    lasts: [u64; 2],
    /// Ends of names that are shorter than that.
    short: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Box<[u8]>,
    /// The last eight letters as a number, and the bits of it that count.
    tail: u64,
    mask: u64,
    suffix: bool,
    meaning: Meaning,
    /// What of it must stand in one piece, or else it would be passed over; one of these.
    cores: Vec<Core>,
    /// A last word of this length surely has one.
    core_bytes: usize,
}

impl Entry {
    #[inline]
    fn fits(&self, letters: &Letters<'_>) -> bool {
        if letters.tail & self.mask != self.tail {
            return false;
        }
        let is_same = self.name.len() <= 8 || letters.goes_on_with(&self.name);
        let is_whole = self.suffix || letters.count == self.name.len() && !letters.cut;
        is_same
            && is_whole
            && (letters.name.len() - letters.last_word >= self.core_bytes || self.has_core(letters.name))
    }

    /// Whether one of its cores is in a name of several words.
    #[cold]
    fn has_core(&self, name: &[u8]) -> bool {
        let is_at_end = |core: &[u8], part: &[u8]| {
            part.len() >= core.len()
                && part.iter().rev().zip(core.iter().rev()).all(|(byte, core)| fold(*byte) == *core)
        };
        self.cores.is_empty()
            || self.cores.iter().any(|core| {
                let parts = (core.folded.len()..=name.len()).rev().take(if core.is_end { 1 } else { usize::MAX });
                parts.filter_map(|end| name.get(..end)).any(|part| is_at_end(&core.folded, part))
            })
    }
}

impl Names {
    /// The table's own.
    pub(crate) fn of_table() -> Self {
        let mut names = Self { by_tail: vec![Vec::new(); LISTS], lasts: [0; 2], short: Vec::new() };
        for (name, rule) in HEADERS {
            let kind = match rule {
                HeaderRule::Authorization => Kind::Authorization,
                HeaderRule::Cookie | HeaderRule::SetCookie => Kind::Cookie,
                HeaderRule::Subprotocol => Kind::Subprotocol,
            };
            names.add_of_table(name, true, Meaning { scope: Scope::Anywhere, kind, header: Some(rule) });
        }
        for rule in NAMES {
            names.add_of_table(rule.name, rule.suffix, Meaning { scope: rule.scope, kind: rule.kind, header: None });
        }
        names
    }

    fn add_of_table(&mut self, name: &str, suffix: bool, meaning: Meaning) {
        self.add_with(name, suffix, meaning, cores_of(name));
    }

    /// Adds a normalised name. Longer ones are looked at first.
    pub(crate) fn add(&mut self, name: &str, suffix: bool, meaning: Meaning) {
        self.add_with(name, suffix, meaning, Vec::new());
    }

    fn add_with(&mut self, name: &str, suffix: bool, meaning: Meaning, cores: Vec<Core>) {
        let tail = Letters::of(name.as_bytes()).tail;
        let list = if suffix && name.len() < 4 { Some(&mut self.short) } else { self.by_tail.get_mut(list(tail)) };
        if let Some(list) = list.filter(|_| !name.is_empty()) {
            let mask = u64::MAX << (64 - 8 * name.len().min(8));
            let behind = cores.iter().filter_map(|core| memchr::memmem::rfind(name.as_bytes(), &core.folded));
            let core_bytes = behind.map(|at| name.len() - at).min().unwrap_or(0);
            list.push(Entry { name: name.as_bytes().into(), tail, mask, suffix, meaning, cores, core_bytes });
            list.sort_by_key(|entry| std::cmp::Reverse(entry.name.len()));
            let last = (tail >> 56) as u8;
            if let Some(bits) = self.lasts.get_mut(usize::from(last >> 6)) {
                *bits |= 1 << (last & 63);
            }
        }
    }

    /// Whether a name may end with this letter.
    #[inline]
    pub(crate) fn may_end_with(&self, last: u8) -> bool {
        let last = folded(last);
        last <= JOINT || self.lasts.get(usize::from(last >> 6)).is_some_and(|bits| bits >> (last & 63) & 1 == 1)
    }

    /// What a normalised name means.
    #[inline]
    pub(crate) fn look_up(&self, letters: &Letters<'_>) -> Option<Meaning> {
        let entries = self.by_tail.get(list(letters.tail))?;
        let entry = entries.iter().find(|entry| entry.fits(letters));
        let entry = entry.or_else(|| self.short.iter().find(|entry| entry.fits(letters)));
        entry.map(|entry| entry.meaning)
    }
}

/// The list of names whose last letters are these.
#[inline]
const fn list(tail: u64) -> usize {
    ((tail >> 32) as u32).wrapping_mul(0x9e37_79b1) as usize >> (32 - LISTS.trailing_zeros())
}

/// A name, read normalised: its letters and digits in lower case, nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letters<'t> {
    /// As it stands.
    name: &'t [u8],
    /// How many letters it has.
    count: usize,
    /// Behind the last byte that is none.
    last_word: usize,
    /// The last eight letters as a number, the last one highest; zeros for those that there are not.
    tail: u64,
    /// Whether the name goes on before it.
    cut: bool,
}

impl<'t> Letters<'t> {
    /// Of a whole name.
    #[inline]
    pub(crate) fn of(name: &'t [u8]) -> Self {
        let (mut tail, mut count) = (0_u64, 0);
        let mut last_word = 0;
        for (at, byte) in name.iter().enumerate() {
            let letter = folded(*byte);
            if letter > JOINT {
                tail = tail >> 8 | u64::from(letter) << 56;
                count += 1;
            } else {
                last_word = at + 1;
            }
        }
        Self { name, count, last_word, tail, cut: false }
    }

    /// The letters, the last one first.
    fn backwards(&self) -> impl Iterator<Item = u8> {
        self.name.iter().rev().map(|byte| folded(*byte)).filter(|letter| *letter > JOINT)
    }

    fn ends_with(&self, end: &[u8]) -> bool {
        self.count >= end.len() && self.backwards().zip(end.iter().rev()).all(|(letter, expected)| letter == *expected)
    }

    /// Whether it ends with a name of more than eight letters, of which the last eight are the same.
    fn goes_on_with(&self, end: &[u8]) -> bool {
        let more = end.get(..end.len().saturating_sub(8)).unwrap_or_default();
        // Most names have nothing between their letters.
        let of_letters_alone = self.name.len() == self.count;
        match self.name.len().checked_sub(end.len()).and_then(|start| self.name.get(start..start + more.len())) {
            Some(own) if of_letters_alone => own.iter().zip(more).all(|(own, letter)| folded(*own) == *letter),
            _ => self.ends_with(end),
        }
    }

    /// Whether these are all of its letters.
    pub(crate) fn are(&self, letters: &str) -> bool {
        self.count == letters.len() && self.ends_with(letters.as_bytes())
    }

    /// Whether it is a name of members that hold another name, of which a session's cookie may be one: such as is never
    /// passed over.
    pub(crate) fn may_announce_session(&self) -> bool {
        let ends_with = |word: &[u8]| self.name.last_chunk::<4>().is_some_and(|last| last.eq_ignore_ascii_case(word));
        ends_with(b"name") || self.name.eq_ignore_ascii_case(b"key")
    }

    /// Whether it is one of the names of members that hold another name.
    #[inline]
    pub(crate) fn is_pair_name(&self) -> bool {
        PAIR_TAILS.contains(&self.tail) && (self.count < 8 || self.is_long_pair_name())
    }

    #[inline(never)]
    fn is_long_pair_name(&self) -> bool {
        PAIR_NAMES.iter().any(|pair| self.are(pair))
    }

    /// The same without digits at the end: `API_KEY_2` is another `API_KEY`.
    #[inline]
    fn without_number(&self) -> Option<Self> {
        if !((self.tail >> 56) as u8).is_ascii_digit() {
            return None;
        }
        let mut digits = 0;
        let mut length = self.name.len();
        for byte in self.name.iter().rev() {
            if byte.is_ascii_digit() {
                digits += 1;
            } else if folded(*byte) > JOINT {
                break;
            }
            length -= 1;
        }
        let shorter = Self { cut: self.cut, ..Self::of(self.name.get(..length).unwrap_or_default()) };
        (digits <= 2).then_some(shorter)
    }

    /// Whether one of `words` is in it.
    pub(crate) fn contains_any(&self, words: &[&str]) -> bool {
        let mut buffer = [0; LETTERS];
        let mut start = LETTERS;
        for (place, letter) in buffer.iter_mut().rev().zip(self.backwards()) {
            *place = letter;
            start -= 1;
        }
        let bit = |letter: u8| 1_u32 << (letter & 31);
        let firsts = words.iter().filter_map(|word| word.bytes().next()).fold(0, |firsts, first| firsts | bit(first));
        (start..LETTERS)
            .filter_map(|at| buffer.get(at..))
            .any(|rest| firsts & bit(byte(rest, 0)) != 0 && words.iter().any(|word| rest.starts_with(word.as_bytes())))
    }
}

/// A name in front of a separator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'t> {
    /// Where it stands, without quotes.
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) letters: Letters<'t>,
    /// The quote around it and the number of backslashes before that.
    pub(crate) quote: Option<(u8, usize)>,
    /// The byte before it and its quote; 0 at the start of the text.
    pub(crate) before: u8,
    /// Where it starts with its quote.
    pub(crate) outer_start: usize,
    /// Whether white space stands between it and the separator.
    pub(crate) spaced: bool,
    /// Whether it is two words.
    pub(crate) two_words: bool,
}

/// The byte at `at`, or 0 behind the end.
#[inline]
pub(crate) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// The byte before `at`, or 0 at the start.
#[inline]
pub(crate) fn before(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).and_then(|at| text.get(at)).copied().unwrap_or(0)
}

/// Whether an escape ends at `at`: `\\n`, or `%20`. What follows it starts afresh.
pub(crate) fn is_behind_escape(text: &[u8], at: usize) -> bool {
    matches!(before(text, at), b'n' | b'r' | b't') && before(text, at - 1) == b'\\'
        || at >= 3
            && byte(text, at - 3) == b'%'
            && byte(text, at - 2).is_ascii_hexdigit()
            && byte(text, at - 1).is_ascii_hexdigit()
}

#[inline]
pub(crate) const fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

#[inline]
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Whether a byte may be in a name that stands in quotes.
pub(crate) const fn is_in_quotes(byte: u8) -> bool {
    is_name_byte(byte) || matches!(byte, b' ' | b'[' | b']' | b':' | b'/' | b'$' | b'@')
}

impl<'t> Name<'t> {
    /// The name that ends before the separator at `separator`.
    pub(crate) fn before(text: &'t [u8], separator: usize) -> Option<Self> {
        let mut end = separator;
        while before(text, end) == b' ' && separator - end < 8 {
            end -= 1;
        }
        let spaced = end < separator;
        let last = before(text, end);
        if is_quote(last) {
            Self::quoted(text, end - 1, spaced)
        } else if last == b']' {
            Self::bracketed(text, end - 1, spaced)
        } else {
            Self::plain(text, end, spaced)
        }
    }

    /// The name in quotes whose closing one is at `close`.
    fn quoted(text: &'t [u8], close: usize, spaced: bool) -> Option<Self> {
        let quote = byte(text, close);
        let mut end = close;
        while before(text, end) == b'\\' && close - end < 16 {
            end -= 1;
        }
        let backslashes = close - end;
        let lowest = end.saturating_sub(BYTES);
        let mut start = end;
        while start > lowest {
            let byte = before(text, start);
            if byte == quote {
                break;
            }
            if !(is_in_quotes(byte) || byte == b'\\' && backslashes > 0) {
                return None;
            }
            start -= 1;
        }
        if before(text, start) != quote || start == end {
            return None;
        }
        let mut outer = start - 1;
        while before(text, outer) == b'\\' && start - outer <= 16 {
            outer -= 1;
        }
        if matches!(before(text, outer), b'b' | b'u' | b'r') && !is_name_byte(before(text, outer - 1)) {
            outer -= 1;
        }
        Some(Self {
            start,
            end,
            letters: Letters::of(text.get(start..end)?),
            quote: Some((quote, backslashes)),
            before: before(text, outer),
            outer_start: outer,
            spaced,
            two_words: false,
        })
    }

    /// `auth[api_key]` is its inner name; `api_key[]` and `api_key[0]` are the outer one.
    fn bracketed(text: &'t [u8], close: usize, spaced: bool) -> Option<Self> {
        let lowest = close.saturating_sub(BYTES);
        let mut open = close;
        while open > lowest && before(text, open) != b'[' {
            if matches!(before(text, open), b']' | b'&' | b'?') {
                return None;
            }
            open -= 1;
        }
        if before(text, open) != b'[' {
            return None;
        }
        let inner = text.get(open..close)?;
        if inner.iter().all(u8::is_ascii_digit) {
            return match before(text, open - 1) {
                b']' => Self::bracketed(text, open - 2, spaced),
                _ => Self::plain(text, open - 1, spaced),
            };
        }
        if is_quote(before(text, close)) {
            return Self::quoted(text, close - 1, spaced);
        }
        let name = Self::plain(text, close, spaced)?;
        (name.start == open).then_some(name)
    }

    fn plain(text: &'t [u8], end: usize, spaced: bool) -> Option<Self> {
        let lowest = end.saturating_sub(BYTES);
        let head = text.get(lowest..end)?;
        let length = head.iter().rev().position(|byte| folded(*byte) == 0).unwrap_or(head.len());
        let start = end - length;
        let mut letters = Letters::of(text.get(start..end)?);
        letters.cut = start > 0 && start == lowest;
        (start < end).then(|| Self {
            start,
            end,
            letters,
            quote: None,
            before: before(text, start),
            outer_start: start,
            spaced,
            two_words: false,
        })
    }

    /// Whether it has a hyphen, as names of headers have.
    pub(crate) fn has_hyphen(&self) -> bool {
        self.letters.name.contains(&b'-')
    }

    /// The same with the word before it, for names of two words in prose.
    pub(crate) fn with_word_before(&self, text: &'t [u8]) -> Option<Self> {
        if self.before != b' ' || self.quote.is_some() {
            return None;
        }
        let word = Self::plain(text, self.start - 1, false)?;
        let letters = Letters::of(text.get(word.start..self.end)?);
        Some(Self {
            start: word.start,
            outer_start: word.start,
            before: word.before,
            letters,
            two_words: true,
            ..*self
        })
    }

    /// Whether it is the word of a mark.
    fn is_in_mark(&self, text: &'t [u8]) -> bool {
        const OPEN: &[u8] = b"[REDACTED:";
        let head = text.get(..self.start).unwrap_or_default();
        head.ends_with(OPEN) && mark_end(text, self.start - OPEN.len()).is_some_and(|end| end >= self.end)
    }

    /// Whether a mark is in it: what stood there may have been no name.
    fn has_mark(&self, text: &'t [u8]) -> bool {
        let own = text.get(self.start..self.end).unwrap_or_default();
        memchr::memchr_iter(b'[', own).any(|open| mark_end(text, self.start + open).is_some_and(|end| end <= self.end))
    }

    /// What it means, alone or with the word before it; the name is widened in the second case.
    pub(crate) fn meaning(&mut self, names: &Names, text: &'t [u8]) -> Option<Meaning> {
        if self.before == b':' && self.is_in_mark(text) || self.quote.is_some() && self.has_mark(text) {
            return None;
        }
        if let Some(meaning) = names.look_up(&self.letters) {
            if meaning.scope == Scope::Anywhere {
                return Some(meaning);
            }
            // `access token: …` is more than `token`.
            if let Some(wider) = self.with_word_before(text)
                && let Some(wider_meaning) = names.look_up(&wider.letters)
                && wider_meaning.scope == Scope::Anywhere
                && wider_meaning.kind != Kind::Token
            {
                *self = wider;
                return Some(wider_meaning);
            }
            return Some(meaning);
        }
        if let Some(shorter) = self.letters.without_number() {
            return names
                .look_up(&shorter)
                .filter(|meaning| meaning.scope == Scope::Anywhere && meaning.header.is_none());
        }
        let wider = self.with_word_before(text)?;
        let meaning = names.look_up(&wider.letters).filter(|meaning| meaning.scope == Scope::Anywhere)?;
        *self = wider;
        Some(meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<Kind> {
        let mut name = Name::before(text.as_bytes(), text.len())?;
        name.meaning(&Names::of_table(), text.as_bytes()).map(|meaning| meaning.kind)
    }

    #[test]
    fn names_are_read_from_their_end() {
        for text in [
            "api_key",
            "exaApiKey",
            "API-KEY",
            "x.api.key",
            "auth[api_key]",
            "api_key[]",
            "h[\"x-api-key\"]",
            "\"apiKey\"",
            "\\\"api_key\\\"",
            "b'x-api-key'",
            "api_key ",
            "the api key",
            "OPENAI_API_KEY_2",
            "map[X-Api-Key",
        ] {
            assert_eq!(kind(text), Some(Kind::ApiKey), "{text}");
        }
        for text in
            ["monkey", "sort_key", "tokens", "token_type", "\"a\" + \"x", "primary keys", "", "[REDACTED:api_key]"]
        {
            assert_eq!(kind(text), None, "{text}");
        }
        // What only begins like a mark is none.
        assert_eq!(kind("[REDACTED:api_key"), Some(Kind::ApiKey));
    }
}
