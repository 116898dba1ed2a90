//! What waits at the desk, whichever backend does it.

use std::sync::Arc;

use keymoat_core::{Digest, Token, UnixMillis};

use super::Reply;
use crate::share::{PartAsked, PlaceAsked, Placed};
use crate::token::{Claim, MintOrder, Minting, SessionId, Verdict};

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Job {
    /// Consumes a use.
    Claim(Claim, Reply<Verdict>),
    /// Mints a token.
    Mint(Box<MintOrder>, Reply<Minting>),
    /// Revokes a token.
    Revoke { id: String, by_key: Option<String>, now: UnixMillis, reply: Reply<Option<Arc<Token>>> },
    /// Remembers a handle.
    NoteHandle { token_id: Arc<str>, handle: Digest, now: UnixMillis, reply: Reply<()> },
    /// Takes a place.
    TakePlace(PlaceAsked, Reply<Placed>),
    /// Frees a place.
    FreePlace(SessionId, Reply<()>),
    /// Takes a part of a day's budget.
    TakePart(PartAsked, Reply<u64>),
    /// Nothing any more.
    End,
}

/// A question about a token.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// Which token has this digest.
    Find(Digest, Reply<Option<Arc<Token>>>),
    /// None any more.
    End,
}

impl Job {
    /// Whether nobody waits for the answer any more. A handle is noted nevertheless: its session goes on.
    pub(crate) fn is_given_up(&self) -> bool {
        match self {
            Self::Claim(_, reply) => reply.is_closed(),
            Self::Mint(_, reply) => reply.is_closed(),
            Self::TakePlace(_, reply) => reply.is_closed(),
            Self::TakePart(_, reply) => reply.is_closed(),
            Self::FreePlace(..) | Self::Revoke { .. } | Self::NoteHandle { .. } | Self::End => false,
        }
    }
}
