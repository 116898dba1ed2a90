//! Counts what keys use, where they have limits: requests, bytes and sessions, over all threads, and with a store over all
//! processes on it.
//!
//! A key without limits has no meter, and costs a branch. Its pace is an atomic of this process. Its days and its sessions
//! are asked for at the store's desk, once [`Meters::share`] says where that is: a day in parts, so that mostly there is
//! nothing to ask ([`budget`]), a session one by one ([`commons`]).

mod budget;
mod commons;
#[cfg(test)]
mod over_processes;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use keymoat_core::limits;
use keymoat_core::refusal::Code;
use keymoat_core::{Key, KeyLimits, Pace, Refusal, UnixMillis};
use keymoat_store::{Budget as Of, DayUse};
use tokio::time::Instant;

use self::budget::{Budget, Short, Terms};
use crate::clock;
use crate::session::SessionControl;

pub use budget::Taking;
pub(crate) use commons::{Commons, SharedPlace};

/// Somebody who ends a session and begins another may come before the end was written down: for so long it is waited.
const FREED_WAIT: Duration = Duration::from_millis(150);

/// For so long an answer stands that all places are taken, on other nodes too.
const FULL_MILLIS: u64 = 100;

/// The meters of all keys that have limits. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Meters {
    origin: Instant,
    commons: Arc<OnceLock<Arc<Commons>>>,
    by_key: Arc<Mutex<HashMap<Arc<str>, Arc<Meter>>>>,
}

/// What one key has used.
#[derive(Debug)]
pub struct Meter {
    /// When the next request would be on time, in nanoseconds since the origin.
    due: AtomicU64,
    requests: Arc<Budget>,
    bytes: Arc<Budget>,
    sessions: AtomicU32,
    /// When a session here gave its place back, and until when all are known to be taken, in milliseconds since the origin.
    freed_millis: AtomicU64,
    full_until_millis: AtomicU64,
}

/// A key with its meter, for as long as a request or session of it lasts.
#[derive(Clone, Debug)]
pub struct Metered {
    key: Arc<Key>,
    meter: Arc<Meter>,
    origin: Instant,
    commons: Option<Arc<Commons>>,
}

/// The place of one live session among those that its key may have.
#[derive(Debug)]
pub struct Place {
    meter: Arc<Meter>,
    origin: Instant,
    /// The same among those of all processes.
    shared: Option<SharedPlace>,
}

impl Default for Meters {
    fn default() -> Self {
        Self { origin: Instant::now(), commons: Arc::default(), by_key: Arc::default() }
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            due: AtomicU64::new(0),
            requests: Arc::new(Budget::new(Of::Requests)),
            bytes: Arc::new(Budget::new(Of::Bytes)),
            sessions: AtomicU32::new(0),
            freed_millis: AtomicU64::new(0),
            full_until_millis: AtomicU64::new(0),
        }
    }
}

impl Meters {
    /// The key with its meter, if it has limits that are counted.
    #[must_use]
    pub fn of(&self, key: &Arc<Key>) -> Option<Metered> {
        if !key.limits.are_counted() {
            return None;
        }
        let mut by_key = self.lock();
        let meter = match by_key.get(&key.id) {
            Some(meter) => Arc::clone(meter),
            None => Arc::clone(by_key.entry(Arc::clone(&key.id)).or_default()),
        };
        drop(by_key);
        let commons = self.commons.get().cloned();
        Some(Metered { key: Arc::clone(key), meter, origin: self.origin, commons })
    }

    /// Counts one request of the key, and gives its meter for what follows.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait, when the key has used up its pace, or its day's requests or bytes;
    /// `unavailable` when the store does not say.
    pub async fn admit(&self, key: &Arc<Key>) -> Result<Option<Metered>, Refusal> {
        let Some(metered) = self.of(key) else { return Ok(None) };
        metered.take_request(clock::now()).await?;
        Ok(Some(metered))
    }

    /// Has days and sessions counted over all processes from now on. The first one that is given stays.
    pub(crate) fn share(&self, commons: Arc<Commons>) {
        let first = self.commons.set(commons).is_ok();
        debug_assert!(first, "there is one store");
    }

    /// Where the counts of all processes are, once it is known.
    pub(crate) fn commons(&self) -> Option<&Arc<Commons>> {
        self.commons.get()
    }

    /// Takes out what keys have left of the parts of their day that nobody has touched since the last call; `all` takes
    /// out everything. It is to be given back.
    pub(crate) fn unused(&self, day: i64, all: bool) -> Vec<DayUse> {
        let of = |(key_id, meter): (Arc<str>, Arc<Meter>)| {
            let (requests, bytes) = (meter.requests.give_up(day, all), meter.bytes.give_up(day, all));
            (requests > 0 || bytes > 0).then_some(DayUse { key_id, day, requests, bytes })
        };
        self.all().into_iter().filter_map(of).collect()
    }

    /// Forgets the meters of which `keeps` does not say otherwise, unless they are in use.
    pub(crate) fn retain(&self, keeps: impl Fn(&str) -> bool) {
        self.lock().retain(|id, meter| keeps(id) || Arc::strong_count(meter) > 1);
    }

    fn all(&self) -> Vec<(Arc<str>, Arc<Meter>)> {
        self.lock().iter().map(|(id, meter)| (Arc::clone(id), Arc::clone(meter))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Meter>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metered {
    /// The limits of the key.
    #[must_use]
    pub fn limits(&self) -> &KeyLimits {
        &self.key.limits
    }

    /// Takes a place among the key's sessions for the one that `control` ends. It is free again when it is dropped.
    ///
    /// # Errors
    /// `rate_limited` when all are taken, `unavailable` when the store does not say.
    pub async fn take_place(&self, control: &SessionControl) -> Result<Place, Refusal> {
        let most = self.key.limits.sessions.unwrap_or(u32::MAX);
        let take = |taken: u32| (taken < most).then(|| taken + 1);
        if self.meter.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(limits::too_many_sessions(most));
        }
        let mut place = Place { meter: Arc::clone(&self.meter), origin: self.origin, shared: None };
        let Some(commons) = &self.commons else { return Ok(place) };
        if self.millis() < self.meter.full_until_millis.load(Ordering::Relaxed) {
            return Err(limits::too_many_sessions(most));
        }
        let mut shared = commons.take_place(&self.key.id, most, control).await.map_err(no_answer)?;
        let freed_ago = self.millis().saturating_sub(self.meter.freed_millis.load(Ordering::Relaxed));
        if shared.is_none() && freed_ago < 1000 {
            tokio::time::sleep(FREED_WAIT).await;
            shared = commons.take_place(&self.key.id, most, control).await.map_err(no_answer)?;
        }
        if shared.is_none() {
            self.meter.full_until_millis.store(self.millis() + FULL_MILLIS, Ordering::Relaxed);
            return Err(limits::too_many_sessions(most));
        }
        place.shared = shared;
        Ok(place)
    }

    /// Takes payload bytes off what the key has of the day, before they pass.
    ///
    /// # Errors
    /// In what is returned: `rate_limited` when they are more than the day has left, `unavailable` when the store does not
    /// say. Nothing is taken then.
    pub fn take_bytes(&self, bytes: u64) -> Taking<Refusal> {
        let Some(most) = self.key.limits.bytes_per_day.filter(|_| bytes > 0) else { return Taking::Now(Ok(())) };
        let now = clock::now();
        let told = move |short| told(short, || limits::too_much_today(most, now));
        match self.meter.bytes.take(bytes, self.terms(most, now)) {
            Taking::Now(done) => Taking::Now(done.map_err(told)),
            Taking::Later(later) => Taking::Later(Box::pin(async move { later.await.map_err(told) })),
        }
    }

    async fn take_request(&self, now: UnixMillis) -> Result<(), Refusal> {
        let limits = &self.key.limits;
        if let Some(most) = limits.bytes_per_day {
            let looked = self.meter.bytes.look(self.terms(most, now)).done().await;
            looked.map_err(|short| told(short, || limits::too_much_today(most, now)))?;
        }
        if let Some(pace) = limits.requests_per_second {
            let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.meter.keep_pace(pace, nanos).map_err(|wait| limits::too_fast(pace, wait))?;
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

    fn millis(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn told(short: Short, used_up: impl FnOnce() -> Refusal) -> Refusal {
    match short {
        Short::UsedUp => used_up(),
        Short::NoAnswer => unavailable(),
    }
}

fn no_answer(error: keymoat_store::DeskError) -> Refusal {
    tracing::debug!(%error, "cannot ask for a place for a session");
    unavailable()
}

/// The store does not say how much is left: nothing is let in by a limit that it counts.
fn unavailable() -> Refusal {
    let text = "the store of limits does not answer, try again";
    Refusal::new(Code::Unavailable, text).retry_after_secs(1)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.meter.sessions.fetch_sub(1, Ordering::Relaxed);
        let millis = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.meter.freed_millis.store(millis.max(1), Ordering::Relaxed);
        drop(self.shared.take());
    }
}

impl Meter {
    /// The generic cell rate algorithm: a request is on time if no more than `burst` of them are ahead of the pace.
    ///
    /// # Errors
    /// How many milliseconds to wait for the next one.
    fn keep_pace(&self, pace: Pace, nanos: u64) -> Result<(), u64> {
        const SECOND: u64 = 1_000_000_000;
        let each = SECOND / u64::from(pace.per_second.max(1));
        let ahead_max = each * u64::from(pace.burst.max(1));
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            let next = due.max(nanos) + each;
            if next > nanos + ahead_max {
                return Err((next - nanos - ahead_max).div_ceil(1_000_000));
            }
            match self.due.compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(found) => due = found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keymoat_core::limits::DAY_MILLIS;

    use super::*;

    fn key(limits: KeyLimits) -> Arc<Key> {
        Arc::new(Key { limits, ..Key::new("key_1", "one", UnixMillis(0)) })
    }

    async fn admitted(meters: &Meters, key: &Arc<Key>, times: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..times {
            admitted += usize::from(meters.admit(key).await.is_ok());
        }
        admitted
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_keeps_its_pace_after_its_burst() {
        let meters = Meters::default();
        let pace = Pace { per_second: 4, burst: 3 };
        let key = key(KeyLimits { requests_per_second: Some(pace), ..KeyLimits::default() });
        assert_eq!(admitted(&meters, &key, 10).await, 3);
        let refusal = meters.admit(&key).await.expect_err("too fast");
        assert_eq!((refusal.code, refusal.retry_after_secs), (Code::RateLimited, Some(1)));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(admitted(&meters, &key, 10).await, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&meters, &key, 10).await, 3, "no more than a burst, however long the pause");
        let mut all = 0;
        for _ in 0..1000 {
            tokio::time::advance(Duration::from_millis(10)).await;
            all += admitted(&meters, &key, 2).await;
        }
        assert_eq!(all, 40, "four a second for ten seconds");
    }

    #[test]
    fn the_wait_is_until_the_next_request_is_on_time() {
        let meter = Meter::default();
        let pace = Pace { per_second: 1, burst: 2 };
        let second = 1_000_000_000;
        assert_eq!(meter.keep_pace(pace, 0), Ok(()));
        assert_eq!(meter.keep_pace(pace, 0), Ok(()));
        assert_eq!(meter.keep_pace(pace, 0), Err(1000));
        assert_eq!(meter.keep_pace(pace, second / 4), Err(750));
        assert_eq!(meter.keep_pace(pace, second), Ok(()));
    }

    #[tokio::test]
    async fn a_day_s_requests_are_used_up_and_begin_anew_at_midnight() {
        let meters = Meters::default();
        let metered =
            meters.of(&key(KeyLimits { requests_per_day: Some(2), ..KeyLimits::default() })).expect("metered");
        let noon = UnixMillis(DAY_MILLIS / 2);
        assert!(metered.take_request(noon).await.is_ok() && metered.take_request(noon).await.is_ok());
        let refusal = metered.take_request(noon).await.expect_err("used up");
        assert_eq!((refusal.code, refusal.retry_after_secs), (Code::RateLimited, Some(43_200)));
        assert!(metered.take_request(UnixMillis(DAY_MILLIS)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_beyond_the_pace_does_not_count_for_the_day() {
        let meters = Meters::default();
        let requests_per_second = Some(Pace::new(1));
        let key = key(KeyLimits { requests_per_second, requests_per_day: Some(2), ..KeyLimits::default() });
        assert_eq!(admitted(&meters, &key, 5).await, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&meters, &key, 5).await, 1);
    }

    #[tokio::test]
    async fn bytes_beyond_the_day_s_do_not_pass_and_when_there_are_none_nothing_new_begins() {
        let meters = Meters::default();
        let key = key(KeyLimits { bytes_per_day: Some(100), ..KeyLimits::default() });
        let metered = meters.admit(&key).await.expect("allowed").expect("metered");
        assert_eq!(metered.take_bytes(60).done().await, Ok(()));
        assert_eq!(metered.take_bytes(41).done().await.expect_err("one too many").code, Code::RateLimited);
        assert!(meters.admit(&key).await.is_ok(), "there is something left");
        assert_eq!(metered.take_bytes(40).done().await, Ok(()));
        assert_eq!(meters.admit(&key).await.expect_err("used up").code, Code::RateLimited);
        assert_eq!(metered.take_bytes(1).done().await.expect_err("used up").code, Code::RateLimited);
    }

    #[tokio::test]
    async fn a_session_s_place_is_free_again_when_it_ends() {
        let meters = Meters::default();
        let key = key(KeyLimits { sessions: Some(1), ..KeyLimits::default() });
        let (metered, control) = (meters.of(&key).expect("metered"), SessionControl::default());
        let place = metered.take_place(&control).await.expect("free");
        assert_eq!(metered.take_place(&control).await.expect_err("taken").code, Code::RateLimited);
        drop(place);
        assert!(metered.take_place(&control).await.is_ok());
    }

    #[tokio::test]
    async fn a_key_without_counted_limits_has_no_meter_and_others_are_forgotten_with_their_keys() {
        let meters = Meters::default();
        let models = vec!["m".into()];
        assert!(meters.of(&key(KeyLimits { models, ..KeyLimits::default() })).is_none());
        assert!(meters.lock().is_empty());
        let limited = key(KeyLimits { sessions: Some(1), ..KeyLimits::default() });
        let in_use = meters.of(&limited);
        meters.retain(|_| false);
        assert_eq!(meters.lock().len(), 1, "a session has it");
        drop(in_use);
        meters.retain(|id| id == "key_1");
        assert_eq!(meters.lock().len(), 1);
        meters.retain(|_| false);
        assert!(meters.lock().is_empty());
    }
}
