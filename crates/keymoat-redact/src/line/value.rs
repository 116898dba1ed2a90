//! The value behind a name and a separator.

use std::ops::Range;

use super::end::{self, Around};
use super::{LineScan, Site};
use crate::carry::{Await, Carry};
use crate::finding::{Carrier, End};
use crate::names::{Letters, Meaning, Name, before, byte, is_quote};
use crate::shape::{self, mark_end};
use crate::table::{HeaderRule, Scope};

/// How deep a value may be wrapped, as in `Some(Secret("…"))`.
const WRAPPERS: usize = 4;

impl LineScan<'_> {
    /// Reads the value behind the separator at `separator`. Gives where to go on.
    #[inline(always)]
    pub(super) fn value_of(
        &mut self,
        level: usize,
        separator: usize,
        name_level: usize,
        name: &Name,
        meaning: Meaning,
    ) -> usize {
        let text = self.text(level);
        let sign = byte(text, separator);
        let mut at = separator + 1;
        match (sign, byte(text, at)) {
            (b'=', b'=' | b'>' | b'~') => at += 1,
            (b':', b':') => return at + 1,
            (b':', b'=') => at += 1,
            (b',', _) if name.quote.is_none() => return at,
            _ => {}
        }
        // `key=&x=1` has no value; `key=&"…"` may have one.
        if sign == b'='
            && byte(text, at) == b'&'
            && meaning.header.is_none()
            && !(is_quote(byte(text, at + 1)) || b"bBrRuUfF&@#\\".contains(&byte(text, at + 1)))
        {
            return at;
        }
        let compared = sign == b'=' && byte(text, separator + 1) == b'=';
        let carrier = match (sign, meaning.header) {
            (_, Some(HeaderRule::Cookie | HeaderRule::SetCookie)) => Carrier::Cookie,
            (_, Some(HeaderRule::Subprotocol)) => Carrier::Subprotocol,
            (_, Some(HeaderRule::Authorization)) => Carrier::Header,
            (b',', _) => Carrier::Tuple,
            (b':', _) if name.quote.is_some() => Carrier::Member,
            (b':', _) if name.has_hyphen() => Carrier::Header,
            (b':', _) => Carrier::Entry,
            _ if is_query(name) => Carrier::Query,
            _ => Carrier::Assignment,
        };
        let site = self.site(name_level, name, meaning.kind, carrier);
        let value = end::blank(text, at);
        let spaced = value > at || name.spaced;
        let (at, list) = unwrapped(text, value);
        if end::is_end(text, at) {
            self.await_value(level, name, meaning, &site, sign, list || at > value);
            return at;
        }
        if meaning.scope == Scope::Query && !is_query(name) {
            return self.form_value(level, at, name, &site);
        }
        if let Some(quoted) = end::quoted(text, string_start(text, at)) {
            if sign == b',' && !self.is_pair_value(level, &quoted, meaning) {
                return separator + 1;
            }
            return self.quoted_values(level, quoted, list, &site, meaning, name);
        }
        if sign == b',' {
            return separator + 1;
        }
        if list
            && byte(text, at).is_ascii_digit()
            && (sign == b':')
            && let Some(behind) = self.numbers(level, at, &site)
        {
            return behind;
        }
        if compared {
            return at;
        }
        if sign == b':' {
            self.colon_value(level, separator, at, list, name, meaning, &site)
        } else {
            self.assigned_value(level, at, spaced, name, meaning, &site)
        }
    }

    /// One quoted value, or all of a list.
    #[inline(never)]
    fn quoted_values(
        &mut self,
        level: usize,
        first: end::Quoted,
        list: bool,
        site: &Site,
        meaning: Meaning,
        name: &Name,
    ) -> usize {
        let text = self.text(level);
        let mut quoted = first;
        loop {
            let ends = End::Quote(quoted.quote, u8::try_from(quoted.backslashes).unwrap_or(u8::MAX));
            let part = quoted.start..match quoted.closed {
                true => quoted.end,
                // The quote that closed it may have gone with another value: then only the mark is left of it.
                false if mark_end(text, quoted.start).is_some() => {
                    end::unquoted(text, quoted.start, Around::Assignment)
                }
                false => self.line_end(level, quoted.start),
            };
            let shaped = meaning.scope == Scope::Shaped && name.quote.is_none() && !is_query(name)
                || meaning.scope == Scope::Shaped && site.carrier != Carrier::Query;
            self.mask(level, part, site, meaning, ends, shaped);
            let behind = quoted.behind();
            if !list {
                return behind;
            }
            let mut at = end::blank(text, behind);
            if byte(text, at) == b',' {
                at = end::blank(text, at + 1);
            }
            match end::quoted(text, string_start(text, at)) {
                Some(next) => quoted = next,
                None if end::is_end(text, at) => {
                    self.carry = Carry::Await(Await::list(site.kind, meaning.header));
                    return behind;
                }
                None => return behind,
            }
        }
    }

    /// Masks what is secret in the value at `part`, by what its name means.
    pub(super) fn mask(
        &mut self,
        level: usize,
        part: Range<usize>,
        site: &Site,
        meaning: Meaning,
        end: End,
        shaped: bool,
    ) {
        let text = self.text(level);
        let value = text.get(part.clone()).unwrap_or_default();
        match meaning.header {
            Some(HeaderRule::Authorization) => {
                let credential = self.scheme(level, part.clone());
                return self.authorization(level, part, credential, site, end);
            }
            Some(HeaderRule::Cookie) => return self.cookies(level, part, site),
            Some(HeaderRule::SetCookie) => return self.set_cookie(level, part, site),
            Some(HeaderRule::Subprotocol) => return self.subprotocols(level, part, site),
            None => {}
        }
        let value = value.trim_ascii();
        if shape::is_placeholder(value) || shape::is_masked(value) || shaped && !shape::is_secret(value) {
            return;
        }
        if let Some(scheme) = self.scheme(level, part.clone()) {
            return self.report(level, scheme..part.end, site, end);
        }
        self.report(level, part, site, end);
    }

    /// A bare word that is a credential in forms only: `key=…&x=1` at the start of a line or string.
    #[cold]
    fn form_value(&mut self, level: usize, at: usize, name: &Name, site: &Site) -> usize {
        let text = self.text(level);
        if !(name.before == 0 || is_quote(name.before)) || name.quote.is_some() || name.spaced {
            return at;
        }
        let end = end::unquoted(text, at, Around::Query);
        let value = text.get(at..end).unwrap_or_default();
        if (byte(text, end) == b'&' || is_quote(name.before)) && shape::is_secret(value) {
            self.report(level, at..end, &Site { carrier: Carrier::Query, ..site.clone() }, End::Delimiter);
            return end;
        }
        at
    }

    /// What follows `=` without quotes.
    #[inline(always)]
    fn assigned_value(
        &mut self,
        level: usize,
        at: usize,
        spaced: bool,
        name: &Name,
        meaning: Meaning,
        site: &Site,
    ) -> usize {
        let text = self.text(level);
        if meaning.header.is_some() {
            return self.header_value(level, at, name, meaning, site);
        }
        let query = is_query(name);
        if let Some(end) = placeholder_end(text, at) {
            return end;
        }
        // `token=Bearer …`
        let value_at = if query { at } else { self.scheme(level, at..text.len()).unwrap_or(at) };
        let end = end::unquoted(text, value_at, if query { Around::Query } else { Around::Assignment });
        let value = text.get(value_at..end).unwrap_or_default();
        if shape::is_placeholder(value) || shape::is_masked(value) {
            return end;
        }
        let fits = if query {
            meaning.scope != Scope::Query || !is_plain_word(value)
        } else if meaning.scope != Scope::Anywhere || name.two_words {
            shape::is_secret(value)
        } else if spaced {
            shape::is_unlike_words(value) && !self.is_code(value)
        } else {
            !self.is_code(value)
        };
        if !fits {
            if !query && memchr::memchr2(b'?', b'#', value).is_none() {
                self.words_until = end;
            }
            return at;
        }
        self.report_unmasked(level, value_at..end, site, End::Delimiter);
        end
    }

    /// What follows `:` without quotes: a header's value, an entry of YAML, or prose.
    #[expect(clippy::too_many_arguments, reason = "a separator, what stands before it and what behind")]
    #[inline(never)]
    fn colon_value(
        &mut self,
        level: usize,
        separator: usize,
        at: usize,
        list: bool,
        name: &Name,
        meaning: Meaning,
        site: &Site,
    ) -> usize {
        let text = self.text(level);
        if name.quote.is_some() && meaning.header.is_none() {
            return self.bare_member(level, at, name, site);
        }
        if is_block_scalar(text.get(at..).unwrap_or_default()) && !self.truncated {
            self.carry = Carry::Block { kind: site.kind, indent: indent(text) };
            return text.len();
        }
        if meaning.header.is_some() || !name.two_words && name.has_hyphen() && is_header_like(text, name) {
            return self.header_value(level, at, name, meaning, site);
        }
        if let Some(end) = placeholder_end(text, at) {
            return end;
        }
        let end = end::unquoted(text, at, Around::Word);
        let value = text.get(at..end).unwrap_or_default();
        if shape::is_masked(value) {
            return end;
        }
        let whole_line =
            !name.two_words && is_entry_start(text, name.outer_start) && end::is_end(text, end::blank(text, end));
        let fits = shape::is_secret(value) && !self.is_code(value)
            || (whole_line || list)
                && meaning.scope == Scope::Anywhere
                && shape::is_unlike_words(value)
                && !self.is_code(value);
        if !fits || shape::is_placeholder(value) {
            if !value.iter().any(|byte| matches!(byte, b'=' | b'?' | b'/' | b'@')) {
                self.colons_until = end;
            }
            return separator + 1;
        }
        self.report(level, at..end, site, End::Delimiter);
        end
    }

    /// A member of JSON without quotes: a number is a password too.
    fn bare_member(&mut self, level: usize, at: usize, name: &Name, site: &Site) -> usize {
        let text = self.text(level);
        let end = end::unquoted(text, at, Around::Assignment);
        let value = text.get(at..end).unwrap_or_default();
        let is_number = value.len() >= 4 && value.iter().all(u8::is_ascii_digit);
        let is_number = is_number && !matches!(site.kind, crate::Kind::Token | crate::Kind::Signature);
        if is_number || shape::is_secret(value) {
            self.report(level, at..end, site, End::Delimiter);
            if let Some(finding) = self.findings.last_mut() {
                finding.unquoted_member = name.quote == Some((b'"', 0)) && level == 0;
            }
            return end;
        }
        at
    }

    /// The bytes of a secret as a list of numbers.
    #[cold]
    fn numbers(&mut self, level: usize, at: usize, site: &Site) -> Option<usize> {
        let text = self.text(level);
        let rest = text.get(at..)?;
        let end = at
            + rest
                .iter()
                .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b' ' | b'x' | b'a'..=b'f'))
                .count();
        let value = text.get(at..end)?;
        if value.iter().filter(|byte| **byte == b',').count() < 7 {
            return None;
        }
        let end = at + value.trim_ascii_end().len();
        self.report(level, at..end, site, End::Delimiter);
        if let Some(finding) = self.findings.last_mut() {
            finding.unquoted_member = level == 0;
        }
        Some(end)
    }

    /// The value stands in one of the next lines.
    #[cold]
    fn await_value(&mut self, level: usize, name: &Name, meaning: Meaning, site: &Site, sign: u8, wrapped: bool) {
        if level > 0 || sign == b',' || self.truncated || meaning.scope == Scope::Query {
            return;
        }
        let text = self.text(level);
        let entry = sign == b':' && is_entry_start(text, name.outer_start) && !name.two_words;
        if sign == b'=' && !wrapped && !name.spaced {
            return;
        }
        let indent = indent(text);
        let mut awaited = Await::one(site.kind, meaning.header, indent);
        awaited.unquoted = entry && !wrapped && meaning.scope == Scope::Anywhere;
        self.carry = Carry::Await(awaited);
    }

    /// Whether a second string of a tuple is a credential: lists of names are no tuples.
    fn is_pair_value(&self, level: usize, quoted: &end::Quoted, meaning: Meaning) -> bool {
        let value = self.text(level).get(quoted.start..quoted.end).unwrap_or_default();
        meaning.header.is_some() && !self.is_name(value)
            || shape::is_unlike_words(value) && !self.is_name(value) && !shape::is_prose(value)
    }

    /// Whether a value is a sensitive name itself.
    pub(super) fn is_name(&self, value: &[u8]) -> bool {
        value.len() <= 40
            && value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']'))
            && self.rules.names.look_up(&Letters::of(value)).is_some()
    }

    /// Whether a value is an expression that says where the credential comes from.
    fn is_code(&self, value: &[u8]) -> bool {
        const SOURCES: [&str; 10] = [
            "os.environ",
            "os.getenv",
            "process.env",
            "env::",
            "std::env",
            "ENV[",
            "System.getenv",
            "import.meta",
            "getenv(",
            "secrets.",
        ];
        if matches!(value.first(), Some(b'o' | b'p' | b'e' | b's' | b'E' | b'S' | b'i' | b'g'))
            && SOURCES.iter().any(|source| value.starts_with(source.as_bytes()))
        {
            return true;
        }
        let last = before(value, value.len());
        if value.len() > 128 || !self.rules.names.may_end_with(last) {
            return false;
        }
        let mut digits = 0;
        for byte in value {
            digits += usize::from(byte.is_ascii_digit());
            let fits = byte.is_ascii_alphanumeric() || b"_.:->?!(&".contains(byte);
            if !fits || digits > 2 {
                return false;
            }
        }
        let last = value
            .rsplit(|byte| matches!(byte, b'.' | b':' | b'>' | b'&'))
            .find(|part| !part.is_empty())
            .unwrap_or_default();
        let name = last.split(|byte| *byte == b'(').next().unwrap_or_default();
        self.is_name(name) || last.ends_with(b"()") || last.ends_with(b"(")
    }
}

/// Whether a name stands in a URL's query, fragment or matrix, or behind the first parameter of a form.
pub(super) fn is_query(name: &Name) -> bool {
    name.quote.is_none() && matches!(name.before, b'?' | b'&' | b';' | b'#')
}

/// Skips what a value is wrapped in. Says whether a list was opened.
pub(super) fn unwrapped(text: &[u8], start: usize) -> (usize, bool) {
    let mut at = start;
    let mut list = false;
    // Most values are in nothing.
    let near = text.get(start..).unwrap_or_default();
    let near = near.get(..near.len().min(65)).unwrap_or_default();
    // Starting the search costs more than looking at the last few bytes of the line, which may have one that is not in it.
    let opens = match (text.last_chunk::<8>(), text.last_chunk::<16>()) {
        (Some(last), _) if near.len() <= last.len() => has_opening(last),
        (_, Some(last)) if near.len() <= last.len() => has_opening(last),
        _ => memchr::memchr2(b'(', b'[', near).is_some(),
    };
    if !opens {
        return (at, list);
    }
    for _ in 0..WRAPPERS {
        match byte(text, at) {
            b'[' if mark_end(text, at).is_none() => {
                list = true;
                at = end::blank(text, at + 1);
            }
            b'(' if mark_end(text, at).is_none() => at = end::blank(text, at + 1),
            byte_at if byte_at.is_ascii_alphabetic() || byte_at == b'_' => {
                let rest = text.get(at..).unwrap_or_default();
                let word = rest
                    .iter()
                    .take(64)
                    .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.'))
                    .count();
                if byte(text, at + word) != b'(' {
                    break;
                }
                let inner = end::blank(text, at + word + 1);
                let quoted = end::quoted(text, string_start(text, inner)).is_some();
                if !(quoted || end::is_end(text, inner) || byte(text, inner) == b'[' || wraps_more(text, inner)) {
                    break;
                }
                at = inner;
            }
            _ => break,
        }
    }
    (at, list)
}

#[inline]
fn has_opening<const N: usize>(bytes: &[u8; N]) -> bool {
    // Without a way out of the middle the compiler compares all of them at a time.
    bytes.iter().fold(false, |has, byte| has | (*byte == b'(') | (*byte == b'['))
}

fn wraps_more(text: &[u8], at: usize) -> bool {
    let rest = text.get(at..).unwrap_or_default();
    let word =
        rest.iter().take(64).take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')).count();
    word > 0 && byte(text, at + word) == b'(' && is_quote(byte(text, at + word + 1))
}

/// Skips the letters before a string literal, as in `b'…'`.
pub(super) fn string_start(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let letters = rest
        .iter()
        .take(3)
        .take_while(|byte| matches!(byte, b'b' | b'B' | b'r' | b'R' | b'u' | b'U' | b'f' | b'F' | b'&' | b'@' | b'#'))
        .count();
    match byte(text, at + letters) {
        quote if letters > 0 && (is_quote(quote) || quote == b'\\' && is_quote(byte(text, at + letters + 1))) => {
            at + letters
        }
        _ => at,
    }
}

/// The end of a placeholder that is not cut by what ends values: `${A}`, `{{ a }}`, `$(a b)`, `<a b>`.
fn placeholder_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let close: &[u8] = match rest {
        [b'{', b'{', ..] => b"}}",
        [b'$', b'{', ..] | [b'#', b'{', ..] | [b'{', ..] => b"}",
        [b'$', b'(', ..] => b")",
        [b'<', ..] => b">",
        [b'%', b'(', ..] => b")s",
        _ => return None,
    };
    let window = rest.get(..rest.len().min(80))?;
    let end = memchr::memmem::find(window, close)? + close.len();
    shape::is_placeholder(rest.get(..end)?).then_some(at + end).filter(|end| !byte(text, *end).is_ascii_alphanumeric())
}

/// Whether the rest of a line only opens a block of YAML: `>-`, `|`, `|2+`.
fn is_block_scalar(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii_end();
    matches!(rest.first(), Some(b'>' | b'|'))
        && rest.len() <= 4
        && rest.iter().skip(1).all(|byte| matches!(byte, b'+' | b'-') || byte.is_ascii_digit())
}

/// How far a line is indented; a list's dashes count.
pub(crate) fn indent(line: &[u8]) -> usize {
    line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// Whether only white space, a dash or a prompt stands before `at`.
pub(super) fn is_entry_start(text: &[u8], at: usize) -> bool {
    let head = text.get(..at).unwrap_or_default();
    head.len() < 80 && head.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'-' | b'>' | b'<' | b'*' | b'|' | b'+'))
        || before(text, at) == b'n' && before(text, at.saturating_sub(1)) == b'\\'
}

/// Lower-case letters: `?key=price` names a column.
fn is_plain_word(value: &[u8]) -> bool {
    value.len() <= 20
        && value.iter().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-' | b'.' | b',' | b'/'))
}

/// Whether a hyphenated name is a header's and not a sentence's.
fn is_header_like(text: &[u8], name: &Name) -> bool {
    matches!(byte(text, name.end), b':') && !name.spaced
}
