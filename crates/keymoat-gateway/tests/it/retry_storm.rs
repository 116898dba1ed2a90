//! Row 96 of group H: clients that all try again at once are shed before any work is done for their credentials.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::client;
use http::{Request, StatusCode};
use keymoat_core::Code;
use keymoat_gateway::settings::Limits;
use tokio::net::TcpStream;

use crate::group_h_overload::set_budget;
use crate::scripted::header;
use crate::stand::{Stand, close_of, frame, read_all_or_reset, read_frame, read_head, wait_until};

/// Clients that try again all at once; each does so several times.
const CLIENTS: usize = 60;
const TRIES: usize = 4;

/// A good credential, a wrong one, and one that would be ambiguous: an overloaded gateway cannot tell them apart.
fn credentials(stand: &Stand) -> [String; 3] {
    let good = format!("X-API-Key: {}\r\n", stand.key);
    [
        good.clone(),
        String::from("X-API-Key: km_canary-of-the-storm\r\n"),
        format!("{good}Authorization: Bearer other\r\n"),
    ]
}

/// Runs the storm and counts the answers that were what an overload has to say.
fn storm(stand: &Stand, ask: impl Fn(&str) -> bool + Sync) -> usize {
    let shed = AtomicUsize::new(0);
    let credentials = credentials(stand);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (shed, ask, credential) = (&shed, &ask, &credentials[client % credentials.len()]);
            scope.spawn(move || {
                for _ in 0..TRIES {
                    shed.fetch_add(usize::from(ask(credential)), Ordering::Relaxed);
                }
            });
        }
    });
    shed.into_inner()
}

/// 503 with the time to wait, and nothing of the credential.
fn sheds(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 503 ")
        && header(answer, "retry-after").as_deref() == Some("1")
        && answer.contains("\"code\":\"unavailable\"")
        && !answer.contains("canary")
}

fn serves(stand: &Stand) -> bool {
    let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\n", stand.key));
    answer.starts_with("HTTP/1.1 200 ")
}

#[test]
fn h96_a_storm_beyond_the_connections_is_answered_503_and_nothing_of_it_is_taken_in() {
    let stand = Stand::with(Limits { connections_max: 3, ..Limits::default() }, |_| {});
    let held: Vec<_> = (0..3)
        .map(|_| {
            let (_, mut session) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
            session.write_all(&frame(1, b"held")).expect("sent");
            assert_eq!(read_frame(&mut session), (1, b"held".to_vec()));
            session
        })
        .collect();
    let before = stand.recorder.requests().len();
    let shed = storm(&stand, |credential| sheds(&stand.fetch("/demo/echo", credential)));
    assert_eq!(shed, CLIENTS * TRIES);
    // Not even a request was read of it, so there was no credential to do any work for.
    assert_eq!(stand.records.lock().expect("no panic").len(), 0);
    assert_eq!(stand.recorder.requests().len(), before);
    // Those who were there are still served, and so is everybody once there is room.
    for mut session in held {
        session.write_all(&frame(1, b"still here")).expect("sent");
        assert_eq!(read_frame(&mut session), (1, b"still here".to_vec()));
    }
    wait_until(|| serves(&stand));
}

#[test]
fn h96_a_storm_beyond_the_sessions_is_closed_1013_before_its_credentials_are_looked_at() {
    let stand = Stand::with(Limits { sessions_max: 1, ..Limits::default() }, |_| {});
    let (_, mut held) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
    held.write_all(&frame(1, b"held")).expect("sent");
    assert_eq!(read_frame(&mut held), (1, b"held".to_vec()));
    let shed = storm(&stand, |credential| {
        let (_, mut stream) = stand.open_websocket("/demo/ws", credential);
        let (code, reason) = close_of(&read_frame(&mut stream));
        let _ = stream.write_all(&frame(8, &code.to_be_bytes()));
        read_all_or_reset(&mut stream);
        code == 1013 && reason.starts_with("unavailable: retry_after=1")
    });
    assert_eq!(shed, CLIENTS * TRIES);
    for record in stand.records(CLIENTS * TRIES) {
        // All alike: which of them were good was never found out.
        let found = (record.code, &record.carrier, &record.key_id);
        assert_eq!(found, (Some(Code::Unavailable), &None, &None));
    }
    assert_eq!(stand.recorder.requests().len(), 1);
    drop(held);
    wait_until(|| {
        let (_, mut stream) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
        let _ = stream.write_all(&frame(1, b"x"));
        read_frame(&mut stream).0 == 1
    });
}

#[tokio::test]
async fn h96_a_storm_over_connections_that_are_there_is_shed_beyond_the_memory_budget() {
    let stand = Stand::start();
    let plain: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = stand.connect();
            stream.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
            assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
            stream
        })
        .collect();
    let (sender, connection) = client::handshake(TcpStream::connect(stand.address).await.expect("it listens"))
        .await
        .expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    let ask = |credential: &str| {
        let request = Request::get("http://a.example/demo/echo").header("x-api-key", credential);
        sender.clone().send_request(request.body(()).expect("well formed"), true).expect("sent").0
    };
    assert_eq!(ask(&stand.key).await.expect("an answer").status(), 200);
    set_budget(&stand, Some(1));
    wait_until(|| stand.fetch("/keymoat/readyz", "").starts_with("HTTP/1.1 503 "));
    let before = stand.records.lock().expect("no panic").len();
    // As many streams as there may be at once, with good and wrong keys.
    let storm: Vec<_> = (0..100).map(|n| ask(if n % 2 == 0 { &stand.key } else { "km_canary" })).collect();
    for answer in storm {
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "1");
    }
    let credentials = credentials(&stand);
    for (n, mut stream) in plain.into_iter().enumerate() {
        let request = format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\n{}\r\n", credentials[n % credentials.len()]);
        stream.write_all(request.as_bytes()).expect("sent");
        let answer = read_all_or_reset(&mut stream);
        assert!(sheds(answer.trim_start_matches("alive\n")), "{answer}");
    }
    let records = stand.records(before + 100 + CLIENTS);
    for record in &records[before..] {
        assert_eq!((record.code, &record.carrier, &record.key_id), (Some(Code::Unavailable), &None, &None));
    }
    assert_eq!(stand.recorder.requests().len(), 1);
    set_budget(&stand, None);
    tokio::time::sleep(Duration::from_millis(300)).await;
    wait_until(|| serves(&stand));
}

/// So many that not all of them can be told: the others are closed, and the gateway goes on.
#[test]
fn h96_a_storm_beyond_what_can_be_answered_is_closed_and_survived() {
    let stand = Arc::new(Stand::with(Limits { connections_max: 1, ..Limits::default() }, |_| {}));
    let mut held = stand.connect();
    held.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    assert!(read_head(&mut held).starts_with("HTTP/1.1 200 "));
    // They say nothing, which is what holds up an answer longest.
    let silent: Vec<_> = (0..900).filter_map(|_| std::net::TcpStream::connect(stand.address).ok()).collect();
    let mut answered = 0;
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        answered += usize::from(read_all_or_reset(&mut stream).starts_with("HTTP/1.1 503 "));
    }
    assert!(answered >= 256, "{answered}");
    assert!(sheds(&stand.fetch("/demo/echo", "X-API-Key: x\r\n")));
    drop(held);
    wait_until(|| serves(&stand));
}
