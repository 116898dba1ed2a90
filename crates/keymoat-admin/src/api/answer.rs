//! Answers: JSON, with the tag of its state where it can be changed.

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use super::problem::{Code, Problem};

/// A JSON answer.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON answer with its `ETag`.
#[derive(Debug)]
pub(crate) struct Tagged<T>(pub(crate) T);

/// The answer to a `POST` that made something, with where it is; the body has a secret, so that it is kept nowhere.
#[derive(Debug)]
pub(crate) struct MadeWithSecret<T> {
    /// Such as `/api/v1/keys/key_7f3k…`.
    pub(crate) location: String,
    /// Its id.
    pub(crate) id: String,
    /// The body.
    pub(crate) body: T,
}

/// Marks an answer whose body has a secret, with the id of what was made.
#[derive(Clone, Debug)]
pub(crate) struct HasSecret(pub(crate) String);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(_) => Problem::of(Code::Internal).into_response(),
        }
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = tag(&self.0);
        let mut response = Json(self.0).into_response();
        response.headers_mut().insert(ETAG, tag);
        response
    }
}

impl<T: Serialize> IntoResponse for MadeWithSecret<T> {
    fn into_response(self) -> Response {
        let Self { location, id, body } = self;
        let mut response = (StatusCode::CREATED, Json(body)).into_response();
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(LOCATION, location);
        }
        response.extensions_mut().insert(HasSecret(id));
        response
    }
}

/// The tag of a state: the digest of how it is shown.
fn tag(shown: &impl Serialize) -> HeaderValue {
    let digest = digest(&SHA256, &serde_json::to_vec(shown).unwrap_or_default());
    let text = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..12).unwrap_or_default());
    HeaderValue::try_from(format!("\"{text}\"")).expect("base64url is visible ASCII")
}

/// Whether the caller has seen the state that is to be changed (RFC 9110 section 13.1.1).
///
/// # Errors
/// [`Code::PreconditionRequired`] without `If-Match`, [`Code::PreconditionFailed`] for another state.
pub(crate) fn demand_match(headers: &HeaderMap, shown: &impl Serialize) -> Result<(), Problem> {
    let mut asked = headers.get_all(IF_MATCH).iter().peekable();
    if asked.peek().is_none() {
        return Err(Problem::of(Code::PreconditionRequired));
    }
    let current = tag(shown);
    let current = current.to_str().unwrap_or_default();
    let is_one = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').map(str::trim).any(|tag| tag == "*" || tag == current)
    };
    if asked.any(is_one) { Ok(()) } else { Err(Problem::of(Code::PreconditionFailed)) }
}

/// The same where `If-Match` may be left out.
///
/// # Errors
/// [`Code::PreconditionFailed`] for another state.
pub(crate) fn allow_match(headers: &HeaderMap, shown: &impl Serialize) -> Result<(), Problem> {
    if headers.contains_key(IF_MATCH) { demand_match(headers, shown) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_needs_the_tag_of_what_is_there() {
        let asked = |value: Option<&'static str>| {
            let headers = value.map(|value| (IF_MATCH, HeaderValue::from_static(value))).into_iter().collect();
            demand_match(&headers, &"state").map_err(|problem| problem.code)
        };
        let current = tag(&"state").to_str().expect("ASCII").to_owned();
        assert_eq!(asked(None), Err(Code::PreconditionRequired));
        assert_eq!(asked(Some("\"other\"")), Err(Code::PreconditionFailed));
        assert_eq!(asked(Some("*")), Ok(()));
        let both: &'static str = Box::leak(format!("\"x\", {current}").into_boxed_str());
        assert_eq!(asked(Some(both)), Ok(()));
    }
}
