//! Relays one HTTP answer: its head cleaned, its body streamed as it comes, event streams unbuffered.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, Version, response};
use hyper::body::{Body, Incoming};
use keymoat_core::policy::Access;
use keymoat_core::record::Outcome;
use keymoat_core::refusal::Refusal;
use keymoat_core::route::Route;
use keymoat_core::{Mask, Record, UnixMillis};
use serde_json::json;

use super::hygiene;
use crate::answer;
use crate::body::{Allowance, BodyClock, Relayed, ToClient, Uploaded};
use crate::claim;
use crate::coding::Coding;
use crate::ledger::Ledger;
use crate::masked::{Masked, mask_values};
use crate::meter::Metered;
use crate::passage::Passage;
use crate::session::SessionGuard;
use crate::upstream::Lent;
use crate::worker::Worker;

/// Passes the upstream's answer on; `session` is that of the request, if it is one already. The record is written when the body has ended, or the client has gone.
pub(crate) fn http(
    passage: Passage<'_>,
    response: Response<Incoming>,
    lent: Option<Lent>,
    uploaded: Rc<Uploaded>,
    access: &Access,
    session: Option<SessionGuard>,
    mask: Arc<Mask>,
) -> Response<ToClient> {
    let Passage { worker, plan, route, mut ledger, metered, .. } = passage;
    let (mut parts, incoming) = response.into_parts();
    ledger.record.status = Some(parts.status.as_u16());
    let session = match is_event_stream(&incoming, &parts.headers) {
        false => session,
        true => match live_session(worker, session, &ledger.record, access, metered.as_ref()) {
            Ok(session) => Some(session),
            Err(refusal) => return answer::refusal(&refusal, Some(route), ledger),
        },
    };
    hygiene::clean(&mut parts.headers);
    let masked = masked(mask, &mut parts, &incoming);
    if access.is_query_warned() {
        warn(&mut parts.headers, worker, route);
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let idle = plan.limits.body_idle;
    let Some(masked) = masked else { return withheld(parts, ledger, &uploaded) };
    let allowance = Allowance::of(access, metered.as_ref());
    let clock = BodyClock::default();
    let relayed = Relayed { incoming, ledger, uploaded, lent, session, idle, allowance, clock, masked };
    Response::from_parts(parts, ToClient::Relayed(Box::new(relayed)))
}

/// Masks the upstream's own secret in the head, and says where it is looked for in the body: in all of it unless the
/// answer is a success. Then coding and length change. `None` if the body cannot be looked through.
fn masked(mask: Arc<Mask>, parts: &mut response::Parts, incoming: &Incoming) -> Option<Masked> {
    mask_values(&mask, &mut parts.headers);
    if mask.is_none() || parts.status.is_success() || incoming.is_end_stream() {
        return Some(Masked::trailers(mask));
    }
    let coding = Coding::of(&parts.headers);
    if coding != Coding::Plain {
        parts.headers.remove(header::CONTENT_ENCODING);
        // Of the coded form.
        parts.headers.remove(header::ETAG);
        parts.headers.remove(header::ACCEPT_RANGES);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Masked::whole(mask, coding)
}

/// The upstream's failure without its text.
fn withheld(mut parts: response::Parts, mut ledger: Ledger, uploaded: &Uploaded) -> Response<ToClient> {
    ledger.record.outcome = Outcome::Allowed;
    ledger.record.bytes_in = uploaded.bytes();
    ledger.record.cause = Some(String::from("the upstream's failure came in a coding that is not looked into"));
    let document = json!({
        "type": "about:blank",
        "title": "the upstream refused or failed",
        "status": parts.status.as_u16(),
        "detail": "its text is withheld: it came in a coding other than gzip and deflate, so that the upstream's key could not \
                   be looked for in it",
    });
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    Response::from_parts(parts, ToClient::own(document.to_string()))
}

/// Whether the answer has no known end.
fn is_event_stream(incoming: &Incoming, headers: &HeaderMap) -> bool {
    let is_one =
        headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    is_one && !incoming.is_end_stream()
}

/// An event stream is a live session: it can be seen and ended, a revocation reaches it, and it counts among those of
/// its key. That of a token is one already.
fn live_session(
    worker: &Worker,
    session: Option<SessionGuard>,
    record: &Record,
    access: &Access,
    metered: Option<&Metered>,
) -> Result<SessionGuard, Refusal> {
    let mut session = match session {
        Some(session) => session,
        None => {
            let mut session = claim::session(worker, record, access)?;
            if let Some((moment, refusal)) = claim::bounds(access, None).and_then(|bounds| bounds.deadline) {
                session.end_at(moment, refusal);
            }
            session
        }
    };
    claim::place(&mut session, metered)?;
    Ok(session)
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
}
