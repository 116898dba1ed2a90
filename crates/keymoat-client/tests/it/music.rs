//! Live Music: playing, steering, filtering.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::time::Duration;

use keymoat_client::Error;
use keymoat_client::gemini::{Audio, MusicConfig, MusicEvent, MusicSession, WeightedPrompt};
use keymoat_emulator::FILTERED_WORD;

use crate::support::{Bench, PATIENCE};

async fn next(session: &mut MusicSession) -> MusicEvent {
    tokio::time::timeout(PATIENCE, session.receive()).await.expect("in time").unwrap()
}

async fn first(bench: &Bench, prompt: &str, config: &MusicConfig) -> Audio {
    let mut session = bench.gemini().live().music().connect("lyria-realtime-exp").await.unwrap();
    session.set_prompts(&[WeightedPrompt::new(prompt)]).await.unwrap();
    session.set_config(config).await.unwrap();
    session.play().await.unwrap();
    let MusicEvent::Audio(audio) = next(&mut session).await else { panic!("no music") };
    session.close().await;
    audio
}

async fn bench() -> Bench {
    Bench::with(|options| options.gemini.music_chunk = Duration::from_millis(100)).await
}

#[tokio::test]
async fn plays_what_prompts_and_config_ask_for() {
    let bench = bench().await;
    let (plain, slow) = (MusicConfig::default(), MusicConfig { bpm: Some(70), ..MusicConfig::default() });
    let techno = first(&bench, "techno", &plain).await;
    assert_eq!((techno.rate(), techno.channels(), techno.samples().count()), (Some(48_000), 2, 9600));
    assert_eq!(techno, first(&bench, "techno", &plain).await);
    assert_ne!(techno, first(&bench, "harp", &plain).await);
    assert_ne!(techno, first(&bench, "techno", &slow).await);
    let request = bench.last();
    assert!(request.path.ends_with(".v1alpha.GenerativeService.BidiGenerateMusic") && request.query.is_none());
}

#[tokio::test]
async fn stop_begins_anew_and_a_filtered_prompt_is_told() {
    let bench = Bench::with(|options| {
        options.gemini.music_chunk = Duration::from_millis(100);
        options.gemini.speed = 10;
    })
    .await;
    let mut session = bench.gemini().live().music().connect("lyria-realtime-exp").await.unwrap();
    session.play().await.unwrap();
    let first = next(&mut session).await;
    session.stop().await.unwrap();
    session.set_prompts(&[WeightedPrompt::new(FILTERED_WORD)]).await.unwrap();
    loop {
        if let MusicEvent::FilteredPrompt { text, .. } = next(&mut session).await {
            assert_eq!(text, FILTERED_WORD);
            break;
        }
    }
    session.play().await.unwrap();
    assert_eq!(next(&mut session).await, first);
    session.pause().await.unwrap();
    session.reset_context().await.unwrap();
}

#[tokio::test]
async fn another_model_is_refused() {
    let refused = bench().await.gemini().live().music().connect("gemini-x").await;
    assert!(matches!(refused, Err(Error::Closed(close)) if close.code == 1008));
}
