//! Bodies: JSON of a bounded size, read in bounded time, with no field that is unknown.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::fault;
use super::objects::Objects;
use super::problem::{Code, Problem};
use crate::access::origin::is_json;

/// A body may be this large.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// A body has to arrive within this time.
const BODY_TIME: Duration = Duration::from_secs(15);

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = read(request.into_body()).await?;
        if !is_json {
            return Err(Problem::of(Code::MediaType));
        }
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub(crate) struct BodyOrNone<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for BodyOrNone<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = read(request.into_body()).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_json {
            return Err(Problem::of(Code::MediaType));
        }
        parse(&bytes).map(Self)
    }
}

/// Nothing, or an empty object, where an operation takes no fields.
#[derive(Debug)]
pub(crate) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        #[derive(Default, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        BodyOrNone::<Nothing>::from_request(request, state).await.map(|_| Self)
    }
}

/// Reads a whole body.
pub(crate) async fn read(body: axum::body::Body) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match collected {
        Err(_) => Err(Problem::of(Code::BodySlow)),
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::of(Code::BodyTooLarge)),
        Ok(Err(_)) => Err(Problem::with(Code::RequestMalformed, "the body breaks off")),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first().is_some_and(|first| *first == b'[') {
        return Err(Problem::with(Code::FieldInvalid, "the body must be an object, not a list"));
    }
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Objects(&mut text)).map_err(|error| {
        let (path, inner) = (error.path().clone(), error.into_inner());
        match inner.classify() {
            serde_json::error::Category::Data => fault::problem(&path, &inner.to_string()),
            _ => Problem::with(
                Code::RequestMalformed,
                format!("the body is no JSON: line {}, column {}", inner.line(), inner.column()),
            ),
        }
    })?;
    text.end().map_err(|_| Problem::with(Code::RequestMalformed, "something stands behind the JSON"))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct New {
        #[expect(dead_code, reason = "only read")]
        name: String,
        #[expect(dead_code, reason = "only read")]
        limits: Option<Limits>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        #[expect(dead_code, reason = "only read")]
        bytes: u64,
    }

    #[test]
    fn i110_what_is_unknown_is_named_with_what_there_is_and_nothing_that_was_sent() {
        let canary = "km_TestVector0TestVector0TestVector0TestVector02cu8n";
        for (body, code, says) in [
            (
                "{\"name\":\"a\",\"role\":\"admin\"}".to_owned(),
                Code::FieldUnknown,
                "`role`: expected `name` or `limits`",
            ),
            (format!("{{\"name\":\"a\",\"{canary}\":1}}"), Code::FieldUnknown, "[…]"),
            (format!("{{\"name\":[\"{canary}\"]}}"), Code::FieldInvalid, "a string"),
            (format!("{{\"name\":\"a\",\"limits\":{{\"bytes\":\"{canary}\"}}}}"), Code::FieldInvalid, "limits.bytes"),
            (format!("{{\"name\":\"{canary}\""), Code::RequestMalformed, "no JSON"),
            (format!("{{\"name\":\"a\"}} {canary}"), Code::RequestMalformed, "behind"),
            ("{\"name\":\"a\",\"name\":\"b\"}".to_owned(), Code::RequestMalformed, "twice"),
            ("{}".to_owned(), Code::FieldInvalid, "missing"),
            ("[]".to_owned(), Code::FieldInvalid, "not a list"),
            ("{\"name\":\"a\",\"limits\":[1]}".to_owned(), Code::FieldInvalid, "this must be an object"),
        ] {
            let problem = parse::<New>(body.as_bytes()).expect_err("refused");
            let told = format!("{problem:?}");
            assert_eq!(problem.code, code, "{told}");
            assert!(told.contains(says), "{told}");
            assert!(!told.contains("TestVector"), "{told}");
        }
    }
}
