//! What one key uses that has limits: its pace here, its days and sessions over all processes.

use std::sync::Arc;

use keymoat_core::limits::{self, Whose};
use keymoat_core::refusal::Code;
use keymoat_core::{Key, Refusal, UnixMillis};
use keymoat_store::Budget as Of;
use tokio::time::Instant;

use super::budget::{Budget, Short, Taking, Terms};
use super::commons::Commons;
use super::places::{Place, Places, Sought};
use super::tempo::Tempo;
use crate::clock;
use crate::session::SessionControl;

/// What one key has used.
#[derive(Debug)]
pub(super) struct Meter {
    tempo: Tempo,
    pub(super) requests: Arc<Budget>,
    pub(super) bytes: Arc<Budget>,
    pub(super) places: Arc<Places>,
}

/// A key with its meter, for as long as a request or session of it lasts.
#[derive(Clone, Debug)]
pub(super) struct OfKey {
    pub(super) key: Arc<Key>,
    pub(super) meter: Arc<Meter>,
    pub(super) origin: Instant,
    pub(super) commons: Option<Arc<Commons>>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            tempo: Tempo::default(),
            requests: Arc::new(Budget::new(Of::Requests)),
            bytes: Arc::new(Budget::new(Of::Bytes)),
            places: Arc::default(),
        }
    }
}

impl OfKey {
    /// Whether payload bytes are counted as they pass.
    pub(super) fn counts_bytes(&self) -> bool {
        self.key.limits.bytes_per_day.is_some()
    }

    /// Takes a place among the key's sessions for the one that `control` ends, where it has a limit of them. It is free again
    /// when it is dropped.
    ///
    /// # Errors
    /// `rate_limited` when all are taken, `unavailable` when the store does not say.
    pub(super) async fn take_place(&self, control: &SessionControl) -> Result<Option<Place>, Refusal> {
        let Some(most) = self.key.limits.sessions else { return Ok(None) };
        let (holder, commons) = (&self.key.id, self.commons.as_ref());
        let sought = Sought { holder, whose: Whose::Key, most, origin: self.origin, commons };
        self.meter.places.take(sought, control).await.map(Some)
    }

    /// Takes payload bytes off what the key has of the day, before they pass.
    ///
    /// # Errors
    /// In what is returned: `rate_limited` when they are more than the day has left, `unavailable` when the store does not
    /// say. Nothing is taken then.
    pub(super) fn take_bytes(&self, bytes: u64) -> Taking<Refusal> {
        let Some(most) = self.key.limits.bytes_per_day.filter(|_| bytes > 0) else { return Taking::Now(Ok(())) };
        let now = clock::now();
        let told = move |short| told(short, || limits::too_much_today(most, now));
        match self.meter.bytes.take(bytes, self.terms(most, now)) {
            Taking::Now(done) => Taking::Now(done.map_err(told)),
            Taking::Later(later) => Taking::Later(Box::pin(async move { later.await.map_err(told) })),
        }
    }

    pub(super) async fn take_request(&self, now: UnixMillis) -> Result<(), Refusal> {
        let limits = &self.key.limits;
        if let Some(most) = limits.bytes_per_day {
            let looked = self.meter.bytes.look(self.terms(most, now)).done().await;
            looked.map_err(|short| told(short, || limits::too_much_today(most, now)))?;
        }
        if let Some(pace) = limits.requests_per_second {
            let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.meter.tempo.keep(pace, nanos).map_err(|wait| limits::too_fast(Whose::Key, pace, wait))?;
        }
        if let Some(most) = limits.requests_per_day {
            let taken = self.meter.requests.take(1, self.terms(most, now)).done().await;
            taken.map_err(|short| told(short, || limits::too_many_today(most, now)))?;
        }
        Ok(())
    }

    fn terms(&self, most: u64, now: UnixMillis) -> Terms<'_> {
        Terms { key_id: &self.key.id, most, day: limits::day_of(now), commons: self.commons.as_ref() }
    }
}

pub(super) fn told(short: Short, used_up: impl FnOnce() -> Refusal) -> Refusal {
    match short {
        Short::UsedUp => used_up(),
        Short::NoAnswer => unavailable(),
    }
}

/// The store does not say how much is left: nothing is let in by a limit that it counts.
pub(super) fn unavailable() -> Refusal {
    let text = "the store of limits does not answer, try again";
    Refusal::new(Code::Unavailable, text).retry_after_secs(1)
}
