//! What passes is what was sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, BufStream, ReadBuf};

use super::super::leg::Leg;
use super::*;

/// A stream that reads and writes one byte at a time.
struct Trickle<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Trickle<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        std::task::ready!(Pin::new(&mut self.0).poll_read(cx, &mut one))?;
        into.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Trickle<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &bytes[..1])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn messages_cross_with_opcode_fragments_and_masks_as_they_are() {
    let mut scenario = Scenario::start();
    let mut sent = frame(Some(KEY), false, Opcode::Text, b"frag");
    sent.extend(frame(Some([0; 4]), false, Opcode::Continuation, b""));
    sent.extend(frame(Some([9; 4]), true, Opcode::Continuation, b"mented"));
    sent.extend(frame(Some(KEY), true, Opcode::Binary, &[0xFF; 300]));
    scenario.client.send_bytes(&sent).await;
    let mut heard = vec![0; sent.len()];
    scenario.upstream.stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, sent);
    let end = scenario.end().await;
    assert_eq!((end.messages_in, end.bytes_in), (2, 310));
}

#[tokio::test(start_paused = true)]
async fn what_was_read_with_the_handshake_comes_first() {
    let first = Bytes::from(frame(Some(KEY), true, Opcode::Text, b"early"));
    let hello = frame(None, true, Opcode::Text, b"hello");
    let (half, rest) = hello.split_at(3);
    let mut scenario =
        Scenario::with_read_ahead(Limits::default(), Dialect::Generic, first, Bytes::copy_from_slice(half));
    scenario.client.text("late").await;
    scenario.upstream.send_bytes(rest).await;
    scenario.upstream.expect_text("early").await;
    scenario.upstream.expect_text("late").await;
    scenario.client.expect_text("hello").await;
}

#[tokio::test(start_paused = true)]
async fn one_byte_reads_and_writes_change_nothing() {
    let (client, client_end) = duplex(64);
    let (upstream, upstream_end) = duplex(64);
    let relay = tokio::spawn(async move {
        let client = End { stream: Trickle(client_end), already_read: Bytes::new() };
        let upstream = End { stream: Trickle(upstream_end), already_read: Bytes::new() };
        relay(client, upstream, &Limits::default(), &SessionControl::default(), Dialect::Generic).await
    });
    let mut client = Peer { stream: client, key: Some(KEY) };
    let mut upstream = Peer { stream: upstream, key: None };
    let sender = tokio::spawn(async move {
        client.send(false, Opcode::Text, b"a").await;
        client.send(true, Opcode::Ping, &[5; 125]).await;
        client.send(true, Opcode::Continuation, &[b'b'; 200]).await;
        client.close(4321, "end").await;
        let pong = client.frame().await.unwrap();
        (pong, client.closed().await)
    });
    assert_eq!(upstream.frame().await.unwrap().payload, b"a");
    assert_eq!(upstream.frame().await.unwrap().payload, [b'b'; 200]);
    assert_eq!(upstream.closed().await, (4321, "end".to_owned()));
    upstream.close(4322, "").await;
    let (pong, closed) = sender.await.unwrap();
    assert_eq!((pong.opcode, pong.payload), (Opcode::Pong, vec![5; 125]));
    assert_eq!(closed.0, 4322);
    let end = Scenario::end_of(relay).await;
    assert_eq!((end.close_code, end.messages_in, end.bytes_in), (Some(4321), 1, 201));
}

#[tokio::test(start_paused = true)]
async fn streams_that_hold_bytes_back_until_they_are_flushed_are_flushed() {
    let (client, client_end) = duplex(64);
    let (upstream, upstream_end) = duplex(64);
    let relay = tokio::spawn(async move {
        let client = End { stream: BufStream::with_capacity(10, 4096, client_end), already_read: Bytes::new() };
        let upstream = End { stream: BufStream::with_capacity(10, 4096, upstream_end), already_read: Bytes::new() };
        relay(client, upstream, &Limits::default(), &SessionControl::default(), Dialect::Generic).await
    });
    let mut client = Peer { stream: client, key: Some(KEY) };
    let mut upstream = Peer { stream: upstream, key: None };
    let began = tokio::time::Instant::now();
    for size in [1, 50, 500, 5000] {
        let text = "x".repeat(size);
        tokio::join!(client.text(&text), upstream.expect_text(&text));
        tokio::join!(upstream.text(&text), client.expect_text(&text));
    }
    client.send(true, Opcode::Ping, b"p").await;
    assert_eq!(client.frame().await.unwrap().opcode, Opcode::Pong);
    client.close(1000, "").await;
    assert_eq!(upstream.closed().await.0, 1000);
    upstream.close(1000, "").await;
    assert_eq!(client.closed().await.0, 1000);
    assert_eq!(Scenario::end_of(relay).await.messages_in, 4);
    assert!(began.elapsed() < Duration::from_secs(1), "nothing waited for a timer");
}

#[test]
fn an_idle_session_is_small() {
    let limits = Limits::default();
    let control = SessionControl::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, upstream) = tokio::join!(tokio::net::TcpStream::connect(address), async {
            listener.accept().await.map(|(stream, _)| stream)
        });
        let end = |stream| End { stream, already_read: Bytes::new() };
        let relay = relay(end(client.unwrap()), end(upstream.unwrap()), &limits, &control, Dialect::Generic);
        let bytes = size_of_val(&relay);
        // 1024 by itself; what other crates ask of tokio adds a little.
        assert!(bytes <= 1088, "the relay's future is {bytes} bytes");
    });
}

#[tokio::test(start_paused = true)]
async fn a_side_keeps_no_buffer_once_what_was_pending_is_written() {
    let (mut peer, end) = duplex(100);
    let now = tokio::time::Instant::now();
    let caps = keymoat_core::websocket::Caps { frame_bytes_max: 1, message_bytes_max: 1 };
    let end = End { stream: end, already_read: Bytes::new() };
    let mut leg = Leg::new(end, keymoat_core::websocket::Direction::FromClient, caps, now);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    leg.send(&mut cx, now, &[1; 1000]);
    assert_eq!(leg.pending_bytes(), 900);
    assert!(leg.poll_drain(&mut cx, now).is_pending());
    for _ in 0..10 {
        peer.read_exact(&mut [0; 100]).await.unwrap();
        let _ = leg.poll_drain(&mut cx, now);
    }
    assert_eq!(leg.pending_bytes(), 0);
    assert_eq!(leg.stalled, None);
}

/// One frame of a valid stream.
#[derive(Clone, Debug)]
enum Piece {
    Message { parts: Vec<Vec<u8>>, text: bool, between: Option<Vec<u8>> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let payload = || prop::collection::vec(any::<u8>(), 0..300);
    let control = || prop::collection::vec(any::<u8>(), 0..=125);
    let message = (prop::collection::vec(payload(), 1..4), any::<bool>(), prop::option::of(control()))
        .prop_map(|(parts, text, between)| Piece::Message { parts, text, between });
    let piece = prop_oneof![4 => message, 1 => control().prop_map(Piece::Ping), 1 => control().prop_map(Piece::Pong)];
    prop::collection::vec(piece, 0..12)
}

/// The stream as it is sent, and what of it crosses.
fn encode(pieces: &[Piece], key: Option<[u8; 4]>) -> (Vec<u8>, Vec<u8>) {
    let (mut sent, mut crosses) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Ping(payload) => sent.extend(frame(key, true, Opcode::Ping, payload)),
            Piece::Pong(payload) => sent.extend(frame(key, true, Opcode::Pong, payload)),
            Piece::Message { parts, text, between } => {
                for (index, part) in parts.iter().enumerate() {
                    let first = if *text { Opcode::Text } else { Opcode::Binary };
                    let opcode = if index == 0 { first } else { Opcode::Continuation };
                    let bytes = frame(key, index + 1 == parts.len(), opcode, part);
                    crosses.extend_from_slice(&bytes);
                    sent.extend(bytes);
                    if let (Some(payload), true) = (between, index + 1 < parts.len()) {
                        sent.extend(frame(key, true, Opcode::Ping, payload));
                    }
                }
            }
        }
    }
    (sent, crosses)
}

async fn send_chunked(peer: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], chunks: &[usize]) {
    let mut sizes = chunks.iter().cycle();
    while !bytes.is_empty() {
        let (chunk, rest) = bytes.split_at(bytes.len().min(*sizes.next().unwrap()));
        peer.write_all(chunk).await.unwrap();
        tokio::task::yield_now().await;
        bytes = rest;
    }
}

/// Reads frames until the close frame; gives the bytes of all but pings and pongs.
async fn crossed(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let mut kept = Vec::new();
    let mut at = 0;
    loop {
        if let Ok(Some((header, length))) = Header::parse(&all[at..]) {
            let end = at + length + usize::try_from(header.payload_bytes).unwrap();
            if end <= all.len() {
                match header.opcode {
                    Opcode::Close => return kept,
                    Opcode::Ping | Opcode::Pong => {}
                    _ => kept.extend_from_slice(&all[at..end]),
                }
                at = end;
                continue;
            }
        }
        assert_ne!(stream.read_buf(&mut all).await.unwrap(), 0, "the stream ends with a close frame");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_crosses_is_exactly_the_frames_that_are_no_pings_and_pongs(
        up in pieces(),
        down in pieces(),
        chunks in prop::collection::vec(1_usize..400, 1..8),
        pipe in 1_usize..2000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (client, client_end) = duplex(pipe);
            let (upstream, upstream_end) = duplex(pipe);
            let relay = tokio::spawn(async move {
                let client = End { stream: client_end, already_read: Bytes::new() };
                let upstream = End { stream: upstream_end, already_read: Bytes::new() };
                relay(client, upstream, &Limits::default(), &SessionControl::default(), Dialect::Generic).await
            });
            let (up_sent, up_crosses) = encode(&up, Some(KEY));
            let (down_sent, down_crosses) = encode(&down, None);
            let (mut client_reads, mut client_writes) = tokio::io::split(client);
            let (mut upstream_reads, mut upstream_writes) = tokio::io::split(upstream);
            let (_, _, up_heard, down_heard) = tokio::join!(
                async {
                    send_chunked(&mut client_writes, &up_sent, &chunks).await;
                    let close = frame(Some(KEY), true, Opcode::Close, &close_payload(1000, ""));
                    send_chunked(&mut client_writes, &close, &chunks).await;
                },
                async {
                    send_chunked(&mut upstream_writes, &down_sent, &chunks).await;
                    let close = frame(None, true, Opcode::Close, &close_payload(1000, ""));
                    send_chunked(&mut upstream_writes, &close, &chunks).await;
                },
                crossed(&mut upstream_reads),
                crossed(&mut client_reads),
            );
            assert_eq!(up_heard, up_crosses);
            assert_eq!(down_heard, down_crosses);
            let messages = |pieces: &[Piece]| pieces.iter().filter(|piece| matches!(piece, Piece::Message { .. })).count() as u64;
            let end = relay.await.unwrap();
            assert_eq!((end.messages_in, end.messages_out), (messages(&up), messages(&down)));
        });
    }
}
