//! JSON, event streams and WebSockets of other APIs.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::time::Duration;

use keymoat_client::{Client, Credential, Error, Limits, Message, Reconnect, Subprotocol, WebSocket, events};
use serde_json::{Value, json};

use crate::scripted::{Scripted, Step};
use crate::support::{Bench, KEY, PATIENCE};

const FAST: Reconnect =
    Reconnect { attempts_max: 3, wait_min: Duration::from_millis(1), wait_max: Duration::from_millis(2) };

#[tokio::test]
async fn gets_and_posts_json() {
    let bench = Bench::start().await;
    let listed: Vec<Value> = bench.events().get("/api/events?limit=2").await.unwrap();
    assert_eq!(listed.len(), 2);
    let echoed: Value = bench.gemini().post("/demo/echo?a=b", &json!({"x": [1, "ä"]})).await.unwrap();
    assert_eq!((&echoed["method"], &echoed["query"]), (&json!("POST"), &json!("a=b")));
    assert_eq!(echoed["body"], json!({"x": [1, "ä"]}).to_string());
    assert_eq!(echoed["credential"], "valid");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Bench::start().await;
    let location =
        format!("HTTP/1.1 307 x\r\nlocation: {}api/events\r\ncontent-length: 0\r\n\r\n", elsewhere.endpoint());
    let server = Scripted::http(vec![location]).await;
    let client = Client::new(server.endpoint.clone(), Credential::api_key(KEY)).unwrap();
    let Err(Error::Refused(refused)) = client.get::<Value>("/x").await else { panic!("not refused") };
    assert!(refused.status == 307 && refused.message.contains("not followed"), "{refused}");
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn answers_are_bounded_and_their_shape_is_checked() {
    let body = "x".repeat(2000);
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{body}");
    let endless = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".to_owned();
    let empty = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
    let server = Scripted::http(vec![large, "nonsense\r\n\r\n".to_owned(), endless, empty]).await;
    let limits = Limits { body_bytes_max: 1000, ..Limits::default() };
    let client = Client::builder(server.endpoint.clone(), Credential::api_key(KEY)).limits(limits).build().unwrap();
    assert!(matches!(client.get::<Value>("/x").await, Err(Error::TooLarge { bytes_max: 1000, .. })));
    assert!(matches!(client.get::<Value>("/x").await, Err(Error::Lost { .. })));
    assert!(matches!(client.get::<Value>("/x").await, Err(Error::Lost { .. })));
    assert_eq!(client.get::<Option<Value>>("/x").await.unwrap(), None);
}

#[tokio::test]
async fn an_event_stream_comes_back_after_the_last_event() {
    let bench = Bench::start().await;
    let mut stream = bench.client(Credential::none()).events("/demo/sse?count=3").unwrap().reconnecting(FAST);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").unwrap().unwrap();
        assert_eq!(event.event, "tick");
        seen.push((event.id, event.data));
    }
    assert_eq!(seen[2], ("3".to_owned(), r#"{"n":3}"#.to_owned()));
    // There is nothing after it, so the attempts end.
    let error = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    let ids = |name: &str, value: &str| name == "last-event-id" && value == "3";
    let again = bench.requests().iter().filter(|one| one.headers.iter().any(|(name, value)| ids(name, value))).count();
    assert_eq!(again, 2, "the first attempt was used up by the end of the stream");
}

#[tokio::test]
async fn an_event_stream_ends_where_the_server_says_so() {
    let events_and_end =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nid: 7\nretry: 1\ndata: a\n\ndata: cut".to_owned();
    let over = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
    let server = Scripted::http(vec![events_and_end, over]).await;
    let mut stream =
        events(server.endpoint.clone(), Credential::bearer("made-up")).unwrap().after("6").reconnecting(FAST);
    assert_eq!(stream.next().await.unwrap().unwrap().data, "a");
    assert_eq!((stream.next().await.unwrap(), stream.next().await.unwrap()), (None, None));
    assert_eq!(stream.last_event_id(), "7");
    let heads: Vec<String> = server.heard().concat();
    assert!(heads[0].contains("last-event-id: 6\r\n") && heads[1].contains("last-event-id: 7\r\n"), "{heads:?}");
}

#[tokio::test]
async fn an_event_stream_that_is_refused_or_none_is_not_tried_again() {
    let refused = "HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n".to_owned();
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n".to_owned();
    let server = Scripted::http(vec![refused, page]).await;
    let mut stream = events(server.endpoint.clone(), Credential::none()).unwrap().reconnecting(FAST);
    assert!(matches!(stream.next().await, Err(Error::Refused(refused)) if refused.status == 401));
    assert_eq!(server.heard().len(), 1);
    assert!(matches!(stream.next().await, Err(Error::Protocol { .. })), "asked again, it tries again");
}

#[tokio::test]
async fn a_websocket_carries_its_key_in_a_header() {
    let bench = Bench::with(|options| options.events.interval = Duration::from_millis(1)).await;
    let mut socket = bench.events().websocket("/ws/events", &[]).await.unwrap();
    assert!(matches!(socket.receive().await.unwrap(), Message::Text(text) if text.contains("system_status")));
    socket.send_text("ping").await.unwrap();
    while !matches!(socket.receive().await.unwrap(), Message::Text(text) if text.contains("pong")) {}
    socket.close_with(1000, "done").await;
    let places: Vec<_> = bench.last().credentials.into_iter().map(|found| found.place).collect();
    assert_eq!(places, ["header:x-api-key"]);
}

#[tokio::test]
async fn bytes_pass_and_a_subprotocol_is_selected() {
    let bench = Bench::start().await;
    let endpoint = bench.endpoint().at("/demo/ws").unwrap();
    let mut socket = WebSocket::connect(endpoint, Credential::none(), &["chat.v2", "chat.v1"]).await.unwrap();
    assert_eq!(socket.protocol(), Some("chat.v2"));
    socket.send_binary(vec![0, 255]).await.unwrap();
    assert_eq!(socket.receive().await.unwrap().as_bytes(), [0, 255]);
}

#[tokio::test]
async fn a_subprotocol_carries_the_key_beside_a_label_and_no_header_does() {
    let bench = Bench::start().await;
    for (form, label) in
        [(Subprotocol::Keymoat, "keymoat.v1"), (Subprotocol::ApiKey, "keymoat.v1"), (Subprotocol::OpenAi, "realtime")]
    {
        let client = bench.client(Credential::keymoat(KEY).in_subprotocol(form));
        let socket = client.websocket("/demo/ws", &["chat.v1"]).await.unwrap();
        assert_eq!(socket.protocol(), Some(label), "the emulator selects the first");
        let request = bench.last();
        let offered: Vec<_> = request.headers.iter().filter(|(name, _)| name == "sec-websocket-protocol").collect();
        assert!(offered.len() == 1 && offered[0].1.starts_with(&format!("{label}, chat.v1, ")), "{offered:?}");
        assert!(request.headers.iter().all(|(name, _)| name != "authorization"));
    }
    // A request has no subprotocol: there the header carries it.
    let echoed: Value =
        bench.client(Credential::keymoat(KEY).in_subprotocol(Subprotocol::Keymoat)).get("/demo/echo").await.unwrap();
    assert_eq!(echoed["credential"], "valid");
}

#[tokio::test]
async fn a_credential_among_the_application_s_subprotocols_is_refused() {
    let bench = Bench::start().await;
    let refused = bench.events().websocket("/ws/events", &[&format!("api-key.{KEY}")]).await.unwrap_err();
    assert!(matches!(refused, Error::Protocol { .. }) && refused.to_string().contains("in_subprotocol"), "{refused}");
    assert!(bench.events().websocket("/ws/events", &["a b"]).await.is_err());
    assert!(bench.requests().is_empty());
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_websocket() {
    let server = Scripted::websocket(vec![vec![Step::Send(json!("x".repeat(2000)))]]).await;
    let limits = Limits { message_bytes_max: 1000, ..Limits::default() };
    let client = Client::builder(server.endpoint.clone(), Credential::none()).limits(limits).build().unwrap();
    let mut socket = client.websocket("/x", &[]).await.unwrap();
    socket.send_text("go").await.unwrap();
    assert!(matches!(socket.receive().await, Err(Error::TooLarge { .. })));
    assert!(matches!(socket.receive().await, Err(Error::Closed(close)) if close.code == 1009));
}

#[tokio::test]
async fn a_server_that_switches_to_something_else_is_refused() {
    let wrong =
        "HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: AAAA\r\n\r\n".to_owned();
    let other = "HTTP/1.1 101 x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n".to_owned();
    let server = Scripted::http(vec![wrong, other]).await;
    let client = Client::new(server.endpoint.clone(), Credential::none()).unwrap();
    for cause in ["Sec-WebSocket-Accept", "another protocol"] {
        let refused = client.websocket("/x", &[]).await.unwrap_err();
        assert!(matches!(&refused, Error::Protocol { .. }) && refused.to_string().contains(cause), "{refused}");
    }
}
