//! Empties every carrier that a route lists.

use std::sync::Arc;

use http::header::{AUTHORIZATION, Entry, HeaderMap, HeaderName};

use super::is_absent;
use crate::carrier::Carrier;
use crate::format::{self, Shape};
use crate::head::{Ask, Head};
use crate::route::{LoneSubprotocol, Route};
use crate::secret::Secret;

/// A credential in canonical form.
pub(super) struct Found {
    pub(super) credential: Secret,
    pub(super) shape: Shape,
    pub(super) carrier: Carrier,
}

impl Found {
    pub(super) fn is_in_query(&self) -> bool {
        matches!(self.carrier, Carrier::Query(_))
    }

    fn new(value: Secret, carrier: Carrier) -> Option<Self> {
        if is_absent(&value) {
            return None;
        }
        let (credential, shape) = format::canonical(value);
        Some(Self { credential, shape, carrier })
    }
}

/// A listed carrier that held something, but not in a form that is read.
pub(super) struct Slip {
    pub(super) carrier: Carrier,
    pub(super) kind: SlipKind,
}

/// What was wrong with the form.
#[derive(Clone, Copy)]
pub(super) enum SlipKind {
    /// `Authorization: Basic …`
    Basic,
    /// Another scheme.
    OtherScheme,
    /// `Authorization: <credential>`
    NoScheme,
    /// A subprotocol that should be base64url and is not.
    NotBase64,
}

/// What the listed carriers held.
pub(super) struct Gathered {
    /// In the order of precedence: headers, subprotocol, query.
    pub(super) found: Vec<Found>,
    pub(super) slips: Vec<Slip>,
    /// How many more were removed without being read.
    pub(super) unread: usize,
    /// How many of them stood in the query.
    pub(super) unread_in_query: usize,
    /// The listed query parameter that one of them resembles, such as `api_key` for `API_KEY`.
    pub(super) resembled: Option<Arc<str>>,
}

/// Empties headers, offer and query of what `route` lists.
pub(super) fn all(head: &mut Head, route: &Route) -> Gathered {
    let mut gathered =
        Gathered { found: Vec::new(), slips: Vec::new(), unread: 0, unread_in_query: 0, resembled: None };
    for name in &route.carriers.headers {
        gathered.header(&mut head.headers, name);
    }
    gathered.subprotocols(&mut head.ask, route);
    for name in &route.carriers.query {
        let taken = head.query.take(name);
        gathered.unread += taken.resembling;
        gathered.unread_in_query += taken.resembling;
        if taken.resembling > 0 {
            gathered.resembled = Some(name.clone());
        }
        let carrier = || Carrier::Query(name.clone());
        gathered.found.extend(taken.exact.into_iter().filter_map(|value| Found::new(value, carrier())));
    }
    gathered
}

impl Gathered {
    fn header(&mut self, headers: &mut HeaderMap, name: &HeaderName) {
        let Entry::Occupied(entry) = headers.entry(name) else { return };
        let (_, values) = entry.remove_entry_mult();
        for value in values {
            let value = value.as_bytes().trim_ascii();
            let read = if name == AUTHORIZATION { read_authorization(value) } else { Ok(Secret::new(value.to_vec())) };
            let carrier = Carrier::Header(name.clone());
            match read {
                Ok(value) => self.found.extend(Found::new(value, carrier)),
                Err(kind) => self.slips.push(Slip { carrier, kind }),
            }
        }
    }

    /// Credentials leave the offer on every route, so that none is ever selected; they are read where it is listed.
    fn subprotocols(&mut self, ask: &mut Ask, route: &Route) {
        let Ask::WebSocket(opening) = ask else { return };
        if !route.carriers.subprotocol {
            self.unread += opening.offer.withdraw(LoneSubprotocol::Refuse).len();
            return;
        }
        for value in opening.offer.withdraw(route.lone_subprotocol) {
            match value {
                Some(value) => self.found.extend(Found::new(value, Carrier::Subprotocol)),
                None => self.slips.push(Slip { carrier: Carrier::Subprotocol, kind: SlipKind::NotBase64 }),
            }
        }
    }
}

/// Reads `Bearer X` and `Token X`, the scheme in any case (RFC 9110 section 11.1). A scheme without anything is absent.
fn read_authorization(value: &[u8]) -> Result<Secret, SlipKind> {
    let end = value.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    let is = |word: &[u8]| scheme.eq_ignore_ascii_case(word);
    if is(b"bearer") || is(b"token") || scheme.is_empty() {
        return Ok(Secret::new(rest.trim_ascii().to_vec()));
    }
    if is(b"basic") {
        return Err(SlipKind::Basic);
    }
    Err(if rest.is_empty() { SlipKind::NoScheme } else { SlipKind::OtherScheme })
}
