//! What a client is told to do instead. Names come from the route or from a fixed list, never from the client, and
//! the query is never recommended.

use std::fmt;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::gather::{Slip, SlipKind};
use super::strip::Place;
use crate::carrier::{KNOWN_HEADERS, KNOWN_QUERY};
use crate::head::Head;
use crate::mistake::Mistake;
use crate::refusal::{Code, Refusal};
use crate::route::{Dialect, Route};

/// The carrier that a client of a route should use.
pub(super) enum Advice {
    Authorization,
    Header(HeaderName),
    Subprotocol,
    OpenAiSubprotocol,
    WebSocketOnly,
    Nothing,
}

impl Advice {
    /// The header that the dialect's own SDKs send, or else the route's first one; the subprotocol for a browser, which
    /// can set no header on a WebSocket.
    pub(super) fn of(route: &Route, browser: bool) -> Self {
        let headers = &route.carriers.headers;
        let own = headers.iter().find(|name| route.dialect == Dialect::Gemini && *name == "x-goog-api-key");
        match own.or(headers.first()) {
            _ if browser && route.carriers.subprotocol && route.dialect == Dialect::OpenAi => Self::OpenAiSubprotocol,
            _ if browser && route.carriers.subprotocol => Self::Subprotocol,
            Some(name) if *name == AUTHORIZATION => Self::Authorization,
            Some(name) => Self::Header(name.clone()),
            None if route.carriers.subprotocol => Self::WebSocketOnly,
            None => Self::Nothing,
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("send it as `Authorization: Bearer …`"),
            Self::Header(name) => write!(f, "send it in header `{name}`"),
            Self::Subprotocol => f.write_str("offer subprotocols `keymoat.v1` and `api-key.…`"),
            Self::OpenAiSubprotocol => f.write_str("offer subprotocols `realtime` and `openai-insecure-api-key.…`"),
            Self::WebSocketOnly => f.write_str("open a WebSocket with subprotocols `keymoat.v1` and `api-key.…`"),
            Self::Nothing => f.write_str("this route lists no other carrier: ask its operator for one"),
        }
    }
}

/// One of the well-known places of credentials that holds something, though the route does not read it. Looked for
/// before anything is stripped: what the store knows must not show in the answer.
pub(super) fn well_known(head: &Head) -> Option<Place> {
    if let Some(name) = KNOWN_HEADERS.into_iter().find(|name| head.headers.contains_key(*name)) {
        return Some(Place::Header(Some(name)));
    }
    KNOWN_QUERY.into_iter().find(|name| head.query.has(name)).map(|name| Place::Query(Some(name)))
}

/// The refusal when nothing was found, with the likeliest reason. `unread` is the listed query parameter that one resembles,
/// and whether a credential was offered as a subprotocol, on a route that does not list it.
pub(super) fn missing(
    slips: &[Slip],
    elsewhere: Option<Place>,
    unread: (Option<&str>, bool),
    advice: &Advice,
) -> Refusal {
    if let Some(slip) = slips.first() {
        let mistake = match slip.kind {
            SlipKind::Basic => Mistake::SchemeBasic,
            SlipKind::OtherScheme => Mistake::SchemeOther,
            SlipKind::NoScheme => Mistake::SchemeMissing,
            SlipKind::NotBase64 => Mistake::SubprotocolNotBase64,
        };
        return Refusal::new(Code::CredentialInvalid, mistake.text());
    }
    let detail = match (elsewhere, unread) {
        (None, (Some(name), _)) => {
            format!("no credential: a query parameter that resembles `{name}` is not read: {advice}")
        }
        (None, (None, true)) => format!("no credential: a subprotocol is not read here: {advice}"),
        (None, (None, false)) => format!("no credential: {advice}"),
        (Some(place), _) => format!("no credential: {place} is not read here: {advice}"),
    };
    Refusal::new(Code::CredentialMissing, detail)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(Some(name)) => write!(f, "header `{name}`"),
            Self::Header(None) => f.write_str("another header"),
            Self::Cookie => f.write_str("a cookie"),
            Self::Query(Some(name)) => write!(f, "query parameter `{name}`"),
            Self::Query(None) => f.write_str("another query parameter"),
            Self::Subprotocol => f.write_str("another subprotocol"),
        }
    }
}
