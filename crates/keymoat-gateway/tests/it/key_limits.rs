//! Limits of keys, over everything that a client may speak: what is refused, with which code, and when to come back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use keymoat_core::carrier::Carriers;
use keymoat_core::record::Record;
use keymoat_core::route::{Dialect, Paths, QueryPolicy, Route};
use keymoat_core::token::TokenLimits;
use keymoat_core::{Code, Key, KeyLimits, Pace, Scopes, UnixMillis};
use keymoat_gateway::settings::{Limits, Settings};
use keymoat_store::KeyChange;

use crate::stand::{
    ALL_CARRIERS, Stand, close_of, frame, read_all, read_all_or_reset, read_frame, read_head, upstream, wait_until,
};
use crate::tokens::{SETUP, TokenStand, now};

const LIVE: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
const REALTIME: &str = "/gpt/v1/realtime?model=gpt-realtime";

/// The usual routes, and OpenAI's below `/gpt`.
fn with_openai(settings: &mut Settings) {
    let behind = settings.upstreams[0].origin.port;
    let address = format!("127.0.0.1:{behind}").parse().expect("an address");
    settings.upstreams.push(upstream("openai", address, "authorization"));
    let carriers = Carriers::parse(ALL_CARRIERS).expect("known carriers");
    let route = Route::new("openai", "openai", Dialect::OpenAi, Paths::Dialect { prefix: "/gpt".into() }, carriers);
    settings.routes.push(Route { query: QueryPolicy::Tokens, ..route });
}

/// A stand whose key has these limits.
fn limited(limits: KeyLimits) -> Stand {
    let stand = Stand::with(Limits::default(), with_openai);
    stand.know(&stand.key, &Key { limits, ..Stand::a_key("key_one", Scopes::All) });
    stand
}

fn header(stand: &Stand) -> String {
    format!("X-API-Key: {}\r\n", stand.key)
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer")
}

fn fetch(stand: &Stand, path: &str) -> String {
    stand.fetch(path, &header(stand))
}

fn post(stand: &Stand, path: &str, kind: &str, body: &str) -> String {
    stand.exchange(&format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {kind}\r\n{}Content-Length: {}\r\n\r\n{body}",
        header(stand),
        body.len()
    ))
}

fn open(stand: &Stand, path: &str) -> TcpStream {
    let (head, stream) = stand.open_websocket(path, &header(stand));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// The close that a WebSocket comes to, whatever is said before.
fn close(stream: &mut TcpStream) -> (u16, String) {
    loop {
        let frame = read_frame(stream);
        if frame.0 == 8 {
            return close_of(&frame);
        }
    }
}

fn events(stand: &Stand) -> (String, TcpStream) {
    let mut stream = stand.connect();
    let request = format!("GET /demo/sse?count=1000 HTTP/1.1\r\nHost: a\r\n{}\r\n", header(stand));
    stream.write_all(request.as_bytes()).expect("sent");
    (read_head(&mut stream), stream)
}

fn last(stand: &Stand, count: usize) -> Record {
    stand.records(count).pop().expect("there is one")
}

#[test]
fn too_many_requests_a_second_are_refused_in_every_dialect_s_words() {
    let stand =
        limited(KeyLimits { requests_per_second: Some(Pace { per_second: 1, burst: 2 }), ..KeyLimits::default() });
    assert_eq!((status(&fetch(&stand, "/demo/echo")), status(&fetch(&stand, "/demo/echo"))), (200, 200));
    let answer = fetch(&stand, "/demo/echo");
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"rate_limited\"") && !answer.contains(&stand.key), "{answer}");
    for (path, code) in [("/demo/ws", 4029), (LIVE, 1011), (REALTIME, 1013)] {
        let (told, reason) = close(&mut open(&stand, path));
        assert_eq!(told, code, "{path}: {reason}");
        assert!(reason.starts_with("rate_limited: retry_after=1: this key has 1 requests a second"), "{reason}");
    }
    assert_eq!(stand.recorder.requests().len(), 2, "nothing that is refused goes up");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(status(&fetch(&stand, "/demo/echo")), 200);
    let record = last(&stand, 7);
    assert_eq!((record.code, record.secret_id.as_deref()), (None, Some("sec_1")));
}

#[test]
fn a_day_s_requests_are_used_up_until_midnight() {
    let stand = limited(KeyLimits { requests_per_day: Some(2), ..KeyLimits::default() });
    assert_eq!((status(&fetch(&stand, "/demo/echo")), status(&fetch(&stand, "/demo/echo"))), (200, 200));
    let answer = fetch(&stand, "/demo/echo");
    let wait = crate::scripted::header(&answer, "retry-after").and_then(|secs| secs.parse::<u32>().ok());
    assert!(status(&answer) == 429 && wait.is_some_and(|secs| (1..=86_400).contains(&secs)), "{answer}");
    // Somebody else's key is not held to it.
    stand.know("another-key-of-another-maker", &Stand::a_key("key_two", Scopes::All));
    assert_eq!(status(&stand.fetch("/demo/echo", "X-API-Key: another-key-of-another-maker\r\n")), 200);
}

#[test]
fn one_session_too_many_is_refused_and_the_place_is_free_again() {
    let stand = limited(KeyLimits { sessions: Some(1), ..KeyLimits::default() });
    let mut held = open(&stand, "/demo/ws");
    for (path, code) in [("/demo/ws", 4029), (LIVE, 1011), (REALTIME, 1013)] {
        let (told, reason) = close(&mut open(&stand, path));
        assert_eq!(told, code, "{path}: {reason}");
        assert!(reason.starts_with("rate_limited: retry_after=1: this key has 1 sessions at once"), "{reason}");
    }
    let (head, _) = events(&stand);
    assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("retry-after: 1\r\n"), "{head}");
    assert_eq!(status(&fetch(&stand, "/demo/echo")), 200, "a plain request is no session");
    held.write_all(&frame(8, &1000_u16.to_be_bytes())).expect("sent");
    close(&mut held);
    drop(held);
    wait_until(|| events(&stand).0.starts_with("HTTP/1.1 200 "));
    wait_until(|| {
        let mut stream = open(&stand, LIVE);
        stream.write_all(&frame(1, SETUP)).expect("sent");
        read_frame(&mut stream).0 != 8
    });
}

#[test]
fn a_day_s_bytes_end_what_carries_them_and_let_nothing_new_begin() {
    let limits = || KeyLimits { bytes_per_day: Some(3000), ..KeyLimits::default() };
    let stand = limited(limits());
    let mut socket = open(&stand, "/demo/ws");
    for _ in 0..4 {
        socket.write_all(&frame(1, &[b'x'; 1000])).expect("sent");
    }
    let (code, reason) = close(&mut socket);
    assert_eq!(code, 4029);
    assert!(reason.starts_with("rate_limited: retry_after=") && reason.contains("3000 bytes a day"), "{reason}");
    assert_eq!(status(&fetch(&stand, "/demo/echo")), 429);
    assert_eq!(close(&mut open(&stand, "/demo/ws")).0, 4029);

    let stand = limited(limits());
    let (head, mut stream) = events(&stand);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(!read_all(&mut stream).ends_with("0\r\n\r\n"), "nobody takes the stream for a finished one");
    assert_eq!(last(&stand, 1).code, Some(Code::RateLimited));

    let stand = limited(limits());
    let answer = post(&stand, "/demo/echo", "text/plain", &"x".repeat(4000));
    assert!(status(&answer) == 429 && answer.contains("rate_limited"), "{answer}");
}

#[test]
fn a_session_lasts_as_long_as_its_key_says_and_carries_as_much() {
    let stand = limited(KeyLimits { session_duration_secs: Some(1), ..KeyLimits::default() });
    let (mut socket, (head, mut stream)) = (open(&stand, "/demo/ws"), events(&stand));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (code, reason) = close(&mut socket);
    assert_eq!(
        (code, reason.as_str()),
        (4029, "rate_limited: retry_after=1: a session of this key has 1 s: open another")
    );
    assert!(!read_all(&mut stream).ends_with("0\r\n\r\n"));
    assert_eq!(stand.records(2).iter().map(|record| record.code).collect::<Vec<_>>(), [Some(Code::RateLimited); 2]);
    open(&stand, "/demo/ws");

    let stand = limited(KeyLimits { session_bytes: Some(1500), ..KeyLimits::default() });
    let mut socket = open(&stand, "/demo/ws");
    for _ in 0..2 {
        socket.write_all(&frame(1, &[b'x'; 1000])).expect("sent");
    }
    let (code, reason) = close(&mut socket);
    assert_eq!(code, 4029);
    assert!(reason.contains("1500 bytes: open another"), "{reason}");
    assert_eq!(status(&fetch(&stand, "/demo/echo")), 200);
    assert_eq!(status(&post(&stand, "/demo/echo", "text/plain", &"x".repeat(2000))), 429);
}

/// A key for one model of each provider.
fn for_models() -> Stand {
    let models = vec!["gemini-2.5-flash-native-audio".into(), "gpt-realtime".into(), "gemini-3.1-flash".into()];
    limited(KeyLimits { models, ..KeyLimits::default() })
}

#[test]
fn gemini_answers_for_listed_models_only() {
    let stand = for_models();
    let live = |setup: &[u8]| {
        let mut stream = open(&stand, LIVE);
        stream.write_all(&frame(1, setup)).expect("sent");
        read_frame(&mut stream)
    };
    assert!(crate::tokens::is_set_up(&live(SETUP)));
    let (code, reason) = close_of(&live(br#"{"setup":{"model":"models/gemini-other"}}"#));
    assert_eq!(code, 1008);
    assert!(reason.starts_with("forbidden: only these models may be asked for: "), "{reason}");
    let json = "application/json";
    let body = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
    let listed = post(&stand, "/v1beta/models/gemini-3.1-flash:generateContent", json, body);
    assert_eq!(status(&listed), 200, "{listed}");
    let other = post(&stand, "/v1beta/models/gemini-other:generateContent", json, body);
    assert!(status(&other) == 403 && other.contains("this credential is for the models"), "{other}");
    assert_eq!(status(&post(&stand, "/v1beta/cachedContents", json, r#"{"model":"models/gemini-other"}"#)), 403);
    assert_eq!(status(&fetch(&stand, "/v1beta/models")), 200, "what only reads passes");
    let live = stand.recorder.requests().iter().filter(|request| request.path.contains("Bidi")).count();
    assert_eq!(live, 1, "what is refused is not dialled");
}

#[test]
fn openai_answers_for_listed_models_only() {
    let stand = for_models();
    let mut stream = open(&stand, REALTIME);
    assert!(String::from_utf8_lossy(&read_frame(&mut stream).1).contains("session.created"));
    let update = br#"{"type":"session.update","session":{"type":"realtime","model":"gpt-other"}}"#;
    stream.write_all(&frame(1, update)).expect("sent");
    assert!(close(&mut stream).1.starts_with("forbidden: "));
    let (code, reason) = close(&mut open(&stand, "/gpt/v1/realtime?model=gpt-other"));
    assert_eq!(code, 3000, "{reason}");
    let json = "application/json";
    for (path, kind, body, expected) in [
        ("/gpt/v1/responses", json, r#"{"model":"gpt-other","input":"hi"}"#, 403),
        ("/gpt/v1/responses", json, r#"{"input":"hi"}"#, 403),
        ("/gpt/v1/responses", json, r#"{"model":"gpt-realtime","model":"gpt-other"}"#, 400),
        ("/gpt/v1/audio/transcriptions", "multipart/form-data; boundary=x", "--x--", 403),
        ("/gpt/v1/responses", "application/sdp", "v=0", 403),
    ] {
        let answer = post(&stand, path, kind, body);
        assert_eq!(status(&answer), expected, "{path} {body}: {answer}");
    }
    let before = stand.recorder.requests().len();
    let body = r#"{"model": "gpt-realtime", "input": "hi"}"#;
    let answer = post(&stand, "/gpt/v1/chat/completions", json, body);
    let after = stand.recorder.requests();
    assert_eq!(after.len(), before + 1, "a listed model goes up: {answer}");
}

#[test]
fn a_key_with_a_list_of_models_is_refused_where_no_model_can_be_read() {
    let stand = for_models();
    let answer = fetch(&stand, "/demo/echo");
    assert!(status(&answer) == 403 && answer.contains("cannot hold it to them"), "{answer}");
    assert_eq!(close(&mut open(&stand, "/demo/ws")).0, 4003);
}

#[test]
fn a_body_that_has_to_be_read_has_its_bound() {
    let stand = Stand::with(Limits { watched_bytes_max: 1024, ..Limits::default() }, with_openai);
    let limits = KeyLimits { models: vec!["m".into()], ..KeyLimits::default() };
    stand.know(&stand.key, &Key { limits, ..Stand::a_key("key_one", Scopes::All) });
    let body = format!(r#"{{"model":"m","input":"{}"}}"#, "x".repeat(2000));
    let answer = post(&stand, "/gpt/v1/responses", "application/json", &body);
    assert!(status(&answer) == 413 && answer.contains("body_too_large"), "{answer}");
}

#[test]
fn tokens_count_towards_the_limits_of_their_key() {
    let stand = TokenStand::start();
    let limits = KeyLimits {
        requests_per_day: Some(4),
        sessions: Some(1),
        session_duration_secs: Some(600),
        models: vec!["gemini-2.5-flash-native-audio".into()],
        ..KeyLimits::default()
    };
    let change = KeyChange { limits: Some(limits.clone()), ..KeyChange::default() };
    stand.store.change_key("backend", &change, now()).expect("changed");
    wait_until(|| stand.stand.snapshots.load().key_by_id(&stand.key_id).is_some_and(|key| key.limits == limits));
    let held = stand.minted(|token| token.limits = TokenLimits::default());
    let (mut first, answer) = stand.live(&held.text, SETUP);
    assert!(crate::tokens::is_set_up(&answer));
    let (code, reason) = close_of(&stand.live(&held.text, SETUP).1);
    assert!(code == 1011 && reason.contains("1 sessions at once"), "{code} {reason}");
    first.write_all(&frame(8, &1000_u16.to_be_bytes())).expect("sent");
    close(&mut first);
    drop(first);
    std::thread::sleep(Duration::from_millis(200));
    let (code, reason) = close_of(&stand.live(&held.text, br#"{"setup":{"model":"models/gemini-other"}}"#).1);
    assert!(code == 1008 && reason.contains("only these models"), "{code} {reason}");
    let generic = stand.stand.fetch("/demo/echo", &format!("Authorization: Bearer {}\r\n", held.text));
    assert_eq!(status(&generic), 403, "the key's list holds its tokens: {generic}");
    let models = stand.stand.fetch("/v1beta/models", &format!("x-goog-api-key: {}\r\n", held.text));
    assert_eq!(status(&models), 200, "{models}");
    let used_up = stand.stand.fetch("/v1beta/models", &format!("x-goog-api-key: {}\r\n", held.text));
    assert!(status(&used_up) == 429 && used_up.contains("4 requests a day"), "{used_up}");
}

#[test]
fn live_sessions_end_when_their_key_expires() {
    let stand = limited(KeyLimits::default());
    let expires_at = Some(now().plus_millis(1500));
    stand.know(&stand.key, &Key { expires_at, ..Stand::a_key("key_one", Scopes::All) });
    let (mut socket, (_, mut stream)) = (open(&stand, "/demo/ws"), events(&stand));
    let mut live = open(&stand, LIVE);
    live.write_all(&frame(1, SETUP)).expect("sent");
    let (code, reason) = close(&mut socket);
    let late = now().0 - expires_at.map_or(0, |at: UnixMillis| at.0);
    assert_eq!((code, reason.as_str()), (4001, "credential_invalid: this key has expired: ask for a new one"));
    assert!((0..2000).contains(&late), "{late} ms late");
    assert_eq!(close(&mut live).0, 1007);
    read_all_or_reset(&mut stream);
    wait_until(|| stand.running.as_ref().is_some_and(|running| running.live_sessions() == 0));
    assert!(stand.records(3).iter().all(|record| record.code == Some(Code::CredentialInvalid)));
}

#[test]
fn live_sessions_can_be_listed_and_ended_one_by_one() {
    let stand = limited(KeyLimits::default());
    let (mut one, mut other) = (open(&stand, "/demo/ws"), open(&stand, "/demo/ws"));
    other.write_all(&frame(1, b"hello")).expect("sent");
    let echo = read_frame(&mut other);
    assert_eq!(echo.1, b"hello");
    let running = stand.running.as_ref().expect("running");
    let list = running.sessions().list();
    assert_eq!(list.len(), 2);
    let (first, second) = (&list[0], &list[1]);
    assert!(first.info.id.starts_with("ses_") && first.info.id != second.info.id);
    assert_eq!((first.info.key_id.as_deref(), first.info.secret_id.as_deref()), (Some("key_one"), Some("sec_1")));
    assert_eq!((&*first.info.route, &*first.info.upstream), ("demo", "demo"));
    assert_eq!(first.info.carrier.as_ref().map(ToString::to_string).as_deref(), Some("header:x-api-key"));
    wait_until(|| running.sessions().list().iter().any(|live| (live.bytes_in, live.bytes_out) == (5, 5)));
    let refusal = keymoat_core::Refusal::new(Code::CredentialRevoked, "ended by an admin");
    assert!(running.sessions().end(&first.info.id, &refusal));
    assert_eq!(close(&mut one), (4001, "credential_revoked: ended by an admin".to_owned()));
    other.write_all(&frame(1, b"still")).expect("sent");
    assert_eq!(read_frame(&mut other).1, b"still");
    let record = last(&stand, 1);
    assert_eq!(first.info.id.trim_start_matches("ses_"), record.id.to_string().trim_start_matches("evt_"));
    let mut rest = [0; 1];
    let _ = one.read(&mut rest);
}
