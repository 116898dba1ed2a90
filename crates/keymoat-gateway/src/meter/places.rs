//! The live sessions of one key or token, of which there may be so many at once: counted here first, and with a store over all
//! processes on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use keymoat_core::Refusal;
use keymoat_core::limits::{self, Whose};
use keymoat_store::DeskError;
use tokio::time::Instant;

use super::commons::{Commons, SharedPlace};
use super::of_key::unavailable;
use crate::session::SessionControl;

/// Somebody who ends a session and begins another may come before the end was written down: for so long it is waited.
const FREED_WAIT: Duration = Duration::from_millis(150);

/// For so long an answer stands that all places are taken, on other nodes too.
const FULL_MILLIS: u64 = 100;

/// The places of one key or token, as this process knows of them.
#[derive(Debug, Default)]
pub(super) struct Places {
    sessions: AtomicU32,
    /// When a session here gave its place back, and until when all are known to be taken, in milliseconds since the origin.
    freed_millis: AtomicU64,
    full_until_millis: AtomicU64,
}

/// The place of one live session. It is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    origin: Instant,
    /// The same among those of all processes.
    shared: Option<SharedPlace>,
}

/// Whose place is sought.
#[derive(Clone, Copy)]
pub(super) struct Sought<'a> {
    /// The id of the key or token.
    pub(super) holder: &'a Arc<str>,
    pub(super) whose: Whose,
    /// So many it may have at once.
    pub(super) most: u32,
    pub(super) origin: Instant,
    pub(super) commons: Option<&'a Arc<Commons>>,
}

impl Places {
    /// Whether a session here has one.
    pub(super) fn is_in_use(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    /// Takes a place for the session that `control` ends.
    ///
    /// # Errors
    /// `rate_limited` when all are taken, `unavailable` when the store does not say.
    pub(super) async fn take(self: &Arc<Self>, sought: Sought<'_>, control: &SessionControl) -> Result<Place, Refusal> {
        let Sought { holder, whose, most, origin, commons } = sought;
        let full = || limits::too_many_sessions(whose, most);
        let take = |taken: u32| (taken < most).then(|| taken + 1);
        if self.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(full());
        }
        let mut place = Place { places: Arc::clone(self), origin, shared: None };
        let Some(commons) = commons else { return Ok(place) };
        if millis_since(origin) < self.full_until_millis.load(Ordering::Relaxed) {
            return Err(full());
        }
        let mut shared = commons.take_place(holder, most, control).await.map_err(no_answer)?;
        let freed_ago = millis_since(origin).saturating_sub(self.freed_millis.load(Ordering::Relaxed));
        if shared.is_none() && freed_ago < 1000 {
            tokio::time::sleep(FREED_WAIT).await;
            shared = commons.take_place(holder, most, control).await.map_err(no_answer)?;
        }
        if shared.is_none() {
            self.full_until_millis.store(millis_since(origin) + FULL_MILLIS, Ordering::Relaxed);
            return Err(full());
        }
        place.shared = shared;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.sessions.fetch_sub(1, Ordering::Relaxed);
        // Who was refused has given nothing back.
        if self.shared.take().is_some() {
            self.places.freed_millis.store(millis_since(self.origin).max(1), Ordering::Relaxed);
        }
    }
}

fn millis_since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn no_answer(error: DeskError) -> Refusal {
    tracing::debug!(%error, "cannot ask for a place for a session");
    unavailable()
}
