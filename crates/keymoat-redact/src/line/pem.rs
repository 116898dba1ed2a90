//! Private keys in PEM, and what goes on from one line to the next.

use super::end;
use super::value::{indent, string_start, unwrapped};
use super::{LineScan, Site};
use crate::carry::{Await, Carry, PEM_BYTES};
use crate::finding::{Carrier, Confidence, End, Kind};
use crate::names::{Meaning, byte};
use crate::shape;
use crate::table::{HeaderRule, Scope};
use crate::work;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// How many lines a value may be away from its name.
const LINES: u8 = 8;

impl LineScan<'_> {
    /// A private key's first line. Gives where to go on, if it is one.
    pub(super) fn at_pem(&mut self, level: usize, at: usize) -> Option<usize> {
        let text = self.text(level);
        let rest = text.get(at..)?;
        if !rest.starts_with(BEGIN) {
            return None;
        }
        let label = rest.get(BEGIN.len()..rest.len().min(BEGIN.len() + 64))?;
        let label_end = memchr::memchr_iter(b'-', label).find(|at| label.get(*at..*at + 5) == Some(b"-----"))?;
        let label = label.get(..label_end)?;
        // A mark in it, or a bracket at all, is none of a label.
        let is_private = label.ends_with(b"PRIVATE KEY") || label.windows(11).any(|part| part == b"PRIVATE KEY");
        if !is_private || label.contains(&b'[') {
            return None;
        }
        let body = at + BEGIN.len() + label_end + 5;
        let closed = if self.no_pem_end { None } else { memchr::memmem::find(text.get(body..)?, END) };
        work::passed(closed.unwrap_or(if self.no_pem_end { 0 } else { text.len() - body }));
        let site = pem(level);
        if let Some(end) = closed {
            let dashes = body + end + END.len();
            let label = text.get(dashes..text.len().min(dashes + 64)).unwrap_or_default();
            let behind = memchr::memmem::find(label, b"-----").map_or(dashes, |label| dashes + label + 5);
            self.report(level, at..behind, &site, End::Line);
            return Some(behind);
        }
        self.no_pem_end = true;
        let end = body_end(text, body);
        self.report(level, at..end, &site, End::Line);
        if end::is_end(text, end) && level == 0 {
            self.carry = Carry::Pem { bytes: rest.len(), over: false };
        }
        Some(end)
    }

    /// Takes up what the last line left. Gives where to look from.
    #[cold]
    pub(super) fn go_on(&mut self, carry: Carry) -> usize {
        let text = self.text(0);
        let is_blank = text.trim_ascii().is_empty();
        match carry {
            Carry::None => 0,
            Carry::Pem { bytes, over } => self.pem_line(bytes, over),
            Carry::Block { kind, indent: at } => {
                if !is_blank && indent(text) <= at {
                    return 0;
                }
                self.carry = Carry::Block { kind, indent: at };
                self.whole_line(kind, Carrier::Entry)
            }
            Carry::Multipart { kind, body, lines } => {
                if lines > 64
                    || body && (is_blank || text.starts_with(b"--"))
                    || !body && !is_blank && !text.contains(&b':')
                {
                    return 0;
                }
                self.carry = Carry::Multipart { kind, body: body || is_blank, lines: lines + 1 };
                if body { self.whole_line(kind, Carrier::Multipart) } else { 0 }
            }
            Carry::Element { kind, lines } => {
                let end = memchr::memchr(b'<', text).unwrap_or(text.len());
                if end == text.len() && lines < LINES {
                    self.carry = Carry::Element { kind, lines: lines + 1 };
                }
                let start = text.len() - text.trim_ascii_start().len();
                let value = text.get(start..end).unwrap_or_default().trim_ascii_end();
                self.follow(start, start + value.len(), kind, Carrier::Element);
                end
            }
            Carry::Pair { kind, header, shaped, lines } => {
                let site = site(kind, Carrier::Pair);
                let meaning = Meaning { scope: Scope::Anywhere, kind, header };
                let over = lines >= LINES || memchr::memchr2(b'}', b'{', text).is_some();
                if !self.awaited_member(&site, meaning, shaped) && !over {
                    self.carry = Carry::Pair { kind, header, shaped, lines: lines + 1 };
                }
                0
            }
            Carry::Await(awaited) => self.awaited(awaited, is_blank),
        }
    }

    fn awaited(&mut self, awaited: Await, is_blank: bool) -> usize {
        let text = self.text(0);
        let (at, list) = unwrapped(text, indent(text));
        let on = Await { lines: awaited.lines + 1, list: awaited.list || list, ..awaited };
        if end::is_end(text, at) {
            if awaited.lines < LINES && (!is_blank || !awaited.unquoted) {
                self.carry = Carry::Await(on);
            }
            return 0;
        }
        let meaning = Meaning { scope: Scope::Anywhere, kind: awaited.kind, header: awaited.header };
        let carrier = if awaited.header.is_some() { Carrier::Header } else { Carrier::Member };
        let site = site(awaited.kind, carrier);
        if let Some(quoted) = end::quoted(text, string_start(text, at)) {
            let behind = end::blank(text, quoted.behind());
            if byte(text, behind) == b':' {
                return 0;
            }
            let ends = End::Quote(quoted.quote, u8::try_from(quoted.backslashes).unwrap_or(u8::MAX));
            self.mask(0, quoted.start..quoted.end, &site, meaning, ends, false);
            if on.list && matches!(byte(text, behind), b',' | 0 | b'\r') && awaited.lines < LINES {
                self.carry = Carry::Await(on);
            }
            return quoted.behind();
        }
        let value = text.get(at..end::line(text, at)).unwrap_or_default();
        let folded = awaited.header == Some(HeaderRule::Authorization) && indent(text) > 0 && at == indent(text);
        let entry = awaited.unquoted && indent(text) > awaited.indent && !value.contains(&b' ');
        if folded && !shape::is_prose(value) || entry && shape::is_unlike_words(value) && !value.contains(&b':') {
            self.mask(0, at..at + value.len(), &site, meaning, End::Line, false);
            return text.len();
        }
        0
    }

    fn pem_line(&mut self, bytes: usize, over: bool) -> usize {
        let text = self.text(0);
        let bytes = bytes.saturating_add(text.len() + 1);
        let start = text.len() - text.trim_ascii_start().len();
        let kind = if over || bytes > PEM_BYTES { Kind::Oversize } else { Kind::PrivateKey };
        if let Some(found) = memchr::memmem::find(text, END) {
            let label = found + END.len();
            let end = text
                .get(label..)
                .and_then(|rest| memchr::memmem::find(rest, b"-----"))
                .map_or(text.len(), |end| label + end + 5);
            self.follow(start, end, kind, Carrier::Pem);
            return end;
        }
        let body = text.trim_ascii();
        if body.is_empty() {
            if !over {
                self.carry = Carry::Pem { bytes, over };
            }
            return 0;
        }
        let is_body = body.iter().all(|byte| is_base64(*byte)) && body.len() >= 4;
        let is_header =
            [&b"Proc-Type:"[..], b"DEK-Info:", b"Comment:", b"Version:"].iter().any(|name| body.starts_with(name));
        if over || kind == Kind::Oversize || is_body || is_header {
            self.carry = Carry::Pem { bytes, over: kind == Kind::Oversize };
            if shape::is_masked(body) {
                return 0;
            }
            self.follow(start, start + body.len(), kind, Carrier::Pem);
            return text.len();
        }
        // A logger's own words may stand in front of each line.
        let word = body.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        if word.len() >= 40 && word.iter().all(|byte| is_base64(*byte)) {
            let end = start + body.len();
            self.carry = Carry::Pem { bytes, over };
            self.follow(end - word.len(), end, kind, Carrier::Pem);
            return end;
        }
        0
    }

    fn whole_line(&mut self, kind: Kind, carrier: Carrier) -> usize {
        let text = self.text(0);
        let start = text.len() - text.trim_ascii_start().len();
        self.follow(start, text.trim_ascii_end().len(), kind, carrier);
        text.len()
    }

    fn follow(&mut self, start: usize, end: usize, kind: Kind, carrier: Carrier) {
        let value = self.text(0).get(start..end).unwrap_or_default();
        if !shape::is_placeholder(value) {
            self.report(0, start..end, &site(kind, carrier), End::Line);
        }
    }
}

fn site(kind: Kind, carrier: Carrier) -> Site {
    Site { kind, carrier, confidence: Confidence::Named, name: None, depth: 0 }
}

fn pem(level: usize) -> Site {
    Site { depth: u8::try_from(level).unwrap_or(u8::MAX), ..site(Kind::PrivateKey, Carrier::Pem) }
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// The end of what can be a key's body in one line: base64 with spaces and escaped line breaks between.
fn body_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut end = start;
    while let Some(&byte) = text.get(at) {
        work::passed(1);
        match byte {
            b'\\' => {
                let run = text.get(at..).unwrap_or_default().iter().take(8).take_while(|byte| **byte == b'\\').count();
                if !matches!(text.get(at + run), Some(b'n' | b'r')) {
                    break;
                }
                at += run + 1;
            }
            b' ' => at += 1,
            byte if is_base64(byte) => {
                let run = text.get(at..).unwrap_or_default().iter().take_while(|byte| is_base64(**byte)).count();
                // Words of a sentence are shorter than lines of a key, but for the last one.
                if run < 24 && at > start && text.get(at - 1) == Some(&b' ') && end == start {
                    break;
                }
                at += run;
                end = at;
            }
            _ => break,
        }
    }
    end
}
