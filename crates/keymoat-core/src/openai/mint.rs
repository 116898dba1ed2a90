//! Bodies that mint client secrets: `POST /v1/realtime/client_secrets`, and the older `POST /v1/realtime/sessions`.
//!
//! OpenAI gives a client secret 10 minutes to start sessions, of which it may start any number; one started in time goes
//! on for up to an hour.

use super::Lock;
use crate::format::Spelling;
use crate::json::{self, Caps, Object, Value};
use crate::refusal::{Code, Refusal};
use crate::secret::Secret;
use crate::time::UnixMillis;
use crate::token::{Calls, Constraint, MintRules, NewTokenParts, Piece, TokenLimits, Uses, written};

/// How long a session may go on.
const SESSION_MILLIS: i64 = 60 * 60_000;
/// How long the older call's secrets begin sessions.
const SESSIONS_START_SECS: i64 = 60;
/// The same for client secrets, where the body does not say.
const START_SECS: i64 = 600;
const START_SECS_MIN: i64 = 10;
const START_SECS_MAX: i64 = 7200;

/// Which call mints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `POST /v1/realtime/client_secrets`.
    ClientSecrets,
    /// `POST /v1/realtime/sessions`, of the API's beta: the body is the session itself.
    Sessions,
}

/// What is minted, and the session object that the answer repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minting {
    /// The token.
    pub parts: NewTokenParts,
    call: Call,
    session: Object,
}

/// A body that no token is minted for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MintError {
    param: Option<&'static str>,
    message: String,
}

impl MintError {
    fn of(param: &'static str, fault: impl std::fmt::Display) -> Self {
        Self { param: Some(param), message: format!("`{param}` {fault}") }
    }

    /// The answer in OpenAI's shape: HTTP status 400 and its body.
    #[must_use]
    pub fn answer(&self) -> (u16, String) {
        error_answer(400, "invalid_request_error", None, self.param, &self.message)
    }
}

/// A refusal in the shape of OpenAI's errors: HTTP status and body.
#[must_use]
pub fn refusal_answer(refusal: &Refusal) -> (u16, String) {
    let status = refusal.code.status();
    let kind = match refusal.code {
        Code::RateLimited => "rate_limit_error",
        _ if status >= 500 => "server_error",
        _ => "invalid_request_error",
    };
    error_answer(status, kind, Some(refusal.code.word()), None, &refusal.detail)
}

fn error_answer(status: u16, kind: &str, code: Option<&str>, param: Option<&str>, message: &str) -> (u16, String) {
    let optional = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let error: Object = [
        ("message", Value::from(message)),
        ("type", kind.into()),
        ("param", optional(param)),
        ("code", optional(code)),
    ]
    .into_iter()
    .collect();
    let whole: Object = [("error", error.into())].into_iter().collect();
    (status, whole.render())
}

/// Reads the body of a call that mints a client secret.
///
/// What the session names is locked. Client secrets begin any number of sessions where `rules` allow that, or else
/// `uses_max` of them, or one.
///
/// # Errors
/// [`MintError`], naming the field.
pub fn read(body: &[u8], call: Call, now: UnixMillis, rules: &MintRules) -> Result<Minting, MintError> {
    let mut fields = read_fields(body)?;
    let (start_secs, session) = match call {
        Call::Sessions => (SESSIONS_START_SECS, fields),
        Call::ClientSecrets => {
            let start_secs = read_expires_after(fields.remove("expires_after"))?;
            let session = match fields.remove("session") {
                None | Some(Value::Null) => Object::new(),
                Some(Value::Object(session)) => session,
                Some(other) => {
                    return Err(MintError::of("session", format!("must be an object, not {}", other.kind())));
                }
            };
            if !fields.is_empty() {
                let message = String::from("unknown parameter: the body has `expires_after` and `session`");
                return Err(MintError { param: None, message });
            }
            (start_secs, session)
        }
    };
    let start_millis = start_secs * 1000;
    if call == Call::ClientSecrets && start_millis > rules.live_millis_max {
        let most = rules.live_millis_max / 1000;
        return Err(MintError::of("expires_after.seconds", format!("must be at most {most} here")));
    }
    let lock =
        Lock::new(session.clone()).map_err(|fault| MintError { param: Some("session"), message: fault.to_string() })?;
    let parts = NewTokenParts {
        scopes: None,
        calls: Calls::LiveOnly,
        uses: if rules.allow_unlimited() { Uses::Unlimited } else { Uses::AtMost(rules.uses_max.unwrap_or(1)) },
        start_by: rules.default_time(now, start_millis),
        live_until: rules.default_time(now, start_millis + SESSION_MILLIS),
        origins: Vec::new(),
        limits: TokenLimits::default(),
        constraint: if lock.is_open() { Constraint::None } else { Constraint::OpenAi(lock) },
        idempotency_key: None,
    };
    Ok(Minting { parts, call, session })
}

/// An empty body is `{}`.
fn read_fields(body: &[u8]) -> Result<Object, MintError> {
    if body.trim_ascii().is_empty() {
        return Ok(Object::new());
    }
    let refused = |message: String| MintError { param: None, message };
    match json::parse(body, &Caps::default()).map_err(|error| refused(format!("the body cannot be taken: {error}")))? {
        Value::Object(fields) => Ok(fields),
        other => Err(refused(format!("the body must be an object, not {}", other.kind()))),
    }
}

/// `{"anchor":"created_at","seconds":600}`; xAI's clients leave the anchor out.
fn read_expires_after(value: Option<Value>) -> Result<i64, MintError> {
    let mut fields = match value {
        None | Some(Value::Null) => return Ok(START_SECS),
        Some(Value::Object(fields)) => fields,
        Some(other) => return Err(MintError::of("expires_after", format!("must be an object, not {}", other.kind()))),
    };
    if fields.remove("anchor").is_some_and(|anchor| anchor.as_str() != Some("created_at")) {
        return Err(MintError::of("expires_after.anchor", "must be `created_at`"));
    }
    let secs = match fields.remove("seconds") {
        None => START_SECS,
        Some(Value::Number(secs)) => secs.as_i64().unwrap_or_default(),
        Some(_) => 0,
    };
    if !(START_SECS_MIN..=START_SECS_MAX).contains(&secs) {
        let fault = format!("must be a whole number from {START_SECS_MIN} to {START_SECS_MAX}");
        return Err(MintError::of("expires_after.seconds", fault));
    }
    if fields.is_empty() { Ok(secs) } else { Err(MintError::of("expires_after", "has `anchor` and `seconds` only")) }
}

impl Minting {
    /// The answer to whoever minted. It holds the token, spelled `ek_kmt_…`, and is sent to nobody else.
    ///
    /// ```text
    /// {"value":"ek_kmt_…","expires_at":1781266200,"session":{…}}             client secrets
    /// {…the session…,"client_secret":{"value":"ek_kmt_…","expires_at":…}}    sessions
    /// ```
    #[must_use]
    pub fn answer(&self, token: &Secret, start_by: UnixMillis) -> Secret {
        let expires_at = start_by.unix_secs();
        let session = self.session.render();
        let (before, after) = match self.call {
            Call::ClientSecrets => {
                (String::from("{\"value\":\""), format!("\",\"expires_at\":{expires_at},\"session\":{session}}}"))
            }
            Call::Sessions => {
                let mut session = self.session.clone();
                session.remove("client_secret");
                let members = session.render();
                let members = members.strip_suffix('}').unwrap_or("{");
                let comma = if session.is_empty() { "" } else { "," };
                (
                    format!("{members}{comma}\"client_secret\":{{\"value\":\""),
                    format!("\",\"expires_at\":{expires_at}}}}}"),
                )
            }
        };
        written(token, &[Piece::Text(&before), Piece::Token(Spelling::Ek), Piece::Text(&after)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_781_265_600_000);

    fn minting(body: &str, call: Call, rules: &MintRules) -> Result<Minting, MintError> {
        read(body.as_bytes(), call, NOW, rules)
    }

    fn answers(minting: &Minting, expected: &str) -> bool {
        minting.answer(&Secret::from("kmt_x"), minting.parts.start_by).matches(&Secret::from(expected))
    }

    #[test]
    fn a_client_secret_locks_what_its_session_names() {
        let asked = r#"{"expires_after":{"anchor":"created_at","seconds":900},"session":{"type":"realtime","model":"gpt-realtime"}}"#;
        let minting = minting(asked, Call::ClientSecrets, &MintRules::default()).expect("well formed");
        let parts = &minting.parts;
        assert_eq!((parts.uses, parts.calls), (Uses::Unlimited, Calls::LiveOnly));
        assert_eq!((parts.start_by, parts.live_until), (NOW.plus_millis(900_000), NOW.plus_millis(4_500_000)));
        assert_eq!(parts.constraint.to_json(), r#"{"openai":{"session":{"type":"realtime","model":"gpt-realtime"}}}"#);
        let answer =
            r#"{"value":"ek_kmt_x","expires_at":1781266500,"session":{"type":"realtime","model":"gpt-realtime"}}"#;
        assert!(answers(&minting, answer));
    }

    #[test]
    fn the_older_call_answers_with_the_session_and_the_secret_in_it() {
        let asked = r#"{"model":"gpt-realtime","voice":"ash"}"#;
        let minted = minting(asked, Call::Sessions, &MintRules::default()).expect("well formed");
        assert_eq!(minted.parts.start_by, NOW.plus_millis(60_000));
        let kept = r#"{"openai":{"session":{"model":"gpt-realtime","audio":{"output":{"voice":"ash"}}}}}"#;
        assert_eq!(minted.parts.constraint.to_json(), kept);
        let answer =
            r#"{"model":"gpt-realtime","voice":"ash","client_secret":{"value":"ek_kmt_x","expires_at":1781265660}}"#;
        assert!(answers(&minted, answer));
        let empty = minting("", Call::Sessions, &MintRules::default()).expect("well formed");
        assert!(answers(&empty, r#"{"client_secret":{"value":"ek_kmt_x","expires_at":1781265660}}"#));
    }

    #[test]
    fn what_is_not_said_has_openai_s_defaults_within_the_rules() {
        for asked in ["", "{}", r#"{"session":null,"expires_after":{}}"#] {
            let parts = minting(asked, Call::ClientSecrets, &MintRules::default()).expect("well formed").parts;
            assert_eq!((parts.start_by, parts.constraint), (NOW.plus_millis(600_000), Constraint::None));
        }
        let strict = MintRules { uses_max: Some(3), live_millis_max: 900_000, ..MintRules::default() };
        let parts = minting("{}", Call::ClientSecrets, &strict).expect("well formed").parts;
        assert_eq!((parts.uses, parts.live_until), (Uses::AtMost(3), NOW.plus_millis(900_000)));
        let one = MintRules { unlimited_allowed: false, ..MintRules::default() };
        assert_eq!(minting("{}", Call::ClientSecrets, &one).expect("well formed").parts.uses, Uses::AtMost(1));
    }

    #[test]
    fn mistakes_are_named_by_their_field_in_openai_s_shape() {
        let rules = MintRules { live_millis_max: 3_600_000, ..MintRules::default() };
        for (asked, told) in [
            (r#"{"expires_after":{"seconds":9}}"#, "`expires_after.seconds` must be a whole number from 10 to 7200"),
            (r#"{"expires_after":{"seconds":10.5}}"#, "`expires_after.seconds` must be a whole number from 10 to 7200"),
            (r#"{"expires_after":{"seconds":"60"}}"#, "`expires_after.seconds` must be a whole number from 10 to 7200"),
            (r#"{"expires_after":{"seconds":7200}}"#, "`expires_after.seconds` must be at most 3600 here"),
            (r#"{"expires_after":{"anchor":"now"}}"#, "`expires_after.anchor` must be `created_at`"),
            (r#"{"expires_after":{"canary":1}}"#, "`expires_after` has `anchor` and `seconds` only"),
            (r#"{"expires_after":600}"#, "`expires_after` must be an object, not a number"),
            (r#"{"session":[]}"#, "`session` must be an object, not an array"),
            (r#"{"session":{"type":"canary"}}"#, "`session.type` must be `realtime` or `transcription`"),
            (r#"{"canary":1}"#, "unknown parameter: the body has `expires_after` and `session`"),
            (
                r#"{"session":{},"session":{}}"#,
                "the body cannot be taken: a member that stands twice in one object at byte 14",
            ),
            ("[]", "the body must be an object, not an array"),
        ] {
            assert_eq!(minting(asked, Call::ClientSecrets, &rules).expect_err(asked).to_string(), told);
        }
        let (status, body) = minting(r#"{"session":7}"#, Call::ClientSecrets, &rules).expect_err("refused").answer();
        let expected = r#"{"error":{"message":"`session` must be an object, not a number","type":"invalid_request_error","param":"session","code":null}}"#;
        assert_eq!((status, body.as_str()), (400, expected));
        let (status, body) = refusal_answer(&Refusal::new(Code::Forbidden, "no"));
        let expected = r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"forbidden"}}"#;
        assert_eq!((status, body.as_str()), (403, expected));
    }
}
