//! From a presented credential to who it is.

use std::sync::Arc;

use crate::carrier::Carrier;
use crate::credential::{self, Presented};
use crate::format::Shape;
use crate::key::Key;
use crate::record::Record;
use crate::refusal::{Code, Refusal};
use crate::snapshot::Snapshot;
use crate::time::UnixMillis;

/// Whoever presented a credential. The credential itself is gone.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The key.
    pub key: Arc<Key>,
    /// Where the credential sat.
    pub carrier: Carrier,
    /// What it looked like.
    pub shape: Shape,
}

/// Finds whose credential it is and consumes it: it is zeroized when this returns.
///
/// Keys of foreign shape are found by the digest of their bytes, those of Keymoat's by that of the canonical form.
///
/// # Errors
/// `credential_invalid` for what is unknown or has expired, in the same words, with a hint that depends only on what
/// was presented; `credential_revoked`. The record says which.
pub fn find(
    presented: Presented,
    snapshot: &Snapshot,
    now: UnixMillis,
    record: &mut Record,
) -> Result<Identity, Refusal> {
    let Presented { credential, shape, carrier } = presented;
    // The digest is all that is looked up.
    let digest = snapshot.pepper.digest(credential.expose());
    drop(credential);
    let Some(key) = snapshot.keys.get(&digest) else {
        return Err(not_accepted(shape));
    };
    record.key_id = Some(Arc::clone(&key.id));
    if key.revoked_at.is_some_and(|at| at <= now) {
        return Err(Refusal::new(Code::CredentialRevoked, "this key was revoked: ask for a new one"));
    }
    if key.expires_at.is_some_and(|at| at <= now) {
        record.cause = Some(String::from("the key has expired"));
        return Err(not_accepted(shape));
    }
    Ok(Identity { key: Arc::clone(key), carrier, shape })
}

fn not_accepted(shape: Shape) -> Refusal {
    match shape {
        Shape::NearMiss(miss) => credential::not_accepted(miss),
        Shape::Key | Shape::Token { .. } | Shape::Foreign => {
            Refusal::new(Code::CredentialInvalid, "the credential is not accepted")
        }
    }
}
