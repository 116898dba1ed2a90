//! Watches a session of OpenAI Realtime: what configures it stays within the lock of its token or key.

use std::fmt;

use keymoat_core::openai::{self, Later, Lock};
use keymoat_core::{Code, Refusal, setup};

use super::watcher::Verdict;
use crate::session::{SessionControl, Setup};

/// The lock on one session.
pub struct OpenAiWatch {
    lock: Lock,
    /// Where it is noted how the session is configured.
    session: SessionControl,
}

impl OpenAiWatch {
    pub(crate) const fn new(lock: Lock, session: SessionControl) -> Self {
        Self { lock, session }
    }

    pub(super) fn of_client(&self, event: &[u8]) -> Verdict {
        match self.lock.later(event) {
            Ok(Later::Pass) => Verdict::Pass,
            Ok(Later::Forward(rendered)) => {
                if let Some(effective) = setup::updated(self.lock.session(), &rendered) {
                    self.session.note_setup(Setup { asked: setup::shown(event), effective: Some(effective) });
                }
                Verdict::Forward(rendered)
            }
            Err(refusal) => Verdict::Close(refusal),
        }
    }

    /// Without our own `session.update` nothing is locked.
    pub(super) fn of_upstream(event: &[u8]) -> Verdict {
        if openai::refuses_lock(event) {
            return Verdict::Close(Refusal::new(Code::Forbidden, "the upstream does not take this token's session"));
        }
        Verdict::Pass
    }
}

impl fmt::Debug for OpenAiWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiWatch").field("lock", &self.lock).finish_non_exhaustive()
    }
}
