//! Keymoat's own way to mint: the body of `POST /keymoat/v1/tokens`, and its answer.
//!
//! ```json
//! {
//!   "uses": 1,
//!   "start_within": "60s",
//!   "live_for": "30m",
//!   "routes": ["voice"],
//!   "origins": ["https://app.example"],
//!   "calls": "live",
//!   "constraints": {"gemini": {"setup": {"model": "models/x"}, "field_mask": "model"}},
//!   "limits": {"duration": "10m", "bytes": 50000000, "messages": 100000, "requests_per_second": 2, "burst": 5,
//!              "sessions": 1, "total_bytes": 200000000, "models": ["models/x"]},
//!   "idempotency_key": "order-17"
//! }
//! ```
//! Every field may be left out. `duration`, `bytes` and `messages` are of one session, the other limits of all together. `start_by` and `live_until`, as RFC 3339 times, may stand for `start_within` and
//! `live_for`. What is not known is refused: a limit that is misspelled must not be no limit.

use std::sync::Arc;

use super::request::Zero;
use super::{
    Calls, Constraint, IDEMPOTENCY_KEY_BYTES_MAX, MintRules, NewTokenParts, Piece, Token, Uses, limits, written,
};
use crate::format::Spelling;
use crate::json::{self, Caps, Object, Value};
use crate::key::{MINT, Scopes};
use crate::origin::Origin;
use crate::refusal::{Code, Refusal};
use crate::secret::Secret;
use crate::time::UnixMillis;

const LIVE_MILLIS: i64 = 30 * 60_000;
const START_MILLIS: i64 = 60_000;
const FIELDS: [&str; 11] = [
    "uses",
    "start_by",
    "start_within",
    "live_until",
    "live_for",
    "routes",
    "origins",
    "calls",
    "constraints",
    "limits",
    "idempotency_key",
];
/// Lists are no longer than this.
const LIST_MAX: usize = 64;

/// A body that no token is minted for: which field, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TokenRequestError {
    message: String,
}

impl TokenRequestError {
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    pub(super) fn of(field: &str, fault: impl std::fmt::Display) -> Self {
        Self { message: format!("`{field}` {fault}") }
    }

    /// The same as a refusal. Nothing that was sent is in it.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        Refusal::new(Code::RequestInvalid, self.message)
    }
}

/// Reads the body; an empty one is `{}`.
///
/// # Errors
/// [`TokenRequestError`], naming the field and the fix.
pub fn read(body: &[u8], now: UnixMillis, rules: &MintRules) -> Result<NewTokenParts, TokenRequestError> {
    let mut fields = read_fields(body)?;
    check_known(&fields, &FIELDS, "")?;
    let uses = match fields.remove("uses") {
        None => Uses::AtMost(1),
        Some(Value::Number(uses)) => {
            rules.uses(&uses, Zero::IsRefused).map_err(|fault| TokenRequestError::of("uses", fault))?
        }
        Some(other) => return Err(must_be("uses", "a whole number", &other)),
    };
    let live_until = read_time(&mut fields, ["live_until", "live_for"], now, rules)?
        .unwrap_or_else(|| rules.default_time(now, LIVE_MILLIS));
    let start_by = match read_time(&mut fields, ["start_by", "start_within"], now, rules)? {
        Some(start_by) if start_by > live_until => {
            return Err(TokenRequestError::whole(
                "the token's time to start ends after its life: shorten one or lengthen the other",
            ));
        }
        Some(start_by) => start_by,
        None => rules.default_time(now, START_MILLIS).min(live_until),
    };
    let constraint = match fields.remove("constraints") {
        None => Constraint::None,
        Some(Value::Object(constraints)) => Constraint::from_object(constraints)
            .map_err(|fault| TokenRequestError::whole(format!("`constraints`: {fault}")))?,
        Some(other) => return Err(must_be("constraints", "an object", &other)),
    };
    Ok(NewTokenParts {
        scopes: read_routes(&mut fields)?,
        calls: read_calls(&mut fields, &constraint)?,
        uses,
        start_by,
        live_until,
        origins: read_origins(&mut fields)?,
        limits: limits::read(fields.remove("limits"))?,
        constraint,
        idempotency_key: read_idempotency_key(&mut fields)?,
    })
}

/// Reads an idempotency key, of a body or of the header `Idempotency-Key`: visible ASCII, 1 to
/// [`IDEMPOTENCY_KEY_BYTES_MAX`] bytes.
#[must_use]
pub fn idempotency_key(text: &str) -> Option<Arc<str>> {
    let fits =
        (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.into())
}

/// The answer to whoever minted `token`. It holds `secret`, in all its spellings, and is sent to nobody else.
///
/// ```text
/// {"token":"kmt_…","spellings":{"gemini":"auth_tokens/kmt_…","openai":"ek_kmt_…"},"id":"tok_…","uses":1,
///  "start_by":"…","expires":"…","routes":["voice"],"calls":"live"}
/// ```
/// `uses` is null for a token without a limit, `routes` is `["*"]` for every route of its key.
#[must_use]
pub fn answer(token: &Token, secret: &Secret) -> Secret {
    let uses = match token.uses {
        Uses::Unlimited => Value::Null,
        Uses::AtMost(uses) => Value::from(i64::from(uses)),
    };
    let routes: Vec<Value> = token.scopes.words().iter().map(|word| Value::from(&**word)).collect();
    let rest: Object = [
        ("id", Value::from(&*token.id)),
        ("uses", uses),
        ("start_by", token.start_by.to_string().into()),
        ("expires", token.live_until.to_string().into()),
        ("routes", routes.into()),
        ("calls", token.calls.word().into()),
    ]
    .into_iter()
    .collect();
    let rest = rest.render();
    let pieces = [
        Piece::Text("{\"token\":\""),
        Piece::Token(Spelling::Plain),
        Piece::Text("\",\"spellings\":{\"gemini\":\""),
        Piece::Token(Spelling::AuthTokens),
        Piece::Text("\",\"openai\":\""),
        Piece::Token(Spelling::Ek),
        Piece::Text("\"},"),
        Piece::Text(rest.strip_prefix('{').unwrap_or("}")),
    ];
    written(secret, &pieces)
}

pub(super) fn read_fields(body: &[u8]) -> Result<Object, TokenRequestError> {
    if body.trim_ascii().is_empty() {
        return Ok(Object::new());
    }
    let parsed = json::parse(body, &Caps::default());
    match parsed.map_err(|error| TokenRequestError::whole(format!("the body cannot be taken: {error}")))? {
        Value::Object(fields) => Ok(fields),
        other => Err(TokenRequestError::whole(format!("the body must be an object, not {}", other.kind()))),
    }
}

/// Refuses a field that is not known, and says how a known one that looks like it is spelled.
pub(super) fn check_known(fields: &Object, known: &[&str], above: &str) -> Result<(), TokenRequestError> {
    let fold = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_ascii_lowercase();
    for (index, (name, _)) in fields.iter().enumerate() {
        if known.contains(&name) {
            continue;
        }
        let meant = known.iter().find(|known| fold(known) == fold(name));
        return Err(TokenRequestError::whole(match meant {
            Some(meant) => format!("unknown field: write `{above}{meant}`"),
            None => {
                let place =
                    if above.is_empty() { String::new() } else { format!(" of `{}`", above.trim_end_matches('.')) };
                format!("field {}{place} is unknown: there are {}", index + 1, known.join(", "))
            }
        }));
    }
    Ok(())
}

pub(super) fn must_be(field: &str, what: &str, value: &Value) -> TokenRequestError {
    TokenRequestError::of(field, format!("must be {what}, not {}", value.kind()))
}

/// A time, as `[moment, span]`; not both.
fn read_time(
    fields: &mut Object,
    [moment, span]: [&str; 2],
    now: UnixMillis,
    rules: &MintRules,
) -> Result<Option<UnixMillis>, TokenRequestError> {
    let (field, at) = match (fields.remove(moment), fields.remove(span)) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(TokenRequestError::whole(format!("`{moment}` and `{span}` are both set: keep one")));
        }
        (Some(at), None) => {
            let at = at.as_str().and_then(UnixMillis::from_rfc3339);
            (
                moment,
                at.ok_or_else(|| TokenRequestError::of(moment, "must be a time such as \"2030-01-01T00:00:00Z\""))?,
            )
        }
        (None, Some(length)) => (span, now.plus_millis(read_span(&length, span)?)),
    };
    rules.time(at, now).map(Some).map_err(|fault| TokenRequestError::of(field, fault))
}

/// Seconds, or a text such as `"90s"`, in milliseconds.
pub(super) fn read_span(value: &Value, field: &str) -> Result<i64, TokenRequestError> {
    let millis = match value {
        Value::Number(secs) => secs.as_i64().and_then(|secs| secs.checked_mul(1000)),
        Value::String(text) => span_millis(text),
        _ => None,
    };
    millis
        .filter(|millis| *millis > 0)
        .ok_or_else(|| TokenRequestError::of(field, "must be seconds, or a text such as \"60s\", \"30m\" or \"2h\""))
}

fn span_millis(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

/// The texts of a list.
fn read_list(fields: &mut Object, field: &str) -> Result<Option<Vec<String>>, TokenRequestError> {
    let Some(value) = fields.remove(field) else { return Ok(None) };
    let texts = value.as_array().filter(|texts| (1..=LIST_MAX).contains(&texts.len()));
    let texts: Option<Vec<String>> =
        texts.and_then(|texts| texts.iter().map(|text| text.as_str().map(str::to_owned)).collect());
    let fault = format!("must be a list of 1 to {LIST_MAX} strings, or be left out");
    texts.map(Some).ok_or_else(|| TokenRequestError::of(field, fault))
}

fn read_routes(fields: &mut Object) -> Result<Option<Scopes>, TokenRequestError> {
    let Some(routes) = read_list(fields, "routes")? else { return Ok(None) };
    if routes.iter().any(|route| route == MINT) {
        return Err(TokenRequestError::of("routes", "must not hold `mint`: a token mints no tokens"));
    }
    if routes.iter().any(|route| route.is_empty() || route == "*") {
        return Err(TokenRequestError::of(
            "routes",
            "must hold names of routes: leave it out for all that the key has",
        ));
    }
    Ok(Some(Scopes::from_words(routes.iter().map(String::as_str))))
}

fn read_origins(fields: &mut Object) -> Result<Vec<Origin>, TokenRequestError> {
    let origins = read_list(fields, "origins")?.unwrap_or_default();
    let origins: Result<Vec<Origin>, _> = origins.iter().map(|origin| Origin::parse(origin)).collect();
    origins.map_err(|_| {
        TokenRequestError::of("origins", "must hold origins: write https://HOST or https://HOST:PORT, without a path")
    })
}

/// Where something is locked, only sessions can be held to it.
fn read_calls(fields: &mut Object, constraint: &Constraint) -> Result<Calls, TokenRequestError> {
    let is_locked = *constraint != Constraint::None;
    let Some(written) = fields.remove("calls") else {
        return Ok(if is_locked { Calls::LiveOnly } else { Calls::Any });
    };
    match written.as_str().and_then(Calls::from_word) {
        None => Err(TokenRequestError::of("calls", "must be \"live\" or \"any\"")),
        Some(Calls::Any) if is_locked => Err(TokenRequestError::of(
            "calls",
            "must be \"live\" beside `constraints`: requests cannot be held to them",
        )),
        Some(calls) => Ok(calls),
    }
}

fn read_idempotency_key(fields: &mut Object) -> Result<Option<Arc<str>>, TokenRequestError> {
    let Some(written) = fields.remove("idempotency_key") else { return Ok(None) };
    let fault = format!("must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters");
    let key = written.as_str().and_then(idempotency_key);
    key.map(Some).ok_or_else(|| TokenRequestError::of("idempotency_key", fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenLimits;

    /// 2026-06-12T12:00:00Z.
    const NOW: UnixMillis = UnixMillis(1_781_265_600_000);

    fn asked(body: &str) -> NewTokenParts {
        read(body.as_bytes(), NOW, &MintRules::default()).expect(body)
    }

    #[test]
    fn everything_may_be_left_out() {
        for body in ["", "{}"] {
            let parts = asked(body);
            assert_eq!((parts.uses, parts.calls, &parts.scopes), (Uses::AtMost(1), Calls::Any, &None));
            assert_eq!((parts.start_by, parts.live_until), (NOW.plus_millis(60_000), NOW.plus_millis(1_800_000)));
            assert_eq!((parts.limits, parts.constraint), (TokenLimits::default(), Constraint::None));
        }
        let short = asked(r#"{"live_for":"10s"}"#);
        assert_eq!((short.start_by, short.live_until), (NOW.plus_millis(10_000), NOW.plus_millis(10_000)));
    }

    #[test]
    fn everything_may_be_said() {
        let parts = asked(
            r#"{"uses":5,"start_by":"2026-06-12T14:05:00+02:00","live_for":"2h","routes":["voice","events"],
                "origins":["https://App.example:443"],"calls":"live",
                "constraints":{"gemini":{"setup":{"model":"x"},"field_mask":"model"}},
                "limits":{"duration":"10m","bytes":1000,"messages":7},"idempotency_key":"order-17"}"#,
        );
        assert_eq!((parts.uses, parts.calls), (Uses::AtMost(5), Calls::LiveOnly));
        assert_eq!((parts.start_by, parts.live_until), (NOW.plus_millis(300_000), NOW.plus_millis(7_200_000)));
        assert_eq!(parts.scopes, Some(Scopes::from_words(["voice", "events"])));
        assert_eq!(parts.origins.first().map(Origin::as_str), Some("https://app.example"));
        assert_eq!(parts.constraint.to_json(), r#"{"gemini":{"setup":{"model":"models/x"},"field_mask":"model"}}"#);
        let limits = TokenLimits {
            duration_secs_max: Some(600),
            bytes_max: Some(1000),
            messages_max: Some(7),
            ..TokenLimits::default()
        };
        assert_eq!((parts.limits, parts.idempotency_key.as_deref()), (limits, Some("order-17")));
        assert_eq!(asked(r#"{"constraints":{"models":["models/x"]}}"#).calls, Calls::LiveOnly);
        assert_eq!(asked(r#"{"limits":{"duration":90}}"#).limits.duration_secs_max, Some(90));
    }

    #[test]
    fn i110_a_mistake_is_named_with_its_fix() {
        for (body, told) in [
            (r#"{"uses":0}"#, "`uses` must be at least 1"),
            (r#"{"uses":-1}"#, "`uses` must be a whole number up to 2147483647"),
            (r#"{"uses":2147483648}"#, "`uses` must be a whole number up to 2147483647"),
            (r#"{"uses":1.0}"#, "`uses` must be a whole number up to 2147483647"),
            (r#"{"uses":"1"}"#, "`uses` must be a whole number, not a string"),
            (r#"{"uses":null}"#, "`uses` must be a whole number, not null"),
            (r#"{"uses":1e400}"#, "the body cannot be taken: a number beyond what JSON parsers hold at byte 8"),
            (r#"{"uses":1,"uses":9}"#, "the body cannot be taken: a member that stands twice in one object at byte 10"),
            (r#"{"startBy":"x"}"#, "unknown field: write `start_by`"),
            (
                r#"{"role":"admin"}"#,
                "field 1 is unknown: there are uses, start_by, start_within, live_until, live_for, routes, origins, calls, constraints, limits, idempotency_key",
            ),
            (r#"{"limits":{"Bytes":1}}"#, "unknown field: write `limits.bytes`"),
            (
                r#"{"limits":{"bytes":1,"x":1}}"#,
                "field 2 of `limits` is unknown: there are duration, bytes, messages, requests_per_second, burst, sessions, total_bytes, models",
            ),
            (r#"{"limits":{"bytes":0}}"#, "`limits.bytes` must be a whole number, at least 1"),
            (
                r#"{"limits":{"duration":"0s"}}"#,
                "`limits.duration` must be seconds, or a text such as \"60s\", \"30m\" or \"2h\"",
            ),
            (r#"{"start_by":"x","start_within":"60s"}"#, "`start_by` and `start_within` are both set: keep one"),
            (
                r#"{"start_within":"1 minute"}"#,
                "`start_within` must be seconds, or a text such as \"60s\", \"30m\" or \"2h\"",
            ),
            (
                r#"{"start_within":"1h"}"#,
                "the token's time to start ends after its life: shorten one or lengthen the other",
            ),
            (r#"{"live_until":"2026-06-12T12:00:00Z"}"#, "`live_until` must be in the future"),
            (r#"{"live_until":1781265660}"#, "`live_until` must be a time such as \"2030-01-01T00:00:00Z\""),
            (
                r#"{"live_for":"21h"}"#,
                "`live_for` must not be after 2026-06-13T08:00:00Z: tokens live at most 20 h here",
            ),
            (
                r#"{"live_for":9223372036854775807}"#,
                "`live_for` must be seconds, or a text such as \"60s\", \"30m\" or \"2h\"",
            ),
            (r#"{"routes":[]}"#, "`routes` must be a list of 1 to 64 strings, or be left out"),
            (r#"{"routes":["mint"]}"#, "`routes` must not hold `mint`: a token mints no tokens"),
            (r#"{"routes":["*"]}"#, "`routes` must hold names of routes: leave it out for all that the key has"),
            (
                r#"{"origins":["*"]}"#,
                "`origins` must hold origins: write https://HOST or https://HOST:PORT, without a path",
            ),
            (r#"{"calls":"rest"}"#, "`calls` must be \"live\" or \"any\""),
            (
                r#"{"calls":"any","constraints":{"models":["m"]}}"#,
                "`calls` must be \"live\" beside `constraints`: requests cannot be held to them",
            ),
            (
                r#"{"constraints":{"gemini":{"field_mask":"nope"}}}"#,
                "`constraints`: `gemini.field_mask`: `nope` is no field of a setup",
            ),
            (
                r#"{"constraints":{"gemini":{},"openai":{}}}"#,
                "`constraints`: write one of `gemini`, `openai` and `models`",
            ),
            (r#"{"constraints":[]}"#, "`constraints` must be an object, not an array"),
            (r#"{"idempotency_key":"a b"}"#, "`idempotency_key` must be 1 to 255 visible ASCII characters"),
            ("[]", "the body must be an object, not an array"),
        ] {
            assert_eq!(read(body.as_bytes(), NOW, &MintRules::default()).expect_err(body).to_string(), told);
        }
    }

    #[test]
    fn a_refusal_shows_nothing_that_was_sent() {
        for body in [
            r#"{"canary":1}"#,
            r#"{"uses":"canary"}"#,
            r#"{"routes":["canary",1]}"#,
            r#"{"origins":["canary"]}"#,
            r#"{"limits":{"canary":1}}"#,
            r#"{"constraints":{"canary":1}}"#,
            "canary",
        ] {
            let refusal = read(body.as_bytes(), NOW, &MintRules::default()).expect_err(body).refusal();
            assert_eq!(refusal.code, Code::RequestInvalid);
            assert!(!format!("{refusal:?}").contains("canary"), "{refusal}");
        }
    }

    #[test]
    fn the_answer_spells_the_token_for_each_sdk() {
        let parts = asked(r#"{"routes":["voice"],"live_for":"1h"}"#);
        let token = Token {
            id: "tok_1".into(),
            key_id: "key_1".into(),
            scopes: parts.scopes.expect("named"),
            calls: parts.calls,
            uses: parts.uses,
            created_at: NOW,
            start_by: parts.start_by,
            live_until: parts.live_until,
            revoked_at: None,
            origins: parts.origins,
            limits: parts.limits,
            bytes_used: 0,
            constraint: parts.constraint,
        };
        let expected = r#"{"token":"kmt_x","spellings":{"gemini":"auth_tokens/kmt_x","openai":"ek_kmt_x"},"id":"tok_1","uses":1,"start_by":"2026-06-12T12:01:00Z","expires":"2026-06-12T13:00:00Z","routes":["voice"],"calls":"any"}"#;
        let body = answer(&token, &Secret::from("kmt_x"));
        assert!(body.matches(&Secret::from(expected)));
        assert!(serde_json::from_slice::<serde_json::Value>(expected.as_bytes()).is_ok());
    }
}
