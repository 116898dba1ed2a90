//! The head of a request, read once: one host, one canonical path, no hop-by-hop headers, nothing ambiguous left.

mod hygiene;

use std::fmt;
use std::net::IpAddr;

use base64::prelude::*;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::uri::{Authority, Uri};
use http::{Method, Version};

use crate::gate::Limits;
use crate::path;
use crate::query::Query;
use crate::refusal::{Code, Refusal};
use crate::subprotocol::Offer;

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// An extended CONNECT with `:protocol` `websocket` (RFC 8441).
    Http2WebSocket,
}

/// A request's head after everything that could be read in two ways was refused or removed.
pub struct Head {
    /// What is asked; `GET` for a WebSocket over HTTP/2 too.
    pub method: Method,
    /// The one host, in lower case, with its port if it was given.
    pub host: String,
    /// The path in [canonical](path::canonical) form.
    pub path: String,
    /// The query, as it was written.
    pub query: Query,
    /// The end-to-end headers, without `Host`, `Expect` and everything that belongs to the handshake.
    pub headers: HeaderMap,
    /// What kind of answer is asked for.
    pub ask: Ask,
}

/// What kind of answer is asked for.
#[derive(Debug)]
pub enum Ask {
    /// A response.
    Http,
    /// A WebSocket (RFC 6455).
    WebSocket(Opening),
}

/// What a WebSocket's opening handshake asked for. Extensions are not in it: they are declined.
#[derive(Debug)]
pub struct Opening {
    /// `Sec-WebSocket-Key`, checked; `None` over HTTP/2, which has none.
    pub key: Option<String>,
    /// The subprotocols that were offered.
    pub offer: Offer,
}

impl Head {
    /// Reads a head. `tls_name` is the name that the client gave in its TLS handshake (SNI), if it gave one.
    ///
    /// # Errors
    /// The refusals of this stage: `request_invalid`, `method_not_allowed`, `url_too_long`, `head_too_large`,
    /// `expectation_failed`, `host_misdirected` and `websocket_version`.
    pub fn read(parts: http::request::Parts, transport: Transport, tls_name: Option<&str>) -> Result<Self, Refusal> {
        Self::read_within(parts, transport, tls_name, &Limits::default())
    }

    /// The same, with other bounds than the default ones.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub fn read_within(
        parts: http::request::Parts,
        transport: Transport,
        tls_name: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let http::request::Parts { method, uri, version, mut headers, .. } = parts;
        let method = taken_method(method, transport)?;
        check_size(&uri, &headers, limits)?;
        let host = one_host(&uri, &headers, transport)?;
        check_tls_name(&host, tls_name)?;
        check_expectation(&headers)?;
        let path = path::canonical(uri.path())?;
        let query = Query::parse(uri.query().unwrap_or_default());
        let ask = read_ask(&method, version, &headers, transport)?;
        hygiene::clean(&mut headers, transport)?;
        Ok(Self { method, host, path, query, headers, ask })
    }

    /// Whether a browser opens a page with it, and will remember the address: what it says itself (Fetch Metadata), or,
    /// where it says nothing, that it wants HTML.
    #[must_use]
    pub fn is_navigation(&self) -> bool {
        if self.method != Method::GET || !matches!(self.ask, Ask::Http) {
            return false;
        }
        match self.headers.get("sec-fetch-mode") {
            Some(mode) => mode == "navigate",
            None => {
                let accepted = self.headers.get_all(http::header::ACCEPT).iter();
                let mut accepted = accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
                accepted.any(|kind| kind.split(';').next().unwrap_or_default().trim() == "text/html")
            }
        }
    }

    /// Whether this is a WebSocket that a browser may have opened: it names a page or offers subprotocols. Browsers
    /// can set no headers, so hints to them name the subprotocol.
    pub(crate) fn is_from_browser(&self) -> bool {
        match &self.ask {
            Ask::Http => false,
            Ask::WebSocket(opening) => self.headers.contains_key(http::header::ORIGIN) || !opening.offer.is_empty(),
        }
    }
}

impl fmt::Debug for Head {
    /// Shows nothing that could be or hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("method", &self.method).field("ask", &self.ask).finish_non_exhaustive()
    }
}

fn taken_method(method: Method, transport: Transport) -> Result<Method, Refusal> {
    if transport == Transport::Http2WebSocket {
        return if method == Method::CONNECT { Ok(Method::GET) } else { Err(invalid("`:protocol` without CONNECT")) };
    }
    match method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            Ok(method)
        }
        _ => {
            Err(Refusal::new(Code::MethodNotAllowed, "only GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS are taken"))
        }
    }
}

fn check_size(uri: &Uri, headers: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if authority + target > limits.url_bytes_max {
        return Err(Refusal::new(Code::UrlTooLong, "the URL is too long: move data into the body"));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    // Over HTTP/1 the gate refuses both; over HTTP/2 nobody else does. What is no number could be a credential, and this
    // is the one header that is never stripped.
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if lengths.next().is_some_and(|length| length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return Err(invalid("`Content-Length` is not a number"));
    }
    if lengths.next().is_some() {
        return Err(invalid("more than one `Content-Length`: send exactly one"));
    }
    if headers.len() > limits.fields_max || bytes > limits.head_bytes_max {
        return Err(Refusal::new(Code::HeadTooLarge, "the headers are too many or too large: send less"));
    }
    Ok(())
}

/// The one host (RFC 9112 section 3.2, RFC 9113 section 8.3.1): what names it, in the target or in `Host`, must agree.
fn one_host(uri: &Uri, headers: &HeaderMap, transport: Transport) -> Result<String, Refusal> {
    let mut host: Option<String> = uri.authority().map(|authority| read_host(authority.as_str())).transpose()?;
    let mut lines = headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(invalid("more than one `Host`"));
    }
    if line.is_none() && transport == Transport::Http1 {
        return Err(invalid("no `Host`"));
    }
    if let Some(line) = line {
        let named = read_host(line.to_str().map_err(|_| invalid("`Host` is not a host"))?)?;
        if host.as_ref().is_some_and(|host| *host != named) {
            return Err(invalid("the target and `Host` name different hosts"));
        }
        host = Some(named);
    }
    host.ok_or_else(|| invalid("no `Host`"))
}

fn read_host(text: &str) -> Result<String, Refusal> {
    let wrong = || invalid("`Host` is not a host");
    let authority: Authority = text.parse().map_err(|_| wrong())?;
    if authority.as_str().contains('@') {
        return Err(invalid("user information in the host"));
    }
    let name = authority.host();
    let port = authority.as_str().strip_prefix(name).ok_or_else(wrong)?;
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let well_formed = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')),
    };
    let port_well_formed = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok());
    if name.is_empty() || !well_formed || !port_well_formed {
        return Err(wrong());
    }
    Ok(text.to_ascii_lowercase())
}

fn check_tls_name(host: &str, tls_name: Option<&str>) -> Result<(), Refusal> {
    let Some(tls_name) = tls_name.filter(|name| name.parse::<IpAddr>().is_err()) else { return Ok(()) };
    let name = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
    let (name, tls_name) = (name.trim_end_matches('.'), tls_name.trim_end_matches('.'));
    if name.eq_ignore_ascii_case(tls_name) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::HostMisdirected,
        "the TLS handshake named another host: open a connection of its own for this one",
    ))
}

fn check_expectation(headers: &HeaderMap) -> Result<(), Refusal> {
    let met = headers.get_all(EXPECT).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if met { Ok(()) } else { Err(Refusal::new(Code::ExpectationFailed, "only `Expect: 100-continue` is understood")) }
}

fn read_ask(method: &Method, version: Version, headers: &HeaderMap, transport: Transport) -> Result<Ask, Refusal> {
    let key = match transport {
        Transport::Http2 => return Ok(Ask::Http),
        Transport::Http2WebSocket => None,
        Transport::Http1 => {
            let asked = lists(headers, CONNECTION, "upgrade") && lists(headers, UPGRADE, "websocket");
            // RFC 9110 section 7.8: an upgrade that cannot be is ignored.
            if !asked || *method != Method::GET || version != Version::HTTP_11 {
                return Ok(Ask::Http);
            }
            if hygiene::has_body(headers) {
                return Err(invalid("a WebSocket handshake has no body"));
            }
            Some(handshake_key(headers)?)
        }
    };
    let mut versions = headers.get_all(SEC_WEBSOCKET_VERSION).iter();
    if versions.next().map(|value| value.as_bytes()) != Some(b"13") || versions.next().is_some() {
        return Err(Refusal::new(Code::WebsocketVersion, "only `Sec-WebSocket-Version: 13` is spoken"));
    }
    Ok(Ask::WebSocket(Opening { key, offer: Offer::read(headers)? }))
}

/// `Sec-WebSocket-Key`: once, and base64 of 16 bytes (RFC 6455 section 4.2.1).
fn handshake_key(headers: &HeaderMap) -> Result<String, Refusal> {
    let wrong = || invalid("`Sec-WebSocket-Key` must be there once, with 16 bytes in base64");
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(wrong()) };
    let key = key.to_str().map_err(|_| wrong())?;
    let decoded = BASE64_STANDARD.decode(key).map_err(|_| wrong())?;
    if decoded.len() == 16 { Ok(key.to_owned()) } else { Err(wrong()) }
}

/// Whether a comma-separated header has `word`, in any case.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|entry| entry.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

fn invalid(detail: &'static str) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    const WEBSOCKET: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> http::request::Parts {
        let mut builder = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a test's request is well formed").into_parts().0
    }

    fn read(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Head, Refusal> {
        let headers: Vec<_> = [("host", "gw.example")].iter().chain(headers).copied().collect();
        Head::read(request(method, target, &headers), Transport::Http1, None)
    }

    fn code(result: Result<Head, Refusal>) -> &'static str {
        result.map_or_else(|refusal| refusal.code.word(), |_| "read")
    }

    fn names(head: &Head) -> Vec<&str> {
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a11_a12_there_is_exactly_one_host() {
        let host = |target: &str, hosts: &[&str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            Head::read(request("GET", target, &headers), Transport::Http1, None).map(|head| head.host).ok()
        };
        assert_eq!(host("/", &["GW.example:8787"]).as_deref(), Some("gw.example:8787"));
        assert_eq!(host("/", &["[::1]:80"]).as_deref(), Some("[::1]:80"));
        assert_eq!(host("http://gw.example/x", &["gw.example"]).as_deref(), Some("gw.example"));
        for (target, hosts) in [
            ("/", &[][..]),
            ("/", &["a", "a"]),
            ("/", &["a", "b"]),
            ("/", &[""]),
            ("/", &["user@a"]),
            ("/", &["a/b"]),
            ("/", &["a, b"]),
            ("/", &["a:b"]),
            ("/", &["a:99999"]),
            ("/", &[":80"]),
            ("/", &["[::1"]),
            ("/", &["[zz]"]),
            ("http://a/", &[]),
            ("http://a/", &["b"]),
            ("http://a:80/", &["a"]),
            ("http://user@a/", &["a"]),
        ] {
            assert_eq!(host(target, hosts), None, "{target} {hosts:?}");
        }
    }

    #[test]
    fn a15_a_url_over_8_kib_and_a_head_over_its_bounds_are_refused() {
        assert_eq!(code(read("GET", &format!("/{}", "a".repeat(8191)), &[])), "read");
        assert_eq!(code(read("GET", &format!("/{}", "a".repeat(8192)), &[])), "url_too_long");
        assert_eq!(code(read("GET", &format!("/?{}", "a".repeat(8192)), &[])), "url_too_long");
        assert_eq!(code(read("GET", "/", &[("x-a", &"a".repeat(16 << 10))])), "head_too_large");
        assert_eq!(code(read("GET", "/", &[("x-a", "a"); 100])), "head_too_large");
    }

    #[test]
    fn a13_the_path_is_canonical() {
        assert_eq!(read("GET", "//ws//%61?x=%2f", &[]).map(|head| head.path).ok().as_deref(), Some("/ws/a"));
        assert_eq!(code(read("GET", "/a/../b", &[])), "request_invalid");
        assert_eq!(code(read("OPTIONS", "*", &[])), "request_invalid");
    }

    #[test]
    fn a20_methods_that_are_not_taken() {
        for method in ["TRACE", "GeT", "get", "PROPFIND", "PRI"] {
            assert_eq!(code(read(method, "/", &[])), "method_not_allowed", "{method}");
        }
        assert_eq!(code(read("CONNECT", "a:443", &[])), "method_not_allowed");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert_eq!(code(read(method, "/", &[])), "read", "{method}");
        }
    }

    #[test]
    fn a22_only_one_expectation_is_understood() {
        assert_eq!(code(read("POST", "/", &[("expect", "junk")])), "expectation_failed");
        let head = read("POST", "/", &[("expect", "100-Continue")]).expect("read");
        assert!(head.headers.is_empty());
    }

    #[test]
    fn g87_the_tls_name_and_the_host_agree() {
        let read = |host: &str, tls_name: Option<&str>| {
            code(Head::read(request("GET", "/", &[("host", host)]), Transport::Http1, tls_name))
        };
        assert_eq!(read("gw.example", None), "read");
        assert_eq!(read("GW.example:8789", Some("gw.EXAMPLE")), "read");
        assert_eq!(read("gw.example.", Some("gw.example")), "read");
        assert_eq!(read("[::1]:8789", Some("::1")), "read");
        assert_eq!(read("gw.example", Some("other.example")), "host_misdirected");
        assert_eq!(read("127.0.0.1", Some("gw.example")), "host_misdirected");
    }

    #[test]
    fn a17_h2c_and_unknown_upgrades_are_ignored() {
        let headers = [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")];
        let head = read("GET", "/", &headers).expect("read");
        assert!(matches!(head.ask, Ask::Http) && head.headers.is_empty());
    }

    #[test]
    fn a4_a_length_is_digits() {
        for length in ["", "5, 5", "+5", "-1", "0x5", "km_0123456789abcdefghij"] {
            assert_eq!(code(read("POST", "/", &[("content-length", length)])), "request_invalid", "{length}");
        }
        assert_eq!(code(read("POST", "/", &[("content-length", "5")])), "read");
    }

    #[test]
    fn a16_an_upgrade_with_a_body_is_refused_and_one_that_cannot_be_is_ignored() {
        let with = |extra: (&'static str, &'static str)| [&WEBSOCKET[..], &[extra]].concat();
        assert_eq!(code(read("GET", "/", &with(("content-length", "5")))), "request_invalid");
        assert_eq!(code(read("GET", "/", &with(("transfer-encoding", "chunked")))), "request_invalid");
        assert_eq!(code(read("GET", "/", &with(("content-length", "0")))), "read");
        let head = read("POST", "/", &WEBSOCKET).expect("read");
        assert!(matches!(head.ask, Ask::Http) && head.headers.is_empty());
        let mut old = request("GET", "/", &[&WEBSOCKET[..], &[("host", "a")]].concat());
        old.version = Version::HTTP_10;
        let head = Head::read(old, Transport::Http1, None).expect("read");
        assert!(matches!(head.ask, Ask::Http));
    }

    #[test]
    fn b32_b33_a_websocket_opening_is_checked_and_taken_out() {
        let with = |name: &str, value: &'static str| {
            let mut headers = WEBSOCKET.to_vec();
            headers.iter_mut().filter(|header| header.0 == name).for_each(|header| header.1 = value);
            code(read("GET", "/", &headers))
        };
        for key in ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ==x", "dGhlIHNhbXBsZSBub25jZWQ="] {
            assert_eq!(with("sec-websocket-key", key), "request_invalid", "{key}");
        }
        for version in ["12", "", "13, 8", "013"] {
            assert_eq!(with("sec-websocket-version", version), "websocket_version", "{version}");
        }
        assert_eq!(code(read("GET", "/", &WEBSOCKET[..3])), "request_invalid");
        let twice = [&WEBSOCKET[..], &WEBSOCKET[3..]].concat();
        assert_eq!(code(read("GET", "/", &twice)), "request_invalid");
        let unversioned = [WEBSOCKET[0], WEBSOCKET[1], WEBSOCKET[3]];
        assert_eq!(code(read("GET", "/", &unversioned)), "websocket_version");

        let extra = [("sec-websocket-extensions", "permessage-deflate"), ("sec-websocket-protocol", "app")];
        let head = read("GET", "/", &[&WEBSOCKET[..], &extra, &[("origin", "https://a")]].concat()).expect("read");
        let Ask::WebSocket(opening) = &head.ask else { panic!("not a WebSocket") };
        assert_eq!(opening.key.as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(opening.offer.labels().collect::<Vec<_>>(), ["app"]);
        assert_eq!(names(&head), ["origin"]);
    }

    #[test]
    fn a_websocket_over_http2_has_no_key_and_becomes_a_get() {
        let mut parts = request("GET", "https://gw.example/ws", &[("sec-websocket-version", "13")]);
        parts.method = Method::CONNECT;
        let head = Head::read(parts.clone(), Transport::Http2WebSocket, None).expect("read");
        assert_eq!(head.method, Method::GET);
        assert!(matches!(&head.ask, Ask::WebSocket(opening) if opening.key.is_none()));
        assert_eq!(code(Head::read(parts, Transport::Http2, None)), "method_not_allowed");
        let doubled = request("GET", "https://gw.example/ws", &[("host", "other.example")]);
        assert_eq!(code(Head::read(doubled, Transport::Http2, None)), "request_invalid");
        let plain = request("GET", "https://gw.example/ws", &[("te", "trailers")]);
        let head = Head::read(plain, Transport::Http2, None).expect("read");
        assert!(matches!(head.ask, Ask::Http));
        assert_eq!(names(&head), ["te"]);
    }

    #[test]
    fn hop_by_hop_headers_and_what_connection_names_are_removed() {
        let head = read(
            "POST",
            "/",
            &[
                ("connection", "close, x-mine, content-length, cookie, x-forwarded-for"),
                ("keep-alive", "timeout=5"),
                ("proxy-authorization", "Basic x"),
                ("proxy-connection", "keep-alive"),
                ("te", "trailers"),
                ("trailer", "x-sum"),
                ("transfer-encoding", "chunked"),
                ("x-mine", "1"),
                ("x-forwarded-for", "10.0.0.1"),
                ("content-length", "3"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("accept", "*/*"),
            ],
        )
        .expect("read");
        assert_eq!(names(&head), ["accept", "content-length", "cookie", "x-forwarded-for"]);
        assert_eq!(head.headers["cookie"], "a=1; b=2");
    }

    #[test]
    fn a18_connection_cannot_remove_a_credential_from_sight() {
        let head = read("GET", "/", &[("connection", "X-Goog-Api-Key"), ("x-goog-api-key", "k")]).expect("read");
        assert_eq!(names(&head), ["x-goog-api-key"]);
    }

    #[test]
    fn a19_underscores_cannot_pass_for_hyphens() {
        assert_eq!(code(read("GET", "/", &[("x_goog_api_key", "k")])), "request_invalid");
        assert_eq!(code(read("GET", "/", &[("X_API-KEY", "k")])), "request_invalid");
        let head = read("GET", "/", &[("x_mine", "1"), ("x-mine", "2")]).expect("read");
        assert_eq!(names(&head), ["x-mine"]);
    }

    #[test]
    fn debug_shows_no_header_and_no_path() {
        let head = read("GET", "/secret?key=secret", &[("x-api-key", "secret")]).expect("read");
        assert!(!format!("{head:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn any_headers_are_read_or_refused(
            names in proptest::collection::vec("(connection|upgrade|te|host|x_a|cookie|sec-websocket-(key|version|protocol))", 0..6),
            value in "[ -~]{0,30}", target in "/[!-~]{0,30}",
        ) {
            let mut builder = Request::builder().uri(target);
            for name in names {
                builder = builder.header(name, value.as_str());
            }
            let Ok(request) = builder.body(()) else { return Ok(()) };
            if let Ok(head) = Head::read(request.into_parts().0, Transport::Http1, None) {
                prop_assert!(head.headers.keys().all(|name| !name.as_str().contains('_') && *name != CONNECTION));
            }
        }
    }
}
