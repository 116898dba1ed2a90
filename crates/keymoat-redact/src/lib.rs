//! Finds and masks credentials in text: in logs, on the way through a pipe, in errors.
//!
//! A [`Redactor`] takes bytes as they come and gives them on with every credential masked as `[REDACTED:<kind>]`. Only
//! the value goes; its name, separators, quotes and neighbours stay, so that JSON stays JSON and a URL a URL. Clean
//! lines come out byte by byte as they went in.
//!
//! ```
//! let mut redactor = keymoat_redact::Redactor::default();
//! let shown = redactor.redact(b"GET /events?page=3&api_key=Zk7Qw2Lr9TnXb4Vm&sort=asc");
//! assert_eq!(&*shown, b"GET /events?page=3&api_key=[REDACTED:api_key]&sort=asc");
//! ```
//!
//! A [`Finder`] tells where they are and why; the scanner is built on it. [`KnownSecrets`] are masked wherever they stand.
//!
//! What is found is one table, [`table`]. Names are read through percent-encoding, escapes, colours, full-width letters
//! and UTF-16; values are masked as they stand, encoded or not.
//!
//! ```text
//! text ─▶ suspect: anchors, 64 bytes at a time ─▶ clean: copied out
//!                     │ a suspicious line
//!                     ▼
//!         line: each level of encoding ─▶ name ─▶ where the value ends ─▶ finding ─▶ mark
//!                     │ a value in the next line
//!                     ▼ carry
//! ```

mod anchor;
mod carry;
mod finder;
mod finding;
mod fingerprint;
mod known;
mod line;
mod names;
pub mod page;
mod redactor;
mod rules;
#[cfg(feature = "scan")]
pub mod scan;
mod shape;
mod stats;
mod streams;
mod suspect;
pub mod table;
mod view;
mod work;

pub use self::finder::Finder;
pub use self::finding::{Carrier, Checksum, Confidence, Finding, Kind};
pub use self::fingerprint::{
    FINGERPRINT_KEY_BYTES_MIN, FINGERPRINT_VALUE_BYTES_MIN, FingerprintKeyTooShort, Fingerprinter,
};
pub use self::known::{KNOWN_BYTES_MIN, Known, KnownSecrets};
pub use self::redactor::{LINE_BYTES_MAX, Options, Redactor};
pub use self::rules::{Custom, Pattern, RuleError, Rules};
pub use self::stats::Stats;
