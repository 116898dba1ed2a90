//! The road from one end to the other, over real sockets.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keymoat_core::record::{Outcome, Protocol};
use keymoat_core::{Code, Scopes};

use crate::scripted::{Scripted, Then, in_front_of};
use crate::stand::{REAL_KEY, Stand, close_of, frame, read_all, read_frame, read_head, wait_until};

#[test]
fn a_key_in_a_header_reaches_the_upstream_as_the_real_key_alone() {
    let stand = Stand::start();
    let answer = stand.fetch("/demo/echo?a=1", &format!("X-API-Key: {}\r\nX-Other: kept\r\n", stand.key));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = stand.recorder.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("x-api-key"), Some(REAL_KEY));
    assert_eq!(seen[0].header("x-other"), Some("kept"));
    assert_eq!(seen[0].query.as_deref(), Some("a=1"));
    assert!(stand.recorder.places_of(&stand.key).is_empty());
    let record = &stand.records(1)[0];
    assert_eq!((record.outcome, record.status, record.path.as_str()), (Outcome::Allowed, Some(200), "/demo/echo"));
    assert_eq!(record.key_id.as_deref(), Some("key_one"));
    assert_eq!(record.carrier.as_ref().map(ToString::to_string).as_deref(), Some("header:x-api-key"));
    assert!(record.bytes_out > 0);
}

#[test]
fn without_a_credential_nothing_is_dialled_and_the_hint_names_a_header() {
    let stand = Stand::start();
    let answer = stand.fetch("/demo/echo", "");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("application/problem+json"));
    assert!(answer.contains("\"code\":\"credential_missing\""), "{answer}");
    assert!(!answer.contains("?"), "the query form is never advertised: {answer}");
    assert!(stand.recorder.requests().is_empty());
    assert_eq!(stand.records(1)[0].code, Some(Code::CredentialMissing));
}

#[test]
fn a_body_is_streamed_up_and_down() {
    let stand = Stand::start();
    let body = "x".repeat(300_000);
    let answer = stand.exchange(&format!(
        "POST /demo/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: {}\r\nContent-Length: {}\r\n\r\n{body}",
        stand.key,
        body.len()
    ));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{}", &answer[..200]);
    assert_eq!(stand.records(1)[0].bytes_in, 300_000);
    assert_eq!(stand.recorder.requests()[0].body_bytes, 300_000);
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let stand = Stand::start();
    let mut stream = stand.connect();
    for _ in 0..3 {
        let request = format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
        stream.write_all(request.as_bytes()).expect("sent");
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok()))
            .expect("a length");
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut stream, &mut body).expect("a body");
    }
}

#[test]
fn events_are_passed_on_as_they_come() {
    let stand = Stand::start();
    let mut stream = stand.connect();
    let request = format!("GET /demo/sse HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
    let began = Instant::now();
    stream.write_all(request.as_bytes()).expect("sent");
    let head = read_head(&mut stream);
    assert!(head.contains("text/event-stream"), "{head}");
    let mut first = [0; 64];
    let read = std::io::Read::read(&mut stream, &mut first).expect("an event");
    assert!(read > 0);
    assert!(began.elapsed() < Duration::from_secs(2), "the first event waited for the others");
    drop(stream);
    let record = &stand.records(1)[0];
    assert_eq!((record.outcome, record.status), (Outcome::Aborted, Some(200)));
}

#[test]
fn a_websocket_carries_messages_and_the_close_both_ways() {
    let stand = Stand::start();
    let headers = format!("Sec-WebSocket-Protocol: keymoat.v1, api-key.{}\r\n", stand.key);
    let (head, mut stream) = stand.open_websocket("/demo/ws", &headers);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("sec-websocket-protocol: keymoat.v1\r\n"), "{head}");
    assert!(!head.contains(&stand.key));
    stream.write_all(&frame(1, b"hello")).expect("sent");
    assert_eq!(read_frame(&mut stream), (1, b"hello".to_vec()));
    stream.write_all(&frame(9, b"are you there")).expect("sent");
    assert_eq!(read_frame(&mut stream), (10, b"are you there".to_vec()));
    stream.write_all(&frame(8, &[&4242_u16.to_be_bytes()[..], b"bye"].concat())).expect("sent");
    assert_eq!(close_of(&read_frame(&mut stream)), (4242, "bye".to_owned()));
    assert_eq!(read_all(&mut stream), "");
    let record = &stand.records(1)[0];
    assert_eq!((record.protocol, record.outcome), (Protocol::WebSocket, Outcome::Allowed));
    assert_eq!((record.close_code, record.messages_in, record.messages_out), (Some(4242), 1, 1));
    assert!(stand.recorder.places_of(&stand.key).is_empty());
}

#[test]
fn a_refused_websocket_is_opened_and_closed_with_a_reason() {
    let stand = Stand::start();
    let (head, mut stream) = stand.open_websocket("/demo/ws", "Sec-WebSocket-Protocol: keymoat.v1, api-key.wrong\r\n");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("sec-websocket-protocol: keymoat.v1\r\n"), "{head}");
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 4001);
    assert!(reason.starts_with("credential_invalid"), "{reason}");
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn gemini_live_is_opened_with_the_plain_method_and_a_clean_url() {
    let stand = Stand::start();
    let path = "//ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContentConstrained";
    let headers = format!("x-goog-api-key: {}\r\nCookie: a=b\r\nOrigin: https://app.example\r\n", stand.key);
    let (head, mut stream) = stand.open_websocket(path, &headers);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let setup = br#"{"setup":{"model":"models/gemini-2.5-flash-native-audio"}}"#;
    stream.write_all(&frame(1, setup)).expect("sent");
    let (opcode, payload) = read_frame(&mut stream);
    assert_eq!(opcode, 2, "Google answers in binary frames");
    assert!(String::from_utf8_lossy(&payload).contains("setupComplete"), "{payload:?}");
    let seen = &stand.recorder.requests()[0];
    assert_eq!(seen.path, "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent");
    assert_eq!((seen.query.as_deref(), seen.header("x-goog-api-key")), (None, Some(REAL_KEY)));
    assert_eq!((seen.header("cookie"), seen.header("origin")), (None, None));
}

#[test]
fn a_key_in_the_url_is_refused_with_a_hint_or_taken_with_a_warning() {
    let stand = Stand::start();
    let path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
    let (head, mut stream) = stand.open_websocket(&format!("{path}?key={}", stand.key), "");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 1007);
    assert!(reason.starts_with("credential_in_query: ") && reason.contains("x-goog-api-key"), "{reason}");
    let (head, mut stream) = stand.open_websocket(&format!("/warn{path}?key={}", stand.key), "");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(&frame(1, br#"{"setup":{"model":"models/gemini-2.5-flash"}}"#)).expect("sent");
    assert!(String::from_utf8_lossy(&read_frame(&mut stream).1).contains("setupComplete"));
    assert_eq!(stand.recorder.requests()[0].query, None);
}

#[test]
fn a_key_without_the_route_s_scope_is_forbidden() {
    let stand = Stand::start();
    stand.know(&stand.key, &Stand::a_key("key_one", Scopes::from_words(["events"])));
    assert!(stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\n", stand.key)).starts_with("HTTP/1.1 403 "));
    assert!(stand.fetch("/api/events", &format!("X-API-Key: {}\r\n", stand.key)).starts_with("HTTP/1.1 200 "));
}

#[test]
fn nobody_new_is_let_in_while_the_view_of_the_store_is_too_old() {
    let stand = Stand::start();
    let fresh = Arc::new(AtomicBool::new(true));
    let view = fresh.clone();
    stand.running.as_ref().expect("running").ready_while(move || view.load(Ordering::Relaxed));
    let key = format!("X-API-Key: {}\r\n", stand.key);
    let (_, mut session) = stand.open_websocket("/demo/ws", &key);
    fresh.store(false, Ordering::Relaxed);
    let answer = stand.fetch("/demo/echo", &key);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    assert!(stand.fetch("/keymoat/readyz", "").starts_with("HTTP/1.1 503 "));
    session.write_all(&frame(1, b"goes on")).expect("sent");
    assert_eq!(read_frame(&mut session), (1, b"goes on".to_vec()));
    fresh.store(true, Ordering::Relaxed);
    assert!(stand.fetch("/demo/echo", &key).starts_with("HTTP/1.1 200 "));
}

#[test]
fn revoking_a_key_ends_its_live_sessions() {
    let stand = Stand::start();
    let (_, mut stream) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
    stream.write_all(&frame(1, b"x")).expect("sent");
    read_frame(&mut stream);
    let began = Instant::now();
    assert_eq!(stand.running.as_ref().expect("running").end_sessions_of_key("key_one"), 1);
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 4001);
    assert!(reason.starts_with("credential_revoked"), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn revoking_a_key_ends_its_event_streams() {
    let stand = Stand::start();
    let mut stream = stand.connect();
    let request = format!("GET /demo/sse HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
    stream.write_all(request.as_bytes()).expect("sent");
    read_head(&mut stream);
    assert_eq!(stand.running.as_ref().expect("running").end_sessions_of_key("key_one"), 1);
    assert!(!read_all(&mut stream).ends_with("0\r\n\r\n"), "nobody takes the stream for a finished one");
    let record = &stand.records(1)[0];
    assert_eq!((record.outcome, record.code), (Outcome::Refused, Some(Code::CredentialRevoked)));
}

#[test]
fn nothing_begins_for_a_key_that_left_the_configuration_while_the_upstream_thought() {
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let scripted = Scripted::start(move |stream, _| {
        let _ = told.lock().expect("no panic").recv();
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        Then::KeepAlive
    });
    let stand = in_front_of(&scripted, keymoat_gateway::settings::Limits::default());
    let mut stream = stand.connect();
    let request = format!("GET /x/events HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
    stream.write_all(request.as_bytes()).expect("sent");
    wait_until(|| scripted.heads().len() == 1);
    let pepper = stand.snapshots.load().pepper.clone();
    stand.snapshots.store(Arc::new(keymoat_core::Snapshot::new(pepper, std::collections::HashMap::new())));
    assert_eq!(stand.running.as_ref().expect("running").end_sessions_of_key("key_one"), 0, "it is none yet");
    go_on.send(()).expect("the upstream waits");
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert_eq!(stand.records(1)[0].code, Some(Code::CredentialRevoked));
}

#[test]
fn h100_a_drain_lets_requests_end_and_closes_websockets_with_1012() {
    let limits = keymoat_gateway::settings::Limits { drain: Duration::from_millis(200), ..Default::default() };
    let mut stand = Stand::with(limits, |_| {});
    let (_, mut stream) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
    stream.write_all(&frame(1, b"x")).expect("sent");
    read_frame(&mut stream);
    let running = stand.running.take().expect("running");
    running.drain();
    stream.write_all(&frame(1, b"still here")).expect("sent");
    assert_eq!(read_frame(&mut stream), (1, b"still here".to_vec()));
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 1012);
    assert!(reason.starts_with("draining"), "{reason}");
    stream.write_all(&frame(8, &1012_u16.to_be_bytes())).expect("sent");
    running.join();
    assert!(std::net::TcpStream::connect(stand.address).is_err(), "nobody listens any more");
}
