//! Group A of the bad inputs: HTTP and smuggling. Each test looks at the answer and at what the upstream saw.

use std::io::{Read, Write};

use keymoat_gateway::settings::Limits;

use crate::scripted::{Scripted, Then, header, in_front_of};
use crate::stand::{REAL_KEY, Stand, read_all, read_all_or_reset, read_head, wait_until};

/// Sends `request`, in which `KEY` stands for the key, and reads until the gateway closes.
fn exchange(stand: &Stand, request: &str) -> String {
    let answer = stand.exchange(&request.replace("KEY", &stand.key));
    assert!(!answer.contains(&stand.key), "no answer shows the credential: {answer}");
    answer
}

/// The request is answered with `status` as the only answer, the connection closed, and the upstream saw nothing.
fn refuses(stand: &Stand, status: u16, request: &str) {
    let answer = exchange(stand, request);
    let shown = request.get(..request.len().min(200)).unwrap_or_default();
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?} was answered {answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?} was answered {answer:?}");
    assert!(stand.recorder.requests().is_empty(), "{shown:?} went upstream");
}

/// A good request that a smuggler puts behind a bad one.
const BEHIND: &str = "GET /demo/echo?smuggled HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: close\r\n\r\n";

/// Refuses the request with a head of these lines, and the one behind it too.
fn refuses_lines(stand: &Stand, status: u16, lines: &str) {
    let head = format!("POST /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n{lines}\r\n");
    refuses(stand, status, &format!("{head}0\r\n\r\n{BEHIND}"));
}

#[test]
fn a01_a_length_beside_chunked_is_refused() {
    let stand = Stand::start();
    refuses_lines(&stand, 400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
    refuses_lines(&stand, 400, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n");
    refuses_lines(&stand, 400, "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n");
}

#[test]
fn a02_a03_two_lengths_are_refused_equal_or_not() {
    let stand = Stand::start();
    refuses_lines(&stand, 400, "Content-Length: 4\r\nContent-Length: 5\r\n");
    refuses_lines(&stand, 400, "Content-Length: 5\r\nContent-Length: 5\r\n");
}

#[test]
fn a04_a_length_that_is_no_plain_number_is_refused() {
    let stand = Stand::start();
    for length in ["04", "+4", "0x4", "4, 4", "-1", "18446744073709551616", "", "4 4", "４"] {
        refuses_lines(&stand, 400, &format!("Content-Length: {length}\r\n"));
    }
}

#[test]
fn a05_a06_another_transfer_coding_than_exactly_chunked_is_refused() {
    let stand = Stand::start();
    for lines in [
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: \r\n",
        " Transfer-Encoding: chunked\r\n",
    ] {
        refuses_lines(&stand, 400, lines);
    }
}

#[test]
fn a07_a_transfer_coding_on_http_1_0_is_refused() {
    let stand = Stand::start();
    let head = "POST /demo/echo HTTP/1.0\r\nHost: a\r\nX-API-Key: KEY\r\nTransfer-Encoding: chunked\r\n\r\n";
    refuses(&stand, 400, &format!("{head}0\r\n\r\n"));
}

#[test]
fn a08_bare_line_feeds_are_refused() {
    let stand = Stand::start();
    refuses(&stand, 400, "GET /demo/echo HTTP/1.1\nHost: a\nX-API-Key: KEY\n\n");
    refuses(&stand, 400, "GET /demo/echo HTTP/1.1\r\nHost: a\nX-API-Key: KEY\r\n\r\n");
    refuses(&stand, 400, "GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n\n");
}

#[test]
fn a09_a_broken_chunk_never_becomes_a_complete_body() {
    for (chunks, what) in [
        ("5\r\nhello\n0\r\n\r\n", "bare line feed"),
        ("5\nhello\r\n0\r\n\r\n", "bare line feed"),
        ("ffffffffffffffff1\r\nhello\r\n0\r\n\r\n", "size overflow"),
        ("5\r\nhello\r\n0x0\r\n\r\n", "prefix"),
        ("5\r\nhelloworld\r\n0\r\n\r\n", "missing CRLF"),
        ("5\r\nhello\r\n5;a=b\r\nhello\r\n0\r\n\r\n", "extension"),
        ("5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", "forbidden trailer"),
        ("5\r\nhello\r\n-5\r\nhello\r\n0\r\n\r\n", "sign"),
    ] {
        let stand = Stand::start();
        let head = "POST /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = exchange(&stand, &format!("{head}{chunks}{BEHIND}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer:?}");
        for request in stand.recorder.requests() {
            assert_eq!((request.query.as_deref(), request.body_bytes), (None, 0), "{what}: a body came to its end");
        }
    }
}

#[test]
fn a09_an_upstream_sees_the_connection_break_and_no_last_chunk() {
    let scripted = Scripted::start(|stream, _| {
        let body = read_all_or_reset(stream);
        assert!(body.contains("hello") && !body.contains("\r\n0\r\n"), "{body:?}");
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits::default());
    let head = "POST /x/y HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut stream = stand.connect();
    stream.write_all(head.replace("KEY", &stand.key).as_bytes()).expect("sent");
    stream.write_all(b"5\r\nhello\r\n").expect("sent");
    wait_until(|| scripted.heads().len() == 1);
    stream.write_all(b"5\nhello\r\n0\r\n\r\n").expect("sent");
    let answer = read_all(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(scripted.heads().len(), 1);
}

#[test]
fn a10_control_characters_in_a_header_are_refused() {
    let stand = Stand::start();
    for line in ["X: a\0b", "X: a\rb", "X: a\x0bb", "X: a\x1bb", "X: a\x7fb", "X\0: a", "X Y: a", "X"] {
        refuses_lines(&stand, 400, &format!("{line}\r\n"));
    }
}

#[test]
fn a11_no_host_and_two_hosts_are_refused() {
    let stand = Stand::start();
    refuses(&stand, 400, "GET /demo/echo HTTP/1.1\r\nX-API-Key: KEY\r\n\r\n");
    refuses(&stand, 400, "GET /demo/echo HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-API-Key: KEY\r\n\r\n");
    refuses(&stand, 400, "GET /demo/echo HTTP/1.1\r\nHost: a\r\nHost: a\r\nX-API-Key: KEY\r\n\r\n");
    for host in ["", "a b", "a,b", "a/b", "u@a", "a:x"] {
        refuses(&stand, 400, &format!("GET /demo/echo HTTP/1.1\r\nHost: {host}\r\nX-API-Key: KEY\r\n\r\n"));
    }
}

#[test]
fn a12_a_target_that_names_another_host_or_a_user_is_refused() {
    let stand = Stand::start();
    for target in ["http://b/demo/echo", "http://u:p@a/demo/echo", "ftp://a/demo/echo", "a:80"] {
        refuses(&stand, 400, &format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n\r\n"));
    }
    let answer =
        exchange(&stand, "GET http://a/demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = &stand.recorder.requests()[0];
    assert_eq!(seen.path, "/demo/echo");
    assert_ne!(seen.header("host"), Some("a"), "the upstream's own host goes to the upstream");
}

#[test]
fn a13_a_path_is_canonical_before_it_is_routed_or_refused() {
    let stand = Stand::start();
    for path in [
        "/demo/../api/events",
        "/demo/./echo",
        "/demo/%2e%2e/api/events",
        "/demo%2fecho",
        "/demo%5cecho",
        "/demo\\echo",
        "/demo/echo;x",
        "/demo/echo%00",
        "/demo/%252e%252e/echo",
        "/demo/echo/\u{e9}",
        "/demo/%ff",
        "demo/echo",
        "*",
    ] {
        refuses(&stand, 400, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: close\r\n\r\n"));
    }
    // Not an authority: one path with its slashes collapsed.
    refuses(&stand, 404, "GET //evil.example/x HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: close\r\n\r\n");
    for path in ["//demo/echo", "/demo//echo", "/%64emo/echo", "///demo/%65cho"] {
        let answer =
            exchange(&stand, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    assert!(stand.recorder.requests().iter().all(|seen| seen.path == "/demo/echo"));
}

#[test]
fn a14_a_fragment_is_refused() {
    let stand = Stand::start();
    for target in ["/demo/echo#frag?key=KEY", "/demo/echo?a=1#key=KEY", "/demo/echo#", "#", "http://a#/demo/echo"] {
        refuses(&stand, 400, &format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n\r\n"));
    }
}

#[test]
fn a15_heads_over_their_limits_are_refused() {
    let stand = Stand::start();
    let many: String = (0..99).map(|n| format!("X-{n}: a\r\n")).collect();
    refuses(&stand, 431, &format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n{many}\r\n"));
    let large = "y".repeat(500_000);
    refuses(&stand, 431, &format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nX: {large}\r\n\r\n"));
    let long = "z".repeat(70_000);
    refuses(&stand, 414, &format!("GET /demo/echo?{long} HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n\r\n"));
    let long = "z".repeat(8193 - "/demo/echo?".len());
    refuses(&stand, 414, &format!("GET /demo/echo?{long} HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n\r\n"));
}

#[test]
fn a15_heads_just_within_their_limits_pass() {
    let stand = Stand::start();
    let head = "GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: close\r\n";
    // Three of the hundred are replaced by the gateway's own, so that the upstream, too, sees a hundred.
    let forwarded = "X-Forwarded-For: b\r\nX-Forwarded-Proto: b\r\nX-Forwarded-Host: b\r\n";
    let many = (0..94).map(|n| format!("X-{n}: a\r\n")).collect::<String>() + forwarded;
    let large = format!("X: {}\r\n", "y".repeat(15_000));
    for lines in [many, large] {
        let answer = exchange(&stand, &format!("{head}{lines}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let query = "z".repeat(8192 - "/demo/echo?".len());
    let answer =
        exchange(&stand, &head.replace("/echo", &format!("/echo?{query}")).replace("close\r\n", "close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{}", &answer[..200]);
    let seen = stand.recorder.requests();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[2].query.as_deref().map(str::len), Some(query.len()));
}

#[test]
fn the_answer_to_a_last_request_is_sent_whatever_follows_it() {
    let stand = Stand::start();
    let good = "GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: close\r\n\r\n";
    for behind in [BEHIND, "junk", "junk\r\n\r\n"] {
        let answer = exchange(&stand, &format!("{good}{behind}"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{behind:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    let seen = stand.recorder.requests();
    assert!(seen.len() == 3 && seen.iter().all(|request| request.query.is_none()), "{seen:?}");
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending_its_body() {
    let stand = Stand::start();
    for length in [20_000, 200_000, 1_000_000] {
        let head =
            format!("POST /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: wrong\r\nContent-Length: {length}\r\n\r\n");
        let mut stream = stand.connect();
        let mut sending = stream.try_clone().expect("a second handle");
        let sender = std::thread::spawn(move || {
            // The gateway may stop reading before all is sent.
            let _ = sending.write_all(head.as_bytes());
            std::iter::repeat_n([b'x'; 1000], length / 1000).all(|part| sending.write_all(&part).is_ok());
        });
        let answer = read_head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{length}: {answer:?}");
        // Slowly, as by a client that sends first and reads then.
        sender.join().expect("no panic");
        let length = header(&answer, "content-length").and_then(|length| length.parse().ok()).expect("a length");
        let mut document = vec![0; length];
        stream.read_exact(&mut document).expect("the whole answer, and no reset before it");
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn a16_an_upgrade_with_a_body_is_refused() {
    let stand = Stand::start();
    for body in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let request = format!("{}{body}\r\nhello", UPGRADE.replace("PATH", "/demo/ws"));
        refuses(&stand, 400, &format!("{request}{BEHIND}"));
    }
}

const UPGRADE: &str = "GET PATH HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn a16_a_request_behind_an_upgrade_that_the_upstream_answers_200_goes_nowhere() {
    let scripted = Scripted::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        Then::KeepAlive
    });
    let stand = in_front_of(&scripted, Limits::default());
    let request = format!("{}\r\n{}", UPGRADE.replace("PATH", "/x/ws"), BEHIND.replace("/demo/echo", "/x/echo"));
    let mut stream = stand.connect();
    stream.write_all(request.replace("KEY", &stand.key).as_bytes()).expect("sent");
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "a refusal that a browser can read: {head}");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("closed");
    assert_eq!(rest.first(), Some(&0x88), "a close frame: {rest:?}");
    assert_eq!(rest.get(2..4), Some(&1014_u16.to_be_bytes()[..]));
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "{rest:?}");
    let heads = scripted.heads();
    assert_eq!((heads.len(), heads[0].contains("smuggled")), (1, false), "{heads:?}");
}

#[test]
fn a16_a_request_behind_a_refused_upgrade_goes_nowhere() {
    let stand = Stand::start();
    let upgrade = UPGRADE.replace("PATH", "/demo/ws").replace("Version: 13", "Version: 12");
    refuses(&stand, 426, &format!("{upgrade}\r\n{BEHIND}"));
    let upgrade = UPGRADE.replace("PATH", "/nowhere");
    refuses(&stand, 404, &format!("{upgrade}\r\n{BEHIND}"));
}

#[test]
fn a17_an_upgrade_to_h2c_is_ignored_and_not_passed_on() {
    let stand = Stand::start();
    let answer = exchange(
        &stand,
        "GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: close, Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = stand.recorder.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].header("upgrade"), seen[0].header("http2-settings")), (None, None));
}

#[test]
fn a18_connection_cannot_remove_what_the_gateway_puts_on() {
    let stand = Stand::start();
    for named in ["x-api-key", "X-API-Key, close", "x-forwarded-for, x-forwarded-host", "host", "content-length"] {
        stand.recorder.clear();
        let answer = exchange(
            &stand,
            &format!(
                "POST /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nContent-Length: 5\r\n\
                 Connection: {named}\r\nConnection: close\r\n\r\nhello"
            ),
        );
        assert!(answer.starts_with("HTTP/1.1 200 "), "{named}: {answer}");
        let seen = &stand.recorder.requests()[0];
        assert_eq!(seen.header("x-api-key"), Some(REAL_KEY), "{named}");
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "{named}");
        assert_eq!(seen.body_bytes, 5, "{named}");
    }
    let answer = stand.fetch(
        "/v1beta/models",
        &format!(
            "x-goog-api-key: {}\r\nConnection: x-goog-api-key\r\nConnection: X-Other\r\nX-Other: 1\r\n",
            stand.key
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = stand.recorder.requests();
    let seen = seen.last().expect("one more");
    assert_eq!((seen.header("x-goog-api-key"), seen.header("x-other")), (Some(REAL_KEY), None));
}

#[test]
fn a19_underscores_and_repeated_credential_headers_never_reach_the_upstream() {
    let stand = Stand::start();
    for line in ["x_goog_api_key: KEY", "X_API_Key: KEY", "x_api-key: other"] {
        refuses_lines(&stand, 400, &format!("Content-Length: 0\r\nConnection: close\r\n{line}\r\n"));
    }
    let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {0}\r\nX-API-Key: {0}\r\nX_Other: 1\r\n", stand.key));
    assert!(answer.starts_with("HTTP/1.1 200 "), "equal copies are one credential: {answer}");
    let seen = &stand.recorder.requests()[0];
    let keys: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "x-api-key").collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(seen.header("x_other"), None);
    let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\nX-API-Key: another\r\n", stand.key));
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("credential_ambiguous"), "{answer}");
    assert_eq!(stand.recorder.requests().len(), 1);
}

#[test]
fn a20_methods_that_are_not_taken_are_refused() {
    let stand = Stand::start();
    for (method, status) in [("TRACE", 405), ("PROPFIND", 405), ("PRIV", 405), ("GeT", 400), ("get", 400), ("G=T", 400)]
    {
        let request = format!("{method} /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nConnection: close\r\n\r\n");
        refuses(&stand, status, &request);
    }
    refuses(&stand, 405, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nX-API-Key: KEY\r\n\r\n");
    let answer = exchange(&stand, "TRACE /demo/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.to_ascii_lowercase().contains("\r\nallow: get"), "{answer}");
}

#[test]
fn a22_an_expectation_that_nobody_knows_is_refused_and_100_continue_is_met() {
    let stand = Stand::start();
    let head = "POST /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\nContent-Length: 5\r\nConnection: close\r\n";
    refuses(&stand, 417, &format!("{head}Expect: junk\r\n\r\nhello"));
    let mut stream = stand.connect();
    let request = format!("{head}Expect: 100-continue\r\n\r\n").replace("KEY", &stand.key);
    stream.write_all(request.as_bytes()).expect("sent");
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 100 "));
    stream.write_all(b"hello").expect("sent");
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
    let seen = &stand.recorder.requests()[0];
    assert_eq!((seen.header("expect"), seen.body_bytes), (None, 5));
}
