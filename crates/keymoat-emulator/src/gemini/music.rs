//! Live Music: prompts and a config steer a piece that is made sample by sample while it plays.
//!
//! ```text
//! stopped ──PLAY──▶ playing ──PAUSE──▶ paused ──PLAY──▶ playing
//!    ▲                 └────────STOP──────┴──────────────┘
//! ```
//! As at Google a new tempo is heard after `RESET_CONTEXT` or when play starts from the beginning.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{field, invalid, live, session, setup};
use crate::emulator::Emulator;
use crate::sound::{MUSIC_RATE, Music};
use crate::websocket::{End, Received, Socket};

/// A prompt that holds this word is answered with `filteredPrompt`.
pub const FILTERED_WORD: &str = "forbidden-prompt";
/// How many prompts are mixed at most.
const PROMPTS_MAX: usize = 16;
/// The longest chunk: its message stays below the 1 MiB that the Python SDK takes.
const CHUNK_MILLIS_MAX: u64 = 4000;
const MESSAGES: [&str; 4] = ["setup", "clientContent", "musicGenerationConfig", "playbackControl"];
const CONFIG_MEMBERS: [&str; 12] = [
    "temperature",
    "topK",
    "seed",
    "guidance",
    "bpm",
    "density",
    "brightness",
    "scale",
    "muteBass",
    "muteDrums",
    "onlyBassAndDrums",
    "musicGenerationMode",
];

/// One piece of music being played.
#[derive(Debug)]
struct Player {
    playing: bool,
    frame: u64,
    bpm_wanted: f64,
    music: Music,
    filtered: Vec<Value>,
}

/// Serves a connection until it ends.
pub(crate) async fn run(emulator: &Emulator, socket: &mut Socket, version: &str) -> End {
    match serve(emulator, socket, version).await {
        Ok(()) => End::Gone,
        Err(end) => end,
    }
}

async fn serve(emulator: &Emulator, socket: &mut Socket, version: &str) -> Result<(), End> {
    let options = &emulator.gemini;
    let ends = Instant::now() + options.connection_life;
    let Some(first) = live::first_message(socket, ends).await? else { return Ok(()) };
    begin(&first, version)?;
    socket.send(&json!({"setupComplete": {}}), options.answers).await?;
    let mut player = Player::default();
    let mut next_at = Instant::now();
    let frames = (options.music_chunk.as_millis() as u64).clamp(1, CHUNK_MILLIS_MAX) * u64::from(MUSIC_RATE) / 1000;
    loop {
        tokio::select! {
            biased;
            () = sleep_until(ends) => {
                return Err(End::Close(1011, "Deadline expired before operation could complete.".to_owned()));
            }
            message = socket.receive() => {
                match message {
                    Received::Text(text) => player.take(text.as_bytes())?,
                    Received::Binary(bytes) => player.take(&bytes)?,
                    Received::Gone => return Ok(()),
                }
                for filtered in player.filtered.drain(..) {
                    socket.send(&filtered, options.answers).await?;
                }
            }
            () = sleep_until(next_at), if player.playing => {
                let chunk = player.next_chunk(frames);
                socket.send(&chunk, options.answers).await?;
                next_at = Instant::now() + options.paced(options.music_chunk);
            }
        }
    }
}

fn begin(first: &[u8], version: &str) -> Result<(), End> {
    let message = session::parse(first)?;
    let fields = field::object(&message, "", &MESSAGES)?;
    let (Some(setup), 1) = (fields.get("setup"), fields.len()) else {
        return Err(invalid("setup must be the first message of a session, and only the first."));
    };
    let setup = field::object(setup, "setup", &["model"])?;
    let model = field::string(&setup, "model", "setup")?.unwrap_or_default();
    setup::model(model, "models/lyria-", version).map(drop)
}

impl Default for Player {
    fn default() -> Self {
        let music = Music {
            bpm: 120.0,
            prompts: Vec::new(),
            brightness: 0.5,
            density: 0.5,
            mute_bass: false,
            mute_drums: false,
            only_bass_and_drums: false,
        };
        Self { playing: false, frame: 0, bpm_wanted: music.bpm, music, filtered: Vec::new() }
    }
}

impl Player {
    fn take(&mut self, message: &[u8]) -> Result<(), End> {
        let message = session::parse(message)?;
        let fields = field::object(&message, "", &MESSAGES)?;
        let mut fields = fields.into_iter();
        let (Some((name, content)), None) = (fields.next(), fields.next()) else {
            return Err(invalid("Request contains an invalid argument: a message has exactly one member."));
        };
        match name {
            "clientContent" => self.prompts(content),
            "musicGenerationConfig" => self.config(content),
            "playbackControl" => self.control(content),
            _ => Err(invalid("setup must be the first message of a session, and only the first.")),
        }
    }

    fn prompts(&mut self, content: &Value) -> Result<(), End> {
        let at = "client_content.weighted_prompts";
        let fields = field::object(content, "client_content", &["weightedPrompts"])?;
        let written = field::array(&fields, "weightedPrompts", "client_content")?;
        if written.is_empty() || written.len() > PROMPTS_MAX {
            return Err(invalid(format!("{at} takes 1 to {PROMPTS_MAX} prompts.")));
        }
        let mut prompts = Vec::new();
        for prompt in written {
            let prompt = field::object(prompt, at, &["text", "weight"])?;
            let text = field::string(&prompt, "text", at)?.unwrap_or_default();
            let weight = field::number(&prompt, "weight", at, -100.0, 100.0)?.unwrap_or(1.0);
            if weight == 0.0 {
                return Err(invalid(format!("{at}.weight must not be 0.")));
            }
            if text.contains(FILTERED_WORD) {
                let filtered = json!({"text": text, "filteredReason": "the prompt holds a word that is filtered"});
                self.filtered.push(json!({ "filteredPrompt": filtered }));
                continue;
            }
            prompts.push((text.to_owned(), weight));
        }
        self.music.prompts = prompts;
        Ok(())
    }

    fn config(&mut self, content: &Value) -> Result<(), End> {
        let at = "music_generation_config";
        let fields = field::object(content, at, &CONFIG_MEMBERS)?;
        field::number(&fields, "temperature", at, 0.0, 3.0)?;
        field::number(&fields, "topK", at, 1.0, 1000.0)?;
        field::number(&fields, "guidance", at, 0.0, 6.0)?;
        // A config replaces the last one: what it does not name goes back to its default.
        self.bpm_wanted = field::number(&fields, "bpm", at, 60.0, 200.0)?.unwrap_or(120.0);
        self.music.density = field::number(&fields, "density", at, 0.0, 1.0)?.unwrap_or(0.5);
        self.music.brightness = field::number(&fields, "brightness", at, 0.0, 1.0)?.unwrap_or(0.5);
        self.music.mute_bass = field::boolean(&fields, "muteBass", at)?;
        self.music.mute_drums = field::boolean(&fields, "muteDrums", at)?;
        self.music.only_bass_and_drums = field::boolean(&fields, "onlyBassAndDrums", at)?;
        Ok(())
    }

    fn control(&mut self, content: &Value) -> Result<(), End> {
        match content.as_str() {
            Some("PLAY") => {
                if self.frame == 0 {
                    self.music.bpm = self.bpm_wanted;
                }
                self.playing = true;
            }
            Some("PAUSE") => self.playing = false,
            Some("STOP") => {
                self.playing = false;
                self.frame = 0;
            }
            Some("RESET_CONTEXT") => {
                self.frame = 0;
                self.music.bpm = self.bpm_wanted;
            }
            _ => return Err(invalid("Invalid value at 'playback_control' (PlaybackControl).")),
        }
        Ok(())
    }

    fn next_chunk(&mut self, frames: u64) -> Value {
        let pcm = self.music.play(self.frame, frames);
        self.frame = self.frame.saturating_add(frames);
        let mime = format!("audio/l16;rate={MUSIC_RATE};channels=2");
        json!({"serverContent": {"audioChunks": [{"data": STANDARD.encode(pcm), "mimeType": mime}]}})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn player(messages: &[Value]) -> Player {
        let mut player = Player::default();
        for message in messages {
            player.take(message.to_string().as_bytes()).expect("the message is taken");
        }
        player
    }

    #[test]
    fn a_new_tempo_is_heard_after_a_reset() {
        let mut player = player(&[json!({"playbackControl": "PLAY"})]);
        player.next_chunk(10);
        player.take(br#"{"music_generation_config": {"bpm": 90}}"#).expect("is taken");
        assert_eq!((player.music.bpm, player.frame), (120.0, 10));
        player.take(br#"{"playbackControl": "RESET_CONTEXT"}"#).expect("is taken");
        assert_eq!((player.music.bpm, player.frame, player.playing), (90.0, 0, true));
    }

    #[test]
    fn pause_keeps_the_place_and_stop_forgets_it() {
        let mut player = player(&[json!({"playbackControl": "PLAY"})]);
        player.next_chunk(10);
        player.take(br#"{"playbackControl": "PAUSE"}"#).expect("is taken");
        assert_eq!((player.playing, player.frame), (false, 10));
        player.take(br#"{"playbackControl": "STOP"}"#).expect("is taken");
        assert_eq!(player.frame, 0);
    }

    #[test]
    fn a_forbidden_prompt_is_filtered_and_others_are_kept() {
        let prompts = json!([{"text": FILTERED_WORD}, {"text": "harp", "weight": 2}]);
        let player = player(&[json!({"clientContent": {"weightedPrompts": prompts}})]);
        assert_eq!(player.music.prompts, [("harp".to_owned(), 2.0)]);
        assert_eq!(player.filtered.len(), 1);
    }

    #[test]
    fn refuses_what_google_refuses() {
        for message in [
            json!({"clientContent": {"weightedPrompts": [{"text": "x", "weight": 0}]}}),
            json!({"musicGenerationConfig": {"bpm": 20}}),
            json!({"musicGenerationConfig": {"tempo": 90}}),
            json!({"playbackControl": "REWIND"}),
            json!({"setup": {"model": "models/lyria-x"}}),
            json!({}),
        ] {
            let refused = Player::default().take(message.to_string().as_bytes());
            assert!(matches!(refused, Err(End::Close(1007, _))), "{message}");
        }
    }
}
