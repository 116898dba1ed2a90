//! Sessions of people who signed in: in memory, found by the digest of their cookie.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keymoat_core::format::{Kind, is_admin};
use keymoat_core::{Secret, UnixMillis};
use keymoat_store::Admin;

use crate::random::{RandomFailed, new_secret};

/// A session that is not used for so long is over.
pub(crate) const IDLE_MILLIS: i64 = 60 * 60 * 1000;

/// A session is over after this time, used or not.
pub(crate) const WHOLE_MILLIS: i64 = 12 * 60 * 60 * 1000;

/// So many one person may have; the oldest one ends for one more.
const OF_ONE_MAX: usize = 16;

/// So many there may be.
const ALL_MAX: usize = 4096;

/// The digest by which a session is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionDigest([u8; 32]);

impl SessionDigest {
    /// What a page of ours sends along with every change, to prove that it has read an answer of ours.
    pub(crate) fn csrf_token(&self) -> String {
        let digest = digest(&SHA256, &[b"keymoat csrf v1\0", &self.0[..]].concat());
        URL_SAFE_NO_PAD.encode(digest.as_ref().get(..18).unwrap_or_default())
    }
}

impl fmt::Debug for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionDigest(..)")
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    live: Mutex<HashMap<SessionDigest, Session>>,
}

#[derive(Debug)]
struct Session {
    admin_id: Arc<str>,
    /// The admin's version at the time: a change of password or role ends the session.
    version: u32,
    begun_at: UnixMillis,
    used_at: UnixMillis,
}

impl Session {
    fn is_over(&self, now: UnixMillis) -> bool {
        now >= self.begun_at.plus_millis(WHOLE_MILLIS) || now >= self.used_at.plus_millis(IDLE_MILLIS)
    }
}

impl Sessions {
    /// Begins a session and gives the cookie's value, which is new each time and kept nowhere.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn begin(&self, admin: &Admin, now: UnixMillis) -> Result<(Secret, SessionDigest), RandomFailed> {
        let secret = new_secret(Kind::Admin)?;
        let session = Session { admin_id: Arc::clone(&admin.id), version: admin.version, begun_at: now, used_at: now };
        let mut live = self.live();
        live.retain(|_, session| !session.is_over(now));
        let of_one = live.values().filter(|session| session.admin_id == admin.id).count();
        if of_one >= OF_ONE_MAX {
            forget_oldest(&mut live, |session| session.admin_id == admin.id);
        } else if live.len() >= ALL_MAX {
            forget_oldest(&mut live, |_| true);
        }
        let digest = digest_of(&secret);
        live.insert(digest, session);
        Ok((secret, digest))
    }

    /// Whose session this is, with the admin's version at its beginning; it counts as a use.
    pub(crate) fn find(&self, cookie: &Secret, now: UnixMillis) -> Option<(SessionDigest, Arc<str>, u32)> {
        if !is_admin(cookie) {
            return None;
        }
        let digest = digest_of(cookie);
        let mut live = self.live();
        let session = live.get_mut(&digest)?;
        if session.is_over(now) {
            live.remove(&digest);
            return None;
        }
        session.used_at = session.used_at.max(now);
        Some((digest, Arc::clone(&session.admin_id), session.version))
    }

    /// Ends one session.
    pub(crate) fn end(&self, digest: SessionDigest) {
        self.live().remove(&digest);
    }

    /// Ends all sessions of an admin.
    pub(crate) fn end_of(&self, admin_id: &str) {
        self.live().retain(|_, session| *session.admin_id != *admin_id);
    }

    fn live(&self) -> MutexGuard<'_, HashMap<SessionDigest, Session>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest(live: &mut HashMap<SessionDigest, Session>, is_meant: impl Fn(&Session) -> bool) {
    let meant = live.iter().filter(|(_, session)| is_meant(session));
    if let Some(oldest) = meant.min_by_key(|(_, session)| session.used_at).map(|(digest, _)| *digest) {
        live.remove(&oldest);
    }
}

fn digest_of(cookie: &Secret) -> SessionDigest {
    // Only the digest is looked up.
    let digest = digest(&SHA256, cookie.expose());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    SessionDigest(bytes)
}

#[cfg(test)]
mod tests {
    use keymoat_core::Role;
    use keymoat_store::AdminKind;

    use super::*;

    fn admin(id: &str) -> Admin {
        Admin {
            id: id.into(),
            name: id.into(),
            kind: AdminKind::Person,
            role: Role::Viewer,
            created_at: UnixMillis(0),
            expires_at: None,
            version: 1,
        }
    }

    #[test]
    fn a_session_ends_when_idle_and_at_its_whole_length() {
        let sessions = Sessions::default();
        let (cookie, _) = sessions.begin(&admin("adm_1"), UnixMillis(0)).expect("random");
        assert!(sessions.find(&cookie, UnixMillis(IDLE_MILLIS - 1)).is_some());
        assert!(sessions.find(&cookie, UnixMillis(2 * IDLE_MILLIS - 1)).is_none(), "idle since the use before");
        let (cookie, _) = sessions.begin(&admin("adm_1"), UnixMillis(0)).expect("random");
        let mut now = 0;
        while now < WHOLE_MILLIS - IDLE_MILLIS / 2 {
            assert!(sessions.find(&cookie, UnixMillis(now)).is_some());
            now += IDLE_MILLIS / 2;
        }
        assert!(sessions.find(&cookie, UnixMillis(WHOLE_MILLIS)).is_none());
    }

    #[test]
    fn one_person_has_a_bounded_number_and_leaves_the_others_alone() {
        let sessions = Sessions::default();
        let (other, _) = sessions.begin(&admin("adm_2"), UnixMillis(0)).expect("random");
        let (first, _) = sessions.begin(&admin("adm_1"), UnixMillis(0)).expect("random");
        for at in 1..=OF_ONE_MAX {
            sessions.begin(&admin("adm_1"), UnixMillis(i64::try_from(at).expect("small"))).expect("random");
        }
        assert!(sessions.find(&first, UnixMillis(100)).is_none());
        assert!(sessions.find(&other, UnixMillis(100)).is_some());
        sessions.end_of("adm_2");
        assert!(sessions.find(&other, UnixMillis(100)).is_none());
        assert!(sessions.live().len() <= OF_ONE_MAX);
    }
}
