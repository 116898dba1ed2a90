//! What is kept of those who may administer, and what is asked of the store about them.

use std::sync::Arc;

use keymoat_core::{Role, Secret, UnixMillis};

/// Somebody who may administer, without the key or the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// A stable id, such as `adm_7f3k…`: safe to log.
    pub id: Arc<str>,
    /// The name; people sign in by it.
    pub name: Arc<str>,
    /// A person or a key.
    pub kind: AdminKind,
    /// How much this one may do.
    pub role: Role,
    /// When it was made.
    pub created_at: UnixMillis,
    /// From when on it is refused, if ever.
    pub expires_at: Option<UnixMillis>,
    /// Counts the changes, from 1 on.
    pub version: u32,
}

/// How an admin proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminKind {
    /// A person with a password.
    Person,
    /// A program with a key.
    Key,
}

impl AdminKind {
    /// The word in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Key => "key",
        }
    }
}

/// An admin to be made.
#[derive(Debug)]
pub struct NewAdmin<'a> {
    /// The name, unique among those that were not removed.
    pub name: String,
    /// How much it may do.
    pub role: Role,
    /// From when on it is refused, if ever.
    pub expires_at: Option<UnixMillis>,
    /// How it proves who it is.
    pub proof: Proof<'a>,
}

/// What an admin is known by.
#[derive(Debug)]
pub enum Proof<'a> {
    /// The hash of a password, in PHC form.
    Password(String),
    /// A key, of which only the digest is kept.
    Key(&'a Secret),
}

/// What is to change; what is absent stays.
#[derive(Debug, Default)]
pub struct AdminChange {
    /// Another name.
    pub name: Option<String>,
    /// Another role.
    pub role: Option<Role>,
    /// Another expiry, or none.
    pub expires_at: Option<Option<UnixMillis>>,
    /// The hash of another password, for a person.
    pub password: Option<String>,
}

/// What became of what was asked for under an idempotency key.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    /// It is the first time: do it, then call [`crate::Store::end_order`].
    New,
    /// It is being done.
    Running,
    /// It was done.
    Done(OrderAnswer),
    /// The key stands for something else.
    Other,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, or the id of what was made when the body held a secret, which is not kept.
    pub text: String,
    /// Whether `text` is the body.
    pub is_whole: bool,
}
