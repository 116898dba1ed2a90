//! What one token uses that has limits of its own: its pace here, its sessions and bytes over all processes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use keymoat_core::limits::{self, Whose};
use keymoat_core::token::told;
use keymoat_core::{Refusal, Token};
use keymoat_store::{Budget as Of, DayUse, TokenBytes};
use tokio::time::Instant;

use super::budget::{Budget, Taking, Terms};
use super::commons::Commons;
use super::places::{Place, Places, Sought};
use super::tempo::Tempo;
use super::{Meters, of_key};
use crate::session::SessionControl;

/// What one token has used.
#[derive(Debug)]
pub(super) struct TokenMeter {
    tempo: Tempo,
    places: Arc<Places>,
    /// The bytes of all its sessions, over all processes.
    budget: Arc<Budget>,
    /// Under which the store keeps the budget: the day on which the token ends, however many it lasts.
    day: i64,
    /// Bytes that the store knows of, by whichever process they were counted.
    known: AtomicU64,
    /// Bytes that were counted here and that the store does not know of yet.
    fresh: AtomicU64,
}

/// A token with its meter.
#[derive(Clone, Debug)]
pub(super) struct OfToken {
    token: Arc<Token>,
    meter: Arc<TokenMeter>,
    origin: Instant,
    commons: Option<Arc<Commons>>,
}

impl Meters {
    /// The token with its meter, if it has limits that are counted.
    pub(super) fn of_token(&self, token: &Arc<Token>) -> Option<OfToken> {
        if !token.limits.are_counted() {
            return None;
        }
        let mut by_token = self.lock_tokens();
        let meter = match by_token.get(&token.id) {
            Some(meter) => Arc::clone(meter),
            None => {
                let fresh = || Arc::new(TokenMeter::new(limits::day_of(token.live_until)));
                Arc::clone(by_token.entry(Arc::clone(&token.id)).or_insert_with(fresh))
            }
        };
        drop(by_token);
        meter.known.fetch_max(token.bytes_used, Ordering::Relaxed);
        let commons = self.commons().cloned();
        Some(OfToken { token: Arc::clone(token), meter, origin: self.origin, commons })
    }

    /// What tokens have left of the parts of their bytes that nobody has touched since the last call; see
    /// [`Self::unused`].
    pub(super) fn unused_of_tokens(&self, all: bool) -> Vec<DayUse> {
        let given_up = |(id, meter): (&Arc<str>, &Arc<TokenMeter>)| {
            let (day, bytes) = (meter.day, meter.budget.give_up(meter.day, all));
            (bytes > 0).then(|| DayUse { key_id: Arc::clone(id), day, requests: 0, bytes })
        };
        self.lock_tokens().iter().filter_map(given_up).collect()
    }

    /// The bytes that tokens have carried and that the store does not know of.
    pub(crate) fn fresh_bytes(&self) -> Vec<TokenBytes> {
        let by_token = self.lock_tokens();
        let with_news = by_token.iter().filter(|(_, meter)| meter.fresh() > 0);
        with_news.map(|(id, meter)| TokenBytes { token_id: Arc::clone(id), bytes: meter.fresh() }).collect()
    }

    /// Notes that the store has taken `fresh` bytes, and `all` that all processes have counted by then.
    pub(crate) fn bytes_kept(&self, fresh: &[TokenBytes], all: &[TokenBytes]) {
        let all: HashMap<&str, u64> = all.iter().map(|all| (&*all.token_id, all.bytes)).collect();
        let by_token = self.lock_tokens();
        for fresh in fresh {
            if let Some(meter) = by_token.get(&fresh.token_id) {
                // Of a token that is forgotten nobody asks any more.
                meter.told(fresh.bytes, all.get(&*fresh.token_id).copied().unwrap_or(0));
            }
        }
    }

    /// Forgets the meters that nobody uses and that would begin anew as they are: the store knows the bytes.
    pub(crate) fn forget_idle_tokens(&self) {
        let nanos = self.nanos();
        self.lock_tokens().retain(|_, meter| {
            let is_in_use = Arc::strong_count(meter) > 1 || meter.places.is_in_use() || meter.tempo.is_ahead(nanos);
            is_in_use || meter.fresh() > 0 || !meter.budget.is_given_up(meter.day)
        });
    }

    pub(super) fn lock_tokens(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<TokenMeter>>> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenMeter {
    fn new(day: i64) -> Self {
        Self {
            tempo: Tempo::default(),
            places: Arc::default(),
            budget: Arc::new(Budget::new(Of::Bytes)),
            day,
            known: AtomicU64::new(0),
            fresh: AtomicU64::new(0),
        }
    }

    /// Bytes that the store does not know of yet.
    pub(super) fn fresh(&self) -> u64 {
        self.fresh.load(Ordering::Relaxed)
    }

    /// Notes that the store has taken `fresh` bytes, and what all processes have counted by then.
    pub(super) fn told(&self, fresh: u64, all: u64) {
        // Whoever asks in between sees too few for a moment, and never bytes twice.
        self.fresh.fetch_sub(fresh, Ordering::Relaxed);
        self.known.fetch_max(all, Ordering::Relaxed);
    }

    fn carry(&self, bytes: u64) {
        self.fresh.fetch_add(bytes, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.known.load(Ordering::Relaxed).saturating_add(self.fresh())
    }
}

impl OfToken {
    pub(super) async fn take_request(&self, nanos: u64) -> Result<(), Refusal> {
        let limits = &self.token.limits;
        if let Some(most) = limits.total_bytes_max {
            if self.meter.bytes() >= most {
                return Err(told::carried_all(most));
            }
            let looked = self.meter.budget.look(self.terms(most)).done().await;
            looked.map_err(|short| of_key::told(short, || told::carried_all(most)))?;
        }
        let Some(pace) = limits.requests_per_second else { return Ok(()) };
        self.meter.tempo.keep(pace, nanos).map_err(|wait| limits::too_fast(Whose::Token, pace, wait))
    }

    pub(super) fn counts_bytes(&self) -> bool {
        self.token.limits.total_bytes_max.is_some()
    }

    /// Takes a place among the sessions of the token for the one that `control` ends, where it has a limit of them.
    ///
    /// # Errors
    /// `rate_limited` when all are taken, `unavailable` when the store does not say.
    pub(super) async fn take_place(&self, control: &SessionControl) -> Result<Option<Place>, Refusal> {
        let Some(most) = self.token.limits.sessions_max else { return Ok(None) };
        let (holder, commons) = (&self.token.id, self.commons.as_ref());
        let sought = Sought { holder, whose: Whose::Token, most, origin: self.origin, commons };
        self.meter.places.take(sought, control).await.map(Some)
    }

    /// Takes payload bytes off what the token has for all its sessions, before they pass.
    ///
    /// # Errors
    /// In what is returned: `token_used_up` when they are more than it has left, `unavailable` when the store does not say.
    /// Nothing is taken then.
    pub(super) fn take_bytes(&self, bytes: u64) -> Taking<Refusal> {
        let Some(most) = self.token.limits.total_bytes_max else { return Taking::Now(Ok(())) };
        if self.meter.bytes().saturating_add(bytes) > most {
            return Taking::Now(Err(told::carried_all(most)));
        }
        let told = move |short| of_key::told(short, || told::carried_all(most));
        match self.meter.budget.take(bytes, self.terms(most)) {
            Taking::Now(done) => {
                if done.is_ok() {
                    self.meter.carry(bytes);
                }
                Taking::Now(done.map_err(told))
            }
            Taking::Later(later) => {
                let meter = Arc::clone(&self.meter);
                Taking::Later(Box::pin(async move {
                    later.await.map_err(told)?;
                    meter.carry(bytes);
                    Ok(())
                }))
            }
        }
    }

    fn terms(&self, most: u64) -> Terms<'_> {
        Terms { key_id: &self.token.id, most, day: self.meter.day, commons: self.commons.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keymoat_core::token::{Calls, TokenLimits, Uses};
    use keymoat_core::{Code, Constraint, Key, KeyLimits, Pace, Scopes, UnixMillis};

    use super::*;

    fn key(limits: KeyLimits) -> Arc<Key> {
        Arc::new(Key { limits, ..Key::new("key_1", "one", UnixMillis(0)) })
    }

    fn token(id: &str, limits: TokenLimits) -> Arc<Token> {
        Arc::new(Token {
            id: id.into(),
            key_id: "key_1".into(),
            scopes: Scopes::All,
            calls: Calls::Any,
            uses: Uses::Unlimited,
            created_at: UnixMillis(0),
            start_by: UnixMillis(1),
            live_until: UnixMillis(1),
            revoked_at: None,
            origins: Vec::new(),
            limits,
            bytes_used: 0,
            constraint: Constraint::None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_has_its_own_pace_and_what_it_may_not_costs_its_key_nothing() {
        let meters = Meters::default();
        let key = key(KeyLimits { requests_per_day: Some(3), ..KeyLimits::default() });
        let pace = TokenLimits { requests_per_second: Some(Pace::new(1)), ..TokenLimits::default() };
        let (slow, other) = (token("tok_1", pace.clone()), token("tok_2", pace));
        assert!(meters.admit_token(&key, &slow).await.is_ok());
        for _ in 0..9 {
            let refusal = meters.admit_token(&key, &slow).await.expect_err("too fast");
            assert_eq!((refusal.code, refusal.retry_after_secs), (Code::RateLimited, Some(1)));
            assert!(refusal.detail.starts_with("this token has 1 requests a second"), "{refusal}");
        }
        assert!(meters.admit_token(&key, &other).await.is_ok(), "another token of the key is not held to it");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(meters.admit_token(&key, &slow).await.is_ok());
        let refusal = meters.admit_token(&key, &other).await.expect_err("the key's day is over");
        assert!(refusal.detail.starts_with("this key has 3 requests a day"), "{refusal}");
    }

    #[tokio::test]
    async fn a_session_takes_a_place_of_its_token_and_of_its_key() {
        let meters = Meters::default();
        let key = key(KeyLimits { sessions: Some(2), ..KeyLimits::default() });
        let one = TokenLimits { sessions_max: Some(1), ..TokenLimits::default() };
        let metered =
            async |id| meters.admit_token(&key, &token(id, one.clone())).await.expect("allowed").expect("metered");
        let control = SessionControl::default();
        let first = metered("tok_1").await.take_places(&control).await.expect("free");
        let refusal = metered("tok_1").await.take_places(&control).await.expect_err("the token has one");
        assert!(refusal.detail.starts_with("this token has 1 sessions"), "{refusal}");
        let _second =
            metered("tok_2").await.take_places(&control).await.expect("what was refused holds no place of the key");
        let refusal = metered("tok_3").await.take_places(&control).await.expect_err("the key has two");
        assert!(refusal.detail.starts_with("this key has 2 sessions"), "{refusal}");
        drop(first);
        assert!(metered("tok_1").await.take_places(&control).await.is_ok());
    }

    #[tokio::test]
    async fn the_bytes_of_all_sessions_add_up_with_those_that_the_store_knows() {
        let meters = Meters::default();
        let limits = TokenLimits { total_bytes_max: Some(100), ..TokenLimits::default() };
        let known = Arc::new(Token { bytes_used: 50, ..Token::clone(&token("tok_1", limits)) });
        let metered = async || meters.admit_token(&key(KeyLimits::default()), &known).await;
        let (one, other) = (metered().await.expect("allowed"), metered().await.expect("allowed"));
        let (one, other) = (one.expect("metered"), other.expect("metered"));
        assert!(one.counts_bytes() && one.take_bytes(30).done().await.is_ok());
        assert!(other.take_bytes(20).done().await.is_ok());
        assert_eq!(one.take_bytes(1).done().await.expect_err("used up").code, Code::TokenUsedUp);
        assert_eq!(metered().await.expect_err("used up").code, Code::TokenUsedUp);
    }

    #[tokio::test]
    async fn a_meter_is_kept_as_long_as_a_session_has_a_place() {
        let (meters, one) = (Meters::default(), TokenLimits { sessions_max: Some(1), ..TokenLimits::default() });
        let (key, token) = (key(KeyLimits::default()), token("tok_1", one));
        let take = async || {
            let metered = meters.admit_token(&key, &token).await.expect("allowed").expect("metered");
            metered.take_places(&SessionControl::default()).await
        };
        let place = take().await.expect("free");
        meters.forget_idle_tokens();
        assert!(take().await.is_err(), "it is still taken");
        drop(place);
        meters.forget_idle_tokens();
        assert_eq!(meters.lock_tokens().len(), 0);
        assert!(take().await.is_ok());
    }

    #[tokio::test]
    async fn a_meter_is_forgotten_when_nothing_is_lost_by_it() {
        let meters = Meters::default();
        let limits = TokenLimits { total_bytes_max: Some(100), ..TokenLimits::default() };
        let count = || {
            meters.forget_idle_tokens();
            meters.lock_tokens().len()
        };
        let metered = meters.admit_token(&key(KeyLimits::default()), &token("tok_1", limits)).await;
        assert_eq!(count(), 1, "a session has it");
        assert!(metered.expect("allowed").expect("metered").take_bytes(10).done().await.is_ok());
        assert_eq!(count(), 1, "the store does not know of the bytes");
        let fresh = meters.fresh_bytes();
        assert_eq!(fresh.iter().map(|fresh| fresh.bytes).collect::<Vec<_>>(), [10]);
        meters.bytes_kept(&fresh, &fresh);
        assert_eq!((count(), meters.fresh_bytes().len()), (0, 0));
    }
}
