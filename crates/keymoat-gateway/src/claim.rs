//! Claims: the one shared write on the road. A session takes its place in the registry before anything is dialled.

use keymoat_core::policy::Access;
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
pub(crate) fn session(worker: &Worker, route: &Route, access: &Access) -> Result<SessionGuard, Refusal> {
    let key_id = access.key_id();
    let info = SessionInfo { key_id: key_id.cloned(), route: route.name.clone(), opened_at: clock::now() };
    let session = worker.shared.sessions.insert(info)?;
    if key_id.is_some_and(|key_id| worker.shared.snapshots.load().is_revoked(key_id)) {
        return Err(Refusal::new(Code::CredentialRevoked, "this key was revoked, ask for a new one"));
    }
    Ok(session)
}
