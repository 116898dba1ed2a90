//! JSON that can be read in one way only (RFC 8259, and I-JSON of RFC 7493 where that is stricter).
//!
//! What two parsers read differently is refused here: a member that stands twice, lone surrogates, a byte order mark,
//! numbers beyond what they hold. Numbers keep the digits that they were written with. What is sent on is rendered
//! anew from the tree, never the bytes that came.

mod fault;
mod parse;
mod render;

use std::fmt;

pub use fault::{Fault, JsonError};
pub use parse::parse;

/// How much one text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of the whole text.
    pub bytes_max: usize,
    /// Objects and arrays inside each other.
    pub depth_max: usize,
    /// Members of all objects and elements of all arrays together.
    pub members_max: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { bytes_max: 256 << 10, depth_max: 64, members_max: 10_000 }
    }
}

impl Caps {
    /// The same with another size.
    #[must_use]
    pub const fn with_bytes_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }
}

/// A value. `Debug` shows its shape and nothing in it: a client's message may hold anything.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it was written.
    Number(Number),
    /// A text, its escapes decoded.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

/// A number, kept as it was written: no digit is lost between reading and rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its value, if it was written as a whole number without fraction or exponent.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

/// The members of an object in the order in which they were written; no name stands twice.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Object {
    members: Vec<(String, Value)>,
}

impl Object {
    /// An object without members.
    #[must_use]
    pub const fn new() -> Self {
        Self { members: Vec::new() }
    }

    /// The member of that name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        #[cfg(test)]
        searched::add(self.members.len());
        self.members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The member of that name, to be changed.
    pub fn member_mut(&mut self, name: &str) -> Option<&mut Value> {
        #[cfg(test)]
        searched::add(self.members.len());
        self.members.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Puts a member in, in the place of an older one of that name.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.member_mut(&name) {
            Some(known) => *known = value,
            None => self.members.push((name, value)),
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        #[cfg(test)]
        searched::add(self.members.len());
        let at = self.members.iter().position(|(known, _)| known == name)?;
        Some(self.members.remove(at).1)
    }

    /// Keeps the members of which `keeps` says so.
    pub fn retain(&mut self, mut keeps: impl FnMut(&str, &Value) -> bool) {
        self.members.retain(|(name, value)| keeps(name, value));
    }

    /// All members, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Of members of which the caller knows that no name stands twice. [`Self::set`] for each would look through all of
    /// those before it.
    pub(crate) const fn of_distinct(members: Vec<(String, Value)>) -> Self {
        Self { members }
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

impl<N: Into<String>> FromIterator<(N, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(members: I) -> Self {
        let mut object = Self::new();
        for (name, value) in members {
            object.set(name, value);
        }
        object
    }
}

impl Value {
    /// The members, if it is an object.
    #[must_use]
    pub const fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// What kind of value it is, with its article, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number.into())
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl From<Vec<Self>> for Value {
    fn from(elements: Vec<Self>) -> Self {
        Self::Array(elements)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(f),
            Self::Array(elements) => write!(f, "array of {}", elements.len()),
            other => f.write_str(other.kind()),
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object of {}", self.members.len())
    }
}

/// Counts, in tests, the members that searches had before them, which says more of linear time than a clock does.
#[cfg(test)]
pub(crate) mod searched {
    thread_local! {
        static MEMBERS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    pub(super) fn add(members: usize) {
        MEMBERS.with(|all| all.set(all.get() + members));
    }

    /// How many `work` searched, at most.
    pub(crate) fn by(work: impl FnOnce()) -> usize {
        MEMBERS.set(0);
        work();
        MEMBERS.get()
    }
}

#[cfg(test)]
mod tests;
