//! What a token may take: one session of it, and all of them together.

use std::sync::Arc;

use super::own::{TokenRequestError, check_known, must_be, read_span};
use crate::gemini;
use crate::json::{self, Caps, Object, Value};
use crate::limits::{KeyLimits, LimitsError, PACE_MAX, PER_DAY_MAX, Pace, check_models};
use crate::refusal::{Code, Refusal};

/// The limits in a request for a token.
const FIELDS: [&str; 8] =
    ["duration", "bytes", "messages", "requests_per_second", "burst", "sessions", "total_bytes", "models"];

/// How large the kept form may be: 64 names of models.
const KEPT: Caps = Caps { bytes_max: 128 << 10, depth_max: 4, members_max: 256 };

/// What a token may take, beside what its key may; `None` for no limit of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenLimits {
    /// The length of one session in seconds.
    pub duration_secs_max: Option<u64>,
    /// Payload bytes of one session, in both directions together.
    pub bytes_max: Option<u64>,
    /// Messages of one session, in both directions together.
    pub messages_max: Option<u64>,
    /// Requests per second; the opening of a WebSocket is one.
    pub requests_per_second: Option<Pace>,
    /// WebSockets and event streams at once.
    pub sessions_max: Option<u32>,
    /// Payload bytes of all its sessions and requests, in both directions together, for as long as it lives.
    pub total_bytes_max: Option<u64>,
    /// The models that may be asked for; empty for any of its key.
    pub models: Vec<Arc<str>>,
}

impl TokenLimits {
    /// Whether anything of them is counted from one session to the next.
    #[must_use]
    pub const fn are_counted(&self) -> bool {
        self.requests_per_second.is_some() || self.sessions_max.is_some() || self.total_bytes_max.is_some()
    }

    /// Checks what somebody asked for.
    ///
    /// # Errors
    /// [`LimitsError`], naming the limit as requests for tokens do.
    pub fn check(&self) -> Result<(), LimitsError> {
        let pace = self.requests_per_second;
        for (name, value, most) in [
            ("requests_per_second", pace.map(|pace| u64::from(pace.per_second)), u64::from(PACE_MAX)),
            ("burst", pace.map(|pace| u64::from(pace.burst)), u64::from(PACE_MAX)),
            ("sessions", self.sessions_max.map(u64::from), u64::from(PACE_MAX)),
            ("total_bytes", self.total_bytes_max, PER_DAY_MAX),
        ] {
            if value.is_some_and(|value| !(1..=most).contains(&value)) {
                return Err(LimitsError::OutOfBounds { name, most });
            }
        }
        check_models(&self.models)
    }

    /// Refuses a limit that is wider than that of the key: it would never be reached.
    ///
    /// What is left out is not wider; the key's own limit holds then, as it does in any case.
    ///
    /// # Errors
    /// `forbidden`, naming the limit and what the key has.
    pub fn check_within(&self, key: &KeyLimits) -> Result<(), Refusal> {
        let pace = |pace: Option<Pace>| (pace.map(|pace| pace.per_second.into()), pace.map(|pace| pace.burst.into()));
        let ((per_second, burst), (key_per_second, key_burst)) =
            (pace(self.requests_per_second), pace(key.requests_per_second));
        for (name, own, most) in [
            ("duration", self.duration_secs_max, key.session_duration_secs),
            ("bytes", self.bytes_max, key.session_bytes),
            ("requests_per_second", per_second, key_per_second),
            ("burst", burst, key_burst),
            ("sessions", self.sessions_max.map(u64::from), key.sessions.map(u64::from)),
            ("total_bytes", self.total_bytes_max, key.bytes_per_day),
        ] {
            if let (Some(own), Some(most)) = (own, most)
                && own > most
            {
                let text = format!("`limits.{name}` is wider than the limit of the key, which is {most}");
                return Err(Refusal::new(Code::Forbidden, text));
            }
        }
        let is_listed = |model: &Arc<str>| key.models.iter().any(|listed| are_one(listed, model));
        if key.models.is_empty() || self.models.iter().all(is_listed) {
            return Ok(());
        }
        let own = key.models.join(", ");
        Err(Refusal::new(Code::Forbidden, format!("`limits.models` names one that the key is not for: it has {own}")))
    }

    /// The canonical JSON of what is not about one session alone; none where there is nothing of it.
    #[must_use]
    pub fn overall_to_json(&self) -> Option<String> {
        let number = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        let pace = self.requests_per_second;
        let models: Vec<Value> = self.models.iter().map(|model| Value::from(&**model)).collect();
        let fields = [
            ("requests_per_second", pace.map(|pace| number(pace.per_second.into()))),
            ("burst", pace.map(|pace| number(pace.burst.into()))),
            ("sessions", self.sessions_max.map(|sessions| number(sessions.into()))),
            ("total_bytes", self.total_bytes_max.map(number)),
            ("models", (!models.is_empty()).then(|| models.into())),
        ];
        let whole: Object = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        (!whole.is_empty()).then(|| whole.render())
    }

    /// The same limits with what [`Self::overall_to_json`] wrote.
    ///
    /// # Errors
    /// Whatever it cannot have written. Whoever has it must refuse the token.
    pub fn with_overall(self, text: &str) -> Result<Self, MalformedLimits> {
        let whole = json::parse(text.as_bytes(), &KEPT).map_err(|_| MalformedLimits)?;
        let Value::Object(fields) = whole else { return Err(MalformedLimits) };
        check_known(&fields, &FIELDS, "limits.").map_err(|_| MalformedLimits)?;
        let (duration_secs_max, bytes_max, messages_max) = (self.duration_secs_max, self.bytes_max, self.messages_max);
        let overall = read_overall(&fields).map_err(|_| MalformedLimits)?;
        Ok(Self { duration_secs_max, bytes_max, messages_max, ..overall })
    }
}

/// Kept limits that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed limits of a token")]
pub struct MalformedLimits;

/// Reads `limits` of a request for a token.
pub(super) fn read(value: Option<Value>) -> Result<TokenLimits, TokenRequestError> {
    let fields = match value {
        None => return Ok(TokenLimits::default()),
        Some(Value::Object(fields)) => fields,
        Some(other) => return Err(must_be("limits", "an object", &other)),
    };
    check_known(&fields, &FIELDS, "limits.")?;
    let duration = fields.member("duration").map(|duration| read_span(duration, "limits.duration")).transpose()?;
    let limits = TokenLimits {
        // Less than a second is a second.
        duration_secs_max: duration.map(|millis| millis.unsigned_abs().div_ceil(1000)),
        bytes_max: count(&fields, "bytes")?,
        messages_max: count(&fields, "messages")?,
        ..read_overall(&fields)?
    };
    limits.check().map_err(|error| TokenRequestError::whole(format!("`limits`: {error}")))?;
    Ok(limits)
}

fn read_overall(fields: &Object) -> Result<TokenLimits, TokenRequestError> {
    let requests_per_second = match (small(fields, "requests_per_second")?, small(fields, "burst")?) {
        (Some(per_second), burst) => Some(Pace { per_second, burst: burst.unwrap_or(per_second) }),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(TokenRequestError::of(
                "limits.burst",
                "belongs to `limits.requests_per_second`: set that, too",
            ));
        }
    };
    Ok(TokenLimits {
        requests_per_second,
        sessions_max: small(fields, "sessions")?,
        total_bytes_max: count(fields, "total_bytes")?,
        models: models(fields)?,
        ..TokenLimits::default()
    })
}

fn count(fields: &Object, name: &str) -> Result<Option<u64>, TokenRequestError> {
    let Some(value) = fields.member(name) else { return Ok(None) };
    let number = match value {
        Value::Number(number) => number.as_i64(),
        _ => None,
    };
    let number = number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
    let fault = "must be a whole number, at least 1";
    number.map(Some).ok_or_else(|| TokenRequestError::of(&format!("limits.{name}"), fault))
}

fn small(fields: &Object, name: &str) -> Result<Option<u32>, TokenRequestError> {
    let Some(number) = count(fields, name)? else { return Ok(None) };
    let number = u32::try_from(number).ok().filter(|number| *number <= PACE_MAX);
    let fault = format!("must be a whole number from 1 to {PACE_MAX}");
    number.map(Some).ok_or_else(|| TokenRequestError::of(&format!("limits.{name}"), fault))
}

fn models(fields: &Object) -> Result<Vec<Arc<str>>, TokenRequestError> {
    let Some(value) = fields.member("models") else { return Ok(Vec::new()) };
    let names = value.as_array().filter(|names| !names.is_empty());
    let names: Option<Vec<Arc<str>>> =
        names.and_then(|names| names.iter().map(|name| name.as_str().map(Arc::from)).collect());
    names.ok_or_else(|| TokenRequestError::of("limits.models", "must name at least one model, each as a string"))
}

/// Whether two names are one model. Gemini's short names are the same as the long ones.
fn are_one(one: &str, other: &str) -> bool {
    let in_full = gemini::model_in_full(one);
    one == other || in_full.is_some() && in_full == gemini::model_in_full(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<TokenLimits, String> {
        let value = json::parse(text.as_bytes(), &Caps::default()).expect(text);
        read(Some(value)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_kept_is_read_as_it_was() {
        let limits = asked(
            r#"{"duration":"10m","requests_per_second":5,"burst":20,"sessions":2,"total_bytes":1000,"models":["models/a","b"]}"#,
        );
        let limits = limits.expect("well formed");
        let kept = limits.overall_to_json().expect("there is something");
        assert_eq!(
            kept,
            r#"{"requests_per_second":5,"burst":20,"sessions":2,"total_bytes":1000,"models":["models/a","b"]}"#
        );
        let of_session = TokenLimits { duration_secs_max: Some(600), ..TokenLimits::default() };
        assert_eq!(of_session.overall_to_json(), None);
        assert_eq!(of_session.with_overall(&kept), Ok(limits));
        for damaged in ["", "[]", "{\"canary\":1}", "{\"sessions\":0}", "{\"models\":[]}", "{\"burst\":1}"] {
            assert_eq!(TokenLimits::default().with_overall(damaged), Err(MalformedLimits), "{damaged}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_fix_and_not_shown() {
        for (text, told) in [
            (r#"{"sessions":0}"#, "`limits.sessions` must be a whole number, at least 1"),
            (r#"{"sessions":1000001}"#, "`limits.sessions` must be a whole number from 1 to 1000000"),
            (r#"{"requests_per_second":1.5}"#, "`limits.requests_per_second` must be a whole number, at least 1"),
            (r#"{"burst":3}"#, "`limits.burst` belongs to `limits.requests_per_second`: set that, too"),
            (r#"{"total_bytes":281474976710656}"#, "`limits`: `total_bytes` must be 1 to 281474976710655"),
            (r#"{"totalBytes":1}"#, "unknown field: write `limits.total_bytes`"),
            (r#"{"models":[]}"#, "`limits.models` must name at least one model, each as a string"),
            (r#"{"models":"canary"}"#, "`limits.models` must name at least one model, each as a string"),
        ] {
            assert_eq!(asked(text).expect_err(text), told);
        }
        let odd = asked(r#"{"models":["can ary"]}"#).expect_err("a space");
        assert!(odd.contains("`models` must be") && !odd.contains("ary"), "{odd}");
    }

    #[test]
    fn no_limit_is_wider_than_that_of_the_key() {
        let key = KeyLimits {
            requests_per_second: Some(Pace { per_second: 5, burst: 10 }),
            bytes_per_day: Some(1000),
            sessions: Some(3),
            session_duration_secs: Some(60),
            session_bytes: Some(100),
            models: vec!["models/a".into(), "gpt-x".into()],
            ..KeyLimits::default()
        };
        let of = |text: &str| asked(text).expect(text).check_within(&key).map_err(|refusal| refusal.detail);
        for within in [
            "{}",
            r#"{"duration":"60s","bytes":100,"messages":1000000,"requests_per_second":5,"burst":10,"sessions":3}"#,
            r#"{"total_bytes":1000,"models":["a","gpt-x"]}"#,
        ] {
            assert_eq!(of(within), Ok(()), "{within}");
        }
        for (wider, named) in [
            (r#"{"duration":"61s"}"#, "`limits.duration` is wider than the limit of the key, which is 60"),
            (r#"{"bytes":101}"#, "`limits.bytes`"),
            (r#"{"requests_per_second":6}"#, "`limits.requests_per_second`"),
            (r#"{"requests_per_second":1,"burst":11}"#, "`limits.burst`"),
            (r#"{"sessions":4}"#, "`limits.sessions`"),
            (r#"{"total_bytes":1001}"#, "`limits.total_bytes`"),
            (r#"{"models":["a","b"]}"#, "`limits.models` names one that the key is not for: it has models/a, gpt-x"),
        ] {
            let told = of(wider).expect_err(wider);
            assert!(told.starts_with(named), "{told}");
        }
        assert!(asked(r#"{"sessions":9,"models":["b"]}"#).expect("fits").check_within(&KeyLimits::default()).is_ok());
    }
}
