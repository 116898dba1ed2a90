//! What the store does with tokens: the statements, each in a transaction of its own.

use std::path::Path;
use std::sync::Arc;

use keymoat_core::{Digest, UnixMillis};
use rusqlite::{Connection, TransactionBehavior};

use super::claims::{self, Use};
use super::tokens::Kept;
use super::{Sqlite, connect, desk, held, keys, mint, tokens};
use crate::error::StoreError;
use crate::token::{MintOrder, Minting, TokenBytes, TokenState};

impl Sqlite {
    pub(crate) fn mint_token(&self, order: MintOrder) -> Result<Minting, StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let minting = mint::mint(&change, &self.pepper, order)?;
        change.commit()?;
        Ok(minting)
    }

    pub(crate) fn token(&self, id: &str, now: UnixMillis) -> Result<TokenState, StoreError> {
        let mut reader = held(&self.reader);
        let moment = reader.transaction()?;
        let kept = tokens::by_id(&moment, id)?.ok_or(StoreError::TokenUnknown)?;
        state(&moment, kept, now)
    }

    pub(crate) fn token_of(&self, digest: &Digest, now: UnixMillis) -> Result<TokenState, StoreError> {
        let mut reader = held(&self.reader);
        let moment = reader.transaction()?;
        let kept = tokens::by_digest(&moment, digest)?.ok_or(StoreError::TokenNotFound)?;
        state(&moment, kept, now)
    }

    pub(crate) fn tokens(&self, key_id: Option<&str>, now: UnixMillis) -> Result<Vec<TokenState>, StoreError> {
        let mut reader = held(&self.reader);
        let moment = reader.transaction()?;
        tokens::all(&moment, key_id)?.into_iter().map(|kept| state(&moment, kept, now)).collect()
    }

    pub(crate) fn revoke_token(&self, id: &str, now: UnixMillis) -> Result<TokenState, StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let kept = revoke(&change, id, None, now)?.ok_or(StoreError::TokenUnknown)?;
        let state = state(&change, kept, now)?;
        change.commit()?;
        Ok(state)
    }

    pub(crate) fn add_token_bytes(&self, carried: &[TokenBytes]) -> Result<Vec<TokenBytes>, StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut all = Vec::with_capacity(carried.len());
        for TokenBytes { token_id, bytes } in carried {
            if let Some(bytes) = tokens::add_bytes(&change, token_id, *bytes)? {
                all.push(TokenBytes { token_id: Arc::clone(token_id), bytes });
            }
        }
        change.commit()?;
        Ok(all)
    }

    pub(crate) fn forget_tokens(&self, now: UnixMillis) -> Result<bool, StoreError> {
        desk::forget(&mut held(&self.writer), now)
    }

    /// Another connection to the same database. One that stands in for a connection that failed checks the database
    /// from end to end first.
    pub(crate) fn connect_again(&self, after: Before) -> Result<Connection, StoreError> {
        self.refuse_replaced()?;
        let connection = connect(&self.path)?;
        if matches!(after, Before::Failure) {
            check(&connection, &self.path)?;
        }
        Ok(connection)
    }
}

/// What a connection comes after.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Before {
    /// Nothing: it is the first one.
    Nothing,
    /// One that failed.
    Failure,
}

/// Revokes a token inside the caller's transaction; none where there is none, or none of the key `by_key`.
pub(crate) fn revoke(
    connection: &Connection,
    id: &str,
    by_key: Option<&str>,
    now: UnixMillis,
) -> Result<Option<Kept>, StoreError> {
    let Some(mut kept) = tokens::by_id(connection, id)? else { return Ok(None) };
    if by_key.is_some_and(|key_id| *kept.token.key_id != *key_id) {
        return Ok(None);
    }
    if kept.token.revoked_at.is_none() {
        tokens::revoke(connection, kept.number, now)?;
        keys::count_change(connection)?;
        kept.token.revoked_at = Some(now);
    }
    Ok(Some(kept))
}

fn state(connection: &Connection, kept: Kept, now: UnixMillis) -> Result<TokenState, StoreError> {
    let denial = claims::denial(connection, &kept.digest, Use::Fresh, now)?;
    Ok(TokenState { token: Arc::new(kept.token), uses_left: kept.uses_left, denial })
}

fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Unsound { path: path.to_owned() }) }
}
