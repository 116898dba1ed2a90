//! Who may administer: claim link, keys, people with passwords, their sessions, and what keeps others out.

pub(crate) mod claim;
pub(crate) mod guard;
pub(crate) mod hosts;
pub(crate) mod needs;
pub(crate) mod origin;
pub(crate) mod password;
pub(crate) mod session;
pub(crate) mod stream_token;
pub(crate) mod throttle;

use std::net::IpAddr;
use std::sync::Arc;

use keymoat_core::{Actor, Role};
use keymoat_store::Admin;

/// Who asks. Put into a request by the guard; nothing below decides who it is.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Who it is.
    pub(crate) who: Who,
    /// How much it may do.
    pub(crate) role: Role,
    /// From where.
    pub(crate) address: Option<IpAddr>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// A command on the machine, by somebody who may open the store's socket.
    Command,
    /// An admin with a key.
    Key(Admin),
    /// A person who signed in, with the digest of the session.
    Person(Admin, session::SessionDigest),
}

impl Caller {
    /// Who it is, for the event.
    pub(crate) fn actor(&self) -> Actor {
        match &self.who {
            Who::Command => Actor::Command,
            Who::Key(admin) | Who::Person(admin, _) => Actor::Admin(Arc::clone(&admin.id)),
        }
    }
}
