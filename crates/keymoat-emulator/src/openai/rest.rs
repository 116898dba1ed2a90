//! OpenAI over HTTP: models, chat completions, responses and client secrets, with OpenAI's errors.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::admission;
use super::fault::{self, Fault};
use super::secret;
use crate::answer::{self, Body};
use crate::emulator::Emulator;
use crate::gemini::context::{self, Context};

/// The models that are listed; others work too.
const MODELS: [&str; 4] = ["gpt-5", "gpt-5-mini", "gpt-realtime", "gpt-realtime-mini"];

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Models,
    Model(String),
    ChatCompletions,
    Responses,
    ClientSecrets,
    Unknown,
}

/// Reads a path of OpenAI's. `/v1/models` is Google's too: it is OpenAI's for a caller with `Authorization`.
pub(crate) fn call(path: &str, headers: &HeaderMap) -> Option<Call> {
    let rest = path.strip_prefix("/v1/")?;
    let family = rest.split('/').next().unwrap_or_default();
    match rest {
        "chat/completions" => Some(Call::ChatCompletions),
        "responses" => Some(Call::Responses),
        "realtime/client_secrets" => Some(Call::ClientSecrets),
        "models" if is_openai_s(headers) => Some(Call::Models),
        _ if family == "models" && is_openai_s(headers) => {
            rest.strip_prefix("models/").map(|model| Call::Model(model.to_owned()))
        }
        _ => matches!(family, "chat" | "responses" | "realtime" | "embeddings" | "audio").then_some(Call::Unknown),
    }
}

fn is_openai_s(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) && !headers.contains_key("x-goog-api-key")
}

/// Answers a call.
pub(crate) fn answer(emulator: &Emulator, head: &Parts, body: &[u8], call: Call) -> Response<Body> {
    if let Err(refused) = admission::key(emulator, &head.headers, &head.uri) {
        return refused.fault().answer(StatusCode::UNAUTHORIZED);
    }
    let wanted = if matches!(call, Call::Models | Call::Model(_)) { Method::GET } else { Method::POST };
    if head.method != wanted && call != Call::Unknown {
        let message = format!(
            "Not allowed to {} on this path. (HINT: Perhaps you meant to make a different request?)",
            head.method
        );
        return Fault { code: None, message, param: None }.answer(StatusCode::METHOD_NOT_ALLOWED);
    }
    match call {
        Call::Models => answer::json(StatusCode::OK, &json!({"object": "list", "data": MODELS.map(described)})),
        Call::Model(model) if MODELS.contains(&model.as_str()) => answer::json(StatusCode::OK, &described(&model)),
        Call::Model(_) => Fault::new("model_not_found", "The model does not exist.").answer(StatusCode::NOT_FOUND),
        Call::Unknown => {
            Fault { code: None, message: "Invalid URL".to_owned(), param: None }.answer(StatusCode::NOT_FOUND)
        }
        Call::ClientSecrets => {
            // The SDKs send `{}` for want of parameters; no body at all is the same.
            answered(parsed(if body.is_empty() { b"{}" } else { body }).and_then(|body| mint(emulator, &body)))
        }
        Call::ChatCompletions => answered(parsed(body).and_then(|body| chat(emulator, &body))),
        Call::Responses => answered(parsed(body).and_then(|body| responses(emulator, &body))),
    }
}

fn answered(result: Result<Response<Body>, Fault>) -> Response<Body> {
    result.unwrap_or_else(|fault| fault.answer(StatusCode::BAD_REQUEST))
}

fn parsed(body: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(body).map_err(|_| Fault {
        code: None,
        message: "We could not parse the JSON body of your request.".to_owned(),
        param: None,
    })
}

fn mint(emulator: &Emulator, body: &Value) -> Result<Response<Body>, Fault> {
    let minted = emulator.client_secrets.mint(body, emulator.next_id(), secret::now())?;
    Ok(answer::json(StatusCode::OK, &minted))
}

fn described(model: &str) -> Value {
    json!({"id": model, "object": "model", "created": 1_756_339_200, "owned_by": "openai"})
}

/// What a request for text says, and the reply to it.
struct Prompt {
    model: String,
    streams: bool,
    reply: String,
    tokens: usize,
}

fn chat(emulator: &Emulator, body: &Value) -> Result<Response<Body>, Fault> {
    let Value::Object(members) = body else { return Err(Fault::mismatch("", "an object", body)) };
    if fault::array(members, "messages", "")?.is_empty() {
        return Err(Fault::missing("messages"));
    }
    let prompt = prompt(members, "messages", None)?;
    let (id, model) = (format!("chatcmpl-emulated-{}", emulator.next_id()), prompt.model);
    let created = secret::now().as_second();
    let words = prompt.reply.split_whitespace().count();
    let usage = json!({
        "prompt_tokens": prompt.tokens, "completion_tokens": words, "total_tokens": prompt.tokens.saturating_add(words),
    });
    if !prompt.streams {
        let message = json!({"role": "assistant", "content": prompt.reply, "refusal": null, "annotations": []});
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
        let whole = json!({
            "id": id, "object": "chat.completion", "created": created, "model": model, "choices": [choice],
            "usage": usage,
        });
        return Ok(answer::json(StatusCode::OK, &whole));
    }
    let shows_usage =
        members.get("stream_options").and_then(|options| options.get("include_usage")) == Some(&json!(true));
    let chunk = |choices: Value, usage: &Value| {
        json!({
            "id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": choices,
            "usage": usage,
        })
    };
    let choice =
        |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
    let none = Value::Null;
    let mut chunks = vec![chunk(choice(json!({"role": "assistant", "content": ""}), Value::Null), &none)];
    let pieces = context::pieces(&prompt.reply);
    chunks.extend(pieces.iter().map(|piece| chunk(choice(json!({ "content": piece }), Value::Null), &none)));
    chunks.push(chunk(choice(json!({}), json!("stop")), &none));
    if shows_usage {
        chunks.push(chunk(json!([]), &usage));
    }
    let mut events: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    events.push("data: [DONE]\n\n".to_owned());
    Ok(streamed(emulator, events))
}

fn responses(emulator: &Emulator, body: &Value) -> Result<Response<Body>, Fault> {
    let Value::Object(members) = body else { return Err(Fault::mismatch("", "an object", body)) };
    let instructions = fault::string(members, "instructions", "")?;
    let prompt = prompt(members, "input", instructions)?;
    let n = emulator.next_id();
    let words = prompt.reply.split_whitespace().count();
    let (item_id, created) = (format!("msg_emulated_{n}"), secret::now().as_second());
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    let item = |status: &str, content: Value| json!({"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content});
    let response = |status: &str, output: Value, usage: Value| {
        json!({
            "id": format!("resp_emulated_{n}"), "object": "response", "created_at": created, "status": status,
            "error": null, "incomplete_details": null, "instructions": instructions, "metadata": {},
            "model": prompt.model, "output": output, "parallel_tool_calls": true, "temperature": 1.0,
            "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": usage,
        })
    };
    let usage = json!({
        "input_tokens": prompt.tokens, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": words,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": prompt.tokens.saturating_add(words),
    });
    let whole = response("completed", json!([item("completed", json!([part(&prompt.reply)]))]), usage);
    if !prompt.streams {
        return Ok(answer::json(StatusCode::OK, &whole));
    }
    let at = json!({"item_id": item_id, "output_index": 0, "content_index": 0});
    let with = |more: Value| {
        let mut both = at.as_object().cloned().unwrap_or_default();
        both.extend(more.as_object().cloned().unwrap_or_default());
        Value::Object(both)
    };
    let begun = response("in_progress", json!([]), Value::Null);
    let mut events = vec![
        ("response.created", json!({ "response": begun })),
        ("response.in_progress", json!({ "response": begun })),
        ("response.output_item.added", json!({"output_index": 0, "item": item("in_progress", json!([]))})),
        ("response.content_part.added", with(json!({"part": part("")}))),
    ];
    let pieces = context::pieces(&prompt.reply);
    events.extend(
        pieces.iter().map(|piece| ("response.output_text.delta", with(json!({"delta": piece, "logprobs": []})))),
    );
    events.extend([
        ("response.output_text.done", with(json!({"text": prompt.reply, "logprobs": []}))),
        ("response.content_part.done", with(json!({"part": part(&prompt.reply)}))),
        (
            "response.output_item.done",
            json!({"output_index": 0, "item": item("completed", json!([part(&prompt.reply)]))}),
        ),
        ("response.completed", json!({ "response": whole })),
    ]);
    let numbered = events.into_iter().enumerate().map(|(n, (kind, mut event))| {
        event["type"] = kind.into();
        event["sequence_number"] = n.into();
        format!("event: {kind}\ndata: {event}\n\n")
    });
    Ok(streamed(emulator, numbered.collect()))
}

/// Reads what both kinds of request have in common; `list` is the member with the messages.
fn prompt(members: &Map<String, Value>, list: &str, instructions: Option<&str>) -> Result<Prompt, Fault> {
    let model = fault::string(members, "model", "")?.ok_or_else(|| Fault::missing("model"))?.to_owned();
    let mut instructions = instructions.map(str::to_owned);
    let (mut memory, mut last, mut tokens) = (Context::default(), None::<String>, 0);
    let messages = match members.get(list) {
        None | Some(Value::Null) => return Err(Fault::missing(list)),
        Some(text @ Value::String(_)) => vec![json!({"role": "user", "content": text})],
        Some(Value::Array(messages)) => messages.clone(),
        Some(other) => return Err(Fault::mismatch(list, "an array", other)),
    };
    for (n, message) in messages.iter().enumerate() {
        let at = format!("{list}[{n}]");
        let Value::Object(message) = message else { return Err(Fault::mismatch(&at, "an object", message)) };
        let said = said(message, &at)?;
        tokens += said.split_whitespace().count();
        let roles = ["user", "assistant", "system", "developer", "tool", "function"];
        if matches!(fault::word(message, "role", &at, &roles)?, Some("system" | "developer")) {
            instructions = Some(said);
            continue;
        }
        if let Some(before) = last.replace(said) {
            memory.remember(&before);
        }
    }
    let reply = memory.reply(&last.unwrap_or_default(), instructions.as_deref(), &Map::new());
    let streams = members.get("stream").and_then(Value::as_bool).unwrap_or(false);
    Ok(Prompt { model, streams, reply, tokens })
}

/// The text of one message: a string, or parts with text.
fn said(message: &Map<String, Value>, at: &str) -> Result<String, Fault> {
    match message.get("content") {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
            Ok(texts.join(" "))
        }
        Some(other) => Err(Fault::mismatch(&fault::below(at, "content"), "a string or an array", other)),
    }
}

fn streamed(emulator: &Emulator, events: Vec<String>) -> Response<Body> {
    let pause: Duration = emulator.openai.paced(emulator.openai.text_pause);
    answer::streamed("text/event-stream; charset=utf-8", 0, pause, move |n| {
        events.get(usize::try_from(n).ok()?).cloned()
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn models_are_openai_s_for_a_caller_with_authorization() {
        let mut headers = HeaderMap::new();
        assert_eq!(call("/v1/models", &headers), None);
        assert_eq!(call("/v1/chat/completions", &headers), Some(Call::ChatCompletions));
        assert_eq!(call("/v1/realtime/x", &headers), Some(Call::Unknown));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        assert_eq!(call("/v1/models", &headers), Some(Call::Models));
        assert_eq!(call("/v1/models/gpt-5", &headers), Some(Call::Model("gpt-5".to_owned())));
        assert_eq!(call("/v1beta/models", &headers), None);
        headers.insert("x-goog-api-key", HeaderValue::from_static("x"));
        assert_eq!(call("/v1/models", &headers), None);
    }

    #[test]
    fn a_prompt_is_a_text_or_messages() {
        let read = |body: Value| prompt(body.as_object().expect("an object"), "input", None).map(|prompt| prompt.reply);
        let expected = "Turn 1: you said \"hi\", that is 1 words.";
        assert_eq!(read(json!({"model": "m", "input": "hi"})).as_deref(), Ok(expected));
        let parts = json!([{"type": "input_text", "text": "hi"}]);
        assert_eq!(read(json!({"model": "m", "input": [{"role": "user", "content": parts}]})).as_deref(), Ok(expected));
        let remembered = json!({"model": "m", "input": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": "a"},
            {"role": "user", "content": "hi"},
        ]});
        let reply = read(remembered).expect("well formed");
        assert!(reply.contains("Before that I heard \"a\"") && reply.contains("be brief"), "{reply}");
        assert_eq!(read(json!({"model": "m"})).expect_err("no input").param.as_deref(), Some("input"));
        assert_eq!(read(json!({"input": "x"})).expect_err("no model").param.as_deref(), Some("model"));
    }
}
