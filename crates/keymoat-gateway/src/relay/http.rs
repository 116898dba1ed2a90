//! Relays one HTTP answer: its head cleaned, its body streamed as it comes, event streams unbuffered.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, Version, response};
use hyper::body::{Body, Incoming};
use keymoat_core::policy::Access;
use keymoat_core::refusal::Refusal;
use keymoat_core::route::Route;
use keymoat_core::{Mask, UnixMillis};

use crate::answer;
use crate::body::{BodyClock, Masked, Relayed, ToClient, Uploaded, mask_values};
use crate::claim;
use crate::passage::Passage;
use crate::session::SessionGuard;
use crate::upstream::Lent;
use crate::worker::Worker;

/// Headers that speak of one connection only (RFC 9110 section 7.6.1), and those by which an upstream would speak to us
/// as its client: its cookies and its challenges are not for the gateway's clients.
const NOT_RETURNED: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("alt-svc"),
];

/// Passes the upstream's answer on. The record is written when the body has ended, or the client has gone.
pub(crate) fn http(
    passage: Passage<'_>,
    response: Response<Incoming>,
    lent: Option<Lent>,
    uploaded: Rc<Uploaded>,
    access: &Access,
    mask: Arc<Mask>,
) -> Response<ToClient> {
    let Passage { worker, plan, route, mut ledger, .. } = passage;
    let (mut parts, incoming) = response.into_parts();
    ledger.record.status = Some(parts.status.as_u16());
    let session = match live_session(worker, &incoming, &parts.headers, route, access) {
        Ok(session) => session,
        Err(refusal) => return answer::refusal(&refusal, Some(route), ledger),
    };
    clean(&mut parts.headers);
    let masked = masked(mask, &mut parts, &incoming);
    if access.is_query_warned() {
        warn(&mut parts.headers, worker, route);
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let idle = plan.limits.body_idle;
    let relayed = Relayed { incoming, ledger, uploaded, lent, session, idle, clock: BodyClock::default(), masked };
    Response::from_parts(parts, ToClient::Relayed(Box::new(relayed)))
}

/// Masks the upstream's own secret in the head, and says where it is looked for in the body: in all of it unless the
/// answer is a success. Then the length can change.
fn masked(mask: Arc<Mask>, parts: &mut response::Parts, incoming: &Incoming) -> Masked {
    mask_values(&mask, &mut parts.headers);
    if parts.status.is_success() || incoming.is_end_stream() {
        return Masked::trailers(mask);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Masked::whole(mask)
}

/// An answer without a known end is a live session: it can be seen and ended, and a revocation reaches it.
fn live_session(
    worker: &Worker,
    incoming: &Incoming,
    headers: &HeaderMap,
    route: &Route,
    access: &Access,
) -> Result<Option<SessionGuard>, Refusal> {
    let event_stream =
        headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    if !event_stream || incoming.is_end_stream() {
        return Ok(None);
    }
    let mut session = claim::session(worker, route, access)?;
    if let Some((moment, refusal)) = access.token().and_then(|token| claim::bounds(token).deadline) {
        session.end_at(moment, refusal);
    }
    Ok(Some(session))
}

fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE)
        .collect();
    for name in named.iter().chain(&NOT_RETURNED) {
        headers.remove(name);
    }
}

/// Tells a client that its key came in the URL (RFC 9745, RFC 6750 section 2.3), and until when that works (RFC 8594);
/// the answer must not be kept or passed on.
fn warn(headers: &mut HeaderMap, worker: &Worker, route: &Route) {
    if let Some(value) = route.sunset.and_then(http_date) {
        headers.insert(HeaderName::from_static("sunset"), value);
    }
    let since = format!("@{}", worker.shared.started_at.0 / 1000);
    let entries = [
        (HeaderName::from_static("deprecation"), since.as_str()),
        (header::LINK, "</keymoat/errors/credential_in_query>; rel=\"deprecation\"; type=\"text/plain\""),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in entries {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
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
    fn what_speaks_of_one_connection_is_not_returned() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-internal"),
            ("x-internal", "1"),
            ("set-cookie", "upstream=1"),
            ("www-authenticate", "Basic"),
            ("content-type", "text/plain"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        clean(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type"]);
    }
}
