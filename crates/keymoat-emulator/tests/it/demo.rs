//! The demo surface.

use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Bench, KEY};

#[tokio::test]
async fn the_echo_tells_everything_but_header_values() {
    let bench = Bench::start().await;
    let headers = [("x-api-key", KEY), ("x-trace", "abc")];
    let echoed = bench.call("PATCH", "/demo/echo?a=1&b", &headers, "some body").await;
    assert!(!echoed.text.contains(KEY) && !echoed.text.contains("abc"), "{}", echoed.text);
    let told = echoed.json();
    assert_eq!((told["method"].as_str(), told["query"].as_str()), (Some("PATCH"), Some("a=1&b")));
    assert_eq!((told["body"].as_str(), told["credential"].as_str()), (Some("some body"), Some("valid")));
    assert_eq!(told["headers"], json!(["content-length", "host", "x-api-key", "x-trace"]));
    let bearer = bench.call("GET", "/demo/echo", &[("authorization", "Bearer wrong")], "").await.json();
    assert_eq!(bearer["credential"], "invalid");
    assert_eq!(bench.call("GET", "/demo/echo", &[], "").await.json()["credential"], "none");
}

#[tokio::test]
async fn the_real_key_in_a_url_is_refused_and_a_harmless_parameter_is_not() {
    let bench = Bench::start().await;
    assert_eq!(bench.call("GET", &format!("/demo/echo?x={KEY}"), &[], "").await.status, 401);
    assert_eq!(bench.call("GET", "/demo/echo?key=photo.jpg", &[], "").await.status, 200);
}

#[tokio::test]
async fn the_event_stream_goes_on_after_the_last_event_id() {
    let bench = Bench::start().await;
    let streamed = bench.call("GET", "/demo/sse?count=3", &[], "").await;
    assert_eq!(streamed.headers["content-type"], "text/event-stream");
    let event = |n: u64| format!("id: {n}\nevent: tick\ndata: {{\"n\":{n}}}\n\n");
    assert_eq!(streamed.text, [event(1), event(2), event(3)].concat());
    let resumed = bench.call("GET", "/demo/sse?count=3", &[("last-event-id", "2")], "").await;
    assert_eq!(resumed.text, event(3));
}

#[tokio::test]
async fn the_websocket_echoes_messages_and_selects_the_first_protocol() {
    let bench = Bench::start().await;
    let mut client = bench.websocket("/demo/ws", &[("sec-websocket-protocol", "one, two")]).await.unwrap();
    assert_eq!(client.selected.as_deref(), Some("one"));
    for message in [Message::text("hello"), Message::binary(vec![1, 2, 3])] {
        client.stream.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await, message);
    }
    let plain = bench.websocket("/demo/ws", &[]).await.unwrap();
    assert_eq!(plain.selected, None);
}

#[tokio::test]
async fn a_plain_request_for_a_websocket_is_told_to_upgrade() {
    let bench = Bench::start().await;
    assert_eq!(bench.call("GET", "/demo/ws", &[], "").await.status, 426);
    assert_eq!(bench.call("GET", "/nothing", &[], "").await.status, 404);
}
