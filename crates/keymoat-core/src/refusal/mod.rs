//! Every way Keymoat says no: one stable code each, with its HTTP status and its WebSocket close codes.

mod page;

use std::borrow::Cow;
use std::fmt;

use crate::route::Dialect;

pub use page::{page, text};

/// A close reason may be this long, in bytes of UTF-8 (RFC 6455 section 5.5: 125 less the two bytes of the code).
pub const REASON_BYTES_MAX: usize = 123;

/// What kind of refusal it is. The word that [`Code::word`] gives is stable: clients and dashboards match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request carries no credential.
    CredentialMissing,
    /// What it carries matches nothing, or has expired.
    CredentialInvalid,
    /// It carries two different credentials.
    CredentialAmbiguous,
    /// A long-lived key came in a URL where the route does not take one.
    CredentialInQuery,
    /// The key or token was revoked.
    CredentialRevoked,
    /// The token's deadline has passed.
    TokenExpired,
    /// The token's uses are spent.
    TokenUsedUp,
    /// Known, but not allowed here: scope, route, origin or constraint.
    Forbidden,
    /// Too much in too short a time.
    RateLimited,
    /// The store, the upstream or this process cannot take it at the moment.
    Unavailable,
    /// This process is shutting down.
    Draining,
    /// The request is malformed or could be read in two ways.
    RequestInvalid,
    /// No route takes this path.
    RouteUnknown,
    /// The method is not taken.
    MethodNotAllowed,
    /// The request took too long to arrive.
    RequestTimeout,
    /// The body is larger than the route takes.
    BodyTooLarge,
    /// The URL is longer than the limit, 8 KiB by default.
    UrlTooLong,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// The connection's TLS name and the request's host differ.
    HostMisdirected,
    /// A WebSocket version other than 13 (RFC 6455 section 4.4).
    WebsocketVersion,
    /// The header block is larger than the limits allow: 16 KiB and 100 fields by default.
    HeadTooLarge,
    /// The upstream answered in a way that cannot be passed on, or its certificate is not trusted.
    UpstreamFailed,
    /// The upstream did not answer in time.
    UpstreamTimeout,
}

/// One row of the refusal table.
struct Row {
    word: &'static str,
    status: u16,
    close_own: u16,
    close_gemini: u16,
    close_openai: u16,
    title: &'static str,
}

const fn row(
    word: &'static str,
    status: u16,
    (close_own, close_gemini, close_openai): (u16, u16, u16),
    title: &'static str,
) -> Row {
    Row { word, status, close_own, close_gemini, close_openai, title }
}

impl Code {
    /// All codes, in the order of the documentation.
    pub const ALL: [Self; 23] = [
        Self::CredentialMissing,
        Self::CredentialInvalid,
        Self::CredentialAmbiguous,
        Self::CredentialInQuery,
        Self::CredentialRevoked,
        Self::TokenExpired,
        Self::TokenUsedUp,
        Self::Forbidden,
        Self::RateLimited,
        Self::Unavailable,
        Self::Draining,
        Self::RequestInvalid,
        Self::RouteUnknown,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UrlTooLong,
        Self::ExpectationFailed,
        Self::HostMisdirected,
        Self::WebsocketVersion,
        Self::HeadTooLarge,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
    ];

    const fn row(self) -> Row {
        match self {
            Self::CredentialMissing => row("credential_missing", 401, (4001, 1007, 3000), "no credential"),
            Self::CredentialInvalid => row("credential_invalid", 401, (4001, 1007, 3000), "credential not accepted"),
            Self::CredentialAmbiguous => {
                row("credential_ambiguous", 400, (4001, 1007, 3000), "two different credentials")
            }
            Self::CredentialInQuery => row("credential_in_query", 401, (4001, 1007, 3000), "long-lived key in the URL"),
            Self::CredentialRevoked => row("credential_revoked", 401, (4001, 1008, 3000), "credential revoked"),
            Self::TokenExpired => row("token_expired", 401, (4002, 1008, 3000), "token expired"),
            Self::TokenUsedUp => row("token_used_up", 401, (4002, 1008, 3000), "token used up"),
            Self::Forbidden => row("forbidden", 403, (4003, 1008, 3000), "not allowed"),
            Self::RateLimited => row("rate_limited", 429, (4029, 1011, 1013), "too many requests"),
            Self::Unavailable => row("unavailable", 503, (1013, 1011, 1013), "not available at the moment"),
            Self::Draining => row("draining", 503, (1012, 1012, 1012), "shutting down"),
            Self::RequestInvalid => row("request_invalid", 400, (1002, 1007, 3000), "request not understood"),
            Self::RouteUnknown => row("route_unknown", 404, (4004, 1008, 3000), "no such route"),
            Self::MethodNotAllowed => row("method_not_allowed", 405, (1002, 1007, 3000), "method not allowed"),
            Self::RequestTimeout => row("request_timeout", 408, (1008, 1008, 3000), "request too slow"),
            Self::BodyTooLarge => row("body_too_large", 413, (1009, 1009, 1009), "body too large"),
            Self::UrlTooLong => row("url_too_long", 414, (1002, 1007, 3000), "URL too long"),
            Self::ExpectationFailed => row("expectation_failed", 417, (1002, 1007, 3000), "expectation not understood"),
            Self::HostMisdirected => row("host_misdirected", 421, (1002, 1007, 3000), "wrong host for this connection"),
            Self::WebsocketVersion => row("websocket_version", 426, (1002, 1007, 3000), "WebSocket version not spoken"),
            Self::HeadTooLarge => row("head_too_large", 431, (1002, 1007, 3000), "header block too large"),
            Self::UpstreamFailed => row("upstream_failed", 502, (1014, 1011, 1011), "upstream failed"),
            Self::UpstreamTimeout => row("upstream_timeout", 504, (1014, 1011, 1011), "upstream too slow"),
        }
    }

    /// The stable machine word, such as `credential_missing`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.row().word
    }

    /// The HTTP status (RFC 9110 section 15).
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().status
    }

    /// The title of the problem document (RFC 9457 section 3.1.3): the same for every occurrence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// The WebSocket close code that clients of `dialect` understand (RFC 6455 section 7.4).
    ///
    /// OpenAI's SDKs connect again by themselves after 1011, 1012 and 1013, and after 3000, its service's own code for a
    /// bad request, never: only what may well pass next time gets one of the former.
    #[must_use]
    pub const fn close_code(self, dialect: Dialect) -> u16 {
        match dialect {
            Dialect::Generic => self.row().close_own,
            Dialect::Gemini => self.row().close_gemini,
            Dialect::OpenAi => self.row().close_openai,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A no, with what the client is told.
///
/// INVARIANT: `detail` is our own text with names from the configuration; nothing that a client sent is ever in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of no.
    pub code: Code,
    /// What was wrong and what to do instead, lower case, no full stop.
    pub detail: Cow<'static, str>,
    /// When to try again, for `rate_limited`, `unavailable` and `draining`.
    pub retry_after_secs: Option<u32>,
}

impl Refusal {
    /// A refusal with its text.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), retry_after_secs: None }
    }

    /// The same, telling the client when to come back.
    #[must_use]
    pub fn retry_after_secs(mut self, secs: u32) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }

    /// The close reason: the code word first, then the text, cut at a character so that it fits [`REASON_BYTES_MAX`].
    #[must_use]
    pub fn reason(&self) -> String {
        let mut reason = match self.retry_after_secs {
            Some(secs) => format!("{}: retry_after={secs}: {}", self.code, self.detail),
            None => format!("{}: {}", self.code, self.detail),
        };
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        reason
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_may_stand_on_the_wire() {
        for code in Code::ALL {
            for dialect in Dialect::ALL {
                let close = code.close_code(dialect);
                assert!(matches!(close, 1000..=1003 | 1007..=1014 | 3000..=4999), "{code}: {close}");
            }
        }
    }

    #[test]
    fn words_are_distinct() {
        let words: std::collections::HashSet<_> = Code::ALL.iter().map(|code| code.word()).collect();
        assert_eq!(words.len(), Code::ALL.len());
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let refusal = Refusal::new(Code::Forbidden, "ä".repeat(200));
        assert!(refusal.reason().len() <= REASON_BYTES_MAX);
        assert!(refusal.reason().starts_with("forbidden: ää"));
    }

    #[test]
    fn a_reason_says_when_to_come_back() {
        let refusal = Refusal::new(Code::RateLimited, "slow down").retry_after_secs(12);
        assert_eq!(refusal.reason(), "rate_limited: retry_after=12: slow down");
    }
}
