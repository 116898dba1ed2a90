//! The message that a session is decided by.

use std::future::pending;

use keymoat_core::websocket::FrameError;
use keymoat_core::{Code, Refusal};

use super::super::{Message, NoMessage, first_message};
use super::*;

type Found = (Result<Message, NoMessage>, End<DuplexStream>);

fn waiting(already_read: &[u8]) -> (Peer, JoinHandle<Found>) {
    waiting_until(already_read, pending())
}

fn waiting_until(
    already_read: &[u8],
    given_up: impl Future<Output = Refusal> + Send + 'static,
) -> (Peer, JoinHandle<Found>) {
    let (client, end) = duplex(PIPE_BYTES);
    let client_end = End { stream: end, already_read: Bytes::copy_from_slice(already_read) };
    let found = tokio::spawn(async move { first_message(client_end, 1000, given_up).await });
    (Peer { stream: client, key: Some(KEY) }, found)
}

#[tokio::test(start_paused = true)]
async fn a_message_in_single_bytes_with_pings_between_is_one_message_65() {
    let (mut client, found) = waiting(b"");
    client.send(false, Opcode::Binary, b"s").await;
    for byte in b"etu" {
        client.send(true, Opcode::Ping, b"there?").await;
        assert_eq!(client.frame().await.unwrap().payload, b"there?");
        client.send(false, Opcode::Continuation, &[*byte]).await;
    }
    client.send(true, Opcode::Continuation, b"p").await;
    let message = found.await.unwrap().0.unwrap();
    assert_eq!((message.opcode, message.payload.as_slice()), (Opcode::Binary, b"setup".as_slice()));
}

#[tokio::test(start_paused = true)]
async fn what_follows_the_first_message_stays_unread_and_in_order_71() {
    let early = [frame(Some(KEY), true, Opcode::Text, b"setup"), frame(Some(KEY), true, Opcode::Binary, b"audio")];
    let early = early.concat();
    let (handshake, rest) = early.split_at(early.len() - 3);
    let (mut client, found) = waiting(handshake);
    let (message, end) = found.await.unwrap();
    assert_eq!(message.unwrap().payload, b"setup");
    client.send_bytes(rest).await;
    client.text("later").await;
    let (message, end) = first_message(end, 1000, pending()).await;
    assert_eq!(message.unwrap().payload, b"audio");
    let (message, _) = first_message(end, 1000, pending()).await;
    assert_eq!(message.unwrap().payload, b"later");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_compressed_or_not_masked_is_no_message_64_67() {
    let mut compressed = frame(Some(KEY), true, Opcode::Text, b"setup");
    compressed[0] |= 0x40;
    let pieces =
        [frame(Some(KEY), false, Opcode::Text, &[0; 600]), frame(Some(KEY), true, Opcode::Continuation, &[0; 401])];
    for (sent, fault) in [
        (frame(Some(KEY), true, Opcode::Text, &[0; 1001]), FrameError::FrameTooLarge(1000)),
        (pieces.concat(), FrameError::MessageTooLarge(1000)),
        (compressed, FrameError::ReservedBit),
        (frame(None, true, Opcode::Text, b"setup"), FrameError::MaskMissing),
        (frame(Some(KEY), true, Opcode::Continuation, b"setup"), FrameError::ContinuationUnexpected),
    ] {
        let (mut client, found) = waiting(b"");
        client.send_bytes(&sent).await;
        assert_eq!(found.await.unwrap().0.unwrap_err(), NoMessage::Faulty(fault));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_leaves_or_floods_sends_no_message() {
    let (mut client, found) = waiting(b"");
    client.close(4100, "never mind").await;
    assert_eq!(found.await.unwrap().0.unwrap_err(), NoMessage::Closed(4100));
    let (client, found) = waiting(b"");
    drop(client);
    assert_eq!(found.await.unwrap().0.unwrap_err(), NoMessage::Gone);
    let (mut client, found) = waiting(b"");
    client.send_bytes(&frame(Some(KEY), true, Opcode::Pong, b"").repeat(101)).await;
    assert_eq!(found.await.unwrap().0.unwrap_err(), NoMessage::Flood);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_told_and_the_client_can_still_be_closed() {
    let patience = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Refusal::new(Code::RequestTimeout, "too slow")
    };
    let (mut client, found) = waiting_until(b"", patience);
    client.send_bytes(&frame(Some(KEY), true, Opcode::Text, b"setup")[..8]).await;
    let (found, end) = found.await.unwrap();
    assert_eq!(found.unwrap_err(), NoMessage::Refused(Refusal::new(Code::RequestTimeout, "too slow")));
    tokio::spawn(close_refused(end, 1008, "too slow"));
    assert_eq!(client.closed().await, (1008, "too slow".to_owned()));
}
