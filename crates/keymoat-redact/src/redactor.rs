//! The streaming redactor: bytes in as they come, bytes out with every credential masked.
//!
//! The unit is the line. A line of more than [`LINE_BYTES_MAX`] is taken in windows that start and end at fixed places of
//! the line, so that what comes out does not depend on how the bytes came in.
//!
//! ```text
//! chunk ─▶ whole lines ──────────────▶ passed over, or looked at ─▶ out
//!            │ the rest                       ▲
//!            ▼                                │ line end
//!          held ─────── full ─▶ window ─▶ emitted up to a cut; the value at its end is dropped until it ends
//! ```

use std::borrow::Cow;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::carry::Carry;
use crate::finding::{End, Finding, Kind};
use crate::fingerprint::Fingerprinter;
use crate::known::{Known, KnownSecrets};
use crate::line::userinfo::open_password;
use crate::line::{LineScan, Scratch, value_end};
use crate::rules::Rules;
use crate::stats::Stats;
use crate::streams::Folded;
use crate::suspect::{Suspects, line_start};

/// How much of a line is looked at together, in bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// How much at the end of a window is looked at again in the next one.
const MARGIN: usize = 8 << 10;
/// How much before a window's start is looked at for names.
const CONTEXT: usize = 1 << 10;

/// A line of this length is passed over first, before it is looked at closely.
const LONG: usize = 1 << 10;

/// So many lines behind suspicious ones, at most, are looked at closely without being passed over.
const ROW: usize = 31;

/// What stands in the place of a line that could not be looked at.
const DROPPED: &[u8] = b"[REDACTED:error]";

/// What a [`Redactor`] does beside masking.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Puts a keyed fingerprint into marks: `[REDACTED:api_key:fp=7f3a9c01]`.
    pub fingerprint: Option<Fingerprinter>,
    /// Secrets to mask wherever they stand.
    pub known: KnownSecrets,
}

/// Masks credentials in a stream of bytes.
///
/// What comes out is the same however the bytes were split into writes, and does not change when it is redacted again.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut redactor = keymoat_redact::Redactor::default();
/// let mut out = Vec::new();
/// redactor.write(b"level=info api_k", &mut out)?;
/// redactor.write(b"ey=Zk7Qw2Lr9TnX path=/x\n", &mut out)?;
/// redactor.finish(&mut out)?;
/// assert_eq!(out, b"level=info api_key=[REDACTED:api_key] path=/x\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Redactor {
    rules: Arc<Rules>,
    options: Options,
    scratch: Scratch,
    folded: Folded,
    /// The line that has not ended, from `held_from` on; what is before that is out already.
    held: Vec<u8>,
    held_from: usize,
    /// Whether the line in `held` began before it.
    in_long_line: bool,
    /// What ends the value that is being dropped.
    dropping: Option<End>,
    carry: Carry,
    stats: Stats,
}

impl Redactor {
    /// With these rules.
    #[must_use]
    pub fn new(rules: Arc<Rules>, options: Options) -> Self {
        Self { rules, options, ..Self::default() }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The rules that it masks by.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes the next bytes and writes what is sure by now: all whole lines.
    ///
    /// # Errors
    /// What `out` says. Nothing unmasked was written; what was not written is lost.
    pub fn write(&mut self, chunk: &[u8], out: &mut impl Write) -> io::Result<()> {
        let known = self.options.known.load();
        self.stats.bytes += chunk.len() as u64;
        let mut rest = chunk;
        if !self.held.is_empty() || self.in_long_line {
            rest = self.fill(known.as_deref(), rest, out)?;
        }
        if let Some(end) = memchr::memrchr(b'\n', rest) {
            let (lines, behind) = rest.split_at(end + 1);
            self.lines(known.as_deref(), lines, out)?;
            rest = behind;
        }
        let rest = self.fill(known.as_deref(), rest, out)?;
        debug_assert!(rest.is_empty(), "there is no line end in it");
        Ok(())
    }

    /// Writes what is held back, as a last line without an end, and forgets what was open.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        let known = self.options.known.load();
        let done = self.end_line(known.as_deref(), out);
        self.carry = Carry::None;
        done
    }

    /// Writes what can be of a line that has not ended, for somebody who waits: nothing from where a name, a value or a
    /// word could still go on.
    ///
    /// # Errors
    /// What `out` says.
    pub fn flush_partial(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.held.len() <= self.held_from || self.dropping.is_some() || self.carry != Carry::None {
            return Ok(());
        }
        let known = self.options.known.load();
        let held = std::mem::take(&mut self.held);
        self.look(known.as_deref(), &held, false, Carry::None);
        let word = held.iter().rposition(u8::is_ascii_whitespace).map_or(0, |space| space + 1);
        let open = memchr::memrchr2(b'{', b'}', &held).filter(|at| held.get(*at) == Some(&b'{')).unwrap_or(held.len());
        let unfinished = self.scratch.findings.iter().filter(|finding| finding.span.end >= word);
        let unfinished = unfinished.map(|finding| finding.span.start).min().unwrap_or(held.len());
        let sure = word.min(open).min(unfinished).max(self.held_from);
        let findings = std::mem::take(&mut self.scratch.findings);
        let before = findings.partition_point(|finding| finding.span.end <= sure);
        let written = self.emit(&held, self.held_from, sure, findings.get(..before).unwrap_or_default(), out);
        self.scratch.findings = findings;
        self.held = held;
        self.keep_from(sure);
        written
    }

    /// The text with every credential masked; borrowed if there is none. It is taken as a whole, apart from the stream.
    pub fn redact<'t>(&mut self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let known = self.options.known.load();
        if is_clean(&self.rules, known.as_deref(), text, &mut self.folded) {
            return Cow::Borrowed(text);
        }
        let rules = Arc::clone(&self.rules);
        let scratch = std::mem::take(&mut self.scratch);
        let stats = std::mem::take(&mut self.stats);
        // Not the default, whose rules would be compiled for each text.
        let mut one = Self {
            rules,
            options: self.options.clone(),
            scratch,
            folded: std::mem::take(&mut self.folded),
            stats,
            held: Vec::new(),
            held_from: 0,
            in_long_line: false,
            dropping: None,
            carry: Carry::None,
        };
        let masked = one.stats.masked + one.stats.lines_dropped;
        let mut shown = Vec::with_capacity(text.len());
        // Writing to memory does not fail.
        let written = one.write(text, &mut shown).and_then(|()| one.finish(&mut shown));
        let changed = one.stats.masked + one.stats.lines_dropped > masked;
        self.scratch = one.scratch;
        self.folded = one.folded;
        self.stats = one.stats;
        match written {
            Ok(()) if changed => Cow::Owned(shown),
            Ok(()) => Cow::Borrowed(text),
            Err(_) => Cow::Borrowed(DROPPED),
        }
    }

    /// Whether nothing in these values has to be masked, each with a line feed behind it. Whoever knows that the rest of a line
    /// is its own words, and that none of its names asks for more, need not have the whole line looked at.
    ///
    /// Always `false` where a user has patterns, which may be meant for the whole line.
    #[must_use]
    pub fn are_clean(&mut self, values: &[u8]) -> bool {
        !self.rules.has_users() && matches!(self.redact(values), Cow::Borrowed(clean) if std::ptr::eq(clean, values))
    }

    /// Whether the next line may be the rest of something that was begun, such as a value over several lines.
    #[must_use]
    pub fn is_amid(&self) -> bool {
        self.carry != Carry::None || self.dropping.is_some() || self.in_long_line || !self.held.is_empty()
    }

    /// Whole lines, each with its end.
    fn lines(&mut self, known: Option<&Known>, text: &[u8], out: &mut impl Write) -> io::Result<()> {
        let rules = Arc::clone(&self.rules);
        let mut folded = std::mem::take(&mut self.folded);
        let mut passing = Passing::over(&rules, known, text, &mut folded);
        let mut clean_from = 0;
        let mut at = 0;
        // Credentials come in a row, and so do lines that only look like it: behind one, some are looked at without
        // passing over them first.
        let mut masked = false;
        let (mut row, mut close) = (0, 0);
        while at < text.len() {
            let start = match self.carry {
                Carry::None if !masked && close == 0 => match passing.next(at) {
                    Some(suspect) => {
                        let start = line_start(text, at, suspect);
                        row = if start == at { (row * 2 + 1).min(ROW) } else { 0 };
                        close = row;
                        start
                    }
                    None => break,
                },
                _ => at,
            };
            close = close.saturating_sub(1);
            let rest = text.get(start..).unwrap_or_default();
            let end = start + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = text.get(start..end).unwrap_or_default();
            if line.len() >= LINE_BYTES_MAX {
                out.write_all(text.get(clean_from..start).unwrap_or_default())?;
                self.fill(known, text.get(start..=end).unwrap_or_default(), out)?;
                clean_from = end + 1;
                masked = false;
            } else {
                let carry = std::mem::take(&mut self.carry);
                self.carry = self.look(known, line, false, carry);
                masked = !self.scratch.findings.is_empty();
                if masked {
                    // What is clean before the line goes out together with its beginning.
                    let ahead = start - clean_from;
                    for finding in &mut self.scratch.findings {
                        finding.span = finding.span.start + ahead..finding.span.end + ahead;
                    }
                    self.emit_all(text.get(clean_from..end).unwrap_or_default(), 0, out)?;
                    clean_from = end;
                }
            }
            at = end + 1;
        }
        self.folded = folded;
        out.write_all(text.get(clean_from..).unwrap_or_default())
    }

    /// Puts bytes to those that are held, up to the end of the line. Gives what is behind that.
    fn fill<'c>(&mut self, known: Option<&Known>, chunk: &'c [u8], out: &mut impl Write) -> io::Result<&'c [u8]> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let room = (LINE_BYTES_MAX + self.held_from).saturating_sub(self.held.len()).max(1);
            let head = rest.get(..room.min(rest.len())).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', head) {
                self.held.extend_from_slice(head.get(..end).unwrap_or_default());
                self.end_line(known, out)?;
                out.write_all(b"\n")?;
                return Ok(rest.get(end + 1..).unwrap_or_default());
            }
            self.held.extend_from_slice(head);
            rest = rest.get(head.len()..).unwrap_or_default();
            if head.len() == room {
                self.window(known, out)?;
            }
        }
        Ok(rest)
    }

    /// The line in `held` is whole.
    fn end_line(&mut self, known: Option<&Known>, out: &mut impl Write) -> io::Result<()> {
        self.drop_on();
        if self.dropping.take().is_some() {
            self.held_from = self.held.len();
        }
        let held = std::mem::take(&mut self.held);
        let carry = if self.in_long_line { Carry::None } else { std::mem::take(&mut self.carry) };
        let carry = self.look(known, &held, false, carry);
        self.carry = if self.in_long_line { Carry::None } else { carry };
        let written = self.emit_all(&held, self.held_from, out);
        self.held = held;
        self.held.clear();
        self.held_from = 0;
        self.in_long_line = false;
        written
    }

    /// `held` is full and its line goes on: writes up to a place that no value crosses.
    fn window(&mut self, known: Option<&Known>, out: &mut impl Write) -> io::Result<()> {
        if self.drop_on() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let carry = if self.in_long_line { Carry::None } else { std::mem::take(&mut self.carry) };
        self.look(known, &held, true, carry);
        self.in_long_line = true;
        let mut findings = std::mem::take(&mut self.scratch.findings);
        let is_open = |finding: &Finding| {
            let behind = held.get(finding.span.end..).unwrap_or_default();
            behind.iter().all(|byte| b"\\ .,:;!?\r".contains(byte))
        };
        let cut = match findings.last_mut().filter(|last| is_open(last)) {
            Some(last) => {
                last.kind = Kind::Oversize;
                self.dropping = Some(last.end);
                last.span.end
            }
            None => {
                let cut = held.len() - MARGIN;
                findings.iter().find(|finding| finding.span.contains(&cut)).map_or(cut, |finding| finding.span.end)
            }
        };
        let before = findings.partition_point(|finding| finding.span.end <= cut);
        let written = self.emit(&held, self.held_from, cut, findings.get(..before).unwrap_or_default(), out);
        self.scratch.findings = findings;
        self.held = held;
        self.keep_from(cut);
        written
    }

    /// Forgets the value that is being dropped, as far as it goes. Says whether there was one.
    fn drop_on(&mut self) -> bool {
        let Some(end) = self.dropping else { return false };
        match value_end(&self.held, self.held_from, end) {
            Some(behind) => {
                self.dropping = None;
                self.keep_from(behind);
            }
            None => {
                // A run of backslashes tells whether the quote behind it closes.
                let backslashes = self.held.iter().rev().take(64).take_while(|byte| **byte == b'\\').count();
                self.held_from = self.held_from.max(self.held.len() - backslashes);
                self.held.drain(..self.held_from);
                self.held_from = 0;
            }
        }
        true
    }

    /// What is before `from` is out; a part of it is kept, for names.
    fn keep_from(&mut self, from: usize) {
        let context = from.saturating_sub(CONTEXT);
        self.held_from = from;
        if self.in_long_line || from > LINE_BYTES_MAX / 2 {
            self.in_long_line = true;
            self.held.drain(..context);
            self.held_from = from - context;
        }
    }

    /// Looks for credentials in `line`. An error of the engine is a finding of all of it.
    fn look(&mut self, known: Option<&Known>, line: &[u8], truncated: bool, carry: Carry) -> Carry {
        let (rules, scratch) = (&self.rules, &mut self.scratch);
        if carry == Carry::None && known.is_none() && !rules.has_users() && is_name_alone(line) {
            scratch.findings.clear();
            return Carry::None;
        }
        let is_open = || truncated && open_password(line).is_some();
        if carry == Carry::None && line.len() >= LONG && is_clean(rules, known, line, &mut self.folded) && !is_open() {
            scratch.findings.clear();
            return Carry::None;
        }
        let done = caught(|| LineScan::run(rules, known, scratch, line, truncated, carry));
        done.unwrap_or_else(|| {
            self.scratch = Scratch::default();
            self.scratch.findings.push(Finding::dropped(line.len()));
            Carry::None
        })
    }

    fn emit_all(&mut self, line: &[u8], from: usize, out: &mut impl Write) -> io::Result<()> {
        let findings = std::mem::take(&mut self.scratch.findings);
        let written = self.emit(line, from, line.len(), &findings, out);
        self.scratch.findings = findings;
        written
    }

    /// Writes `line` between `from` and `to` with `findings` masked.
    fn emit(
        &mut self,
        line: &[u8],
        from: usize,
        to: usize,
        findings: &[Finding],
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut at = from;
        let mut any = false;
        for finding in findings {
            let (start, end) = (finding.span.start.max(from), finding.span.end);
            if start >= end {
                continue;
            }
            out.write_all(line.get(at..start).unwrap_or_default())?;
            self.mark(finding, line.get(start..end).unwrap_or_default(), out)?;
            at = end;
            any = true;
        }
        self.stats.lines_masked += u64::from(any);
        let rest = line.get(at..to).unwrap_or_default();
        if rest.is_empty() { Ok(()) } else { out.write_all(rest) }
    }

    fn mark(&mut self, finding: &Finding, value: &[u8], out: &mut impl Write) -> io::Result<()> {
        if finding.is_dropped() {
            self.stats.lines_dropped += 1;
            return out.write_all(DROPPED);
        }
        self.stats.count(finding.kind);
        if let Some(mark) =
            finding.kind.mark().filter(|_| self.options.fingerprint.is_none() && !finding.unquoted_member)
        {
            return out.write_all(mark.as_bytes());
        }
        let quote: &[u8] = if finding.unquoted_member { b"\"" } else { b"" };
        out.write_all(quote)?;
        out.write_all(b"[REDACTED:")?;
        out.write_all(self.rules.word(finding.kind).as_bytes())?;
        let print = self.options.fingerprint.as_ref().filter(|_| finding.kind != Kind::Oversize);
        if let Some(print) = print.and_then(|fingerprint| fingerprint.of(value)) {
            write!(out, ":fp={print:08x}")?;
        }
        out.write_all(b"]")?;
        out.write_all(quote)
    }
}

/// Whether a line is a short name and a `=` without a value: there is nothing in it, and nothing follows from it.
fn is_name_alone(line: &[u8]) -> bool {
    /// The shortest credential that stands without a name is longer, which a test holds.
    const SHORT: usize = 8;
    line.len() <= SHORT
        && line.split_last().is_some_and(|(last, name)| {
            *last == b'=' && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        })
}

/// What the engine says, unless it fails.
fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// Whether nothing in `text` is suspicious. An error of the engine is no proof of that.
fn is_clean(rules: &Rules, known: Option<&Known>, text: &[u8], folded: &mut Folded) -> bool {
    caught(|| Suspects::is_clean(rules, known, text, folded)).unwrap_or(false)
}

/// Passes over a text; after an error of the engine, over nothing more of it: each line is looked at closely.
struct Passing<'a> {
    suspects: Option<Suspects<'a>>,
    length: usize,
}

impl<'a> Passing<'a> {
    fn over(rules: &'a Rules, known: Option<&'a Known>, text: &'a [u8], folded: &'a mut Folded) -> Self {
        let suspects = caught(move || Suspects::new(rules, known, text, folded));
        Self { suspects, length: text.len() }
    }

    /// The first suspicious place from `from` on.
    fn next(&mut self, from: usize) -> Option<usize> {
        if let Some(suspects) = &mut self.suspects {
            if let Some(next) = caught(|| suspects.next(from)) {
                return next;
            }
            self.suspects = None;
        }
        (from < self.length).then_some(from)
    }
}

#[cfg(test)]
mod tests;
