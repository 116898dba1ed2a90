//! The desk: where a gateway asks about tokens. One thread writes, in groups; another one reads.

use std::sync::Arc;

use keymoat_core::{Digest, Token, UnixMillis};

use crate::Store;
use crate::error::StoreError;
use crate::token::{Claim, MintOrder, Minting, Verdict};

/// A handle to the desk of one store. Clones are handles to the same desk; with the last one it ends.
#[derive(Clone, Debug)]
pub struct TokenDesk {}

/// Why there is no answer. Whoever asked refuses: `unavailable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// Too many are waiting.
    #[error("too many wait for the token store")]
    Full,
    /// There was no answer in time. What was asked may have been done or not, and is never granted later.
    #[error("the token store did not answer in time")]
    Slow,
    /// The disk is full or failed. What was asked may have been done or not.
    #[error("the token store failed")]
    Broken,
    /// The desk has ended.
    #[error("the token store is closed")]
    Stopped,
}

impl TokenDesk {
    /// Opens the desk of `store`.
    ///
    /// # Errors
    /// What the disk or the system refuses.
    pub fn start(_store: Arc<Store>) -> Result<Self, StoreError> {
        Ok(Self {})
    }

    /// The token with this digest, if there is one; also one that another process minted just now.
    ///
    /// # Errors
    /// No answer.
    pub async fn find(&self, _digest: Digest) -> Result<Option<Arc<Token>>, DeskError> {
        Err(DeskError::Stopped)
    }

    /// Consumes a use for a session, or none for one that resumes another, durably.
    ///
    /// # Errors
    /// No answer: the session must not be opened.
    pub async fn claim(&self, _claim: Claim) -> Result<Verdict, DeskError> {
        Err(DeskError::Stopped)
    }

    /// Mints a token, durably.
    ///
    /// # Errors
    /// No answer.
    pub async fn mint(&self, _order: MintOrder) -> Result<Minting, DeskError> {
        Err(DeskError::Stopped)
    }

    /// Revokes the token with this id, durably, and gives it; none when there is none, or not of the key `by_key`.
    ///
    /// # Errors
    /// No answer: repeat it.
    pub async fn revoke(
        &self,
        _id: &str,
        _by_key: Option<&str>,
        _now: UnixMillis,
    ) -> Result<Option<Arc<Token>>, DeskError> {
        Err(DeskError::Stopped)
    }

    /// Remembers a resumption handle that the token's session was given.
    ///
    /// # Errors
    /// No answer: the handle may not resume anything.
    pub async fn note_handle(&self, _token_id: Arc<str>, _handle: Digest, _now: UnixMillis) -> Result<(), DeskError> {
        Err(DeskError::Stopped)
    }
}
