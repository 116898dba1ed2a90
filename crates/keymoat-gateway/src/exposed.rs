//! What answers say when a credential came in the URL: that nobody may keep them, where the key belongs, and until when
//! it works there. A browser that opened such an address is led away from it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use keymoat_core::UnixMillis;
use keymoat_core::record::InUrl;
use keymoat_core::refusal::{self, Code};
use keymoat_core::route::Route;

use crate::body::ToClient;
use crate::ledger::Ledger;

/// Where a browser is led; behind it stands a code. The fragment is ours, because a browser would carry over the one of
/// the address that it left (Fetch standard, section 4.4, location URL).
const WHY: &str = "/keymoat/why/";

/// Where the problem is explained, beside the sunset itself (RFC 9745 section 3, RFC 8594 section 3).
const LINK: &str = "</keymoat/errors/credential_in_query>; rel=\"deprecation\"; type=\"text/plain\"";

/// Nobody may keep the answer, or tell its address to others: for what is only for the one who asked.
pub(crate) fn keep_private(headers: &mut HeaderMap, route: Option<&Route>) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    vary(headers, route);
}

/// An answer of the upstream to whoever came with a credential: no shared cache may give it to anybody else.
///
/// A cache in front knows that of `Authorization` only (RFC 9111 section 3.5), not of `X-API-Key`.
pub(crate) fn keep_to_one(headers: &mut HeaderMap, route: &Route) {
    let Some(said) = headers.get(header::CACHE_CONTROL) else {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
        return;
    };
    let text = said.to_str().unwrap_or_default().to_ascii_lowercase();
    if !text.contains("no-store") && !text.contains("private") {
        vary(headers, Some(route));
    }
}

/// Says that the answer depends on the credential.
fn vary(headers: &mut HeaderMap, route: Option<&Route>) {
    let carriers = route.map_or(&[][..], |route| &route.carriers.headers);
    let names: Vec<&str> = carriers.iter().map(HeaderName::as_str).collect();
    let names = if names.is_empty() { "authorization, x-api-key".to_owned() } else { names.join(", ") };
    if let Ok(names) = HeaderValue::try_from(names) {
        headers.append(header::VARY, names);
    }
}

/// Tells a client that its key came in the URL (RFC 9745, RFC 6750 section 2.3), and until when that works (RFC 8594).
pub(crate) fn warn(headers: &mut HeaderMap, since: UnixMillis, route: &Route) {
    sunset(headers, route);
    if let Ok(since) = HeaderValue::try_from(format!("@{}", since.0.div_euclid(1000))) {
        headers.insert(HeaderName::from_static("deprecation"), since);
    }
    headers.append(header::LINK, HeaderValue::from_static(LINK));
}

/// Since when, or until when, keys are taken in the URLs of a route.
pub(crate) fn sunset(headers: &mut HeaderMap, route: &Route) {
    if let Some(value) = route.sunset.and_then(http_date) {
        headers.insert(HeaderName::from_static("sunset"), value);
    }
}

/// Takes what a refusal is answered with further: what a browser has of the address is to be forgotten.
///
/// `Clear-Site-Data` goes no further than the cache: sign-ins and storage of the same origin are somebody else's.
pub(crate) fn forget(headers: &mut HeaderMap, in_url: InUrl) {
    if in_url != InUrl::Nothing {
        headers.insert(HeaderName::from_static("clear-site-data"), HeaderValue::from_static("\"cache\""));
    }
}

/// The answer to a browser that opened an address with a credential in it, if `ledger` tells of one: it is led to a page
/// that says what happened, so that neither its history nor its address bar keeps the address.
pub(crate) fn led_away(code: Code, ledger: &Ledger) -> Option<Response<ToClient>> {
    if !ledger.is_navigation || ledger.record.in_url == InUrl::Nothing {
        return None;
    }
    let mut response = Response::new(ToClient::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::try_from(format!("{WHY}{code}#refused")).ok()?;
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

/// The code whose page is asked for at `path`, if it is one.
pub(crate) fn page_of(path: &str) -> Option<Code> {
    let word = path.strip_prefix(WHY)?;
    Code::ALL.into_iter().find(|code| code.word() == word)
}

/// The page itself: for people, without a script, an image or a link elsewhere.
pub(crate) fn page(code: Code) -> String {
    let (meaning, remedy) = refusal::text(code);
    let (title, word) = (code.title(), code.word());
    let (meaning, remedy) = (html(meaning), html(remedy));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}</style>\n\
         <h1 id=\"refused\">Refused: {title}</h1>\n\
         <p>The address that you opened had a credential in it, behind the <code>?</code>. It was refused (<code>{word}</code>), \
         and you were led here, so that the address with the credential does not stay in the address bar.</p>\n\
         <h2>What it means</h2>\n<p>{meaning}</p>\n<h2>What to do</h2>\n<p>{remedy}</p>\n\
         <p>Whatever is in an address is in other places too: close the tab that you came from, remove a bookmark that has \
         the credential in it, and have the key replaced if others may have seen it.</p>\n"
    )
}

/// A text of ours as HTML: its code spans marked, nothing in it taken for markup.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut html = String::with_capacity(escaped.len());
    for (number, part) in escaped.split('`').enumerate() {
        let mark = ["", "<code>", "</code>"].get(if number == 0 { 0 } else { 2 - number % 2 });
        html.push_str(mark.copied().unwrap_or_default());
        html.push_str(part);
    }
    html
}

/// A time as HTTP writes it (RFC 9110 section 5.6.7), if it is one that a calendar has.
fn http_date(at: UnixMillis) -> Option<HeaderValue> {
    let time = jiff::Timestamp::from_millisecond(at.0).ok()?;
    let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()?;
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_http_does() {
        let date = http_date(UnixMillis(1_803_859_200_000)).expect("a date");
        assert_eq!(date, "Mon, 01 Mar 2027 00:00:00 GMT");
        assert_eq!(http_date(UnixMillis(i64::MAX)), None);
    }

    #[test]
    fn every_code_has_a_page_without_a_way_out_of_it() {
        for code in Code::ALL {
            assert_eq!(page_of(&format!("/keymoat/why/{code}")), Some(code));
            let page = page(code);
            assert!(page.contains(code.title()) && page.matches("<code>").count() == page.matches("</code>").count());
            for foreign in ["<script", "http://", "https://", "<img", "`"] {
                assert!(!page.contains(foreign), "{code}: {foreign}");
            }
        }
        assert_eq!(page_of("/keymoat/why/else"), None);
    }

    #[test]
    fn a_cache_that_is_shared_may_not_give_a_keyed_answer_to_others() {
        use keymoat_core::carrier::Carriers;
        use keymoat_core::route::{Dialect, Paths};
        let carriers = Carriers::parse(["header:x-api-key", "header:authorization"]).expect("well formed");
        let route = Route::new("a", "a", Dialect::Generic, Paths::Patterns(Vec::new()), carriers);
        let of = |said: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(said.map(|said| (header::CACHE_CONTROL, HeaderValue::from_static(said))));
            keep_to_one(&mut headers, &route);
            let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            (text(header::CACHE_CONTROL), text(header::VARY))
        };
        let both = String::from("x-api-key, authorization");
        assert_eq!(of(None), ("private".into(), String::new()));
        assert_eq!(of(Some("public, max-age=60")), ("public, max-age=60".into(), both));
        assert_eq!(of(Some("No-Store")), ("No-Store".into(), String::new()));
    }
}
