//! Several requests in one segment: answers in their order, nobody's bytes taken for another's.

use std::io::Write;

use keymoat_core::record::Outcome;

use crate::scripted::header;
use crate::stand::{Stand, close_of, frame, read_all, read_frame, read_head};

fn get(target: &str, key: &str, further: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n{further}\r\n")
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect()
}

#[test]
fn answers_come_in_the_order_of_the_requests_refused_ones_among_them() {
    let stand = Stand::start();
    let key = &stand.key;
    let requests = [
        get("/demo/echo?first", key, ""),
        get("/demo/echo?second", "wrong", ""),
        get("/nowhere", key, ""),
        format!(
            "POST /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ),
        get("/demo/echo?last", key, "Connection: close\r\n"),
    ];
    let answers = stand.exchange(&requests.concat());
    assert_eq!(statuses(&answers), ["200", "401", "404", "200", "200"], "{answers}");
    let place = |text: &str| answers.find(text).expect("it is answered");
    assert!(place("\"query\":\"first\"") < place("credential_invalid"));
    assert!(place("route_unknown") < place("\"body\":\"hello\""));
    assert!(place("\"body\":\"hello\"") < place("\"query\":\"last\""));
    assert_eq!(stand.recorder.requests().len(), 3);
}

#[test]
fn what_stands_behind_a_bad_head_is_not_read_and_what_stood_before_is_answered() {
    let stand = Stand::start();
    let key = &stand.key;
    let requests = [
        get("/demo/echo?first", key, ""),
        get("/demo/echo?second", key, ""),
        get("/demo/echo?bad", key, "Content-Length: 1\r\nContent-Length: 1\r\n"),
        get("/demo/echo?behind", key, ""),
    ];
    let answers = stand.exchange(&requests.concat());
    assert_eq!(statuses(&answers), ["200", "200", "400"], "{answers}");
    let seen: Vec<_> = stand.recorder.requests().into_iter().filter_map(|request| request.query).collect();
    assert_eq!(seen, ["first", "second"]);
    let records = stand.records(3);
    assert_eq!((records[2].outcome, records[2].method), (Outcome::Refused, "-"));
}

#[test]
fn a_websocket_may_follow_a_request_and_bring_its_first_frames_along() {
    let stand = Stand::start();
    let mut stream = stand.connect();
    let opening = get(
        "/demo/ws",
        &stand.key,
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    let before = get("/keymoat/livez", &stand.key, "");
    let frames = [frame(1, b"one"), frame(2, b"two"), frame(8, &4000_u16.to_be_bytes())].concat();
    stream.write_all(&[before.as_bytes(), opening.as_bytes(), &frames].concat()).expect("sent");
    let first = read_head(&mut stream);
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    let length = header(&first, "content-length").and_then(|length| length.parse().ok()).expect("a length");
    std::io::Read::read_exact(&mut stream, &mut vec![0; length]).expect("a body");
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    assert_eq!(read_frame(&mut stream), (1, b"one".to_vec()));
    assert_eq!(read_frame(&mut stream), (2, b"two".to_vec()));
    assert_eq!(close_of(&read_frame(&mut stream)).0, 4000);
    assert_eq!(read_all(&mut stream), "");
}

#[test]
fn a_head_in_single_bytes_is_the_same_head() {
    let stand = Stand::start();
    let mut stream = stand.connect();
    for byte in get("/demo/echo?slow", &stand.key, "Connection: close\r\n").bytes() {
        stream.write_all(&[byte]).expect("sent");
    }
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 200 "));
    assert_eq!(stand.recorder.requests().len(), 1);
}

#[test]
fn a_head_request_is_answered_without_a_body_whatever_the_answer() {
    let stand = Stand::start();
    for (target, key, status) in
        [("/demo/echo", stand.key.as_str(), "200"), ("/demo/echo", "wrong", "401"), ("/nowhere", "", "404")]
    {
        let request = get(target, key, "Connection: close\r\n").replace("GET ", "HEAD ");
        let answer = stand.exchange(&request);
        assert_eq!(statuses(&answer), [status]);
        assert!(answer.ends_with("\r\n\r\n"), "{answer:?}");
    }
}

#[test]
fn a_client_of_http_1_0_is_answered_and_the_connection_closed() {
    let stand = Stand::start();
    let get = |target: &str| format!("GET {target} HTTP/1.0\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
    let answer = stand.exchange(&get("/demo/echo"));
    assert_eq!(answer.get(8..13), Some(" 200 "), "{answer}");
    // No chunks for a client that knows none: the end of the connection is the end of the events.
    let answer = stand.exchange(&get("/demo/sse?count=2"));
    assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
    assert!(answer.contains("id: 2\n") && !answer.contains("\r\n0\r\n"), "{answer:?}");
}
