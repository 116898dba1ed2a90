//! The setup of a Live session: its first message, and what a token locks.

use std::fmt;

use serde_json::{Map, Value, json};

use super::model;
use super::resumption::Handle;

/// What a model answers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modality {
    /// Sound.
    Audio,
    /// Text.
    Text,
}

/// What a Live session is asked to be.
///
/// ```
/// use keymoat_client::gemini::{Modality, Setup};
/// let setup = Setup::new("gemini-2.5-flash-native-audio")
///     .answer_in(Modality::Audio)
///     .system_instruction("You are brief.")
///     .voice("Puck")
///     .transcribe_output();
/// ```
///
/// `Debug` names the fields and shows none of their values.
#[derive(Clone, PartialEq)]
pub struct Setup {
    fields: Map<String, Value>,
}

impl Setup {
    /// A session with this model; `models/` may be left out. The model answers in sound unless [`Setup::answer_in`] says otherwise.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("model".to_owned(), model(name).into());
        Self { fields }.answer_in(Modality::Audio)
    }

    /// Answers in sound or in text.
    #[must_use]
    pub fn answer_in(self, modality: Modality) -> Self {
        let word = match modality {
            Modality::Audio => "AUDIO",
            Modality::Text => "TEXT",
        };
        self.generation("responseModalities", json!([word]))
    }

    /// Tells the model how to be.
    #[must_use]
    pub fn system_instruction(self, text: &str) -> Self {
        self.field("systemInstruction", json!({"role": "user", "parts": [{ "text": text }]}))
    }

    /// Speaks with a voice that Google has, such as `Puck`.
    #[must_use]
    pub fn voice(self, name: &str) -> Self {
        self.generation("speechConfig", json!({"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": name}}}))
    }

    /// How freely it answers.
    #[must_use]
    pub fn temperature(self, temperature: f64) -> Self {
        self.generation("temperature", json!(temperature))
    }

    /// Offers a function that the model may call; `parameters` is its JSON Schema.
    #[must_use]
    pub fn function(self, name: &str, description: &str, parameters: Value) -> Self {
        let declaration = json!({"name": name, "description": description, "parameters": parameters});
        self.tool(json!({"functionDeclarations": [declaration]}))
    }

    /// Offers another tool, such as `{"googleSearch": {}}`.
    #[must_use]
    pub fn tool(mut self, tool: Value) -> Self {
        let tools = self.fields.entry("tools").or_insert_with(|| json!([]));
        if let Some(tools) = tools.as_array_mut() {
            tools.push(tool);
        }
        self
    }

    /// Writes out what the user says.
    #[must_use]
    pub fn transcribe_input(self) -> Self {
        self.field("inputAudioTranscription", json!({}))
    }

    /// Writes out what the model says.
    #[must_use]
    pub fn transcribe_output(self) -> Self {
        self.field("outputAudioTranscription", json!({}))
    }

    /// Lets the context slide, so that a session is not ended by its length.
    #[must_use]
    pub fn compress_context(self) -> Self {
        self.field("contextWindowCompression", json!({"slidingWindow": {}}))
    }

    /// Asks for handles to resume with.
    #[must_use]
    pub fn resumable(mut self) -> Self {
        self.fields.entry("sessionResumption").or_insert_with(|| json!({}));
        self
    }

    /// Goes on with an earlier session.
    #[must_use]
    pub fn resuming(mut self, handle: &Handle) -> Self {
        let resumption = self.fields.entry("sessionResumption").or_insert_with(|| json!({}));
        if let Some(resumption) = resumption.as_object_mut() {
            resumption.insert("handle".to_owned(), handle.value());
        }
        self
    }

    /// Sets any field of the setup, in camelCase.
    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    /// Sets any field of `generationConfig`, in camelCase.
    #[must_use]
    pub fn generation(mut self, name: &str, value: Value) -> Self {
        let config = self.fields.entry("generationConfig").or_insert_with(|| json!({}));
        if let Some(config) = config.as_object_mut() {
            config.insert(name.to_owned(), value);
        }
        self
    }

    /// As JSON.
    pub(crate) fn value(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    /// The paths that Google's SDKs lock for it: one level below each field that has members.
    pub(crate) fn paths(&self) -> Vec<String> {
        let below = |(name, value): (&String, &Value)| match value.as_object().filter(|members| !members.is_empty()) {
            Some(members) => members.keys().map(|member| format!("{name}.{member}")).collect(),
            None => vec![name.clone()],
        };
        self.fields.iter().flat_map(below).collect()
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Setup ")?;
        f.debug_set().entries(self.paths()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_google_s_sdks_send() {
        let setup = Setup::new("gemini-x").system_instruction("brief").temperature(0.5).resumable();
        let expected = json!({
            "model": "models/gemini-x",
            "generationConfig": {"responseModalities": ["AUDIO"], "temperature": 0.5},
            "systemInstruction": {"parts": [{"text": "brief"}], "role": "user"},
            "sessionResumption": {},
        });
        assert_eq!(setup.value(), expected);
        assert_eq!(
            Setup::new("models/x").answer_in(Modality::Text).value()["generationConfig"]["responseModalities"],
            json!(["TEXT"])
        );
    }

    #[test]
    fn a_handle_is_in_the_message_and_nowhere_else() {
        let handle = Handle::new("canary-of-the-handle");
        let setup = Setup::new("gemini-x").resumable().resuming(&handle);
        assert_eq!(setup.value()["sessionResumption"], json!({"handle": "canary-of-the-handle"}));
        assert!(!format!("{setup:?}{handle:?}").contains("canary"));
    }

    #[test]
    fn names_the_paths_that_a_mask_locks() {
        let setup = Setup::new("gemini-x").temperature(0.5).tool(json!({"googleSearch": {}})).resumable();
        let mut paths = setup.paths();
        paths.sort_unstable();
        let expected = [
            "generationConfig.responseModalities",
            "generationConfig.temperature",
            "model",
            "sessionResumption",
            "tools",
        ];
        assert_eq!(paths, expected);
    }
}
