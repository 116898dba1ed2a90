//! Limits of tokens with the real binary: how they are asked for, what is refused beyond them, and what counts for the key.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::admin::Administered;
use crate::harness::{Keymoat, open_websocket, post, request, status, told};

const LIVE: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";

/// Mints with the demo key in our own form.
fn minted(keymoat: &Keymoat, body: &Value) -> String {
    let answer = post(keymoat.address(), "/keymoat/v1/tokens", ("X-API-Key", &keymoat.demo_key()), &body.to_string());
    assert_eq!(status(&answer), 200, "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let body: Value = serde_json::from_str(body).expect("JSON");
    body["token"].as_str().expect("a token").to_owned()
}

fn get(keymoat: &Keymoat, path: &str, token: &str) -> String {
    request(keymoat.address(), "GET", path, &[("X-API-Key", token)])
}

/// Opens a WebSocket with a token.
fn open(keymoat: &Keymoat, path: &str, token: &str) -> TcpStream {
    let (head, stream) = open_websocket(keymoat.address(), path, &[("X-API-Key", token)]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// Sends a short message.
fn say(stream: &mut TcpStream, payload: &[u8]) {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).expect("short");
    stream.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0][..], payload].concat()).expect("sent");
}

/// The opcode and payload of the next frame.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let length = match head[1] {
        126 => {
            let mut long = [0; 2];
            stream.read_exact(&mut long).expect("a length");
            usize::from(u16::from_be_bytes(long))
        }
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).expect("a payload");
    (head[0] & 0x0F, payload)
}

/// The close that a WebSocket comes to.
fn close(stream: &mut TcpStream) -> (u16, String) {
    loop {
        let (opcode, payload) = frame(stream);
        if opcode == 8 {
            let code = u16::from_be_bytes([payload[0], payload[1]]);
            return (code, String::from_utf8_lossy(&payload[2..]).into_owned());
        }
    }
}

#[test]
fn too_many_requests_of_a_token_are_refused_in_every_dialect_s_words_and_its_key_goes_on() {
    let keymoat = Keymoat::first_run();
    let limits = json!({"requests_per_second": 1, "burst": 2});
    let token = minted(&keymoat, &json!({"uses": 1000, "limits": limits}));
    assert_eq!([status(&get(&keymoat, "/demo/echo", &token)), status(&get(&keymoat, "/demo/echo", &token))], [200; 2]);
    let refused = get(&keymoat, "/demo/echo", &token);
    assert_eq!(status(&refused), 429, "{refused}");
    assert!(refused.to_ascii_lowercase().contains("retry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\"code\":\"rate_limited\"") && refused.contains("this token has 1 requests a second"));
    assert!(!refused.contains(&token), "{refused}");
    for (path, code) in [("/demo/ws", 4029), (LIVE, 1011), ("/v1/realtime?model=gpt-realtime", 1013)] {
        let mut stream = open(&keymoat, path, &token);
        say(&mut stream, b"{}");
        let (told, reason) = close(&mut stream);
        assert_eq!(told, code, "{path}: {reason}");
        assert!(reason.starts_with("rate_limited: retry_after=1: this token has"), "{reason}");
    }
    let other = minted(&keymoat, &json!({"limits": limits}));
    assert_eq!(status(&get(&keymoat, "/demo/echo", &other)), 200, "each token has its own pace");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(status(&get(&keymoat, "/demo/echo", &token)), 200);
}

#[test]
fn a_token_has_so_many_sessions_at_once() {
    let keymoat = Keymoat::first_run();
    let token = minted(&keymoat, &json!({"uses": 10, "limits": {"sessions": 1}}));
    let mut first = open(&keymoat, "/demo/ws", &token);
    say(&mut first, b"hello");
    assert_eq!(frame(&mut first).1, b"hello");
    let (code, reason) = close(&mut open(&keymoat, "/demo/ws", &token));
    assert_eq!(code, 4029);
    assert!(reason.starts_with("rate_limited: retry_after=1: this token has 1 sessions at once"), "{reason}");
    let mut live = open(&keymoat, LIVE, &token);
    say(&mut live, br#"{"setup":{"model":"models/gemini-2.5-flash-native-audio"}}"#);
    assert_eq!(close(&mut live).0, 1011);
    let events = get(&keymoat, "/demo/sse?count=2", &token);
    assert!(status(&events) == 429 && events.to_ascii_lowercase().contains("retry-after: 1\r\n"), "{events}");
    assert_eq!(status(&get(&keymoat, "/demo/echo", &token)), 200, "a request is no session");
    first.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).expect("sent");
    close(&mut first);
    drop(first);
    std::thread::sleep(Duration::from_millis(200));
    let mut next = open(&keymoat, "/demo/ws", &token);
    say(&mut next, b"again");
    assert_eq!(frame(&mut next).1, b"again");
}

#[test]
fn the_bytes_of_all_sessions_of_a_token_are_counted_over_a_restart() {
    let mut keymoat = Keymoat::first_run();
    let token = minted(&keymoat, &json!({"uses": 100, "limits": {"total_bytes": 250}}));
    let talk = |keymoat: &Keymoat| {
        let mut stream = open(keymoat, "/demo/ws", &token);
        say(&mut stream, &[b'x'; 50]);
        (frame(&mut stream), stream)
    };
    assert_eq!(talk(&keymoat).0.0, 1);
    assert_eq!(talk(&keymoat).0.0, 1);
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    let folder = Arc::clone(&keymoat.folder);
    let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
    let (_, list, _) = told(&folder.run(&["token", "list", "--json"]));
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!((&list[0]["bytes_used"], &list[0]["total_bytes_max"]), (&json!(200), &json!(250)));
    let ((opcode, payload), _stream) = talk(&keymoat);
    assert_eq!((opcode, &payload[..2]), (8, &4002_u16.to_be_bytes()[..]), "the echo would be too much");
    let reason = String::from_utf8_lossy(&payload[2..]).into_owned();
    assert!(reason.starts_with("token_used_up: the token has 250 bytes in all"), "{reason}");
    let refused = get(&keymoat, "/demo/echo", &token);
    assert!(status(&refused) == 401 && refused.contains("token_used_up"), "{refused}");
}

#[test]
fn a_token_is_held_to_its_models_in_sessions_and_in_requests() {
    let keymoat = Keymoat::first_run();
    let model = "models/gemini-2.5-flash-native-audio";
    let token = minted(&keymoat, &json!({"uses": 100, "limits": {"models": [model]}}));
    let first = |model: &str| {
        let mut stream = open(&keymoat, LIVE, &token);
        say(&mut stream, format!(r#"{{"setup":{{"model":"{model}"}}}}"#).as_bytes());
        frame(&mut stream)
    };
    assert!(String::from_utf8_lossy(&first(model).1).contains("setupComplete"));
    let (opcode, refused) = first("models/other");
    assert_eq!((opcode, refused[..2].to_vec()), (8, 1008_u16.to_be_bytes().to_vec()));
    let asked = |model: &str| {
        post(keymoat.address(), &format!("/v1beta/models/{model}:generateContent"), ("x-goog-api-key", &token), "{}")
    };
    let refused = asked("other");
    assert!(status(&refused) == 403 && refused.contains("this credential is for the models"), "{refused}");
    assert_ne!(status(&asked("gemini-2.5-flash-native-audio")), 403);
    let generic = get(&keymoat, "/demo/echo", &token);
    assert!(status(&generic) == 403 && generic.contains("cannot hold it to them"), "{generic}");
}

#[test]
fn no_limit_is_wider_than_that_of_the_key_by_whatever_way_it_is_asked_for() {
    let administered = Administered::first_run();
    let (keymoat, folder) = (&administered.keymoat, &administered.keymoat.folder);
    let limits = json!({"sessions": 2, "requests_per_second": 5, "bytes_per_day": 1000, "models": ["models/a"], "session_secs": 60});
    let made = administered.ask("POST", "/api/v1/keys", Some(json!({"name": "held", "limits": limits}))).json();
    let (key, id) = (made["secret"].as_str().expect("a key").to_owned(), made["key"]["id"].clone());
    let wider = [
        (json!({"sessions": 3}), "sessions=3", "limits.sessions"),
        (json!({"requests_per_second": 6}), "requests-per-second=6", "limits.requests_per_second"),
        (json!({"total_bytes": 1001}), "total-bytes=1001", "limits.total_bytes"),
        (json!({"models": ["models/a", "models/b"]}), "models=models/a,models/b", "limits.models"),
    ];
    for (body, written, named) in &wider {
        let own =
            post(keymoat.address(), "/keymoat/v1/tokens", ("X-API-Key", &key), &json!({"limits": body}).to_string());
        assert!(status(&own) == 403 && own.contains(named), "{own}");
        let admin = administered.ask("POST", "/api/v1/tokens", Some(json!({"key_id": id, "limits": body})));
        assert!(admin.status == 422 && admin.text.contains(named), "{admin:?}");
        let (code, stdout, stderr) = told(&folder.run(&["token", "create", "--key", "held", "--limit", written]));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
    let (code, _, stderr) = told(&folder.run(&["token", "create", "--key", "held", "--max-duration", "61s"]));
    assert!(code == Some(1) && stderr.contains("limits.duration"), "{stderr}");
    let within =
        json!({"sessions": 2, "requests_per_second": 5, "total_bytes": 1000, "models": ["a"], "duration_secs": 60});
    let minted = administered.ask("POST", "/api/v1/tokens", Some(json!({"key_id": id, "limits": within}))).json();
    let shown =
        administered.ask("GET", &format!("/api/v1/tokens/{}", minted["id"].as_str().expect("an id")), None).json();
    assert_eq!((&shown["limits"]["sessions"], &shown["limits"]["burst"]), (&json!(2), &json!(5)));
    assert_eq!((&shown["bytes_used"], &shown["limits"]["messages"]), (&json!(0), &Value::Null));
    let (_, inspected, _) = told(&folder.run(&["token", "inspect", minted["id"].as_str().expect("an id")]));
    assert!(inspected.contains("sessions=2; total-bytes=1000; models=a; 0 bytes used"), "{inspected}");
}
