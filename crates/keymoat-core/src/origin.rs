//! Origins: which web pages may use a route (RFC 6454; Fetch standard, section 3.2).
//!
//! A browser names the page's origin in a header that scripts cannot set. Other clients name none, or whatever they
//! like: an origin keeps pages out, it never lets anybody in.

use std::fmt;

use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use crate::head::{Ask, Head};

/// Scheme, host and port of a page, in the form that browsers write: lower case, no default port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// A text that names no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no origin: write https://HOST or https://HOST:PORT, without a path")]
pub struct MalformedOrigin(pub String);

/// Which origins' pages may use a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Nothing is checked and nothing is told: a browser then lets pages open WebSockets from everywhere, and read
    /// answers only where the upstream itself says so.
    #[default]
    Unchecked,
    /// Pages of these origins, and of the gateway's own, which React Native names for want of a page.
    List(Vec<Origin>),
}

/// What a route's origins say of the page that a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'a> {
    /// The route has no list.
    Unchecked,
    /// No page is named: this is no browser, or the page is of the gateway's own origin.
    None,
    /// It is of the gateway's own origin. That proves nothing.
    Own,
    /// It is of an origin in the list.
    Listed(&'a Origin),
    /// It is of another origin, or of one that cannot be read, such as `null`.
    Foreign,
}

/// The page that a request names, read before its head is stripped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// No page.
    None,
    /// One that can be read.
    Page {
        /// Its origin.
        origin: Origin,
        /// Whether that is the gateway's own. It proves nothing.
        is_own: bool,
    },
    /// One that cannot be read, such as `null`, or more than one.
    Unreadable,
}

impl Named {
    /// What `head` names. `tls` says whether the connection is under TLS; where it is not, something in front may be, so
    /// that the gateway's own origin may be either.
    #[must_use]
    pub fn by(head: &Head, tls: bool) -> Self {
        let mut named = head.headers.get_all(ORIGIN).iter();
        let named = match (named.next(), named.next()) {
            (None, _) => return Self::None,
            (Some(named), None) => named,
            (Some(_), Some(_)) => return Self::Unreadable,
        };
        let Some(origin) = named.to_str().ok().and_then(|named| Origin::parse(named).ok()) else {
            return Self::Unreadable;
        };
        let own: &[&str] = if tls { &["https"] } else { &["https", "http"] };
        let is_own =
            own.iter().any(|scheme| Origin::parse(&format!("{scheme}://{}", head.host)).as_ref() == Ok(&origin));
        Self::Page { origin, is_own }
    }
}

impl Origin {
    /// Reads `https://app.example`. Other schemes than the web's are taken, such as `capacitor://localhost`.
    ///
    /// # Errors
    /// [`MalformedOrigin`] for `null`, `*`, a path, and the scheme of a WebSocket, which no page has.
    pub fn parse(text: &str) -> Result<Self, MalformedOrigin> {
        let malformed = || MalformedOrigin(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let (scheme, authority) = lower.split_once("://").ok_or_else(malformed)?;
        let (host, port) = split_port(authority).ok_or_else(malformed)?;
        if !is_scheme(scheme) || matches!(scheme, "ws" | "wss") || !is_host(host) {
            return Err(malformed());
        }
        let default_port = match scheme {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        };
        Ok(match port.filter(|port| Some(*port) != default_port) {
            Some(port) => Self(format!("{scheme}://{host}:{port}")),
            None => Self(format!("{scheme}://{host}")),
        })
    }

    /// The text that browsers write for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Origins {
    /// Judges the page that `head` names, as [`Named::by`] reads it.
    #[must_use]
    pub fn judge(&self, head: &Head, tls: bool) -> Page<'_> {
        if *self == Self::Unchecked { Page::Unchecked } else { self.judge_named(&Named::by(head, tls)) }
    }

    /// Judges a page that was named.
    #[must_use]
    pub fn judge_named(&self, named: &Named) -> Page<'_> {
        let Self::List(list) = self else { return Page::Unchecked };
        match named {
            Named::None => Page::None,
            Named::Unreadable => Page::Foreign,
            Named::Page { origin, is_own } => match list.iter().find(|listed| *listed == origin) {
                Some(listed) => Page::Listed(listed),
                None if *is_own => Page::Own,
                None => Page::Foreign,
            },
        }
    }
}

/// Whether `head` is a browser's question whether a page may send what it wants to send (a CORS preflight). It never
/// carries a credential.
#[must_use]
pub fn is_preflight(head: &Head) -> bool {
    head.method == Method::OPTIONS
        && matches!(head.ask, Ask::Http)
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_bytes = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at_checked(host_bytes)?;
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        // `parse` alone would take a sign.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some((host, Some(digits.parse().ok()?))),
        _ => None,
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Transport;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).expect("an origin")
    }

    fn head(method: &str, headers: &[(&str, &str)]) -> Head {
        let mut request = http::Request::builder().method(method).uri("/").header("host", "gw.example:443");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).expect("well formed").into_parts().0;
        Head::read(parts, Transport::Http1, None).expect("well formed")
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (written, read) in [
            ("https://App.Example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("http://app.example:443", "http://app.example:443"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://[::1]:80", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(origin(written).as_str(), read);
        }
        for bad in [
            "",
            "null",
            "*",
            "app.example",
            "https://",
            "https://*",
            "https://*.example",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "https://a:b",
            "https://a:99999",
            "https://a:",
            "https://[::1",
            "https://a b",
            "wss://a",
            "://a",
            "1a://b",
            "https://a, https://b",
            "https://a https://b",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_listed_pages_and_the_gateway_s_own_are_not_foreign() {
        let origins = Origins::List(vec![origin("https://app.example"), origin("http://localhost:5173")]);
        let page = |headers: &[(&str, &str)], tls| match origins.judge(&head("GET", headers), tls) {
            Page::Listed(origin) => origin.as_str().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(page(&[], true), "None");
        assert_eq!(page(&[("origin", "https://app.example")], true), "https://app.example");
        assert_eq!(page(&[("origin", "http://localhost:5173")], true), "http://localhost:5173");
        assert_eq!(page(&[("origin", "https://gw.example")], true), "Own");
        assert_eq!(page(&[("origin", "https://gw.example")], false), "Own");
        assert_eq!(page(&[("origin", "http://gw.example:443")], false), "Own");
        for foreign in [
            "http://gw.example",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil.example",
            "https://evil.example",
            "https://xapp.example",
            "null",
            "",
            "https://app.example/",
            "file://",
        ] {
            assert_eq!(page(&[("origin", foreign)], true), "Foreign", "{foreign}");
        }
        assert_eq!(page(&[("origin", "http://gw.example:443")], true), "Foreign");
        let two = [("origin", "https://app.example"), ("origin", "https://app.example")];
        assert_eq!(page(&two, true), "Foreign");
        // A header that says that the page's header is not meant for us changes nothing.
        assert_eq!(page(&[("connection", "origin"), ("origin", "https://evil.example")], true), "Foreign");
    }

    #[test]
    fn without_a_list_nothing_is_checked() {
        assert_eq!(Origins::Unchecked.judge(&head("GET", &[("origin", "null")]), true), Page::Unchecked);
        assert_eq!(Origins::List(vec![]).judge(&head("GET", &[("origin", "null")]), true), Page::Foreign);
    }

    #[test]
    fn a_preflight_is_told_from_an_ordinary_options() {
        let asks = [("origin", "https://a"), ("access-control-request-method", "POST")];
        assert!(is_preflight(&head("OPTIONS", &asks)));
        assert!(!is_preflight(&head("POST", &asks)));
        for one in &asks {
            assert!(!is_preflight(&head("OPTIONS", std::slice::from_ref(one))));
        }
    }
}
