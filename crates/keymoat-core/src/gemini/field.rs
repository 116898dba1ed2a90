//! The fields of a Live setup: how they are spelled, and which hold further ones (`BidiGenerateContentSetup` and
//! `GenerationConfig` of Google's API reference, and what its SDKs of November 2026 fill).

use std::fmt;

use crate::json::{Object, Value};

/// Whether a lock can reach into a field of the setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It holds fields of its own, each of which can be locked.
    Inside,
    /// It is locked as a whole.
    Whole,
}

const SETUP: [(&str, Reach); 15] = [
    ("model", Reach::Whole),
    ("generationConfig", Reach::Inside),
    ("systemInstruction", Reach::Inside),
    ("tools", Reach::Whole),
    ("sessionResumption", Reach::Inside),
    ("contextWindowCompression", Reach::Inside),
    ("inputAudioTranscription", Reach::Inside),
    ("outputAudioTranscription", Reach::Inside),
    ("proactivity", Reach::Inside),
    ("realtimeInputConfig", Reach::Inside),
    ("explicitVadSignal", Reach::Whole),
    ("historyConfig", Reach::Inside),
    ("avatarConfig", Reach::Inside),
    ("safetySettings", Reach::Whole),
    ("labels", Reach::Whole),
];

const GENERATION: [&str; 26] = [
    "audioTimestamp",
    "candidateCount",
    "enableAffectiveDialog",
    "enableEnhancedCivicAnswers",
    "frequencyPenalty",
    "imageConfig",
    "logprobs",
    "maxOutputTokens",
    "mediaResolution",
    "modelConfig",
    "modelSelectionConfig",
    "presencePenalty",
    "responseJsonSchema",
    "responseLogprobs",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "routingConfig",
    "seed",
    "speechConfig",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
    "translationConfig",
];

/// Fields of `generationConfig` by which Google may choose the model, whatever `model` says.
pub(super) const CHOOSE_MODEL: [&str; 3] = ["routingConfig", "modelConfig", "modelSelectionConfig"];

/// Further names that may stand in a message of ours to a client.
const OTHERS: [&str; 24] = [
    "setup",
    "clientContent",
    "realtimeInput",
    "toolResponse",
    "contextUpdate",
    "musicGenerationConfig",
    "playbackControl",
    "bidiGenerateContentSetup",
    "fieldMask",
    "uses",
    "expireTime",
    "newSessionExpireTime",
    "parts",
    "role",
    "handle",
    "functionDeclarations",
    "googleSearch",
    "codeExecution",
    "turns",
    "turnComplete",
    "functionResponses",
    "voiceConfig",
    "prebuiltVoiceConfig",
    "mimeType",
];

/// How far a lock reaches into a field of the setup; `None` for a field that there is not.
pub(super) fn reach(name: &str) -> Option<Reach> {
    SETUP.iter().find(|(known, _)| *known == name).map(|(_, reach)| *reach)
}

/// Whether `generationConfig` has a field of that name.
pub(super) fn is_generation(name: &str) -> bool {
    GENERATION.contains(&name)
}

/// All fields of a setup.
pub(super) fn setup() -> impl Iterator<Item = &'static str> {
    SETUP.iter().map(|(name, _)| *name)
}

/// The name as protobuf's JSON form has it: `system_instruction` becomes `systemInstruction`.
pub(super) fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut rises = false;
    for character in name.chars() {
        if character == '_' {
            rises = true;
        } else if rises {
            camel.push(character.to_ascii_uppercase());
            rises = false;
        } else {
            camel.push(character);
        }
    }
    camel
}

/// The name without case and underscores: two names that fold alike are not let stand beside each other.
pub(super) fn fold(name: &str) -> String {
    name.chars().filter(|character| *character != '_').map(|character| character.to_ascii_lowercase()).collect()
}

/// A path into a client's message as it may be told and logged: only names that are known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(Vec<&'static str>);

impl Place {
    /// The place of `name` below this one.
    pub(super) fn below(&self, name: &str) -> Self {
        let known = setup().chain(GENERATION).chain(OTHERS).find(|known| *known == name).unwrap_or("…");
        let mut path = self.0.clone();
        path.push(known);
        Self(path)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("the message") } else { write!(f, "`{}`", self.0.join(".")) }
    }
}

/// The fields that a mask would name for a setup, as Google's SDKs walk it: one level deep where there are members.
pub(super) fn paths_of(setup: &Object) -> Vec<(String, Option<String>)> {
    let mut paths = Vec::new();
    for (name, value) in setup.iter() {
        match value {
            Value::Object(object) if !object.is_empty() && reach(name) == Some(Reach::Inside) => {
                paths.extend(object.iter().map(|(child, _)| (name.to_owned(), Some(child.to_owned()))));
            }
            _ => paths.push((name.to_owned(), None)),
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_protobuf_spells_them() {
        for (written, read) in [
            ("system_instruction", "systemInstruction"),
            ("systemInstruction", "systemInstruction"),
            ("top_k", "topK"),
            ("a__b_", "aB"),
            ("_model", "Model"),
        ] {
            assert_eq!(camel(written), read);
        }
        assert_eq!(fold("System__Instruction"), fold("systemInstruction"));
    }

    #[test]
    fn a_place_shows_known_names_only() {
        let place = Place::default().below("setup").below("generationConfig").below("canary");
        assert_eq!(place.to_string(), "`setup.generationConfig.…`");
    }
}
