//! What the user said by microphone and camera in one turn, and where speech begins and ends.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::{field, invalid};
use crate::sound;
use crate::websocket::End;

/// So much silence after speech ends the user's turn.
const SILENCE_MILLIS: u64 = 500;
/// Protobuf's JSON takes both alphabets, padded or not.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const PLAIN: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The user's speech and pictures in this turn.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    bytes: u64,
    rate: u64,
    pictures: u64,
    speaking: bool,
    silent_millis: u64,
}

/// What a piece of audio changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Speech began.
    Began,
    /// Speech was followed by enough silence.
    Ended,
}

impl Heard {
    /// Takes a `Blob` of PCM.
    pub(crate) fn audio(&mut self, value: &Value) -> Result<Change, End> {
        let (kind, pcm) = blob(value, "realtime_input.audio")?;
        let Some(parameters) = kind.strip_prefix("audio/pcm") else {
            return Err(unsupported("audio", &kind));
        };
        let rate = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("rate="));
        self.rate = rate.and_then(|rate| rate.parse().ok()).unwrap_or(16_000_u64).clamp(8_000, 192_000);
        let bytes = pcm.len() as u64;
        self.bytes = self.bytes.saturating_add(bytes);
        if sound::is_loud(&pcm) {
            self.silent_millis = 0;
            return Ok(if std::mem::replace(&mut self.speaking, true) { Change::None } else { Change::Began });
        }
        if self.speaking {
            self.silent_millis = self.silent_millis.saturating_add(millis(bytes, self.rate));
        }
        Ok(if self.silent_millis >= SILENCE_MILLIS { Change::Ended } else { Change::None })
    }

    /// Takes a `Blob` of one picture.
    pub(crate) fn picture(&mut self, value: &Value) -> Result<(), End> {
        let (kind, _) = blob(value, "realtime_input.video")?;
        if !kind.starts_with("image/") {
            return Err(unsupported("video", &kind));
        }
        self.pictures = self.pictures.saturating_add(1);
        Ok(())
    }

    /// Whether no audio came.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How much audio came.
    pub(crate) fn millis(&self) -> u64 {
        millis(self.bytes, self.rate)
    }

    /// The sampling rate of the last piece.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// What Google counts: 25 tokens for a second of audio and 258 for a picture.
    pub(crate) fn tokens(&self) -> usize {
        let tokens = (self.millis() / 40).saturating_add(self.pictures.saturating_mul(258));
        usize::try_from(tokens).unwrap_or(usize::MAX)
    }
}

/// Reads a `Blob`: its MIME type and its bytes.
fn blob(value: &Value, at: &str) -> Result<(String, Vec<u8>), End> {
    let fields = field::object(value, at, &["data", "mimeType", "displayName"])?;
    let kind = field::string(&fields, "mimeType", at)?.unwrap_or_default().to_ascii_lowercase();
    let data = field::string(&fields, "data", at)?.unwrap_or_default();
    let bytes = PLAIN.decode(data).or_else(|_| URL_SAFE.decode(data));
    let bytes =
        bytes.map_err(|_| invalid(format!("Invalid value at '{at}.data' (TYPE_BYTES), Base64 decoding failed")))?;
    Ok((kind, bytes))
}

fn unsupported(what: &str, kind: &str) -> End {
    let kind: String = kind.chars().take(40).collect();
    invalid(format!("Unsupported MIME type for {what}: {kind}"))
}

fn millis(bytes: u64, rate: u64) -> u64 {
    bytes.saturating_mul(1000) / rate.max(1).saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    fn piece(level: i16, millis: usize) -> Value {
        let pcm: Vec<u8> = (0..millis * 16).flat_map(|_| level.to_le_bytes()).collect();
        json!({"data": STANDARD.encode(pcm), "mime_type": "audio/pcm;rate=16000"})
    }

    #[test]
    fn speech_begins_loud_and_ends_after_half_a_second_of_silence() {
        let mut heard = Heard::default();
        let changes: Vec<_> = [piece(0, 600), piece(9000, 100), piece(9000, 100), piece(0, 400), piece(0, 100)]
            .iter()
            .map(|piece| heard.audio(piece))
            .collect();
        let expected = [Change::None, Change::Began, Change::None, Change::None, Change::Ended];
        assert_eq!(changes, expected.map(Ok));
        assert_eq!((heard.millis(), heard.tokens()), (1300, 32));
    }

    #[test]
    fn takes_both_base64_alphabets() {
        let bytes = [0xfb, 0xff, 0xfe, 0xfb];
        for data in [STANDARD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)] {
            let value = json!({"data": data, "mimeType": "audio/pcm"});
            assert_eq!(blob(&value, "audio"), Ok(("audio/pcm".to_owned(), bytes.to_vec())));
        }
    }
}
