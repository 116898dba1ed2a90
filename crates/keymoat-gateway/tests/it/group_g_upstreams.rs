//! Group G of the bad inputs and faults: upstreams whose name leads inside, and answers that repeat the real key.

use std::io::Write;

use base64::Engine;
use keymoat_core::Code;
use keymoat_core::record::Outcome;
use keymoat_core::route::QueryPolicy;
use keymoat_gateway::settings::{Limits, Origin, Upstream};

use crate::scripted::{Scripted, Then, header, switch};
use crate::stand::{REAL_KEY, Stand, close_of, generic, read_frame, upstream};

/// A gateway whose `/x/*` leads to `scripted`, under another name for its address.
fn by_name(scripted: &Scripted, host: &str, change: impl FnOnce(&mut Upstream)) -> Stand {
    let origin = Origin { tls: false, host: host.into(), port: scripted.address.port() };
    let mut named = Upstream {
        allow_private: Upstream::new("x", origin.clone()).allow_private,
        origin,
        ..upstream("x", scripted.address, "x-api-key")
    };
    change(&mut named);
    Stand::with(Limits::default(), |settings| {
        settings.threads = 1;
        settings.routes.push(generic("x", "x", &["/x/*"], QueryPolicy::Tokens));
        settings.upstreams.push(named);
    })
}

fn key(stand: &Stand) -> String {
    format!("X-API-Key: {}\r\n", stand.key)
}

fn answering_ok() -> Scripted {
    Scripted::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::KeepAlive
    })
}

#[test]
fn g91_a_name_that_leads_inside_is_not_dialled() {
    let scripted = answering_ok();
    // Spellings that only the resolver reads as an address; to everybody else they are names.
    for host in ["127.1", "2130706433", "0x7f.0.0.1"] {
        let stand = by_name(&scripted, host, |_| {});
        let answer = stand.fetch("/x/y", &key(&stand));
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_failed"), "{host}: {answer}");
        assert!(!answer.contains("127.0.0.1"), "the client is not told what is inside: {answer}");
        let (_, mut stream) = stand.open_websocket("/x/y", &key(&stand));
        assert_eq!(close_of(&read_frame(&mut stream)).0, 1014);
        for record in stand.records(2) {
            assert_eq!((record.outcome, record.code), (Outcome::Failed, Some(Code::UpstreamFailed)));
            let cause = record.cause.unwrap_or_default();
            assert!(cause.contains("127.0.0.1 is loopback") && cause.contains("allow_private"), "{cause}");
        }
    }
    assert_eq!(scripted.accepted(), 0, "no connection, and so no key");
}

#[test]
fn g91_an_address_that_was_written_out_and_a_name_that_may_lead_inside_are_dialled() {
    let scripted = answering_ok();
    for stand in [
        by_name(&scripted, "127.0.0.1", |_| {}),
        by_name(&scripted, "localhost", |_| {}),
        by_name(&scripted, "127.1", |upstream| upstream.allow_private = true),
    ] {
        assert!(stand.fetch("/x/y", &key(&stand)).starts_with("HTTP/1.1 200 "));
    }
    let stand = by_name(&scripted, "localhost", |upstream| upstream.allow_private = false);
    assert!(stand.fetch("/x/y", &key(&stand)).starts_with("HTTP/1.1 502 "));
}

/// The forms in which a server may repeat a key.
fn forms() -> Vec<String> {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{REAL_KEY}"));
    vec![REAL_KEY.to_owned(), REAL_KEY.replace('-', "%2D"), REAL_KEY.replace('-', "%2d"), basic]
}

fn in_front_of_one(scripted: &Scripted) -> Stand {
    by_name(scripted, "127.0.0.1", |_| {})
}

/// Nothing of the key, in no form: not even so much of it that the rest could be guessed.
fn assert_masked(text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{text}");
    }
    assert!(!text.contains("upstream-key") && !text.contains("UkVBTC11cHN0cmVhbS1rZXkt"), "{text}");
}

#[test]
fn g90_a_redirect_is_passed_on_without_the_key_and_not_followed() {
    let elsewhere = answering_ok();
    let target = format!("http://{}/y?api_key={REAL_KEY}&n=1", elsewhere.address);
    let scripted = Scripted::answering(format!(
        "HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ));
    let stand = in_front_of_one(&scripted);
    let answer = stand.fetch("/x/y", &key(&stand));
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    let location = format!("http://{}/y?api_key=[redacted]&n=1", elsewhere.address);
    assert_eq!(header(&answer, "location").as_deref(), Some(location.as_str()));
    assert_eq!((scripted.accepted(), elsewhere.accepted()), (1, 0));
}

#[test]
fn a_failure_that_repeats_the_real_key_reaches_the_client_without_it() {
    for form in forms() {
        let body = format!("{{\"error\":\"the key {form} is disabled\",\"again\":\"{form}\"}}");
        let scripted = Scripted::answering(format!(
            "HTTP/1.1 403 Forbidden\r\nX-Rejected: {form}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ));
        let stand = in_front_of_one(&scripted);
        let answer = stand.fetch("/x/y", &key(&stand));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert_masked(&answer);
        assert_eq!(answer.matches("[redacted]").count(), 3, "{answer}");
        assert!(answer.contains("is disabled") && answer.contains("\"}\r\n0\r\n\r\n"), "the rest is there: {answer}");
        assert!(header(&answer, "content-length").is_none(), "the length has changed: {answer}");
        assert_eq!(stand.records(1)[0].outcome, Outcome::Allowed);
    }
}

#[test]
fn a_key_that_is_split_over_the_parts_of_a_failure_is_found() {
    for pieces in [1, 2, 7] {
        let scripted = Scripted::start(move |stream, _| {
            let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n");
            for part in format!("<{REAL_KEY}|{REAL_KEY}>").as_bytes().chunks(pieces) {
                let _ = write!(stream, "{:x}\r\n", part.len());
                let _ = stream.write_all(part).and_then(|()| stream.write_all(b"\r\n"));
                let _ = stream.flush();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            // What could be its beginning, and then is not.
            let _ = write!(stream, "8\r\n{}\r\n0\r\n\r\n", &REAL_KEY[..8]);
            Then::KeepAlive
        });
        let stand = in_front_of_one(&scripted);
        let answer = stand.fetch("/x/y", &key(&stand));
        let body: String =
            answer.split("\r\n").skip_while(|line| !line.is_empty()).skip(1).skip(1).step_by(2).collect();
        assert_eq!(body, format!("<[redacted]|[redacted]>{}", &REAL_KEY[..8]), "{answer}");
    }
}

#[test]
fn the_body_of_a_success_is_not_touched_and_its_head_is() {
    let scripted = Scripted::answering(format!(
        "HTTP/1.1 200 OK\r\nX-Your-Key: {REAL_KEY}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{REAL_KEY}",
        REAL_KEY.len()
    ));
    let stand = in_front_of_one(&scripted);
    let answer = stand.fetch("/x/y", &key(&stand));
    assert_eq!(header(&answer, "x-your-key").as_deref(), Some("[redacted]"));
    assert!(answer.ends_with(REAL_KEY) && header(&answer, "content-length").is_some(), "{answer}");
}

#[test]
fn an_upstream_s_close_reason_that_repeats_the_real_key_is_masked() {
    let scripted = Scripted::start(|stream, head| {
        let _ = stream.write_all(switch(head, "").as_bytes());
        let mut close = vec![0x88, u8::try_from(2 + 4 + REAL_KEY.len() + 1).expect("short")];
        close.extend(1008_u16.to_be_bytes());
        close.extend(format!("bad {REAL_KEY}!").as_bytes());
        let _ = stream.write_all(&close);
        std::thread::sleep(std::time::Duration::from_millis(300));
        Then::Close
    });
    let stand = in_front_of_one(&scripted);
    let (head, mut stream) = stand.open_websocket("/x/y", &key(&stand));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(close_of(&read_frame(&mut stream)), (1008, String::from("bad [redacted]!")));
}

#[test]
fn an_upstream_that_refuses_a_websocket_with_the_real_key_tells_nobody() {
    let scripted = Scripted::answering(format!(
        "HTTP/1.1 401 {REAL_KEY}\r\nX-Key: {REAL_KEY}\r\nContent-Length: 34\r\nConnection: close\r\n\r\n{REAL_KEY}"
    ));
    let stand = in_front_of_one(&scripted);
    let (head, mut stream) = stand.open_websocket("/x/y", &key(&stand));
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 1014);
    assert_masked(&format!("{head}{reason}{:?}", stand.records(1)));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).expect("memory")
}

fn zlib(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).expect("memory")
}

/// An upstream that answers with this body under this coding.
fn coded(status: &str, coding: &str, body: &[u8]) -> Scripted {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Encoding: {coding}\r\nContent-Type: text/plain\r\nETag: \"coded\"\r\n\
         Retry-After: 7\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    Scripted::answering([head.as_bytes(), body].concat())
}

#[test]
fn a_compressed_failure_that_repeats_the_real_key_reaches_the_client_decoded_and_without_it() {
    for form in forms() {
        let text = format!("the key {form} is disabled, really: {form}");
        for (coding, body) in [("gzip", gzip(&text)), ("x-gzip", gzip(&text)), ("deflate", zlib(&text))] {
            for status in ["403 Forbidden", "500 Internal Server Error", "302 Found"] {
                let scripted = coded(status, coding, &body);
                let stand = in_front_of_one(&scripted);
                let answer = stand.fetch("/x/y", &key(&stand));
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
                assert_masked(&answer);
                assert!(answer.contains(" is disabled, really: ") && answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
                for gone in ["content-encoding", "content-length", "etag"] {
                    assert_eq!(header(&answer, gone), None, "{answer}");
                }
                assert_eq!(header(&answer, "retry-after").as_deref(), Some("7"));
                assert_eq!(stand.records(1)[0].outcome, Outcome::Allowed);
            }
        }
    }
}

#[test]
fn a_failure_in_a_coding_that_cannot_be_looked_into_is_withheld() {
    let body = gzip(&format!("the key {REAL_KEY} is disabled"));
    for coding in ["br", "zstd", "gzip, gzip", "x-mine"] {
        let scripted = coded("429 Too Many Requests", coding, &body);
        let stand = in_front_of_one(&scripted);
        let answer = stand.fetch("/x/y", &key(&stand));
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        let (head, text) = answer.split_once("\r\n\r\n").expect("a body");
        assert_eq!(header(head, "content-type").as_deref(), Some("application/problem+json"));
        assert_eq!((header(head, "content-encoding"), header(head, "retry-after")), (None, Some(String::from("7"))));
        let document: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(document["status"], 429);
        assert!(document["detail"].as_str().is_some_and(|detail| detail.contains("withheld")), "{text}");
        let record = &stand.records(1)[0];
        assert!(record.cause.as_deref().is_some_and(|cause| cause.contains("coding")), "{record:?}");
    }
}

#[test]
fn a_failure_that_is_not_in_the_coding_that_it_names_is_broken_off() {
    let whole = gzip(&format!("the key {REAL_KEY} is disabled"));
    for body in [&b"plain text"[..], &whole[..whole.len() - 5]] {
        let scripted = coded("403 Forbidden", "gzip", body);
        let stand = in_front_of_one(&scripted);
        let answer = stand.fetch("/x/y", &key(&stand));
        assert_masked(&answer);
        assert!(!answer.ends_with("\r\n0\r\n\r\n"), "a part is not taken for the whole: {answer}");
        assert_eq!(stand.records(1)[0].outcome, Outcome::Failed);
    }
}

#[test]
fn the_coding_of_a_success_and_of_an_upstream_without_a_key_is_left_alone() {
    let body = gzip("well");
    let scripted = coded("200 OK", "gzip", &body);
    let stand = in_front_of_one(&scripted);
    let answer = stand.fetch("/x/y", &format!("Accept-Encoding: br;q=1, gzip\r\n{}", key(&stand)));
    assert_eq!(header(&answer, "content-encoding").as_deref(), Some("gzip"));
    assert_eq!(header(&answer, "content-length"), Some(body.len().to_string()));
    assert_eq!(header(&scripted.heads()[0], "accept-encoding").as_deref(), Some("gzip"), "what can be looked into");
    let scripted = coded("403 Forbidden", "br", b"whatever it is");
    let stand = by_name(&scripted, "127.0.0.1", |upstream| upstream.secret = None);
    let answer = stand.fetch("/x/y", &format!("Accept-Encoding: br\r\n{}", key(&stand)));
    assert!(answer.ends_with("\r\n\r\nwhatever it is"), "{answer}");
    assert_eq!(header(&answer, "content-encoding").as_deref(), Some("br"));
    assert_eq!(header(&scripted.heads()[0], "accept-encoding").as_deref(), Some("br"));
}

/// An answer with trailers that should not be there.
fn with_trailers() -> Scripted {
    Scripted::answering(format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n5\r\nhello\r\n0\r\n\
         X-Sum: {REAL_KEY}\r\nSet-Cookie: upstream=1\r\nX-Fine: 1\r\nConnection: x-fine\r\nContent-Length: 7\r\n\
         Access-Control-Allow-Origin: *\r\nGrpc-Status: 0\r\n\r\n"
    ))
}

#[test]
fn trailers_of_an_upstream_are_dropped_over_http_1() {
    let scripted = with_trailers();
    let stand = in_front_of_one(&scripted);
    let answer = stand.fetch("/x/y", &format!("TE: trailers\r\n{}", key(&stand)));
    assert!(answer.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{answer}");
    assert_eq!(header(&answer, "trailer"), None);
    assert_masked(&answer);
}

#[tokio::test]
async fn trailers_of_an_upstream_are_cleaned_and_masked_over_http_2() {
    let scripted = with_trailers();
    let stand = in_front_of_one(&scripted);
    let stream = tokio::net::TcpStream::connect(stand.address).await.expect("it listens");
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    let request = http::Request::get("http://a.example/x/y").header("x-api-key", &stand.key).header("te", "trailers");
    let mut sender = sender.ready().await.expect("it stands");
    let (answer, _) = sender.send_request(request.body(()).expect("well formed"), true).expect("sent");
    let mut body = answer.await.expect("an answer").into_body();
    assert_eq!(body.data().await.expect("data").expect("whole"), "hello");
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.expect("no reset").expect("trailers");
    let mut shown: Vec<_> = trailers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    shown.sort();
    assert_eq!(shown, ["grpc-status: \"0\"", "x-sum: \"[redacted]\""]);
}
