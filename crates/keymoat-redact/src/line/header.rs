//! Headers that are more than one credential: schemes, cookies, subprotocols.

use std::ops::Range;

use super::end::{self, Around};
use super::value::is_entry_start;
use super::{LineScan, Site};
use crate::finding::{Carrier, Confidence, End, Kind};
use crate::names::{Letters, Meaning, Name, before, byte, is_quote};
use crate::shape;
use crate::table::{COOKIE_WORDS, HeaderRule, MARKERS, SCHEMES, Scope};

/// For each letter a bit for each scheme word that has it at this place.
const fn schemes_with(place: usize) -> [u32; 32] {
    let mut schemes = [0; 32];
    let mut index = 0;
    while index < SCHEMES.len() {
        schemes[(SCHEMES[index].as_bytes()[place] & 31) as usize] |= 1 << index;
        index += 1;
    }
    schemes
}

impl LineScan<'_> {
    /// A header's value without quotes of its own. Gives where to go on.
    #[inline(never)]
    pub(super) fn header_value(
        &mut self,
        level: usize,
        at: usize,
        name: &Name,
        meaning: Meaning,
        site: &Site,
    ) -> usize {
        let text = self.text(level);
        if at < self.header_until {
            return at;
        }
        let site = &Site {
            carrier: if site.carrier == Carrier::Entry { Carrier::Header } else { site.carrier },
            ..site.clone()
        };
        let credential = match meaning.header {
            Some(HeaderRule::Authorization) => self.scheme(level, at..text.len()),
            _ => None,
        };
        let (part, ends) = self.extent(level, at, name, meaning, credential);
        let open = self.truncated && part.end == text.len();
        match meaning.header {
            None => {
                let value = text.get(part.clone()).unwrap_or_default();
                let wordy = shape::is_prose(value) && (value.contains(&b' ') || value.len() < 16);
                if !wordy && !self.is_name(value) {
                    self.mask(level, part.clone(), site, meaning, ends, false);
                    return part.end;
                }
            }
            Some(HeaderRule::Authorization) => {
                self.authorization(level, part.clone(), credential, site, ends);
                self.header_until = part.end;
            }
            Some(_) if open => self.report(level, part.clone(), site, End::Line),
            Some(_) => {
                self.mask(level, part.clone(), site, meaning, ends, false);
                self.header_until = part.end;
            }
        }
        at
    }

    /// The end of the line without blanks. What was found out is kept.
    pub(super) fn line_end(&mut self, level: usize, from: usize) -> usize {
        let text = self.text(level);
        if !(self.one_line.contains(&from) && self.one_line.end <= text.len()) {
            self.one_line = from..end::break_at(text, from);
        }
        end::before_blanks(text, from, self.one_line.end)
    }

    /// How far a header's value goes. `credential` is what follows its scheme word.
    fn extent(
        &mut self,
        level: usize,
        at: usize,
        name: &Name,
        meaning: Meaning,
        credential: Option<usize>,
    ) -> (Range<usize>, End) {
        let text = self.text(level);
        if is_quote(name.before) && name.quote.is_none() {
            let backslashes = text.get(..name.outer_start.saturating_sub(1)).unwrap_or_default();
            let backslashes = backslashes.iter().rev().take(16).take_while(|byte| **byte == b'\\').count();
            let (end, closed) = end::closing(text, at, name.before, backslashes);
            let end = if closed { end } else { self.line_end(level, at) };
            return (at..end, End::Quote(name.before, u8::try_from(backslashes).unwrap_or(u8::MAX)));
        }
        let line = self.line_end(level, at);
        if before(text, at) == b'[' {
            let rest = text.get(at..line).unwrap_or_default();
            let mut from = 0;
            while let Some(found) = rest.get(from..).and_then(|rest| memchr::memchr2(b']', b'[', rest)) {
                let place = from + found;
                match shape::mark_end(text, at + place) {
                    Some(end) => from = end - at,
                    None if byte(text, at + place) == b']' => return (at..at + place, End::Line),
                    None => from = place + 1,
                }
            }
            return (at..line, End::Line);
        }
        if is_entry_start(text, name.outer_start) && !name.spaced && byte(text, name.end) == b':' {
            let mut line = line;
            while line > at
                && matches!(before(text, line), b'"' | b'\'' | b',' | b']' | b'}')
                && !is_value_end(text, at, line)
            {
                line -= 1;
            }
            return (at..line, End::Line);
        }
        match meaning.header {
            Some(HeaderRule::Authorization) => {
                let value = credential.filter(|value| *value < line).unwrap_or(at);
                let word = end::unquoted(text, value, Around::Word);
                let pairs = memchr::memchr(b'=', text.get(value..word.min(line)).unwrap_or_default())
                    .is_some_and(|equals| value > at && is_parameters(text, value, value + equals));
                if pairs {
                    (at..self.parameters_end(level, value, line), End::Line)
                } else {
                    (at..word.min(line), End::Delimiter)
                }
            }
            Some(HeaderRule::Subprotocol) => {
                let mut end = end::unquoted(text, at, Around::Word);
                while byte(text, end) == b',' {
                    let next = end::blank(text, end + 1);
                    let word = end::unquoted(text, next, Around::Word);
                    if word == next
                        || text.get(next..word).is_some_and(|word| word.contains(&b'=') || word.contains(&b':'))
                    {
                        break;
                    }
                    end = word;
                }
                (at..end.min(line), End::Delimiter)
            }
            Some(_) => {
                let rest = text.get(at..line).unwrap_or_default();
                let stop = |place: &usize| {
                    let behind = byte(text, at + place + 1);
                    matches!(behind, 0 | b' ' | b',' | b'}' | b']' | b')') && before(text, at + place) != b'='
                };
                let quote = memchr::memchr3_iter(b'"', b'\'', b'|', rest).find(stop);
                (at..quote.map_or(line, |quote| end::trimmed(text, at, at + quote)), End::Line)
            }
            None => (at..end::unquoted(text, at, Around::Word).min(line), End::Delimiter),
        }
    }

    /// Behind the scheme word that `part` starts with.
    pub(super) fn scheme(&self, level: usize, part: Range<usize>) -> Option<usize> {
        const FIRST: [u32; 32] = schemes_with(0);
        const SECOND: [u32; 32] = schemes_with(1);
        let text = self.text(level);
        let value = text.get(part.clone())?;
        let start = value.iter().take_while(|byte| **byte == b' ').count();
        let rest = value.get(start..)?;
        let mut left = FIRST.get(usize::from(byte(rest, 0) & 31))? & SECOND.get(usize::from(byte(rest, 1) & 31))?;
        while left != 0 {
            let scheme = SCHEMES.get(left.trailing_zeros() as usize)?.as_bytes();
            // The words are in lower case.
            let mut letters = rest.iter().zip(scheme);
            if byte(rest, scheme.len()) == b' '
                && letters.all(|(letter, expected)| letter.to_ascii_lowercase() == *expected)
            {
                return Some(end::blank(text, part.start + start + scheme.len())).filter(|value| *value < part.end);
            }
            left &= left - 1;
        }
        None
    }

    /// A scheme word, which stays, and the `credential` behind it.
    pub(super) fn authorization(
        &mut self,
        level: usize,
        part: Range<usize>,
        credential: Option<usize>,
        site: &Site,
        ends: End,
    ) {
        let text = self.text(level);
        let Some(credential) = credential.filter(|credential| *credential < part.end) else {
            let value = text.get(part.clone()).unwrap_or_default();
            let is_one_word = value.len() >= 16 && !value.contains(&b' ');
            if !shape::is_placeholder(value) && !shape::is_masked(value) && (!shape::is_prose(value) || is_one_word) {
                self.report_unmasked(level, part, site, ends);
            }
            return;
        };
        let value = text.get(credential..part.end).unwrap_or_default();
        if shape::is_placeholder(value) || shape::is_masked(value) || value.contains(&b' ') && shape::is_prose(value) {
            return;
        }
        if let Some(equals) = memchr::memchr(b'=', value)
            && is_parameters(text, credential, credential + equals)
            && self.parameters(level, credential..part.end, site)
        {
            return;
        }
        self.report_unmasked(level, credential..part.end, site, ends);
    }

    /// Masks the sensitive ones of `name=value, name="value"`. Says whether there was one.
    fn parameters(&mut self, level: usize, part: Range<usize>, site: &Site) -> bool {
        let text = self.text(level);
        let mut at = part.start;
        let mut found = false;
        while let Some(equals) =
            text.get(at..part.end).and_then(|rest| memchr::memchr(b'=', rest)).map(|equals| at + equals)
        {
            let name = Name::before(text, equals);
            let value = end::blank(text, equals + 1);
            let (span, behind) = match end::quoted(text, value) {
                Some(quoted) => (quoted.start..quoted.end.min(part.end), quoted.behind()),
                None => {
                    let end = end::unquoted(text, value, Around::Assignment).min(part.end);
                    (value..end, end)
                }
            };
            let letters = name.map(|name| name.letters);
            let telling = letters.is_some_and(|letters| {
                ["response", "mac", "hash", "cnonce"].iter().any(|name| letters.are(name))
                    || self.rules.names.look_up(&letters).is_some()
            });
            if telling && !span.is_empty() {
                self.report(level, span, site, End::Delimiter);
                found = true;
            }
            at = behind.max(equals + 1);
        }
        found
    }

    /// Where a list of parameters ends that is not the last of its line.
    fn parameters_end(&self, level: usize, start: usize, line: usize) -> usize {
        let text = self.text(level);
        let mut at = start;
        loop {
            let Some(equals) = text.get(at..line).and_then(|rest| memchr::memchr(b'=', rest)).map(|equals| at + equals)
            else {
                return at;
            };
            if text.get(at..equals).is_some_and(|name| name.trim_ascii().contains(&b' ')) {
                return at;
            }
            let behind = match end::quoted(text, equals + 1) {
                Some(quoted) => quoted.behind(),
                None => end::unquoted(text, equals + 1, Around::Assignment),
            };
            at = behind.min(line).max(equals + 1);
            match byte(text, at) {
                b',' | b'&' => at += 1,
                _ => return at.min(line),
            }
        }
    }

    /// The pairs of `Cookie` that hold a session or a credential.
    pub(super) fn cookies(&mut self, level: usize, part: Range<usize>, site: &Site) {
        let text = self.text(level);
        let mut start = part.start;
        while start < part.end {
            let rest = text.get(start..part.end).unwrap_or_default();
            let end = start + memchr::memchr(b';', rest).unwrap_or(rest.len());
            self.cookie(level, start..end, site, false);
            start = end + 1;
        }
    }

    pub(super) fn set_cookie(&mut self, level: usize, part: Range<usize>, site: &Site) {
        let text = self.text(level);
        let rest = text.get(part.clone()).unwrap_or_default();
        let end = part.start + memchr::memchr(b';', rest).unwrap_or(rest.len());
        self.cookie(level, part.start..end, site, true);
    }

    fn cookie(&mut self, level: usize, pair: Range<usize>, site: &Site, always: bool) {
        let text = self.text(level);
        let Some(equals) = text.get(pair.clone()).and_then(|pair| memchr::memchr(b'=', pair)) else {
            let value = text.get(pair.clone()).unwrap_or_default();
            if shape::is_secret(value.trim_ascii()) {
                self.report(level, pair, site, End::Delimiter);
            }
            return;
        };
        let name = text.get(pair.start..pair.start + equals).unwrap_or_default().trim_ascii();
        let mut start = end::blank(text, pair.start + equals + 1);
        let mut end = pair.end;
        while end > start && matches!(before(text, end), b' ' | b'\r' | b'\t') {
            end -= 1;
        }
        if end > start + 1 && is_quote(byte(text, start)) && before(text, end) == byte(text, start) {
            (start, end) = (start + 1, end - 1);
        }
        let Some(value) = text.get(start..end).filter(|_| !shape::has_own_mark(name)) else { return };
        if shape::is_placeholder(value)
            || !(always || is_session(name) || self.is_name(name) || shape::is_secret(value))
        {
            return;
        }
        self.report(level, start..end, &Site { kind: Kind::Cookie, ..site.clone() }, End::Delimiter);
    }

    /// The entries of `Sec-WebSocket-Protocol` that hold a credential.
    pub(super) fn subprotocols(&mut self, level: usize, part: Range<usize>, site: &Site) {
        let text = self.text(level);
        let mut at = part.start;
        let mut announced = false;
        while at < part.end {
            let rest = text.get(at..part.end).unwrap_or_default();
            let is_gap = |byte: &u8| matches!(byte, b',' | b' ' | b'"' | b'\'' | b'\\' | b'\t');
            let gap = rest.iter().take_while(|byte| is_gap(byte)).count();
            at += gap;
            let mut end = at;
            while end < part.end && !is_gap(&byte(text, end)) {
                end = shape::mark_end(text, end).unwrap_or(end + 1);
            }
            let entry = text.get(at..end).unwrap_or_default();
            if entry.is_empty() {
                break;
            }
            if let Some(marker) = self.marker(entry) {
                self.report(level, at + marker..end, site, End::Delimiter);
            } else if announced || entry.len() >= 20 && !self.rules.is_label(entry) {
                self.report(level, at..end, site, End::Delimiter);
            }
            announced = !announced
                && (entry.eq_ignore_ascii_case(b"bearer")
                    || entry.eq_ignore_ascii_case(b"authorization")
                    || self.is_name(entry));
            at = end;
        }
    }

    /// How long the marker is that an entry starts with.
    pub(super) fn marker(&self, entry: &[u8]) -> Option<usize> {
        let known = MARKERS.iter().find(|marker| {
            entry.get(..marker.len()).is_some_and(|start| start.eq_ignore_ascii_case(marker.as_bytes()))
        });
        if let Some(marker) = known {
            return Some(marker.len());
        }
        memchr::memchr_iter(b'.', entry).map(|dot| dot + 1).find(|dot| {
            let name = entry.get(..*dot).unwrap_or_default();
            name.ends_with(b"bearer.")
                || self.rules.names.look_up(&Letters::of(name)).is_some_and(|meaning| meaning.scope != Scope::Query)
        })
    }
}

/// Whether a cookie's name says that it holds a session.
pub(super) fn is_session(name: &[u8]) -> bool {
    name.starts_with(b"__Host-") || name.starts_with(b"__Secure-") || Letters::of(name).contains_any(&COOKIE_WORDS)
}

/// Whether a quote or bracket at the end belongs to the value: Digest's last parameter is quoted.
fn is_value_end(text: &[u8], start: usize, end: usize) -> bool {
    let last = before(text, end);
    let value = text.get(start..end).unwrap_or_default();
    match last {
        b'"' | b'\'' => memchr::memchr_iter(last, value).count().is_multiple_of(2),
        b']' | b'}' => value.contains(&if last == b']' { b'[' } else { b'{' }),
        _ => false,
    }
}

/// Whether `=` at `equals` stands between a name and a value, and is not base64's filling.
fn is_parameters(text: &[u8], start: usize, equals: usize) -> bool {
    let name = text.get(start..equals).unwrap_or_default();
    !name.is_empty()
        && name.len() <= 40
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && !matches!(byte(text, equals + 1), b'=' | b' ' | b',' | 0..=b'\r' | b'\\' | b']' | b'}')
}

/// A site that a value's own form gives away.
pub(super) fn bare(kind: Kind, confidence: Confidence, depth: usize) -> Site {
    Site { kind, carrier: Carrier::Bare, confidence, name: None, depth: u8::try_from(depth).unwrap_or(u8::MAX) }
}
