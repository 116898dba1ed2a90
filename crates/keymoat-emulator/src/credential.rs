//! Where credentials stand in a request: named headers, subprotocols and query parameters.

use http::HeaderMap;
use http::header::{COOKIE, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use percent_encoding::percent_decode_str;

use crate::Found;

/// Headers whose whole value is a credential.
const HEADERS: [HeaderName; 7] = [
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("authorization"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("xi-api-key"),
    HeaderName::from_static("proxy-authorization"),
    COOKIE,
];

/// Subprotocols that carry a credential after the prefix.
const SUBPROTOCOLS: [&str; 4] = ["api-key.", "keymoat.token.", "openai-insecure-api-key.", "base64url.bearer."];

/// Query parameters that carry a credential.
const PARAMETERS: [&str; 6] = ["key", "access_token", "api_key", "token", "apikey", "auth_token"];

/// Lists every credential in the head of a request, whether it is valid or not, an empty one included.
pub(crate) fn find(headers: &HeaderMap, query: Option<&str>) -> Vec<Found> {
    let mut found = Vec::new();
    for name in HEADERS {
        for value in headers.get_all(&name) {
            found.push(Found { place: format!("header:{name}"), value: lossy(value.as_bytes()) });
        }
    }
    for entry in subprotocols(headers) {
        for prefix in SUBPROTOCOLS {
            if let Some(value) = entry.strip_prefix(prefix) {
                let place = format!("subprotocol:{}", prefix.trim_end_matches('.'));
                found.push(Found { place, value: value.to_owned() });
            }
        }
    }
    for (name, value) in parameters(query) {
        let folded = name.to_ascii_lowercase();
        if PARAMETERS.contains(&folded.as_str()) {
            found.push(Found { place: format!("query:{folded}"), value });
        }
    }
    found
}

/// The value at `place`, if it is there and not empty.
pub(crate) fn at<'a>(found: &'a [Found], place: &str) -> Option<&'a str> {
    found.iter().find(|found| found.place == place && !found.value.is_empty()).map(|found| found.value.as_str())
}

/// The place of the first credential that stands in the URL, an empty or `undefined` one included.
pub(crate) fn in_url(found: &[Found]) -> Option<&str> {
    found.iter().map(|found| found.place.as_str()).find(|place| place.starts_with("query:"))
}

/// The subprotocols that the client offers, in its order.
pub(crate) fn subprotocols(headers: &HeaderMap) -> Vec<String> {
    let mut offered = Vec::new();
    for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        offered.extend(lossy(line.as_bytes()).split(',').map(|entry| entry.trim().to_owned()));
    }
    offered
}

/// The decoded names and values of a query.
pub(crate) fn parameters(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn finds_a_credential_in_every_carrier() {
        let mut headers = HeaderMap::new();
        headers.insert("x-goog-api-key", HeaderValue::from_static("a"));
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("keymoat.v1, api-key.b"));
        let found = find(&headers, Some("alt=sse&%6bey=c&access_token=auth_tokens/d"));
        let places: Vec<_> = found.iter().map(|found| (found.place.as_str(), found.value.as_str())).collect();
        assert_eq!(
            places,
            [
                ("header:x-goog-api-key", "a"),
                ("subprotocol:api-key", "b"),
                ("query:key", "c"),
                ("query:access_token", "auth_tokens/d"),
            ]
        );
    }

    #[test]
    fn an_undefined_key_is_still_a_credential_in_the_url() {
        let found = find(&HeaderMap::new(), Some("key=undefined"));
        assert_eq!(in_url(&found), Some("query:key"));
        assert_eq!(in_url(&find(&HeaderMap::new(), Some("alt=sse"))), None);
    }
}
