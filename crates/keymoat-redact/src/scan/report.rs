//! What a scan found: each credential once, with where and when it was seen, and each line of code. No value is in it.

use std::sync::Arc;

use super::code;
use super::vendor::Vendor;
use crate::finding::{Carrier, Checksum, Confidence, Kind};

/// How many places are kept of one credential; the rest is counted.
pub const PLACES_MAX: usize = 10;

/// How many credentials are shown with a line; of the rest only the place is.
pub const LINES_MAX: usize = 10_000;

/// How many lines of code are kept; the rest is counted.
pub const CODE_MAX: usize = 100_000;

/// The name of a finding that does not change from scan to scan: 48 bits that only the holder of the fingerprint key
/// can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub(super) u64);

impl Id {
    /// Reads what `Display` writes: 12 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 12 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// Everything that one scan found.
#[derive(Debug, Default)]
pub struct Report {
    /// The credentials, in the order of their first places.
    pub credentials: Vec<Box<Credential>>,
    /// The lines of code that put credentials into URLs, in order.
    pub code: Vec<CodeFinding>,
    /// How many more lines of code there were than are kept.
    pub code_further: u64,
    /// How many lines of code were waived by a comment with a reason.
    pub waived: u64,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// How many files were looked into.
    pub files: u64,
    /// How many bytes they have, inflated.
    pub bytes: u64,
}

/// One credential, or all short ones of one name in one file: they get no fingerprint, which would help to guess them.
#[derive(Debug)]
pub struct Credential {
    /// Its name in this and every other report made with the same fingerprint key.
    pub id: Id,
    /// Whether the id is the value's own fingerprint; else it names the place.
    pub by_value: bool,
    /// What it is.
    pub kind: Kind,
    /// The name of the user's rule that found it.
    pub rule: Option<Arc<str>>,
    /// Where it stood the first time.
    pub carrier: Carrier,
    /// The name that it stood under.
    pub name: Option<Box<str>>,
    /// How sure the finding is.
    pub confidence: Confidence,
    /// What its own checksum says.
    pub checksum: Checksum,
    /// Who made it, as its prefix tells.
    pub vendor: Option<Vendor>,
    /// How often it was found.
    pub count: u64,
    /// The earliest time of a line with it, in milliseconds since 1970.
    pub first_seen: Option<i64>,
    /// The latest one.
    pub last_seen: Option<i64>,
    /// The first places, at most [`PLACES_MAX`].
    pub places: Vec<Place>,
    /// The line of the first place, with every credential in it masked.
    pub line: Option<Box<str>>,
}

impl Credential {
    /// What it is, in a word: that of the mark.
    #[must_use]
    pub fn word(&self) -> &str {
        self.kind.word().or(self.rule.as_deref()).unwrap_or("rule")
    }

    /// How it is made worthless.
    #[must_use]
    pub const fn rotation(&self) -> &'static str {
        match (self.vendor, self.kind) {
            (Some(vendor), _) => vendor.rotation(),
            (None, Kind::Password) => "change it",
            (None, Kind::Cookie) => "end the session",
            (None, Kind::Jwt | Kind::Signature) => "let it expire, or replace the key that signed it",
            (None, Kind::PrivateKey) => "replace the key pair, and what was certified for it",
            (None, _) => "rotate it with whoever issued it",
        }
    }

    /// What to do about the place, so that it is not found again.
    #[must_use]
    pub fn cleaning(&self) -> &'static str {
        match self.places.first().map(|place| (&place.at, place.file.rsplit('.').next())) {
            Some((At::FileName, _)) => "rename or delete the file",
            Some((At::Cell { table, .. }, _)) if is_history(table) => "delete the entry from the browser's history",
            Some((At::Cell { .. }, _)) => "delete or overwrite the row",
            Some((At::Binary { .. }, _)) => "delete the file, if it is a cache",
            Some((_, Some("har" | "HAR"))) => "do not pass the file on; `keymoat redact` masks it",
            Some((_, Some(extension))) if code::Language::is_code(extension) => {
                "take it out of the code, and out of its history"
            }
            _ => "mask the file with `keymoat redact`, and send the credential in a header from now on",
        }
    }

    /// Adds what was found of the same credential elsewhere.
    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first_seen = [self.first_seen, other.first_seen].into_iter().flatten().min();
        self.last_seen = self.last_seen.max(other.last_seen);
        self.confidence = self.confidence.max(other.confidence);
        self.vendor = self.vendor.or(other.vendor);
        if other.places.first() < self.places.first() {
            (self.kind, self.rule, self.carrier, self.name) = (other.kind, other.rule, other.carrier, other.name);
            self.line = other.line;
        }
        self.places.extend(other.places);
        self.places.sort();
        self.places.truncate(PLACES_MAX);
    }
}

/// Whether a table is one of a browser's history.
fn is_history(table: &str) -> bool {
    const TABLES: [&str; 7] =
        ["urls", "downloads", "downloads_url_chains", "keyword_search_terms", "moz_places", "moz_annos", "visits"];
    TABLES.contains(&table)
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was reached from the paths that were given; masked.
    pub file: Arc<str>,
    /// Where in it.
    pub at: At,
}

/// Where in a file something was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// The file's own name.
    FileName,
    /// A place in a text.
    Text {
        /// The byte, from 0; of a compressed file in its inflated text.
        offset: u64,
        /// The line, from 1.
        line: u64,
        /// The byte in the line, from 1.
        column: u64,
        /// The JSON Pointer of the value.
        pointer: Option<Box<str>>,
    },
    /// A byte of a binary file, from 0.
    Binary {
        /// Which.
        offset: u64,
    },
    /// A cell of a database.
    Cell {
        /// The table.
        table: Arc<str>,
        /// The row's id; the row's number where it has none.
        row: i64,
        /// The column.
        column: Arc<str>,
    },
}

/// A line of code that puts a credential into a URL.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeFinding {
    /// Its name in every report made with the same fingerprint key; it does not change when lines are put before it.
    pub id: Id,
    /// Which rule found it.
    pub rule: code::Rule,
    /// The query parameter.
    pub parameter: Box<str>,
    /// Whether a header nearby seems to carry the same credential already.
    pub redundant: bool,
    /// Where.
    pub place: Place,
    /// The line, with every credential in it masked.
    pub line: Box<str>,
}

impl CodeFinding {
    /// What to do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match (self.rule, self.redundant) {
            (code::Rule::OpenApiScheme, _) => {
                "declare the key `in: header`: clients are generated from this, and will write it into URLs"
            }
            (code::Rule::Placeholder, _) => {
                "show the header in this example: whoever copies it puts a real key into a URL"
            }
            (_, true) => "drop the parameter: a header nearby seems to carry the same credential",
            (_, false) => {
                "send it in a header such as `Authorization` or `x-api-key`; a WebSocket in a browser, in a subprotocol"
            }
        }
    }
}

/// Something that could not be read, wholly or from some place on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unread {
    /// The file or folder; masked.
    pub file: Arc<str>,
    /// Why.
    pub reason: String,
}
