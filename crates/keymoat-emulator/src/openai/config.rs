//! What a Realtime session is like: the session object, its defaults, and how an update changes it.

use serde_json::{Map, Value, json};

use super::fault::{self, Fault};

const MEMBERS: [&str; 14] = [
    "type",
    "model",
    "output_modalities",
    "instructions",
    "audio",
    "include",
    "tools",
    "tool_choice",
    "max_output_tokens",
    "tracing",
    "truncation",
    "prompt",
    "parallel_tool_calls",
    "reasoning",
];
const INPUT_MEMBERS: [&str; 4] = ["format", "noise_reduction", "transcription", "turn_detection"];
const OUTPUT_MEMBERS: [&str; 3] = ["format", "voice", "speed"];
/// How many functions a session may have.
const TOOLS_MAX: usize = 128;

/// A session's configuration; every member is there.
#[derive(Debug, Clone)]
pub(crate) struct Config(Map<String, Value>);

/// A function that the model may call: its name, and its parameters with their types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Config {
    /// What a session is like that asked for nothing but its model.
    pub(crate) fn new(model: &str) -> Self {
        let format = json!({"type": "audio/pcm", "rate": 24_000});
        let detection = json!({
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 200,
            "create_response": true,
            "interrupt_response": true,
        });
        let defaults = json!({
            "type": "realtime",
            "model": model,
            "output_modalities": ["audio"],
            "instructions": "",
            "audio": {
                "input": {"format": format, "noise_reduction": null, "transcription": null, "turn_detection": detection},
                "output": {"format": format, "voice": "marin", "speed": 1.0},
            },
            "include": null,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": null,
            "truncation": "auto",
            "prompt": null,
        });
        Self(defaults.as_object().cloned().unwrap_or_default())
    }

    /// The session object that events show.
    pub(crate) fn json(&self, id: &str) -> Value {
        let mut shown = self.0.clone();
        shown.insert("object".to_owned(), "realtime.session".into());
        shown.insert("id".to_owned(), id.into());
        Value::Object(shown)
    }

    /// All members, for a reply that shows them.
    pub(crate) fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Takes over what `session` says, or nothing of it when something is wrong; `at` is its parameter. The model is
    /// not changed.
    pub(crate) fn update(&mut self, session: &Value, at: &str) -> Result<(), Fault> {
        let members = fault::object(session, at, &MEMBERS)?;
        if fault::word(members, "type", at, &["realtime"])?.is_none() {
            return Err(Fault::missing(&fault::below(at, "type")));
        }
        fault::string(members, "model", at)?;
        fault::string(members, "instructions", at)?;
        modalities(members, at)?;
        functions(fault::array(members, "tools", at)?, at)?;
        let mut changed = self.0.clone();
        for (name, value) in members.iter().filter(|(name, _)| !matches!(name.as_str(), "model" | "audio")) {
            changed.insert(name.clone(), value.clone());
        }
        if let Some(audio) = members.get("audio").filter(|audio| !audio.is_null()) {
            let at = fault::below(at, "audio");
            for (side, value) in fault::object(audio, &at, &["input", "output"])? {
                let known: &[&str] = if side == "input" { &INPUT_MEMBERS } else { &OUTPUT_MEMBERS };
                let at = fault::below(&at, side);
                let wanted = fault::object(value, &at, known)?;
                check_format(wanted, &at)?;
                if let Some(Value::Object(current)) = changed.get_mut("audio").and_then(|audio| audio.get_mut(side)) {
                    current.extend(wanted.iter().map(|(name, value)| (name.clone(), value.clone())));
                }
            }
        }
        self.0 = changed;
        Ok(())
    }

    /// Whether answers are spoken.
    pub(crate) fn speaks(&self) -> bool {
        spoken(self.0.get("output_modalities"))
    }

    /// What the model was told to be like, if anything.
    pub(crate) fn instructions(&self) -> Option<&str> {
        self.0.get("instructions").and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The functions that the model may call.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let tools = self.0.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        // Checked when it was taken over.
        functions(tools, "").unwrap_or_default()
    }

    /// The number of milliseconds of silence that end speech, unless the client ends it by itself.
    pub(crate) fn silence_millis(&self) -> Option<u64> {
        let detection = self.detection()?;
        Some(detection.get("silence_duration_ms").and_then(Value::as_u64).unwrap_or(200))
    }

    /// Whether detected speech is answered, and interrupts an answer.
    pub(crate) fn detection_does(&self, what: &str) -> bool {
        self.detection().is_some_and(|detection| detection.get(what).and_then(Value::as_bool).unwrap_or(true))
    }

    /// Whether what the user says is written down.
    pub(crate) fn transcribes(&self) -> bool {
        self.input("transcription").is_some_and(|value| !value.is_null())
    }

    /// How answers sound.
    pub(crate) fn output(&self) -> Value {
        let output = self.0.get("audio").and_then(|audio| audio.get("output")).cloned().unwrap_or_default();
        json!({"output": {"format": output.get("format"), "voice": output.get("voice")}})
    }

    fn detection(&self) -> Option<&Map<String, Value>> {
        self.input("turn_detection").and_then(Value::as_object)
    }

    fn input(&self, name: &str) -> Option<&Value> {
        self.0.get("audio")?.get("input")?.get(name)
    }
}

/// Whether these output modalities, if they are given, are speech.
pub(crate) fn spoken(modalities: Option<&Value>) -> bool {
    let words = modalities.and_then(Value::as_array);
    words.is_none_or(|words| words.iter().any(|word| word == "audio"))
}

/// Checks `output_modalities`: one of text and audio, not both.
pub(crate) fn modalities(members: &Map<String, Value>, at: &str) -> Result<(), Fault> {
    let words = fault::array(members, "output_modalities", at)?;
    let known = |word: &Value| word == "text" || word == "audio";
    if members.get("output_modalities").is_some_and(|value| !value.is_null())
        && (words.len() != 1 || !words.iter().all(known))
    {
        let hint = "Supported combinations are: ['text'] and ['audio'].";
        let found = Value::Array(words.to_vec()).to_string();
        return Err(Fault::value(&fault::below(at, "output_modalities"), &found, hint));
    }
    Ok(())
}

fn check_format(members: &Map<String, Value>, at: &str) -> Result<(), Fault> {
    let Some(format) = members.get("format").filter(|format| !format.is_null()) else { return Ok(()) };
    let at = fault::below(at, "format");
    let format = fault::object(format, &at, &["type", "rate"])?;
    // G.711 exists too; it is not emulated.
    fault::word(format, "type", &at, &["audio/pcm"])?;
    match format.get("rate").filter(|rate| !rate.is_null()) {
        Some(rate) if rate.as_u64() != Some(24_000) => {
            Err(Fault::value(&fault::below(&at, "rate"), &rate.to_string(), "Supported values are: 24000."))
        }
        _ => Ok(()),
    }
}

fn functions(tools: &[Value], at: &str) -> Result<Vec<Function>, Fault> {
    let at = fault::below(at, "tools");
    if tools.len() > TOOLS_MAX {
        return Err(Fault::value(&at, &tools.len().to_string(), "There are too many."));
    }
    let mut functions = Vec::new();
    for (n, tool) in tools.iter().enumerate() {
        let at = format!("{at}[{n}]");
        let Value::Object(members) = tool else { return Err(Fault::mismatch(&at, "an object", tool)) };
        let Some("function") = fault::word(members, "type", &at, &["function", "mcp"])? else { continue };
        let name = fault::string(members, "name", &at)?.ok_or_else(|| Fault::missing(&fault::below(&at, "name")))?;
        let properties = members.get("parameters").and_then(|parameters| parameters.get("properties"));
        let properties = properties.and_then(Value::as_object);
        let kind = |value: &Value| value.get("type").and_then(Value::as_str).unwrap_or("string").to_owned();
        let parameters = properties.into_iter().flatten().map(|(name, value)| (name.clone(), kind(value))).collect();
        functions.push(Function { name: name.to_owned(), parameters });
    }
    Ok(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_changes_what_it_names_and_never_the_model() {
        let mut config = Config::new("gpt-realtime");
        let update = json!({
            "type": "realtime", "model": "gpt-realtime-mini", "output_modalities": ["text"],
            "audio": {"output": {"voice": "cedar"}, "input": {"turn_detection": null}},
        });
        assert_eq!(config.update(&update, "session"), Ok(()));
        let shown = config.json("sess_1");
        assert_eq!(shown["model"], "gpt-realtime");
        assert_eq!(shown["audio"]["output"]["voice"], "cedar");
        assert_eq!(shown["audio"]["output"]["format"]["rate"], 24_000);
        assert!(!config.speaks() && config.silence_millis().is_none());
    }

    #[test]
    fn a_wrong_update_changes_nothing() {
        let mut config = Config::new("gpt-realtime");
        let before = config.json("s");
        for (update, param) in [
            (json!({"instructions": "x"}), "session.type"),
            (json!({"type": "realtime", "instructions": 1}), "session.instructions"),
            (json!({"type": "realtime", "instructions": "x", "modalities": []}), "session.modalities"),
            (json!({"type": "realtime", "output_modalities": ["text", "audio"]}), "session.output_modalities"),
            (json!({"type": "realtime", "audio": {"output": {"rate": 1}}}), "session.audio.output.rate"),
            (json!({"type": "realtime", "tools": [{"type": "function"}]}), "session.tools[0].name"),
        ] {
            let fault = config.update(&update, "session").expect_err("refused");
            assert_eq!(fault.param.as_deref(), Some(param));
        }
        assert_eq!(config.json("s"), before);
    }
}
