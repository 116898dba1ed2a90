//! What one line leaves for the next: a value that began, or that is still to come.

use crate::finding::Kind;
use crate::table::HeaderRule;

/// How long a PEM block may be, in bytes; what is more is called oversize.
pub(crate) const PEM_BYTES: usize = 32 << 10;

/// What goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Carry {
    /// Nothing.
    #[default]
    None,
    /// A private key.
    Pem { bytes: usize, over: bool },
    /// A name whose value is in a next line: `api_key: Some(`.
    Await(Await),
    /// A block of YAML below a name that is indented so far.
    Block { kind: Kind, indent: usize },
    /// A part of a form: its headers, then its body.
    Multipart { kind: Kind, body: bool, lines: u8 },
    /// A name whose `value` member is in a next line.
    Pair { kind: Kind, header: Option<HeaderRule>, shaped: bool, lines: u8 },
    /// An XML element's text.
    Element { kind: Kind, lines: u8 },
}

/// A value that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Await {
    pub(crate) kind: Kind,
    pub(crate) header: Option<HeaderRule>,
    pub(crate) indent: usize,
    /// Whether it may come without quotes, further indented.
    pub(crate) unquoted: bool,
    /// Whether more than one may come.
    pub(crate) list: bool,
    pub(crate) lines: u8,
}

impl Await {
    pub(crate) const fn one(kind: Kind, header: Option<HeaderRule>, indent: usize) -> Self {
        Self { kind, header, indent, unquoted: false, list: false, lines: 0 }
    }

    pub(crate) const fn list(kind: Kind, header: Option<HeaderRule>) -> Self {
        Self { list: true, ..Self::one(kind, header, 0) }
    }
}
