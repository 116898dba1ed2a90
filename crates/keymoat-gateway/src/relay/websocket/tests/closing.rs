//! How sessions end: close frames, vanished peers, and being asked to.

use keymoat_core::record::{Outcome, Side};
use keymoat_core::{Code, Refusal};
use tokio::time::Instant;

use super::super::{close_refused, close_refused_after};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_close_crosses_intact_and_its_answer_crosses_back() {
    for (code, reason) in [(1000, ""), (1001, "going"), (3999, "ä"), (4001, "credential_invalid: x"), (1014, "bad")] {
        let mut scenario = Scenario::start();
        scenario.client.close(code, reason).await;
        assert_eq!(scenario.upstream.closed().await, (code, reason.to_owned()));
        scenario.upstream.close(1000, "bye").await;
        assert_eq!(scenario.client.closed().await, (1000, "bye".to_owned()));
        assert_eq!(scenario.client.frame().await, None, "the stream ends after the close frame");
        assert_eq!(scenario.upstream.frame().await, None);
        let end = Scenario::end_of(scenario.relay).await;
        assert_eq!((end.close_code, end.closed_by, end.outcome), (Some(code), Side::Client, Outcome::Allowed));
        assert_eq!((end.cause, end.code), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_of_the_upstream_crosses_intact() {
    let mut scenario = Scenario::gemini();
    let reason = "r".repeat(123);
    scenario.upstream.close(1007, &reason).await;
    assert_eq!(scenario.client.closed().await, (1007, reason));
    scenario.client.close(1007, "").await;
    assert_eq!(scenario.upstream.closed().await, (1007, String::new()));
    let end = Scenario::end_of(scenario.relay).await;
    assert_eq!((end.close_code, end.closed_by, end.outcome), (Some(1007), Side::Upstream, Outcome::Allowed));
}

#[tokio::test(start_paused = true)]
async fn an_empty_close_stays_empty() {
    let mut scenario = Scenario::start();
    scenario.client.send(true, Opcode::Close, b"").await;
    assert_eq!(scenario.upstream.frame().await.unwrap().payload, b"");
    scenario.upstream.send(true, Opcode::Close, b"").await;
    assert_eq!(scenario.client.frame().await.unwrap(), Received { fin: true, opcode: Opcode::Close, payload: vec![] });
    assert_eq!(Scenario::end_of(scenario.relay).await.close_code, Some(1005));
}

#[tokio::test(start_paused = true)]
async fn what_the_upstream_sends_before_it_answers_a_close_still_arrives() {
    let mut scenario = Scenario::start();
    scenario.client.close(1000, "").await;
    assert_eq!(scenario.upstream.closed().await.0, 1000);
    scenario.upstream.text("last words").await;
    scenario.upstream.close(1000, "").await;
    scenario.client.expect_text("last words").await;
    assert_eq!(scenario.client.closed().await.0, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_the_upstream_does_not_answer_is_answered_in_its_place() {
    let mut scenario = Scenario::start();
    let began = Instant::now();
    scenario.client.close(4000, "done").await;
    assert_eq!(scenario.client.closed().await, (4000, "done".to_owned()));
    assert_eq!(began.elapsed().as_secs(), 2);
    let end = Scenario::end_of(scenario.relay).await;
    assert_eq!((end.close_code, end.closed_by), (Some(4000), Side::Client));
    assert!(began.elapsed() <= Duration::from_millis(4100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_only_hangs_up_on_a_close_is_answered_for_at_once() {
    let mut scenario = Scenario::start();
    let began = Instant::now();
    scenario.client.close(1000, "x").await;
    assert_eq!(scenario.upstream.closed().await.0, 1000);
    drop(scenario.upstream);
    assert_eq!(scenario.client.closed().await, (1000, "x".to_owned()));
    assert!(began.elapsed() < Duration::from_millis(10));
    assert_eq!(Scenario::end_of(scenario.relay).await.outcome, Outcome::Allowed);
}

#[tokio::test(start_paused = true)]
async fn b37_both_sides_close_at_once_and_there_is_one_end() {
    let mut scenario = Scenario::start();
    let began = Instant::now();
    scenario.client.close(4100, "client").await;
    scenario.upstream.close(4200, "upstream").await;
    assert_eq!(scenario.client.closed().await, (4200, "upstream".to_owned()));
    assert_eq!(scenario.upstream.closed().await, (4100, "client".to_owned()));
    assert_eq!(scenario.client.frame().await, None);
    assert_eq!(scenario.upstream.frame().await, None);
    let end = Scenario::end_of(scenario.relay).await;
    assert_eq!((end.close_code, end.closed_by), (Some(4100), Side::Client));
    assert!(began.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_is_told_to_the_upstream_at_once() {
    let mut scenario = Scenario::gemini();
    let began = Instant::now();
    scenario.client.text("hello").await;
    drop(scenario.client);
    scenario.upstream.expect_text("hello").await;
    assert_eq!(scenario.upstream.closed().await.0, 1001);
    assert!(began.elapsed() < Duration::from_millis(10));
    drop(scenario.upstream);
    let end = Scenario::end_of(scenario.relay).await;
    assert_eq!((end.close_code, end.closed_by, end.outcome), (Some(1006), Side::Client, Outcome::Aborted));
    assert_eq!(end.cause.as_deref(), Some("client: end of stream without a close frame"));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_vanishes_is_told_to_the_client_in_its_dialect() {
    for (scenario, code) in [(Scenario::start(), 1014), (Scenario::gemini(), 1011)] {
        let Scenario { mut client, mut upstream, relay, .. } = scenario;
        upstream.text("partial").await;
        drop(upstream);
        client.expect_text("partial").await;
        let closed = client.closed().await;
        assert_eq!(closed.0, code);
        assert!(closed.1.starts_with("upstream_failed: "), "{}", closed.1);
        client.close(code, "").await;
        let end = Scenario::end_of(relay).await;
        assert_eq!((end.close_code, end.closed_by, end.outcome), (Some(1006), Side::Upstream, Outcome::Failed));
        assert_eq!(end.code, Some(Code::UpstreamFailed));
        assert_eq!((end.messages_out, end.bytes_out), (1, 7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_inside_a_frame_leaves_no_close_frame_inside_it() {
    let mut scenario = Scenario::start();
    let whole = frame(None, true, Opcode::Binary, &[0x88; 1000]);
    scenario.upstream.send_bytes(&whole[..500]).await;
    drop(scenario.upstream);
    let mut heard = Vec::new();
    scenario.client.stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, whole[..500]);
    drop(scenario.client);
    let end = Scenario::end_of(scenario.relay).await;
    assert_eq!((end.close_code, end.messages_out, end.bytes_out), (Some(1006), 0, 496));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_asked_to_end_ends_within_two_seconds_whatever_its_peers_do() {
    for (dialect, code) in [(Dialect::Generic, 4001), (Dialect::Gemini, 1008)] {
        let mut scenario = Scenario::with(Limits::default(), dialect);
        scenario.client.text("a").await;
        scenario.upstream.expect_text("a").await;
        let began = Instant::now();
        scenario.control.end(Refusal::new(Code::CredentialRevoked, "the key was revoked"));
        let told = (code, "credential_revoked: the key was revoked".to_owned());
        assert_eq!(scenario.client.closed().await, told);
        assert_eq!(scenario.upstream.closed().await.0, 1001);
        assert!(began.elapsed() < Duration::from_millis(10));
        // Neither answers, and neither hangs up.
        let end = Scenario::end_of(scenario.relay).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!((end.close_code, end.closed_by, end.outcome), (Some(code), Side::Keymoat, Outcome::Refused));
        assert_eq!(end.code, Some(Code::CredentialRevoked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_session_is_closed_with_1012_between_two_frames() {
    let mut scenario = Scenario::start();
    let whole = frame(None, true, Opcode::Text, b"hello");
    scenario.upstream.send_bytes(&whole[..4]).await;
    tokio::time::advance(Duration::from_millis(5)).await;
    scenario.control.end(Refusal::new(Code::Draining, "restart"));
    tokio::time::advance(Duration::from_millis(100)).await;
    scenario.upstream.send_bytes(&whole[4..]).await;
    scenario.client.expect_text("hello").await;
    assert_eq!(scenario.client.closed().await.0, 1012);
    scenario.client.close(1012, "").await;
    scenario.upstream.close(1001, "").await;
    let end = Scenario::end_of(scenario.relay).await;
    assert_eq!((end.outcome, end.code), (Outcome::Allowed, Some(Code::Draining)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_that_is_sending_sees_code_and_reason() {
    let (client, end) = duplex(1024);
    let mut client = Peer { stream: client, key: Some(KEY) };
    let already_read = Bytes::from(frame(Some(KEY), true, Opcode::Text, b"pipelined"));
    let refusing = tokio::spawn(async move {
        close_refused(End { stream: end, already_read }, 4001, "credential_missing: no credential").await;
    });
    for _ in 0..100 {
        client.send(true, Opcode::Binary, &[7; 500]).await;
    }
    assert_eq!(client.closed().await, (4001, "credential_missing: no credential".to_owned()));
    client.close(4001, "").await;
    assert_eq!(client.frame().await, None);
    let began = Instant::now();
    refusing.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_may_be_sent_a_message_before_the_close() {
    // Smaller than the message, so that it cannot be written at once.
    let (client, end) = duplex(64);
    let mut client = Peer { stream: client, key: Some(KEY) };
    let message = format!("{{\"type\":\"error\",\"message\":\"{}\"}}", "x".repeat(300));
    let told = message.clone();
    let refusing = tokio::spawn(async move {
        let end = End { stream: end, already_read: Bytes::new() };
        close_refused_after(end, Some(&told), 3000, "credential_missing: no credential").await;
    });
    client.expect_text(&message).await;
    assert_eq!(client.closed().await, (3000, "credential_missing: no credential".to_owned()));
    client.close(3000, "").await;
    assert_eq!(client.frame().await, None);
    refusing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_that_never_closes_is_let_go() {
    let (client, end) = duplex(1024);
    let began = Instant::now();
    close_refused(End { stream: end, already_read: Bytes::new() }, 1013, "unavailable: later").await;
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    let mut client = Peer { stream: client, key: Some(KEY) };
    assert_eq!(client.closed().await.0, 1013);
}
