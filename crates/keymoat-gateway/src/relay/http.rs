//! Relays one HTTP answer: its head cleaned, its body streamed as it comes, event streams unbuffered.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, Version, response};
use hyper::body::{Body, Incoming};
use keymoat_core::Mask;
use keymoat_core::Record;
use keymoat_core::policy::Access;
use keymoat_core::record::{InUrl, Outcome};
use keymoat_core::refusal::Refusal;
use serde_json::json;

use super::hygiene;
use crate::answer;
use crate::body::{Allowance, BodyClock, Relayed, ToClient, Uploaded, Withheld};
use crate::claim;
use crate::coding::Coding;
use crate::exposed;
use crate::ledger::Ledger;
use crate::masked::{Masked, mask_values};
use crate::meter::Metered;
use crate::passage::Passage;
use crate::session::SessionGuard;
use crate::upstream::Lent;
use crate::worker::Worker;

/// Passes the upstream's answer on; `session` is that of the request, if it is one already. The record is written when the body has ended, or the client has gone.
pub(crate) async fn http(
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
        true => match live_session(worker, session, &ledger.record, access, metered.as_ref()).await {
            Ok(session) => Some(session),
            Err(refusal) => return answer::refusal(&refusal, Some(route), ledger),
        },
    };
    hygiene::clean(&mut parts.headers);
    let masked = masked(mask, &mut parts, &incoming);
    if access.is_query_warned() {
        exposed::warn(&mut parts.headers, worker.shared.started_at, route);
    }
    if ledger.record.in_url != InUrl::Nothing {
        exposed::keep_private(&mut parts.headers, Some(route));
    } else if access.key_id().is_some() {
        exposed::keep_to_one(&mut parts.headers, route);
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let idle = plan.limits.body_idle;
    let Some(masked) = masked else { return withheld(parts, ledger, &uploaded) };
    let allowance = Allowance::of(access, metered.as_ref());
    let (withheld, clock) = (Withheld::default(), BodyClock::default());
    let relayed = Relayed { incoming, ledger, uploaded, lent, session, idle, allowance, withheld, clock, masked };
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
async fn live_session(
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
    claim::place(&mut session, metered).await?;
    Ok(session)
}
