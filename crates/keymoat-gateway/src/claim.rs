//! Claims: the one shared write on the road. A session takes its place in the registry before anything is dialled.

use keymoat_core::policy::Grant;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::Route;

use crate::clock;
use crate::session::{SessionGuard, SessionInfo};
use crate::worker::Worker;

/// Takes a session in, and decides once more: a revocation may have come between the decision and this moment, and a
/// later one finds the session in the registry.
///
/// # Errors
/// `unavailable` when there are too many sessions, `credential_revoked` when the key no longer holds.
pub(crate) fn session(worker: &Worker, route: &Route, grant: &Grant) -> Result<SessionGuard, Refusal> {
    let key = &grant.identity.key;
    let info = SessionInfo { key_id: Some(key.id.clone()), route: route.name.clone(), opened_at: clock::now() };
    let session = worker.shared.sessions.insert(info)?;
    if worker.shared.snapshots.load().is_revoked(&key.id) {
        return Err(Refusal::new(Code::CredentialRevoked, "this key was revoked, ask for a new one"));
    }
    Ok(session)
}
