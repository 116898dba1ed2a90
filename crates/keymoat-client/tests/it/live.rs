//! Live: text, sound, pictures, tools, interruption.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use keymoat_client::gemini::{Event, FunctionResponse, Setup, Version};
use keymoat_client::{Credential, Error, Limits, Meaning};
use serde_json::json;

use crate::support::{Bench, KEY, say, text, text_setup, turn};

#[tokio::test]
async fn a_text_turn_is_answered_and_counted() {
    let bench = Bench::start().await;
    let setup = text_setup().system_instruction("be brief");
    let mut session = bench.gemini().live().connect(setup).await.unwrap();
    session.send_text("hello emulator").await.unwrap();
    let events = turn(&mut session).await;
    assert_eq!(text(&events), "Turn 1: you said \"hello emulator\", that is 2 words. My instruction is \"be brief\".");
    assert!(events.iter().any(|event| matches!(event, Event::Usage(usage) if usage.prompt_tokens == 2)));
    assert!(say(&mut session, "again").await.contains("Turn 2"));
    session.close().await;
}

#[tokio::test]
async fn the_key_is_in_its_header_and_nowhere_else() {
    let bench = Bench::start().await;
    let mut session = bench.gemini().live().connect(text_setup()).await.unwrap();
    say(&mut session, "hi").await;
    let request = bench.last();
    assert_eq!(request.path, "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent");
    assert_eq!(request.query, None);
    let places: Vec<_> = request.credentials.iter().map(|found| found.place.as_str()).collect();
    assert_eq!(places, ["header:x-goog-api-key"]);
    assert!(request.messages.iter().all(|message| !format!("{message:?}").contains(KEY)));
}

#[tokio::test]
async fn sound_goes_in_at_16_khz_and_comes_out_at_24() {
    let bench = Bench::start().await;
    let setup = Setup::new("gemini-x").transcribe_input().transcribe_output().voice("Puck");
    let mut session = bench.gemini().live().connect(setup).await.unwrap();
    for _ in 0..5 {
        session.send_audio(&[0; 640]).await.unwrap();
    }
    session.send_video("image/jpeg", b"made up").await.unwrap();
    session.end_audio().await.unwrap();
    let events = turn(&mut session).await;
    assert!(events.contains(&Event::InputTranscription("(100 ms of audio)".to_owned())), "{events:?}");
    let sound: Vec<_> =
        events.iter().filter_map(|event| if let Event::Audio(audio) = event { Some(audio) } else { None }).collect();
    assert!(sound.iter().all(|audio| audio.rate() == Some(24_000) && audio.channels() == 1));
    assert!(sound.iter().flat_map(|audio| audio.samples()).any(|sample| sample != 0));
    assert!(events.iter().any(|event| matches!(event, Event::OutputTranscription(_))));
}

#[tokio::test]
async fn functions_are_called_and_answered() {
    let bench = Bench::start().await;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let setup = text_setup().function("get_weather", "tells the weather", parameters);
    let mut session = bench.gemini().live().connect(setup).await.unwrap();
    session.send_text("please get_weather now").await.unwrap();
    let Event::ToolCall(calls) = session.receive().await.unwrap() else { panic!("no call") };
    assert_eq!(calls[0].name, "get_weather");
    let response =
        FunctionResponse { id: calls[0].id.clone(), name: "get_weather".into(), response: json!({"sky": "azure"}) };
    session.send_tool_response(vec![response]).await.unwrap();
    assert!(text(&turn(&mut session).await).contains("azure"));
}

#[tokio::test]
async fn speaking_over_the_model_interrupts_it() {
    let bench = Bench::with(|options| options.gemini.speed = 1).await;
    let mut session = bench.gemini().live().connect(text_setup()).await.unwrap();
    session.send_text("say something long").await.unwrap();
    assert!(matches!(session.receive().await.unwrap(), Event::Text(_)));
    session.send_text("stop").await.unwrap();
    let events = turn(&mut session).await;
    assert!(events.contains(&Event::Interrupted) && !events.contains(&Event::GenerationComplete), "{events:?}");
}

#[tokio::test]
async fn a_wrong_key_is_told_with_the_server_s_reason() {
    let bench = Bench::start().await;
    let client = bench.client(Credential::api_key("another-key"));
    let Err(Error::Closed(close)) = client.live().connect(text_setup()).await else { panic!("not refused") };
    assert_eq!((close.code, close.meaning()), (1007, Meaning::Over));
    assert!(close.reason.contains("API key not valid"), "{close}");
}

#[tokio::test]
async fn a_version_that_is_not_served_is_an_http_refusal() {
    let bench = Bench::start().await;
    let refused = bench.gemini().live().version(Version::V1).connect(text_setup()).await;
    let Err(Error::Refused(refused)) = refused else { panic!("not refused") };
    assert_eq!((refused.status, refused.code.as_deref()), (404, Some("NOT_FOUND")));
    assert!(refused.url.ends_with(".v1.GenerativeService.BidiGenerateContent"), "{refused}");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_sent_and_the_session_goes_on() {
    let bench = Bench::start().await;
    let limits = Limits { message_bytes_max: 4096, ..Limits::default() };
    let client =
        keymoat_client::Client::builder(bench.endpoint(), Credential::api_key(KEY)).limits(limits).build().unwrap();
    let mut session = client.live().connect(text_setup()).await.unwrap();
    let refused = session.send_audio(&[0; 4096]).await;
    assert!(matches!(refused, Err(Error::TooLarge { bytes_max: 4096, .. })), "{refused:?}");
    assert!(say(&mut session, "hi").await.contains("Turn 1"));
}
