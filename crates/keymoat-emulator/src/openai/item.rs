//! Conversation items: what the client adds, and what it means to the model.

use serde_json::{Map, Value, json};

use super::fault::{self, Fault};

/// How many bytes of JSON one item may have, its sound aside.
const ITEM_BYTES_MAX: usize = 64 * 1024;

/// What an item says to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// The user's words.
    Text(String),
    /// The user's voice, in milliseconds.
    Speech(u64),
    /// What a function that was called gave back.
    Function(String, String),
    /// History, or a remark of the system: nothing to answer.
    Context(String),
}

/// Reads the item of `conversation.item.create`; `id` is taken when it brings none.
pub(crate) fn read(value: &Value, id: impl FnOnce() -> String) -> Result<(Value, Input), Fault> {
    let Value::Object(members) = value else { return Err(Fault::mismatch("item", "an object", value)) };
    let kinds = ["message", "function_call", "function_call_output"];
    let kind = fault::word(members, "type", "item", &kinds)?.ok_or_else(|| Fault::missing("item.type"))?;
    let (mut item, input) = match kind {
        "message" => message(value)?,
        "function_call" => {
            let members =
                fault::object(value, "item", &["id", "object", "type", "status", "call_id", "name", "arguments"])?;
            let name = required(members, "name")?;
            required(members, "arguments")?;
            (members.clone(), Input::Context(format!("a call of {name}")))
        }
        _ => {
            let members = fault::object(value, "item", &["id", "object", "type", "status", "call_id", "output"])?;
            let (call, output) = (required(members, "call_id")?, required(members, "output")?);
            (members.clone(), Input::Function(call.to_owned(), output.to_owned()))
        }
    };
    let own = fault::string(members, "id", "item")?.filter(|id| !id.is_empty()).map(str::to_owned);
    item.insert("id".to_owned(), own.unwrap_or_else(id).into());
    item.insert("object".to_owned(), "realtime.item".into());
    item.insert("status".to_owned(), "completed".into());
    let item = Value::Object(item);
    if item.to_string().len() > ITEM_BYTES_MAX {
        return Err(Fault::new("string_above_max_length", "The item is too long."));
    }
    Ok((item, input))
}

/// The item that the user's voice becomes.
pub(crate) fn of_speech(id: &str) -> Value {
    let content = json!([{"type": "input_audio", "transcript": null}]);
    json!({
        "id": id, "object": "realtime.item", "type": "message", "status": "completed", "role": "user", "content": content,
    })
}

fn message(value: &Value) -> Result<(Map<String, Value>, Input), Fault> {
    let members = fault::object(value, "item", &["id", "object", "type", "status", "role", "content", "phase"])?;
    let roles = ["user", "assistant", "system"];
    let role = fault::word(members, "role", "item", &roles)?.ok_or_else(|| Fault::missing("item.role"))?;
    let known: &[&str] = match role {
        "user" => &["input_text", "input_audio", "input_image"],
        "assistant" => &["output_text", "output_audio"],
        _ => &["input_text"],
    };
    let (mut said, mut millis, mut kept) = (String::new(), 0, Vec::new());
    for (n, part) in fault::array(members, "content", "item")?.iter().enumerate() {
        let at = format!("item.content[{n}]");
        let part = fault::object(part, &at, &["type", "text", "audio", "transcript", "image_url", "detail"])?;
        let kind = fault::word(part, "type", &at, known)?.ok_or_else(|| Fault::missing(&fault::below(&at, "type")))?;
        if kind.ends_with("text") && fault::string(part, "text", &at)?.is_none() {
            return Err(Fault::missing(&fault::below(&at, "text")));
        }
        for name in ["text", "transcript"] {
            let text = fault::string(part, name, &at)?.unwrap_or_default();
            if !said.is_empty() && !text.is_empty() {
                said.push(' ');
            }
            said.push_str(text);
        }
        // Three bytes in four characters, two bytes a sample, 24 samples a millisecond.
        millis += fault::string(part, "audio", &at)?.map_or(0, |audio| audio.len() as u64 / 4 * 3 / 48);
        let mut part = part.clone();
        part.remove("audio");
        kept.push(Value::Object(part));
    }
    let input = match role {
        "user" if said.is_empty() && millis > 0 => Input::Speech(millis),
        "user" => Input::Text(said),
        _ => Input::Context(said),
    };
    let mut item = members.clone();
    item.insert("content".to_owned(), Value::Array(kept));
    Ok((item, input))
}

fn required<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Fault> {
    fault::string(members, name, "item")?.ok_or_else(|| Fault::missing(&fault::below("item", name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(value: &Value) -> Result<(Value, Input), Fault> {
        read(value, || "item_1".to_owned())
    }

    #[test]
    fn a_message_of_the_user_is_something_to_answer() {
        let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]});
        let (item, input) = made(&item).expect("well formed");
        assert_eq!((item["id"].as_str(), input), (Some("item_1"), Input::Text("hello".to_owned())));
        let item = json!({"type": "function_call_output", "call_id": "c", "output": "7"});
        assert_eq!(made(&item).expect("well formed").1, Input::Function("c".to_owned(), "7".to_owned()));
    }

    #[test]
    fn a_mistake_names_its_place() {
        for (item, param) in [
            (json!({"role": "user"}), "item.type"),
            (json!({"type": "message"}), "item.role"),
            (json!({"type": "message", "role": "user", "content": [{"type": "text"}]}), "item.content[0].type"),
            (json!({"type": "message", "role": "user", "content": [{"type": "input_text"}]}), "item.content[0].text"),
            (json!({"type": "message", "role": "user", "audio": 1}), "item.audio"),
            (json!({"type": "function_call_output", "call_id": "c"}), "item.output"),
        ] {
            assert_eq!(made(&item).expect_err("refused").param.as_deref(), Some(param));
        }
    }
}
