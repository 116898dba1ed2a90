//! Events as they happen: stream, socket, tokens for both.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::Administered;
use crate::harness::{PATIENCE, request};

type Socket = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;

async fn open(administered: &Administered, headers: &[(&'static str, String)]) -> Socket {
    let mut request = format!("ws://{}/ws/events", administered.address()).into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("visible"));
    }
    let stream = tokio::net::TcpStream::connect(administered.address()).await.expect("it listens");
    tokio_tungstenite::client_async(request, stream).await.expect("a handshake").0
}

async fn next(socket: &mut Socket) -> Value {
    loop {
        let message =
            tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time").expect("open").expect("well");
        match message {
            Message::Text(text) => return serde_json::from_str(text.as_str()).expect("JSON"),
            Message::Close(frame) => return json!({"closed": frame.map(|frame| u16::from(frame.code))}),
            _ => {}
        }
    }
}

async fn next_of(socket: &mut Socket, word: &str) -> Value {
    loop {
        let message = next(socket).await;
        assert!(message.get("closed").is_none(), "{message}");
        if message["data"]["type"] == word {
            return message;
        }
    }
}

fn make_key(administered: &Administered, name: &str) {
    assert_eq!(administered.ask("POST", "/api/v1/keys", Some(json!({"name": name}))).status, 201);
}

#[tokio::test]
async fn the_socket_tells_numbers_filters_and_resumes() {
    let administered = Administered::first_run();
    let bearer = format!("Bearer {}", administered.root);
    let mut socket = open(&administered, &[("authorization", bearer.clone())]).await;
    assert_eq!(next(&mut socket).await["type"], "system_status");
    socket.send(Message::text("ping")).await.expect("sent");
    assert_eq!(next(&mut socket).await, json!({"type": "pong"}));
    socket.send(Message::text(r#"{"type":"subscribe","data":{"events":["key.*"]}}"#)).await.expect("sent");
    assert_eq!(next(&mut socket).await["action"], "subscribed");
    make_key(&administered, "first");
    let first = next_of(&mut socket, "key.created").await;
    assert_eq!((first["type"].as_str(), &first["seq"]), (Some("event"), &first["data"]["id"]));
    make_key(&administered, "second");
    assert!(next_of(&mut socket, "key.created").await["seq"].as_u64() > first["seq"].as_u64());

    // Another connection goes on where this one was.
    let mut later = open(&administered, &[("x-api-key", administered.root.clone())]).await;
    assert_eq!(next(&mut later).await["type"], "system_status");
    // What happens before it could say so comes in its turn.
    make_key(&administered, "third");
    let resume = json!({"type": "resume", "lastSeq": first["seq"]}).to_string();
    later.send(Message::text(resume)).await.expect("sent");
    assert_eq!(next(&mut later).await["action"], "resumed");
    for behind in 1..=2 {
        let seq = next_of(&mut later, "key.created").await["seq"].as_u64();
        assert_eq!(seq, first["seq"].as_u64().map(|seq| seq + behind));
    }
}

#[tokio::test]
async fn whoever_resumes_behind_a_number_that_nothing_has_is_told_of_what_comes() {
    let administered = Administered::first_run();
    let mut socket = open(&administered, &[("x-api-key", administered.root.clone())]).await;
    assert_eq!(next(&mut socket).await["type"], "system_status");
    socket.send(Message::text(format!(r#"{{"type":"resume","lastSeq":{}}}"#, u64::MAX))).await.expect("sent");
    assert_eq!(next(&mut socket).await["action"], "resumed");
    make_key(&administered, "next");
    assert_eq!(next_of(&mut socket, "key.created").await["type"], "event");
    for wrong in ["x", "-1", "9223372036854775808"] {
        let bearer = format!("Bearer {}", administered.root);
        let head = [("Authorization", bearer.as_str()), ("Last-Event-ID", wrong)];
        assert_eq!(administered.ask_with("GET", "/api/events/stream", &head, None).status, 422, "{wrong}");
    }
}

#[tokio::test]
async fn a_page_opens_one_socket_with_a_token_and_a_foreign_page_none() {
    let administered = Administered::first_run();
    let made = administered.ask("POST", "/api/v1/stream-tokens", Some(json!({})));
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.json()["token"].as_str().expect("a token").to_owned();
    let protocols = format!("keymoat.v1, keymoat.token.{}", URL_SAFE_NO_PAD.encode(&token));
    let origin = format!("http://{}", administered.address());
    let headers = || vec![("sec-websocket-protocol", protocols.clone()), ("origin", origin.clone())];
    let mut socket = open(&administered, &headers()).await;
    assert_eq!(next(&mut socket).await["type"], "system_status");
    let mut again = open(&administered, &headers()).await;
    assert_eq!(next(&mut again).await, json!({"closed": 4001}), "it opens one");
    let mut nobody = open(&administered, &[]).await;
    assert_eq!(next(&mut nobody).await, json!({"closed": 4001}));

    for origin in ["http://evil.example", "null"] {
        let head = [
            ("Authorization", format!("Bearer {}", administered.root)),
            ("Origin", origin.to_owned()),
            ("Connection", "Upgrade".to_owned()),
            ("Upgrade", "websocket".to_owned()),
            ("Sec-WebSocket-Version", "13".to_owned()),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
        ];
        let head: Vec<_> = head.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = administered.ask_with("GET", "/ws/events", &head, None);
        assert_eq!((answer.status, answer.code().as_str()), (403, "origin_refused"), "{origin}");
    }
    assert_eq!(administered.ask("GET", "/ws/events", None).code(), "upgrade_required");
}

#[test]
fn the_stream_has_ids_and_goes_on_behind_the_last_one() {
    let administered = Administered::first_run();
    make_key(&administered, "before");
    let mut reader = stream(&administered, None);
    make_key(&administered, "live");
    let id = wait_for(&mut reader, "key.created");
    make_key(&administered, "missed");
    administered.until(|| {
        administered.ask("GET", "/api/v1/events?action=key.created", None).json()["items"].as_array().map(Vec::len)
            >= Some(3)
    });
    let mut again = stream(&administered, Some(&id));
    let missed = wait_for(&mut again, "key.created");
    assert!(missed.parse::<u64>().expect("a number") > id.parse::<u64>().expect("a number"));
    let listed = administered.ask("GET", "/api/events?limit=2", None).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
}

#[test]
fn events_and_counts_are_read_over_the_api() {
    let administered = Administered::first_run();
    let data = administered.keymoat.address();
    request(data, "GET", "/api/events", &[("X-API-Key", "km_wrong")]);
    request(data, "GET", "/api/events", &[("X-API-Key", &administered.keymoat.demo_key())]);
    let refused = || administered.ask("GET", "/api/v1/events?outcome=refused", None).json();
    administered.until(|| refused()["items"].as_array().is_some_and(|items| !items.is_empty()));
    assert_eq!(refused()["items"][0]["code"], "credential_invalid");
    let counts = || administered.ask("GET", "/api/v1/usage?by=hour&group=outcome", None).json()["items"].clone();
    let has_allowed = |row: &Value| row["group"] == "allowed" && row["requests"] == 1;
    administered.until(|| counts().as_array().is_some_and(|rows| rows.iter().any(has_allowed)));
    let status = administered.ask("GET", "/api/v1/sunset", None);
    assert_eq!(status.status, 200, "{status:?}");
    assert_eq!(administered.ask("GET", "/api/v1/sunset/plan", None).status, 200);
    let target = "/api/v1/routes/events/override";
    let set = administered.ask("PUT", target, Some(json!({"query": "warn", "note": "for a test"})));
    assert_eq!((set.status, &set.json()["query"]), (200, &json!("warn")), "{set:?}");
    let demo = administered.keymoat.demo_key();
    let by_url = || request(data, "GET", &format!("/api/events?api_key={demo}"), &[]);
    assert!(by_url().starts_with("HTTP/1.1 200"), "it is in force at once");
    let enforced = administered.ask("POST", "/api/v1/sunset/enforce", Some(json!({"routes": ["events"]})));
    assert_eq!((enforced.status, &enforced.json()["changed"][0]["route"]), (200, &json!("events")), "{enforced:?}");
    assert!(by_url().starts_with("HTTP/1.1 401"));
    assert_eq!(administered.ask("DELETE", target, None).status, 204);
    assert_eq!(administered.ask("DELETE", target, None).status, 404);
}

fn stream(administered: &Administered, after: Option<&str>) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(administered.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let after = after.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
    let head = format!(
        "GET /api/events/stream HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\n{after}\r\n",
        administered.address(),
        administered.root
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut reader = BufReader::new(stream);
    // The first piece comes at once, when the reader is subscribed.
    let mut line = String::new();
    while !line.starts_with("retry: ") {
        line.clear();
        assert!(reader.read_line(&mut line).expect("a line") > 0, "it ended");
    }
    reader
}

/// The id of the next event of this type.
fn wait_for(reader: &mut impl BufRead, word: &str) -> String {
    let (mut id, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).expect("a line") > 0, "it ended");
        if let Some(found) = line.strip_prefix("id: ") {
            id = found.trim().to_owned();
        }
        if line.trim() == format!("event: {word}") {
            return id;
        }
    }
}
