//! Sound that can be heard and told apart: sixteen-bit PCM melodies made from text and numbers.

use std::f64::consts::TAU;

/// The rate of Live speech, mono.
pub(crate) const SPEECH_RATE: u32 = 24_000;
/// The rate of Live Music, stereo.
pub(crate) const MUSIC_RATE: u32 = 48_000;
/// How long one word of speech sounds.
const WORD_MILLIS: u64 = 120;
/// A pentatonic scale, in semitones: any two of its notes sound well together.
const SCALE: [i32; 5] = [0, 2, 4, 7, 9];

/// One note per word of `text`, mono, little-endian; its pitch depends on the word.
pub(crate) fn speech(text: &str) -> Vec<u8> {
    let samples = WORD_MILLIS * u64::from(SPEECH_RATE) / 1000;
    let mut pcm = Vec::new();
    for word in text.split_whitespace() {
        let pitch = note(hash(word));
        for n in 0..samples {
            let at = n as f64 / f64::from(SPEECH_RATE);
            // The note swells and fades, so that notes do not click.
            let swell = (std::f64::consts::PI * n as f64 / samples as f64).sin();
            pcm.extend_from_slice(&sample(0.4 * swell * (TAU * pitch * at).sin()));
        }
    }
    pcm
}

/// What a piece of music sounds like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Music {
    /// Beats per minute, 60 to 200.
    pub(crate) bpm: f64,
    /// Prompts with their weights.
    pub(crate) prompts: Vec<(String, f64)>,
    /// How bright, 0 to 1: the strength of the overtone.
    pub(crate) brightness: f64,
    /// How dense, 0 to 1: notes per beat.
    pub(crate) density: f64,
    /// No low voice.
    pub(crate) mute_bass: bool,
    /// No beat.
    pub(crate) mute_drums: bool,
    /// No melody.
    pub(crate) only_bass_and_drums: bool,
}

impl Music {
    /// `frames` stereo frames from frame `first` on, little-endian.
    pub(crate) fn play(&self, first: u64, frames: u64) -> Vec<u8> {
        let rate = f64::from(MUSIC_RATE);
        let beat = rate * 60.0 / self.bpm.clamp(60.0, 200.0);
        let total: f64 = self.prompts.iter().map(|(_, weight)| weight.abs()).sum();
        let steps = if self.density > 0.5 { 4.0 } else { 2.0 };
        let voices: Vec<(u64, f64)> =
            self.prompts.iter().map(|(text, weight)| (hash(text), weight / total.max(f64::MIN_POSITIVE))).collect();
        let mut pcm = Vec::new();
        for n in first..first.saturating_add(frames) {
            let at = n as f64 / rate;
            let in_beat = (n as f64 % beat) / beat;
            let step = (n as f64 / beat * steps) as u64;
            let mut melody = 0.0;
            if !self.only_bass_and_drums {
                for (seed, weight) in &voices {
                    let pitch = note(seed.wrapping_add(step.wrapping_mul(*seed | 1)));
                    let tone = (TAU * pitch * at).sin() + self.brightness * 0.5 * (2.0 * TAU * pitch * at).sin();
                    melody += weight * 0.25 * tone;
                }
            }
            let root = voices.first().map_or(0, |(seed, _)| *seed);
            let bass = if self.mute_bass { 0.0 } else { 0.2 * (TAU * note(root) / 4.0 * at).sin() };
            let drum = if self.mute_drums { 0.0 } else { 0.3 * (-12.0 * in_beat).exp() * (TAU * 60.0 * at).sin() };
            pcm.extend_from_slice(&sample(melody + bass + drum));
            pcm.extend_from_slice(&sample(0.8 * melody + bass + drum));
        }
        pcm
    }
}

/// Whether sixteen-bit little-endian PCM is loud enough to be speech: its mean level is over 1 % of full scale.
pub(crate) fn is_loud(pcm: &[u8]) -> bool {
    let levels = pcm.chunks_exact(2).filter_map(|pair| Some(i16::from_le_bytes(pair.try_into().ok()?)));
    let (sum, count) = levels.fold((0_u64, 0_u64), |(sum, count), level| {
        (sum.saturating_add(u64::from(level.unsigned_abs())), count.saturating_add(1))
    });
    count > 0 && sum / count > 327
}

/// A pitch in hertz, from 220 to about 740.
fn note(seed: u64) -> f64 {
    let octave = i32::try_from(seed / 5 % 2).unwrap_or_default() * 12;
    let step = SCALE.get((seed % 5) as usize).copied().unwrap_or_default();
    220.0 * 2_f64.powf(f64::from(octave + step) / 12.0)
}

/// FNV-1a: the same number for the same text on every machine.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn sample(level: f64) -> [u8; 2] {
    ((level.clamp(-1.0, 1.0) * f64::from(i16::MAX)) as i16).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn music(bpm: f64, prompt: &str) -> Music {
        Music {
            bpm,
            prompts: vec![(prompt.to_owned(), 1.0)],
            brightness: 0.5,
            density: 0.5,
            mute_bass: false,
            mute_drums: false,
            only_bass_and_drums: false,
        }
    }

    #[test]
    fn speech_lasts_as_long_as_its_words_and_depends_on_them() {
        let pcm = speech("one two");
        assert_eq!(pcm.len(), 2 * 2 * 2880);
        assert_ne!(pcm, speech("one one"));
        assert!(is_loud(&pcm));
    }

    #[test]
    fn silence_is_not_loud() {
        assert!(!is_loud(&[0; 640]));
        assert!(!is_loud(&[]));
    }

    #[test]
    fn music_depends_on_tempo_and_prompts_and_goes_on_seamlessly() {
        let techno = music(120.0, "techno");
        let whole = techno.play(0, 48_000);
        assert_eq!(whole.len(), 48_000 * 4);
        assert_eq!(whole, [techno.play(0, 20_000), techno.play(20_000, 28_000)].concat());
        assert_ne!(whole, music(90.0, "techno").play(0, 48_000));
        assert_ne!(whole, music(120.0, "harp").play(0, 48_000));
    }
}
