//! Looks at windows of text and takes down what it finds in a tally.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::code::{self, Language};
use super::excerpt::{excerpt, shown};
use super::report::{At, CODE_MAX, CodeFinding, Credential, Id, LINES_MAX, PLACES_MAX, Place};
use super::vendor::Vendor;
use super::windows::Window;
use super::{pointer, seen};
use crate::finder::Finder;
use crate::finding::{Carrier, Finding, Kind};
use crate::fingerprint::Fingerprinter;
use crate::redactor::Redactor;
use crate::shape::is_secret;

/// A file of data above this size is no OpenAPI description.
const DESCRIPTION_BYTES_MAX: u64 = 16 << 20;

/// What is known of a file before it is looked into.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// Its path, fit to be shown.
    pub(super) file: Arc<str>,
    /// What it is written in, if it is source code.
    pub(super) language: Option<Language>,
    /// Whether places in it are told in bytes.
    pub(super) is_binary: bool,
}

/// What was found in a file, or in a part of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) credentials: HashMap<Id, Box<Credential>>,
    pub(super) code: Vec<CodeFinding>,
    pub(super) code_further: u64,
    pub(super) waived: u64,
    pub(super) bytes: u64,
    /// How many line ends were passed.
    pub(super) line_ends: u64,
    /// Where the last line of it begins, if it begins in it.
    pub(super) line_start: Option<u64>,
    /// Whether the file is one JSON text, as far as its beginning tells.
    pub(super) may_be_json: bool,
}

impl Tally {
    /// Adds what was found elsewhere.
    pub(super) fn merge(&mut self, other: Self) {
        for (id, credential) in other.credentials {
            self.add(id, credential);
        }
        let room = CODE_MAX.saturating_sub(self.code.len());
        self.code_further += other.code_further + other.code.len().saturating_sub(room) as u64;
        self.code.extend(other.code.into_iter().take(room));
        self.waived += other.waived;
        self.bytes += other.bytes;
    }

    /// Makes lines and columns count from the beginning of the file, for a part that begins with line `lines` from 0.
    pub(super) fn settle(&mut self, lines: u64, line_start: u64) {
        let places = self.credentials.values_mut().flat_map(|credential| &mut credential.places);
        for place in places.chain(self.code.iter_mut().map(|finding| &mut finding.place)) {
            if let At::Text { offset, line, column, .. } = &mut place.at {
                *line += lines;
                if *column == 0 {
                    *column = *offset - line_start.min(*offset) + 1;
                }
            }
        }
    }

    fn add(&mut self, id: Id, mut credential: Box<Credential>) {
        let is_full = self.credentials.len() >= LINES_MAX;
        match self.credentials.entry(id) {
            std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().merge(*credential),
            std::collections::hash_map::Entry::Vacant(entry) => {
                if is_full {
                    credential.line = None;
                }
                entry.insert(credential);
            }
        }
    }
}

/// What one thread looks with.
#[derive(Debug)]
pub(super) struct Eye {
    finder: Finder,
    code: Arc<code::Finder>,
    fingerprinter: Fingerprinter,
    redactor: Redactor,
    found: Vec<Finding>,
}

impl Eye {
    pub(super) fn new(finder: Finder, code: Arc<code::Finder>, fingerprinter: Fingerprinter) -> Self {
        Self { finder, code, fingerprinter, redactor: Redactor::default(), found: Vec::new() }
    }

    /// A path as it may be shown.
    pub(super) fn path(&mut self, path: &Path) -> Arc<str> {
        shown(path.as_os_str().as_encoded_bytes(), &mut self.redactor).into()
    }

    /// A name out of a file as it may be shown.
    pub(super) fn name(&mut self, name: &str) -> Arc<str> {
        shown(name.as_bytes(), &mut self.redactor).into()
    }

    /// Looks for credentials in a file's own name: downloads are called after their URLs.
    pub(super) fn look_at_name(&mut self, path: &Path, subject: &Subject, tally: &mut Tally) {
        let Some(name) = path.file_name().map(std::ffi::OsStr::as_encoded_bytes) else { return };
        self.find(name);
        let mut found = std::mem::take(&mut self.found);
        if let Some(last) = found.last_mut().filter(|last| last.span.end == name.len()) {
            let value = name.get(last.span.clone()).unwrap_or_default();
            // `….html` behind a value is no part of it.
            let dot = value.len().saturating_sub(6);
            let extension = value.get(dot..).and_then(|tail| tail.iter().rposition(|byte| *byte == b'.'));
            last.span.end = extension.map_or(last.span.end, |at| last.span.start + dot + at);
        }
        for finding in &found {
            let place = || At::FileName;
            self.take_down(tally, name, finding, &found, subject, [None; 2], place);
        }
        self.found = found;
    }

    /// Looks at one window of a file.
    pub(super) fn look(&mut self, window: &Window<'_>, subject: &Subject, tally: &mut Tally) {
        let text = window.text;
        let line_start_before = tally.line_start;
        self.find(text);
        let found = std::mem::take(&mut self.found);
        let mut lines = Lines::new(text, window, tally);
        for finding in &found {
            if !window.owned.contains(&finding.span.start) || subject.is_strict() && !is_certain(text, finding) {
                continue;
            }
            let (line, line_start) = lines.of(finding.span.start);
            let time = time_of(text, &finding.span, tally.may_be_json);
            let offset = window.offset + finding.span.start as u64;
            let is_binary = subject.is_binary;
            let place = || match is_binary {
                true => At::Binary { offset },
                false => At::Text {
                    offset,
                    line,
                    column: line_start.map_or(0, |start| offset - start + 1),
                    pointer: line_start.and_then(|start| pointer_of(window, start, offset)).map(Into::into),
                },
            };
            self.take_down(tally, text, finding, &found, subject, [time; 2], place);
        }
        if let Some(language) = subject.language {
            self.look_at_code(window, language, subject, line_start_before, &found, tally);
        }
        self.found = found;
        let owned = text.get(window.owned.clone()).unwrap_or_default();
        tally.bytes += owned.len() as u64;
        tally.line_ends += memchr::memchr_iter(b'\n', owned).count() as u64;
        if let Some(end) = memchr::memrchr(b'\n', owned) {
            tally.line_start = Some(window.offset + (window.owned.start + end + 1) as u64);
        }
    }

    /// Looks at a value of a database. In a column that is called like a credential, all of it is one.
    pub(super) fn look_at_cell(
        &mut self,
        cell: &[u8],
        column: &str,
        subject: &Subject,
        tally: &mut Tally,
        time: impl Fn() -> [Option<i64>; 2],
        place: impl Fn() -> At,
    ) {
        tally.bytes += cell.len() as u64;
        self.find(cell);
        if self.found.is_empty() && is_secret(cell) {
            return self.look_at_named_cell(cell, column, subject, tally, time, place);
        }
        let found = std::mem::take(&mut self.found);
        for finding in &found {
            let [first, last] = time();
            self.take_down(tally, cell, finding, &found, subject, [first, last], &place);
        }
        self.found = found;
    }

    fn look_at_named_cell(
        &mut self,
        cell: &[u8],
        column: &str,
        subject: &Subject,
        tally: &mut Tally,
        time: impl Fn() -> [Option<i64>; 2],
        place: impl Fn() -> At,
    ) {
        let mut text = zeroize::Zeroizing::new(format!("{column}: \"").into_bytes());
        let start = text.len();
        text.extend_from_slice(cell);
        text.push(b'"');
        self.find(&text);
        let mut found = std::mem::take(&mut self.found);
        if let Some(finding) = found.first_mut() {
            finding.span = start..start + cell.len();
            let finding = finding.clone();
            found.truncate(1);
            self.take_down(tally, &text, &finding, &found, subject, time(), place);
        }
        self.found = found;
    }

    /// Fills `found`; the lines of a private key become one finding.
    fn find(&mut self, text: &[u8]) {
        let found = &mut self.found;
        found.clear();
        self.finder.find(text, &mut |finding| {
            if let Some(last) = found.last_mut() {
                let gap = text.get(last.span.end..finding.span.start).unwrap_or_default();
                let is_gap = gap.len() <= 64 && gap.iter().all(|byte| b" \t\r\n\"'+,\\n".contains(byte));
                if finding.kind == Kind::PrivateKey && last.kind == Kind::PrivateKey && is_gap {
                    last.span.end = finding.span.end;
                    return;
                }
            }
            found.push(finding);
        });
    }

    /// The id of a finding, and whether it is its value's own.
    fn id(&self, text: &[u8], finding: &Finding, subject: &Subject) -> (Id, bool) {
        let value = text.get(finding.span.clone()).unwrap_or_default();
        if let Some(print) = self.fingerprinter.long_of(value) {
            return (Id(print), true);
        }
        let name = finding.name.clone().and_then(|name| text.get(name)).unwrap_or_default();
        let kind = self.finder.rules().word(finding.kind);
        let place = [subject.file.as_bytes(), kind.as_bytes(), finding.carrier.word().as_bytes(), name];
        (Id(self.fingerprinter.of_place(&place)), false)
    }

    #[expect(clippy::too_many_arguments, reason = "each is another fact of the finding")]
    fn take_down(
        &mut self,
        tally: &mut Tally,
        text: &[u8],
        finding: &Finding,
        found: &[Finding],
        subject: &Subject,
        [first, last]: [Option<i64>; 2],
        place: impl Fn() -> At,
    ) {
        let (id, by_value) = self.id(text, finding, subject);
        if let Some(known) = tally.credentials.get_mut(&id) {
            known.count += 1;
            known.first_seen = [known.first_seen, first].into_iter().flatten().min();
            known.last_seen = known.last_seen.max(last);
            known.confidence = known.confidence.max(finding.confidence);
            if known.places.len() < PLACES_MAX {
                known.places.push(Place { file: Arc::clone(&subject.file), at: place() });
            }
            return;
        }
        let value = text.get(finding.span.clone()).unwrap_or_default();
        let name = finding.name.clone().and_then(|name| text.get(name));
        let line = (tally.credentials.len() < LINES_MAX)
            .then(|| excerpt(text, &finding.span, found, &mut self.redactor).into_boxed_str());
        let credential = Credential {
            id,
            by_value,
            kind: finding.kind,
            rule: matches!(finding.kind, Kind::User(_)).then(|| self.finder.rules().word(finding.kind).into()),
            carrier: finding.carrier,
            name: name.map(|name| shown(name, &mut self.redactor).into()),
            confidence: finding.confidence,
            checksum: finding.checksum,
            vendor: Vendor::of(value),
            count: 1,
            first_seen: first,
            last_seen: last,
            places: vec![Place { file: Arc::clone(&subject.file), at: place() }],
            line,
        };
        tally.credentials.insert(id, Box::new(credential));
    }

    /// Looks for code that builds URLs. A window of a large file is looked at without its neighbours.
    fn look_at_code(
        &mut self,
        window: &Window<'_>,
        language: Language,
        subject: &Subject,
        line_start: Option<u64>,
        found: &[Finding],
        tally: &mut Tally,
    ) {
        if language == Language::Data && window.offset + window.text.len() as u64 > DESCRIPTION_BYTES_MAX {
            return;
        }
        let own = window.text.get(window.owned.clone()).unwrap_or_default();
        let findings = self.code.find(own, language);
        tally.waived += findings.waived as u64;
        for place in findings.found {
            let start = window.owned.start + place.span.start;
            let offset = window.offset + start as u64;
            let before = own.get(..place.span.start).unwrap_or_default();
            let begins = match memchr::memrchr(b'\n', before) {
                Some(end) => Some(window.offset + (window.owned.start + end + 1) as u64),
                None => line_start,
            };
            if tally.code.len() >= CODE_MAX {
                tally.code_further += 1;
                continue;
            }
            let span = start..window.owned.start + place.span.end;
            let line = excerpt(window.text, &span, found, &mut self.redactor);
            let parameter = shown(place.parameter.as_bytes(), &mut self.redactor);
            let parts = [subject.file.as_bytes(), place.rule.id().as_bytes(), parameter.as_bytes(), line.as_bytes()];
            tally.code.push(CodeFinding {
                id: Id(self.fingerprinter.of_place(&parts)),
                rule: place.rule,
                parameter: parameter.into(),
                redundant: place.redundant,
                place: Place {
                    file: Arc::clone(&subject.file),
                    at: At::Text {
                        offset,
                        line: tally.line_ends + place.line as u64,
                        column: begins.map_or(0, |begins| offset - begins + 1),
                        pointer: None,
                    },
                },
                line: line.into(),
            });
        }
    }
}

impl Subject {
    /// Code and binary files hold many words that look like names of credentials.
    const fn is_strict(&self) -> bool {
        self.is_binary || matches!(self.language, Some(Language::Code | Language::Document))
    }
}

/// Whether a finding holds where names are followed by all kinds of things: the value itself looks like a secret, and
/// like a literal and not like an expression.
fn is_certain(text: &[u8], finding: &Finding) -> bool {
    match finding.carrier {
        Carrier::Bare | Carrier::Pem | Carrier::Known | Carrier::Rule => return true,
        _ => {}
    }
    let value = text.get(finding.span.clone()).unwrap_or_default();
    let before = finding.span.start.checked_sub(1).and_then(|at| text.get(at));
    let is_part_of_url = matches!(finding.carrier, Carrier::Query | Carrier::Userinfo | Carrier::Header);
    let is_literal = matches!(before, Some(b'"' | b'\'' | b'`')) || is_part_of_url;
    let is_plain = value.iter().filter(|byte| byte.is_ascii_digit()).count() >= 3
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-+/=".contains(byte));
    is_secret(value) && (is_literal || is_plain)
}

/// The lines of a window, read forward.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    offset: u64,
    line: u64,
    start: Option<u64>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a [u8], window: &Window<'_>, tally: &Tally) -> Self {
        Self { text, at: window.owned.start, offset: window.offset, line: tally.line_ends + 1, start: tally.line_start }
    }

    /// The number of the line that `at` is in, and where it begins, if that is known.
    fn of(&mut self, at: usize) -> (u64, Option<u64>) {
        let passed = self.text.get(self.at..at).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        if let Some(end) = memchr::memrchr(b'\n', passed) {
            self.start = Some(self.offset + (self.at + end + 1) as u64);
        }
        self.at = self.at.max(at);
        (self.line, self.start)
    }
}

fn pointer_of(window: &Window<'_>, line_start: u64, offset: u64) -> Option<String> {
    let start = usize::try_from(line_start.checked_sub(window.offset)?).ok()?;
    let rest = window.text.get(start..)?;
    let end = memchr::memchr(b'\n', rest);
    if end.is_none() && !window.is_last {
        return None;
    }
    let line = rest.get(..end.unwrap_or(rest.len()))?;
    pointer::in_line(line, usize::try_from(offset - line_start).ok()?)
}

/// How long a line is that still says by itself when it was written.
const LINE_OF_LOG: usize = 16 << 10;
/// How far before a finding the start of its entry in a HAR file is looked for.
const ENTRY: usize = 64 << 10;

/// The time of the line that a finding is in, or of the entry of a HAR file.
fn time_of(text: &[u8], span: &Range<usize>, may_be_json: bool) -> Option<i64> {
    let before = text.get(..span.start)?;
    let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
    let behind = text.get(span.end..).unwrap_or_default();
    let end = memchr::memchr(b'\n', behind).map_or(text.len(), |end| span.end + end);
    let line = text.get(start..end)?;
    let of_line = (line.len() <= LINE_OF_LOG || !may_be_json).then(|| seen::in_line(line)).flatten();
    let of_entry = || seen::before_in_har(before.get(before.len().saturating_sub(ENTRY)..)?);
    of_line.or_else(|| may_be_json.then(of_entry).flatten())
}
