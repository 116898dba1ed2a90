//! Ephemeral tokens: minting, what a token locks, and how long it lasts.
//!
//! The source is Google's guide to ephemeral tokens (2026-06-12): a token without a field mask replaces the client's
//! whole setup; with a mask it overwrites the masked fields, silently.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::{field, mask, setup};
use crate::websocket::End;

/// How many tokens are kept; the oldest is forgotten first.
const TOKENS_MAX: usize = 4096;
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_mins(30);
const STARTS_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// Both times must be less than this ahead.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(20);
const MEMBERS: [&str; 6] =
    ["name", "expireTime", "newSessionExpireTime", "uses", "bidiGenerateContentSetup", "fieldMask"];

/// What the holder of a token may do.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    name: String,
    setup: Option<Map<String, Value>>,
    mask: Vec<String>,
    uses: u64,
    unlimited: bool,
    expires: Timestamp,
    starts_until: Timestamp,
}

/// The tokens that were minted.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    tokens: HashMap<String, Token>,
    order: VecDeque<String>,
}

/// The time by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

impl Tokens {
    /// Mints a token from the body of an `auth_tokens` call; `id` makes its name.
    ///
    /// # Errors
    /// The text of the 400.
    pub(crate) fn mint(&self, body: &Value, id: u64, now: Timestamp) -> Result<String, String> {
        let token = read(body, name(id), now)?;
        let name = token.name.clone();
        let mut kept = self.kept();
        if kept.order.len() >= TOKENS_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.tokens.remove(&oldest);
        }
        kept.order.push_back(name.clone());
        kept.tokens.insert(name.clone(), token);
        Ok(name)
    }

    /// The token of that name, unless it has expired.
    pub(crate) fn open(&self, name: &str, now: Timestamp) -> Option<Token> {
        self.kept().tokens.get(name).filter(|token| now < token.expires).cloned()
    }

    /// Takes one use for a new session; resuming one is not a use.
    pub(crate) fn claim(&self, token: &Token, now: Timestamp) -> Result<(), End> {
        let refused = |reason: &str| End::Close(1007, reason.to_owned());
        let mut kept = self.kept();
        let Some(kept) = kept.tokens.get_mut(&token.name) else {
            return Err(refused("Invalid or expired ephemeral token."));
        };
        if now >= kept.starts_until {
            return Err(refused("Ephemeral token: newSessionExpireTime has passed."));
        }
        if kept.unlimited {
            return Ok(());
        }
        kept.uses = kept.uses.checked_sub(1).ok_or_else(|| refused("Ephemeral token has been used too many times."))?;
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    /// When messages are no longer taken.
    pub(crate) fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The setup that counts when the client asks for `client`; both in camelCase.
    pub(crate) fn effective(&self, client: Map<String, Value>, lock_hides_handle: bool) -> Map<String, Value> {
        let handle = client.get("sessionResumption").and_then(|resumption| resumption.get("handle")).cloned();
        let mut effective = match (&self.setup, self.mask.is_empty()) {
            (None, true) => return client,
            (Some(locked), true) => locked.clone(),
            (locked, false) => {
                let mut merged = client;
                for path in &self.mask {
                    mask::overwrite(&mut merged, path, locked.as_ref());
                }
                merged
            }
        };
        if let (false, Some(handle)) = (lock_hides_handle, handle) {
            let resumption = effective.entry("sessionResumption").or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(resumption) = resumption {
                resumption.insert("handle".to_owned(), handle);
            }
        }
        effective
    }
}

fn read(body: &Value, name: String, now: Timestamp) -> Result<Token, String> {
    let text = |end| match end {
        End::Close(_, reason) => reason,
        End::Gone => String::new(),
    };
    let fields = field::object(body, "auth_token", &MEMBERS).map_err(text)?;
    let time = |name: &str, default: SignedDuration| -> Result<Timestamp, String> {
        let Some(written) = field::string(&fields, name, "auth_token").map_err(text)? else {
            return Ok(now.saturating_add(default).unwrap_or(now));
        };
        let time: Timestamp = written.parse().map_err(|_| format!("{name} is not an RFC 3339 time"))?;
        let latest = now.saturating_add(AHEAD_MAX).unwrap_or(now);
        if time <= now || time >= latest {
            return Err(format!("{name} must be in the future and less than 20 hours ahead"));
        }
        Ok(time)
    };
    let uses = field::number(&fields, "uses", "auth_token", 0.0, f64::from(i32::MAX)).map_err(text)?;
    let uses = uses.map_or(1, |uses| uses as u64);
    let setup = fields.get("bidiGenerateContentSetup");
    let setup = setup.map(|value| setup::canonical(value, "auth_token.bidi_generate_content_setup"));
    let setup = setup.transpose().map_err(text)?;
    let mask = mask::read(field::string(&fields, "fieldMask", "auth_token").map_err(text)?.unwrap_or_default())?;
    if let (Some(setup), false) = (&setup, mask.is_empty()) {
        for path in mask::paths(setup) {
            if !mask.iter().any(|masked| mask::covers(masked, &path)) {
                return Err(format!("setup contains fields not in the mask: {path}"));
            }
        }
    }
    let (expires, starts_until) = (time("expireTime", EXPIRES_AFTER)?, time("newSessionExpireTime", STARTS_WITHIN)?);
    Ok(Token { name, setup, mask, uses, unlimited: uses == 0, expires, starts_until })
}

/// `auth_tokens/` and 64 hexadecimal digits that depend on `id` only.
fn name(id: u64) -> String {
    let words: Vec<_> = (0..4).map(|n| format!("{:016x}", mixed(id.wrapping_mul(4).wrapping_add(n)))).collect();
    format!("auth_tokens/{}", words.concat())
}

/// Spreads a counter over all bits (the finaliser of SplitMix64).
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use serde_json::json;

    use super::*;

    fn at() -> Timestamp {
        "2026-06-12T12:00:00Z".parse().unwrap()
    }

    fn token(body: Value) -> Token {
        read(&body, name(1), at()).unwrap()
    }

    fn effective(token: &Token, client: Value) -> Value {
        let Value::Object(client) = client else { panic!("a setup is an object") };
        Value::Object(token.effective(client, true))
    }

    #[test]
    fn a_name_is_sixty_four_hexadecimal_digits() {
        let name = name(7);
        let digits = name.strip_prefix("auth_tokens/").unwrap();
        assert!(digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        assert_ne!(name, super::name(8));
    }

    #[test]
    fn without_a_mask_the_token_replaces_the_whole_setup() {
        let token = token(json!({"bidiGenerateContentSetup": {"model": "models/a"}}));
        let client = json!({"model": "models/b", "tools": [], "sessionResumption": {"handle": "h"}});
        assert_eq!(effective(&token, client), json!({"model": "models/a"}));
    }

    #[test]
    fn a_mask_overwrites_and_clears_and_leaves_the_rest() {
        let token = token(json!({
            "bidiGenerateContentSetup": {"model": "models/a", "generationConfig": {"temperature": 0.7}},
            "fieldMask": "model,generationConfig.temperature,top_k,tools.0",
        }));
        let client = json!({
            "model": "models/b",
            "generationConfig": {"temperature": 1.5, "topK": 40, "seed": 1},
            "tools": [{}],
        });
        let expected = json!({"model": "models/a", "generationConfig": {"temperature": 0.7, "seed": 1}});
        assert_eq!(effective(&token, client), expected);
    }

    #[test]
    fn refuses_a_mask_that_omits_a_field_of_the_setup() {
        let setup = json!({"model": "models/a", "tools": []});
        let refused = read(&json!({"bidiGenerateContentSetup": setup, "fieldMask": "model"}), name(1), at());
        assert_eq!(refused.unwrap_err(), "setup contains fields not in the mask: tools");
        assert!(read(&json!({"fieldMask": "nonsense"}), name(1), at()).is_err());
    }

    #[test]
    fn refuses_times_out_of_range() {
        for time in ["2026-06-12T11:59:59Z", "2026-06-13T08:00:00+00:00", "soon"] {
            assert!(read(&json!({"expireTime": time}), name(1), at()).is_err(), "{time}");
        }
        assert!(read(&json!({"expireTime": "2026-06-13T07:59:59.000Z"}), name(1), at()).is_ok());
    }

    #[test]
    fn a_token_has_one_use_and_sixty_seconds_to_start_by_default() {
        let tokens = Tokens::default();
        let name = tokens.mint(&json!({}), 1, at()).unwrap();
        let token = tokens.open(&name, at()).unwrap();
        let late = at().saturating_add(SignedDuration::from_secs(60)).unwrap();
        assert!(tokens.claim(&token, late).is_err());
        assert_eq!(tokens.claim(&token, at()), Ok(()));
        assert!(tokens.claim(&token, at()).is_err());
        assert!(tokens.open(&name, at().saturating_add(SignedDuration::from_mins(30)).unwrap()).is_none());
        let unlimited = tokens.mint(&json!({"uses": 0}), 2, at()).unwrap();
        let unlimited = tokens.open(&unlimited, at()).unwrap();
        assert!((0..5).all(|_| tokens.claim(&unlimited, at()).is_ok()));
    }
}
