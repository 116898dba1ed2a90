//! Holds a key, and a token with a list of its own, to a list of models: where a request names its model, and whether that one is listed.
//!
//! | dialect | where the model is read |
//! |---|---|
//! | Gemini | a setup of Live; the path, `…/models/X:method`; or else `model` in a JSON body |
//! | OpenAI | the URL and the events of Realtime; `model` in a JSON body |
//! | generic | nowhere: such a route is closed to whoever has a list |
//!
//! Requests that only read or delete name no model and pass. Every other one must name a listed model where it is read: a form,
//! a file of a batch or a stored prompt could name any.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, Method, header};

use crate::json::{self, Caps, Value};
use crate::refusal::{Code, Refusal};
use crate::route::Dialect;
use crate::{gemini, openai};

/// Where a plain request names its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere, and it needs none.
    Nowhere,
    /// In its path, which was checked.
    Path(String),
    /// In its body, which has to be read.
    Body,
}

/// Says where a plain request names its model, and checks it if that is the path. `path` is the one that the upstream
/// knows.
///
/// # Errors
/// `forbidden` for a model that is not listed, for a request whose model cannot be read, and on a generic route.
pub fn place(
    models: &[Arc<str>],
    dialect: Dialect,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Place, Refusal> {
    if dialect == Dialect::Generic {
        return Err(unheld());
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS) {
        return Ok(Place::Nowhere);
    }
    if dialect == Dialect::Gemini
        && let Some(model) = gemini::model_in_path(path)
    {
        check(models, dialect, model)?;
        return Ok(Place::Path(model.to_owned()));
    }
    let is_plain = headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    let kind = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    // Without a type, fetch and curl send text; whatever it is, it must be JSON when it is read.
    let is_json = kind.is_empty() || kind.eq_ignore_ascii_case(b"application/json");
    if is_plain && is_json {
        return Ok(Place::Body);
    }
    Err(Refusal::new(
        Code::Forbidden,
        "this credential is held to a list of models, and the model of such a body cannot be read: send plain JSON",
    ))
}

/// Reads the model that a JSON body names, and checks it.
///
/// # Errors
/// `request_invalid` for what is not JSON with one reading, `forbidden` for a model that is not listed or not named.
pub fn check_body(models: &[Arc<str>], dialect: Dialect, body: &[u8]) -> Result<String, Refusal> {
    let caps = Caps { bytes_max: body.len(), depth_max: DEPTH_MAX, members_max: MEMBERS_MAX };
    let parsed = json::parse(body, &caps)
        .map_err(|error| Refusal::new(Code::RequestInvalid, format!("the body cannot be taken: {error}")))?;
    let model = parsed.as_object().and_then(|body| body.member("model")).and_then(Value::as_str);
    let Some(model) = model else {
        let text = "this credential is held to a list of models: name one in `model` of the body";
        return Err(Refusal::new(Code::Forbidden, text));
    };
    check(models, dialect, model)?;
    Ok(model.to_owned())
}

/// Refuses a model that is not listed. Gemini's short names are the same as the long ones, which start with `models/`.
fn check(models: &[Arc<str>], dialect: Dialect, asked: &str) -> Result<(), Refusal> {
    let spelled = |model: &str| match dialect {
        Dialect::Gemini => gemini::model_in_full(model).map(Cow::Owned),
        Dialect::OpenAi | Dialect::Generic => Some(Cow::Owned(model.to_owned())),
    };
    let asked: Option<Cow<'_, str>> = spelled(asked);
    if asked.is_some() && models.iter().any(|model| spelled(model) == asked) {
        return Ok(());
    }
    Err(not_listed(models))
}

/// What is told to whoever asks for another model.
#[must_use]
pub fn not_listed(models: &[Arc<str>]) -> Refusal {
    Refusal::new(Code::Forbidden, format!("this credential is for the models {}", models.join(", ")))
}

/// What is told where no model can be read.
#[must_use]
pub fn unheld() -> Refusal {
    let text = "this credential is held to a list of models, and this route cannot hold it to them: use another one";
    Refusal::new(Code::Forbidden, text)
}

/// A token's lock on Gemini's sessions, narrowed to the models of its key; an empty list narrows nothing.
///
/// # Errors
/// `forbidden` where no model is left.
pub fn narrow_gemini(lock: gemini::Lock, models: &[Arc<str>]) -> Result<gemini::Lock, Refusal> {
    if models.is_empty() { Ok(lock) } else { lock.narrowed(models).ok_or_else(|| not_listed(models)) }
}

/// The same for OpenAI's.
///
/// # Errors
/// `forbidden` where no model is left.
pub fn narrow_openai(lock: openai::Lock, models: &[Arc<str>]) -> Result<openai::Lock, Refusal> {
    if models.is_empty() { Ok(lock) } else { lock.narrowed(models).ok_or_else(|| not_listed(models)) }
}

/// A body may be this deep; tools and schemas are nested.
const DEPTH_MAX: usize = 128;
/// A body may have so many members in all.
const MEMBERS_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn models() -> Vec<Arc<str>> {
        vec!["models/a".into(), "gpt-x".into(), "b-1.5".into()]
    }

    fn placed(dialect: Dialect, method: &Method, path: &str, kind: &'static str) -> Result<Place, Code> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        place(&models(), dialect, method, path, &headers).map_err(|refusal| refusal.code)
    }

    const JSON: &str = "application/json; charset=utf-8";

    #[test]
    fn gemini_names_its_model_in_the_path_in_either_spelling() {
        let of = |path: &str| placed(Dialect::Gemini, &Method::POST, path, JSON);
        for listed in ["/v1beta/models/a:generateContent", "/v1/models/b-1.5:streamGenerateContent"] {
            assert!(matches!(of(listed), Ok(Place::Path(_))), "{listed}");
        }
        for other in [
            "/v1beta/models/c:generateContent",
            "/v1beta/models/A:generateContent",
            "/v1beta/tunedModels/a:generateContent",
            "/v1beta/models/a%3Ac:generateContent",
        ] {
            assert_eq!(of(other), Err(Code::Forbidden), "{other}");
        }
        for other in ["/v1beta/cachedContents", "/v1beta/openai/chat/completions", "/v1beta/interactions"] {
            assert_eq!(of(other), Ok(Place::Body), "{other}");
        }
    }

    #[test]
    fn what_only_reads_names_no_model_and_a_form_cannot_be_read() {
        assert_eq!(placed(Dialect::OpenAi, &Method::GET, "/v1/models", JSON), Ok(Place::Nowhere));
        assert_eq!(placed(Dialect::OpenAi, &Method::POST, "/v1/responses", JSON), Ok(Place::Body));
        for kind in ["multipart/form-data; boundary=x", "application/sdp", "application/x-www-form-urlencoded"] {
            let form = placed(Dialect::OpenAi, &Method::POST, "/v1/audio/transcriptions", kind);
            assert_eq!(form, Err(Code::Forbidden), "{kind}");
        }
        let mut coded = HeaderMap::new();
        coded.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let refused = place(&models(), Dialect::OpenAi, &Method::POST, "/v1/responses", &coded);
        assert_eq!(refused.expect_err("it cannot be read").code, Code::Forbidden);
        for method in [Method::GET, Method::POST] {
            assert_eq!(placed(Dialect::Generic, &method, "/x", JSON), Err(Code::Forbidden));
        }
    }

    #[test]
    fn a_body_names_its_model_once_and_at_the_top() {
        let of = |dialect, body: &str| check_body(&models(), dialect, body.as_bytes()).map_err(|refusal| refusal.code);
        assert_eq!(of(Dialect::OpenAi, r#"{"model":"gpt-x","input":"hi"}"#), Ok("gpt-x".to_owned()));
        assert_eq!(of(Dialect::Gemini, r#"{"model":"a"}"#), Ok("a".to_owned()));
        for (body, code) in [
            (r#"{"model":"gpt-y"}"#, Code::Forbidden),
            (r#"{"model":"models/gpt-x"}"#, Code::Forbidden),
            (r#"{"input":{"model":"gpt-x"}}"#, Code::Forbidden),
            (r#"{"model":["gpt-x"]}"#, Code::Forbidden),
            (r#"{"model":"gpt-x","model":"gpt-y"}"#, Code::RequestInvalid),
            (r#"{"model":"gpt-x","mod\u0065l":"gpt-y"}"#, Code::RequestInvalid),
            ("model=gpt-x", Code::RequestInvalid),
            ("", Code::RequestInvalid),
            ("[]", Code::Forbidden),
        ] {
            assert_eq!(of(Dialect::OpenAi, body), Err(code), "{body}");
        }
    }

    #[test]
    fn a_refusal_shows_nothing_that_was_sent() {
        for body in [r#"{"model":"canary"}"#, "canary", r#"{"canary":1}"#] {
            let refusal = check_body(&models(), Dialect::OpenAi, body.as_bytes()).expect_err(body);
            assert!(!format!("{refusal:?}").contains("canary"), "{refusal}");
        }
    }

    #[test]
    fn a_token_gets_no_model_that_its_key_does_not_have() {
        let list = models();
        let gemini = |names: &[&str]| gemini::Lock::of_models(names.iter().copied()).expect("names");
        assert!(narrow_gemini(gemini(&["models/c"]), &list).is_err());
        let narrowed = narrow_gemini(gemini(&["models/c", "a"]), &list).expect("one is left");
        let first = |lock: &gemini::Lock, model: &str| {
            let message = format!(r#"{{"setup":{{"model":"{model}"}}}}"#);
            lock.first(message.as_bytes(), gemini::Call::Live).map(drop).map_err(|refusal| refusal.code)
        };
        assert_eq!(first(&narrowed, "models/a"), Ok(()));
        assert_eq!(first(&narrowed, "models/b-1.5"), Err(Code::Forbidden), "the token is for fewer");
        assert_eq!(first(&narrowed, "models/c"), Err(Code::Forbidden), "the key is not for it");
        let open = narrow_gemini(gemini::Lock::default(), &list).expect("the key's");
        assert_eq!((first(&open, "b-1.5"), first(&open, "c")), (Ok(()), Err(Code::Forbidden)));
        assert!(narrow_gemini(gemini::Lock::default(), &[]).is_ok_and(|lock| lock.is_open()));

        let openai = |names: &[&str]| openai::Lock::of_models(names.iter().copied()).expect("names");
        assert!(narrow_openai(openai(&["gpt-y"]), &list).is_err());
        let open = narrow_openai(openai::Lock::default(), &list).expect("the key's");
        assert!(open.model_for_url(Some("gpt-x")).is_ok() && open.model_for_url(Some("gpt-y")).is_err());
        assert!(open.model_for_url(None).is_err(), "the service would choose one");
        let session = json::parse(br#"{"type":"realtime","model":"gpt-y"}"#, &Caps::default()).expect("JSON");
        let Value::Object(session) = session else { panic!("an object") };
        assert!(narrow_openai(openai::Lock::new(session).expect("well formed"), &list).is_err());
    }
}
