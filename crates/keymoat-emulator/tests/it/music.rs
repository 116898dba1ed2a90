//! Live Music: playing, steering, filtering.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keymoat_emulator::FILTERED_WORD;
use serde_json::{Value, json};

use crate::support::{Bench, Client, WITH_KEY, live};

async fn open(bench: &Bench) -> Client {
    let mut client = bench.websocket(&live("v1alpha", "BidiGenerateMusic"), &WITH_KEY).await.unwrap();
    client.send(json!({"setup": {"model": "models/lyria-realtime-exp"}})).await;
    assert!(client.receive().await.get("setupComplete").is_some());
    client
}

async fn bench() -> Bench {
    Bench::with(|options| {
        options.gemini.music_chunk = Duration::from_millis(100);
        options.gemini.speed = 10;
    })
    .await
}

fn chunk(message: &Value) -> Vec<u8> {
    let chunk = &message["serverContent"]["audioChunks"][0];
    assert_eq!(chunk["mimeType"], "audio/l16;rate=48000;channels=2");
    STANDARD.decode(chunk["data"].as_str().unwrap()).unwrap()
}

async fn first_chunk(messages: &[Value]) -> Vec<u8> {
    let bench = bench().await;
    let mut client = open(&bench).await;
    for message in messages {
        client.send(message.clone()).await;
    }
    client.send(json!({"playbackControl": "PLAY"})).await;
    chunk(&client.receive().await)
}

#[tokio::test]
async fn plays_stereo_pcm_that_depends_on_prompts_and_tempo() {
    let techno = json!({"clientContent": {"weightedPrompts": [{"text": "techno", "weight": 1.0}]}});
    let harp = json!({"client_content": {"weighted_prompts": [{"text": "harp", "weight": 1}]}});
    let slow = json!({"musicGenerationConfig": {"bpm": 70, "temperature": 1.0}});
    let plain = first_chunk(std::slice::from_ref(&techno)).await;
    // 100 ms at 48 kHz, two channels of two bytes.
    assert_eq!(plain.len(), 4800 * 4);
    assert!(plain.iter().any(|byte| *byte != 0));
    assert_eq!(plain, first_chunk(std::slice::from_ref(&techno)).await);
    assert_ne!(plain, first_chunk(&[harp]).await);
    assert_ne!(plain, first_chunk(&[techno, slow]).await);
}

#[tokio::test]
async fn pause_and_stop_end_the_sound() {
    let bench = bench().await;
    let mut client = open(&bench).await;
    client.send(json!({"playbackControl": "PLAY"})).await;
    let first = chunk(&client.receive().await);
    client.send(json!({"playbackControl": "STOP"})).await;
    // The filtered prompt's answer marks the point where everything before it was taken.
    client.send(json!({"clientContent": {"weightedPrompts": [{"text": FILTERED_WORD}]}})).await;
    let filtered = client.until("/filteredPrompt").await;
    assert_eq!(filtered.last().unwrap()["filteredPrompt"]["text"], FILTERED_WORD);
    let silence = tokio::time::timeout(Duration::from_millis(100), client.receive()).await;
    assert!(silence.is_err(), "something was played after STOP");
    client.send(json!({"playbackControl": "PLAY"})).await;
    assert_eq!(chunk(&client.receive().await), first, "play begins from the start after STOP");
}

#[tokio::test]
async fn refuses_a_model_that_makes_no_music_and_a_missing_setup() {
    let bench = bench().await;
    let target = live("v1beta", "BidiGenerateMusic");
    for (message, code) in [
        (json!({"setup": {"model": "models/gemini-x"}}), 1008),
        (json!({"playbackControl": "PLAY"}), 1007),
        (json!({"setup": {"model": "models/lyria-x", "bpm": 90}}), 1007),
    ] {
        let mut client = bench.websocket(&target, &WITH_KEY).await.unwrap();
        client.send(message).await;
        assert_eq!(client.closed().await.0, code);
    }
}
