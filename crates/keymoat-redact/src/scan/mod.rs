//! Searches what has been written for credentials that leaked, and code for the lines that leak them.
//!
//! Logs, rotated and compressed ones, HAR files, databases of browsers, cached files, source code. Each credential is
//! reported once, by a keyed fingerprint, with its places, times and what to do. No value leaves this module: a report
//! has none, and every text of a file in it is masked.
//!
//! ```text
//! paths ─▶ walk ─▶ jobs ─▶ threads:  content ─▶ inflate │ sqlite │ windows ─▶ eye ─▶ tally
//!                                                                                   │ merge
//!                                                                                   ▼
//!                                                                                 report
//! ```

pub mod code;
mod content;
mod excerpt;
mod eye;
mod inflate;
mod pointer;
mod report;
mod scanner;
mod seen;
mod sqlite;
mod vendor;
mod windows;

pub use self::report::{At, CODE_MAX, CodeFinding, Credential, Id, LINES_MAX, PLACES_MAX, Place, Report, Unread};
pub use self::scanner::{Progress, STANDARD_INPUT, Settings, scan};
pub use self::vendor::Vendor;
