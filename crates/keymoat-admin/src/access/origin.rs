//! What browsers say about where a request comes from, and what is refused for it (CSRF, cross-site WebSockets).

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

/// Sent by browsers that know it (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A page of another origin cannot set it without a preflight, which is never answered.
const OWN_HEADER: HeaderName = HeaderName::from_static("x-keymoat-request");

/// Holds what proves that a page has read an answer of ours.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// A page of another origin, or of none.
    Origin,
    /// A cookie came with a change, and nothing shows that one of our own pages sent it.
    Unproven,
}

/// Whether a request may go on, whoever sends it: what a browser says of its page must be our own origin. A port beside
/// ours is another origin, although cookies and `same-site` do not tell it apart.
///
/// # Errors
/// [`Foreign::Origin`].
pub(crate) fn check(headers: &HeaderMap, is_tls: bool) -> Result<(), Foreign> {
    let site = headers.get(SEC_FETCH_SITE).map(|value| value.as_bytes());
    if matches!(site, Some(site) if site != b"same-origin" && site != b"none") {
        return Err(Foreign::Origin);
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(origin), None) if is_own(origin.as_bytes(), headers, is_tls) => Ok(()),
        _ => Err(Foreign::Origin),
    }
}

/// Whether a request that changes something and comes with a cookie was sent by a page of ours.
///
/// # Errors
/// [`Foreign::Unproven`].
pub(crate) fn check_change(method: &Method, headers: &HeaderMap) -> Result<(), Foreign> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    // `check` has compared them: that there is one is enough.
    let says_origin = headers.contains_key(ORIGIN)
        || headers.get(SEC_FETCH_SITE).is_some_and(|site| site.as_bytes() == b"same-origin");
    let no_form = headers.contains_key(OWN_HEADER) || headers.contains_key(CSRF_HEADER) || is_json(headers);
    if says_origin && no_form { Ok(()) } else { Err(Foreign::Unproven) }
}

/// Whether the body says that it is JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn is_own(origin: &[u8], headers: &HeaderMap, is_tls: bool) -> bool {
    let Some(host) = headers.get(HOST) else { return false };
    let scheme: &[u8] = if is_tls { b"https://" } else { b"http://" };
    origin.strip_prefix(scheme).is_some_and(|rest| rest.eq_ignore_ascii_case(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let named = [("host", "127.0.0.1:8788")].iter().chain(pairs);
        named.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn i103_a_foreign_origin_or_none_is_refused_and_ours_is_not() {
        for own in [
            &[][..],
            &[("origin", "http://127.0.0.1:8788")],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert_eq!(check(&headers(own), false), Ok(()), "{own:?}");
        }
        for foreign in [
            ("origin", "null"),
            ("origin", "http://127.0.0.1:8787"),
            ("origin", "https://127.0.0.1:8788"),
            ("origin", "http://evil.example"),
            ("origin", "http://127.0.0.1:8788.evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(check(&headers(&[foreign]), false), Err(Foreign::Origin), "{foreign:?}");
        }
        assert_eq!(check(&headers(&[("origin", "https://127.0.0.1:8788")]), true), Ok(()));
    }

    #[test]
    fn i102_a_form_or_plain_text_changes_nothing_by_cookie() {
        let own = ("origin", "http://127.0.0.1:8788");
        let post = |pairs: &[(&'static str, &'static str)]| check_change(&Method::POST, &headers(pairs));
        assert_eq!(post(&[own, ("content-type", "application/json; charset=utf-8")]), Ok(()));
        assert_eq!(post(&[own, ("x-keymoat-request", "1")]), Ok(()));
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"]
        {
            assert_eq!(post(&[own, ("content-type", kind)]), Err(Foreign::Unproven), "{kind}");
        }
        assert_eq!(post(&[("content-type", "application/json")]), Err(Foreign::Unproven), "nothing says whose page");
        assert_eq!(check_change(&Method::GET, &headers(&[])), Ok(()));
    }
}
