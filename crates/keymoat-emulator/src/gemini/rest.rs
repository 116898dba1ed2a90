//! Gemini over HTTP: models, generate, stream, count tokens and mint, with Google's errors.

use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::admission::{self, Refused};
use super::context::{self, Context};
use super::{VERSIONS, error, field, setup, token};
use crate::answer::{self, Body};
use crate::credential;
use crate::emulator::Emulator;
use crate::websocket::End;

/// The models that are listed; others of the same shape work too.
const MODELS: [&str; 4] = ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-native-audio", "lyria-realtime-exp"];
const REQUEST_MEMBERS: [&str; 10] = [
    "contents",
    "systemInstruction",
    "generationConfig",
    "tools",
    "toolConfig",
    "safetySettings",
    "cachedContent",
    "model",
    "labels",
    "generateContentRequest",
];

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    version: &'static str,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Models,
    Model(String),
    Generate(String),
    Stream(String),
    CountTokens(String),
    Mint,
    Unknown,
}

/// Reads a path under `/{version}/models` or `/{version}/auth_tokens`.
pub(crate) fn call(path: &str) -> Option<Call> {
    let (version, rest) = path.strip_prefix('/')?.split_once('/')?;
    let version = VERSIONS.into_iter().find(|known| *known == version)?;
    let kind = match rest.strip_prefix("models/") {
        None if rest == "models" => Kind::Models,
        None if rest == "auth_tokens" => Kind::Mint,
        None => Kind::Unknown,
        Some(model) => match model.split_once(':') {
            None => Kind::Model(model.to_owned()),
            Some((model, "generateContent")) => Kind::Generate(model.to_owned()),
            Some((model, "streamGenerateContent")) => Kind::Stream(model.to_owned()),
            Some((model, "countTokens")) => Kind::CountTokens(model.to_owned()),
            Some(_) => Kind::Unknown,
        },
    };
    Some(Call { version, kind })
}

/// Answers a call.
pub(crate) fn answer(emulator: &Emulator, head: &Parts, body: &[u8], call: Call) -> Response<Body> {
    let expected = match call.kind {
        Kind::Models | Kind::Model(_) => Method::GET,
        _ => Method::POST,
    };
    let minting = call.kind == Kind::Mint;
    if call.kind == Kind::Unknown || head.method != expected || (minting && call.version == "v1" && !emulator.gemini.v1)
    {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "Requested entity was not found.");
    }
    let found = credential::find(&head.headers, head.uri.query());
    if let Err(refused) = admission::key(emulator, &found, &head.uri) {
        return refusal(&refused);
    }
    let as_events = credential::parameters(head.uri.query()).any(|(name, value)| name == "alt" && value == "sse");
    match call.kind {
        Kind::Models => answer::json(StatusCode::OK, &json!({"models": MODELS.map(described)})),
        Kind::Model(model) if MODELS.contains(&model.as_str()) => answer::json(StatusCode::OK, &described(&model)),
        Kind::Mint => mint(emulator, body),
        Kind::Generate(model) => generate(emulator, &model, call.version, body, Form::Whole),
        Kind::Stream(model) if as_events => generate(emulator, &model, call.version, body, Form::Events),
        Kind::Stream(model) => generate(emulator, &model, call.version, body, Form::List),
        Kind::CountTokens(model) => count_tokens(&model, call.version, body),
        Kind::Model(_) | Kind::Unknown => error(StatusCode::NOT_FOUND, "NOT_FOUND", "Requested entity was not found."),
    }
}

/// How generated content is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Events,
    List,
}

/// What a request for content says.
struct Prompt {
    reply: String,
    tokens: usize,
}

fn generate(emulator: &Emulator, model: &str, version: &str, body: &[u8], form: Form) -> Response<Body> {
    let prompt = match prompt(model, version, body) {
        Ok(prompt) => prompt,
        Err(end) => return refused_request(end),
    };
    let (model, id) = (model.to_owned(), format!("response-{}", emulator.next_id()));
    let response = move |text: &str, last: bool, words: usize| {
        let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
        if let (true, Some(candidate)) = (last, candidate.as_object_mut()) {
            candidate.insert("finishReason".to_owned(), "STOP".into());
        }
        let usage = json!({
            "promptTokenCount": prompt.tokens,
            "candidatesTokenCount": words,
            "totalTokenCount": prompt.tokens.saturating_add(words),
        });
        json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": id})
    };
    if form == Form::Whole {
        let words = prompt.reply.split_whitespace().count();
        return answer::json(StatusCode::OK, &response(&prompt.reply, true, words));
    }
    let pieces = context::pieces(&prompt.reply);
    let count = pieces.len() as u64;
    let content_type = if form == Form::Events { "text/event-stream" } else { "application/json; charset=UTF-8" };
    let pause = emulator.gemini.paced(emulator.gemini.text_pause);
    answer::streamed(content_type, 0, pause, move |n| {
        let piece = pieces.get(usize::try_from(n).ok()?)?;
        let last = n + 1 == count;
        let words = pieces.iter().take(usize::try_from(n).ok()? + 1).flat_map(|piece| piece.split_whitespace()).count();
        let value = response(piece, last, words);
        Some(match form {
            Form::Whole | Form::Events => format!("data: {value}\r\n\r\n"),
            Form::List => format!("{}{value}{}", if n == 0 { "[" } else { ",\r\n" }, if last { "]" } else { "" }),
        })
    })
}

fn prompt(model: &str, version: &str, body: &[u8]) -> Result<Prompt, End> {
    setup::model(&format!("models/{model}"), "models/gemini-", version)?;
    let body = super::session::parse(body)?;
    let fields = field::object(&body, "", &REQUEST_MEMBERS)?;
    let contents = field::array(&fields, "contents", "")?;
    if contents.is_empty() {
        return Err(super::invalid("* GenerateContentRequest.contents: contents is not specified"));
    }
    if let Some(config) = fields.get("generationConfig") {
        field::object(config, "generation_config", &setup::GENERATION_MEMBERS)?;
    }
    let instruction = fields.get("systemInstruction");
    let instruction = instruction.map(|content| context::content(content, "system_instruction")).transpose()?;
    let mut memory = Context::default();
    let mut last: Option<String> = None;
    let mut tokens = 0;
    for content in contents {
        let content = context::content(content, "contents")?;
        tokens += content.text.split_whitespace().count();
        if let Some(before) = last.replace(content.text) {
            memory.remember(&before);
        }
    }
    let instruction = instruction.as_ref().map(|content| content.text.as_str());
    let reply = memory.reply(&last.unwrap_or_default(), instruction, &Map::new());
    Ok(Prompt { reply, tokens })
}

fn count_tokens(model: &str, version: &str, body: &[u8]) -> Response<Body> {
    match prompt(model, version, body) {
        Ok(prompt) => answer::json(StatusCode::OK, &json!({"totalTokens": prompt.tokens})),
        Err(end) => refused_request(end),
    }
}

fn mint(emulator: &Emulator, body: &[u8]) -> Response<Body> {
    // The Python SDK sends no body at all for an empty config.
    let parsed = if body.is_empty() { Ok(json!({})) } else { super::session::parse(body) };
    let body = match parsed {
        Ok(body) => body,
        Err(end) => return refused_request(end),
    };
    match emulator.tokens.mint(&body, emulator.next_id(), token::now()) {
        Ok(name) => answer::json(StatusCode::OK, &json!({ "name": name })),
        Err(message) => invalid_argument(&message),
    }
}

fn described(model: &str) -> Value {
    let methods = match model {
        "lyria-realtime-exp" => json!(["bidiGenerateMusic"]),
        "gemini-2.5-flash-native-audio" => json!(["countTokens", "bidiGenerateContent"]),
        _ => json!(["generateContent", "countTokens", "bidiGenerateContent"]),
    };
    json!({
        "name": format!("models/{model}"),
        "displayName": format!("{model} (emulated)"),
        "inputTokenLimit": 131_072,
        "outputTokenLimit": 8192,
        "supportedGenerationMethods": methods,
    })
}

/// A 400 with this message.
pub(crate) fn invalid_argument(message: &str) -> Response<Body> {
    error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
}

/// What a body that cannot be read is answered with.
pub(crate) fn refused_request(end: End) -> Response<Body> {
    match end {
        End::Close(1008, message) => error(StatusCode::NOT_FOUND, "NOT_FOUND", &message),
        End::Close(_, message) => invalid_argument(&message),
        End::Gone => invalid_argument("The request broke off."),
    }
}

/// What a refused caller is answered with.
pub(crate) fn refusal(refused: &Refused) -> Response<Body> {
    let (code, status, reason) = match refused {
        Refused::Unregistered => return error(StatusCode::FORBIDDEN, "PERMISSION_DENIED", &refused.message()),
        Refused::BadKey => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", "API_KEY_INVALID"),
        Refused::InUrl(_) => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "CREDENTIAL_IN_URL"),
    };
    let detail = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    });
    let message = refused.message();
    let error = json!({"code": code.as_u16(), "message": message, "status": status, "details": [detail]});
    answer::json(code, &json!({ "error": error }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_paths_of_every_call() {
        let kind = |path: &str| call(path).map(|call| call.kind);
        assert_eq!(kind("/v1beta/models"), Some(Kind::Models));
        assert_eq!(kind("/v1/models/gemini-x"), Some(Kind::Model("gemini-x".to_owned())));
        assert_eq!(kind("/v1/models/gemini-x:generateContent"), Some(Kind::Generate("gemini-x".to_owned())));
        assert_eq!(kind("/v1alpha/auth_tokens"), Some(Kind::Mint));
        assert_eq!(kind("/v1alpha/models/gemini-x:embed"), Some(Kind::Unknown));
        assert_eq!(kind("/v2/models"), None);
        assert_eq!(kind("/demo/echo"), None);
    }
}
