//! What breaks the protocol, from either side.

use keymoat_core::Code;
use keymoat_core::record::{Outcome, Side};

use super::*;

/// Sends `bytes` as a client; gives what the client and the upstream are closed with, and the end.
async fn client_sends(bytes: &[u8]) -> ((u16, String), (u16, String), RelayEnd) {
    let mut scenario = Scenario::start();
    scenario.client.send_bytes(bytes).await;
    let closed = (scenario.client.closed().await, scenario.upstream.closed().await);
    (closed.0, closed.1, scenario.end().await)
}

async fn upstream_sends(bytes: &[u8]) -> ((u16, String), (u16, String), RelayEnd) {
    let mut scenario = Scenario::start();
    scenario.upstream.send_bytes(bytes).await;
    let closed = (scenario.client.closed().await, scenario.upstream.closed().await);
    (closed.0, closed.1, scenario.end().await)
}

#[tokio::test(start_paused = true)]
async fn b25_an_unmasked_client_frame_is_closed_with_1002() {
    let (client, upstream, end) = client_sends(&frame(None, true, Opcode::Text, b"x")).await;
    assert_eq!(client, (1002, "request_invalid: a frame of a client is not masked".to_owned()));
    assert_eq!(upstream.0, 1001);
    assert_eq!(end.close_code, Some(1002));
    assert_eq!((end.closed_by, end.outcome, end.code), (Side::Keymoat, Outcome::Failed, Some(Code::RequestInvalid)));
    assert_eq!(end.cause.as_deref(), Some("client: a frame of a client is not masked"));
    assert_eq!(end.messages_in, 0);
}

#[tokio::test(start_paused = true)]
async fn b26_a_length_of_2_to_the_63_is_closed_with_1002() {
    let (client, ..) = client_sends(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).await;
    assert_eq!(client.0, 1002);
    let (client, upstream, _) = client_sends(&[0x82, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).await;
    assert_eq!((client.0, upstream.0), (1009, 1001));
}

#[tokio::test(start_paused = true)]
async fn b27_a_message_of_a_million_empty_continuations_is_closed_with_1008() {
    let mut scenario = Scenario::start();
    scenario.client.send(false, Opcode::Text, b"").await;
    let empty = frame(Some(KEY), false, Opcode::Continuation, b"").repeat(1000);
    let mut sent = 0;
    let (mut reads, mut writes) = tokio::io::split(scenario.client.stream);
    let writer = tokio::spawn(async move {
        while sent < 1_000_000 && writes.write_all(&empty).await.is_ok() {
            sent += 1000;
        }
    });
    let sink = tokio::spawn(async move { scenario.upstream.closed().await });
    let mut heard = Vec::new();
    reads.read_to_end(&mut heard).await.unwrap();
    assert_eq!(Close::parse(&heard[2..]).unwrap().unwrap().code, 1008);
    assert_eq!(sink.await.unwrap().0, 1001);
    writer.abort();
    drop(reads);
    let end = Scenario::end_of(scenario.relay).await;
    assert_eq!((end.close_code, end.messages_in), (Some(1008), 0));
}

#[tokio::test(start_paused = true)]
async fn b28_a_flood_of_pings_is_closed_with_1008_and_answered_with_few_pongs() {
    let mut scenario = Scenario::start();
    let pings = frame(Some(KEY), true, Opcode::Ping, &[7; 125]).repeat(10_000);
    let (mut reads, mut writes) = tokio::io::split(scenario.client.stream);
    let writer = tokio::spawn(async move { writes.write_all(&pings).await });
    let mut heard = Vec::new();
    reads.read_to_end(&mut heard).await.unwrap();
    assert!(heard.len() < 101 * 127 + 127, "{}", heard.len());
    let close = heard.windows(2).position(|pair| pair[0] == 0x88).unwrap();
    assert_eq!(Close::parse(&heard[close + 2..]).unwrap().unwrap().code, 1008);
    assert_eq!(scenario.upstream.frame().await.unwrap().opcode, Opcode::Close, "no ping crosses");
    writer.abort();
    drop((reads, scenario.upstream));
    let end = Scenario::end_of(scenario.relay).await;
    assert_eq!((end.close_code, end.code), (Some(1008), Some(Code::RateLimited)));
}

#[tokio::test(start_paused = true)]
async fn b28_pings_at_a_moderate_rate_are_all_answered() {
    let mut scenario = Scenario::start();
    for round in 0..500_u16 {
        scenario.client.send(true, Opcode::Ping, &round.to_be_bytes()).await;
        let pong = scenario.client.frame().await.unwrap();
        assert_eq!((pong.opcode, pong.payload), (Opcode::Pong, round.to_be_bytes().to_vec()));
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    assert!(!scenario.relay.is_finished());
}

#[tokio::test(start_paused = true)]
async fn b29_a_long_or_fragmented_control_frame_is_closed_with_1002() {
    for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
        let (client, ..) = client_sends(&frame(Some(KEY), true, opcode, &[b'x'; 126])).await;
        assert_eq!(client.0, 1002);
        let (client, ..) = client_sends(&frame(Some(KEY), false, opcode, b"\x03\xe8")).await;
        assert_eq!(client.0, 1002);
    }
}

#[tokio::test(start_paused = true)]
async fn b30_close_payloads_that_may_not_be_sent_are_closed_with_1002_or_1007() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535] {
        let (client, upstream, end) =
            client_sends(&frame(Some(KEY), true, Opcode::Close, &close_payload(code, ""))).await;
        assert_eq!((client.0, upstream.0), (1002, 1001), "{code}");
        assert_eq!(end.close_code, Some(1002));
    }
    let (client, ..) = client_sends(&frame(Some(KEY), true, Opcode::Close, b"\x03\xe8\xff")).await;
    assert_eq!(client.0, 1007);
    let (client, ..) = client_sends(&frame(Some(KEY), true, Opcode::Close, b"\x03")).await;
    assert_eq!(client.0, 1002);
    let (client, upstream, _) = upstream_sends(&frame(None, true, Opcode::Close, &close_payload(1006, ""))).await;
    assert_eq!((client.0, upstream.0), (1011, 1002));
}

#[tokio::test(start_paused = true)]
async fn b31_a_reserved_bit_or_opcode_is_closed_with_1002() {
    for first in [0xC1, 0xA1, 0x91, 0x83, 0x8B] {
        let (client, upstream, _) = client_sends(&[first, 0x81, 1, 2, 3, 4, 5]).await;
        assert_eq!((client.0, upstream.0), (1002, 1001), "{first:x}");
    }
}

#[tokio::test(start_paused = true)]
async fn b35_a_malformed_or_huge_frame_of_the_upstream_is_closed_with_1011_to_the_client() {
    let unmasked = |fin, opcode, payload: &[u8]| frame(None, fin, opcode, payload);
    let cases: [(Vec<u8>, u16); 6] = [
        (vec![0x82, 0x7F, 0x00, 0, 0, 0, 0x40, 0, 0, 0], 1009),
        (vec![0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
        (vec![0xF1, 0x00], 1002),
        (frame(Some(KEY), true, Opcode::Text, b"masked"), 1002),
        (unmasked(true, Opcode::Continuation, b"x"), 1002),
        ([unmasked(false, Opcode::Text, b"x"), unmasked(true, Opcode::Text, b"x")].concat(), 1002),
    ];
    for (bytes, to_upstream) in cases {
        let (client, upstream, end) = upstream_sends(&bytes).await;
        assert_eq!((client.0, upstream.0), (1011, to_upstream), "{bytes:x?}");
        assert!(client.1.starts_with("upstream_failed: "), "{}", client.1);
        assert_eq!((end.outcome, end.code), (Outcome::Failed, Some(Code::UpstreamFailed)));
    }
}

#[tokio::test(start_paused = true)]
async fn b35_bytes_that_are_no_frames_at_all_never_panic() {
    let mut state = 0x9E37_79B9_u32;
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..300)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let mut scenario = Scenario::start();
        scenario.client.send_bytes(&bytes).await;
        scenario.upstream.send_bytes(&bytes).await;
        scenario.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_cap_is_closed_with_1009_at_the_frame_that_exceeds_it() {
    let mut scenario = Scenario::with(Limits { message_bytes_max: 10, ..Limits::default() }, Dialect::Generic);
    scenario.client.send(false, Opcode::Binary, b"12345").await;
    scenario.client.send(false, Opcode::Continuation, b"67890").await;
    scenario.client.send(true, Opcode::Continuation, b"!").await;
    assert_eq!(scenario.client.closed().await.0, 1009);
    assert_eq!(scenario.upstream.frame().await.unwrap().payload, b"12345");
    assert_eq!(scenario.upstream.frame().await.unwrap().payload, b"67890");
    assert_eq!(scenario.upstream.closed().await.0, 1001);
    let end = scenario.end().await;
    assert_eq!((end.bytes_in, end.messages_in, end.code), (10, 0, Some(Code::BodyTooLarge)));
}
