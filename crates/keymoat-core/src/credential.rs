//! Takes the credential out of a request: all copies of it, from all places, before anything is decided about it.

mod gather;
mod hint;
mod strip;

use zeroize::Zeroizing;

use crate::carrier::Carrier;
use crate::digest::Digest;
use crate::disguise;
use crate::format::{self, NearMiss, Shape};
use crate::head::{Ask, Head};
use crate::mistake::Mistake;
use crate::path;
use crate::record::{InUrl, Record};
use crate::refusal::{Code, Refusal};
use crate::route::{Dialect, QueryPolicy, Route};
use crate::secret::Secret;
use crate::snapshot::Snapshot;
use gather::{Found, Gathered};

/// A longer credential is refused before it is digested.
pub const CREDENTIAL_BYTES_MAX: usize = 1 << 10;

/// A shorter credential that is not one of Keymoat's own can be guessed.
pub const UNGUESSABLE_BYTES_MIN: usize = 20;

/// A request with more copies than this is refused; each one costs a search through the whole head.
const COPIES_MAX: usize = 8;

/// A credential that was taken out of a request, in the form that is digested. [`crate::identity::find`] consumes it.
#[derive(Debug)]
pub struct Presented {
    pub(crate) credential: Secret,
    pub(crate) shape: Shape,
    pub(crate) carrier: Carrier,
}

impl Presented {
    /// The credential, without a token's dialect spelling: for masking text with, such as [`path::shown`].
    #[must_use]
    pub fn credential(&self) -> &Secret {
        &self.credential
    }

    /// What it is looked up by.
    #[must_use]
    pub fn digest(&self, snapshot: &Snapshot) -> Digest {
        // The digest is all that is looked up.
        snapshot.pepper.digest(self.credential.expose())
    }

    /// What it looks like.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether somebody could come upon it by trying: it is short, and none of Keymoat's own.
    #[must_use]
    pub fn is_guessable(&self) -> bool {
        matches!(self.shape, Shape::Foreign | Shape::NearMiss(_)) && self.credential.len() < UNGUESSABLE_BYTES_MIN
    }

    /// Where it sat.
    #[must_use]
    pub fn carrier(&self) -> &Carrier {
        &self.carrier
    }
}

/// Takes the credential out of `head`.
///
/// Whatever it answers, afterwards no carrier that the route lists holds anything. In a head that goes on, neither does
/// any other header, cookie, query parameter or subprotocol hold the credential, something of Keymoat's shape, or,
/// under a name that speaks of keys or tokens, a secret that the snapshot knows. The record then has the carrier, the
/// number of further copies, and a path in which the credential is masked.
///
/// A header goes before a subprotocol, that before the query. Equal copies are one credential. Empty values,
/// `undefined` and `null`, which SDKs send for want of a key, are none.
///
/// # Errors
/// `credential_missing`, `credential_ambiguous`, `credential_in_query`; `credential_invalid` for what cannot be a
/// credential or cannot be answered (alone in the offer); `request_invalid` for one in the path or the host. Each says what to do
/// instead, in words that depend on the request's syntax and the route only.
pub fn take(head: &mut Head, route: &Route, snapshot: &Snapshot, record: &mut Record) -> Result<Presented, Refusal> {
    let advice = hint::Advice::of(route, head.is_from_browser());
    let Gathered { mut found, slips, unread, unread_in_query, resembled } = gather::all(head, route);
    let well_known = if found.is_empty() { hint::well_known(head) } else { None };
    let strays = strip::strays(head, &found, snapshot);
    let elsewhere = strays.iter().flatten().next().copied().or(well_known);
    match route.dialect {
        Dialect::Generic => {}
        Dialect::Gemini => strip::withhold_from_gemini(head),
        Dialect::OpenAi => strip::withhold_from_openai(head),
    }
    if let Ask::WebSocket(opening) = &head.ask {
        record.subprotocols_offered = opening.offer.told().into();
    }
    record.in_url = in_url(&found, &strays, unread_in_query);
    let removed = found.len() + slips.len() + unread + strays.len();
    record.carrier = found.first().map(|found| &found.carrier).or(slips.first().map(|slip| &slip.carrier)).cloned();
    let copies = removed - usize::from(record.carrier.is_some());
    record.copies_stripped = u16::try_from(copies).unwrap_or(u16::MAX);
    check_path(head, &found, record, &advice)?;
    check_host(head, &found, &advice)?;
    if found.is_empty() {
        let in_offer = unread > unread_in_query;
        return Err(hint::missing(&slips, elsewhere, (resembled.as_deref(), in_offer), &advice));
    }
    let first = found.remove(0);
    let policy = route.query_at(record.at);
    check_alike(&first, &found, policy, &advice)?;
    check_text(&first.credential)?;
    check_query_policy(&first, policy, &advice)?;
    check_selectable(head, &first)?;
    Ok(Presented { credential: first.credential, shape: first.shape, carrier: first.carrier })
}

/// Whether a value stands for no credential: blank, or what JavaScript writes for a variable that is not set.
pub(crate) fn is_absent(value: &Secret) -> bool {
    // Compared with three words and forgotten.
    let text = value.expose().trim_ascii();
    text.is_empty() || text == b"undefined" || text == b"null"
}

/// The gravest thing that stood in the URL.
fn in_url(found: &[Found], strays: &[Option<strip::Place>], unread: usize) -> InUrl {
    let strays = strays.iter().any(|place| matches!(place, Some(strip::Place::Query(_))));
    let stray = if strays || unread > 0 { InUrl::Stray } else { InUrl::Nothing };
    let Some((first, others)) = found.split_first() else { return stray };
    let of = |found: &Found| match found.shape.is_of_token() {
        _ if !found.is_in_query() => InUrl::Nothing,
        true => InUrl::Token,
        false => InUrl::Key,
    };
    let of_other = |other: &Found| match of(other) {
        InUrl::Nothing => InUrl::Nothing,
        _ if !other.credential.matches(&first.credential) => InUrl::Stale,
        InUrl::Key => InUrl::Copy,
        in_url => in_url,
    };
    others.iter().map(of_other).chain([of(first), stray]).max().unwrap_or_default()
}

/// Whether an address that no route takes has something of a Keymoat credential's shape behind its `?`.
#[must_use]
pub fn is_in_query(head: &Head) -> bool {
    let raw = head.query.as_str().as_bytes();
    disguise::any_reading(raw, &mut format::is_in)
}

fn check_path(head: &Head, found: &[Found], record: &mut Record, advice: &hint::Advice) -> Result<(), Refusal> {
    let mut in_path = found.iter().take(COPIES_MAX).filter(|found| path::holds(&head.path, &found.credential));
    if let Some(first) = in_path.next() {
        record.path = if in_path.all(|other| other.credential.matches(&first.credential)) {
            path::shown(&head.path, Some(&first.credential))
        } else {
            // Masking one leaves the others.
            String::from(path::HIDDEN)
        };
    } else if !format::is_whole_in(head.path.as_bytes()) {
        return Ok(());
    }
    Err(Refusal::new(Code::RequestInvalid, format!("a credential in the path: {advice}")))
}

/// The host goes into names, logs and headers of others, in lower case.
fn check_host(head: &Head, found: &[Found], advice: &hint::Advice) -> Result<(), Refusal> {
    let host = head.host.as_bytes();
    let is_in_host = found.iter().take(COPIES_MAX).any(|found| {
        // Compared and forgotten.
        let lower = Zeroizing::new(found.credential.expose().to_ascii_lowercase());
        lower.len() >= disguise::NEEDLE_MIN && disguise::holds(host, &lower)
    });
    if is_in_host || format::is_in(host) {
        return Err(Refusal::new(Code::RequestInvalid, format!("a credential in the host: {advice}")));
    }
    Ok(())
}

/// Two different credentials are refused, save that on a route that takes keys in its URLs a stale copy there gives
/// way: that is what lets clients move to a header one by one.
fn check_alike(first: &Found, others: &[Found], policy: QueryPolicy, advice: &hint::Advice) -> Result<(), Refusal> {
    if others.len() >= COPIES_MAX {
        return Err(Refusal::new(Code::CredentialAmbiguous, format!("more than 8 credentials: {advice}")));
    }
    let stale_may_differ = policy.takes_keys() && !first.is_in_query();
    for other in others {
        if !(other.credential.matches(&first.credential) || stale_may_differ && other.is_in_query()) {
            return Err(Refusal::new(
                Code::CredentialAmbiguous,
                format!("two different credentials: keep one and {advice}"),
            ));
        }
    }
    Ok(())
}

/// Refuses before anything is digested what cannot be a credential: more than 1 KiB, or not visible ASCII.
fn check_text(credential: &Secret) -> Result<(), Refusal> {
    if credential.len() > CREDENTIAL_BYTES_MAX {
        return Err(Refusal::new(Code::CredentialInvalid, "the credential is longer than 1 KiB"));
    }
    // Looked at byte by byte and forgotten.
    if !credential.expose().iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::new(Code::CredentialInvalid, "the credential has a character that none can have"));
    }
    Ok(())
}

fn check_query_policy(first: &Found, policy: QueryPolicy, advice: &hint::Advice) -> Result<(), Refusal> {
    let Carrier::Query(name) = &first.carrier else { return Ok(()) };
    match (policy, first.shape) {
        (QueryPolicy::Warn | QueryPolicy::Allow, _) | (QueryPolicy::Tokens, Shape::Token { .. }) => Ok(()),
        (QueryPolicy::Tokens, Shape::NearMiss(miss)) if first.shape.is_of_token() => Err(not_accepted(miss)),
        (QueryPolicy::Tokens | QueryPolicy::Refuse, shape) => {
            let what = if shape.is_of_token() { "token" } else { "long-lived key" };
            Err(Refusal::new(Code::CredentialInQuery, format!("{what} in query parameter `{name}`: {advice}")))
        }
    }
}

/// The words for a credential that matches nothing and is almost one of Keymoat's.
pub(crate) fn not_accepted(miss: NearMiss) -> Refusal {
    Refusal::new(Code::CredentialInvalid, format!("the credential is not accepted: {}", miss.hint()))
}

/// A credential that was used from the offer must leave something to select, or be one that the route echoes.
fn check_selectable(head: &Head, first: &Found) -> Result<(), Refusal> {
    let Ask::WebSocket(opening) = &head.ask else { return Ok(()) };
    let offer = &opening.offer;
    if first.carrier != Carrier::Subprotocol || offer.has_selectable() || offer.expose_lone_credential().is_some() {
        return Ok(());
    }
    Err(Refusal::new(Code::CredentialInvalid, Mistake::LoneSubprotocol.text()))
}
