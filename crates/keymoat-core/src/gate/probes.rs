//! The raw requests that every layer is tested with: what must be refused and why, and what must go through.
//!
//! The tests of the gateway include this file too, so that the verdict of the gate and the answer on the wire are
//! checked with the same bytes.

use super::GateError;

/// One request that must be refused.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// What is wrong with it.
    pub(crate) name: &'static str,
    /// All that the client sends.
    pub(crate) bytes: Vec<u8>,
    /// The reason that it must be given.
    pub(crate) error: GateError,
    /// Whether the fault is in the body: the head is fine and goes through.
    pub(crate) in_body: bool,
}

/// Requests whose head is refused, and requests whose body is broken.
pub(crate) fn bad() -> Vec<Probe> {
    let heads = head_faults().into_iter().map(|(name, bytes, error)| (name, bytes, error, false));
    let bodies = body_faults().into_iter().map(|(name, bytes, error)| (name, bytes, error, true));
    heads.chain(bodies).map(|(name, bytes, error, in_body)| Probe { name, bytes, error, in_body }).collect()
}

type Fault = (&'static str, Vec<u8>, GateError);

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

fn with(fields: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").into_bytes()
}

fn sized(fields: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn hosts(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n").into_bytes()
}

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n\r\n").into_bytes()
}

fn head_faults() -> Vec<Fault> {
    use GateError as E;
    let mut faults = vec![
        ("length and encoding", with("Content-Length: 4\r\nTransfer-Encoding: chunked"), E::LengthWithEncoding),
        ("encoding and length", with("Transfer-Encoding: chunked\r\nContent-Length: 4"), E::LengthWithEncoding),
        ("two different lengths", with("Content-Length: 4\r\nContent-Length: 5"), E::LengthRepeated),
        ("two equal lengths", with("Content-Length: 4\r\nContent-Length: 4"), E::LengthRepeated),
        ("length with a leading zero", with("Content-Length: 04"), E::LengthInvalid),
        ("length with a sign", with("Content-Length: +4"), E::LengthInvalid),
        ("hexadecimal length", with("Content-Length: 0x4"), E::LengthInvalid),
        ("negative length", with("Content-Length: -1"), E::LengthInvalid),
        ("empty length", with("Content-Length:"), E::LengthInvalid),
        ("length with a space inside", with("Content-Length: 4 4"), E::LengthInvalid),
        ("list of lengths", with("Content-Length: 4, 4"), E::LengthList),
        ("length of 2^64", with("Content-Length: 18446744073709551616"), E::LengthOverflow),
        ("length of 2^63", with("Content-Length: 9223372036854775808"), E::LengthOverflow),
        ("identity before chunked", with("Transfer-Encoding: identity, chunked"), E::EncodingUnknown),
        ("identity after chunked", with("Transfer-Encoding: chunked, identity"), E::EncodingUnknown),
        ("gzip before chunked", with("Transfer-Encoding: gzip, chunked"), E::EncodingUnknown),
        ("unknown encoding", with("Transfer-Encoding: xchunked"), E::EncodingUnknown),
        ("chunked with a parameter", with("Transfer-Encoding: chunked;q=1"), E::EncodingUnknown),
        ("chunked in quotes", with("Transfer-Encoding: \"chunked\""), E::EncodingUnknown),
        ("empty encoding", with("Transfer-Encoding:"), E::EncodingUnknown),
        ("chunked twice in a list", with("Transfer-Encoding: chunked, chunked"), E::EncodingUnknown),
        ("two encodings", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), E::EncodingRepeated),
        ("two different encodings", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"), E::EncodingRepeated),
        (
            "encoding in HTTP/1.0",
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            E::EncodingInHttp10,
        ),
        ("space before the colon", with("Transfer-Encoding : chunked"), E::FieldSpace),
        ("tab before the colon", with("Content-Length\t: 4"), E::FieldSpace),
        ("vertical tab before chunked", with("Transfer-Encoding: \x0bchunked"), E::ControlByte),
        ("folded line", with("X: a\r\n b"), E::FieldFolded),
        ("folded first line", hosts(" Host: a"), E::FieldFolded),
        ("encoding on a folded line", with("Transfer-Encoding:\r\n chunked"), E::EncodingUnknown),
        ("NUL in a value", with("X: a\0b"), E::ControlByte),
        ("delete in a value", with("X: a\x7fb"), E::ControlByte),
        ("bare carriage return in a value", with("X: a\rb"), E::BareCr),
        ("bare line feed in a value", with("X: a\nTransfer-Encoding: chunked"), E::BareLf),
        ("bare line feed after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n".to_vec(), E::BareLf),
        ("bare line feeds only", b"GET / HTTP/1.1\nHost: a\n\n".to_vec(), E::BareLf),
        ("bare line feed at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n".to_vec(), E::BareLf),
        ("UTF-8 in a value", with("X: \u{e4}"), E::FieldNonAscii),
        ("non-breaking space before chunked", with("Transfer-Encoding: \u{a0}chunked"), E::FieldNonAscii),
        ("no host", b"GET / HTTP/1.1\r\nX: a\r\n\r\n".to_vec(), E::HostMissing),
        ("no fields at all", b"GET / HTTP/1.1\r\n\r\n".to_vec(), E::HostMissing),
        ("two hosts", hosts("Host: a\r\nHost: b"), E::HostRepeated),
        ("two equal hosts", hosts("Host: a\r\nhost: a"), E::HostRepeated),
        ("empty host", hosts("Host:"), E::HostInvalid),
        ("host with a path", hosts("Host: a/b"), E::HostInvalid),
        ("list of hosts", hosts("Host: a, b"), E::HostInvalid),
        ("host with a space", hosts("Host: a b"), E::HostInvalid),
        ("host with a bad port", hosts("Host: a:99999"), E::HostInvalid),
        ("user information in the host", hosts("Host: a@b"), E::HostUserinfo),
        ("absolute target against another host", get("http://b/"), E::AuthorityMismatch),
        ("absolute target with another port", get("http://a:81/"), E::AuthorityMismatch),
        ("absolute target without host in HTTP/1.0", b"GET http://a/ HTTP/1.0\r\n\r\n".to_vec(), E::HostMissing),
        ("user information in the target", get("http://u:p@a/"), E::TargetUserinfo),
        ("fragment", get("/x#frag?key=secret"), E::TargetFragment),
        ("fragment after the query", get("/x?a=b#c"), E::TargetFragment),
        ("fragment after the authority", get("http://a#x"), E::TargetFragment),
        ("UTF-8 in the target", get("/\u{e4}"), E::TargetNonAscii),
        ("control character in the target", get("/a\x01b"), E::ControlByte),
        ("tab in the target", get("/a\tb"), E::TargetByte),
        ("backslash in the path", get("/a\\b"), E::TargetByte),
        ("space in the target", get("/a b"), E::TargetSpace),
        ("two spaces before the target", get(" /"), E::TargetSpace),
        ("no leading slash", get("x"), E::TargetForm),
        ("authority as target", get("a:443"), E::TargetForm),
        ("query without a path", get("?a=b"), E::TargetForm),
        ("star for another method", get("*"), E::TargetForm),
        ("unknown scheme", get("ftp://a/"), E::TargetForm),
        ("absolute target without authority", get("http:///x"), E::TargetForm),
        ("absolute target without a path but a query", get("http://a?b"), E::TargetForm),
        ("empty line first", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), E::LeadingLine),
        ("line feed first", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), E::LeadingLine),
        ("mixed-case method", line("GeT / HTTP/1.1"), E::MethodCase),
        ("lower-case method", line("get / HTTP/1.1"), E::MethodCase),
        ("method that is no token", line("GE(T / HTTP/1.1"), E::MethodInvalid),
        ("no method", line(" / HTTP/1.1"), E::MethodInvalid),
        ("method that never ends", line(&format!("{} / HTTP/1.1", "A".repeat(40))), E::MethodInvalid),
        ("tunnel request", line("CONNECT a:443 HTTP/1.1"), E::MethodConnect),
        ("version 1.2", line("GET / HTTP/1.2"), E::Version),
        ("version 2.0", line("GET / HTTP/2.0"), E::Version),
        ("version 0.9", line("GET / HTTP/0.9"), E::Version),
        ("version in lower case", line("GET / http/1.1"), E::RequestLine),
        ("version with more digits", line("GET / HTTP/1.10"), E::Version),
        ("request line without a version", line("GET /"), E::RequestLine),
        ("request line of one word", line("GET"), E::RequestLine),
        ("space after the version", line("GET / HTTP/1.1 "), E::RequestLine),
        (
            "upgrade with a length",
            with("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3"),
            E::UpgradeWithBody,
        ),
        (
            "upgrade with chunks",
            with("Connection: x, Upgrade\r\nUpgrade: WebSocket\r\nTransfer-Encoding: chunked"),
            E::UpgradeWithBody,
        ),
        ("empty header name", with(": a"), E::FieldName),
        ("header name with a bracket", with("X[]: a"), E::FieldName),
        ("header name with a space", with("X Y: a"), E::FieldName),
        ("line without a colon", with("abc"), E::FieldWithoutColon),
        ("101 headers", with(&vec!["X: y"; 100].join("\r\n")), E::FieldsTooMany),
        ("500 KB header", with(&format!("X: {}", "y".repeat(500_000))), E::HeadTooLarge),
        ("many headers of 1 KB", with(&vec![format!("X: {}", "y".repeat(1020)); 20].join("\r\n")), E::HeadTooLarge),
        ("70 KB URL", get(&format!("/{}", "x".repeat(70_000))), E::UrlTooLong),
        ("URL one byte too long", get(&format!("/{}", "x".repeat(8192))), E::UrlTooLong),
        ("TLS on a plain port", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), E::ControlByte),
    ];
    // What follows a head must not be read as a request, whatever is wrong with the head.
    for (_, bytes, _) in &mut faults {
        bytes.extend_from_slice(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    faults
}

fn body_faults() -> Vec<Fault> {
    use GateError as E;
    let chunked = |body: &str| with(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"));
    vec![
        ("chunk size with a bare line feed", chunked("5\nhello\r\n0\r\n"), E::ChunkLineEnd),
        ("chunk size that overflows", chunked("fffffffffffffffff\r\nhello\r\n0\r\n"), E::ChunkOverflow),
        ("chunk size with a prefix", chunked("0x5\r\nhello\r\n0\r\n"), E::ChunkSize),
        ("chunk size with a sign", chunked("+5\r\nhello\r\n0\r\n"), E::ChunkSize),
        ("chunk size with a space", chunked("5 \r\nhello\r\n0\r\n"), E::ChunkSize),
        ("no chunk size", chunked("\r\nhello\r\n0\r\n"), E::ChunkSize),
        ("chunk extension", chunked("5;a=b\r\nhello\r\n0\r\n"), E::ChunkExtension),
        ("chunk data without CRLF", chunked("5\r\nhello0\r\n"), E::ChunkLineEnd),
        ("chunk data that is longer", chunked("5\r\nhelloworld\r\n0\r\n"), E::ChunkLineEnd),
        ("chunk data with a bare line feed", chunked("5\r\nhello\n0\r\n"), E::ChunkLineEnd),
        ("last chunk with a bare line feed", chunked("5\r\nhello\r\n0\n"), E::ChunkLineEnd),
        ("bare line feed after the last chunk", chunked("0\r\n\nGET / HTTP/1.1"), E::BareLf),
        ("trailer that frames", chunked("0\r\nContent-Length: 5"), E::TrailerForbidden),
        ("trailer that routes", chunked("0\r\nHost: b"), E::TrailerForbidden),
        ("folded trailer", chunked("0\r\nX: a\r\n b"), E::FieldFolded),
        ("trailers that never end", chunked(&format!("0\r\nX: {}", "y".repeat(5000))), E::TrailersTooLarge),
        ("101 trailers", chunked(&format!("0\r\n{}", vec!["X: y"; 101].join("\r\n"))), E::FieldsTooMany),
    ]
}

/// Streams that must go through as they are, with how many heads each holds.
pub(crate) fn good() -> Vec<(&'static str, Vec<u8>, u64)> {
    let two = |first: Vec<u8>| [first, get("/next")].concat();
    vec![
        ("a plain request", get("/"), 1),
        ("three in a row", [get("/1"), get("/2"), get("/3")].concat(), 3),
        ("a slash more", two(get("//host/x")), 2),
        ("dot segments", two(get("/a/../b/%2e%2e/%2f;x")), 2),
        ("raw JSON in the URL", two(get("/{\"a\":1}?q={[|]}^`\\")), 2),
        ("a target of 8 KiB", two(get(&format!("/{}", "x".repeat(8191)))), 2),
        ("a header block of 16 KiB", two(with(&format!("X: {}", "y".repeat(16 * 1024 - 9 - 3 - 4)))), 2),
        ("100 headers", two(with(&vec!["X: y"; 99].join("\r\n"))), 2),
        ("the absolute form", two(b"GET http://A:80/x?y HTTP/1.1\r\nHost: a:80\r\n\r\n".to_vec()), 2),
        ("the absolute form without a path", two(get("HTTP://A")), 2),
        ("options for the server", two(line("OPTIONS * HTTP/1.1")), 2),
        ("an extension method", two(line("M-SEARCH / HTTP/1.1")), 2),
        ("a method for the policy", two(line("TRACE / HTTP/1.1")), 2),
        ("an address as host", two(hosts("Host: [::1]:8787")), 2),
        ("white space around a value", two(hosts("Host: \t a \t")), 2),
        ("empty values", two(with("X:\r\nY: ")), 2),
        ("an unknown expectation", two(with("Expect: junk")), 2),
        ("a name with underscores", two(with("x_goog_api_key: a")), 2),
        ("a connection that names a header", two(with("Connection: x-goog-api-key")), 2),
        (
            "a switch to HTTP/2",
            two(with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk")),
            2,
        ),
        ("a switch to HTTP/2 with a body", two(sized("Connection: Upgrade\r\nUpgrade: h2c", "hi")), 2),
        ("an upgrade without the connection option", two(with("Upgrade: websocket")), 2),
        ("a length of zero", two(with("Content-Length: 0")), 2),
        ("a body", two(sized("X: y", "hello")), 2),
        ("a body that looks like a request", two(sized("X: y", "GET /x HTTP/1.1\r\n\r\n")), 2),
        ("chunks", two(with("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00A\r\n0123456789\r\n0")), 2),
        ("chunks and trailers", two(with("Transfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\nY: 2")), 2),
        ("HTTP/1.0 without a host", b"GET / HTTP/1.0\r\n\r\n".to_vec(), 1),
        ("HTTP/1.0 that goes on", two(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec()), 2),
    ]
}
