//! What becomes of a node that is cut off from the store: it refuses new sessions, and in the end closes those that could
//! have been revoked meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keymoat_gateway::Running;
use keymoat_gateway::session::SessionInfo;
use keymoat_store::Freshness;

use crate::config::Staleness;

/// How often the age of the view is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Looks at the age of the view until it is dropped.
pub(crate) struct StoreAge {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl StoreAge {
    /// Has new sessions refused and live ones closed when the view becomes too old.
    ///
    /// # Errors
    /// There is no thread left.
    pub(crate) fn watch(running: &Arc<Running>, freshness: Freshness, bounds: Staleness) -> std::io::Result<Self> {
        let of_gateway = freshness.clone();
        running.ready_while(move || of_gateway.age(Instant::now()) <= bounds.refuse_after);
        let running = Arc::clone(running);
        let (end, ended) = mpsc::channel();
        let look = move || {
            let mut phase = Phase::Fresh;
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let age = freshness.age(Instant::now());
                let now = Phase::of(age, bounds);
                if now != phase {
                    now.tell(age);
                    phase = now;
                }
                if now == Phase::Closing {
                    // Again and again: a session that was claimed before the bound may appear after it.
                    let sessions = running.end_sessions_that_may_be_revoked(is_revocable);
                    if sessions > 0 {
                        tracing::warn!(sessions, "sessions end that may have been revoked");
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-age".into()).spawn(look)?;
        Ok(Self { running: Some((end, thread)) })
    }
}

impl Drop for StoreAge {
    fn drop(&mut self) {
        let Some((end, thread)) = self.running.take() else { return };
        drop(end);
        // It has told of its panic, if there was one.
        let _ = thread.join();
    }
}

/// What the age of the view means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fresh,
    Refusing,
    Closing,
}

impl Phase {
    fn of(age: Duration, bounds: Staleness) -> Self {
        match age {
            _ if age > bounds.close_after => Self::Closing,
            _ if age > bounds.refuse_after => Self::Refusing,
            _ => Self::Fresh,
        }
    }

    fn tell(self, age: Duration) {
        let age_secs = age.as_secs();
        match self {
            Self::Fresh => tracing::info!("the store is read again: new sessions are let in"),
            Self::Refusing => {
                tracing::error!(age_secs, "the store was not read for too long: new sessions are refused");
            }
            Self::Closing => {
                tracing::error!(
                    age_secs,
                    "the store was not read for far too long: sessions that can be revoked are closed"
                );
            }
        }
    }
}

/// A key of the configuration is revoked by the configuration, which is at hand; tokens and keys of the store are not.
fn is_revocable(info: &SessionInfo) -> bool {
    info.token_id.is_some() || info.key_id.as_deref().is_some_and(|id| id.starts_with("key_"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use keymoat_core::record::Protocol;
    use keymoat_core::{Record, UnixMillis};

    use super::*;

    #[test]
    fn a_view_that_ages_first_refuses_and_then_closes() {
        let bounds = Staleness::default();
        let of = |secs| Phase::of(Duration::from_millis(secs), bounds);
        assert_eq!(
            [of(5_000), of(5_001), of(60_000), of(60_001)],
            [Phase::Fresh, Phase::Refusing, Phase::Refusing, Phase::Closing]
        );
    }

    #[test]
    fn what_the_store_cannot_revoke_is_not_closed() {
        let record = Record::begin(UnixMillis(0), Ipv4Addr::LOCALHOST.into(), Protocol::WebSocket);
        let info = |key_id: Option<&str>, token_id: Option<&str>| SessionInfo {
            key_id: key_id.map(Into::into),
            token_id: token_id.map(Into::into),
            ..SessionInfo::of(&record, UnixMillis(0))
        };
        assert!(is_revocable(&info(Some("key_a"), None)));
        assert!(is_revocable(&info(Some("file_a"), Some("tok_a"))));
        assert!(!is_revocable(&info(Some("file_a"), None)));
        assert!(!is_revocable(&info(None, None)));
    }
}
