//! The home-security surface.

use std::time::Duration;

use futures_util::SinkExt;
use keymoat_emulator::Credentials;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Bench, KEY};

const WITH_KEY: [(&str, &str); 1] = [("x-api-key", KEY)];

#[tokio::test]
async fn lists_events_to_the_key_in_the_header_only() {
    let bench = Bench::start().await;
    let listed = bench.call("GET", "/api/events?limit=3", &WITH_KEY, "").await;
    assert_eq!((listed.status.as_u16(), listed.headers["cache-control"].to_str().unwrap()), (200, "private"));
    let events = listed.json();
    assert_eq!(events.as_array().unwrap().len(), 3);
    let members = ["batch_id", "camera_id", "event_id", "id", "risk_level", "risk_score", "started_at", "summary"];
    assert!(events[0].as_object().unwrap().keys().eq(members));
    for (target, headers) in [("/api/events", &[][..]), ("/api/events", &[("x-api-key", "wrong")])] {
        let refused = bench.call("GET", target, headers, "").await;
        assert_eq!((refused.status.as_u16(), refused.json()), (401, json!({"detail": "Authentication required"})));
    }
    let in_url = bench.call("GET", &format!("/api/events?api_key={KEY}"), &WITH_KEY, "").await;
    assert!(in_url.status == 401 && in_url.text.contains("credential in the URL (query:api_key)"));
    assert_eq!(bench.call("POST", "/api/events", &WITH_KEY, "").await.status, 405);
}

#[tokio::test]
async fn streams_events_and_answers_the_client() {
    let bench = Bench::with(|options| options.events.interval = Duration::from_millis(2)).await;
    let mut client = bench.websocket("/ws/events", &WITH_KEY).await.unwrap();
    let status = client.next().await;
    assert!(status.is_text() && status.to_text().unwrap().contains("\"system_status\""));
    let event = client.receive().await;
    assert_eq!((event["type"].as_str(), event["data"]["id"].as_u64()), (Some("event"), Some(1)));
    client.send(json!({"type": "subscribe", "data": {"events": ["alert.*"]}})).await;
    let subscribed = client.until("/action").await;
    assert_eq!(subscribed.last().unwrap(), &json!({"action": "subscribed", "events": ["alert.*"]}));
    for _ in 0..5 {
        let alert = client.receive().await;
        assert!(alert["data"]["risk_score"].as_u64().unwrap() >= 70, "{alert}");
    }
    client.stream.send(Message::text("ping")).await.unwrap();
    let mut types = Vec::new();
    while types.last() != Some(&json!("pong")) {
        types.push(client.receive().await["type"].clone());
    }
    client.stream.send(Message::text("{")).await.unwrap();
    let error = client.until("/error").await.pop().unwrap();
    assert_eq!(error["error"], "invalid_json");
}

#[tokio::test]
async fn pings_and_ends_an_idle_client() {
    let bench = Bench::with(|options| {
        options.events.ping = Duration::from_millis(20);
        options.events.idle = Duration::from_millis(100);
    })
    .await;
    let mut client = bench.websocket("/ws/events", &WITH_KEY).await.unwrap();
    client.receive().await;
    assert_eq!(client.receive().await, json!({"type": "ping", "lastSeq": 0}));
    assert_eq!(client.closed().await, (1000, "idle".to_owned()));
}

#[tokio::test]
async fn strict_takes_the_header_and_nothing_else() {
    let bench = Bench::start().await;
    // A client that gets no selection breaks off by itself, so this handshake is written by hand.
    let mut socket = bench.tcp().await;
    let head = format!(
        "GET /ws/events HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: api-key.{KEY}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    socket.read_to_end(&mut received).await.unwrap();
    let text = String::from_utf8_lossy(&received).to_lowercase();
    assert!(text.starts_with("http/1.1 101") && text.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{text}");
    assert!(!text.contains("sec-websocket-protocol"), "{text}");
    let close = [&4001_u16.to_be_bytes()[..], b"Authentication required"].concat();
    assert!(received.ends_with(&close));
    let (code, reason) = bench.refused(&format!("/ws/events?api_key={KEY}"), &[]).await;
    assert!(code == 1008 && reason.contains("query:api_key"), "{code} {reason}");
    assert_eq!(bench.refused("/ws/events", &[]).await, (4001, "Authentication required".to_owned()));
}

#[tokio::test]
async fn provider_takes_the_query_and_echoes_the_subprotocol_right_or_wrong() {
    let bench = Bench::with(|options| options.credentials = Credentials::Provider).await;
    let mut client = bench.websocket(&format!("/ws/events?api_key={KEY}"), &[]).await.unwrap();
    assert_eq!(client.receive().await["type"], "system_status");
    for (key, works) in [(KEY, true), ("wrong", false)] {
        let protocol = format!("other, api-key.{key}");
        let mut client = bench.websocket("/ws/events", &[("sec-websocket-protocol", &protocol)]).await.unwrap();
        assert_eq!(client.selected, Some(format!("api-key.{key}")));
        match works {
            true => assert_eq!(client.receive().await["type"], "system_status"),
            false => assert_eq!(client.closed().await.0, 4001),
        }
    }
}
