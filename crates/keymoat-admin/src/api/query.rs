//! Query parameters: none that is unknown, and never a credential.

use axum::extract::FromRequestParts;
use http::request::Parts;
use keymoat_core::format;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::fault;
use super::problem::{Code, Problem};

/// Names under which credentials are sent in URLs.
const NAMES: [&str; 12] = [
    "api_key",
    "apikey",
    "api-key",
    "access_token",
    "token",
    "auth",
    "auth_token",
    "authorization",
    "x-api-key",
    "password",
    "secret",
    "claim",
];

/// Query parameters.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form(query));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| {
            let (path, inner) = (error.path().clone(), error.into_inner());
            fault::problem(&path, &inner.to_string())
        })
    }
}

fn form(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

/// Refuses a query that holds a credential, whatever it is for: it stands in logs and histories.
///
/// # Errors
/// [`Code::CredentialInQuery`].
pub(crate) fn refuse_credentials(query: Option<&str>) -> Result<(), Problem> {
    let Some(query) = query else { return Ok(()) };
    let decoded: Vec<u8> = percent_decode_str(query).collect();
    let named = form(query).any(|(name, _)| NAMES.iter().any(|known| known.eq_ignore_ascii_case(&name)));
    if named || format::is_in(query.as_bytes()) || format::is_in(&decoded) {
        return Err(Problem::of(Code::CredentialInQuery));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_the_query_is_refused_by_name_and_by_shape() {
        for query in [
            "api_key=x",
            "a=1&Access_Token=x",
            "q=kma_0123456789abcdef",
            "q=%6bm%5f0123456789abcdef",
            "km_0123456789abcdef",
            "api%5Fkey=x",
        ] {
            assert!(refuse_credentials(Some(query)).is_err(), "{query}");
        }
        for query in ["", "limit=3&cursor=abc", "key=key_0123456789ab", "q=keymoat"] {
            assert!(refuse_credentials(Some(query)).is_ok(), "{query}");
        }
    }
}
