//! Live Music: prompts and a config steer a piece while it plays.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::{Value, json};

use super::audio::Audio;
use super::{Version, model, open, parse};
use crate::client::Client;
use crate::error::Error;
use crate::websocket::WebSocket;

/// How Live Music is connected to.
#[derive(Debug, Clone)]
pub struct Music {
    client: Client,
    version: Version,
}

/// An open Live Music session. [`MusicSession::receive`] has to be called again and again, and may stand in a `select!`.
#[derive(Debug)]
pub struct MusicSession {
    socket: WebSocket,
    events: VecDeque<MusicEvent>,
}

/// What the music is to be like, with its weight against the other prompts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightedPrompt {
    /// Such as `minimal techno`.
    pub text: String,
    /// Not 0.
    pub weight: f64,
}

/// How the music is made. What is not set is left to the model; a config replaces the last one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MusicConfig {
    /// 60 to 200 beats a minute; heard after [`MusicSession::reset_context`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bpm: Option<u32>,
    /// 0 to 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 6: how closely the prompts are followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub density: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brightness: Option<f64>,
    /// 1 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// The same seed makes the same music.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Such as `C_MAJOR_A_MINOR`; heard after [`MusicSession::reset_context`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
    /// Such as `QUALITY`, `DIVERSITY` or `VOCALIZATION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub music_generation_mode: Option<String>,
    /// No bass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mute_bass: Option<bool>,
    /// No drums.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mute_drums: Option<bool>,
    /// Nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_bass_and_drums: Option<bool>,
}

/// Something that happened in a Live Music session.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MusicEvent {
    /// Music: 48 kHz, two channels.
    Audio(Audio),
    /// A prompt is not taken.
    FilteredPrompt {
        /// Which.
        text: String,
        /// Why.
        reason: String,
    },
    /// What this version does not know, as it came.
    Other {
        /// Where it stood.
        name: String,
        /// What it was.
        value: Value,
    },
}

impl Music {
    pub(crate) fn new(client: Client, version: Option<Version>) -> Self {
        Self { client, version: version.unwrap_or(Version::V1Alpha) }
    }

    /// Opens a session with a model such as `lyria-realtime-exp`. It is silent until [`MusicSession::play`].
    ///
    /// # Errors
    /// Any [`Error`]; [`Error::Closed`] is how Google and Keymoat refuse.
    pub async fn connect(&self, name: &str) -> Result<MusicSession, Error> {
        let setup = json!({ "model": model(name) });
        let socket = Box::pin(open(&self.client, self.version, "BidiGenerateMusic", &setup)).await?;
        Ok(MusicSession { socket, events: VecDeque::new() })
    }
}

impl WeightedPrompt {
    /// A prompt of weight 1.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), weight: 1.0 }
    }
}

impl MusicSession {
    /// Replaces the prompts.
    ///
    /// # Errors
    /// [`Error::Closed`] and what else a connection fails with.
    pub async fn set_prompts(&mut self, prompts: &[WeightedPrompt]) -> Result<(), Error> {
        self.send(json!({"clientContent": {"weightedPrompts": prompts}})).await
    }

    /// Replaces the config.
    ///
    /// # Errors
    /// As [`MusicSession::set_prompts`].
    pub async fn set_config(&mut self, config: &MusicConfig) -> Result<(), Error> {
        self.send(json!({ "musicGenerationConfig": config })).await
    }

    /// Plays, or goes on after a pause.
    ///
    /// # Errors
    /// As [`MusicSession::set_prompts`].
    pub async fn play(&mut self) -> Result<(), Error> {
        self.control("PLAY").await
    }

    /// Falls silent and keeps the place.
    ///
    /// # Errors
    /// As [`MusicSession::set_prompts`].
    pub async fn pause(&mut self) -> Result<(), Error> {
        self.control("PAUSE").await
    }

    /// Falls silent and forgets the place.
    ///
    /// # Errors
    /// As [`MusicSession::set_prompts`].
    pub async fn stop(&mut self) -> Result<(), Error> {
        self.control("STOP").await
    }

    /// Forgets what was played and begins anew, without a pause.
    ///
    /// # Errors
    /// As [`MusicSession::set_prompts`].
    pub async fn reset_context(&mut self) -> Result<(), Error> {
        self.control("RESET_CONTEXT").await
    }

    /// What happens next. Nothing is lost when this is dropped.
    ///
    /// # Errors
    /// [`Error::Closed`] when the session is over.
    pub async fn receive(&mut self) -> Result<MusicEvent, Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let message = self.socket.receive().await?;
            read(parse(&message)?, &mut self.events);
        }
    }

    /// Ends the session.
    pub async fn close(self) {
        self.socket.close().await;
    }

    async fn control(&mut self, word: &str) -> Result<(), Error> {
        self.send(json!({ "playbackControl": word })).await
    }

    async fn send(&mut self, message: Value) -> Result<(), Error> {
        self.socket.send_text(message.to_string()).await
    }
}

fn read(message: Value, events: &mut VecDeque<MusicEvent>) {
    let Value::Object(mut members) = message else {
        events.push_back(MusicEvent::Other { name: String::new(), value: message });
        return;
    };
    if let Some(Value::Object(mut content)) = members.remove("serverContent") {
        if let Some(Value::Array(chunks)) = content.remove("audioChunks") {
            let name = "serverContent.audioChunks";
            let event = |chunk: Value| match Audio::read(&chunk) {
                Some(audio) => MusicEvent::Audio(audio),
                None => MusicEvent::Other { name: name.to_owned(), value: chunk },
            };
            events.extend(chunks.into_iter().map(event));
        }
        let other = |(name, value)| MusicEvent::Other { name: format!("serverContent.{name}"), value };
        events.extend(content.into_iter().map(other));
    }
    if let Some(filtered) = members.remove("filteredPrompt") {
        let text = |name: &str| filtered.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        events.push_back(MusicEvent::FilteredPrompt { text: text("text"), reason: text("filteredReason") });
    }
    events.extend(members.into_iter().map(|(name, value)| MusicEvent::Other { name, value }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sound_filtered_prompts_and_the_unknown() {
        let chunk = json!({"data": "AQACAA==", "mimeType": "audio/l16;rate=48000;channels=2"});
        let message = json!({
            "serverContent": {"audioChunks": [chunk, {"data": "?"}], "more": 1},
            "filteredPrompt": {"text": "x", "filteredReason": "y"},
            "else": 2,
        });
        let mut events = VecDeque::new();
        read(message, &mut events);
        let names: Vec<_> = events
            .iter()
            .map(|event| match event {
                MusicEvent::Audio(audio) => audio.mime_type.as_str(),
                MusicEvent::FilteredPrompt { reason, .. } => reason,
                MusicEvent::Other { name, .. } => name,
            })
            .collect();
        let expected =
            ["audio/l16;rate=48000;channels=2", "serverContent.audioChunks", "serverContent.more", "y", "else"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_config_holds_only_what_was_set() {
        let config = MusicConfig { bpm: Some(90), mute_bass: Some(true), top_k: Some(3), ..MusicConfig::default() };
        assert_eq!(json!(config), json!({"bpm": 90, "muteBass": true, "topK": 3}));
    }
}
