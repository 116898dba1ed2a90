//! What can be wrong with a text, and where. Never what stands there.

use super::Caps;

/// A text that cannot be read, or not in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset}")]
pub struct JsonError {
    /// What is wrong.
    pub fault: Fault,
    /// At which byte, counted from 0.
    pub offset: usize,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not follow the grammar.
    #[error("not JSON")]
    Syntax,
    /// It ends too early.
    #[error("JSON ends too early")]
    End,
    /// Something follows the value.
    #[error("something follows the JSON value")]
    Trailing,
    /// It starts with U+FEFF.
    #[error("a byte order mark")]
    ByteOrderMark,
    /// It is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// An escape for half of a character.
    #[error("half of a surrogate pair")]
    Surrogate,
    /// A number that parsers hold differently: a whole one beyond 64 bits, or one beyond a double.
    #[error("a number beyond what JSON parsers hold")]
    Number,
    /// One object names a member twice, escapes decoded.
    #[error("a member that stands twice in one object")]
    Twice,
    /// Longer than [`Caps::bytes_max`].
    #[error("JSON longer than {0} bytes")]
    TooLong(usize),
    /// Deeper than [`Caps::depth_max`].
    #[error("JSON deeper than {0} levels")]
    TooDeep(usize),
    /// More than [`Caps::members_max`].
    #[error("JSON with more than {0} members")]
    TooMany(usize),
}

impl Fault {
    pub(super) const fn at(self, offset: usize) -> JsonError {
        JsonError { fault: self, offset }
    }

    pub(super) const fn too_long(caps: &Caps) -> JsonError {
        Self::TooLong(caps.bytes_max).at(caps.bytes_max)
    }
}
