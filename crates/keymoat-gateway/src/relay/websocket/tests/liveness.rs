//! Silence, stalls and pings.

use keymoat_core::Code;
use keymoat_core::record::{Outcome, Side};
use tokio::time::Instant;

use super::*;

/// Answers pings until the stream ends; gives what it was closed with.
async fn answer_pings(mut peer: Peer, delay: Duration) -> (u16, String) {
    while let Some(received) = peer.frame().await {
        match received.opcode {
            Opcode::Ping => {
                tokio::time::sleep(delay).await;
                peer.send(true, Opcode::Pong, &received.payload).await;
            }
            Opcode::Close => {
                return Close::parse(&received.payload)
                    .unwrap()
                    .map_or((1005, String::new()), |close| (close.code, close.reason.to_owned()));
            }
            _ => {}
        }
    }
    (1006, String::new())
}

#[tokio::test(start_paused = true)]
async fn b36_a_half_open_client_is_given_up_within_60_seconds() {
    let Scenario { client, upstream, relay, .. } = Scenario::start();
    let began = Instant::now();
    let upstream = tokio::spawn(answer_pings(upstream, Duration::ZERO));
    assert_eq!(upstream.await.unwrap().0, 1001);
    assert_eq!(began.elapsed().as_secs(), 60);
    let end = Scenario::end_of(relay).await;
    assert_eq!((end.close_code, end.closed_by, end.outcome), (Some(1006), Side::Client, Outcome::Aborted));
    assert_eq!(end.cause.as_deref(), Some("client: no pong and nothing else for 60 s"));
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn b36_a_half_open_upstream_is_given_up_within_60_seconds() {
    let Scenario { client, upstream, relay, .. } = Scenario::gemini();
    let began = Instant::now();
    assert_eq!(answer_pings(client, Duration::ZERO).await.0, 1011);
    assert_eq!(began.elapsed().as_secs(), 60);
    let end = Scenario::end_of(relay).await;
    assert_eq!((end.close_code, end.closed_by, end.code), (Some(1006), Side::Upstream, Some(Code::UpstreamFailed)));
    drop(upstream);
}

#[tokio::test(start_paused = true)]
async fn pongs_that_come_30_seconds_late_keep_a_session_until_it_is_idle() {
    let Scenario { client, upstream, relay, .. } = Scenario::gemini();
    let began = Instant::now();
    let upstream = tokio::spawn(answer_pings(upstream, Duration::from_secs(30)));
    let closed = answer_pings(client, Duration::ZERO).await;
    assert_eq!((closed.0, closed.1.as_str()), (1001, "idle: no message for 300 s"));
    assert_eq!(began.elapsed().as_secs(), 300);
    assert_eq!(upstream.await.unwrap().0, 1001);
    let end = Scenario::end_of(relay).await;
    assert_eq!((end.closed_by, end.close_code), (Side::Keymoat, Some(1001)));
}

#[tokio::test(start_paused = true)]
async fn messages_in_one_direction_keep_a_session_beyond_the_idle_limit() {
    let Scenario { client, mut upstream, relay, .. } = Scenario::start();
    let client = tokio::spawn(answer_pings(client, Duration::ZERO));
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(59)).await;
        upstream.text("tick").await;
    }
    upstream.close(1000, "").await;
    assert_eq!(client.await.unwrap().0, 1000);
    assert_eq!(Scenario::end_of(relay).await.messages_out, 20);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_is_not_pinged() {
    let mut scenario = Scenario::start();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(19)).await;
        scenario.client.text("x").await;
        scenario.upstream.send(true, Opcode::Pong, b"").await;
    }
    scenario.upstream.close(1000, "").await;
    assert_eq!(scenario.client.frame().await.unwrap().opcode, Opcode::Close, "no ping before the close");
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_by_us_and_crosses_to_nobody() {
    let mut scenario = Scenario::start();
    scenario.client.send(true, Opcode::Ping, b"from client").await;
    scenario.client.send(true, Opcode::Pong, b"unasked").await;
    let pong = scenario.client.frame().await.unwrap();
    assert_eq!((pong.opcode, pong.payload.as_slice()), (Opcode::Pong, &b"from client"[..]));
    scenario.upstream.send(true, Opcode::Ping, b"from upstream").await;
    let pong = scenario.upstream.frame().await.unwrap();
    assert_eq!((pong.opcode, pong.payload.as_slice()), (Opcode::Pong, &b"from upstream"[..]));
    scenario.client.text("a").await;
    scenario.upstream.text("b").await;
    scenario.upstream.expect_text("a").await;
    scenario.client.expect_text("b").await;
}

#[tokio::test(start_paused = true)]
async fn a_pong_waits_for_the_end_of_the_frame_that_is_passing() {
    let mut scenario = Scenario::start();
    let first = frame(None, false, Opcode::Text, b"hello ");
    let second = frame(None, true, Opcode::Continuation, b"world");
    scenario.upstream.send_bytes(&first[..4]).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    scenario.client.send(true, Opcode::Ping, b"1").await;
    scenario.client.send(true, Opcode::Ping, b"2").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    // The rest of one frame and the start of the next come in one read: the boundary is inside of it.
    scenario.upstream.send_bytes(&[&first[4..], &second[..3]].concat()).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    scenario.upstream.send_bytes(&second[3..]).await;
    let mut opcodes = Vec::new();
    for _ in 0..3 {
        opcodes.push(scenario.client.frame().await.unwrap());
    }
    let received = |fin, opcode, payload: &[u8]| Received { fin, opcode, payload: payload.to_vec() };
    let expected = [
        received(false, Opcode::Text, b"hello "),
        received(true, Opcode::Pong, b"2"),
        received(true, Opcode::Continuation, b"world"),
    ];
    assert_eq!(opcodes, expected);
}

#[tokio::test(start_paused = true)]
async fn b34_a_client_that_does_not_read_holds_the_upstream_back_and_is_ended() {
    let Scenario { client, upstream, relay, .. } = Scenario::start();
    let began = Instant::now();
    let (mut reads, mut writes) = tokio::io::split(upstream.stream);
    let flood = tokio::spawn(async move {
        let message = frame(None, true, Opcode::Binary, &[1; 4096]);
        let mut sent = 0_usize;
        while writes.write_all(&message).await.is_ok() {
            sent += message.len();
        }
        sent
    });
    let mut heard = Vec::new();
    reads.read_to_end(&mut heard).await.unwrap();
    let end = Scenario::end_of(relay).await;
    assert_eq!(began.elapsed().as_secs(), 30 + 2, "the stall, then the shutdown");
    assert_eq!(end.cause.as_deref(), Some("the client read nothing for 30 s"));
    assert_eq!((end.outcome, end.closed_by, end.close_code), (Outcome::Failed, Side::Keymoat, Some(1006)));
    // What passed fits the two pipes and one read; nothing piled up before the end.
    assert!(end.bytes_out < 4 * PIPE_BYTES as u64, "{}", end.bytes_out);
    drop((reads, client));
    assert!(flood.await.unwrap() > 2 * PIPE_BYTES);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_does_not_read_is_ended_even_when_the_client_is_gone() {
    for client_stays in [true, false] {
        let Scenario { mut client, upstream, relay, .. } = Scenario::start();
        let began = Instant::now();
        let message = frame(Some(KEY), true, Opcode::Binary, &[1; 4096]);
        let flood = async { while client.stream.write_all(&message).await.is_ok() {} };
        assert!(timeout(Duration::from_secs(1), flood).await.is_err(), "the client is held back");
        if client_stays {
            assert_eq!(client.closed().await.0, 1014);
        }
        drop(client);
        let end = Scenario::end_of(relay).await;
        assert!(began.elapsed() < Duration::from_secs(36), "{:?}", began.elapsed());
        assert_eq!(end.code, Some(Code::UpstreamTimeout));
        assert_eq!(end.cause.as_deref(), Some("the upstream read nothing for 30 s"));
        drop(upstream);
    }
}

#[tokio::test(start_paused = true)]
async fn b34_a_slow_client_is_not_ended_and_its_silence_does_not_count() {
    let Scenario { mut client, mut upstream, relay, .. } = Scenario::start();
    let mut expected = 0;
    let writer = tokio::spawn(async move {
        for _ in 0..100 {
            upstream.send(true, Opcode::Binary, &[1; 4096]).await;
        }
        upstream
    });
    let mut received = Vec::new();
    while expected < 100 * (4096 + 4) {
        tokio::time::sleep(Duration::from_secs(25)).await;
        let mut chunk = vec![0; 40_000];
        let read = client.stream.read(&mut chunk).await.unwrap();
        received.extend_from_slice(&chunk[..read]);
        // Pings of ours may stand between: counted out below.
        expected = received.len();
        // It answers, as a live client does.
        client.send(true, Opcode::Pong, b"").await;
    }
    let messages = received.windows(4).filter(|four| *four == [0x82, 126, 0x10, 0x00]).count();
    assert!(messages >= 99, "{messages}");
    let mut upstream = writer.await.unwrap();
    upstream.close(1000, "").await;
    drop(client);
    assert!(Scenario::end_of(relay).await.messages_out >= 99);
}

#[tokio::test(start_paused = true)]
async fn b36_a_side_that_was_held_back_is_pinged_again_afterwards() {
    let Scenario { mut client, mut upstream, relay, .. } = Scenario::start();
    let flood = tokio::spawn(async move {
        for _ in 0..100 {
            upstream.send(true, Opcode::Binary, &[1; 4096]).await;
        }
        upstream
    });
    // The client reads nothing for a while, so that the upstream is not read either.
    tokio::time::sleep(Duration::from_secs(25)).await;
    let began = Instant::now();
    for _ in 0..100 {
        while client.frame().await.unwrap().opcode != Opcode::Binary {}
    }
    let upstream = flood.await.unwrap();
    assert_eq!(answer_pings(client, Duration::ZERO).await.0, 1014);
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(Scenario::end_of(relay).await.closed_by, Side::Upstream);
    drop(upstream);
}
