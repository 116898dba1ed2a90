//! The WebSocket relay between two tungstenite ends on loopback sockets.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use keymoat_core::record::{Outcome, Side};
use keymoat_core::{Code, Dialect, Refusal};
use keymoat_gateway::relay::websocket::{End, RelayEnd, close_refused, relay};
use keymoat_gateway::session::SessionControl;
use keymoat_gateway::settings::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
    (one.expect("connected"), other.expect("accepted").0)
}

/// A client and an upstream with the relay between them.
async fn start(
    control: &SessionControl,
) -> (WebSocketStream<TcpStream>, WebSocketStream<TcpStream>, JoinHandle<RelayEnd>) {
    let (client, client_end) = pair().await;
    let (upstream_end, upstream) = pair().await;
    let control = control.clone();
    let relay = tokio::spawn(async move {
        let client = End { stream: client_end, already_read: Bytes::new() };
        let upstream = End { stream: upstream_end, already_read: Bytes::new() };
        relay(client, upstream, &Limits::default(), &control, Dialect::Generic).await
    });
    let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let upstream = WebSocketStream::from_raw_socket(upstream, Role::Server, None).await;
    (client, upstream, relay)
}

#[tokio::test]
async fn messages_of_every_size_are_echoed_through_the_relay() {
    let (mut client, mut upstream, relay) = start(&SessionControl::default()).await;
    let echo = tokio::spawn(async move {
        while let Some(Ok(message)) = upstream.next().await {
            if message.is_text() || message.is_binary() {
                upstream.send(message).await.expect("echoed");
            }
        }
    });
    let sizes = [0, 1, 125, 126, 1300, 4096, 65_535, 65_536, 65_550, 300_000, 1 << 20];
    for size in sizes {
        let text: String = "añb".chars().cycle().take(size).collect();
        for message in [Message::text(text), Message::binary(vec![0xA5; size])] {
            client.send(message.clone()).await.expect("sent");
            assert_eq!(client.next().await.expect("open").expect("well formed"), message);
        }
    }
    let frame = CloseFrame { code: CloseCode::Library(4321), reason: "done".into() };
    client.close(Some(frame.clone())).await.expect("sent");
    assert_eq!(client.next().await.expect("answered").expect("well formed"), Message::Close(Some(frame)));
    assert!(client.next().await.is_none(), "a clean end");
    echo.await.expect("no panic");
    let end = relay.await.expect("no panic");
    assert_eq!((end.messages_in, end.messages_out), (2 * sizes.len() as u64, 2 * sizes.len() as u64));
    assert_eq!(end.bytes_in, end.bytes_out);
    assert_eq!((end.close_code, end.closed_by, end.outcome), (Some(4321), Side::Client, Outcome::Allowed));
    assert_eq!(end.cause, None);
}

#[tokio::test]
async fn many_messages_in_flight_in_both_directions_keep_their_order() {
    let (client, upstream, relay) = start(&SessionControl::default()).await;
    let (mut client_sends, client_hears) = client.split();
    let (mut upstream_sends, upstream_hears) = upstream.split();
    let numbered = |number: u32| Message::binary(number.to_be_bytes().repeat(1 + number as usize % 3000));
    let send_up = async {
        for number in 0..2000 {
            client_sends.send(numbered(number)).await.expect("sent");
        }
    };
    let send_down = async {
        for number in 0..2000 {
            upstream_sends.send(numbered(number)).await.expect("sent");
        }
    };
    let hear_up = upstream_hears.take(2000).enumerate().for_each(|(number, message)| async move {
        assert_eq!(message.expect("well formed"), numbered(number as u32));
    });
    let hear_down = client_hears.take(2000).enumerate().for_each(|(number, message)| async move {
        assert_eq!(message.expect("well formed"), numbered(number as u32));
    });
    tokio::join!(send_up, send_down, hear_up, hear_down);
    drop((client_sends, upstream_sends));
    let end = relay.await.expect("no panic");
    assert_eq!((end.messages_in, end.messages_out), (2000, 2000));
}

#[tokio::test]
async fn a_revoked_session_is_closed_with_its_reason_and_the_upstream_is_let_go() {
    let control = SessionControl::default();
    let (mut client, mut upstream, relay) = start(&control).await;
    client.send(Message::text("hello")).await.expect("sent");
    assert_eq!(upstream.next().await.expect("open").expect("well formed"), Message::text("hello"));
    control.end(Refusal::new(Code::CredentialRevoked, "the key was revoked"));
    let Some(Ok(Message::Close(Some(frame)))) = client.next().await else { panic!("a close frame") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "credential_revoked: the key was revoked"));
    assert!(matches!(upstream.next().await, Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Away));
    assert!(client.next().await.is_none());
    assert!(upstream.next().await.is_none());
    assert_eq!(relay.await.expect("no panic").code, Some(Code::CredentialRevoked));
}

#[tokio::test]
async fn a_client_that_resets_is_told_to_the_upstream() {
    let (client, mut upstream, relay) = start(&SessionControl::default()).await;
    let socket = client.into_inner();
    socket.set_zero_linger().expect("a socket option");
    drop(socket);
    assert!(matches!(upstream.next().await, Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Away));
    assert!(upstream.next().await.is_none());
    let end = relay.await.expect("no panic");
    assert_eq!((end.close_code, end.closed_by, end.outcome), (Some(1006), Side::Client, Outcome::Aborted));
    assert_eq!(end.cause.as_deref(), Some("client: reading: connection reset"));
}

#[tokio::test]
async fn a_refused_client_that_keeps_sending_sees_code_and_reason_and_no_reset() {
    let (client, end) = pair().await;
    let refusing = tokio::spawn(async move {
        close_refused(End { stream: end, already_read: Bytes::new() }, 4003, "forbidden: not on this route").await;
    });
    let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let (mut sends, mut hears) = client.split();
    let sending = tokio::spawn(async move { while sends.send(Message::binary(vec![1; 10_000])).await.is_ok() {} });
    let Some(Ok(Message::Close(Some(frame)))) = hears.next().await else { panic!("a close frame") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4003, "forbidden: not on this route"));
    while let Some(next) = hears.next().await {
        next.expect("no reset");
    }
    sending.await.expect("no panic");
    refusing.await.expect("no panic");
}

#[tokio::test]
async fn a_violation_by_a_client_that_keeps_sending_is_closed_without_a_reset() {
    let (client, _upstream, _relay) = start(&SessionControl::default()).await;
    let (mut reads, mut writes) = client.into_inner().into_split();
    let sending = tokio::spawn(async move {
        writes.write_all(&[0xF1, 0x80, 0, 0, 0, 0]).await.expect("sent");
        for _ in 0..50 {
            writes.write_all(&[0; 10_000]).await.expect("no reset");
        }
        writes
    });
    let mut heard = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut reads, &mut heard).await.expect("no reset");
    assert_eq!(heard.get(2..4), Some(&1002_u16.to_be_bytes()[..]));
    drop(sending.await.expect("no panic"));
}
