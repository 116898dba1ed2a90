//! The one event that every request or session leaves behind.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::carrier::Carrier;
use crate::refusal::Code;
use crate::route::Dialect;
use crate::time::UnixMillis;
use crate::trace::Trace;

/// What happened to one request or session. Never holds a credential: the path is without query and masked
/// (by [`crate::path`]), the client is known by the id of its key.
///
/// The fields are fixed: the log line, audit, counting and the console read the same ones.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its own id; ids of one process sort by time.
    pub id: RecordId,
    /// When the head had arrived.
    pub at: UnixMillis,
    /// The address that the connection came from.
    pub client: IpAddr,
    /// What was spoken.
    pub protocol: Protocol,
    /// The method, or `-` when the head could not be read that far.
    pub method: &'static str,
    /// The path without its query, credentials masked.
    pub path: String,
    /// The route that took it.
    pub route: Option<Arc<str>>,
    /// The upstream that the route leads to.
    pub upstream: Option<Arc<str>>,
    /// The route's dialect.
    pub dialect: Option<Dialect>,
    /// Where the credential sat that was used, or that was refused.
    pub carrier: Option<Carrier>,
    /// Further copies of a credential that were removed, such as a stale one in the query.
    pub copies_stripped: u16,
    /// What stood in the URL and belongs elsewhere.
    pub in_url: InUrl,
    /// It was let in only because its route takes long-lived keys in URLs: once that is over, the like of it is refused.
    pub let_in_by_url: bool,
    /// The secret was echoed as the lone subprotocol, as the route demands.
    pub lone_subprotocol_echoed: bool,
    /// What a WebSocket's client offered in `Sec-WebSocket-Protocol`: names of protocols, and of credentials only their kind.
    pub subprotocols_offered: Box<[Box<str>]>,
    /// Which of them was answered; a credential that was echoed is not in it.
    pub subprotocol_selected: Option<Box<str>>,
    /// The origin of the page that opened a WebSocket, if it named one.
    pub origin: Option<Arc<str>>,
    /// The key it was, or the one that the token was minted from.
    pub key_id: Option<Arc<str>>,
    /// Which of the key's secrets it came with, so that what is left of a replaced one can be counted; none for a token.
    pub secret_id: Option<Arc<str>>,
    /// The token it was, also one that was minted or revoked.
    pub token_id: Option<Arc<str>>,
    /// The token was minted by this very request.
    pub token_minted: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused or failed.
    pub code: Option<Code>,
    /// What went wrong, for the operator: more than the client is told, but never a credential.
    pub cause: Option<String>,
    /// The HTTP status that was answered; 101 for a WebSocket, 200 for one over HTTP/2.
    pub status: Option<u16>,
    /// The close code that the client got or gave; 1006 when there was no close frame.
    pub close_code: Option<u16>,
    /// What Keymoat said with the close code; never what a client or an upstream said.
    pub close_reason: Option<Box<str>>,
    /// Who ended a WebSocket.
    pub closed_by: Option<Side>,
    /// From the head to the end, in milliseconds.
    pub duration_millis: u64,
    /// From the head to the upstream's own head, in milliseconds.
    pub upstream_millis: Option<u64>,
    /// Body or payload bytes from the client.
    pub bytes_in: u64,
    /// Body or payload bytes to the client.
    pub bytes_out: u64,
    /// WebSocket messages from the client.
    pub messages_in: u64,
    /// WebSocket messages to the client.
    pub messages_out: u64,
    /// The client's own name for itself, where a credential came in its URL: who has to be told.
    pub user_agent: Option<String>,
    /// Its place in a trace, if requests are traced.
    pub trace: Option<Trace>,
}

/// The id of a record: 48 bits of milliseconds, then 80 bits that no other record of that millisecond has. Written as
/// `evt_` and 26 digits of Crockford's base 32, so that the text sorts like the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(u128);

impl RecordId {
    /// Of a moment and 80 further bits; what is above them is cut off.
    #[must_use]
    pub const fn new(at: UnixMillis, rest: u128) -> Self {
        let millis = (at.0 as u128) & ((1 << 48) - 1);
        Self((millis << 80) | (rest & ((1 << 80) - 1)))
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut text = *b"evt_00000000000000000000000000";
        for (place, digit) in text.iter_mut().skip("evt_".len()).rev().enumerate() {
            let value = (self.0 >> (5 * place)) & 31;
            *digit = DIGITS.get(value as usize).copied().unwrap_or(b'0');
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

/// What was spoken with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// A WebSocket, over either.
    WebSocket,
}

impl Protocol {
    /// The word in the log line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
            Self::WebSocket => "websocket",
        }
    }
}

/// How a request or session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went to the upstream and came to its end.
    Allowed,
    /// Keymoat said no.
    Refused,
    /// It was allowed, but the upstream or the connection failed.
    Failed,
    /// The client went away before the end.
    Aborted,
}

impl Outcome {
    /// The word in the log line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

/// What a request had in its URL that belongs elsewhere: the gravest of it. It was removed, whatever it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum InUrl {
    /// Nothing that is known to be a credential.
    #[default]
    Nothing,
    /// Something of a credential's shape or name that was not read.
    Stray,
    /// A short-lived token.
    Token,
    /// A copy of the long-lived key that was used, which came in a better place too.
    Copy,
    /// Another credential than the one that was used.
    Stale,
    /// The long-lived key that was used, or refused.
    Key,
}

impl InUrl {
    /// The word in the log line, if there is anything to say.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Stray => Some("stray"),
            Self::Token => Some("token"),
            Self::Copy => Some("copy"),
            Self::Stale => Some("stale"),
            Self::Key => Some("key"),
        }
    }

    /// Whether it is a long-lived key: one that was in a URL should be replaced.
    #[must_use]
    pub const fn is_long_lived(self) -> bool {
        matches!(self, Self::Copy | Self::Stale | Self::Key)
    }
}

/// One end of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The upstream.
    Upstream,
    /// Keymoat itself.
    Keymoat,
}

impl Side {
    /// The word in the log line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Keymoat => "keymoat",
        }
    }
}

impl Record {
    /// A record that knows only where and when; the stages fill in the rest.
    #[must_use]
    pub fn begin(at: UnixMillis, client: IpAddr, protocol: Protocol) -> Self {
        Self {
            id: RecordId::default(),
            at,
            client,
            protocol,
            method: "-",
            path: String::from("-"),
            route: None,
            upstream: None,
            dialect: None,
            carrier: None,
            copies_stripped: 0,
            in_url: InUrl::Nothing,
            let_in_by_url: false,
            lone_subprotocol_echoed: false,
            subprotocols_offered: Box::default(),
            subprotocol_selected: None,
            origin: None,
            key_id: None,
            secret_id: None,
            token_id: None,
            token_minted: false,
            outcome: Outcome::Aborted,
            code: None,
            cause: None,
            status: None,
            close_code: None,
            close_reason: None,
            closed_by: None,
            duration_millis: 0,
            upstream_millis: None,
            bytes_in: 0,
            bytes_out: 0,
            messages_in: 0,
            messages_out: 0,
            user_agent: None,
            trace: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_like_their_times_and_then_like_their_rest() {
        let id = |millis, rest| RecordId::new(UnixMillis(millis), rest).to_string();
        assert!(id(1, 9) < id(2, 1));
        assert!(id(2, 1) < id(2, 2));
        assert_eq!(id(1_763_771_332_005, 1), "evt_01kamfddd50000000000000001");
        assert_eq!(id(0, u128::MAX).len(), "evt_".len() + 26);
    }
}
