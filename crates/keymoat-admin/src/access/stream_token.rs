//! Tokens that open one event stream: for pages, which cannot set headers on a WebSocket.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use keymoat_core::format::Kind;
use keymoat_core::{Secret, UnixMillis};

use super::Caller;
use crate::random::{RandomFailed, new_secret};

/// A token is good for so long.
const MILLIS: i64 = 60 * 1000;

/// So many may wait to be used; the oldest goes for one more.
const WAITING_MAX: usize = 1024;

/// All tokens that were not used.
#[derive(Debug, Default)]
pub(crate) struct StreamTokens(Mutex<HashMap<[u8; 32], (Caller, UnixMillis)>>);

impl StreamTokens {
    /// Gives a new one, and when it is over.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn give(&self, caller: &Caller, now: UnixMillis) -> Result<(Secret, UnixMillis), RandomFailed> {
        let token = new_secret(Kind::Token)?;
        let expires_at = now.plus_millis(MILLIS);
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, expires_at)| *expires_at > now);
        if waiting.len() >= WAITING_MAX
            && let Some(oldest) = waiting.iter().min_by_key(|(_, (_, at))| *at).map(|(digest, _)| *digest)
        {
            waiting.remove(&oldest);
        }
        waiting.insert(digest_of(&token), (caller.clone(), expires_at));
        Ok((token, expires_at))
    }

    /// Uses one up: who it was given to.
    pub(crate) fn take(&self, token: &Secret, now: UnixMillis) -> Option<Caller> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (caller, expires_at) = waiting.remove(&digest_of(token))?;
        (expires_at > now).then_some(caller)
    }
}

fn digest_of(token: &Secret) -> [u8; 32] {
    // Only the digest is looked up.
    let digest = digest(&SHA256, token.expose());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use keymoat_core::Role;

    use super::*;
    use crate::access::Who;

    #[test]
    fn a_token_opens_one_stream_within_a_minute() {
        let tokens = StreamTokens::default();
        let caller = Caller { who: Who::Command, role: Role::Viewer, address: None };
        let (token, _) = tokens.give(&caller, UnixMillis(0)).expect("random");
        assert!(tokens.take(&token, UnixMillis(1)).is_some());
        assert!(tokens.take(&token, UnixMillis(1)).is_none());
        let (token, expires_at) = tokens.give(&caller, UnixMillis(0)).expect("random");
        assert!(tokens.take(&token, expires_at).is_none());
    }
}
