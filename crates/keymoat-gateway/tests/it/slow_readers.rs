//! Clients that do not take the answer: over HTTP/2 they give no window, and the connection itself stays lively.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::Request;
use keymoat_core::Code;
use keymoat_core::record::{Outcome, Record};
use keymoat_gateway::settings::Limits;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::scripted::{Scripted, Then, in_front_of};
use crate::stand::{Stand, read_all_or_reset, read_head, wait_until};

const SHORT: Duration = Duration::from_millis(150);
/// Longer than any short limit, shorter than the default ones.
const SOON: Duration = Duration::from_secs(5);
/// HTTP/2's own default window (RFC 9113 section 6.9.2).
const USUAL_WINDOW: u32 = 65_535;

/// An upstream whose answers never end.
fn endless() -> Scripted {
    Scripted::start(|stream, head| {
        let kind = if head.contains(" /x/events") { "text/event-stream" } else { "text/plain" };
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
        Then::Close
    })
}

struct Client {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

impl Client {
    /// A client whose streams may bring so much until it says otherwise.
    async fn connect(stand: &Stand, window: u32) -> Self {
        let stream = TcpStream::connect(stand.address).await.expect("it listens");
        let (sender, connection) = client::Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(1 << 20)
            .handshake(stream)
            .await
            .expect("HTTP/2 is spoken");
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { sender, connection }
    }

    async fn ask(&self, stand: &Stand, path: &str) -> ResponseFuture {
        let mut sender = self.sender.clone().ready().await.expect("the connection stands");
        let request = Request::get(format!("http://a.example{path}")).header("x-api-key", &stand.key);
        sender.send_request(request.body(()).expect("well formed"), true).expect("sent").0
    }

    async fn get(&self, stand: &Stand, path: &str) -> RecvStream {
        let answer = self.ask(stand, path).await.await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        answer.into_body()
    }

    /// The connection serves others as before.
    async fn assert_lively(&self, stand: &Stand) {
        let mut body = self.get(stand, "/keymoat/livez").await;
        let text = body.data().await.expect("a body").expect("whole");
        assert_eq!(text, "alive\n");
    }
}

/// The reason for which a stream was reset, whatever came of it before.
async fn reset(mut body: RecvStream) -> Reason {
    loop {
        // What comes is kept: the window is not opened again.
        match tokio::time::timeout(SOON, body.data()).await.expect("it ends in time") {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error.reason().expect("a reset"),
            None => panic!("a part is not taken for the whole"),
        }
    }
}

/// The one record of the route to the endless upstream.
fn record(stand: &Stand) -> Record {
    let find = || stand.records.lock().expect("no panic").iter().find(|record| record.bytes_out > 100).cloned();
    wait_until(|| find().is_some());
    find().expect("it was there")
}

#[tokio::test]
async fn h93_a_client_that_gives_no_window_is_given_up_and_its_connection_is_not() {
    let scripted = endless();
    let stand = in_front_of(&scripted, Limits { write_stall: SHORT, ..Limits::default() });
    for window in [1000, USUAL_WINDOW] {
        stand.records.lock().expect("no panic").clear();
        let client = Client::connect(&stand, window).await;
        let body = client.get(&stand, "/x/y").await;
        assert_eq!(reset(body).await, Reason::CANCEL);
        client.assert_lively(&stand).await;
        let record = record(&stand);
        assert_eq!(record.outcome, Outcome::Aborted);
        assert!(record.cause.as_deref().is_some_and(|cause| cause.contains("took nothing")), "{record:?}");
        // What was taken from the upstream: the window, and at most one of its reads besides.
        assert!(record.bytes_out < u64::from(window) + (512 << 10), "{}", record.bytes_out);
    }
}

#[tokio::test]
async fn h93_a_client_that_takes_part_after_part_is_not_given_up() {
    let scripted = endless();
    let limits = Limits { write_stall: Duration::from_millis(500), ..Limits::default() };
    let stand = in_front_of(&scripted, limits);
    let client = Client::connect(&stand, 16 << 10).await;
    let mut body = client.get(&stand, "/x/y").await;
    let began = Instant::now();
    let mut taken = 0;
    while began.elapsed() < Duration::from_millis(1500) {
        let part = tokio::time::timeout(SOON, body.data()).await.expect("in time").expect("no end").expect("no reset");
        taken += part.len();
        body.flow_control().release_capacity(part.len()).expect("it was taken");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!(taken > 100_000, "{taken}");
}

#[tokio::test]
async fn a_revocation_ends_an_event_stream_that_its_client_does_not_take_over_both_versions() {
    let scripted = endless();
    // Nothing but the revocation would end them in time.
    let stand = in_front_of(&scripted, Limits { write_stall: Duration::from_secs(600), ..Limits::default() });
    let client = Client::connect(&stand, 1000).await;
    let body = client.get(&stand, "/x/events").await;
    let mut plain = stand.connect();
    let get = format!("GET /x/events HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
    plain.write_all(get.as_bytes()).expect("sent");
    assert!(read_head(&mut plain).starts_with("HTTP/1.1 200 "));
    let running = stand.running.as_ref().expect("running");
    wait_until(|| running.live_sessions() == 2);
    // Until nothing moves: all buffers are full.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    assert_eq!(running.end_sessions_of_key("key_one"), 2);
    wait_until(|| running.live_sessions() == 0);
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(reset(body).await, Reason::CANCEL);
    client.assert_lively(&stand).await;
    assert!(!read_all_or_reset(&mut plain).ends_with("0\r\n\r\n"));
    let records = stand.records(3);
    let ended: Vec<_> = records.iter().filter(|record| record.bytes_out > 100).collect();
    assert_eq!(ended.len(), 2);
    for record in ended {
        assert_eq!((record.outcome, record.code), (Outcome::Refused, Some(Code::CredentialRevoked)), "{record:?}");
    }
}

#[tokio::test]
async fn our_own_answers_wait_no_longer_than_others() {
    let stand = Stand::with(Limits { write_stall: SHORT, ..Limits::default() }, |_| {});
    let client = Client::connect(&stand, 0).await;
    let bodies = [client.get(&stand, "/keymoat/livez").await, client.get(&stand, "/keymoat/readyz").await];
    for body in bodies {
        assert_eq!(reset(body).await, Reason::CANCEL);
    }
}

#[tokio::test]
async fn a_connection_with_nothing_but_untaken_ends_of_answers_is_closed() {
    let limits = Limits { write_stall: SHORT, keep_alive: SHORT, ..Limits::default() };
    let stand = Stand::with(limits, |_| {});
    // One byte of the answer is taken, so that h2 holds the rest and its end.
    let client = Client::connect(&stand, 1).await;
    let body = client.get(&stand, "/keymoat/livez").await;
    let closed = tokio::time::timeout(SOON, client.connection).await;
    assert!(closed.is_ok(), "it was closed");
    drop(body);
    // And one whose answers were taken ends by itself, gracefully.
    let client = Client::connect(&stand, USUAL_WINDOW).await;
    client.assert_lively(&stand).await;
    assert!(tokio::time::timeout(SOON, client.connection).await.is_ok());
}

#[tokio::test]
async fn a_first_request_that_comes_late_does_not_make_its_connection_wait_for_longer() {
    let stand = Stand::with(Limits { keep_alive: SHORT, ..Limits::default() }, |_| {});
    let client = Client::connect(&stand, USUAL_WINDOW).await;
    // The preface is there, and has been looked at.
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.assert_lively(&stand).await;
    assert!(tokio::time::timeout(SOON, client.connection).await.is_ok());
}
