//! Which subprotocol is selected, on the way in and on the way out, by raw handshakes.

use std::io::Write;
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keymoat_core::Code;
use keymoat_core::route::QueryPolicy;
use keymoat_gateway::settings::Limits;

use crate::scripted::{Scripted, Then, headers, switch};
use crate::stand::{Stand, close_of, frame, generic, read_all, read_frame, upstream};

const SELECTED: &str = "sec-websocket-protocol";

/// What stands in `Sec-WebSocket-Protocol`, one line each.
fn offering(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("Sec-WebSocket-Protocol: {line}\r\n")).collect()
}

/// The answer's head, checked: nothing of the credential is in it.
fn open(stand: &Stand, path: &str, headers: &str) -> (String, TcpStream) {
    let (head, stream) = stand.open_websocket(path, headers);
    for secret in [&stand.key, &b64(&stand.key), &STANDARD.encode(&stand.key)] {
        assert!(!head.contains(secret.as_str()), "{head}");
    }
    (head, stream)
}

fn b64(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn selected(head: &str) -> Vec<String> {
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    headers(head, SELECTED)
}

/// Whether the session behind the answer echoes.
fn works(stream: &mut TcpStream) -> bool {
    stream.write_all(&frame(1, b"hello")).expect("sent");
    read_frame(stream) == (1, b"hello".to_vec())
}

/// Every way to offer a credential beside something that can be selected, and what is.
fn good_offers(key: &str) -> Vec<(Vec<String>, &'static str)> {
    let k8s = format!("base64url.bearer.authorization.k8s.io.{}", b64(key));
    let token = format!("keymoat.token.{}", b64(key));
    let openai = format!("openai-insecure-api-key.{key}");
    vec![
        (vec![format!("keymoat.v1, api-key.{key}")], "keymoat.v1"),
        (vec![format!("keymoat.v1,api-key.{key}")], "keymoat.v1"),
        (vec![format!("keymoat.v1 ,\t api-key.{key}")], "keymoat.v1"),
        (vec![format!("api-key.{key}, keymoat.v1")], "keymoat.v1"),
        (vec!["keymoat.v1".into(), format!("api-key.{key}")], "keymoat.v1"),
        (vec![format!("api-key.{key}"), "keymoat.v1".into()], "keymoat.v1"),
        (vec![format!("chat, api-key.{key}")], "chat"),
        (vec![format!("api-key.{key}, chat")], "chat"),
        (vec![format!("chat, more, api-key.{key}")], "chat"),
        (vec![format!("keymoat.v1, chat, api-key.{key}")], "chat"),
        (vec![format!("keymoat.v1, {token}")], "keymoat.v1"),
        (vec![format!("{token},keymoat.v1")], "keymoat.v1"),
        (vec![format!("realtime, {openai}, openai-agents-sdk.0.20.0")], "realtime"),
        (vec![format!("{k8s}, channel.k8s.io")], "channel.k8s.io"),
        (vec![format!("keymoat.v1, {k8s}")], "keymoat.v1"),
        (vec![format!("keymoat.v1, api-key.{key}, {token}")], "keymoat.v1"),
    ]
}

#[test]
fn beside_a_credential_the_other_entry_is_selected_and_the_upstream_sees_no_credential() {
    let stand = Stand::start();
    for (lines, expected) in good_offers(&stand.key) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (head, mut stream) = open(&stand, "/demo/ws", &offering(&lines));
        assert_eq!(selected(&head), [expected], "{lines:?}");
        assert!(works(&mut stream), "{lines:?}");
    }
    for request in stand.recorder.requests() {
        let offered = request.header(SELECTED).unwrap_or_default();
        assert!(!offered.contains("keymoat") && !offered.contains("k8s.io."), "{offered}");
        assert!(!offered.contains("api-key."), "{offered}");
    }
    assert!(stand.recorder.places_of(&stand.key).is_empty());
    assert!(stand.recorder.places_of(&b64(&stand.key)).is_empty());
}

#[test]
fn the_record_tells_what_was_offered_and_chosen_and_of_credentials_their_kind_only() {
    let offers = good_offers("KEY");
    let stand = Stand::start();
    for (lines, _) in good_offers(&stand.key) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let headers = format!("{}Origin: https://app.example\r\n", offering(&lines));
        let (_, mut stream) = open(&stand, "/demo/ws", &headers);
        stream.write_all(&frame(8, &[&4001_u16.to_be_bytes()[..], b"had enough"].concat())).expect("sent");
        read_all(&mut stream);
    }
    let records = stand.records(offers.len());
    for (record, (_, expected)) in records.iter().zip(&offers) {
        // A name that is no known protocol's may be a password.
        let shown = if ["keymoat.v1", "realtime"].contains(expected) { expected } else { "•" };
        assert_eq!(record.subprotocol_selected.as_deref(), Some(shown));
        assert!(record.subprotocols_offered.iter().any(|told| **told == *shown), "{record:?}");
        assert!(record.subprotocols_offered.iter().any(|name| name.ends_with('•')), "{record:?}");
        // What a client says in its close frame may be anything, also its key.
        assert_eq!((record.origin.as_deref(), record.close_reason.as_deref()), (Some("https://app.example"), None));
        let told = keymoat_core::event::record_line(record).text;
        for secret in [&stand.key, &b64(&stand.key), &STANDARD.encode(&stand.key)] {
            assert!(!told.contains(secret.as_str()), "{told}");
        }
    }
    assert_eq!(records[0].subprotocols_offered.join(" "), "keymoat.v1 api-key.•");
}

#[test]
fn a_refused_session_tells_what_was_offered_and_why_it_was_closed() {
    let stand = Stand::start();
    let canary = "km_TestVector0TestVector0TestVector0TestVector02cu8n";
    let (_, mut stream) =
        open(&stand, "/demo/ws", &offering(&[&format!("mqtt, api-key.{canary}, hunter2, other-{canary}")]));
    read_all(&mut stream);
    let record = &stand.records(1)[0];
    assert_eq!(record.subprotocols_offered.join(" "), "mqtt api-key.• • •");
    assert!(record.close_reason.as_deref().is_some_and(|reason| reason.starts_with("credential_")), "{record:?}");
    assert!(!format!("{record:?}").contains(canary), "{record:?}");
}

#[test]
fn a_wrong_credential_gets_the_same_selection_and_then_4001() {
    let stand = Stand::start();
    for (lines, expected) in good_offers("wrong-credential-0123456789") {
        // Upstream is not asked, so that its choice among the labels is not known: the marker goes first.
        let marked = lines.iter().any(|line| line.contains("keymoat.v1"));
        let expected = if marked { "keymoat.v1" } else { expected };
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (head, mut stream) = open(&stand, "/demo/ws", &offering(&lines));
        assert_eq!(selected(&head), [expected], "{lines:?}");
        assert!(!head.contains("wrong-credential") && !head.contains(&b64("wrong-credential-0123456789")));
        let (code, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(code, 4001, "{lines:?}");
        assert!(reason.starts_with("credential_invalid"), "{reason}");
        assert!(!reason.contains("wrong-credential"), "{reason}");
        drop(stream);
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn nothing_offered_nothing_selected() {
    let stand = Stand::start();
    let (head, mut stream) = open(&stand, "/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
    assert!(selected(&head).is_empty(), "{head}");
    assert!(works(&mut stream));
    let (head, mut stream) = open(&stand, "/demo/ws", "X-API-Key: wrong\r\n");
    assert!(selected(&head).is_empty(), "{head}");
    assert_eq!(close_of(&read_frame(&mut stream)).0, 4001);
    let (head, mut stream) = open(&stand, "/demo/ws", "");
    assert!(selected(&head).is_empty(), "{head}");
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 4001);
    assert!(reason.starts_with("credential_missing"), "{reason}");
}

#[test]
fn a_credential_in_a_header_leaves_the_offer_to_the_application() {
    let stand = Stand::start();
    let key = format!("X-API-Key: {}\r\n", stand.key);
    for (line, expected) in [
        ("chat", vec!["chat"]),
        ("keymoat.v1", vec!["keymoat.v1"]),
        ("graphql-transport-ws, graphql-ws", vec!["graphql-transport-ws"]),
        ("phoenix, base64url.bearer.phx.c29tZXRoaW5n", vec!["phoenix"]),
        ("base64url.bearer.phx.c29tZXRoaW5n, phoenix", vec!["phoenix"]),
        // Somebody else's credential is never selected, not even when the upstream does so.
        ("base64url.bearer.phx.c29tZXRoaW5n", vec![]),
        ("xai-client-secret.abcdef", vec![]),
    ] {
        let (head, mut stream) = open(&stand, "/demo/ws", &format!("{key}{}", offering(&[line])));
        assert_eq!(selected(&head), expected, "{line}");
        assert!(works(&mut stream), "{line}");
    }
}

#[test]
fn a_lone_credential_is_answered_without_a_selection_and_closed_with_a_hint() {
    let stand = Stand::start();
    let key = &stand.key;
    for line in [
        format!("api-key.{key}"),
        format!("keymoat.token.{}", b64(key)),
        format!("openai-insecure-api-key.{key}"),
        format!("base64url.bearer.authorization.k8s.io.{}", b64(key)),
    ] {
        let (head, mut stream) = open(&stand, "/demo/ws", &offering(&[&line]));
        assert!(selected(&head).is_empty(), "{head}");
        let (code, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(code, 4001);
        assert!(reason.contains("keymoat.v1") && !reason.contains(key.as_str()), "{reason}");
        drop(stream);
    }
    assert!(stand.recorder.requests().is_empty(), "nothing was dialled");
    for record in stand.records(4) {
        assert_eq!((record.code, record.close_code), (Some(Code::CredentialInvalid), Some(4001)));
        assert!(!record.lone_subprotocol_echoed);
    }
}

#[test]
fn pinned_a_lone_valid_key_is_echoed_where_the_route_says_so_and_counted() {
    let stand = Stand::start();
    let entry = format!("api-key.{}", stand.key);
    let (head, mut stream) = stand.open_websocket("/ws/events", &offering(&[&entry]));
    assert_eq!(selected(&head), [entry.as_str()]);
    assert_eq!(head.matches(&stand.key).count(), 1, "once and nowhere else: {head}");
    assert!(String::from_utf8_lossy(&read_frame(&mut stream).1).contains("\"type\""));
    drop(stream);
    let record = &stand.records(1)[0];
    assert!(record.lone_subprotocol_echoed);
    assert!(stand.recorder.places_of(&stand.key).is_empty());
}

#[test]
fn pinned_a_lone_wrong_key_is_echoed_so_that_the_close_code_arrives() {
    let stand = Stand::start();
    let (head, mut stream) = stand.open_websocket("/ws/events", &offering(&["api-key.wrong"]));
    assert_eq!(selected(&head), ["api-key.wrong"]);
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 4001);
    assert!(!reason.contains("wrong"), "{reason}");
    assert!(stand.recorder.requests().is_empty());
    let record = &stand.records(1)[0];
    assert!(record.lone_subprotocol_echoed);
    assert_eq!(record.code, Some(Code::CredentialInvalid));
}

#[test]
fn pinned_beside_another_entry_that_one_is_selected_even_where_a_lone_key_is_echoed() {
    let stand = Stand::start();
    for (line, expected) in [
        (format!("other, api-key.{}", stand.key), "other"),
        (format!("api-key.{}, other", stand.key), "other"),
        (format!("other, keymoat.v1, api-key.{}", stand.key), "keymoat.v1"),
    ] {
        let (head, mut stream) = open(&stand, "/ws/events", &offering(&[&line]));
        assert_eq!(selected(&head), [expected]);
        read_frame(&mut stream);
    }
    assert!(stand.records(3).iter().all(|record| !record.lone_subprotocol_echoed));
}

#[test]
fn pinned_junk_is_never_selected_and_never_an_internal_error() {
    let stand = Stand::start();
    for path in ["/demo/ws", "/ws/events"] {
        // No credential in it: a refusal that a WebSocket can carry.
        for line in ["api-key.", "keymoat.token.", "api-key.undefined", "api-key.null", "keymoat.token.bnVsbA"] {
            let (head, mut stream) = open(&stand, path, &offering(&[line]));
            assert!(selected(&head).is_empty(), "{line}: {head}");
            let (code, reason) = close_of(&read_frame(&mut stream));
            assert_eq!(code, 4001, "{line}");
            assert!(reason.starts_with("credential_missing"), "{line}: {reason}");
        }
        // Not a list of tokens: no handshake at all.
        for line in [",", "a,,b", "a,", ",a", "a b", "api-key. x", "a=b", "a/b", "\"a\"", "(a)", "a@b"] {
            let (head, _) = open(&stand, path, &offering(&[line]));
            assert!(head.starts_with("HTTP/1.1 400 "), "{line:?}: {head}");
            assert!(headers(&head, SELECTED).is_empty(), "{head}");
        }
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn an_entry_that_comes_twice_is_refused() {
    let stand = Stand::start();
    let key = &stand.key;
    for lines in [
        vec![String::from("chat, chat"), format!("api-key.{key}")],
        vec![String::from("chat"), format!("api-key.{key}"), String::from("chat")],
        vec![format!("keymoat.v1, api-key.{key}, api-key.{key}")],
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (head, _) = open(&stand, "/demo/ws", &offering(&lines));
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn two_different_credentials_in_the_offer_are_refused() {
    let stand = Stand::start();
    let line = format!("keymoat.v1, api-key.{}, openai-insecure-api-key.another", stand.key);
    let (head, mut stream) = open(&stand, "/demo/ws", &offering(&[&line]));
    assert_eq!(selected(&head), ["keymoat.v1"]);
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 4001);
    assert!(reason.starts_with("credential_ambiguous"), "{reason}");
}

#[test]
fn a_credential_that_is_not_base64url_is_told_so() {
    let stand = Stand::start();
    let padded = STANDARD.encode("a+b/c?d");
    for entry in ["keymoat.token.a", "keymoat.token.%%%", &format!("keymoat.token.{}", padded.trim_end_matches('='))] {
        let entry = entry.replace('/', "+");
        let (head, mut stream) = open(&stand, "/demo/ws", &offering(&[&format!("keymoat.v1, {entry}")]));
        assert_eq!(selected(&head), ["keymoat.v1"]);
        let (code, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(code, 4001, "{entry}");
        assert!(reason.starts_with("credential_invalid"), "{reason}");
    }
}

#[test]
fn an_offer_over_its_limits_is_refused() {
    let stand = Stand::start();
    let long = "x".repeat(4097);
    let many: Vec<String> = (0..3).map(|n| format!("{n}{}", "y".repeat(3000))).collect();
    for line in [&long, &many.join(",")] {
        let (head, _) = open(&stand, "/demo/ws", &offering(&[line, &format!("api-key.{}", stand.key)]));
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn gemini_is_offered_nothing_and_the_client_gets_the_marker() {
    let stand = Stand::start();
    let path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
    let line = format!("keymoat.v1, chat, api-key.{}", stand.key);
    let (head, mut stream) = open(&stand, path, &offering(&[&line]));
    assert_eq!(selected(&head), ["keymoat.v1"]);
    stream.write_all(&frame(1, br#"{"setup":{"model":"models/gemini-2.5-flash"}}"#)).expect("sent");
    assert!(String::from_utf8_lossy(&read_frame(&mut stream).1).contains("setupComplete"));
    assert_eq!(stand.recorder.requests()[0].header(SELECTED), None);
    let (head, mut stream) = open(&stand, path, &offering(&["keymoat.v1, api-key.wrong"]));
    assert_eq!(selected(&head), ["keymoat.v1"]);
    assert_eq!(close_of(&read_frame(&mut stream)).0, 1007);
}

/// A gateway whose `/x/*` leads to a scripted upstream that answers the opening with these header lines.
fn selecting(further: &'static str) -> (Stand, Scripted) {
    let scripted = Scripted::start(move |stream, head| {
        let _ = stream.write_all(switch(head, further).as_bytes());
        let _ = stream.write_all(&[0x81, 2, b'h', b'i']);
        read_all(stream);
        Then::Close
    });
    let behind = scripted.address;
    let stand = Stand::with(Limits::default(), |settings| {
        settings.routes.push(generic("x", "x", &["/x/*"], QueryPolicy::Tokens));
        settings.upstreams.push(upstream("x", behind, "x-api-key"));
    });
    (stand, scripted)
}

#[test]
fn what_the_upstream_selected_is_passed_on_whatever_its_place_in_the_offer() {
    let (stand, scripted) = selecting("Sec-WebSocket-Protocol: second\r\n");
    let line = format!("keymoat.v1, first, second, api-key.{}", stand.key);
    let (head, mut stream) = open(&stand, "/x/ws", &offering(&[&line]));
    assert_eq!(selected(&head), ["second"]);
    assert_eq!(read_frame(&mut stream), (1, b"hi".to_vec()));
    assert_eq!(headers(&scripted.heads()[0], SELECTED), ["first, second"]);
}

#[test]
fn an_upstream_that_selects_nothing_leaves_the_marker_or_the_first_entry() {
    let (stand, _scripted) = selecting("");
    for (line, expected) in [("first, keymoat.v1, second", "keymoat.v1"), ("first, second", "first")] {
        let line = format!("{line}, api-key.{}", stand.key);
        let (head, mut stream) = open(&stand, "/x/ws", &offering(&[&line]));
        assert_eq!(selected(&head), [expected]);
        assert_eq!(read_frame(&mut stream), (1, b"hi".to_vec()));
    }
}

#[test]
fn an_upstream_s_selection_that_was_not_offered_to_it_is_its_failure_and_not_passed_on() {
    for further in [
        "Sec-WebSocket-Protocol: third\r\n",
        "Sec-WebSocket-Protocol: keymoat.v1\r\n",
        "Sec-WebSocket-Protocol: FIRST\r\n",
        "Sec-WebSocket-Protocol: first, second\r\n",
        "Sec-WebSocket-Protocol: first\r\nSec-WebSocket-Protocol: second\r\n",
        "Sec-WebSocket-Protocol: \r\n",
    ] {
        let (stand, _scripted) = selecting(further);
        let line = format!("keymoat.v1, first, second, api-key.{}", stand.key);
        let (head, mut stream) = open(&stand, "/x/ws", &offering(&[&line]));
        assert_eq!(selected(&head), ["keymoat.v1"], "{further}");
        let (code, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(code, 1014, "{further}");
        assert!(reason.starts_with("upstream_failed"), "{reason}");
    }
}
