//! Field masks: which fields of a setup a token locks, in one canonical form whatever spelling they came in.

use std::fmt;

use super::field::{self, Reach};
use crate::json::Object;
use crate::{foreign, format};

/// The paths that a token locks: camelCase, at most two segments, sorted as written, none inside another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldMask(Vec<Path>);

/// A field of the setup, or a field of such a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) field: String,
    pub(super) child: Option<String>,
}

/// A mask that names what a setup does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is no field of a setup")]
pub struct UnknownPath {
    /// The path, if it can be told without saying what may be a secret.
    pub path: String,
}

impl FieldMask {
    /// Reads a comma-separated mask as Google's SDKs write it: snake_case or camelCase, generation fields with or without
    /// `generationConfig.`, `tools.0` for `tools`, duplicates. What is deeper than a lock reaches is cut: that locks
    /// more, never less.
    ///
    /// # Errors
    /// [`UnknownPath`] for a first segment that is no field.
    ///
    /// ```
    /// use keymoat_core::gemini::FieldMask;
    /// let mask = FieldMask::parse("model, top_k,tools.0,tools")?;
    /// assert_eq!(mask.to_string(), "model,generationConfig.topK,tools");
    /// # Ok::<(), keymoat_core::gemini::UnknownPath>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, UnknownPath> {
        let mut mask = Self::default();
        for written in text.split(',').map(str::trim).filter(|written| !written.is_empty()) {
            let path = Path::parse(written).ok_or_else(|| UnknownPath { path: shown(written) })?;
            mask.add(path);
        }
        Ok(mask)
    }

    /// Whether nothing is named.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn paths(&self) -> &[Path] {
        &self.0
    }

    /// Whether a field is locked as a whole, or one of its own fields is.
    pub(super) fn touches(&self, field: &str) -> bool {
        self.0.iter().any(|path| path.field == field)
    }

    /// Whether this very path is locked, alone or with its parent.
    pub(super) fn covers(&self, field: &str, child: Option<&str>) -> bool {
        self.0.iter().any(|path| path.covers(field, child))
    }

    /// The first field of `setup` that is not locked, if there is one.
    pub(super) fn omitted_of(&self, setup: &Object) -> Option<Path> {
        let mut paths = field::paths_of(setup).into_iter().map(|(field, child)| Path { field, child });
        paths.find(|path| !self.covers(&path.field, path.child.as_deref()))
    }

    fn add(&mut self, path: Path) {
        if self.covers(&path.field, path.child.as_deref()) {
            return;
        }
        self.0.retain(|known| !path.covers(&known.field, known.child.as_deref()));
        self.0.push(path);
    }
}

impl Path {
    fn parse(written: &str) -> Option<Self> {
        let mut segments = written.split('.').map(str::trim);
        let first = field::camel(segments.next()?);
        let rest: Vec<String> = segments.take_while(|segment| !is_number(segment)).map(field::camel).collect();
        if rest.iter().any(String::is_empty) {
            return None;
        }
        if field::is_generation(&first) {
            return Some(Self { field: String::from("generationConfig"), child: Some(first) });
        }
        let child = match field::reach(&first)? {
            Reach::Inside => rest.into_iter().next(),
            Reach::Whole => None,
        };
        Some(Self { field: first, child })
    }

    fn covers(&self, field: &str, child: Option<&str>) -> bool {
        self.field == field && (self.child.is_none() || self.child.as_deref() == child)
    }
}

fn is_number(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}

/// The path as it may be told to whoever wrote it: short, and of the characters of a path.
fn shown(written: &str) -> String {
    let fits = written.len() <= 64
        && written.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
        && !format::is_in(written.as_bytes())
        && !foreign::is_in(written.as_bytes());
    if fits { written.to_owned() } else { String::from("…") }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        self.child.as_ref().map_or(Ok(()), |child| write!(f, ".{child}"))
    }
}

impl fmt::Display for FieldMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            path.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_path_becomes_one() {
        for (written, read) in [
            ("", ""),
            (" , ,", ""),
            ("model", "model"),
            ("system_instruction", "systemInstruction"),
            ("systemInstruction.parts,systemInstruction.role", "systemInstruction.parts,systemInstruction.role"),
            ("systemInstruction.parts.0.text", "systemInstruction.parts"),
            ("temperature", "generationConfig.temperature"),
            ("topK", "generationConfig.topK"),
            ("generation_config.top_k", "generationConfig.topK"),
            ("generationConfig.speechConfig.voiceConfig", "generationConfig.speechConfig"),
            ("speech_config.voice_config", "generationConfig.speechConfig"),
            ("tools.0", "tools"),
            ("tools.0.x", "tools"),
            ("tools.functionDeclarations", "tools"),
            ("labels.team", "labels"),
            ("model.x", "model"),
            ("tools,tools,tools.1", "tools"),
            ("generationConfig.seed,generationConfig,topK", "generationConfig"),
            ("sessionResumption.handle", "sessionResumption.handle"),
            ("output_audio_transcription", "outputAudioTranscription"),
        ] {
            assert_eq!(FieldMask::parse(written).expect(written).to_string(), read, "{written}");
        }
    }

    #[test]
    fn the_masks_that_the_sdks_write_are_read() {
        let case_3 = "model,generationConfig.responseModalities,generationConfig.temperature,systemInstruction.parts,\
                      systemInstruction.role,tools,sessionResumption,inputAudioTranscription";
        assert_eq!(FieldMask::parse(case_3).expect("known").to_string(), case_3);
        let python = format!("{case_3},generationConfig.temperature,generationConfig.top_k,output_audio_transcription");
        let javascript =
            format!("{case_3},generationConfig.temperature,generationConfig.topK,outputAudioTranscription");
        let read = FieldMask::parse(&python).expect("known");
        assert_eq!(read, FieldMask::parse(&javascript).expect("known"));
        assert_eq!(read.to_string(), format!("{case_3},generationConfig.topK,outputAudioTranscription"));
    }

    #[test]
    fn an_unknown_path_is_named_unless_it_may_be_a_secret() {
        for (written, told) in [
            ("model,nonsense.x", "nonsense.x"),
            ("0", "0"),
            ("Model", "Model"),
            ("setup.model", "setup.model"),
            ("generationConfig..topK", "generationConfig..topK"),
            ("km_TestVector0TestVector0TestVector0TestVector02cu8n", "…"),
            ("a b", "…"),
        ] {
            assert_eq!(FieldMask::parse(written).expect_err(written).path, told);
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_read_as_itself(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("model"), Just("generation_config"), Just("generationConfig"), Just("temperature"), Just("top__k"),
                    Just("tools"), Just("0"), Just("system_instruction"), Just("parts"), Just(","), Just("."),
                ],
                0..12,
            ),
        ) {
            let written = words.join(".").replace(".,.", ",").replace("...", ".");
            if let Ok(mask) = FieldMask::parse(&written) {
                prop_assert_eq!(FieldMask::parse(&mask.to_string()), Ok(mask.clone()));
                for (index, path) in mask.0.iter().enumerate() {
                    let others = mask.0.iter().enumerate().filter(|(other, _)| *other != index);
                    prop_assert!(others.into_iter().all(|(_, other)| !other.covers(&path.field, path.child.as_deref())));
                }
            }
        }
    }
}
