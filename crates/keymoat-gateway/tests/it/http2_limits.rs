//! The limits of HTTP/2 at their edges: one below passes, one above is refused in the way that is documented.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use h2::client;
use http::{Request, StatusCode};
use keymoat_core::Code;
use keymoat_core::route::QueryPolicy;
use keymoat_gateway::settings::Limits;
use tokio::net::TcpStream;

use crate::group_h_overload::set_budget;
use crate::raw_http2::{
    ACK, CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, Frame, GO_AWAY, HEADERS, RESET, SETTINGS, WINDOW_UPDATE,
    fields, frame, good,
};
use crate::scripted::{Scripted, Then, in_front_of};
use crate::stand::{Stand, generic, read_all, read_head, upstream, wait_until};

const REFUSED_STREAM: u32 = 7;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Asks with h2's own client; `None` when the connection was ended for it.
async fn status(stand: &Stand, request: http::request::Builder) -> Option<u16> {
    let stream = TcpStream::connect(stand.address).await.expect("it listens");
    let (sender, connection) = client::handshake(stream).await.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    let request = request.header("x-api-key", &stand.key).body(()).expect("well formed");
    let mut sender = sender.ready().await.expect("it stands");
    Some(sender.send_request(request, true).expect("sent").0.await.ok()?.status().as_u16())
}

/// The bytes that the head of [`status`]' request has but for `x-padding`, each field with its colon, space and line end.
fn usual_bytes(stand: &Stand) -> usize {
    "x-api-key".len() + stand.key.len() + 4
}

#[tokio::test]
async fn a_head_of_16_kib_or_100_fields_passes_over_http_2_and_more_is_431() {
    let scripted = Scripted::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        Then::KeepAlive
    });
    let usual = in_front_of(&scripted, Limits::default());
    let larger = in_front_of(&scripted, Limits { head_bytes_max: 20_000, head_fields_max: 150, ..Limits::default() });
    let ask = || Request::get("http://a.example/x/y");
    for (stand, bytes, count) in [(&usual, 16_384, 100), (&larger, 20_000, 150)] {
        let padding = bytes - usual_bytes(stand) - "x-padding".len() - 4;
        for (more, expected) in [(0, Some(200)), (1, Some(431)), (1000, Some(431)), (500_000, None)] {
            let request = ask().header("x-padding", "a".repeat(padding + more));
            assert_eq!(status(stand, request).await, expected, "{bytes} and {more}");
        }
        for (fields, expected) in [(count - 1, Some(200)), (count, Some(431)), (count * 3, Some(431))] {
            let request = (0..fields).fold(ask(), |request, n| request.header(format!("x-{n}"), "a"));
            assert_eq!(status(stand, request).await, expected, "{fields} and the key");
        }
        let codes = stand.records.lock().expect("no panic").iter().filter_map(|record| record.code).collect::<Vec<_>>();
        // What is far beyond is not read at all, and so not recorded.
        assert!(codes.len() >= 3 && codes.iter().all(|code| *code == Code::HeadTooLarge), "{codes:?}");
    }
}

#[tokio::test]
async fn a_url_of_8_kib_passes_over_http_2_and_more_is_414() {
    let scripted = Scripted::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        Then::KeepAlive
    });
    for (limits, bytes) in [(Limits::default(), 8192), (Limits { url_bytes_max: 1000, ..Limits::default() }, 1000)] {
        let stand = in_front_of(&scripted, limits);
        for (more, expected) in [(0, Some(200)), (1, Some(414)), (500, Some(414))] {
            let path = format!("/x/{}", "a".repeat(bytes + more - "a.example/x/".len()));
            assert_eq!(
                status(&stand, Request::get(format!("http://a.example{path}"))).await,
                expected,
                "{bytes} {more}"
            );
        }
        // Together with as large a head as there may be.
        let path = format!("/x/{}", "a".repeat(bytes - "a.example/x/".len()));
        let padding = 16_384 - usual_bytes(&stand) - "x-padding".len() - 4;
        let request = Request::get(format!("http://a.example{path}")).header("x-padding", "a".repeat(padding));
        assert_eq!(status(&stand, request).await, Some(200));
    }
}

#[tokio::test]
async fn a_credential_of_1_kib_is_looked_up_over_http_2_and_a_longer_one_is_401_unread() {
    let stand = Stand::start();
    let stream = TcpStream::connect(stand.address).await.expect("it listens");
    let (mut sender, connection) = client::handshake(stream).await.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    for (bytes, detail) in [(1024, "the credential is not accepted"), (1025, "1 KiB")] {
        let request = Request::get("http://a.example/demo/echo").header("x-api-key", "k".repeat(bytes));
        let answer = sender.send_request(request.body(()).expect("well formed"), true).expect("sent").0;
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 401);
        let text = answer.into_body().data().await.expect("a body").expect("whole");
        assert!(String::from_utf8_lossy(&text).contains(detail), "{bytes}: {text:?}");
    }
    assert!(stand.recorder.requests().is_empty());
}

/// The error code of a reset or of the end of a connection.
fn reason(frame: &Frame) -> u32 {
    let at = if frame.kind == GO_AWAY { 4 } else { 0 };
    u32::from_be_bytes(frame.payload[at..at + 4].try_into().expect("four bytes"))
}

/// What comes until nothing more does: the answer to a ping may overtake what was written before it.
fn settled(client: &mut Client) -> Vec<Frame> {
    let mut all = client.frames();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(5));
        all.extend(client.frames());
    }
    all
}

fn resets(frames: &[Frame]) -> Vec<(u32, u32)> {
    frames.iter().filter(|frame| frame.kind == RESET).map(|frame| (frame.stream, reason(frame))).collect()
}

fn end(frames: &[Frame]) -> Option<u32> {
    frames.iter().find(|frame| frame.kind == GO_AWAY).map(reason)
}

#[test]
fn what_the_settings_frame_promises_are_the_limits() {
    for (limits, streams, window, connection) in [
        (Limits::default(), 100, 65_536, 1 << 20),
        (
            Limits {
                http2_streams_max: 7,
                http2_stream_window: 70_000,
                http2_connection_window: 200_000,
                ..Limits::default()
            },
            7,
            70_000,
            200_000,
        ),
    ] {
        let stand = Stand::with(limits, |_| {});
        let mut client = Client::connect(&stand);
        let frames = settled(&mut client);
        let settings = frames.iter().find(|frame| frame.kind == SETTINGS && frame.flags == 0).expect("settings");
        let setting = |number: u16| {
            let found = settings.payload.chunks_exact(6).find(|entry| entry[..2] == number.to_be_bytes());
            found.map(|entry| u32::from_be_bytes(entry[2..].try_into().expect("four bytes")))
        };
        assert_eq!(setting(3), Some(streams));
        assert_eq!(setting(4), Some(window));
        // The connection begins with 65535 (RFC 9113 section 6.9.2).
        let update = frames.iter().find(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0).expect("an update");
        assert_eq!(u32::from_be_bytes(update.payload[..4].try_into().expect("four")) + 65_535, connection);
    }
}

#[test]
fn a_hundred_streams_are_served_at_once_and_the_next_one_is_refused() {
    for (limits, most) in [(Limits::default(), 100), (Limits { http2_streams_max: 3, ..Limits::default() }, 3)] {
        let scripted = Scripted::start(|stream, _| {
            read_all(stream);
            Then::Close
        });
        let stand = in_front_of(&scripted, limits);
        let mut client = Client::connect(&stand);
        let block = fields(&good("/x/y", &stand.key));
        let ask = |n: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block);
        client.send(&(0..most).flat_map(ask).collect::<Vec<u8>>());
        assert_eq!(resets(&settled(&mut client)), []);
        client.send(&ask(most));
        assert_eq!(resets(&settled(&mut client)), [(2 * most + 1, REFUSED_STREAM)]);
        wait_until(|| scripted.heads().len() == most as usize);
        // One that is over makes room for another.
        client.send(&frame(RESET, 0, 1, &8_u32.to_be_bytes()));
        client.send(&ask(most + 1));
        assert_eq!(resets(&settled(&mut client)), []);
        wait_until(|| scripted.heads().len() == most as usize + 1);
    }
}

/// A gateway whose `/x/*` leads to an upstream that never shakes hands, so that nothing of a body is taken.
fn taking_nothing(limits: Limits) -> (Stand, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let behind = silent.local_addr().expect("bound");
    let stand = Stand::with(limits, |settings| {
        let mut upstream = upstream("x", behind, "x-api-key");
        upstream.origin.tls = true;
        settings.upstreams.push(upstream);
        settings.routes.push(generic("x", "x", &["/x/*"], QueryPolicy::Tokens));
    });
    (stand, silent)
}

/// A client that has got the gateway's windows, and said so.
fn ready(stand: &Stand) -> Client {
    let mut client = Client::connect(stand);
    settled(&mut client);
    client.send(&frame(SETTINGS, ACK, 0, &[]));
    client
}

/// A body that has begun, of so many bytes.
fn begun(stand: &Stand, stream: u32, bytes: usize) -> Vec<u8> {
    let mut list = good("/x/y", &stand.key);
    list[0].1 = "POST";
    let mut frames = frame(HEADERS, END_HEADERS, stream, &fields(&list));
    for part in vec![b'x'; bytes].chunks(16 << 10) {
        frames.extend(frame(DATA, 0, stream, part));
    }
    frames
}

#[test]
fn a_body_may_fill_its_stream_s_window_and_not_a_byte_more() {
    for (limits, window) in
        [(Limits::default(), 65_536), (Limits { http2_stream_window: 20_000, ..Limits::default() }, 20_000)]
    {
        let (stand, _silent) = taking_nothing(limits);
        let mut client = ready(&stand);
        client.send(&begun(&stand, 1, window));
        assert_eq!(resets(&settled(&mut client)), []);
        client.send(&frame(DATA, 0, 1, b"x"));
        assert_eq!(resets(&settled(&mut client)), [(1, FLOW_CONTROL_ERROR)]);
    }
}

#[test]
fn all_bodies_may_fill_the_connection_s_window_and_not_a_byte_more() {
    for (limits, streams) in
        [(Limits::default(), 16), (Limits { http2_connection_window: 3 * 65_536, ..Limits::default() }, 3)]
    {
        let (stand, _silent) = taking_nothing(limits);
        let mut client = ready(&stand);
        for n in 0..streams {
            client.send(&begun(&stand, 2 * n + 1, 65_536));
        }
        let frames = settled(&mut client);
        assert_eq!((resets(&frames), end(&frames)), (vec![], None));
        client.send(&begun(&stand, 2 * streams + 1, 1));
        assert_eq!(end(&settled(&mut client)), Some(FLOW_CONTROL_ERROR));
    }
}

#[test]
fn a21_twenty_streams_may_be_reset_unseen_and_one_more_ends_the_connection() {
    let stand = Stand::start();
    let block = fields(&good("/demo/echo", &stand.key));
    let flood = |count: u32| {
        let pair = |n: u32| {
            let mut pair = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block);
            pair.extend(frame(RESET, 0, 2 * n + 1, &8_u32.to_be_bytes()));
            pair
        };
        (0..count).flat_map(pair).collect::<Vec<u8>>()
    };
    for (count, expected) in [(20, None), (21, Some(ENHANCE_YOUR_CALM))] {
        let mut client = Client::connect(&stand);
        // Until the handshake is done, nothing of it is behind the flood.
        settled(&mut client);
        client.send(&flood(count));
        assert_eq!(end(&settled(&mut client)), expected, "{count}");
    }
    assert!(stand.fetch("/keymoat/livez", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a21_1024_streams_may_be_reset_for_mistakes_and_one_more_ends_the_connection() {
    let stand = Stand::start();
    let mut list = good("/demo/echo", &stand.key);
    list.push(("connection", "close"));
    let block = fields(&list);
    let mut client = Client::connect(&stand);
    let ask = |n: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block);
    for n in 0..1024 {
        client.send(&ask(n));
        if n % 64 == 63 {
            let frames = settled(&mut client);
            assert_eq!((resets(&frames).len(), end(&frames)), (64, None), "{n}");
        }
    }
    client.send(&ask(1024));
    assert_eq!(end(&settled(&mut client)), Some(ENHANCE_YOUR_CALM));
    assert!(stand.recorder.requests().is_empty());
}

#[tokio::test]
async fn h95_near_the_budget_http_2_connections_are_not_kept_and_what_is_open_goes_on() {
    // So much that what the test itself takes does not matter.
    let ballast = vec![1_u8; 400 << 20];
    let stand = Stand::start();
    let stream = TcpStream::connect(stand.address).await.expect("it listens");
    let (sender, connection) = client::handshake(stream).await.expect("HTTP/2 is spoken");
    let mut connection = tokio::spawn(connection);
    let ask = |path: &str| {
        let request = Request::get(format!("http://a.example{path}")).header("x-api-key", &stand.key);
        sender.clone().send_request(request.body(()).expect("well formed"), true).expect("sent").0
    };
    let mut events = ask("/demo/sse?count=12").await.expect("an answer").into_body();
    let used = crate::group_h_overload::resident_bytes();
    set_budget(&stand, Some(used * 1000 / 935));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ask("/demo/echo").await.expect("near the budget is not beyond it").status(), 200);
    let mut text = Vec::new();
    while let Some(part) = events.data().await {
        let part = part.expect("it goes on");
        events.flow_control().release_capacity(part.len()).expect("it was taken");
        text.extend(part);
    }
    assert!(String::from_utf8_lossy(&text).contains("id: 12\n"));
    drop(sender);
    let ended = tokio::time::timeout(Duration::from_secs(5), &mut connection).await;
    ended.expect("it was ended").expect("no panic").expect("gracefully");
    assert!(ballast.iter().step_by(4096).all(|byte| *byte == 1));
}

#[tokio::test]
async fn h95_beyond_the_budget_liveness_is_told_and_readiness_is_not() {
    let stand = Stand::start();
    let stream = TcpStream::connect(stand.address).await.expect("it listens");
    let (sender, connection) = client::handshake(stream).await.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    let ask = |path: &str| {
        let request = Request::get(format!("http://a.example{path}")).body(()).expect("well formed");
        sender.clone().send_request(request, true).expect("sent").0
    };
    assert_eq!(ask("/keymoat/readyz").await.expect("an answer").status(), 200);
    let mut kept = stand.connect();
    kept.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    assert!(read_head(&mut kept).starts_with("HTTP/1.1 200 "));
    set_budget(&stand, Some(1));
    wait_until(|| stand.fetch("/keymoat/readyz", "").starts_with("HTTP/1.1 503 "));
    assert!(stand.fetch("/keymoat/livez", "").starts_with("HTTP/1.1 200 "), "on a new connection");
    kept.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let answer = read_all(&mut kept);
    assert!(answer.starts_with("alive\nHTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
    let (ready, alive) = (ask("/keymoat/readyz"), ask("/keymoat/livez"));
    let (ready, alive) = (ready.await.expect("an answer"), alive.await.expect("an answer"));
    assert_eq!((ready.status(), alive.status()), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
    assert_eq!(ready.headers()["retry-after"], "1");
    set_budget(&stand, None);
    wait_until(|| stand.fetch("/keymoat/readyz", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn h92_liveness_is_told_when_all_connections_are_taken() {
    let stand = Stand::with(Limits { connections_max: 1, ..Limits::default() }, |_| {});
    let mut held = stand.connect();
    held.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    assert!(read_head(&mut held).starts_with("HTTP/1.1 200 "));
    let answer = stand.fetch("/keymoat/livez", "");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nalive\n"), "{answer}");
    for path in ["/keymoat/readyz", "/keymoat/livezz", "/demo/echo"] {
        assert!(stand.fetch(path, "").starts_with("HTTP/1.1 503 "), "{path}");
    }
}

const SHORT: Duration = Duration::from_millis(150);

/// Reads to the end of the connection, which has to come.
fn ends(mut client: std::net::TcpStream) {
    use std::io::Read;
    let mut rest = Vec::new();
    let read = client.read_to_end(&mut rest);
    let timed_out = read.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock));
    assert!(!timed_out, "it was closed in time, not {rest:?}");
}

#[test]
fn h93_a_handshake_or_a_head_that_does_not_end_is_given_up_over_http_2() {
    // As short as over HTTP/1.1, whatever idle connections are given.
    let limits = Limits { head: SHORT, ..Limits::default() };
    let stand = Stand::with(limits, |_| {});
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = frame(SETTINGS, 0, 0, &[]);
    let head = frame(HEADERS, END_STREAM, 1, &fields(&good("/demo/echo", &stand.key)));
    for begun in [
        preface[..10].to_vec(),
        preface.to_vec(),
        [&preface[..], &settings].concat(),
        [&preface[..], &settings, &head].concat(),
        [&preface[..], &settings, &head[..20]].concat(),
    ] {
        let mut client = stand.connect();
        client.write_all(&begun).expect("sent");
        ends(client);
    }
    // Nor does it help to send the rest of the head in small parts.
    let client = stand.connect();
    let mut sending = client.try_clone().expect("a second handle");
    sending.write_all(&[&preface[..], &settings, &head].concat()).expect("sent");
    let trickle = std::thread::spawn(move || {
        while sending.write_all(&frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]))).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    ends(client);
    trickle.join().expect("no panic");
    assert!(stand.recorder.requests().is_empty());
}

#[tokio::test]
async fn h93_a_body_that_stops_coming_is_answered_408_over_http_2() {
    let scripted = Scripted::start(|stream, _| {
        read_all(stream);
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits { body_idle: SHORT, ..Limits::default() });
    let stream = TcpStream::connect(stand.address).await.expect("it listens");
    let (mut sender, connection) = client::handshake(stream).await.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    let request = Request::post("http://a.example/x/y").header("x-api-key", &stand.key).body(()).expect("well formed");
    let (answer, mut body) = sender.send_request(request, false).expect("sent");
    body.send_data("hel".into(), false).expect("sent");
    assert_eq!(answer.await.expect("an answer").status(), 408);
    assert_eq!(stand.records(1)[0].code, Some(Code::RequestTimeout));
}
