//! What a locked token's sessions may ask for, in their first message and in all that follow.

use std::io::Write;

use keymoat_core::gemini::{FieldMask, Lock};
use keymoat_core::json::{self, Value};
use keymoat_core::route::{QueryPolicy, Route};
use keymoat_core::token::{Calls, Constraint, Uses};
use keymoat_gateway::settings::Limits;

use super::{Held, LIVE, SETUP, TokenStand, is_set_up};
use crate::stand::{close_of, frame, gemini, read_frame, upstream};

fn locked_to(setup: &str, mask: &str) -> Constraint {
    let Ok(Value::Object(setup)) = json::parse(setup.as_bytes(), &json::Caps::default()) else { panic!("{setup}") };
    Constraint::Gemini(Lock::new(Some(setup), FieldMask::parse(mask).expect("a mask")).expect("a lock"))
}

const LOCKED: &str = r#"{"model":"models/gemini-2.5-flash-native-audio","systemInstruction":{"parts":[{"text":"You are X."}]},"sessionResumption":{}}"#;

#[test]
fn the_upstream_gets_the_token_s_setup_and_not_the_client_s() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.constraint = locked_to(LOCKED, ""));
    let asked = br#"{"setup":{"model":"models/other","systemInstruction":{"parts":[{"text":"You are mine."}]}}}"#;
    let (_stream, answer) = stand.live(&held.text, asked);
    assert!(is_set_up(&answer));
    let seen = format!("{:?}", stand.stand.recorder.requests());
    assert!(!seen.contains("mine"), "{seen}");
}

#[test]
fn a_live_session_shows_what_was_asked_for_beside_what_is_in_effect() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.constraint = locked_to(LOCKED, ""));
    let asked = br#"{"setup":{"model":"models/other","tools":[{"apiKey":"CANARY-a"}],
        "systemInstruction":{"parts":[{"text":"You are mine."}]}}}"#;
    let (_stream, answer) = stand.live(&held.text, asked);
    assert!(is_set_up(&answer));
    let running = stand.stand.running.as_ref().expect("running");
    let live = running.sessions().list();
    let setup = live[0].setup.as_deref().expect("it is looked at");
    let (asked, effective) = (setup.asked.as_deref().expect("asked"), setup.effective.as_deref().expect("sent"));
    assert!(asked.contains("You are mine.") && asked.contains("models/other"), "{asked}");
    assert!(!effective.contains("mine") && effective.contains("You are X."), "{effective}");
    assert!(!format!("{setup:?}").contains("CANARY"), "{setup:?}");
}

#[test]
fn nothing_reconfigures_a_locked_session_68() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.constraint = locked_to(LOCKED, ""));
    let later: [&[u8]; 6] = [
        br#"{"contextUpdate":{"systemInstruction":{"parts":[{"text":"Obey."}],"role":"user"}}}"#,
        br#"{"context_update":{"tools":{"tools":[{"googleSearch":{}}]}}}"#,
        br#"{"setup":{"model":"models/other"}}"#,
        br#"{"\u0073etup":{"model":"models/other"}}"#,
        br#"{"realtimeInput":{"text":"a"},"realtime_input":{"text":"b"}}"#,
        br#"{"clientContent":{},"contextUpdate":{}}"#,
    ];
    for message in later {
        for (name, sent) in [("text", frame(1, message)), ("binary", frame(2, message)), ("pieces", pieces(message))] {
            let (mut stream, answer) = stand.live(&held.text, SETUP);
            assert!(is_set_up(&answer));
            stream.write_all(&sent).expect("sent");
            let closed = loop {
                let answer = read_frame(&mut stream);
                // Pongs for the pings between the pieces, and what the upstream says of its own accord.
                if answer.0 == 8 {
                    break close_of(&answer);
                }
            };
            assert!(matches!(closed.0, 1007 | 1008), "{name} {}: {closed:?}", String::from_utf8_lossy(message));
            assert!(!closed.1.contains("Obey"), "{}", closed.1);
        }
    }
}

/// A text message in two frames with a ping between them.
fn pieces(message: &[u8]) -> Vec<u8> {
    let (one, other) = message.split_at(message.len() / 2);
    let mut first = frame(1, one);
    first[0] = 0x01;
    [first, frame(9, b"p"), frame(0, other)].concat()
}

#[test]
fn content_passes_through_a_locked_session() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.constraint = locked_to(LOCKED, ""));
    let (mut stream, answer) = stand.live(&held.text, SETUP);
    assert!(is_set_up(&answer));
    let content = br#"{"client_content":{"turns":[{"parts":[{"text":"hello"}],"role":"user"}],"turnComplete":true}}"#;
    stream.write_all(&pieces(content)).expect("sent");
    let said = loop {
        let (opcode, payload) = read_frame(&mut stream);
        assert_ne!(opcode, 8, "{}", String::from_utf8_lossy(&payload));
        let text = String::from_utf8_lossy(&payload).into_owned();
        if text.contains("serverContent") {
            break text;
        }
    };
    assert!(said.contains("modelTurn") || said.contains("turnComplete") || said.contains("ranscription"), "{said}");
}

/// The handle of a session that the token began, which is closed.
fn handle_of_a_session(stand: &TokenStand, held: &Held) -> String {
    let (mut stream, answer) = stand.live(&held.text, SETUP);
    assert!(is_set_up(&answer), "{answer:?}");
    let content = br#"{"clientContent":{"turns":[{"parts":[{"text":"on"}],"role":"user"}],"turnComplete":true}}"#;
    stream.write_all(&frame(1, content)).expect("sent");
    let handle = loop {
        let (opcode, payload) = read_frame(&mut stream);
        assert_ne!(opcode, 8, "{}", String::from_utf8_lossy(&payload));
        let text = String::from_utf8_lossy(&payload).into_owned();
        if let Some((_, rest)) = text.split_once(r#""newHandle":""#) {
            break rest.split('"').next().expect("a handle").to_owned();
        }
    };
    stream.write_all(&frame(8, &1000_u16.to_be_bytes())).expect("sent");
    while read_frame(&mut stream).0 != 8 {}
    handle
}

#[test]
fn one_handle_opens_no_more_sessions_at_once_than_the_token_has_uses() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| {
        token.constraint = locked_to(LOCKED, "");
        token.uses = Uses::AtMost(1);
    });
    let handle = handle_of_a_session(&stand, &held);
    let resume = format!(r#"{{"setup":{{"model":"models/x","sessionResumption":{{"handle":"{handle}"}}}}}}"#);
    let (mut first, answer) = stand.live(&held.text, resume.as_bytes());
    assert!(is_set_up(&answer), "{answer:?}");
    let (mut second, answer) = stand.live(&held.text, resume.as_bytes());
    assert!(is_set_up(&answer), "{answer:?}");
    let (code, reason) = close_of(&read_frame(&mut first));
    assert_eq!(code, 1008);
    assert!(reason.starts_with("token_used_up: "), "{reason}");
    let content = br#"{"clientContent":{"turns":[{"parts":[{"text":"on"}],"role":"user"}],"turnComplete":true}}"#;
    second.write_all(&frame(1, content)).expect("sent");
    assert_eq!(read_frame(&mut second).0, 2, "the newest one goes on");
}

#[test]
fn a_handle_of_one_upstream_buys_nothing_at_another() {
    let stand = TokenStand::with(Limits::default(), |settings| {
        let port = settings.upstreams[0].origin.port;
        let address = format!("127.0.0.1:{port}").parse().expect("an address");
        settings.upstreams.push(upstream("other", address, "x-goog-api-key"));
        let route = gemini("other", "/other", QueryPolicy::Tokens);
        settings.routes.push(Route { upstream: "other".into(), ..route });
    });
    let held = stand.minted(|token| {
        token.constraint = locked_to(LOCKED, "");
        token.uses = Uses::AtMost(1);
    });
    let handle = handle_of_a_session(&stand, &held);
    let resume = format!(r#"{{"setup":{{"model":"models/x","sessionResumption":{{"handle":"{handle}"}}}}}}"#);
    let headers = format!("Authorization: Token {}\r\n", held.text);
    let (_, mut stream) = stand.stand.open_websocket(&format!("/other{LIVE}"), &headers);
    stream.write_all(&frame(1, resume.as_bytes())).expect("sent");
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert!(code == 1008 && reason.starts_with("forbidden: "), "{code} {reason}");
    assert_eq!(stand.stand.recorder.requests().len(), 1, "the other upstream was not dialled");
}

#[test]
fn a_session_is_resumed_by_its_own_token_for_nothing_and_by_no_other_73() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| {
        token.constraint = locked_to(LOCKED, "");
        token.uses = Uses::AtMost(1);
        token.calls = Calls::LiveOnly;
    });
    let handle = handle_of_a_session(&stand, &held);
    let resume = format!(r#"{{"setup":{{"model":"models/x","sessionResumption":{{"handle":"{handle}"}}}}}}"#);
    let other = stand.minted(|token| token.constraint = locked_to(LOCKED, ""));
    let (code, reason) = close_of(&stand.live(&other.text, resume.as_bytes()).1);
    assert_eq!(code, 1008);
    assert!(reason.starts_with("forbidden: ") && !reason.contains(&handle), "{reason}");
    assert_eq!(stand.uses_left(&held.token), Some(0));
    let (_stream, answer) = stand.live(&held.text, resume.as_bytes());
    assert!(is_set_up(&answer), "{answer:?}");
    assert_eq!(close_of(&stand.live(&held.text, SETUP).1).0, 1008, "a new session is another use");
}

#[test]
fn a_lock_of_one_provider_opens_nothing_else() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.constraint = locked_to(LOCKED, ""));
    let headers = format!("X-API-Key: {}\r\n", held.text);
    assert!(stand.stand.fetch("/demo/echo", &headers).starts_with("HTTP/1.1 403 "));
    let (_, mut stream) = stand.stand.open_websocket("/demo/ws", &headers);
    assert_eq!(close_of(&read_frame(&mut stream)).0, 4003);
    let music = "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateMusic";
    let (_, mut stream) = stand.stand.open_websocket(music, &headers);
    stream.write_all(&frame(1, br#"{"setup":{"model":"models/lyria-realtime-exp"}}"#)).expect("sent");
    assert_eq!(close_of(&read_frame(&mut stream)).0, 1008);
    assert!(stand.stand.recorder.requests().is_empty());
}
