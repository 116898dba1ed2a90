//! Watches a session of Gemini: what configures it stays within the token's lock, and the handles by which it can be
//! resumed are remembered as this token's own before the client has them.

use std::fmt;
use std::sync::Arc;

use keymoat_core::gemini::{self, Later, Lock};

use super::watcher::Verdict;
use crate::claim;
use crate::clock;
use crate::worker::Shared;

/// The lock of a token, or of a key's list of models, on one session.
pub struct GeminiWatch {
    lock: Lock,
    shared: Arc<Shared>,
    token_id: Option<Arc<str>>,
    upstream: Arc<str>,
}

impl GeminiWatch {
    pub(crate) const fn new(lock: Lock, shared: Arc<Shared>, token_id: Option<Arc<str>>, upstream: Arc<str>) -> Self {
        Self { lock, shared, token_id, upstream }
    }

    pub(super) fn of_client(&self, message: &[u8]) -> Verdict {
        match self.lock.later(message) {
            Ok(Later::Pass) => Verdict::Pass,
            Ok(Later::Forward(rendered)) => Verdict::Forward(rendered),
            Err(refusal) => Verdict::Close(refusal),
        }
    }

    pub(super) fn of_upstream(&self, message: &[u8]) -> Verdict {
        let Some(token_id) = self.token_id.clone() else { return Verdict::Pass };
        let Some(handle) = gemini::issued_handle(message) else { return Verdict::Pass };
        let Some(desk) = self.shared.desk.get().cloned() else { return Verdict::Pass };
        let digest = claim::handle_digest(&self.shared, &self.upstream, &handle);
        Verdict::PassAfter(Box::pin(async move {
            // Without the note the handle resumes nothing, which its client is told when it tries.
            if let Err(error) = desk.note_handle(token_id.clone(), digest, clock::now()).await {
                tracing::warn!(%error, %token_id, "a resumption handle is not kept: it will not be taken");
            }
        }))
    }
}

impl fmt::Debug for GeminiWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeminiWatch").field("token_id", &self.token_id).finish_non_exhaustive()
    }
}
