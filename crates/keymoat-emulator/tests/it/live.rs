//! Live sessions: setup, turns, tools, interruption, resumption, the end.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keymoat_emulator::Frames;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Bench, Client, WITH_KEY, live, text_setup, user};

async fn open(bench: &Bench) -> Client {
    bench.websocket(&live("v1beta", "BidiGenerateContent"), &WITH_KEY).await.unwrap()
}

async fn refused_first(message: &str) -> (u16, String) {
    let bench = Bench::start().await;
    let mut client = open(&bench).await;
    futures_util::SinkExt::send(&mut client.stream, Message::text(message)).await.unwrap();
    client.closed().await
}

/// The PCM of every message, joined.
fn pcm(messages: &[Value]) -> Vec<u8> {
    let parts = messages.iter().filter_map(|message| message.pointer("/serverContent/modelTurn/parts/0/inlineData"));
    parts
        .flat_map(|data| {
            assert_eq!(data["mimeType"], "audio/pcm;rate=24000");
            STANDARD.decode(data["data"].as_str().unwrap()).unwrap()
        })
        .collect()
}

fn audio(bytes: &[u8]) -> Value {
    json!({"realtimeInput": {"audio": {"data": STANDARD.encode(bytes), "mimeType": "audio/pcm;rate=16000"}}})
}

/// A loud square wave at 16 kHz.
fn loud(millis: usize) -> Vec<u8> {
    (0..millis * 16).flat_map(|n| if n / 20 % 2 == 0 { 8000_i16 } else { -8000 }.to_le_bytes()).collect()
}

#[tokio::test]
async fn a_text_turn_is_answered_in_pieces_then_completed_with_usage() {
    let bench = Bench::start().await;
    let mut client = bench.live(text_setup(json!({"systemInstruction": {"parts": [{"text": "be brief"}]}}))).await;
    let (text, messages) = client.say("hello emulator").await;
    assert_eq!(text, "Turn 1: you said \"hello emulator\", that is 2 words. My instruction is \"be brief\".");
    assert!(messages.len() > 4, "{} messages", messages.len());
    let [.., generation, turn] = messages.as_slice() else { panic!("too few messages") };
    assert_eq!(generation, &json!({"serverContent": {"generationComplete": true}}));
    assert_eq!(turn["usageMetadata"]["promptTokenCount"], 2);
    let (text, _) = client.say("again").await;
    assert!(text.contains("Turn 2") && text.contains("Before that I heard \"hello emulator\""), "{text}");
}

#[tokio::test]
async fn answers_come_in_binary_frames_unless_text_is_asked_for() {
    for (frames, binary) in [(Frames::Binary, true), (Frames::Text, false)] {
        let bench = Bench::with(|options| options.gemini.answers = frames).await;
        let mut client = open(&bench).await;
        client.send(json!({"setup": {"model": "models/gemini-x"}})).await;
        assert_eq!(client.next().await.is_binary(), binary);
    }
}

#[tokio::test]
async fn the_setup_may_come_in_a_binary_frame_and_in_snake_case() {
    let bench = Bench::start().await;
    let mut client = open(&bench).await;
    let setup = json!({"setup": {"model": "models/gemini-x", "generation_config": {"response_modalities": ["TEXT"]}}});
    futures_util::SinkExt::send(&mut client.stream, Message::binary(setup.to_string().into_bytes())).await.unwrap();
    assert!(client.receive().await.get("setupComplete").is_some());
    let turns = json!([{"role": "user", "parts": [{"text": "hi"}]}]);
    client.send(json!({"client_content": {"turns": turns, "turn_complete": true}})).await;
    assert!(client.turn().await.0.contains("you said \"hi\""));
}

#[tokio::test]
async fn the_first_message_must_be_a_good_setup() {
    for (message, code, reason) in [
        (user("hi").to_string(), 1007, "setup must be the first message"),
        ("not json".to_owned(), 1007, "Invalid JSON payload"),
        ("{}".to_owned(), 1007, "empty"),
        (json!({"setup": null}).to_string(), 1007, "empty"),
        (
            json!({"setup": {"model": "models/gemini-x", "voice": 1}}).to_string(),
            1007,
            "Unknown name \"voice\" at 'setup'",
        ),
        (json!({"setup": {"model": "models/gemini-x"}, "clientContent": {}}).to_string(), 1007, "oneof"),
        (json!({"hello": {}}).to_string(), 1007, "Unknown name \"hello\""),
        (json!({"setup": {"model": "models/palm-2"}}).to_string(), 1008, "models/palm-2 is not found"),
        (json!({"setup": {"model": "gemini-x"}}).to_string(), 1008, "is not found"),
    ] {
        let (closed, text) = refused_first(&message).await;
        assert!(closed == code && text.contains(reason), "{message}: {closed} {text}");
    }
}

#[tokio::test]
async fn a_second_setup_closes_the_connection() {
    let bench = Bench::start().await;
    let mut client = bench.live(text_setup(json!({}))).await;
    client.send(json!({"setup": text_setup(json!({}))})).await;
    let (code, reason) = client.closed().await;
    assert!(code == 1007 && reason.contains("only the first"), "{code} {reason}");
}

#[tokio::test]
async fn an_audio_session_speaks_real_pcm_and_writes_it_out() {
    let bench = Bench::start().await;
    let transcribed =
        json!({"model": "models/gemini-x", "inputAudioTranscription": {}, "outputAudioTranscription": {}});
    let mut client = bench.live(transcribed).await;
    client.send(audio(&[0; 3200])).await;
    client.send(json!({"realtimeInput": {"audioStreamEnd": true}})).await;
    let (_, messages) = client.turn().await;
    assert_eq!(messages[0]["serverContent"]["inputTranscription"]["text"], "(100 ms of audio)");
    let said: String = messages
        .iter()
        .filter_map(|message| message.pointer("/serverContent/outputTranscription/text")?.as_str())
        .collect();
    assert_eq!(said, "Turn 1: I heard 100 ms of audio at 16000 Hz.");
    let pcm = pcm(&messages);
    // Eleven words of 120 ms at 24 kHz, two bytes a sample.
    assert_eq!(pcm.len(), 11 * 2880 * 2);
    let loudest = pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]).unsigned_abs()).max();
    assert!(loudest.unwrap() > 8000, "{loudest:?}");
}

#[tokio::test]
async fn silence_after_speech_ends_the_turn_by_itself() {
    let bench = Bench::start().await;
    let mut client = bench.live(json!({"model": "models/gemini-x", "outputAudioTranscription": {}})).await;
    client.send(audio(&loud(200))).await;
    for _ in 0..5 {
        client.send(audio(&[0; 3200])).await;
    }
    let (_, messages) = client.turn().await;
    assert_eq!(messages[0]["serverContent"]["outputTranscription"]["text"], "Turn 1: I ");
}

#[tokio::test]
async fn activity_is_marked_by_the_client_only_when_detection_is_off() {
    let bench = Bench::start().await;
    let mut client = bench.live(json!({"model": "models/gemini-x"})).await;
    client.send(json!({"realtime_input": {"activityStart": {}}})).await;
    let (code, reason) = client.closed().await;
    assert!(code == 1007 && reason.starts_with("Explicit activity control is not supported"), "{reason}");

    let manual = json!({"realtimeInputConfig": {"automaticActivityDetection": {"disabled": true}}});
    let mut client = bench.live(text_setup(manual)).await;
    client.send(json!({"realtime_input": {"activityStart": {}}})).await;
    client.send(audio(&loud(40))).await;
    client.send(json!({"realtime_input": {"activityEnd": {}}})).await;
    assert_eq!(client.turn().await.0, "Turn 1: I heard 40 ms of audio at 16000 Hz.");
}

#[tokio::test]
async fn realtime_text_is_answered_and_wrong_media_is_refused() {
    let bench = Bench::start().await;
    let mut client = bench.live(text_setup(json!({}))).await;
    client.send(json!({"realtime_input": {"text": "hey"}})).await;
    assert!(client.turn().await.0.contains("you said \"hey\""));
    client.send(json!({"realtimeInput": {"audio": {"data": "AAAA", "mimeType": "audio/mp3"}}})).await;
    assert_eq!(client.closed().await, (1007, "Unsupported MIME type for audio: audio/mp3".to_owned()));
    let mut client = bench.live(text_setup(json!({}))).await;
    client.send(json!({"realtimeInput": {"audio": {"data": "?!", "mimeType": "audio/pcm"}}})).await;
    assert!(client.closed().await.1.contains("Base64"));
}

fn tools() -> Value {
    let city = json!({"type": "OBJECT", "properties": {"city": {"type": "STRING"}}});
    json!([{"functionDeclarations": [{"name": "weather", "parameters": city}]}])
}

#[tokio::test]
async fn a_function_that_is_named_is_called_and_its_answer_goes_on() {
    let bench = Bench::start().await;
    let mut client = bench.live(text_setup(json!({"tools": tools()}))).await;
    client.send(user("weather in Rome")).await;
    let call = client.receive().await;
    let expected = json!([{"id": "call-1", "name": "weather", "args": {"city": "weather in Rome"}}]);
    assert_eq!(call["toolCall"]["functionCalls"], expected);
    let response = json!({"id": "call-1", "name": "weather", "response": {"sky": "blue"}});
    client.send(json!({"tool_response": {"functionResponses": [response]}})).await;
    assert_eq!(client.turn().await.0, "weather answered {\"sky\":\"blue\"}.");
    client.send(json!({"toolResponse": {"functionResponses": [{"id": "call-9"}]}})).await;
    assert!(client.closed().await.1.contains("no open call `call-9`"));
}

#[tokio::test]
async fn an_interruption_cancels_open_calls() {
    let bench = Bench::start().await;
    let mut client = bench.live(text_setup(json!({"tools": tools()}))).await;
    client.send(user("weather please")).await;
    assert!(client.receive().await.get("toolCall").is_some());
    client.send(user("never mind")).await;
    assert_eq!(client.receive().await, json!({"serverContent": {"interrupted": true}}));
    assert_eq!(client.receive().await, json!({"toolCallCancellation": {"ids": ["call-1"]}}));
    assert_eq!(client.receive().await, json!({"serverContent": {"turnComplete": true}}));
    assert!(client.turn().await.0.contains("never mind"));
}

#[tokio::test]
async fn speaking_interrupts_a_long_answer() {
    let bench = Bench::with(|options| options.gemini.speed = 1).await;
    let mut client = bench.live(json!({"model": "models/gemini-x"})).await;
    client.send(user("tell me a long story")).await;
    client.until("/serverContent/modelTurn").await;
    client.send(audio(&loud(40))).await;
    let messages = client.until("/serverContent/turnComplete").await;
    assert!(messages.iter().any(|message| message.pointer("/serverContent/interrupted") == Some(&json!(true))));
    assert!(messages.iter().all(|message| message.pointer("/serverContent/generationComplete").is_none()));
}

#[tokio::test]
async fn a_context_update_changes_the_instruction_and_the_tools() {
    let bench = Bench::start().await;
    let mut client = bench.live(text_setup(json!({"systemInstruction": {"parts": [{"text": "old"}]}}))).await;
    let instruction = json!({"parts": [{"text": "new"}], "role": "user"});
    client.send(json!({"contextUpdate": {"systemInstruction": instruction, "tools": {"tools": tools()}}})).await;
    assert!(client.say("hi").await.0.contains("My instruction is \"new\""));
    client.send(user("weather")).await;
    assert!(client.receive().await.get("toolCall").is_some());
}

#[tokio::test]
async fn the_effective_setup_is_shown_on_request() {
    let bench = Bench::start().await;
    let setup = json!({"model": "models/gemini-x", "generation_config": {"response_modalities": ["TEXT"], "top_k": 3}});
    let mut client = bench.live(setup).await;
    let (text, _) = client.say("show setup").await;
    let shown = text.split_once("My setup is ").unwrap().1;
    let expected = json!({"model": "models/gemini-x", "generationConfig": {"responseModalities": ["TEXT"], "topK": 3}});
    assert_eq!(serde_json::from_str::<Value>(shown).unwrap(), expected);
}

async fn handle_after_a_turn(client: &mut Client) -> String {
    client.say("remember me").await;
    let update = client.receive().await;
    assert_eq!(update["sessionResumptionUpdate"]["resumable"], true);
    update["sessionResumptionUpdate"]["newHandle"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_handle_resumes_the_context_on_a_new_connection() {
    let bench = Bench::start().await;
    let mut client = bench.live(text_setup(json!({"sessionResumption": {}}))).await;
    let handle = handle_after_a_turn(&mut client).await;
    client.leave().await;
    let mut client = bench.live(text_setup(json!({"sessionResumption": {"handle": handle}}))).await;
    let (text, _) = client.say("who am I").await;
    assert!(text.contains("Turn 2") && text.contains("Before that I heard \"remember me\""), "{text}");
}

#[tokio::test]
async fn a_resumption_is_refused_while_the_old_socket_is_open() {
    let bench = Bench::start().await;
    let mut first = bench.live(text_setup(json!({"sessionResumption": {}}))).await;
    let handle = handle_after_a_turn(&mut first).await;
    let mut second = open(&bench).await;
    second.send(json!({"setup": text_setup(json!({"sessionResumption": {"handle": handle}}))})).await;
    assert_eq!(second.closed().await.0, 1011);
    let mut third = open(&bench).await;
    third.send(json!({"setup": text_setup(json!({"sessionResumption": {"handle": "made up"}}))})).await;
    assert_eq!(third.closed().await, (1008, "BidiGenerateContent session not found".to_owned()));
}

#[tokio::test]
async fn a_transparent_resumption_names_the_last_message_that_was_consumed() {
    let bench = Bench::start().await;
    let mut client = bench.live(text_setup(json!({"sessionResumption": {"transparent": true}}))).await;
    client.say("one").await;
    let update = client.receive().await;
    assert_eq!(update["sessionResumptionUpdate"]["lastConsumedClientMessageIndex"], "1");
}

#[tokio::test]
async fn the_end_of_a_connection_is_announced() {
    let bench = Bench::with(|options| {
        options.gemini.connection_life = Duration::from_secs(1);
        options.gemini.go_away_before = Duration::from_millis(900);
    })
    .await;
    let mut client = bench.live(text_setup(json!({}))).await;
    let left = client.receive().await["goAway"]["timeLeft"].as_str().unwrap().to_owned();
    let seconds: f64 = left.strip_suffix('s').unwrap().parse().unwrap();
    assert!(seconds > 0.0 && seconds <= 0.9, "{left}");
    let (code, reason) = client.closed().await;
    assert!(code == 1011 && reason.starts_with("Deadline expired"), "{code} {reason}");
}

#[tokio::test]
async fn a_pong_can_be_late() {
    let bench = Bench::with(|options| options.pong_delay = Duration::from_secs(1)).await;
    let mut client = bench.live(text_setup(json!({}))).await;
    let began = tokio::time::Instant::now();
    futures_util::SinkExt::send(&mut client.stream, Message::Ping("late".into())).await.unwrap();
    client.say("in between").await;
    assert!(began.elapsed() < Duration::from_secs(1), "the answer does not wait for the pong");
    assert_eq!(client.next().await, Message::Pong("late".into()));
    assert!(began.elapsed() >= Duration::from_secs(1));
}
