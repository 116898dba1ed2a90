//! The `setup` message of a Live session: which fields there are, and what they mean here.

use serde_json::{Map, Value};

use super::field;
use super::{context, invalid};
use crate::websocket::End;

/// The fields of a setup.
pub(crate) const MEMBERS: [&str; 15] = [
    "model",
    "generationConfig",
    "systemInstruction",
    "tools",
    "sessionResumption",
    "contextWindowCompression",
    "inputAudioTranscription",
    "outputAudioTranscription",
    "proactivity",
    "realtimeInputConfig",
    "explicitVadSignal",
    "historyConfig",
    "avatarConfig",
    "safetySettings",
    "labels",
];
/// The fields of a generation config, those of REST included.
pub(crate) const GENERATION_MEMBERS: [&str; 22] = [
    "responseModalities",
    "temperature",
    "topP",
    "topK",
    "maxOutputTokens",
    "mediaResolution",
    "seed",
    "speechConfig",
    "thinkingConfig",
    "enableAffectiveDialog",
    "translationConfig",
    "candidateCount",
    "stopSequences",
    "presencePenalty",
    "frequencyPenalty",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseLogprobs",
    "logprobs",
    "imageConfig",
    "responseFormat",
];
const TOOL_MEMBERS: [&str; 9] = [
    "functionDeclarations",
    "googleSearch",
    "googleSearchRetrieval",
    "googleMaps",
    "codeExecution",
    "urlContext",
    "fileSearch",
    "computerUse",
    "mcpServers",
];
const FUNCTION_MEMBERS: [&str; 7] =
    ["name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior"];

/// What a model answers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Modality {
    /// Pieces of text.
    Text,
    /// PCM.
    Audio,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The properties of its parameters and their types.
    pub(crate) parameters: Vec<(String, String)>,
}

/// A setup as it is understood here.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// `models/…`.
    pub(crate) model: String,
    /// What the model answers in.
    pub(crate) modality: Modality,
    /// The text of the system instruction.
    pub(crate) instruction: Option<String>,
    /// Every declared function.
    pub(crate) functions: Vec<Function>,
    /// Whether updates of the resumption handle are wanted.
    pub(crate) resumable: bool,
    /// The handle to resume.
    pub(crate) handle: Option<String>,
    /// Whether updates name the last message that was consumed.
    pub(crate) transparent: bool,
    /// Whether the user's speech is written out.
    pub(crate) transcribe_input: bool,
    /// Whether the model's speech is written out.
    pub(crate) transcribe_output: bool,
    /// The client itself says when its user speaks.
    pub(crate) manual_activity: bool,
    /// The user's activity does not interrupt the model.
    pub(crate) no_interruption: bool,
    /// The whole setup in camelCase, to be shown when asked.
    pub(crate) canonical: Map<String, Value>,
}

/// Checks the names of a setup and of its generation config, and spells them in camelCase.
pub(crate) fn canonical(value: &Value, at: &str) -> Result<Map<String, Value>, End> {
    let fields = field::object(value, at, &MEMBERS)?;
    let mut canonical: Map<String, Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect();
    if let Some(config) = fields.get("generationConfig") {
        let config = field::object(config, &format!("{at}.generation_config"), &GENERATION_MEMBERS)?;
        let config = config.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
        canonical.insert("generationConfig".to_owned(), Value::Object(config.collect()));
    }
    Ok(canonical)
}

impl Setup {
    /// Understands a canonical setup; `version` is named when the model is not known.
    pub(crate) fn read(canonical: Map<String, Value>, version: &str) -> Result<Self, End> {
        let value = Value::Object(canonical);
        let fields = field::object(&value, "setup", &MEMBERS)?;
        let model = model(field::string(&fields, "model", "setup")?.unwrap_or_default(), "models/gemini-", version)?;
        let modality = match fields.get("generationConfig") {
            Some(config) => generation(config)?,
            None => Modality::Audio,
        };
        let instruction = fields.get("systemInstruction");
        let instruction = instruction.map(|content| context::content(content, "setup.system_instruction"));
        let instruction = instruction.transpose()?.map(|content| content.text);
        let functions = functions(field::array(&fields, "tools", "setup")?, "setup.tools")?;
        let (mut handle, mut transparent) = (None, false);
        if let Some(resumption) = fields.get("sessionResumption") {
            let at = "setup.session_resumption";
            let resumption = field::object(resumption, at, &["handle", "transparent"])?;
            handle = field::string(&resumption, "handle", at)?.filter(|handle| !handle.is_empty()).map(str::to_owned);
            transparent = field::boolean(&resumption, "transparent", at)?;
        }
        let (manual_activity, no_interruption) = match fields.get("realtimeInputConfig") {
            Some(config) => realtime(config)?,
            None => (false, false),
        };
        Ok(Self {
            model,
            modality,
            instruction,
            functions,
            resumable: fields.contains_key("sessionResumption"),
            handle,
            transparent,
            transcribe_input: fields.contains_key("inputAudioTranscription"),
            transcribe_output: fields.contains_key("outputAudioTranscription"),
            manual_activity,
            no_interruption,
            canonical: match value {
                Value::Object(canonical) => canonical,
                _ => Map::new(),
            },
        })
    }
}

/// Takes a model whose name starts with `prefix` and holds nothing but small letters, digits, dots and dashes.
pub(crate) fn model(name: &str, prefix: &str, version: &str) -> Result<String, End> {
    let rest = name.strip_prefix(prefix).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if rest.is_empty() || !rest.bytes().all(plain) || rest.contains("..") {
        let shown: String = name.chars().take(40).collect();
        let reason =
            format!("{shown} is not found for API version {version}, or is not supported for bidiGenerateContent.");
        return Err(End::Close(1008, reason));
    }
    Ok(name.to_owned())
}

/// The functions that a list of tools declares.
pub(crate) fn functions(tools: &[Value], at: &str) -> Result<Vec<Function>, End> {
    let mut functions = Vec::new();
    for tool in tools {
        let tool = field::object(tool, at, &TOOL_MEMBERS)?;
        for declared in field::array(&tool, "functionDeclarations", at)? {
            let at = format!("{at}.function_declarations");
            let declared = field::object(declared, &at, &FUNCTION_MEMBERS)?;
            let Some(name) = field::string(&declared, "name", &at)?.filter(|name| !name.is_empty()) else {
                return Err(invalid(format!("{at}: a function needs a name")));
            };
            let schema = declared.get("parameters").or(declared.get("parametersJsonSchema"));
            let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
            let kind = |schema: &Value| schema.get("type").and_then(Value::as_str).unwrap_or("STRING").to_uppercase();
            let parameters = properties.into_iter().flatten().map(|(name, schema)| (name.clone(), kind(schema)));
            functions.push(Function { name: name.to_owned(), parameters: parameters.collect() });
        }
    }
    Ok(functions)
}

fn generation(config: &Value) -> Result<Modality, End> {
    let at = "setup.generation_config";
    let config = field::object(config, at, &GENERATION_MEMBERS)?;
    field::number(&config, "temperature", at, 0.0, 2.0)?;
    match field::array(&config, "responseModalities", at)? {
        [] => Ok(Modality::Audio),
        [Value::String(one)] if one == "TEXT" => Ok(Modality::Text),
        [Value::String(one)] if one == "AUDIO" => Ok(Modality::Audio),
        _ => Err(invalid("Request contains an invalid argument: response_modalities takes one of TEXT and AUDIO.")),
    }
}

fn realtime(config: &Value) -> Result<(bool, bool), End> {
    let at = "setup.realtime_input_config";
    let config = field::object(config, at, &["automaticActivityDetection", "activityHandling", "turnCoverage"])?;
    let no_interruption = field::string(&config, "activityHandling", at)? == Some("NO_INTERRUPTION");
    let Some(detection) = config.get("automaticActivityDetection") else { return Ok((false, no_interruption)) };
    let members =
        ["disabled", "startOfSpeechSensitivity", "endOfSpeechSensitivity", "prefixPaddingMs", "silenceDurationMs"];
    let at = "setup.realtime_input_config.automatic_activity_detection";
    let detection = field::object(detection, at, &members)?;
    Ok((field::boolean(&detection, "disabled", at)?, no_interruption))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Setup, End> {
        Setup::read(canonical(&value, "setup")?, "v1beta")
    }

    #[test]
    fn reads_either_spelling_into_the_same_setup() {
        let camel = json!({
            "model": "models/gemini-x",
            "generationConfig": {"responseModalities": ["TEXT"]},
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "sessionResumption": {"handle": "h"},
        });
        let snake = json!({
            "model": "models/gemini-x",
            "generation_config": {"response_modalities": ["TEXT"]},
            "system_instruction": {"parts": [{"text": "be brief"}]},
            "session_resumption": {"handle": "h"},
        });
        let (camel, snake) = (read(camel).expect("is read"), read(snake).expect("is read"));
        assert_eq!(camel.canonical, snake.canonical);
        assert_eq!((snake.modality, snake.instruction.as_deref()), (Modality::Text, Some("be brief")));
        assert_eq!((snake.resumable, snake.handle.as_deref()), (true, Some("h")));
    }

    #[test]
    fn refuses_models_that_are_not_known() {
        for model in ["gemini-x", "models/palm", "models/gemini-", "models/gemini-../x", "models/Gemini-x", ""] {
            let Err(End::Close(1008, reason)) = read(json!({ "model": model })) else { panic!("took {model}") };
            assert!(reason.contains("is not found for API version v1beta"), "{reason}");
        }
    }

    #[test]
    fn names_the_place_of_an_unknown_field() {
        let refused = read(json!({"model": "models/gemini-x", "generationConfig": {"voice": 1}}));
        let Err(End::Close(1007, reason)) = refused else { panic!("was read") };
        assert!(reason.contains("Unknown name \"voice\" at 'setup.generation_config'"), "{reason}");
    }

    #[test]
    fn finds_declared_functions_and_their_parameters() {
        let schema = json!({"type": "OBJECT", "properties": {"city": {"type": "STRING"}}});
        let tools = [json!({"function_declarations": [{"name": "weather", "parameters": schema}]})];
        let functions = functions(&tools, "setup.tools").expect("is read");
        let parameters = vec![("city".to_owned(), "STRING".to_owned())];
        assert_eq!(functions, [Function { name: "weather".to_owned(), parameters }]);
    }
}
