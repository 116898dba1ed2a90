//! Row 23 of group A: upstreams whose event streams are odd.

use std::io::{Read, Write};
use std::time::Duration;

use keymoat_gateway::settings::Limits;

use crate::scripted::{Scripted, Then, in_front_of};
use crate::stand::{read_all, read_all_or_reset, read_head};

#[test]
fn a23_single_bytes_and_split_characters_of_an_event_stream_come_through_at_once() {
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let wait = std::sync::Mutex::new(wait);
    let scripted = Scripted::start(move |stream, _| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head);
        for byte in "data: é€😀\n\n".bytes() {
            // One byte each time the client asks for it: nothing may wait for what follows.
            if wait.lock().expect("no panic").recv().is_err() {
                return Then::Close;
            }
            let _ = stream.write_all(&[&b"1\r\n"[..], &[byte], b"\r\n"].concat());
        }
        read_all(stream);
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits::default());
    let mut stream = stand.connect();
    let request = format!("GET /x/sse HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
    stream.write_all(request.as_bytes()).expect("sent");
    assert!(read_head(&mut stream).contains("text/event-stream"));
    let mut text = Vec::new();
    for _ in "data: é€😀\n\n".bytes() {
        go.send(()).expect("the upstream waits");
        let mut chunk = [0; 6];
        stream.read_exact(&mut chunk).expect("a chunk of one byte");
        assert_eq!(chunk.get(..3), Some(&b"1\r\n"[..]));
        text.extend_from_slice(&chunk[3..4]);
    }
    assert_eq!(text, "data: é€😀\n\n".as_bytes());
    assert_eq!(stand.running.as_ref().expect("running").live_sessions(), 1);
    drop(stream);
    assert_eq!(stand.records(1)[0].bytes_out, text.len() as u64);
    assert_eq!(stand.running.as_ref().expect("running").live_sessions(), 0);
}

#[test]
fn a23_an_upstream_that_breaks_off_is_not_taken_for_one_that_ended() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ];
    for answer in answers {
        let scripted = Scripted::answering(answer);
        let stand = in_front_of(&scripted, Limits::default());
        let answer = stand.fetch("/x/sse", &format!("X-API-Key: {}\r\n", stand.key));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("hello") && !answer.contains("\r\n0\r\n"), "{answer:?}");
        let record = &stand.records(1)[0];
        assert_eq!(record.outcome, keymoat_core::record::Outcome::Failed);
    }
}

#[test]
fn a23_an_event_stream_that_goes_silent_is_ended() {
    let scripted = Scripted::start(|stream, _| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head);
        let _ = stream.write_all(b"5\r\nhello\r\n");
        read_all_or_reset(stream);
        Then::Close
    });
    let limits = Limits { body_idle: Duration::from_millis(100), ..Limits::default() };
    let stand = in_front_of(&scripted, limits);
    let answer = stand.fetch("/x/sse", &format!("X-API-Key: {}\r\n", stand.key));
    assert!(answer.contains("hello") && !answer.contains("\r\n0\r\n"), "{answer:?}");
    assert!(stand.records(1)[0].cause.as_deref().is_some_and(|cause| cause.contains("paused")));
}
