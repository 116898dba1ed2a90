//! Row 21 of group A: HTTP/2 oddities, by raw frames (RFC 9113 section 4.1) with uncompressed fields (RFC 7541).

use crate::raw_http2::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, Frame, GO_AWAY, HEADERS, RESET, fields, frame, good, length,
};
use crate::stand::{REAL_KEY, Stand};

/// The status of the answer on stream 1, or `None` when the stream or the connection was ended for it.
fn status(frames: &[Frame]) -> Option<u16> {
    let head = frames.iter().find(|frame| frame.kind == HEADERS && frame.stream == 1)?;
    // hyper and h2 put `:status` first: an index of the static table, or a literal with its name from there.
    Some(match head.payload[0] {
        0x88 => 200,
        0x8c => 400,
        0x8d => 404,
        // Digits packed by Huffman's code, of which 4 and 3, 1 are told apart well enough here by their first byte.
        _ => 499,
    })
}

/// The gateway refuses a head with these fields, in whatever way, and nothing goes upstream.
fn refuses(stand: &Stand, list: &[(&str, &str)]) {
    let mut client = Client::connect(stand);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(list)));
    let answer = client.answer();
    assert_ne!(status(&answer), Some(200), "{list:?}");
    assert!(stand.recorder.requests().is_empty(), "{list:?} went upstream");
}

#[test]
fn a21_the_raw_client_is_understood() {
    let stand = Stand::start();
    let mut client = Client::connect(&stand);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&good("/demo/echo", &stand.key))));
    assert_eq!(status(&client.answer()), Some(200));
    assert_eq!(stand.recorder.requests()[0].header("x-api-key"), Some(REAL_KEY));
}

#[test]
fn a21_paths_that_could_split_a_request_are_refused() {
    let stand = Stand::start();
    for path in [
        "/demo/echo\r\nX: y",
        "/demo/echo\nX: y",
        "/demo/echo x",
        "/demo/echo HTTP/1.1",
        "/demo/echo\0",
        "/demo/echo\t",
        "/demo/../demo/echo",
        "/demo/%0d%0aecho",
        "/demo%2fecho",
        "/demo/echo;x",
        "",
        "demo/echo",
        "*",
        "http://a.example/demo/echo",
        "/demo/\u{e9}",
    ] {
        refuses(&stand, &good(path, &stand.key));
    }
}

#[test]
fn a21_pseudo_headers_come_once_first_and_known() {
    let stand = Stand::start();
    let good = good("/demo/echo", &stand.key);
    for index in 0..4 {
        let mut twice = good.clone();
        twice.insert(index, good[index]);
        refuses(&stand, &twice);
        let mut without = good.clone();
        without.remove(index);
        if index != 1 {
            refuses(&stand, &without);
        }
        let mut late = good.clone();
        let field = late.remove(index);
        late.push(field);
        refuses(&stand, &late);
    }
    for unknown in [(":status", "200"), (":x", "y"), (":protocol", "websocket"), (":", "x")] {
        let mut list = good.clone();
        list.insert(0, unknown);
        refuses(&stand, &list);
    }
}

#[test]
fn a21_fields_that_http_2_does_not_have_are_refused() {
    let stand = Stand::start();
    for field in [
        ("X-Upper", "a"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "a"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("x y", "a"),
        ("x:y", "a"),
        ("", "a"),
        ("x\r\ny", "a"),
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("host", "other.example"),
        ("host", "u@a.example"),
        ("content-length", "5"),
        ("content-length", "x"),
        ("x_api_key", "other"),
    ] {
        let mut list = good("/demo/echo", &stand.key);
        list.push(field);
        refuses(&stand, &list);
    }
    let mut list = good("/demo/echo", &stand.key);
    list[2].1 = "u:p@a.example";
    refuses(&stand, &list);
    list[2].1 = "a b";
    refuses(&stand, &list);
}

/// The fragment is dropped by the parser below, so that it cannot be refused: what goes upstream has none.
#[test]
fn a14_a_fragment_over_http_2_goes_nowhere() {
    let stand = Stand::start();
    let mut client = Client::connect(&stand);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&good("/demo/echo?a=1#key=b", &stand.key))));
    let _ = client.answer();
    let seen = stand.recorder.requests();
    assert!(seen.len() <= 1);
    assert!(seen.iter().all(|request| request.path == "/demo/echo" && request.query.as_deref() == Some("a=1")));
}

#[test]
fn a21_a_body_that_is_not_as_long_as_it_says_never_becomes_complete() {
    let stand = Stand::start();
    for (length, body) in [("10", &b"hello"[..]), ("3", b"hello")] {
        let mut list = good("/demo/echo", &stand.key);
        list[0].1 = "POST";
        list.push(("content-length", length));
        let mut client = Client::connect(&stand);
        client.send(&frame(HEADERS, END_HEADERS, 1, &fields(&list)));
        client.send(&frame(DATA, END_STREAM, 1, body));
        assert_ne!(status(&client.answer()), Some(200), "{length}");
        assert!(stand.recorder.requests().iter().all(|request| request.body_bytes == 0));
    }
}

#[test]
fn a21_rapid_resets_end_the_connection_and_nobody_else_s() {
    let stand = Stand::start();
    let mut client = Client::connect(&stand);
    let block = fields(&good("/demo/echo", &stand.key));
    let mut flood = Vec::new();
    for n in 0..5000_u32 {
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block));
        flood.extend(frame(RESET, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    client.send(&flood);
    let frames = client.frames();
    let calm = frames.iter().any(|frame| frame.kind == GO_AWAY && frame.payload.get(4..8) == Some(&[0, 0, 0, 11]));
    assert!(calm, "ENHANCE_YOUR_CALM");
    assert!(stand.recorder.requests().len() < 5000);
    assert!(stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\n", stand.key)).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a21_a_flood_of_continuations_ends_the_connection() {
    let stand = Stand::start();
    let mut client = Client::connect(&stand);
    client.send(&frame(HEADERS, END_STREAM, 1, &fields(&good("/demo/echo", &stand.key))));
    for _ in 0..10_000 {
        client.send(&frame(CONTINUATION, 0, 1, &fields(&[("x", "y")])));
    }
    let frames = client.frames();
    assert!(frames.iter().all(|frame| frame.kind != HEADERS), "there was no whole head to answer");
    assert!(stand.recorder.requests().is_empty());
    assert!(stand.fetch("/keymoat/livez", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a21_a_head_that_unfolds_is_refused() {
    let stand = Stand::start();
    let mut client = Client::connect(&stand);
    let mut block = fields(&good("/demo/echo", &stand.key));
    // One field of 3000 bytes is put into the table (RFC 7541 section 6.2.1), then named 5000 times.
    block.push(0x40);
    block.extend(length(1));
    block.push(b'x');
    block.extend(length(3000));
    block.extend([b'y'; 3000]);
    block.extend([0xbe; 5000]);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
    let answer = client.answer();
    assert_ne!(status(&answer), Some(200));
    assert!(stand.recorder.requests().is_empty());
}
