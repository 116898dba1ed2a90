//! When a token begins nothing new, when its sessions end, and who ends them.

use std::io::Write;
use std::time::{Duration, Instant};

use keymoat_core::record::Outcome;
use keymoat_core::token::SessionLimits;
use keymoat_core::{Code, Dialect};

use super::{LIVE, SETUP, TokenStand, is_set_up, now};
use crate::stand::{close_of, frame, read_all, read_frame, read_head};

#[test]
fn a_token_begins_nothing_after_its_time_to_start_and_nothing_at_all_after_its_end() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.start_by = now().plus_millis(300));
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
        token.start_by = now().plus_millis(1500);
        token.live_until = now().plus_millis(1500);
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
    let held = stand.minted(|token| token.live_until = now().plus_millis(1000));
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

#[test]
fn a_session_has_its_own_bounds() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| {
        token.limits = SessionLimits { messages_max: Some(3), bytes_max: None, duration_secs_max: Some(600) };
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
        token.limits = SessionLimits { bytes_max: Some(SETUP.len() as u64 + 5), ..SessionLimits::default() };
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
