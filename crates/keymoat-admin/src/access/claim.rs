//! The one-time link by which a first admin is made.

use keymoat_core::format::{Kind, is_admin};
use keymoat_core::{Secret, UnixMillis};
use keymoat_store::{Store, StoreError};

use crate::random::{RandomFailed, new_secret};

/// How long a link is good for.
pub const CLAIM_MILLIS: i64 = 60 * 60 * 1000;

/// No link could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The system gives no random bytes.
    #[error(transparent)]
    Random(#[from] RandomFailed),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a link to the listener at `url`, in place of any before it: good for an hour and one use.
///
/// The secret stands in the fragment, which no browser sends; whoever opens the page posts it in a body. It looks like
/// an admin credential, so that everything that masks credentials masks it.
///
/// # Errors
/// The system gives no random bytes, or the store refuses.
pub fn new_claim_link(store: &Store, url: &str, now: UnixMillis) -> Result<Secret, ClaimError> {
    let secret = new_secret(Kind::Admin)?;
    store.offer_claim(&secret, now.plus_millis(CLAIM_MILLIS))?;
    let mut link = format!("{}/#claim=", url.trim_end_matches('/')).into_bytes();
    // The link is shown once to whoever may open the store; it is a secret as a whole.
    link.extend_from_slice(secret.expose());
    Ok(Secret::new(link))
}

/// What was sent as a claim: well-formed, or nothing.
pub(crate) fn read(text: String) -> Option<Secret> {
    Some(Secret::from(text)).filter(is_admin)
}
