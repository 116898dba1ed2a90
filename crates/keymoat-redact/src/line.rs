//! One line, looked at closely: every anchor in it, in every level of encoding.
//!
//! What few lines need is in functions that are not inlined, so that the code which all lines run through stays in the
//! processor's first cache.

mod bare;
mod end;
mod header;
mod pair;
mod pem;
pub(crate) mod userinfo;
mod value;

use std::ops::Range;

use self::value::is_query;
use crate::anchor::{Anchors, GROUP, is_telling_escape, two_halves};
use crate::carry::Carry;
use crate::finding::{Carrier, Checksum, Confidence, End, Finding, Kind};
use crate::known::Known;
use crate::names::{Name, byte, is_quote};
use crate::rules::Rules;
use crate::shape::is_masked;
use crate::streams::Next;
use crate::suspect::find_dense;
use crate::table::Scope;
use crate::view::{LEVELS, View};

/// Memory that is used again from line to line.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    clean: View,
    decoded: [View; LEVELS],
    pub(crate) findings: Vec<Finding>,
}

/// The line at one level of encoding.
#[derive(Clone, Copy)]
struct Layer<'a> {
    text: &'a [u8],
    view: Option<&'a View>,
}

impl Layer<'_> {
    fn raw(&self, part: Range<usize>) -> Range<usize> {
        self.view.map_or_else(|| part.clone(), |view| view.raw(part.clone()))
    }

    fn level(&self, part: Range<usize>) -> u8 {
        self.view.map_or(0, |view| view.level(part))
    }

    fn at(&self, raw: usize) -> usize {
        self.view.map_or(raw, |view| view.at(raw))
    }
}

/// What is known of a value before it is read.
#[derive(Clone, Debug)]
struct Site {
    kind: Kind,
    carrier: Carrier,
    confidence: Confidence,
    /// The name, in the line's own bytes.
    name: Option<Range<usize>>,
    depth: u8,
}

/// A line under the lens.
pub(crate) struct LineScan<'a> {
    rules: &'a Rules,
    known: Option<&'a Known>,
    layers: [Layer<'a>; LEVELS + 1],
    /// Whether more of the line follows than can be seen.
    truncated: bool,
    findings: Vec<Finding>,
    /// What goes on in the next line.
    carry: Carry,
    /// Where, in the layer that is looked at, things end that need not be looked at again.
    header_until: usize,
    colons_until: usize,
    words_until: usize,
    jwt_until: usize,
    no_digit_until: usize,
    /// The word behind a marker that was no credential, and how many markers it had.
    markers: Range<usize>,
    markers_tried: usize,
    /// Where the last byte is behind which a line says nothing more.
    solid_until: usize,
    no_pem_end: bool,
    /// From where to where no line ends that is escaped.
    one_line: Range<usize>,
    /// What stands in front of the last `@`.
    authority: userinfo::Seen,
    /// Where no name of a member is that holds a value.
    no_value: Range<usize>,
    /// The last bytes up to a separator that end with a name which can only announce another one; 0 if none was seen.
    announcer: u64,
}

impl<'a> LineScan<'a> {
    /// Finds everything in `line`, and gives what goes on in the next one.
    ///
    /// The line comes without its line feed. `carry` is what the last one left.
    pub(crate) fn run(
        rules: &'a Rules,
        known: Option<&'a Known>,
        scratch: &'a mut Scratch,
        line: &'a [u8],
        truncated: bool,
        carry: Carry,
    ) -> Carry {
        let Scratch { clean, decoded, findings } = scratch;
        findings.clear();
        #[cfg(test)]
        assert!(rules.fault.is_none_or(|fault| memchr::memmem::find(line, fault).is_none()), "a fault on purpose");
        let (unusual, encoded) = flags(line);
        let base = if unusual && clean.clean(line) {
            Layer { text: &clean.text, view: Some(&*clean) }
        } else {
            Layer { text: line, view: None }
        };
        let mut scan = Self::new(rules, known, base, truncated, std::mem::take(findings));
        let count = if unusual | encoded { scan.decode(decoded) } else { 1 };
        let from = if carry == Carry::None { 0 } else { scan.go_on(carry) };
        for level in 0..count {
            scan.look_through(level, if level == 0 { from } else { 0 });
        }
        if truncated {
            scan.open_authority();
        }
        if let Some(known) = known {
            scan.known(known, count);
        }
        if rules.has_users() {
            scan.rules_of_users(line);
        }
        let carry = scan.carry;
        *findings = scan.findings;
        if findings.len() > 1 {
            settle(findings);
        }
        carry
    }

    #[inline]
    fn new(
        rules: &'a Rules,
        known: Option<&'a Known>,
        base: Layer<'a>,
        truncated: bool,
        findings: Vec<Finding>,
    ) -> Self {
        Self {
            rules,
            known,
            layers: [base; LEVELS + 1],
            truncated,
            findings,
            carry: Carry::None,
            header_until: 0,
            colons_until: 0,
            words_until: 0,
            jwt_until: 0,
            no_digit_until: 0,
            markers: 0..0,
            markers_tried: 0,
            solid_until: 0,
            no_pem_end: false,
            one_line: 0..0,
            authority: userinfo::Seen::default(),
            no_value: 0..0,
            announcer: 0,
        }
    }

    fn text(&self, level: usize) -> &'a [u8] {
        self.layers.get(level).map_or(&[], |layer| layer.text)
    }

    fn look_through(&mut self, level: usize, from: usize) {
        // At the first level all of it is as it was made.
        if level > 0 {
            (self.header_until, self.colons_until, self.words_until, self.jwt_until) = (0, 0, 0, 0);
            (self.no_digit_until, self.no_pem_end, self.no_value, self.one_line) = (0, false, 0..0, 0..0);
            (self.authority, self.markers) = (userinfo::Seen::default(), 0..0);
        }
        let text = self.text(level);
        self.solid_until = text.iter().rposition(|byte| !pair::says_nothing(*byte)).unwrap_or(0);
        let mut anchors = Anchors::new(text, from);
        let mut anchor = anchors.next();
        let mut rare = Next::new(&self.rules.rare, text, from);
        loop {
            let (at, resume) = match (rare.before(anchor.map_or(text.len(), |anchor| anchor + 1)), anchor) {
                (Some(at), _) => (at, self.at_rare(level, at)),
                (None, Some(at)) => (at, self.at_anchor(level, at)),
                (None, None) => break,
            };
            let resume = resume.max(at + 1);
            if anchor.is_some_and(|anchor| anchor < resume) {
                anchors.skip_to(resume);
                anchor = anchors.next();
            }
            rare.skip_to(resume);
        }
    }

    /// Looks at one anchor. Gives where to go on.
    fn at_anchor(&mut self, level: usize, at: usize) -> usize {
        match byte(self.text(level), at) {
            b'=' | b':' | b',' => self.at_separator(level, at),
            b'>' => self.at_tag(level, at),
            b'-' => self.at_dashes(level, at),
            b'@' => self.at_sign(level, at),
            _ => at + 1,
        }
    }

    /// A name before a separator.
    fn at_separator(&mut self, level: usize, at: usize) -> usize {
        let text = self.text(level);
        let sign = byte(text, at);
        if sign == b':' && at < self.colons_until
            || sign == b'=' && at < self.words_until
            || !self.rules.tails.may_end(text, at)
            || self.is_announcer_seen(text, at)
        {
            return at + 1;
        }
        // Not taken out: it is large, and was written a moment ago.
        let mut name = Name::before(text, at);
        let Some(name) = &mut name else { return at + 1 };
        let Some(meaning) = name.meaning(&self.rules.names, text) else { return self.at_pair(level, at, name) };
        if meaning.scope == Scope::Query && !is_query(name) && name.letters.is_pair_name() {
            let resume = self.at_pair(level, at, name);
            self.keep_announcer(text, at, name);
            if resume > at + 1 || !(name.before == 0 || is_quote(name.before)) {
                return resume;
            }
        }
        if byte(text, at) == b':' && name.before == b'/' {
            // `//x-access-token:…@host` is a user: the `@` tells more.
            return at + 1;
        }
        let value = if level == 0 { Some((0, at)) } else { self.level_of_value(level, at, name) };
        let Some((value_level, value_at)) = value else { return at + 1 };
        let resume = self.value_of(value_level, value_at, level, name, meaning);
        if value_level == level { resume } else { at + 1 }
    }

    /// A name may be encoded more often than its separator, whose level says how the value ends. `None` if a lower
    /// level has seen all of it.
    #[inline(never)]
    fn level_of_value(&self, level: usize, at: usize, name: &Name) -> Option<(usize, usize)> {
        let layer = self.layers.get(level)?;
        let separator = usize::from(layer.level(at..at + 1));
        let all = usize::from(layer.level(name.outer_start..at + 1));
        if all < level {
            return None;
        }
        if separator == level {
            return Some((level, at));
        }
        let raw = layer.raw(at..at + 1).start;
        Some((separator, self.layers.get(separator)?.at(raw)))
    }

    fn site(&self, level: usize, name: &Name, kind: Kind, carrier: Carrier) -> Site {
        let name = self.layers.get(level).map(|layer| layer.raw(name.start..name.end));
        Site { kind, carrier, confidence: Confidence::Named, name, depth: u8::try_from(level).unwrap_or(u8::MAX) }
    }

    /// Takes down a finding, unless it is a mark already.
    fn report(&mut self, level: usize, part: Range<usize>, site: &Site, end: End) {
        self.report_checked(level, part, site, end, Checksum::None);
    }

    fn report_checked(&mut self, level: usize, part: Range<usize>, site: &Site, end: End, checksum: Checksum) {
        let value = self.text(level).get(part.clone()).unwrap_or_default();
        if !is_masked(value) {
            self.take_down(level, part, site, end, checksum);
        }
    }

    /// The same of a value that is known to be no mark.
    fn report_unmasked(&mut self, level: usize, part: Range<usize>, site: &Site, end: End) {
        self.take_down(level, part, site, end, Checksum::None);
    }

    #[inline(always)]
    fn take_down(&mut self, level: usize, part: Range<usize>, site: &Site, end: End, checksum: Checksum) {
        let Some(layer) = self.layers.get(level) else { return };
        let value = layer.text.get(part.clone()).unwrap_or_default();
        if value.is_empty() || self.rules.is_allowed(value) {
            return;
        }
        self.findings.push(Finding {
            span: layer.raw(part),
            kind: site.kind,
            name: site.name.clone(),
            carrier: site.carrier,
            confidence: if checksum == Checksum::Holds { Confidence::Proven } else { site.confidence },
            checksum,
            depth: site.depth,
            unquoted_member: false,
            end,
        });
    }

    /// Decodes the line as often as that can tell something new. Gives how many layers there are then.
    #[inline(never)]
    fn decode(&mut self, views: &'a mut [View; LEVELS]) -> usize {
        let mut count = 1;
        let [mut below, ..] = self.layers;
        for view in views {
            let is_telling = |at: usize| {
                self.known.is_some()
                    || is_telling_escape(below.text, at)
                    || byte(below.text, at) == b'\\' && byte(below.text, at + 1) == b'/'
            };
            let telling = find_dense(below.text, 0, [b'%', b'\\', b'#'], is_telling).is_some()
                || memchr::memchr(b'&', below.text).is_some_and(|_| memchr::memchr(b';', below.text).is_some());
            if !telling || !view.decode(below.text, below.view) {
                break;
            }
            below = Layer { text: &view.text, view: Some(&*view) };
            if let Some(layer) = self.layers.get_mut(count) {
                *layer = below;
            }
            count += 1;
        }
        count
    }

    /// The registered secrets, in every form.
    #[cold]
    fn known(&mut self, known: &Known, count: usize) {
        for layer in self.layers.get(..count).unwrap_or_default() {
            known.find(layer.text, |found| {
                self.findings.push(Finding {
                    span: layer.raw(found),
                    kind: Kind::Known,
                    name: None,
                    carrier: Carrier::Known,
                    confidence: Confidence::Proven,
                    checksum: Checksum::None,
                    depth: 0,
                    unquoted_member: false,
                    end: End::Delimiter,
                });
            });
        }
    }

    #[cold]
    fn rules_of_users(&mut self, line: &[u8]) {
        let rules = self.rules;
        rules.find_users(line, |span, index| {
            let value = line.get(span.clone()).unwrap_or_default();
            if span.is_empty() || is_masked(value) {
                return;
            }
            self.findings.push(Finding {
                span,
                kind: Kind::User(index),
                name: None,
                carrier: Carrier::Rule,
                confidence: Confidence::Named,
                checksum: Checksum::None,
                depth: 0,
                unquoted_member: false,
                end: End::Delimiter,
            });
        });
    }
}

/// Whether a line has bytes that may be no part of what is seen, and such that may encode others.
fn flags(line: &[u8]) -> (bool, bool) {
    // The last block overlaps the one before it.
    if let Some(last) = line.last_chunk() {
        return flags_of(line.as_chunks().0, last);
    }
    if let (Some(first), Some(last)) = (line.first_chunk(), line.last_chunk()) {
        return flags_of(&[], &two_halves(*first, *last));
    }
    let flags = line.iter().fold(0, |flags, byte| flags | FLAGS.get(usize::from(*byte)).copied().unwrap_or(0));
    (flags & UNUSUAL > 0, flags & ENCODED > 0)
}

#[inline]
fn flags_of(blocks: &[[u8; GROUP]], last: &[u8; GROUP]) -> (bool, bool) {
    let (mut unusual, mut encoded) = ([0; GROUP], [0; GROUP]);
    for block in blocks.iter().chain([last]) {
        // Without a way out of the middle the compiler compares all of them at a time.
        for ((byte, unusual), encoded) in block.iter().zip(&mut unusual).zip(&mut encoded) {
            let byte = *byte;
            *unusual |= u8::from((byte == 0) | (byte == 0x1b) | (byte == b'\\') | (byte == b'#') | (byte >= 0xc2));
            *encoded |= u8::from((byte == b'%') | (byte == b'&'));
        }
    }
    (u128::from_le_bytes(unusual) != 0, u128::from_le_bytes(encoded) != 0)
}

const UNUSUAL: u8 = 1;
const ENCODED: u8 = 2;
const FLAGS: [u8; 256] = {
    let mut flags = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        flags[byte] = match byte as u8 {
            0 | 0x1b | b'\\' | b'#' | 0xc2.. => UNUSUAL,
            b'%' | b'&' => ENCODED,
            _ => 0,
        };
        byte += 1;
    }
    flags
};

/// Where the value that goes on at `from` ends, if it does in `text`.
pub(crate) fn value_end(text: &[u8], from: usize, ends: End) -> Option<usize> {
    match ends {
        End::Line => None,
        End::Quote(quote, backslashes) => {
            let (end, closed) = end::closing(text, from, quote, usize::from(backslashes));
            closed.then_some(end)
        }
        End::Delimiter => {
            let rest = text.get(from..)?;
            let is_end =
                |byte: &u8| matches!(byte, 0..=b' ' | b'"' | b'\'' | b'&' | b';' | b'<' | b'>' | b')' | b']' | b',');
            rest.iter().position(is_end).map(|at| from + at)
        }
    }
}

/// Puts findings in order and makes one of those that overlap: the one that starts first, and of these the longest, says
/// what it is.
#[inline(never)]
fn settle(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| a.span.start.cmp(&b.span.start).then(b.span.end.cmp(&a.span.end)));
    findings.dedup_by(|later, earlier| {
        if later.span.start >= earlier.span.end {
            return false;
        }
        if later.span.end > earlier.span.end {
            earlier.span.end = later.span.end;
            earlier.end = later.end;
        }
        if later.span == earlier.span && later.checksum != Checksum::None {
            earlier.checksum = later.checksum;
        }
        earlier.confidence = earlier.confidence.max(later.confidence);
        earlier.unquoted_member |= later.unquoted_member;
        true
    });
}
