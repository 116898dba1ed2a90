//! Client secrets: minting, what session they begin with, and how long they last.
//!
//! As OpenAI's, they start as many sessions as one likes until they expire, and a client may change the session that
//! they were minted for: they lock nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::admission::is_realtime;
use super::config::Config;
use super::fault::{self, Fault};
use crate::sound;

/// How many are kept; the oldest is forgotten first.
const SECRETS_MAX: usize = 4096;
/// How many seconds one lasts.
const SECS_DEFAULT: i64 = 600;
const SECS_MIN: i64 = 10;
const SECS_MAX: i64 = 7200;

/// What the holder of a client secret begins with.
#[derive(Debug, Clone)]
pub(crate) struct ClientSecret {
    session: Map<String, Value>,
    expires: Timestamp,
}

/// The client secrets that were minted.
#[derive(Debug, Default)]
pub(crate) struct ClientSecrets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    secrets: HashMap<String, ClientSecret>,
    order: VecDeque<String>,
}

/// The time by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

impl ClientSecret {
    /// The model of its session.
    pub(crate) fn model(&self) -> Option<String> {
        self.session.get("model").and_then(Value::as_str).map(str::to_owned)
    }

    /// What a session of `model` begins as.
    pub(crate) fn config(&self, model: &str) -> Config {
        let mut config = Config::new(model);
        if !self.session.is_empty() {
            // It was checked when the secret was minted.
            let _ = config.update(&Value::Object(self.session.clone()), "session");
        }
        config
    }
}

impl ClientSecrets {
    /// Mints one from the body of a call; `id` makes its value. Gives the answer's body.
    pub(crate) fn mint(&self, body: &Value, id: u64, now: Timestamp) -> Result<Value, Fault> {
        let secret = read(body, now)?;
        let value = value(id);
        let model = secret.model().unwrap_or_else(|| "gpt-realtime".to_owned());
        let answer = json!({
            "value": value,
            "expires_at": secret.expires.as_second(),
            "session": secret.config(&model).json(&format!("sess_{id}")),
        });
        let mut kept = self.kept();
        if kept.order.len() >= SECRETS_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.secrets.remove(&oldest);
        }
        kept.order.push_back(value.clone());
        kept.secrets.insert(value, secret);
        Ok(answer)
    }

    /// The client secret of that value, unless it has expired.
    pub(crate) fn open(&self, value: &str, now: Timestamp) -> Option<ClientSecret> {
        self.kept().secrets.get(value).filter(|secret| now < secret.expires).cloned()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(body: &Value, now: Timestamp) -> Result<ClientSecret, Fault> {
    let members = fault::object(body, "", &["expires_after", "session"])?;
    let secs = match members.get("expires_after") {
        None | Some(Value::Null) => SECS_DEFAULT,
        Some(after) => {
            let after = fault::object(after, "expires_after", &["anchor", "seconds"])?;
            fault::word(after, "anchor", "expires_after", &["created_at"])?;
            let secs = match after.get("seconds") {
                None | Some(Value::Null) => SECS_DEFAULT,
                Some(secs) => {
                    secs.as_i64().ok_or_else(|| Fault::mismatch("expires_after.seconds", "an integer", secs))?
                }
            };
            if !(SECS_MIN..=SECS_MAX).contains(&secs) {
                let hint = format!("It must be between {SECS_MIN} and {SECS_MAX}.");
                return Err(Fault::value("expires_after.seconds", &secs.to_string(), &hint));
            }
            secs
        }
    };
    let session = match members.get("session") {
        None | Some(Value::Null) => Map::new(),
        Some(session @ Value::Object(members)) => {
            // Checked as a whole, and kept as it was asked for.
            Config::new("gpt-realtime").update(session, "session")?;
            members.clone()
        }
        Some(other) => return Err(Fault::mismatch("session", "an object", other)),
    };
    if let Some(model) = session.get("model").and_then(Value::as_str).filter(|model| !is_realtime(model)) {
        return Err(Fault::value("session.model", model, "It is no Realtime model."));
    }
    let expires = now.saturating_add(jiff::SignedDuration::from_secs(secs)).unwrap_or(now);
    Ok(ClientSecret { session, expires })
}

/// `ek_` and 32 hexadecimal digits that depend on `id` only.
fn value(id: u64) -> String {
    let half = |n: u64| sound::hash(&format!("client secret {id} {n}"));
    format!("ek_{:016x}{:016x}", half(0), half(1))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn one_lasts_ten_minutes_unless_it_says_otherwise() {
        let secrets = ClientSecrets::default();
        let now = at("2026-11-01T12:00:00Z");
        let minted = secrets.mint(&json!({}), 1, now).unwrap();
        let value = minted["value"].as_str().unwrap();
        assert!(value.starts_with("ek_") && value.len() == 35, "{value}");
        assert_eq!(minted["expires_at"].as_i64(), Some(now.as_second() + 600));
        assert!(secrets.open(value, at("2026-11-01T12:09:59Z")).is_some());
        assert!(secrets.open(value, at("2026-11-01T12:10:00Z")).is_none());
        let brief = json!({"expires_after": {"anchor": "created_at", "seconds": 10}});
        let minted = secrets.mint(&brief, 2, now).unwrap();
        assert_eq!(minted["expires_at"].as_i64(), Some(now.as_second() + 10));
    }

    #[test]
    fn its_session_is_checked_and_shown_whole() {
        let secrets = ClientSecrets::default();
        let session = json!({"type": "realtime", "model": "gpt-realtime-mini", "instructions": "be brief"});
        let minted = secrets.mint(&json!({"session": session}), 1, now()).unwrap();
        assert_eq!(minted["session"]["instructions"], "be brief");
        assert_eq!(minted["session"]["object"], "realtime.session");
        for (body, code) in [
            (json!({"session": {"type": "realtime", "voice": "x"}}), "unknown_parameter"),
            (json!({"session": {"model": "gpt-realtime"}}), "missing_required_parameter"),
            (json!({"session": {"type": "realtime", "model": "gpt-4o"}}), "invalid_value"),
            (json!({"expires_after": {"anchor": "created_at", "seconds": 9}}), "invalid_value"),
            (json!({"expires_after": {"anchor": "later"}}), "invalid_value"),
            (json!({"ttl": 1}), "unknown_parameter"),
            (json!([]), "invalid_type"),
        ] {
            assert_eq!(secrets.mint(&body, 2, now()).unwrap_err().code, Some(code), "{body}");
        }
    }
}
