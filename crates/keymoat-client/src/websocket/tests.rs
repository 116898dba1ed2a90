//! A WebSocket over memory, in stepped time.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use tokio::io::DuplexStream;
use tokio::time::advance;

use super::*;
use crate::Limits;

type Server = WebSocketStream<DuplexStream>;

const SILENCE: Duration = Duration::from_secs(90);

async fn pair() -> (WebSocket, Server) {
    let limits = Limits { silence: SILENCE, answer: Duration::from_secs(30), ..Limits::default() };
    let endpoint: Endpoint = "http://127.0.0.1:1/x?a=b".parse().unwrap();
    let client =
        Client::builder(endpoint.clone(), Credential::api_key("canary-3c9d5a")).limits(limits).build().unwrap();
    let (near, far) = tokio::io::duplex(4096);
    let stream = WebSocketStream::from_raw_socket(Box::new(near) as Box<dyn Stream>, Role::Client, None).await;
    let server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let shared = Arc::clone(client.shared());
    let socket =
        WebSocket { shared, endpoint, stream, protocol: None, heard: Instant::now(), pinged: None, ended: None };
    (socket, server)
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_pinged_and_then_given_up() {
    let (mut socket, server) = pair().await;
    let began = Instant::now();
    // Nobody reads at the other end, so nobody answers the ping.
    let error = socket.receive().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { after: SILENCE, .. }), "{error}");
    assert_eq!(began.elapsed(), SILENCE);
    assert_eq!(error.to_string(), "no sign of life from http://127.0.0.1:1/x?… within 90s");
    assert!(matches!(socket.receive().await, Err(Error::Closed(close)) if close.code == 1006));
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_pings_may_be_silent_for_hours() {
    let (mut socket, mut server) = pair().await;
    let serving = tokio::spawn(async move {
        let mut pings = 0;
        while pings < 200 {
            pings += u32::from(server.next().await.unwrap().unwrap().is_ping());
        }
        // The last answer is on its way; then it speaks.
        server.send(Raw::text("hello")).await.unwrap();
        server
    });
    let began = Instant::now();
    assert_eq!(socket.receive().await.unwrap(), Message::Text("hello".to_owned()));
    assert_eq!(began.elapsed(), SILENCE / 3 * 200);
    drop(serving.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_application_that_was_away_for_long_does_not_take_that_for_silence() {
    let (mut socket, mut server) = pair().await;
    server.send(Raw::text("waiting")).await.unwrap();
    advance(SILENCE * 10).await;
    assert_eq!(socket.receive().await.unwrap(), Message::Text("waiting".to_owned()));
    advance(SILENCE * 10).await;
    let (received, answered) = tokio::join!(socket.receive(), async {
        assert!(server.next().await.unwrap().unwrap().is_ping());
        server.send(Raw::text("still here")).await
    });
    answered.unwrap();
    assert_eq!(received.unwrap(), Message::Text("still here".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_is_given_up() {
    let (mut socket, _server) = pair().await;
    let error = socket.send_binary(vec![0; 1 << 20]).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { what: "progress in sending", .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_close_is_answered_and_told_again_and_again() {
    let (mut socket, mut server) = pair().await;
    let frame = CloseFrame { code: 1008.into(), reason: "no canary-3c9d5a here".into() };
    server.close(Some(frame)).await.unwrap();
    let (first, answer) = tokio::join!(socket.receive(), server.next());
    assert!(matches!(answer, Some(Ok(Raw::Close(Some(frame)))) if u16::from(frame.code) == 1008));
    let Err(Error::Closed(close)) = first else { panic!("not closed") };
    assert_eq!((close.code, close.reason.as_str()), (1008, "no [redacted] here"));
    assert!(matches!(socket.receive().await, Err(Error::Closed(again)) if again == close));
    assert!(matches!(socket.send_text("x").await, Err(Error::Closed(again)) if again == close));
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_close_is_1006() {
    let (mut socket, server) = pair().await;
    drop(server);
    assert!(matches!(socket.receive().await, Err(Error::Closed(close)) if close.code == 1006));
    assert!(!format!("{socket:?}").contains("a=b"));
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_a_moment_only() {
    let (socket, _server) = pair().await;
    let began = Instant::now();
    socket.close_with(4000, &"ä".repeat(100)).await;
    assert_eq!(began.elapsed(), CLOSE_WAIT);
}

#[test]
fn a_reason_is_cut_at_a_character() {
    assert_eq!(cut("short"), "short");
    assert_eq!(cut(&"ä".repeat(100)).len(), 122);
}
