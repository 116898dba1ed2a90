//! Watched messages, counted frames, and the session's own time.

use keymoat_core::record::Outcome;
use keymoat_core::websocket::Direction;
use keymoat_core::{Code, Refusal};
use proptest::prelude::*;
use tokio::time::Instant;

use super::super::{Bounds, Message, Mode, Terms, Verdict, Watcher, relay_under};
use super::*;

/// Changes, refuses and holds up messages by their words.
fn script(direction: Direction, message: &[u8]) -> Verdict {
    match (direction, message) {
        (Direction::FromClient, b"change me") => Verdict::Forward(b"changed".to_vec()),
        (Direction::FromClient, message) if message.starts_with(b"forbidden") => {
            Verdict::Close(Refusal::new(Code::Forbidden, "not this"))
        }
        (Direction::FromUpstream, message) if message.starts_with(b"keep") => {
            Verdict::PassAfter(Box::pin(tokio::time::sleep(Duration::from_millis(200))))
        }
        _ => Verdict::Pass,
    }
}

fn watch_client() -> Mode {
    Mode::WatchClient(Box::new(Watcher::Scripted(script)))
}

fn watch_both() -> Mode {
    Mode::WatchBoth(Box::new(Watcher::Scripted(script)))
}

impl Scenario {
    fn under(mode: Mode, bounds: Option<Bounds>, first: Option<&str>) -> Self {
        Self::of_limits(Limits::default(), mode, bounds, first)
    }

    fn of_limits(limits: Limits, mode: Mode, bounds: Option<Bounds>, first: Option<&str>) -> Self {
        let (client, client_end) = duplex(PIPE_BYTES);
        let (upstream, upstream_end) = duplex(PIPE_BYTES);
        let control = SessionControl::default();
        let handle = control.clone();
        let first = first.map(|text| Message { opcode: Opcode::Text, payload: text.as_bytes().to_vec() });
        let relay = tokio::spawn(async move {
            let client = End { stream: client_end, already_read: Bytes::new() };
            let upstream = End { stream: upstream_end, already_read: Bytes::new() };
            let terms = Terms { mode, bounds, first, ..Terms::new(&limits, &handle, Dialect::Gemini) };
            relay_under(client, upstream, terms).await
        });
        let client = Peer { stream: client, key: Some(KEY) };
        Self { client, upstream: Peer { stream: upstream, key: None }, control, relay }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watched_message_passes_is_changed_or_ends_the_session() {
    let mut scenario = Scenario::under(watch_client(), None, None);
    scenario.client.text("hello").await;
    scenario.upstream.expect_text("hello").await;
    scenario.client.text("change me").await;
    scenario.upstream.expect_text("changed").await;
    scenario.upstream.text("change me").await;
    scenario.client.expect_text("change me").await;
    let both = [frame(Some(KEY), true, Opcode::Text, b"forbidden"), frame(Some(KEY), true, Opcode::Text, b"behind it")];
    scenario.client.send_bytes(&both.concat()).await;
    assert_eq!(scenario.client.closed().await, (1008, "forbidden: not this".to_owned()));
    let received = scenario.upstream.frame().await.unwrap();
    assert_eq!((received.opcode, received.payload), (Opcode::Close, close_payload(1001, "")));
    let end = scenario.end().await;
    assert_eq!((end.outcome, end.code), (Outcome::Refused, Some(Code::Forbidden)));
    assert_eq!((end.messages_in, end.bytes_in), (2, 14));
}

#[tokio::test(start_paused = true)]
async fn what_came_in_one_frame_goes_on_as_it_came() {
    let mut scenario = Scenario::under(watch_both(), None, None);
    let sent = frame(Some([3; 4]), true, Opcode::Binary, b"as it is");
    scenario.client.send_bytes(&sent).await;
    let mut heard = vec![0; sent.len()];
    scenario.upstream.stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, sent);
}

#[tokio::test(start_paused = true)]
async fn pieces_with_pings_between_and_binary_frames_meet_the_same_check_65_66() {
    for opcode in [Opcode::Text, Opcode::Binary] {
        let mut scenario = Scenario::under(watch_client(), None, None);
        let message = b"change me";
        for (number, byte) in message.iter().enumerate() {
            let opcode = if number == 0 { opcode } else { Opcode::Continuation };
            scenario.client.send(number + 1 == message.len(), opcode, &[*byte]).await;
            scenario.client.send(true, Opcode::Ping, b"p").await;
            assert_eq!(scenario.client.frame().await.unwrap().opcode, Opcode::Pong);
        }
        let received = scenario.upstream.frame().await.unwrap();
        assert_eq!(received, Received { fin: true, opcode, payload: b"changed".to_vec() });
        scenario.client.send(false, opcode, b"forb").await;
        scenario.client.send(true, Opcode::Continuation, b"idden").await;
        assert_eq!(scenario.client.closed().await.0, 1008);
        assert_eq!(scenario.upstream.frame().await.unwrap().opcode, Opcode::Close, "nothing of it crossed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_crosses_while_a_message_is_held() {
    let mut scenario = Scenario::under(watch_client(), None, None);
    scenario.client.send(false, Opcode::Text, b"half of").await;
    scenario.client.close(4100, "enough").await;
    assert_eq!(scenario.upstream.closed().await, (4100, "enough".to_owned()));
    scenario.upstream.close(1000, "").await;
    assert_eq!(scenario.client.closed().await.0, 1000);
    assert_eq!(scenario.end().await.outcome, Outcome::Allowed);
}

#[tokio::test(start_paused = true)]
async fn a_ping_of_ours_is_not_held_up_by_a_message_that_is_held() {
    let mut scenario = Scenario::under(watch_client(), None, None);
    scenario.client.send_bytes(&frame(Some(KEY), true, Opcode::Text, &[b'x'; 100])[..50]).await;
    scenario.upstream.send(true, Opcode::Ping, b"there?").await;
    assert_eq!(scenario.upstream.frame().await.unwrap().opcode, Opcode::Pong);
}

#[tokio::test(start_paused = true)]
async fn a_watched_message_has_a_cap_and_no_more_is_held() {
    let limits = Limits { watched_bytes_max: 1000, ..Limits::default() };
    let mut scenario = Scenario::of_limits(limits, watch_client(), None, None);
    scenario.client.send(true, Opcode::Text, &[b'a'; 1000]).await;
    assert_eq!(scenario.upstream.frame().await.unwrap().payload.len(), 1000);
    scenario.client.send(false, Opcode::Text, &[b'a'; 600]).await;
    scenario.client.send(true, Opcode::Continuation, &[b'a'; 401]).await;
    let (code, reason) = scenario.client.closed().await;
    assert_eq!(code, 1009, "{reason}");
    assert_eq!(scenario.upstream.frame().await.unwrap().opcode, Opcode::Close);
}

#[tokio::test(start_paused = true)]
async fn large_messages_of_the_upstream_pass_unwatched_however_they_are_cut() {
    let mut scenario = Scenario::under(watch_both(), None, None);
    let Peer { stream, .. } = &mut scenario.upstream;
    let large = vec![b'k'; 16 << 20];
    let cut = [
        frame(None, false, Opcode::Binary, &[b'k'; 10_000]),
        frame(None, false, Opcode::Continuation, b""),
        frame(None, true, Opcode::Continuation, &[b'k'; 10_000]),
        frame(None, true, Opcode::Text, b"small"),
    ]
    .concat();
    let sent = [frame(None, true, Opcode::Binary, &large), cut].concat();
    let (written, heard) = tokio::join!(stream.write_all(&sent), async {
        let whole = scenario.client.frame().await.unwrap();
        let mut pieces = Vec::new();
        while pieces.last().is_none_or(|last: &Received| last.payload != b"small") {
            pieces.push(scenario.client.frame().await.unwrap());
        }
        (whole, pieces)
    });
    written.unwrap();
    let (whole, pieces) = heard;
    assert_eq!((whole.opcode, whole.payload.len()), (Opcode::Binary, 16 << 20));
    let payload: usize = pieces.iter().map(|piece| piece.payload.len()).sum();
    assert_eq!(payload, 20_005);
    assert_eq!((pieces[0].opcode, pieces[0].fin), (Opcode::Binary, false));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_has_to_be_kept_waits_and_what_follows_waits_behind_it() {
    let mut scenario = Scenario::under(watch_both(), None, None);
    let began = Instant::now();
    let both = [frame(None, true, Opcode::Binary, b"keep this"), frame(None, true, Opcode::Text, b"next")];
    scenario.upstream.send_bytes(&both.concat()).await;
    scenario.client.text("meanwhile").await;
    scenario.upstream.expect_text("meanwhile").await;
    assert!(began.elapsed() < Duration::from_millis(200));
    assert_eq!(scenario.client.frame().await.unwrap().payload, b"keep this");
    assert!(began.elapsed() >= Duration::from_millis(200));
    scenario.client.expect_text("next").await;
    scenario.upstream.send(false, Opcode::Text, b"keep").await;
    scenario.upstream.send(true, Opcode::Continuation, b" that").await;
    scenario.upstream.close(1000, "").await;
    scenario.client.expect_text("keep that").await;
    assert_eq!(scenario.client.closed().await.0, 1000);
}

#[tokio::test(start_paused = true)]
async fn our_own_first_message_goes_before_the_client_s() {
    let mut scenario = Scenario::under(Mode::Frames, None, Some("setup"));
    scenario.client.text("hello").await;
    scenario.upstream.expect_text("setup").await;
    scenario.upstream.expect_text("hello").await;
}

fn until(secs: u64) -> Bounds {
    let refusal = Refusal::new(Code::TokenExpired, "ask for a new token");
    Bounds { deadline: Some((Instant::now() + Duration::from_secs(secs), refusal)), ..Bounds::default() }
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_at_its_deadline_after_a_warning_51_52() {
    for opcode in [Opcode::Text, Opcode::Binary] {
        let mut scenario = Scenario::under(Mode::Frames, Some(until(60)), None);
        let began = Instant::now();
        scenario.upstream.send(true, opcode, b"hello").await;
        assert_eq!(scenario.client.frame().await.unwrap().payload, b"hello");
        let warning = loop {
            let frame = scenario.client.frame().await.unwrap();
            if !frame.opcode.is_control() {
                break frame;
            }
        };
        assert_eq!(began.elapsed().as_secs(), 50);
        assert_eq!((warning.opcode, warning.payload), (opcode, br#"{"goAway":{"timeLeft":"10s"}}"#.to_vec()));
        let (code, reason) = scenario.client.closed().await;
        assert_eq!((code, reason.as_str()), (1008, "token_expired: ask for a new token"));
        assert_eq!(began.elapsed().as_secs(), 60);
        assert_eq!(scenario.upstream.closed().await.0, 1001);
        let end = scenario.end().await;
        assert_eq!((end.outcome, end.code), (Outcome::Refused, Some(Code::TokenExpired)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_warning_stands_between_messages_and_after_the_first() {
    let mut scenario = Scenario::under(Mode::Frames, Some(until(20)), None);
    tokio::time::sleep(Duration::from_secs(11)).await;
    scenario.upstream.send(false, Opcode::Binary, b"one").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    scenario.upstream.send(true, Opcode::Continuation, b"more").await;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let frame = scenario.client.frame().await.unwrap();
        if !frame.opcode.is_control() {
            heard.push(String::from_utf8(frame.payload).unwrap());
        }
    }
    assert_eq!(heard, ["one", "more", r#"{"goAway":{"timeLeft":"7s"}}"#]);
}

#[tokio::test(start_paused = true)]
async fn a_bound_on_messages_or_bytes_is_exact() {
    let bounds = Bounds { messages_max: Some(3), ..Bounds::default() };
    let mut scenario = Scenario::under(Mode::Frames, Some(bounds), None);
    scenario.client.send_bytes(&frame(Some(KEY), true, Opcode::Text, b"a").repeat(2)).await;
    scenario.upstream.text("b").await;
    scenario.client.expect_text("b").await;
    scenario.upstream.expect_text("a").await;
    scenario.upstream.expect_text("a").await;
    scenario.client.text("one too many").await;
    let (code, reason) = scenario.client.closed().await;
    assert_eq!(code, 1008);
    assert!(reason.starts_with("token_used_up: "), "{reason}");
    assert_eq!(scenario.upstream.frame().await.unwrap().opcode, Opcode::Close);
    let end = scenario.end().await;
    assert_eq!((end.messages_in, end.messages_out, end.code), (2, 1, Some(Code::TokenUsedUp)));

    let bounds = Bounds { bytes_max: Some(10), ..Bounds::default() };
    let mut scenario = Scenario::under(Mode::Frames, Some(bounds), None);
    scenario.client.text("six by").await;
    scenario.upstream.expect_text("six by").await;
    scenario.upstream.text("four").await;
    scenario.client.expect_text("four").await;
    scenario.upstream.text("1").await;
    assert_eq!(scenario.client.closed().await.0, 1008);
    let end = scenario.end().await;
    assert_eq!((end.bytes_in, end.bytes_out), (6, 4));
}

#[tokio::test(start_paused = true)]
async fn openai_s_clients_are_told_by_an_event_before_the_close() {
    let mut scenario = Scenario::with(Limits::default(), Dialect::OpenAi);
    scenario.upstream.text("hello").await;
    scenario.client.expect_text("hello").await;
    scenario.control.end(Refusal::new(Code::TokenExpired, "ask for a new one"));
    let event = scenario.client.frame().await.unwrap();
    let text = String::from_utf8(event.payload).unwrap();
    assert!(event.opcode == Opcode::Text && text.contains(r#""code":"token_expired""#), "{text}");
    assert_eq!(scenario.client.closed().await, (3000, "token_expired: ask for a new one".to_owned()));
    let mut scenario = Scenario::with(Limits::default(), Dialect::OpenAi);
    scenario.upstream.send(false, Opcode::Text, b"half").await;
    assert_eq!(scenario.client.frame().await.unwrap().payload, b"half");
    scenario.control.end(Refusal::new(Code::TokenExpired, "ask for a new one"));
    assert_eq!(scenario.client.frame().await.unwrap().opcode, Opcode::Close, "no message inside another");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn watched_messages_arrive_whole_and_in_order(
        messages in prop::collection::vec((prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4), any::<bool>()), 0..10),
        chunk in 1_usize..500,
        both: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mode = if both { watch_both() } else { watch_client() };
            let mut scenario = Scenario::under(mode, None, None);
            let mut sent = Vec::new();
            for (parts, text) in &messages {
                for (index, part) in parts.iter().enumerate() {
                    let first = if *text { Opcode::Text } else { Opcode::Binary };
                    let opcode = if index == 0 { first } else { Opcode::Continuation };
                    sent.extend(frame(Some(KEY), index + 1 == parts.len(), opcode, part));
                    sent.extend(frame(Some(KEY), true, Opcode::Pong, b""));
                }
            }
            for piece in sent.chunks(chunk) {
                scenario.client.send_bytes(piece).await;
                tokio::task::yield_now().await;
            }
            for (parts, text) in &messages {
                let mut heard: Vec<u8> = Vec::new();
                let opcode = loop {
                    let received = scenario.upstream.frame().await.unwrap();
                    heard.extend(&received.payload);
                    if received.fin {
                        break received.opcode;
                    }
                };
                assert_eq!(heard, parts.concat());
                assert_eq!(opcode, if *text { Opcode::Text } else { Opcode::Binary });
            }
        });
    }
}
