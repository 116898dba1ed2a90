//! A name and its value as two members: `{"name": "x-api-key", "value": "…"}`, parts of forms, XML elements.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::{Finder, FinderRev};

use super::end;
use super::header::is_session;
use super::value::string_start;
use super::{LineScan, Site};
use crate::carry::Carry;
use crate::finding::{Carrier, End, Kind};
use crate::names::{Letters, Meaning, Name, before, byte};
use crate::shape;
use crate::table::Scope;
use crate::work;

/// How far from its name a pair's value may stand in one line.
const REACH: usize = 256;

/// How long a name may be that is announced.
const ANNOUNCED: usize = 64;

/// What every name of a member that holds a value has in it.
static VALUE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"alue"));
static VALUE_BACKWARDS: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"alue"));

impl LineScan<'_> {
    /// Whether the name before a separator was seen behind the same bytes, can only announce another name, and no value
    /// is near that it could belong to.
    #[inline]
    pub(super) fn is_announcer_seen(&self, text: &[u8], at: usize) -> bool {
        let near = at.saturating_sub(REACH)..at + ANNOUNCED + 2 * REACH;
        self.announcer != 0
            && near.end < self.solid_until
            && self.no_value.contains(&near.start)
            && self.no_value.end >= near.end
            && last_bytes(text, at) == Some(self.announcer)
    }

    /// Keeps a name that can only announce another one, if the last bytes up to its separator tell all of that.
    pub(super) fn keep_announcer(&mut self, text: &[u8], at: usize, name: &Name) {
        let is_telling = matches!(name.before, b'=' | b'>' | b'<' | b'(' | b'[' | b'{' | b'/' | b',' | b'%' | b'|');
        let is_in_last = name.end == at && name.start + 8 > at;
        if name.quote.is_none() && is_telling && is_in_last && !name.letters.are("name") {
            self.announcer = last_bytes(text, at).unwrap_or(0);
        }
    }

    /// A separator whose name means nothing itself, but may announce one.
    #[inline(never)]
    pub(super) fn at_pair(&mut self, level: usize, at: usize, name: &Name) -> usize {
        let text = self.text(level);
        if !name.letters.is_pair_name() || byte(text, at) == b',' {
            return at + 1;
        }
        // Both members must be near, or the line must end.
        let is_part = byte(text, at) == b'=' && name.letters.are("name");
        let near = at.saturating_sub(REACH)..at + ANNOUNCED + 2 * REACH;
        if !is_part && near.end < self.solid_until && self.has_no_value(level, near) {
            return at + 1;
        }
        let value = end::blank(text, at + 1);
        let seen = text.get(..text.len().min(value + REACH)).unwrap_or_default();
        let (start, stop, behind) = match end::quoted(seen, string_start(seen, value)) {
            Some(quoted) if quoted.end - quoted.start <= ANNOUNCED => (quoted.start, quoted.end, quoted.behind()),
            Some(_) => return at + 1,
            None => {
                let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(byte);
                let end =
                    value + seen.get(value..).unwrap_or_default().iter().take(ANNOUNCED).take_while(is_name).count();
                (value, end, end)
            }
        };
        let announced = text.get(start..stop).unwrap_or_default();
        let Some((meaning, shaped)) = self.announced(announced, &name.letters) else { return at + 1 };
        let site = Site {
            name: self.layers.get(level).map(|layer| layer.raw(start..stop)),
            ..self.site(level, name, meaning.kind, Carrier::Pair)
        };
        if self.value_after(level, behind, &site, meaning, shaped)
            || self.value_before(level, name.outer_start, &site, meaning, shaped)
        {
            return behind;
        }
        self.await_pair(level, at, name, behind, &site, meaning);
        behind
    }

    /// What a name that is itself a value means, and whether the value must have secret shape.
    fn announced(&self, name: &[u8], by: &Letters) -> Option<(Meaning, bool)> {
        if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(byte)) {
            return None;
        }
        if let Some(meaning) = self.rules.names.look_up(&Letters::of(name)) {
            return Some((meaning, meaning.scope != Scope::Anywhere));
        }
        (by.may_announce_session() && is_session(name))
            .then_some((Meaning { scope: Scope::Shaped, kind: Kind::Cookie, header: None }, true))
    }

    fn value_after(&mut self, level: usize, from: usize, site: &Site, meaning: Meaning, shaped: bool) -> bool {
        let text = self.text(level);
        if self.has_no_value(level, from..from + REACH) {
            return false;
        }
        let window = text.get(from..text.len().min(from + REACH)).unwrap_or_default();
        let window = window.get(..memchr::memchr2(b'}', b'{', window).unwrap_or(window.len())).unwrap_or_default();
        let found = VALUE.find_iter(window).map(|at| from + at).find_map(|at| value_member(text, at));
        self.mask_member(level, found, site, meaning, shaped)
    }

    fn value_before(&mut self, level: usize, to: usize, site: &Site, meaning: Meaning, shaped: bool) -> bool {
        let text = self.text(level);
        let start = to.saturating_sub(REACH);
        if self.has_no_value(level, start..to) {
            return false;
        }
        let window = text.get(start..to).unwrap_or_default();
        let opened = memchr::memrchr2(b'{', b'<', window).map_or(0, |at| at + 1);
        let found = VALUE_BACKWARDS.rfind(window.get(opened..).unwrap_or_default());
        self.mask_member(level, found.and_then(|at| value_member(text, start + opened + at)), site, meaning, shaped)
    }

    /// Whether no name of a member that holds a value is in `part`. What was found out is kept.
    fn has_no_value(&mut self, level: usize, part: Range<usize>) -> bool {
        if !self.no_value.contains(&part.start) {
            let rest = self.text(level).get(part.start..).unwrap_or_default();
            let found = VALUE.find(rest);
            work::passed(found.unwrap_or(rest.len()));
            self.no_value = part.start..found.map_or(usize::MAX, |at| part.start + at);
        }
        self.no_value.end >= part.end
    }

    fn mask_member(
        &mut self,
        level: usize,
        found: Option<end::Quoted>,
        site: &Site,
        meaning: Meaning,
        shaped: bool,
    ) -> bool {
        let Some(quoted) = found else { return false };
        let ends = End::Quote(quoted.quote, u8::try_from(quoted.backslashes).unwrap_or(u8::MAX));
        self.mask(level, quoted.start..quoted.end, site, meaning, ends, shaped);
        true
    }

    /// The value comes in a later line, or behind the blank line of a form's part.
    fn await_pair(&mut self, level: usize, at: usize, name: &Name, behind: usize, site: &Site, meaning: Meaning) {
        let text = self.text(level);
        let is_part = byte(text, at) == b'=' && name.letters.are("name");
        if is_part && let Some((start, end)) = part_in_line(text, behind) {
            let site = Site { carrier: Carrier::Multipart, ..site.clone() };
            return self.report(level, start..end, &site, End::Line);
        }
        if level > 0 || self.truncated {
            return;
        }
        let rest = text.get(behind..).unwrap_or_default();
        let ends = rest.iter().all(|byte| says_nothing(*byte));
        if is_part && (ends || rest.starts_with(b";")) {
            self.carry = Carry::Multipart { kind: site.kind, body: false, lines: 0 };
        } else if ends && byte(text, at) == b':' {
            self.carry = Carry::Pair {
                kind: site.kind,
                header: meaning.header,
                shaped: meaning.scope != Scope::Anywhere,
                lines: 0,
            };
        }
    }

    /// The `value:` of a pair whose name stood in a line before. Says whether it was there.
    pub(super) fn awaited_member(&mut self, site: &Site, meaning: Meaning, shaped: bool) -> bool {
        let text = self.text(0);
        let trimmed = text.trim_ascii_start();
        let start = text.len() - trimmed.len();
        if trimmed.starts_with(b"<string>") || trimmed.starts_with(b"<value>") {
            let from = start + memchr::memchr(b'>', trimmed).unwrap_or(0) + 1;
            let end = text.get(from..).and_then(|rest| memchr::memchr(b'<', rest)).map_or(text.len(), |end| from + end);
            self.mask(0, from..end, site, meaning, End::Line, shaped);
            return true;
        }
        let Some(found) = memchr::memmem::find(text, b"alue") else { return false };
        if let Some(quoted) = value_member(text, found) {
            return self.mask_member(0, Some(quoted), site, meaning, shaped);
        }
        let key = text.get(start..found + 4).unwrap_or_default();
        let colon = end::blank(text, found + 4);
        if matches!(key, b"value" | b"Value") && byte(text, colon) == b':' {
            let value = end::blank(text, colon + 1);
            self.mask(0, value..end::line(text, value), site, meaning, End::Line, shaped);
            return true;
        }
        false
    }

    /// The end of an XML tag.
    #[inline(never)]
    pub(super) fn at_tag(&mut self, level: usize, at: usize) -> usize {
        let text = self.text(level);
        let Some((name, meaning)) = self.rules.tag(text, at) else { return at + 1 };
        let (start, end) = element(text, at + 1);
        let Some(meaning) = meaning else {
            let by = Letters::of(text.get(name).unwrap_or_default());
            self.announced_by_element(level, start, end, &by);
            return at + 1;
        };
        let site = Site {
            kind: meaning.kind,
            carrier: Carrier::Element,
            confidence: crate::Confidence::Named,
            name: self.layers.get(level).map(|layer| layer.raw(name.clone())),
            depth: u8::try_from(level).unwrap_or(u8::MAX),
        };
        let shaped = meaning.scope != Scope::Anywhere;
        if text.get(start..end).unwrap_or_default().trim_ascii().is_empty() {
            if end == text.len() && level == 0 && !shaped {
                self.carry = Carry::Element { kind: meaning.kind, lines: 0 };
            }
            return at + 1;
        }
        self.mask(level, start..end, &site, meaning, End::Line, shaped);
        end
    }

    /// `<key>apiKey</key><string>…</string>`
    fn announced_by_element(&mut self, level: usize, start: usize, end: usize, by: &Letters) {
        let text = self.text(level);
        let announced = text.get(start..end).unwrap_or_default();
        if announced.len() > ANNOUNCED {
            return;
        }
        let Some((meaning, shaped)) = self.announced(announced.trim_ascii(), by).filter(|_| !announced.is_empty())
        else {
            return;
        };
        let site = Site {
            kind: meaning.kind,
            carrier: Carrier::Element,
            confidence: crate::Confidence::Named,
            name: self.layers.get(level).map(|layer| layer.raw(start..end)),
            depth: u8::try_from(level).unwrap_or(u8::MAX),
        };
        let behind = text.get(end..text.len().min(end + REACH)).unwrap_or_default();
        let mut tags = memchr::memchr_iter(b'>', behind).skip(1);
        match tags.next() {
            Some(tag) => {
                let (start, end) = element(text, end + tag + 1);
                self.mask(level, start..end, &site, meaning, End::Line, shaped);
            }
            None if level == 0 => {
                self.carry = Carry::Pair { kind: meaning.kind, header: meaning.header, shaped, lines: 0 }
            }
            None => {}
        }
    }
}

/// The last eight bytes before a place.
#[inline]
fn last_bytes(text: &[u8], at: usize) -> Option<u64> {
    text.get(..at)?.last_chunk().map(|last| u64::from_le_bytes(*last))
}

/// Whether a byte may follow the last member of a line.
pub(super) const fn says_nothing(byte: u8) -> bool {
    matches!(byte, b' ' | b',' | b';' | b'\t' | b'\r')
}

/// The text of the element that starts at `start`.
fn element(text: &[u8], start: usize) -> (usize, usize) {
    const CDATA: &[u8] = b"<![CDATA[";
    let rest = text.get(start..).unwrap_or_default();
    if rest.starts_with(CDATA) {
        let start = start + CDATA.len();
        let rest = text.get(start..).unwrap_or_default();
        return (start, start + memchr::memmem::find(rest, b"]]>").unwrap_or(rest.len()));
    }
    let length = memchr::memchr(b'<', rest).unwrap_or(rest.len());
    work::passed(length);
    (start, start + length)
}

/// The quoted value of the member or attribute whose name ends with the `alue` at `at`.
fn value_member(text: &[u8], at: usize) -> Option<end::Quoted> {
    let name = Name::before(text, {
        let mut separator = at + 4;
        while matches!(byte(text, separator), b'"' | b'\'' | b'\\' | b' ') && separator < at + 24 {
            separator += 1;
        }
        if !matches!(byte(text, separator), b':' | b'=') || before(text, separator) == 0 {
            return None;
        }
        separator
    })?;
    let fits = ["value", "headervalue", "stringvalue"].iter().any(|value| name.letters.are(value));
    let separator =
        text.get(name.end..)?.iter().position(|byte| matches!(byte, b':' | b'=')).map(|at| name.end + at)?;
    let value = end::blank(text, separator + 1);
    fits.then(|| end::quoted(text, string_start(text, value)))?
}

/// The value of a form's part that stands in the same line, behind an escaped or real blank line.
fn part_in_line(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let rest = text.get(from..)?;
    let (blank, breaks): (usize, &[u8]) = [&b"\\r\\n\\r\\n"[..], b"\\n\\n", b"\r\n\r\n", b"\n\n"]
        .iter()
        .filter_map(|blank| {
            Some((memchr::memmem::find(rest.get(..rest.len().min(REACH))?, blank)? + blank.len(), &blank[..1]))
        })
        .min()?;
    let start = from + blank;
    let value = text.get(start..)?;
    let end = match breaks {
        b"\\" => memchr::memchr3(b'\\', b'"', b'\n', value),
        _ => memchr::memchr2(b'\r', b'\n', value),
    };
    let end = start + end.unwrap_or(value.len());
    (end > start && !shape::is_placeholder(text.get(start..end)?)).then_some((start, end))
}
