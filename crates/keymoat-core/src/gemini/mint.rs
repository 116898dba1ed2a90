//! Bodies of `auth_tokens`: what Google's SDKs send to mint an ephemeral token, and what they are answered.
//!
//! Google's guide (2026-06-12) gives the defaults: one use, 60 seconds to start, 30 minutes to live, less than 20 hours
//! for both.

use super::canonical::{self, TwoSpellings};
use super::field::Place;
use super::{FieldMask, Lock};
use crate::format::Spelling;
use crate::json::{self, Caps, Object, Value};
use crate::refusal::Refusal;
use crate::secret::Secret;
use crate::time::UnixMillis;
use crate::token::request::Zero;
use crate::token::{Calls, Constraint, MintRules, NewTokenParts, Piece, TokenLimits, Uses, written};

/// Google's default for how long a token lives.
const LIVE_MILLIS: i64 = 30 * 60_000;
/// Google's default for how long it begins sessions.
const START_MILLIS: i64 = 60_000;
/// Google takes no time that is so far ahead.
const AHEAD_MILLIS: i64 = 20 * 3_600_000;

/// A body that no token is minted for. The text names the path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MintError {
    message: String,
}

impl MintError {
    fn at(path: &str, fault: impl std::fmt::Display) -> Self {
        Self { message: format!("{path}: {fault}") }
    }

    /// The answer in Google's shape: HTTP status 400 and its body.
    #[must_use]
    pub fn answer(&self) -> (u16, String) {
        error_answer(400, "INVALID_ARGUMENT", &self.message)
    }
}

/// A refusal in the shape of Google's errors: HTTP status and body. Its SDKs show `message` to their users.
#[must_use]
pub fn refusal_answer(refusal: &Refusal) -> (u16, String) {
    let status = match refusal.code.status() {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "FAILED_PRECONDITION",
    };
    error_answer(refusal.code.status(), status, &refusal.to_string())
}

fn error_answer(code: u16, status: &str, message: &str) -> (u16, String) {
    let error: Object =
        [("code", Value::from(i64::from(code))), ("message", message.into()), ("status", status.into())]
            .into_iter()
            .collect();
    let whole: Object = [("error", error.into())].into_iter().collect();
    (code, whole.render())
}

/// The answer to whoever minted: `{"name":"auth_tokens/kmt_…"}`, which holds the token and is sent to nobody else.
#[must_use]
pub fn answer(token: &Secret) -> Secret {
    written(token, &[Piece::Text("{\"name\":\""), Piece::Token(Spelling::AuthTokens), Piece::Text("\"}")])
}

/// Reads the body of a call that mints a token. An empty one is `{}`, as the Python SDK sends it.
///
/// # Errors
/// [`MintError`], naming the path, for what cannot be read in one way, is out of bounds, or is not allowed by `rules`.
pub fn read(body: &[u8], now: UnixMillis, rules: &MintRules) -> Result<NewTokenParts, MintError> {
    let mut fields = read_fields(body)?;
    let uses = match fields.remove("uses") {
        None => Uses::AtMost(1),
        Some(Value::Number(uses)) => {
            rules.uses(&uses, Zero::IsUnlimited).map_err(|fault| MintError::at("auth_token.uses", fault))?
        }
        Some(other) => return Err(MintError::at("auth_token.uses", format!("must be a number, not {}", other.kind()))),
    };
    let live_until = read_time(&mut fields, "expireTime", LIVE_MILLIS, now, rules)?;
    let start_by = read_time(&mut fields, "newSessionExpireTime", START_MILLIS, now, rules)?.min(live_until);
    let lock = read_lock(&mut fields)?;
    // What Google sets itself, and a client that sends a token back leaves in.
    fields.remove("name");
    if let Some((name, _)) = fields.iter().next() {
        let place = Place::default().below(name);
        return Err(MintError::at("auth_token", format!("unknown field {place}")));
    }
    Ok(NewTokenParts {
        scopes: None,
        calls: Calls::LiveOnly,
        uses,
        start_by,
        live_until,
        origins: Vec::new(),
        limits: TokenLimits::default(),
        constraint: if lock.is_open() { Constraint::None } else { Constraint::Gemini(lock) },
        idempotency_key: None,
    })
}

/// The fields in camelCase. What is null is as if it were not there.
fn read_fields(body: &[u8]) -> Result<Object, MintError> {
    if body.trim_ascii().is_empty() {
        return Ok(Object::new());
    }
    let fields = match json::parse(body, &Caps::default()).map_err(|error| MintError::at("auth_token", error))? {
        Value::Object(fields) => fields,
        other => return Err(MintError::at("auth_token", format!("must be an object, not {}", other.kind()))),
    };
    let mut fields = canonical::message(fields, &Place::default()).map_err(|TwoSpellings(place)| {
        MintError::at("auth_token", format!("{place} stands twice, in two spellings"))
    })?;
    fields.retain(|_, value| *value != Value::Null);
    Ok(fields)
}

fn read_time(
    fields: &mut Object,
    name: &str,
    after_millis: i64,
    now: UnixMillis,
    rules: &MintRules,
) -> Result<UnixMillis, MintError> {
    let path = format!("auth_token.{name}");
    let Some(written) = fields.remove(name) else { return Ok(rules.default_time(now, after_millis)) };
    let at = written.as_str().and_then(UnixMillis::from_rfc3339);
    let at = at.ok_or_else(|| MintError::at(&path, "must be a time such as `2030-01-01T00:00:00Z`"))?;
    if at >= now.plus_millis(AHEAD_MILLIS) {
        return Err(MintError::at(&path, "must be less than 20 hours ahead"));
    }
    rules.time(at, now).map_err(|fault| MintError::at(&path, fault))
}

fn read_lock(fields: &mut Object) -> Result<Lock, MintError> {
    let setup = match fields.remove("bidiGenerateContentSetup") {
        None => None,
        Some(Value::Object(setup)) => Some(setup),
        Some(other) => {
            let fault = format!("must be an object, not {}", other.kind());
            return Err(MintError::at("auth_token.bidiGenerateContentSetup", fault));
        }
    };
    let mask = match fields.remove("fieldMask") {
        None => FieldMask::default(),
        Some(Value::String(mask)) => {
            FieldMask::parse(&mask).map_err(|unknown| MintError::at("auth_token.fieldMask", unknown))?
        }
        Some(other) => {
            return Err(MintError::at("auth_token.fieldMask", format!("must be a string, not {}", other.kind())));
        }
    };
    Lock::new(setup, mask).map_err(|fault| MintError::at("auth_token.bidiGenerateContentSetup", fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    /// 2026-06-12T12:00:00Z.
    const NOW: UnixMillis = UnixMillis(1_781_265_600_000);
    const SETUP: &str = r#"{"model":"models/gemini-2.5-flash-native-audio","generationConfig":{"responseModalities":["AUDIO"],"temperature":0.7},"systemInstruction":{"parts":[{"text":"You are X."}],"role":"user"},"tools":[{"googleSearch":{}}],"sessionResumption":{},"inputAudioTranscription":{}}"#;
    const CASE_3: &str = "model,generationConfig.responseModalities,generationConfig.temperature,systemInstruction.parts,systemInstruction.role,tools,sessionResumption,inputAudioTranscription";

    fn minted(body: &str) -> NewTokenParts {
        read(body.as_bytes(), NOW, &MintRules::default()).expect(body)
    }

    fn refused(body: &str, rules: &MintRules) -> String {
        read(body.as_bytes(), NOW, rules).expect_err(body).to_string()
    }

    #[test]
    fn the_four_cases_of_the_sdks_are_read() {
        let one = minted(
            r#"{"expireTime":"2026-06-12T13:00:00+00:00","newSessionExpireTime":"2026-06-12T12:01:00.000Z","uses":10}"#,
        );
        assert_eq!((one.uses, one.constraint), (Uses::AtMost(10), Constraint::None));
        assert_eq!((one.live_until, one.start_by), (NOW.plus_millis(3_600_000), NOW.plus_millis(60_000)));
        let two = minted(&format!(r#"{{"uses":1,"bidiGenerateContentSetup":{SETUP}}}"#));
        assert_eq!(two.constraint.to_json(), format!(r#"{{"gemini":{{"setup":{SETUP}}}}}"#));
        let three = minted(&format!(r#"{{"bidiGenerateContentSetup":{SETUP},"fieldMask":"{CASE_3}"}}"#));
        assert_eq!(three.constraint.to_json(), format!(r#"{{"gemini":{{"setup":{SETUP},"field_mask":"{CASE_3}"}}}}"#));
        let further = "generationConfig.topK,outputAudioTranscription";
        for tail in [
            "generationConfig.temperature,generationConfig.top_k,output_audio_transcription",
            "topK,outputAudioTranscription",
        ] {
            let four = minted(&format!(r#"{{"bidiGenerateContentSetup":{SETUP},"fieldMask":"{CASE_3},{tail}"}}"#));
            let kept = format!(r#"{{"gemini":{{"setup":{SETUP},"field_mask":"{CASE_3},{further}"}}}}"#);
            assert_eq!(four.constraint.to_json(), kept);
        }
    }

    #[test]
    fn an_empty_body_mints_with_google_s_defaults() {
        for body in ["", " ", "{}", r#"{"uses":null,"fieldMask":"","name":"x"}"#] {
            let parts = minted(body);
            assert_eq!((parts.uses, parts.calls), (Uses::AtMost(1), Calls::LiveOnly));
            assert_eq!((parts.start_by, parts.live_until), (NOW.plus_millis(60_000), NOW.plus_millis(1_800_000)));
            assert_eq!(parts.constraint, Constraint::None);
        }
    }

    #[test]
    fn the_edges_of_the_sdks_are_read() {
        for (body, kept) in [
            (r#"{"fieldMask":"temperature"}"#, r#"{"gemini":{"field_mask":"generationConfig.temperature"}}"#),
            (r#"{"field_mask":"tools.0,topK,topK"}"#, r#"{"gemini":{"field_mask":"tools,generationConfig.topK"}}"#),
            (
                r#"{"bidi_generate_content_setup":{"generation_config":{"top_k":1}}}"#,
                r#"{"gemini":{"setup":{"generationConfig":{"topK":1}}}}"#,
            ),
            (r#"{"bidiGenerateContentSetup":{}}"#, r#"{"gemini":{"setup":{}}}"#),
        ] {
            assert_eq!(minted(body).constraint.to_json(), kept, "{body}");
        }
    }

    #[test]
    fn d53_uses_are_whole_and_bounded_and_zero_is_no_limit() {
        let rules = MintRules::default();
        for bad in ["-1", "2147483648", "1.0", "1.5", "\"1\"", "true", "[1]", "1e400", "1e2", "99999999999999999999"] {
            let error = refused(&format!("{{\"uses\":{bad}}}"), &rules);
            assert!(error.starts_with("auth_token"), "{error}");
        }
        assert_eq!(minted(r#"{"uses":0}"#).uses, Uses::Unlimited);
        assert_eq!(minted(r#"{"uses":2147483647}"#).uses, Uses::AtMost(2_147_483_647));
        let bounded = MintRules { uses_max: Some(10), ..rules };
        assert_eq!(refused(r#"{"uses":11}"#, &bounded), "auth_token.uses: must be at most 10");
        let no_limit = "auth_token.uses: must be at least 1: tokens without a limit are not minted here";
        assert_eq!(refused(r#"{"uses":0}"#, &bounded), no_limit);
        assert_eq!(refused(r#"{"uses":0}"#, &MintRules { unlimited_allowed: false, ..rules }), no_limit);
    }

    #[test]
    fn d54_times_are_ahead_and_within_what_is_allowed() {
        for time in [
            "2026-06-12T12:00:00Z",
            "2026-06-12T11:59:59Z",
            "2026-06-13T08:00:00Z",
            "2026-06-13T10:00:00+02:00",
            "9999-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "2026-06-12",
            "",
        ] {
            for name in ["expireTime", "newSessionExpireTime", "expire_time"] {
                let error = refused(&format!("{{\"{name}\":\"{time}\"}}"), &MintRules::default());
                assert!(error.contains("xpireTime: must "), "{error}");
            }
        }
        assert!(refused(r#"{"expireTime":1781265660}"#, &MintRules::default()).contains("must be a time"));
        let last = minted(r#"{"expireTime":"2026-06-13T09:59:59.999+02:00"}"#);
        assert_eq!(last.live_until, NOW.plus_millis(20 * 3_600_000 - 1));
        let leap = minted(r#"{"expireTime":"2026-06-12T12:59:60Z"}"#);
        assert_eq!(leap.live_until, NOW.plus_millis(3_600_000));
        let short = MintRules { live_millis_max: 600_000, ..MintRules::default() };
        let error = refused(r#"{"expireTime":"2026-06-12T12:10:00.001Z"}"#, &short);
        assert_eq!(
            error,
            "auth_token.expireTime: must not be after 2026-06-12T12:10:00Z: tokens live at most 10 min here"
        );
        assert_eq!(read(b"{}", NOW, &short).expect("shortened").live_until, NOW.plus_millis(600_000));
        let late = minted(r#"{"expireTime":"2026-06-12T12:00:30Z"}"#);
        assert_eq!(late.start_by, NOW.plus_millis(30_000));
    }

    #[test]
    fn a_mistake_is_named_by_its_path_in_google_s_shape() {
        let rules = MintRules::default();
        for (body, told) in [
            (r#"{"fieldMask":"model,nonsense"}"#, "auth_token.fieldMask: `nonsense` is no field of a setup"),
            (
                r#"{"bidiGenerateContentSetup":{"model":"m","tools":[]},"fieldMask":"model"}"#,
                "auth_token.bidiGenerateContentSetup: setup contains fields not in the mask: `tools`",
            ),
            (
                r#"{"bidiGenerateContentSetup":{"sessionResumption":{"handle":"h"}}}"#,
                "auth_token.bidiGenerateContentSetup: `sessionResumption.handle` belongs to the token whose session it was: the client sends it",
            ),
            (
                r#"{"bidiGenerateContentSetup":[]}"#,
                "auth_token.bidiGenerateContentSetup: must be an object, not an array",
            ),
            (r#"{"fieldMask":["model"]}"#, "auth_token.fieldMask: must be a string, not an array"),
            (r#"{"uses":1,"uses":2}"#, "auth_token: a member that stands twice in one object at byte 10"),
            (r#"{"fieldMask":"","field_mask":""}"#, "auth_token: `fieldMask` stands twice, in two spellings"),
            (r#"{"canary":1}"#, "auth_token: unknown field `…`"),
            ("[]", "auth_token: must be an object, not an array"),
        ] {
            assert_eq!(refused(body, &rules), told);
        }
        let (status, body) = read(b"[]", NOW, &rules).expect_err("refused").answer();
        let expected = r#"{"error":{"code":400,"message":"auth_token: must be an object, not an array","status":"INVALID_ARGUMENT"}}"#;
        assert_eq!((status, body.as_str()), (400, expected));
        let (status, body) = refusal_answer(&Refusal::new(Code::Forbidden, "no"));
        let expected = r#"{"error":{"code":403,"message":"forbidden: no","status":"PERMISSION_DENIED"}}"#;
        assert_eq!((status, body.as_str()), (403, expected));
    }

    #[test]
    fn the_answer_is_the_name_alone() {
        let body = answer(&Secret::from("kmt_x"));
        assert!(body.matches(&Secret::from(r#"{"name":"auth_tokens/kmt_x"}"#)));
    }
}
