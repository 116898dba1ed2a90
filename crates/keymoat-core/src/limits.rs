//! How much may be done with one key: what is kept of it, and what is told to whoever goes beyond.

use std::sync::Arc;

use crate::refusal::{Code, Refusal};
use crate::time::UnixMillis;

/// A day, in milliseconds. Daily limits count by days of UTC.
pub const DAY_MILLIS: i64 = 24 * 3_600_000;

/// The most that a daily limit may be: what is counted of one day fits beside the day in 64 bits.
pub const PER_DAY_MAX: u64 = (1 << 48) - 1;

/// The most requests per second, and the largest burst.
pub const PACE_MAX: u32 = 1_000_000;

/// The longest session that a key may be held to, in seconds: a year.
pub const SESSION_SECS_MAX: u64 = 366 * 86_400;

/// The longest name of a model.
const MODEL_BYTES_MAX: usize = 256;

/// A list of models is no longer than this.
pub const MODELS_MAX: usize = 64;

/// The limits of a key; tokens that were minted from it count towards them. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests per second; the opening of a WebSocket is one.
    pub requests_per_second: Option<Pace>,
    /// Requests in one day of UTC.
    pub requests_per_day: Option<u64>,
    /// Payload bytes of both directions in one day of UTC.
    pub bytes_per_day: Option<u64>,
    /// WebSockets and event streams at once.
    pub sessions: Option<u32>,
    /// How long one of them may last, in seconds.
    pub session_duration_secs: Option<u64>,
    /// Payload bytes of both directions of one of them, or of one request with its answer.
    pub session_bytes: Option<u64>,
    /// The models that may be asked for; empty for any.
    pub models: Vec<Arc<str>>,
}

/// So many a second, on average, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pace {
    /// From 1 to [`PACE_MAX`].
    pub per_second: u32,
    /// From 1 to [`PACE_MAX`].
    pub burst: u32,
}

impl Pace {
    /// So many a second, and as many at once.
    #[must_use]
    pub const fn new(per_second: u32) -> Self {
        Self { per_second, burst: per_second }
    }
}

impl KeyLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything of them is counted from one request to the next.
    #[must_use]
    pub const fn are_counted(&self) -> bool {
        self.requests_per_second.is_some() || self.sessions.is_some() || self.are_counted_by_day()
    }

    /// Whether anything of them is counted over a day, and so has to survive a restart.
    #[must_use]
    pub const fn are_counted_by_day(&self) -> bool {
        self.requests_per_day.is_some() || self.bytes_per_day.is_some()
    }
}

/// Limits that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// A number is out of bounds.
    #[error("`{name}` must be 1 to {most}")]
    OutOfBounds {
        /// The limit.
        name: &'static str,
        /// The most that it may be.
        most: u64,
    },
    /// The list of models is too long, or holds what is no model's name. It is not shown.
    #[error("`models` must be at most {MODELS_MAX} names of models, each without spaces and at most 256 bytes")]
    Models,
}

impl KeyLimits {
    /// Checks what somebody asked for.
    ///
    /// # Errors
    /// [`LimitsError`], naming the limit.
    pub fn check(&self) -> Result<(), LimitsError> {
        let pace = self.requests_per_second;
        for (name, value, most) in [
            ("requests_per_second", pace.map(|pace| u64::from(pace.per_second)), u64::from(PACE_MAX)),
            ("burst", pace.map(|pace| u64::from(pace.burst)), u64::from(PACE_MAX)),
            ("requests_per_day", self.requests_per_day, PER_DAY_MAX),
            ("bytes_per_day", self.bytes_per_day, PER_DAY_MAX),
            ("sessions", self.sessions.map(u64::from), u64::from(PACE_MAX)),
            ("session_duration", self.session_duration_secs, SESSION_SECS_MAX),
            ("session_bytes", self.session_bytes, PER_DAY_MAX),
        ] {
            if value.is_some_and(|value| !(1..=most).contains(&value)) {
                return Err(LimitsError::OutOfBounds { name, most });
            }
        }
        check_models(&self.models)
    }
}

/// Checks a list of models, which may be empty.
pub(crate) fn check_models(models: &[Arc<str>]) -> Result<(), LimitsError> {
    let is_model = |model: &str| {
        (1..=MODEL_BYTES_MAX).contains(&model.len())
            && !model.chars().any(|letter| letter.is_whitespace() || letter.is_control())
    };
    if models.len() > MODELS_MAX || !models.iter().all(|model| is_model(model)) {
        return Err(LimitsError::Models);
    }
    Ok(())
}

/// Who is held to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The key, and all its tokens with it.
    Key,
    /// The one token.
    Token,
}

impl Whose {
    const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Token => "token",
        }
    }
}

/// The day of UTC that `at` lies in, counted from 1970 on.
#[must_use]
pub const fn day_of(at: UnixMillis) -> i64 {
    at.0.div_euclid(DAY_MILLIS)
}

/// How many seconds are left of the day that `now` lies in, at least one.
#[must_use]
pub fn secs_left_of_day(now: UnixMillis) -> u32 {
    let left = DAY_MILLIS - now.0.rem_euclid(DAY_MILLIS);
    u32::try_from(left.div_euclid(1000) + i64::from(left % 1000 > 0)).unwrap_or(1).max(1)
}

/// Too many requests in too short a time; `wait_millis` until the next one may come.
#[must_use]
pub fn too_fast(whose: Whose, pace: Pace, wait_millis: u64) -> Refusal {
    let secs = u32::try_from(wait_millis.div_ceil(1000)).unwrap_or(u32::MAX).max(1);
    let text = format!("this {} has {} requests a second: slow down", whose.word(), pace.per_second);
    Refusal::new(Code::RateLimited, text).retry_after_secs(secs)
}

/// The day's requests are used up.
#[must_use]
pub fn too_many_today(requests_per_day: u64, now: UnixMillis) -> Refusal {
    let text = format!("this key has {requests_per_day} requests a day (UTC): come back tomorrow");
    Refusal::new(Code::RateLimited, text).retry_after_secs(secs_left_of_day(now))
}

/// The day's bytes are used up.
#[must_use]
pub fn too_much_today(bytes_per_day: u64, now: UnixMillis) -> Refusal {
    let text = format!("this key has {bytes_per_day} bytes a day (UTC): come back tomorrow");
    Refusal::new(Code::RateLimited, text).retry_after_secs(secs_left_of_day(now))
}

/// All sessions are taken.
#[must_use]
pub fn too_many_sessions(whose: Whose, sessions: u32) -> Refusal {
    let text = format!("this {} has {sessions} sessions at once: end one first", whose.word());
    Refusal::new(Code::RateLimited, text).retry_after_secs(1)
}

/// The session has lasted as long as it may. Another one may be opened at once.
#[must_use]
pub fn session_over(secs: u64) -> Refusal {
    let text = format!("a session of this key has {secs} s: open another");
    Refusal::new(Code::RateLimited, text).retry_after_secs(1)
}

/// The session has carried as much as it may. Another one may be opened at once.
#[must_use]
pub fn session_full(bytes: u64) -> Refusal {
    let text = format!("a session of this key has {bytes} bytes: open another");
    Refusal::new(Code::RateLimited, text).retry_after_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_of_utc() {
        assert_eq!(day_of(UnixMillis(DAY_MILLIS - 1)), 0);
        assert_eq!(day_of(UnixMillis(DAY_MILLIS)), 1);
        assert_eq!(day_of(UnixMillis(-1)), -1);
        assert_eq!(secs_left_of_day(UnixMillis(0)), 86_400);
        assert_eq!(secs_left_of_day(UnixMillis(DAY_MILLIS - 1001)), 2);
        assert_eq!(secs_left_of_day(UnixMillis(DAY_MILLIS - 1)), 1);
    }

    #[test]
    fn every_refusal_says_when_to_come_back_and_fits_into_a_close_reason() {
        for refusal in [
            too_fast(Whose::Token, Pace::new(PACE_MAX), 1001),
            too_many_today(PER_DAY_MAX, UnixMillis(0)),
            too_much_today(PER_DAY_MAX, UnixMillis(0)),
            too_many_sessions(Whose::Token, u32::MAX),
            session_over(u64::MAX),
            session_full(u64::MAX),
        ] {
            assert_eq!(refusal.code, Code::RateLimited);
            assert!(refusal.retry_after_secs.is_some_and(|secs| secs > 0));
            assert!(refusal.reason().ends_with(&*refusal.detail), "{}", refusal.reason());
        }
        assert_eq!(too_fast(Whose::Key, Pace::new(1), 1001).retry_after_secs, Some(2));
    }

    #[test]
    fn limits_that_cannot_be_kept_are_refused_by_name_and_not_shown() {
        let of = |change: fn(&mut KeyLimits)| {
            let mut limits = KeyLimits::default();
            change(&mut limits);
            limits.check().map_err(|error| error.to_string())
        };
        assert_eq!(of(|_| ()), Ok(()));
        assert_eq!(of(|limits| limits.sessions = Some(0)), Err("`sessions` must be 1 to 1000000".to_owned()));
        let slow = |limits: &mut KeyLimits| limits.requests_per_second = Some(Pace { per_second: 1, burst: 0 });
        assert_eq!(of(slow), Err("`burst` must be 1 to 1000000".to_owned()));
        assert!(of(|limits| limits.bytes_per_day = Some(PER_DAY_MAX)).is_ok());
        assert!(of(|limits| limits.bytes_per_day = Some(PER_DAY_MAX + 1)).is_err());
        let odd = of(|limits| limits.models = vec!["can ary".into()]).expect_err("a space");
        assert!(odd.starts_with("`models` must be") && !odd.contains("ary"), "{odd}");
        assert!(of(|limits| limits.models = vec!["models/a".into(); MODELS_MAX + 1]).is_err());
    }

    #[test]
    fn no_limits_are_none() {
        assert!(KeyLimits::default().are_none());
        let limits = KeyLimits { models: vec!["m".into()], ..KeyLimits::default() };
        assert!(!limits.are_none() && !limits.are_counted());
        let limits = KeyLimits { bytes_per_day: Some(1), ..KeyLimits::default() };
        assert!(limits.are_counted() && limits.are_counted_by_day());
    }
}
