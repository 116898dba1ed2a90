//! When a token begins nothing new, when its sessions end, and who ends them.

use std::io::Write;
use std::time::{Duration, Instant};

use keymoat_core::record::Outcome;
use keymoat_core::token::TokenLimits;
use keymoat_core::{Code, Dialect};

use keymoat_core::route::QueryPolicy;
use keymoat_gateway::settings::Limits;

use super::{LIVE, SETUP, TokenStand, is_set_up, now};
use crate::scripted::{Scripted, Then};
use crate::stand::{
    close_of, frame, generic, read_all, read_all_or_reset, read_frame, read_head, upstream, wait_until,
};

#[test]
fn a_token_begins_nothing_after_its_time_to_start_and_nothing_at_all_after_its_end_50() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.start_by = now().plus_millis(1500));
    let (mut live, answer) = stand.live(&held.text, SETUP);
    assert!(is_set_up(&answer));
    while now() < held.token.start_by {
        std::thread::yield_now();
    }
    let (code, reason) = close_of(&stand.live(&held.text, SETUP).1);
    assert_eq!(code, 1008);
    assert!(reason.starts_with("token_expired: "), "{reason}");
    let answer = stand.stand.fetch("/demo/echo", &format!("Authorization: Bearer {}\r\n", held.text));
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("token_expired"), "{answer}");
    let content = br#"{"clientContent":{"turns":[{"parts":[{"text":"hello"}],"role":"user"}],"turnComplete":true}}"#;
    live.write_all(&frame(1, content)).expect("sent");
    assert_eq!(read_frame(&mut live).0, 2, "what has begun goes on");
}

#[test]
fn a_live_session_is_warned_and_ends_with_its_token_52() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| {
        token.start_by = now().plus_millis(2500);
        token.live_until = now().plus_millis(2500);
    });
    let (mut stream, answer) = stand.live(&held.text, SETUP);
    assert!(is_set_up(&answer));
    let (opcode, payload) = read_frame(&mut stream);
    let warning = String::from_utf8_lossy(&payload).into_owned();
    assert!(opcode == 2 && warning.starts_with(r#"{"goAway":{"timeLeft":""#), "{warning}");
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 1008);
    assert!(reason.starts_with("token_expired: "), "{reason}");
    let late = now().0 - held.token.live_until.0;
    assert!((0..1000).contains(&late), "{late} ms late");
    let record = &stand.stand.records(1)[0];
    assert_eq!((record.outcome, record.code), (Outcome::Refused, Some(Code::TokenExpired)));
}

#[test]
fn sessions_over_every_protocol_end_with_their_token() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.live_until = now().plus_millis(2000));
    let headers = format!("X-API-Key: {}\r\n", held.text);
    let (_, mut socket) = stand.stand.open_websocket("/demo/ws", &headers);
    let mut events = stand.stand.connect();
    let request = format!("GET /demo/sse?count=1000 HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    events.write_all(request.as_bytes()).expect("sent");
    let head = read_head(&mut events);
    assert!(head.contains("text/event-stream"), "{head}");
    assert_eq!(close_of(&read_frame(&mut socket)).0, 4002);
    assert!(!read_all(&mut events).ends_with("0\r\n\r\n"), "nobody takes the stream for a finished one");
    assert!(now() >= held.token.live_until);
    let codes: Vec<_> = stand.stand.records(2).iter().map(|record| record.code).collect();
    assert_eq!(codes, [Some(Code::TokenExpired); 2]);
}

/// Tokens in front of `scripted`, at `/x/*`.
fn in_front_of(scripted: &Scripted) -> TokenStand {
    let behind = scripted.address;
    TokenStand::with(Limits::default(), |settings| {
        settings.routes.push(generic("x", "x", &["/x/*"], QueryPolicy::Tokens));
        settings.upstreams.push(upstream("x", behind, "x-api-key"));
    })
}

/// An upstream that never comes to the end of its answers, which are no event streams.
fn endless() -> Scripted {
    Scripted::start(|stream, head| {
        let length =
            if head.starts_with("GET /x/long ") { "Content-Length: 100000" } else { "Transfer-Encoding: chunked" };
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n{length}\r\n\r\n5\r\n{{}}\n\n\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        let _ = read_all_or_reset(stream);
        Then::Close
    })
}

#[test]
fn whatever_a_token_is_answered_ends_with_its_time_or_its_revocation() {
    let scripted = endless();
    let stand = in_front_of(&scripted);
    for (path, is_revoked) in [("/x/lines", false), ("/x/long", false), ("/x/lines", true), ("/x/long", true)] {
        let lives = if is_revoked { 60_000 } else { 600 };
        let held = stand.minted(|token| token.live_until = now().plus_millis(lives));
        let mut stream = stand.stand.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", held.text);
        stream.write_all(request.as_bytes()).expect("sent");
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "), "{path}");
        if is_revoked {
            stand.store.revoke_token(&held.token.id, now()).expect("revoked");
        }
        assert!(!read_all_or_reset(&mut stream).ends_with("0\r\n\r\n"), "nobody takes it for a finished one");
        let code = if is_revoked { Code::CredentialRevoked } else { Code::TokenExpired };
        let of_token = |record: &&keymoat_core::record::Record| record.token_id.as_ref() == Some(&held.token.id);
        let records = stand.stand.records(1);
        assert_eq!(records.iter().find(of_token).expect("it has a record").code, Some(code), "{path}");
    }
}

#[test]
fn a_request_that_waits_for_its_answer_ends_with_its_token() {
    let scripted = Scripted::start(|stream, _| {
        let _ = read_all_or_reset(stream);
        Then::Close
    });
    let stand = in_front_of(&scripted);
    for is_revoked in [false, true] {
        let lives = if is_revoked { 60_000 } else { 600 };
        let held = stand.minted(|token| token.live_until = now().plus_millis(lives));
        let mut stream = stand.stand.connect();
        let request =
            format!("POST /x/a HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Length: 9000\r\n\r\nbegun", held.text);
        let before = scripted.heads().len();
        stream.write_all(request.as_bytes()).expect("sent");
        wait_until(|| scripted.heads().len() > before);
        if is_revoked {
            stand.store.revoke_token(&held.token.id, now()).expect("revoked");
        }
        let answer = read_all_or_reset(&mut stream);
        let code = if is_revoked { "credential_revoked" } else { "token_expired" };
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains(code), "{answer}");
        wait_until(|| stand.stand.running.as_ref().expect("running").live_sessions() == 0);
    }
}

#[test]
fn the_bytes_of_a_request_and_its_answer_count_together() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| {
        token.limits = TokenLimits { bytes_max: Some(3000), ..TokenLimits::default() };
    });
    let headers = format!("X-API-Key: {}\r\n", held.text);
    assert!(stand.ask("POST", "/demo/echo", &headers, "small").starts_with("HTTP/1.1 200 "));
    let answer = stand.ask("POST", "/demo/echo", &headers, &"x".repeat(4000));
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("token_used_up"), "{answer}");
    let scripted = Scripted::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{}", "x".repeat(9000)));
    let stand = in_front_of(&scripted);
    let held = stand.minted(|token| {
        token.limits = TokenLimits { bytes_max: Some(3000), ..TokenLimits::default() };
    });
    let mut stream = stand.stand.connect();
    let request = format!("GET /x/a HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", held.text);
    stream.write_all(request.as_bytes()).expect("sent");
    let answer = read_all_or_reset(&mut stream);
    assert!(answer.matches('x').count() <= 3000, "{} bytes came", answer.len());
    assert_eq!(stand.stand.records(1)[0].code, Some(Code::TokenUsedUp));
}

#[test]
fn a_session_has_its_own_bounds() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| {
        token.limits = TokenLimits { messages_max: Some(3), duration_secs_max: Some(600), ..TokenLimits::default() };
    });
    let headers = format!("X-API-Key: {}\r\n", held.text);
    let (_, mut socket) = stand.stand.open_websocket("/demo/ws", &headers);
    socket.write_all(&frame(1, b"one")).expect("sent");
    assert_eq!(read_frame(&mut socket), (1, b"one".to_vec()));
    socket.write_all(&[frame(1, b"three"), frame(1, b"four")].concat()).expect("sent");
    let closed = loop {
        let frame = read_frame(&mut socket);
        if frame.0 == 8 {
            break close_of(&frame);
        }
    };
    assert_eq!(closed.0, 4002);
    let held = stand.minted(|token| {
        token.limits = TokenLimits { bytes_max: Some(SETUP.len() as u64 + 5), ..TokenLimits::default() };
    });
    let (_, answer) = stand.live(&held.text, SETUP);
    let (code, reason) = close_of(&answer);
    assert_eq!(code, 1008, "the setup counts too, and the answer is longer than 5 bytes");
    assert!(reason.starts_with("token_used_up: "), "{reason}");
    let records = stand.stand.records(2);
    let record = records.iter().find(|record| record.dialect == Some(Dialect::Gemini)).expect("the second one");
    assert_eq!((record.messages_in, record.bytes_in, record.messages_out), (1, SETUP.len() as u64, 0));
}

#[test]
fn revoking_a_token_ends_its_sessions_and_no_others_within_2_s() {
    let stand = TokenStand::start();
    let (held, other) = (stand.minted(|_| {}), stand.minted(|_| {}));
    let (mut live, answer) = stand.live(&held.text, SETUP);
    assert!(is_set_up(&answer));
    let (mut untouched, _) = stand.live(&other.text, SETUP);
    // One that waits for its first message, which nothing was claimed for.
    let (_, mut waiting) = stand.stand.open_websocket(LIVE, &format!("x-goog-api-key: {}\r\n", held.text));
    let began = Instant::now();
    stand.store.revoke_token(&held.token.id, now()).expect("revoked");
    for stream in [&mut live, &mut waiting] {
        let (code, reason) = close_of(&read_frame(stream));
        assert_eq!(code, 1008);
        assert!(reason.starts_with("credential_revoked: "), "{reason}");
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    let (code, _) = close_of(&stand.live(&held.text, SETUP).1);
    assert_eq!(code, 1008);
    let content = br#"{"clientContent":{"turns":[{"parts":[{"text":"hello"}],"role":"user"}],"turnComplete":true}}"#;
    untouched.write_all(&frame(1, content)).expect("sent");
    assert_eq!(read_frame(&mut untouched).0, 2);
}

#[test]
fn revoking_the_key_ends_its_tokens_57() {
    let stand = TokenStand::start();
    let held = stand.minted(|_| {});
    let (mut live, _) = stand.live(&held.text, SETUP);
    let running = stand.stand.running.as_ref().expect("running");
    stand.store.revoke_key(&stand.key_id, now()).expect("revoked");
    // What the binary does when its view of the store changes.
    assert_eq!(running.end_sessions_of_key(&stand.key_id), 1);
    assert_eq!(close_of(&read_frame(&mut live)).0, 1008);
    let (code, reason) = close_of(&stand.live(&held.text, SETUP).1);
    assert_eq!(code, 1008);
    assert!(reason.starts_with("credential_revoked: "), "{reason}");
}

#[test]
fn a_drain_does_not_wait_for_a_first_message() {
    let stand = TokenStand::start();
    let held = stand.minted(|_| {});
    let (_, mut waiting) = stand.stand.open_websocket(LIVE, &format!("x-goog-api-key: {}\r\n", held.text));
    stand.stand.running.as_ref().expect("running").drain();
    let (code, reason) = close_of(&read_frame(&mut waiting));
    assert_eq!(code, 1012, "{reason}");
    assert!(stand.stand.recorder.requests().is_empty());
}
