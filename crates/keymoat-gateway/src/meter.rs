//! Counts what keys use, and tokens with limits of their own: requests, bytes and sessions, over all threads.
//!
//! What a token uses counts towards its key as well. Who has no limits has no meter, and costs a branch. A meter is a handful of atomics; nothing waits for another thread
//! but the look-up of the meter itself, which holds its lock for one hash. What is counted of a day, and the bytes of a
//! token, survive a restart: see [`Keeper`].

mod keeper;
mod of_token;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keymoat_core::limits::{self, PER_DAY_MAX, Whose};
use keymoat_core::{Key, KeyLimits, Pace, Refusal, Token, UnixMillis};
use tokio::time::Instant;

use crate::clock;

use self::of_token::{OfToken, TokenMeter};

pub use keeper::Keeper;

/// The meters of all keys and tokens that have limits. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Meters {
    origin: Instant,
    by_key: Arc<Mutex<HashMap<Arc<str>, Arc<Meter>>>>,
    by_token: Arc<Mutex<HashMap<Arc<str>, Arc<TokenMeter>>>>,
}

/// What one key has used.
#[derive(Debug, Default)]
pub struct Meter {
    tempo: Tempo,
    requests: DayCount,
    bytes: DayCount,
    sessions: AtomicU32,
}

/// A key and a token with their meters, for as long as a request or session of them lasts.
#[derive(Clone, Debug)]
pub struct Metered {
    key: Option<OfKey>,
    token: Option<OfToken>,
}

#[derive(Clone, Debug)]
struct OfKey {
    key: Arc<Key>,
    meter: Arc<Meter>,
}

/// The places of one live session among those that its key and its token may have.
#[derive(Debug)]
pub struct TakenPlaces {
    _of_key: Option<Place<Meter>>,
    _of_token: Option<Place<TokenMeter>>,
}

impl Default for Meters {
    fn default() -> Self {
        Self { origin: Instant::now(), by_key: Arc::default(), by_token: Arc::default() }
    }
}

impl Meters {
    /// Counts one request of the key, and gives its meter for what follows.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait, when the key has used up its pace, or its day's requests or bytes.
    pub fn admit(&self, key: &Arc<Key>) -> Result<Option<Metered>, Refusal> {
        Ok(self.admit_key(key)?.map(|key| Metered { key: Some(key), token: None }))
    }

    /// Counts one request of a token, and of the key that it was minted from. What the token itself may not costs its key
    /// nothing.
    ///
    /// # Errors
    /// Those of [`Self::admit`] for either, and `token_used_up` when all the bytes of the token are.
    pub fn admit_token(&self, key: &Arc<Key>, token: &Arc<Token>) -> Result<Option<Metered>, Refusal> {
        let of_token = self.of_token(token);
        if let Some(of_token) = &of_token {
            of_token.take_request(self.nanos())?;
        }
        let of_key = self.admit_key(key)?;
        if of_key.is_none() && of_token.is_none() {
            return Ok(None);
        }
        Ok(Some(Metered { key: of_key, token: of_token }))
    }

    fn admit_key(&self, key: &Arc<Key>) -> Result<Option<OfKey>, Refusal> {
        let Some(of_key) = self.of(key) else { return Ok(None) };
        of_key.meter.take_request(&key.limits, self.nanos(), clock::now())?;
        Ok(Some(of_key))
    }

    /// The key with its meter, if it has limits that are counted.
    fn of(&self, key: &Arc<Key>) -> Option<OfKey> {
        if !key.limits.are_counted() {
            return None;
        }
        let mut by_key = self.lock();
        let meter = match by_key.get(&key.id) {
            Some(meter) => Arc::clone(meter),
            None => Arc::clone(by_key.entry(Arc::clone(&key.id)).or_default()),
        };
        drop(by_key);
        Some(OfKey { key: Arc::clone(key), meter })
    }

    /// Nanoseconds since the origin.
    fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Forgets the meters of which `keeps` does not say otherwise, unless they are in use.
    fn retain(&self, keeps: impl Fn(&str) -> bool) {
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
    /// Whether payload bytes are counted as they pass.
    #[must_use]
    pub fn counts_bytes(&self) -> bool {
        self.key.as_ref().is_some_and(|of_key| of_key.key.limits.bytes_per_day.is_some())
            || self.token.as_ref().is_some_and(OfToken::counts_bytes)
    }

    /// Takes a place among the sessions of the key, and of the token. They are free again when they are dropped.
    ///
    /// # Errors
    /// `rate_limited` when all of one are taken.
    pub fn take_places(&self) -> Result<TakenPlaces, Refusal> {
        let of_key = self.key.as_ref().and_then(|of_key| {
            let most = of_key.key.limits.sessions?;
            Some(Place::take(&of_key.meter, most).ok_or_else(|| limits::too_many_sessions(Whose::Key, most)))
        });
        let of_token = self.token.as_ref().and_then(OfToken::take_place);
        Ok(TakenPlaces { _of_key: of_key.transpose()?, _of_token: of_token.transpose()? })
    }

    /// Counts payload bytes that are passing.
    ///
    /// # Errors
    /// `rate_limited` when they are more than the key's day has left, `token_used_up` when they are more than the token has.
    /// They are counted all the same: they have come.
    pub fn take_bytes(&self, bytes: u64) -> Result<(), Refusal> {
        let of_token = self.token.as_ref().map_or(Ok(()), |of_token| of_token.take_bytes(bytes));
        self.key.as_ref().map_or(Ok(()), |of_key| of_key.take_bytes(bytes))?;
        of_token
    }
}

impl OfKey {
    fn take_bytes(&self, bytes: u64) -> Result<(), Refusal> {
        let Some(most) = self.key.limits.bytes_per_day else { return Ok(()) };
        let now = clock::now();
        if self.meter.bytes.add(bytes, limits::day_of(now)) > most {
            return Err(limits::too_much_today(most, now));
        }
        Ok(())
    }
}

/// Something that has places for so many sessions at once.
trait HasPlaces {
    /// How many are taken.
    fn taken(&self) -> &AtomicU32;
}

impl HasPlaces for Meter {
    fn taken(&self) -> &AtomicU32 {
        &self.sessions
    }
}

/// The place of one live session at a meter.
#[derive(Debug)]
struct Place<M: HasPlaces>(Arc<M>);

impl<M: HasPlaces> Place<M> {
    /// One of `most`, unless all are taken.
    fn take(meter: &Arc<M>, most: u32) -> Option<Self> {
        let take = |taken: u32| (taken < most).then(|| taken + 1);
        let took = meter.taken().fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        took.is_ok().then(|| Self(Arc::clone(meter)))
    }
}

impl<M: HasPlaces> Drop for Place<M> {
    fn drop(&mut self) {
        self.0.taken().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    fn take_request(&self, limits: &KeyLimits, nanos: u64, now: UnixMillis) -> Result<(), Refusal> {
        let day = limits::day_of(now);
        if let Some(most) = limits.bytes_per_day
            && self.bytes.of(day) >= most
        {
            return Err(limits::too_much_today(most, now));
        }
        if let Some(most) = limits.requests_per_day
            && self.requests.of(day) >= most
        {
            return Err(limits::too_many_today(most, now));
        }
        if let Some(pace) = limits.requests_per_second {
            self.tempo.keep(pace, nanos).map_err(|wait| limits::too_fast(Whose::Key, pace, wait))?;
        }
        if let Some(most) = limits.requests_per_day
            && !self.requests.add_within(most, day)
        {
            return Err(limits::too_many_today(most, now));
        }
        Ok(())
    }
}

/// When the next request would be on time, in nanoseconds since the origin.
#[derive(Debug, Default)]
struct Tempo(AtomicU64);

impl Tempo {
    /// Whether requests have come ahead of the pace, which is to be remembered.
    fn is_ahead(&self, nanos: u64) -> bool {
        self.0.load(Ordering::Relaxed) > nanos
    }

    /// The generic cell rate algorithm: a request is on time if no more than `burst` of them are ahead of the pace.
    ///
    /// # Errors
    /// How many milliseconds to wait for the next one.
    fn keep(&self, pace: Pace, nanos: u64) -> Result<(), u64> {
        const SECOND: u64 = 1_000_000_000;
        let each = SECOND / u64::from(pace.per_second.max(1));
        let ahead_max = each * u64::from(pace.burst.max(1));
        let mut due = self.0.load(Ordering::Relaxed);
        loop {
            let next = due.max(nanos) + each;
            if next > nanos + ahead_max {
                return Err((next - nanos - ahead_max).div_ceil(1_000_000));
            }
            match self.0.compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(found) => due = found,
            }
        }
    }
}

/// A count of one day: the day in the upper 16 bits, what was counted in the lower 48. Another day begins at nothing.
#[derive(Debug, Default)]
struct DayCount(AtomicU64);

const COUNT_BITS: u32 = 48;

impl DayCount {
    /// What was counted of `day`.
    fn of(&self, day: i64) -> u64 {
        count_of(self.0.load(Ordering::Relaxed), day)
    }

    /// Adds to the count of `day`, and gives it.
    fn add(&self, more: u64, day: i64) -> u64 {
        let added = |held| count_of(held, day).saturating_add(more).min(PER_DAY_MAX);
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(tagged(day) | added(held)));
        added(before.unwrap_or_default())
    }

    /// Adds one, unless that would be more than `most`; says whether it was added.
    fn add_within(&self, most: u64, day: i64) -> bool {
        let more = |held| {
            let count = count_of(held, day);
            (count < most.min(PER_DAY_MAX)).then(|| tagged(day) | (count + 1))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// The day, where a count has it. 16 bits tell days of 179 years apart.
fn tagged(day: i64) -> u64 {
    (day.rem_euclid(1 << 16) as u64) << COUNT_BITS
}

fn count_of(held: u64, day: i64) -> u64 {
    if held & !PER_DAY_MAX == tagged(day) { held & PER_DAY_MAX } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keymoat_core::Code;

    use super::*;

    fn key(limits: KeyLimits) -> Arc<Key> {
        Arc::new(Key { limits, ..Key::new("key_1", "one", UnixMillis(0)) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_keeps_its_pace_after_its_burst() {
        let meters = Meters::default();
        let pace = Pace { per_second: 4, burst: 3 };
        let key = key(KeyLimits { requests_per_second: Some(pace), ..KeyLimits::default() });
        let taken = |times: usize| (0..times).filter(|_| meters.admit(&key).is_ok()).count();
        assert_eq!(taken(10), 3);
        let refusal = meters.admit(&key).expect_err("too fast");
        assert_eq!((refusal.code, refusal.retry_after_secs), (Code::RateLimited, Some(1)));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(taken(10), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(taken(10), 3, "no more than a burst, however long the pause");
        let mut all = 0;
        for _ in 0..1000 {
            tokio::time::advance(Duration::from_millis(10)).await;
            all += taken(2);
        }
        assert_eq!(all, 40, "four a second for ten seconds");
    }

    #[test]
    fn the_wait_is_until_the_next_request_is_on_time() {
        let tempo = Tempo::default();
        let pace = Pace { per_second: 1, burst: 2 };
        let second = 1_000_000_000;
        assert_eq!(tempo.keep(pace, 0), Ok(()));
        assert_eq!(tempo.keep(pace, 0), Ok(()));
        assert_eq!(tempo.keep(pace, 0), Err(1000));
        assert_eq!(tempo.keep(pace, second / 4), Err(750));
        assert_eq!(tempo.keep(pace, second), Ok(()));
    }

    #[test]
    fn a_day_s_requests_are_used_up_and_begin_anew_at_midnight() {
        let meter = Meter::default();
        let limits = KeyLimits { requests_per_day: Some(2), ..KeyLimits::default() };
        let noon = UnixMillis(limits::DAY_MILLIS / 2);
        assert!(meter.take_request(&limits, 0, noon).is_ok() && meter.take_request(&limits, 0, noon).is_ok());
        let refusal = meter.take_request(&limits, 0, noon).expect_err("used up");
        assert_eq!((refusal.code, refusal.retry_after_secs), (Code::RateLimited, Some(43_200)));
        assert!(meter.take_request(&limits, 0, UnixMillis(limits::DAY_MILLIS)).is_ok());
        assert_eq!(meter.requests.of(1), 1);
    }

    #[test]
    fn a_request_beyond_the_pace_does_not_count_for_the_day() {
        let meter = Meter::default();
        let requests_per_second = Some(Pace::new(1));
        let limits = KeyLimits { requests_per_second, requests_per_day: Some(9), ..KeyLimits::default() };
        for _ in 0..5 {
            let _ = meter.take_request(&limits, 0, UnixMillis(0));
        }
        assert_eq!(meter.requests.of(0), 1);
    }

    #[tokio::test]
    async fn bytes_beyond_the_day_s_end_what_carries_them_and_let_nothing_new_begin() {
        let meters = Meters::default();
        let key = key(KeyLimits { bytes_per_day: Some(100), ..KeyLimits::default() });
        let metered = meters.admit(&key).expect("allowed").expect("metered");
        assert!(metered.take_bytes(60).is_ok() && metered.take_bytes(40).is_ok());
        assert_eq!(meters.admit(&key).expect_err("used up").code, Code::RateLimited);
        assert_eq!(metered.take_bytes(1).expect_err("used up").code, Code::RateLimited);
    }

    #[tokio::test]
    async fn a_session_s_place_is_free_again_when_it_ends() {
        let meters = Meters::default();
        let key = key(KeyLimits { sessions: Some(1), ..KeyLimits::default() });
        let metered = meters.admit(&key).expect("allowed").expect("metered");
        let places = metered.take_places().expect("free");
        assert_eq!(metered.take_places().expect_err("taken").code, Code::RateLimited);
        drop(places);
        assert!(metered.take_places().is_ok());
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

    #[test]
    fn many_threads_take_no_more_than_there_is() {
        let meter = Meter::default();
        let limits = KeyLimits { requests_per_day: Some(1000), ..KeyLimits::default() };
        let take = || (0..1000).filter(|_| meter.take_request(&limits, 0, UnixMillis(0)).is_ok()).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 1000);
    }
}
