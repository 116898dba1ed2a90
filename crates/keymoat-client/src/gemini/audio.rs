//! A piece of sound.

use base64::prelude::*;
use bytes::Bytes;
use serde_json::Value;

/// PCM as it came: 16 bits a sample, little endian, channels interleaved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audio {
    /// The samples.
    pub pcm: Bytes,
    /// Such as `audio/pcm;rate=24000` of Live, or `audio/l16;rate=48000;channels=2` of Live Music.
    pub mime_type: String,
}

impl Audio {
    /// The samples per second, if the type names them.
    #[must_use]
    pub fn rate(&self) -> Option<u32> {
        self.parameter("rate")
    }

    /// The number of channels, one unless the type names another.
    #[must_use]
    pub fn channels(&self) -> u16 {
        self.parameter("channels").unwrap_or(1)
    }

    /// The samples as numbers. A half sample at the end is left out.
    pub fn samples(&self) -> impl Iterator<Item = i16> {
        self.pcm.as_chunks::<2>().0.iter().map(|sample| i16::from_le_bytes(*sample))
    }

    /// Reads a `Blob`; none if it is no sound or cannot be read.
    pub(crate) fn read(blob: &Value) -> Option<Self> {
        let mime_type = blob.get("mimeType")?.as_str()?.to_owned();
        if !mime_type.starts_with("audio/") {
            return None;
        }
        let pcm = BASE64_STANDARD.decode(blob.get("data")?.as_str()?).ok()?;
        Some(Self { pcm: pcm.into(), mime_type })
    }

    fn parameter<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        let mut parameters = self.mime_type.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
        parameters.find(|(known, _)| *known == name)?.1.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_samples_with_rate_and_channels() {
        let blob = json!({"mimeType": "audio/l16;rate=48000; channels=2", "data": "AQD//wI="});
        let audio = Audio::read(&blob).expect("a sound");
        assert_eq!((audio.rate(), audio.channels()), (Some(48_000), 2));
        assert_eq!(audio.samples().collect::<Vec<_>>(), [1, -1]);
        assert_eq!(Audio::read(&json!({"mimeType": "image/png", "data": "AAAA"})), None);
        assert_eq!(Audio::read(&json!({"mimeType": "audio/pcm", "data": "?"})), None);
    }
}
