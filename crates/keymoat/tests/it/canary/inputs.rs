//! Every place of a request that a canary is planted in, one line each.
//!
//! In a template `{}` stands for the canary as it is; `{percent}` and `{PERCENT}` for all its bytes percent-encoded, in
//! lower and upper case; `{twice}` for that encoded once more; `{basic}` for base64 of `user:` and the canary;
//! `{base64url}` for its base64url; `{path}` for the path of the route that is tried.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use Reach::{Stripped, Yonder};

/// How far a value may get that has not Keymoat's shape, in a request that is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The route lists the place as a carrier: nothing that stood there may go on.
    Stripped,
    /// It is the application's own business and goes upstream, but into no log.
    Yonder,
}

/// One place: its name, how far a foreign value may get from there, the target, and header lines.
pub(crate) type Input = (&'static str, Reach, &'static str, &'static [&'static str]);

/// Places in requests that can be read. `Authorization` and the like stand beside the good key where one is sent.
pub(crate) const INPUTS: &[Input] = &[
    ("x-api-key", Stripped, "{path}", &["X-API-Key: {}"]),
    ("bearer", Stripped, "{path}", &["Authorization: Bearer {}"]),
    ("bearer in lower case, twice", Stripped, "{path}", &["authorization: bearer {}", "authorization:  BEARER\t{}"]),
    ("token scheme", Stripped, "{path}", &["Authorization: Token {}"]),
    ("token scheme and google's spelling", Stripped, "{path}", &["Authorization: Token auth_tokens/{}"]),
    ("basic", Stripped, "{path}", &["Authorization: Basic {basic}"]),
    ("bare authorization", Stripped, "{path}", &["Authorization: {}"]),
    ("another scheme", Stripped, "{path}", &["Authorization: Digest username=\"{}\", response=\"{}\""]),
    ("percent-encoded in a header", Stripped, "{path}", &["X-API-Key: {percent}"]),
    ("api_key", Stripped, "{path}?api_key={}", &[]),
    ("api_key between others", Stripped, "{path}?a=1&api_key={}&b=2", &[]),
    ("api_key percent-encoded", Stripped, "{path}?api_key={percent}", &[]),
    ("api_key doubly encoded", Stripped, "{path}?api_key={twice}", &[]),
    ("api_key with an encoded name", Stripped, "{path}?%61pi%5Fkey={}", &[]),
    ("api_key with a doubly encoded name", Stripped, "{path}?api%255Fkey={}", &[]),
    ("api_key in upper case", Stripped, "{path}?API_KEY={PERCENT}", &[]),
    ("api_key as an array", Stripped, "{path}?api_key[]={}&api_key%5B0%5D={}", &[]),
    ("api_key behind a semicolon", Stripped, "{path}?x=1;api_key={}", &[]),
    ("access_token", Stripped, "{path}?access_token={}", &[]),
    ("api-key subprotocol", Stripped, "{path}", &["Sec-WebSocket-Protocol: keymoat.v1, api-key.{}"]),
    ("keymoat.token", Stripped, "{path}", &["Sec-WebSocket-Protocol: keymoat.v1, keymoat.token.{base64url}"]),
    ("keymoat.token, not encoded", Stripped, "{path}", &["Sec-WebSocket-Protocol: keymoat.v1, keymoat.token.{}"]),
    ("openai's subprotocol", Stripped, "{path}", &["Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{}"]),
    (
        "kubernetes' subprotocol",
        Stripped,
        "{path}",
        &["Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{base64url}, keymoat.v1"],
    ),
    ("lone subprotocol", Stripped, "{path}", &["Sec-WebSocket-Protocol: api-key.{}"]),
    ("subprotocol that is the credential", Yonder, "{path}", &["Sec-WebSocket-Protocol: {}, keymoat.v1"]),
    ("foreign subprotocol", Yonder, "{path}", &["Sec-WebSocket-Protocol: bearer.{}, keymoat.v1"]),
    ("x-goog-api-key", Yonder, "{path}", &["X-Goog-Api-Key: {}"]),
    ("api-key", Yonder, "{path}", &["api-key: {}"]),
    ("xi-api-key", Yonder, "{path}", &["xi-api-key: {}"]),
    ("apikey", Yonder, "{path}", &["apikey: {}"]),
    ("a header of an application", Yonder, "{path}", &["X-Custom: before {} behind"]),
    ("percent-encoded in another header", Yonder, "{path}", &["X-Custom: {twice}"]),
    ("base64 in another header", Yonder, "{path}", &["X-Custom: {basic}, {base64url}"]),
    ("header name", Yonder, "{path}", &["X-{}: 1"]),
    ("encoded header name", Yonder, "{path}", &["X{percent}: 1"]),
    ("proxy-authorization", Yonder, "{path}", &["Proxy-Authorization: Bearer {}"]),
    ("cookie", Yonder, "{path}", &["Cookie: a=1; session={}; b=2", "Cookie: api_key={percent}"]),
    ("referer", Yonder, "{path}", &["Referer: https://app.example/?api_key={}"]),
    ("encoded referer", Yonder, "{path}", &["Referer: https://app.example/?next=%2F%3Fkey%3D{percent}"]),
    ("origin", Yonder, "{path}", &["Origin: https://{}.example"]),
    ("user-agent", Yonder, "{path}", &["User-Agent: curl/8 ({})"]),
    ("traceparent", Yonder, "{path}", &["traceparent: 00-{}-01", "tracestate: k={}"]),
    ("baggage", Yonder, "{path}", &["baggage: key={},other={percent}"]),
    ("forwarded", Yonder, "{path}", &["Forwarded: for={};host={}", "X-Forwarded-For: {}", "X-Forwarded-Host: {}"]),
    ("via and from", Yonder, "{path}", &["Via: 1.1 {}", "From: {}@example.org"]),
    ("entity headers", Yonder, "{path}", &["If-None-Match: \"{}\"", "Accept-Language: {}", "Content-Type: a/b; c={}"]),
    ("x-original-url", Yonder, "{path}", &["X-Original-URL: /other?api_key={}", "X-Rewrite-URL: /{}"]),
    ("connection option", Yonder, "{path}", &["Connection: {}"]),
    ("upgrade", Yonder, "{path}", &["Upgrade: {}"]),
    ("te and trailer", Yonder, "{path}", &["TE: {}", "Trailer: X-{}"]),
    ("keep-alive", Yonder, "{path}", &["Keep-Alive: {}", "HTTP2-Settings: {}"]),
    ("expect", Yonder, "{path}", &["Expect: {}"]),
    ("sec-websocket-key", Yonder, "{path}", &["Sec-WebSocket-Key: {}", "Sec-WebSocket-Extensions: {}"]),
    ("sec-websocket-version", Yonder, "{path}", &["Sec-WebSocket-Version: {}"]),
    ("another query parameter", Yonder, "{path}?ref={}", &[]),
    ("another parameter, encoded", Yonder, "{path}?ref={percent}&again={twice}", &[]),
    ("a parameter in a parameter", Yonder, "{path}?next=%2Fx%3Fapi_key%3D{PERCENT}", &[]),
    ("query name", Yonder, "{path}?{}", &[]),
    ("query name with a value", Yonder, "{path}?a{percent}=1", &[]),
    ("path segment", Yonder, "{path}/{}", &[]),
    ("path segment, encoded", Yonder, "{path}/{percent}/x", &[]),
    ("path segment, doubly encoded", Yonder, "{path}/{twice}", &[]),
    ("path segment, base64", Yonder, "{path}/{base64url}", &[]),
    ("path that no route takes", Yonder, "/nobody/{}/x", &[]),
    ("path of our own pages", Yonder, "/keymoat/errors/{}", &[]),
    ("path parameter", Yonder, "{path};key={}", &[]),
    ("dot segments", Yonder, "{path}/../{}", &[]),
    ("host", Yonder, "{path}", &["Host: {}.example"]),
    ("absolute target", Yonder, "http://{}.example{path}", &["Host: {}.example"]),
];

/// Whole requests that cannot be read: at least one for each reason of the gate. `{long}` is 20 KiB that hold the canary.
pub(crate) const MALFORMED: &[(&str, &str)] = &[
    ("leading line", "\r\n{}GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("request line", "{}\r\n\r\n"),
    ("http/0.9", "GET /{}\r\n\r\n"),
    ("method not a token", "G@{} / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("long method", "{} / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("method in lower case", "get /{} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("unknown method", "PROPFIND /demo/echo?api_key={} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("connect", "CONNECT {}:443 HTTP/1.1\r\nHost: {}\r\n\r\n"),
    ("version", "GET /{} HTTP/1.9\r\nHost: a\r\n\r\n"),
    ("version text", "GET / HTTP/{}\r\nHost: a\r\n\r\n"),
    ("long target", "GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target form", "GET {} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("fragment", "GET /demo/echo#{} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space", "GET /demo/echo {} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target byte", "GET /<{}> HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target not ascii", "GET /ä{} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("userinfo", "GET http://user:{}@a/demo/echo HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("authority mismatch", "GET http://{}/demo/echo HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no host", "GET /demo/{} HTTP/1.1\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: {}\r\n\r\n"),
    ("invalid host", "GET / HTTP/1.1\r\nHost: a/{}\r\n\r\n"),
    ("userinfo in host", "GET / HTTP/1.1\r\nHost: {}@a\r\n\r\n"),
    ("bare lf", "GET / HTTP/1.1\nHost: a\nX-API-Key: {}\n\n"),
    ("bare cr", "GET / HTTP/1.1\r\nHost: a\r\nX: \r{}\r\n\r\n"),
    ("control byte", "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: \u{1}{}\r\n\r\n"),
    ("field not ascii", "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: ä{}\r\n\r\n"),
    ("folded", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n {}\r\n\r\n"),
    ("no colon", "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n"),
    ("field name", "GET / HTTP/1.1\r\nHost: a\r\n@{}: 1\r\n\r\n"),
    ("space before the colon", "GET / HTTP/1.1\r\nHost: a\r\n{} : 1\r\n\r\n"),
    ("too large", "GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
    ("length", "POST /demo/echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n"),
    ("length list", "POST /demo/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1, {}\r\n\r\n"),
    ("length overflow", "POST /{} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ("two lengths", "POST /{} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n{}"),
    ("both framings", "POST /{} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n{}"),
    ("coding", "POST /demo/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {}\r\n\r\n"),
    ("two codings", "POST /{} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: {}\r\n\r\n"),
    ("coding in http/1.0", "POST /{} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (
        "upgrade with a body",
        "GET /{} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 60\r\n\r\n{}",
    ),
    ("slow head", "GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {}"),
    ("chunk size", "{chunked}{}\r\n"),
    ("chunk overflow", "{chunked}ffffffffffffffff\r\n{}"),
    ("chunk extension", "{chunked}5;{}\r\nhello\r\n0\r\n\r\n"),
    ("chunk line end", "{chunked}5\r\nhello{}\r\n0\r\n\r\n"),
    ("trailer", "{chunked}5\r\nhello\r\n0\r\nX-API-Key: {}\r\n\r\n"),
    ("forbidden trailer", "{chunked}5\r\nhello\r\n0\r\nAuthorization: Bearer {}\r\nHost: {}\r\n\r\n"),
    ("trailers too large", "{chunked}5\r\nhello\r\n0\r\nX: {long}\r\n\r\n"),
    ("second request", "GET /keymoat/livez HTTP/1.1\r\nHost: a\r\n\r\nGET /{} HTTP/9\r\n\r\n"),
    ("nothing but a canary", "{}"),
];

/// Fills a template in.
pub(crate) fn filled(template: &str, path: &str, canary: &str) -> String {
    let each = |spell: fn(u8) -> String| canary.bytes().map(spell).collect::<String>();
    template
        .replace("{path}", path)
        .replace("{percent}", &each(|byte| format!("%{byte:02x}")))
        .replace("{PERCENT}", &each(|byte| format!("%{byte:02X}")))
        .replace("{twice}", &each(|byte| format!("%25{byte:02x}")))
        .replace("{basic}", &STANDARD.encode(format!("user:{canary}")))
        .replace("{base64url}", &URL_SAFE_NO_PAD.encode(canary))
        .replace("{long}", &[canary, &"x".repeat(20 << 10), canary].concat())
        .replace("{}", canary)
}
