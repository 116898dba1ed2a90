//! Limits and deadlines at the edge, each with a small value.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use keymoat_core::record::Outcome;
use keymoat_gateway::settings::Limits;

use crate::scripted::{Scripted, Then, in_front_of};
use crate::stand::{Stand, frame, read_all, read_all_or_reset, read_frame, read_head, wait_until};

const SHORT: Duration = Duration::from_millis(150);

/// Longer than any short limit, shorter than the default ones.
const SOON: Duration = Duration::from_secs(5);

fn get(stand: &Stand) -> String {
    format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key)
}

fn read_answer(stream: &mut TcpStream) -> String {
    let head = read_head(stream);
    let length = crate::scripted::header(&head, "content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).expect("a body");
    head
}

#[test]
fn h92_one_connection_too_many_is_answered_503_before_anything_is_read() {
    let stand = Stand::with(Limits { connections_max: 2, ..Limits::default() }, |_| {});
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = stand.connect();
        stream.write_all(get(&stand).as_bytes()).expect("sent");
        assert!(read_answer(&mut stream).starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
    for _ in 0..5 {
        // Nothing is sent: the answer does not wait for a request.
        let answer = read_all(&mut stand.connect());
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n") && answer.contains("connection: close\r\n"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).expect("JSON")["code"], "unavailable");
    }
    // A client that has sent its request by then reads the answer, too.
    for _ in 0..20 {
        let mut stream = stand.connect();
        let _ = stream.write_all(get(&stand).as_bytes());
        assert!(read_all(&mut stream).starts_with("HTTP/1.1 503 "));
    }
    assert_eq!(stand.recorder.requests().len(), 2);
    drop(held.pop());
    wait_until(|| {
        let mut stream = stand.connect();
        let _ = stream.write_all(get(&stand).as_bytes());
        read_head(&mut stream).starts_with("HTTP/1.1 200 ")
    });
}

#[test]
fn a_websocket_holds_its_connection_s_place_to_the_end() {
    let stand = Stand::with(Limits { connections_max: 1, ..Limits::default() }, |_| {});
    let (head, mut stream) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(read_all(&mut stand.connect()).starts_with("HTTP/1.1 503 "));
    stream.write_all(&frame(8, &1000_u16.to_be_bytes())).expect("sent");
    read_frame(&mut stream);
    drop(stream);
    wait_until(|| {
        let mut stream = stand.connect();
        let _ = stream.write_all(get(&stand).as_bytes());
        read_head(&mut stream).starts_with("HTTP/1.1 200 ")
    });
}

#[test]
fn h93_a_head_that_does_not_end_is_answered_408() {
    let stand = Stand::with(Limits { head: SHORT, ..Limits::default() }, |_| {});
    for begun in ["G", "GET /demo/echo HTTP/1.1\r\nHost: a\r\n", "P", "PRI"] {
        let mut stream = stand.connect();
        stream.write_all(begun.as_bytes()).expect("sent");
        let began = Instant::now();
        let answer = read_all(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{begun:?}: {answer:?}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(began.elapsed() < SOON);
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn a_second_head_on_the_same_connection_has_its_deadline_too() {
    let stand = Stand::with(Limits { head: SHORT, ..Limits::default() }, |_| {});
    let mut stream = stand.connect();
    stream.write_all(get(&stand).as_bytes()).expect("sent");
    assert!(read_answer(&mut stream).starts_with("HTTP/1.1 200 "));
    stream.write_all(b"GET /demo/echo HTTP/1.1\r\n").expect("sent");
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_an_answer() {
    let stand = Stand::with(Limits { head: SHORT, ..Limits::default() }, |_| {});
    let began = Instant::now();
    assert_eq!(read_all(&mut stand.connect()), "");
    assert!(began.elapsed() < SOON);
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let stand = Stand::with(Limits { keep_alive: SHORT, ..Limits::default() }, |_| {});
    let mut stream = stand.connect();
    stream.write_all(get(&stand).as_bytes()).expect("sent");
    assert!(read_answer(&mut stream).starts_with("HTTP/1.1 200 "));
    let began = Instant::now();
    assert_eq!(read_all(&mut stream), "", "nothing is said to a client that says nothing");
    assert!(began.elapsed() < SOON);
    // Events go on for longer than that.
    let mut stream = stand.connect();
    let request = get(&stand).replace("/echo", "/sse?count=8").replace("Host", "Connection: close\r\nHost");
    stream.write_all(request.as_bytes()).expect("sent");
    let answer = read_all(&mut stream);
    assert!(answer.contains("id: 8\n") && answer.ends_with("0\r\n\r\n"), "{answer:?}");
}

#[test]
fn h93_a_client_that_reads_nothing_is_given_up() {
    let scripted = Scripted::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits { write_stall: SHORT, ..Limits::default() });
    let mut stream = stand.connect();
    let request = format!("GET /x/y HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
    stream.write_all(request.as_bytes()).expect("sent");
    let record = &stand.records(1)[0];
    assert_eq!(record.outcome, Outcome::Aborted);
    assert!(record.bytes_out > 0);
    let text = read_all_or_reset(&mut stream);
    assert!(!text.ends_with("0\r\n\r\n"), "a part is not taken for the whole");
}

#[test]
fn h93_a_body_that_stops_coming_is_the_client_s_fault() {
    let scripted = Scripted::start(|stream, _| {
        read_all_or_reset(stream);
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits { body_idle: SHORT, ..Limits::default() });
    for framing in ["Content-Length: 5\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"] {
        let mut stream = stand.connect();
        let head = format!("POST /x/y HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n", stand.key);
        stream.write_all((head + framing).as_bytes()).expect("sent");
        let answer = read_all(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{framing:?}: {answer:?}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    assert_eq!(stand.records(2)[1].outcome, Outcome::Refused);
}

#[test]
fn a_client_that_goes_away_in_its_body_is_not_the_upstream_s_failure() {
    let scripted = Scripted::start(|stream, _| {
        read_all_or_reset(stream);
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits::default());
    let mut stream = stand.connect();
    let request = format!("POST /x/y HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Length: 5\r\n\r\nhel", stand.key);
    stream.write_all(request.as_bytes()).expect("sent");
    wait_until(|| scripted.heads().len() == 1);
    drop(stream);
    let record = &stand.records(1)[0];
    assert_eq!((record.outcome, record.code), (Outcome::Aborted, None), "{record:?}");
}
