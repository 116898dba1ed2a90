//! Ends the sessions of keys that expire while they live.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::token::told;
use keymoat_core::{Snapshot, UnixMillis};

use super::Sessions;
use crate::clock;
use crate::worker::Shared;

/// How often it is looked for keys that have expired.
const EVERY: Duration = Duration::from_millis(250);

/// What is told to the sessions of a key that has expired.
pub(crate) fn expired() -> Refusal {
    Refusal::new(Code::CredentialInvalid, "this key has expired: ask for a new one")
}

/// Looks for as long as the process lives. The wall clock decides, as it does about new sessions.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut lookout = Lookout::default();
    loop {
        lookout.look(&shared.sessions, &shared.snapshots.load_full(), clock::now());
        tokio::time::sleep(EVERY).await;
    }
}

/// What was looked at last.
#[derive(Default)]
struct Lookout {
    seen: Option<(Arc<Snapshot>, UnixMillis)>,
}

impl Lookout {
    fn look(&mut self, sessions: &Sessions, snapshot: &Arc<Snapshot>, now: UnixMillis) {
        let seen = self.seen.take().filter(|(before, _)| Arc::ptr_eq(before, snapshot));
        let since = seen.map(|(_, at)| at);
        self.seen = Some((Arc::clone(snapshot), now));
        let ids: HashSet<&Arc<str>> = snapshot.expired_within(since, now).collect();
        if ids.is_empty() {
            return;
        }
        let has_expired = |key_id: &Option<Arc<str>>| key_id.as_ref().is_some_and(|id| ids.contains(id));
        sessions.end_where(|_, info| info.token_id.is_none() && has_expired(&info.key_id), &expired());
        sessions.end_where(|_, info| info.token_id.is_some() && has_expired(&info.key_id), &told::key_expired());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::IpAddr;

    use keymoat_core::record::Protocol;
    use keymoat_core::{Held, Key, Pepper, Record, Secret};

    use super::*;
    use crate::session::{SessionGuard, SessionInfo};

    fn session(sessions: &Sessions, key_id: &str, token_id: Option<&str>) -> SessionGuard {
        let mut record = Record::begin(UnixMillis(0), IpAddr::from([127, 0, 0, 1]), Protocol::WebSocket);
        (record.key_id, record.token_id) = (Some(key_id.into()), token_id.map(Arc::from));
        sessions.insert(SessionInfo::of(&record, UnixMillis(0))).expect("room")
    }

    fn snapshot(expires_at: Option<i64>) -> Arc<Snapshot> {
        let pepper = Arc::new(Pepper::derive(&Secret::from("a master key of thirty-two bytes")));
        let expires_at = expires_at.map(UnixMillis);
        let keys = ["key_a", "key_b"].map(|id| {
            let expires_at = expires_at.filter(|_| id == "key_a");
            (
                pepper.digest(id.as_bytes()),
                Held::newest(Arc::new(Key { expires_at, ..Key::new(id, id, UnixMillis(0)) })),
            )
        });
        Arc::new(Snapshot::new(pepper, HashMap::from(keys)))
    }

    #[test]
    fn the_sessions_of_a_key_end_when_it_expires_and_no_others() {
        let sessions = Sessions::new(10);
        let of_key = session(&sessions, "key_a", None);
        let of_token = session(&sessions, "key_a", Some("tok_1"));
        let of_other = session(&sessions, "key_b", None);
        let (mut lookout, expiring) = (Lookout::default(), snapshot(Some(1000)));
        lookout.look(&sessions, &expiring, UnixMillis(999));
        assert!(!of_key.control().is_asked());
        lookout.look(&sessions, &expiring, UnixMillis(1000));
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert_eq!(of_key.control().poll_asked(&cx), std::task::Poll::Ready(expired()));
        assert_eq!(of_token.control().poll_asked(&cx), std::task::Poll::Ready(told::key_expired()));
        assert!(!of_other.control().is_asked());
    }

    #[test]
    fn a_key_whose_end_was_brought_forward_ends_its_sessions_too() {
        let sessions = Sessions::new(10);
        let of_key = session(&sessions, "key_a", None);
        let mut lookout = Lookout::default();
        lookout.look(&sessions, &snapshot(None), UnixMillis(5000));
        assert!(!of_key.control().is_asked());
        lookout.look(&sessions, &snapshot(Some(1000)), UnixMillis(5001));
        assert!(of_key.control().is_asked());
    }

    #[test]
    fn nothing_is_ended_twice_and_a_clock_that_stepped_back_is_followed() {
        let sessions = Sessions::new(10);
        let (mut lookout, expiring) = (Lookout::default(), snapshot(Some(1000)));
        lookout.look(&sessions, &expiring, UnixMillis(1000));
        lookout.look(&sessions, &expiring, UnixMillis(500));
        let opened_before_its_end = session(&sessions, "key_a", None);
        lookout.look(&sessions, &expiring, UnixMillis(999));
        assert!(!opened_before_its_end.control().is_asked());
        lookout.look(&sessions, &expiring, UnixMillis(1001));
        assert!(opened_before_its_end.control().is_asked());
    }
}
