//! How often a token may be used, and what costs a use.

use std::io::{Read as _, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keymoat_core::token::{Calls, Uses};
use keymoat_core::{Code, Scopes};
use keymoat_gateway::settings::Limits;

use super::{LIVE, SETUP, TokenStand, is_set_up};
use crate::stand::{close_of, frame, read_frame};

#[test]
fn of_200_openings_at_once_a_token_with_one_use_gets_one_49() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.uses = Uses::AtMost(1));
    let opened = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let (_stream, answer) = stand.live(&held.text, SETUP);
                if is_set_up(&answer) {
                    opened.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let (code, reason) = close_of(&answer);
                let busy = code == 1011 && reason.starts_with("unavailable");
                assert!(busy || (code == 1008 && reason.starts_with("token_used_up")), "{code} {reason}");
            });
        }
    });
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    assert_eq!(stand.stand.recorder.requests().len(), 1, "nobody is dialled without a use");
    assert_eq!(stand.uses_left(&held.token), Some(0));
}

#[test]
fn each_session_and_each_request_costs_a_use() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.uses = Uses::AtMost(3));
    let headers = format!("X-API-Key: {}\r\n", held.text);
    assert!(is_set_up(&stand.live(&held.text, SETUP).1));
    assert!(stand.stand.fetch("/demo/echo", &headers).starts_with("HTTP/1.1 200 "));
    let (_, mut stream) = stand.stand.open_websocket("/demo/ws", &headers);
    stream.write_all(&frame(1, b"x")).expect("sent");
    read_frame(&mut stream);
    assert_eq!(stand.uses_left(&held.token), Some(0));
    let answer = stand.stand.fetch("/demo/echo", &headers);
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("token_used_up"), "{answer}");
    let (_, mut stream) = stand.stand.open_websocket("/demo/ws", &headers);
    assert_eq!(close_of(&read_frame(&mut stream)).0, 4002);
    assert_eq!(close_of(&stand.live(&held.text, SETUP).1).0, 1008);
}

#[test]
fn what_is_refused_costs_nothing() {
    let limits = Limits { first_message: Duration::from_secs(1), ..Limits::default() };
    let stand = TokenStand::with(limits, |_| {});
    let held = stand.minted(|token| token.uses = Uses::AtMost(1));
    let wrong: [&[u8]; 6] = [
        b"not json",
        br#"{"clientContent":{}}"#,
        br#"{"setup":null}"#,
        br#"{"setup":[]}"#,
        br#"{"setup":{"model":"models/a"},"setup":{"model":"models/b"}}"#,
        br#"{"setup":{"model":"models/a"},"clientContent":{}}"#,
    ];
    for first in wrong {
        let (code, reason) = close_of(&stand.live(&held.text, first).1);
        assert!(matches!(code, 1007 | 1008), "{code} {reason}");
    }
    let (_, mut silent) = stand.stand.open_websocket(LIVE, &format!("Authorization: Token {}\r\n", held.text));
    let (code, reason) = close_of(&read_frame(&mut silent));
    assert_eq!(code, 1008);
    assert!(reason.starts_with("request_timeout: "), "{reason}");
    let large = format!(r#"{{"setup":{{"model":"models/a","labels":{{"a":"{}"}}}}}}"#, "x".repeat(60_000));
    let _ = stand.live(&held.text, large.as_bytes());
    assert_eq!(stand.uses_left(&held.token), Some(0), "60 KB are no reason to refuse");
}

#[test]
fn a_first_message_of_more_than_256_kib_is_refused_64() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.uses = Uses::AtMost(1));
    let (_, mut stream) = stand.stand.open_websocket(LIVE, &format!("Authorization: Token {}\r\n", held.text));
    let mut head = vec![0x81, 0x80 | 127];
    head.extend((256_u64 * 1024 + 1).to_be_bytes());
    head.extend([0; 4]);
    stream.write_all(&head).expect("sent");
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 1009, "{reason}");
    assert_eq!(stand.uses_left(&held.token), Some(1));
}

#[test]
fn a_compressed_or_unmasked_first_message_breaks_the_protocol_67() {
    let stand = TokenStand::start();
    let held = stand.minted(|_| {});
    for first in [0x81 | 0x40, 0x81 | 0x10] {
        let (_, mut stream) = stand.stand.open_websocket(LIVE, &format!("Authorization: Token {}\r\n", held.text));
        let mut message = frame(1, SETUP);
        message[0] = first;
        stream.write_all(&message).expect("sent");
        assert_eq!(close_of(&read_frame(&mut stream)).0, 1002);
    }
    assert!(stand.stand.recorder.requests().is_empty());
}

#[test]
fn what_is_sent_with_the_setup_crosses_behind_it_71() {
    let stand = TokenStand::start();
    let held = stand.minted(|_| {});
    let (_, mut stream) = stand.stand.open_websocket(LIVE, &format!("Authorization: Token {}\r\n", held.text));
    let content = br#"{"clientContent":{"turns":[{"parts":[{"text":"hello"}],"role":"user"}],"turnComplete":true}}"#;
    stream.write_all(&[frame(1, SETUP), frame(1, content)].concat()).expect("sent");
    assert!(is_set_up(&read_frame(&mut stream)));
    let answer = String::from_utf8_lossy(&read_frame(&mut stream).1).into_owned();
    assert!(answer.contains("serverContent"), "{answer}");
}

#[test]
fn a_token_goes_where_its_scopes_its_key_s_scopes_and_its_kind_let_it() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| {
        token.scopes = Scopes::from_words(["gemini", "demo"]);
        token.calls = Calls::LiveOnly;
        token.uses = Uses::AtMost(2);
    });
    let headers = format!("Authorization: Bearer {}\r\n", held.text);
    let answer = stand.stand.fetch("/api/events", &headers);
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("\"code\":\"forbidden\""), "{answer}");
    let (_, mut stream) = stand.stand.open_websocket("/ws/events", &headers);
    assert_eq!(close_of(&read_frame(&mut stream)).0, 4003);
    let answer = stand.stand.fetch("/v1beta/models", &headers);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(
        answer.contains("PERMISSION_DENIED") && answer.contains("a token that allows any call"),
        "it says what to mint instead: {answer}"
    );
    assert_eq!(stand.uses_left(&held.token), Some(2));
    assert!(is_set_up(&stand.live(&held.text, SETUP).1));
}

#[test]
fn an_upstream_that_refuses_ends_the_client_with_a_reason_and_the_use_is_spent() {
    let stand = TokenStand::with(Limits::default(), |settings| {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = gone.local_addr().expect("bound");
        let gemini = settings.upstreams.iter_mut().find(|upstream| &*upstream.name == "gemini");
        gemini.expect("planned").origin.port = address.port();
    });
    let held = stand.minted(|token| token.uses = Uses::AtMost(1));
    let (code, reason) = close_of(&stand.live(&held.text, SETUP).1);
    assert_eq!(code, 1011, "{reason}");
    assert_eq!(stand.uses_left(&held.token), Some(0));
    let record = &stand.stand.records(1)[0];
    assert_eq!((record.code, record.close_code), (Some(Code::Unavailable), Some(1011)));
}

#[test]
fn pings_are_answered_before_there_is_an_upstream() {
    let stand = TokenStand::start();
    let held = stand.minted(|_| {});
    let (_, mut stream) = stand.stand.open_websocket(LIVE, &format!("Authorization: Token {}\r\n", held.text));
    stream.write_all(&frame(9, b"there?")).expect("sent");
    assert_eq!(read_frame(&mut stream), (10, b"there?".to_vec()));
    assert!(stand.stand.recorder.requests().is_empty());
    stream.write_all(&frame(8, &1000_u16.to_be_bytes())).expect("sent");
    assert_eq!(close_of(&read_frame(&mut stream)).0, 1000);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("a clean end");
    assert_eq!(stand.stand.records(1)[0].close_code, Some(1000));
}
