//! Counts what keys use, where they have limits, and tokens with limits of their own: requests, bytes and sessions, over all
//! threads, and with a store over all processes on it.
//!
//! What a token uses counts towards its key as well. Who has no limits has no meter, and costs a branch. The pace is an atomic
//! of this process. Days, bytes and sessions are asked for at the store's desk, once `Meters::share` says where that is: a
//! day in parts, so that mostly there is nothing to ask (`meter/budget.rs`), a session one by one (`meter/places.rs`).

mod budget;
mod commons;
mod of_key;
mod of_token;
#[cfg(test)]
mod over_processes;
mod places;
mod tempo;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use keymoat_core::{Key, Refusal, Token};
use keymoat_store::DayUse;
use tokio::time::Instant;

use self::of_key::{Meter, OfKey};
use self::of_token::{OfToken, TokenMeter};
use self::places::Place;
use crate::clock;
use crate::session::SessionControl;

pub use budget::Taking;
pub(crate) use commons::{Commons, SharedPlace};

/// The meters of all keys and tokens that have limits. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Meters {
    origin: Instant,
    commons: Arc<OnceLock<Arc<Commons>>>,
    by_key: Arc<Mutex<HashMap<Arc<str>, Arc<Meter>>>>,
    by_token: Arc<Mutex<HashMap<Arc<str>, Arc<TokenMeter>>>>,
}

/// A key and a token with their meters, for as long as a request or session of them lasts.
#[derive(Clone, Debug)]
pub struct Metered {
    key: Option<OfKey>,
    token: Option<Arc<OfToken>>,
}

/// The places of one live session among those that its key and its token may have.
#[derive(Debug)]
pub struct TakenPlaces {
    _of_key: Option<Place>,
    _of_token: Option<Place>,
}

impl Default for Meters {
    fn default() -> Self {
        Self { origin: Instant::now(), commons: Arc::default(), by_key: Arc::default(), by_token: Arc::default() }
    }
}

impl Meters {
    /// Counts one request of the key, and gives its meter for what follows.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait, when the key has used up its pace, or its day's requests or bytes;
    /// `unavailable` when the store does not say.
    pub async fn admit(&self, key: &Arc<Key>) -> Result<Option<Metered>, Refusal> {
        Ok(self.admit_key(key).await?.map(|key| Metered { key: Some(key), token: None }))
    }

    /// Counts one request of a token, and of the key that it was minted from. What the token itself may not costs its key
    /// nothing.
    ///
    /// # Errors
    /// Those of [`Self::admit`] for either, and `token_used_up` when all the bytes of the token are.
    pub async fn admit_token(&self, key: &Arc<Key>, token: &Arc<Token>) -> Result<Option<Metered>, Refusal> {
        let of_token = self.of_token(token);
        if let Some(of_token) = &of_token {
            of_token.take_request(self.nanos()).await?;
        }
        let of_key = self.admit_key(key).await?;
        if of_key.is_none() && of_token.is_none() {
            return Ok(None);
        }
        Ok(Some(Metered { key: of_key, token: of_token.map(Arc::new) }))
    }

    async fn admit_key(&self, key: &Arc<Key>) -> Result<Option<OfKey>, Refusal> {
        let Some(of_key) = self.of(key) else { return Ok(None) };
        of_key.take_request(clock::now()).await?;
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
        let commons = self.commons.get().cloned();
        Some(OfKey { key: Arc::clone(key), meter, origin: self.origin, commons })
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

    /// Takes out what keys have left of the parts of their day, and tokens of their bytes, that nobody has touched since the
    /// last call; `all` takes out everything. It is to be given back.
    pub(crate) fn unused(&self, day: i64, all: bool) -> Vec<DayUse> {
        let of = |(key_id, meter): (Arc<str>, Arc<Meter>)| {
            let (requests, bytes) = (meter.requests.give_up(day, all), meter.bytes.give_up(day, all));
            (requests > 0 || bytes > 0).then_some(DayUse { key_id, day, requests, bytes })
        };
        self.all().into_iter().filter_map(of).chain(self.unused_of_tokens(all)).collect()
    }

    /// Forgets the meters of which `keeps` does not say otherwise, unless they are in use.
    pub(crate) fn retain(&self, keeps: impl Fn(&str) -> bool) {
        self.lock().retain(|id, meter| keeps(id) || Arc::strong_count(meter) > 1 || meter.places.is_in_use());
    }

    fn all(&self) -> Vec<(Arc<str>, Arc<Meter>)> {
        self.lock().iter().map(|(id, meter)| (Arc::clone(id), Arc::clone(meter))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Meter>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the origin.
    fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Metered {
    /// Whether payload bytes are counted as they pass.
    #[must_use]
    pub fn counts_bytes(&self) -> bool {
        self.key.as_ref().is_some_and(OfKey::counts_bytes)
            || self.token.as_ref().is_some_and(|of_token| of_token.counts_bytes())
    }

    /// Takes a place among the sessions of the token, and of the key, for the one that `control` ends. They are free again
    /// when they are dropped.
    ///
    /// # Errors
    /// `rate_limited` when all of one are taken, `unavailable` when the store does not say.
    pub async fn take_places(&self, control: &SessionControl) -> Result<TakenPlaces, Refusal> {
        let of_token = match &self.token {
            Some(of_token) => of_token.take_place(control).await?,
            None => None,
        };
        let of_key = match &self.key {
            Some(of_key) => of_key.take_place(control).await?,
            None => None,
        };
        Ok(TakenPlaces { _of_key: of_key, _of_token: of_token })
    }

    /// Takes payload bytes off what the token has, and the key of the day, before they pass.
    ///
    /// # Errors
    /// In what is returned: `token_used_up` when they are more than the token has left, `rate_limited` when they are more than
    /// the key's day has, `unavailable` when the store does not say.
    pub fn take_bytes(&self, bytes: u64) -> Taking<Refusal> {
        let of_key = |of_key: &OfKey| of_key.take_bytes(bytes);
        match self.token.as_ref().map_or(Taking::Now(Ok(())), |of_token| of_token.take_bytes(bytes)) {
            Taking::Now(Ok(())) => self.key.as_ref().map_or(Taking::Now(Ok(())), of_key),
            Taking::Now(Err(refusal)) => Taking::Now(Err(refusal)),
            Taking::Later(later) => {
                let key = self.key.clone();
                Taking::Later(Box::pin(async move {
                    later.await?;
                    match &key {
                        Some(key) => key.take_bytes(bytes).done().await,
                        None => Ok(()),
                    }
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keymoat_core::limits::DAY_MILLIS;

    use std::time::Duration;

    use keymoat_core::refusal::Code;
    use keymoat_core::{KeyLimits, Pace, UnixMillis};

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
