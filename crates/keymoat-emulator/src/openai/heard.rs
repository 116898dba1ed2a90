//! The input audio buffer: how much was heard, and where speech begins and ends.

use crate::sound;

/// Samples of input audio per millisecond.
const SAMPLES_PER_MILLI: u64 = 24;

/// What a piece of audio changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Speech begins.
    Began,
    /// Speech ended.
    Ended,
    /// Nothing.
    None,
}

/// The audio of one session, as a length: the sound itself is not kept.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    samples: u64,
    buffered: u64,
    silent: u64,
    speaks: bool,
}

impl Heard {
    /// Hears sixteen-bit PCM at 24 kHz; after `silence_millis` of silence speech has ended.
    pub(crate) fn hear(&mut self, pcm: &[u8], silence_millis: Option<u64>) -> Change {
        let samples = (pcm.len() / 2) as u64;
        self.samples = self.samples.saturating_add(samples);
        self.buffered = self.buffered.saturating_add(samples);
        let Some(silence_millis) = silence_millis else { return Change::None };
        if sound::is_loud(pcm) {
            self.silent = 0;
            let began = !std::mem::replace(&mut self.speaks, true);
            return if began { Change::Began } else { Change::None };
        }
        self.silent = self.silent.saturating_add(samples);
        if self.speaks && self.silent >= silence_millis.saturating_mul(SAMPLES_PER_MILLI) {
            self.speaks = false;
            return Change::Ended;
        }
        Change::None
    }

    /// How many milliseconds were heard in all.
    pub(crate) fn millis(&self) -> u64 {
        self.samples / SAMPLES_PER_MILLI
    }

    /// Empties the buffer and gives its length in milliseconds, nothing when it was empty.
    pub(crate) fn commit(&mut self) -> Option<u64> {
        let samples = std::mem::take(&mut self.buffered);
        (self.speaks, self.silent) = (false, 0);
        (samples > 0).then_some(samples / SAMPLES_PER_MILLI)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_begins_with_sound_and_ends_with_enough_silence() {
        let (loud, quiet) = (sound::speech("one"), vec![0; 4800]);
        let mut heard = Heard::default();
        assert_eq!(heard.hear(&quiet, Some(200)), Change::None);
        assert_eq!(heard.hear(&loud, Some(200)), Change::Began);
        assert_eq!(heard.hear(&loud, Some(200)), Change::None);
        assert_eq!(heard.hear(&quiet, Some(200)), Change::None);
        assert_eq!(heard.hear(&quiet, Some(200)), Change::Ended);
        assert_eq!(heard.commit(), Some(540));
        assert_eq!(heard.commit(), None);
        assert_eq!(heard.hear(&loud, None), Change::None);
    }
}
