//! What of a session's setup is shown to whoever looks after it: cut short, and without what stands for a credential.

use crate::json::{self, Caps, Object, Value};

/// What is shown has at most so many bytes.
const BYTES_MAX: usize = 8 << 10;
/// What stands for what is not shown.
const HIDDEN: &str = "•";
/// A text under a name with one of these in it may be a credential; a handle goes on with a session.
const TELLING: [&str; 9] = ["key", "token", "auth", "secret", "credential", "passw", "jwt", "handle", "cookie"];

/// How much is shown.
#[derive(Clone, Copy)]
struct Room {
    text_chars: usize,
    items: usize,
    depth: usize,
}

const ROOMY: Room = Room { text_chars: 240, items: 48, depth: 8 };
const NARROW: Room = Room { text_chars: 40, items: 12, depth: 4 };

/// The setup in a message of Gemini, `{"setup": …}`, or of OpenAI Realtime, `{"session": …}`, as JSON of up to 8 KiB; `None`
/// where there is none in it.
#[must_use]
pub fn shown(message: &[u8]) -> Option<String> {
    let caps = Caps::default().with_bytes_max(message.len());
    let Ok(Value::Object(mut message)) = json::parse(message, &caps) else { return None };
    match message.remove("setup").or_else(|| message.remove("session"))? {
        Value::Object(setup) => Some(rendered(setup)),
        _ => None,
    }
}

/// What an update of OpenAI Realtime leaves a session with that was locked to `locked` before.
#[must_use]
pub fn updated(locked: &Object, update: &[u8]) -> Option<String> {
    let caps = Caps::default().with_bytes_max(update.len());
    let Ok(Value::Object(mut update)) = json::parse(update, &caps) else { return None };
    let Some(Value::Object(asked)) = update.remove("session") else { return None };
    let mut effective = locked.clone();
    lay_over(&mut effective, asked);
    Some(rendered(effective))
}

fn lay_over(below: &mut Object, above: Object) {
    for (name, value) in above {
        match (below.member_mut(&name), value) {
            (Some(Value::Object(below)), Value::Object(above)) => lay_over(below, above),
            (_, value) => below.set(name, value),
        }
    }
}

fn rendered(setup: Object) -> String {
    let whole = Value::Object(setup);
    let fits = |room| Some(cut(whole.clone(), room).render()).filter(|text| text.len() <= BYTES_MAX);
    fits(ROOMY).or_else(|| fits(NARROW)).unwrap_or_else(|| String::from("{}"))
}

fn cut(value: Value, room: Room) -> Value {
    let inner = Room { depth: room.depth.saturating_sub(1), ..room };
    match value {
        Value::Object(_) | Value::Array(_) if room.depth == 0 => Value::from("…"),
        Value::String(text) if text.chars().nth(room.text_chars).is_some() => {
            Value::String(text.chars().take(room.text_chars).chain(['…']).collect())
        }
        Value::Array(items) => {
            let is_cut = items.len() > room.items;
            let kept = items.into_iter().take(room.items).map(|item| cut(item, inner));
            Value::Array(kept.chain(is_cut.then(|| Value::from("…"))).collect())
        }
        Value::Object(object) => {
            let members = object.into_iter().take(room.items).map(|(name, value)| {
                let value = if is_telling(&name) { hidden(value) } else { cut(value, inner) };
                (name, value)
            });
            Value::Object(members.collect())
        }
        other => other,
    }
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "headers" || TELLING.iter().any(|telling| name.contains(telling))
}

/// Numbers and switches, such as `maxOutputTokens`, are no credentials.
fn hidden(value: Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
        Value::String(_) | Value::Array(_) | Value::Object(_) => Value::from(HIDDEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        match json::parse(text.as_bytes(), &Caps::default()) {
            Ok(Value::Object(object)) => object,
            _ => panic!("an object"),
        }
    }

    #[test]
    fn a_setup_is_shown_without_what_may_be_a_credential() {
        let message = br#"{"setup":{"model":"models/a","sessionResumption":{"handle":"CANARY"},
            "generationConfig":{"maxOutputTokens":5},"tools":[{"authorization":"CANARY","headers":{"X":"CANARY"}}]}}"#;
        assert_eq!(
            shown(message).as_deref(),
            Some(
                r#"{"model":"models/a","sessionResumption":{"handle":"•"},"generationConfig":{"maxOutputTokens":5},"tools":[{"authorization":"•","headers":"•"}]}"#
            )
        );
        assert_eq!(shown(br#"{"clientContent":{}}"#), None);
        assert_eq!(shown(br#"{"session":{"type":"realtime"}}"#).as_deref(), Some(r#"{"type":"realtime"}"#));
        assert_eq!(shown(b"no JSON"), None);
    }

    #[test]
    fn a_setup_is_shown_in_a_bounded_space() {
        let long = format!(r#"{{"setup":{{"systemInstruction":"{}"}}}}"#, "ä".repeat(10_000));
        let text = shown(long.as_bytes()).expect("a setup");
        assert!(text.len() < 600 && text.ends_with("ä…\"}"), "{text}");
        let many: Vec<String> = (0..4_000).map(|number| format!(r#""f{number}":["{}"]"#, "x".repeat(300))).collect();
        let text = shown(format!(r#"{{"setup":{{{}}}}}"#, many.join(",")).as_bytes()).expect("a setup");
        assert!(text.len() <= BYTES_MAX && text.contains("f0"), "{}", text.len());
        let deep = format!(r#"{{"setup":{}1{}}}"#, r#"{"a":"#.repeat(40), "}".repeat(40));
        assert!(shown(deep.as_bytes()).expect("a setup").contains('…'));
    }

    #[test]
    fn an_update_is_laid_over_what_was_locked() {
        let locked = object(r#"{"instructions":"X","audio":{"output":{"voice":"marin"}}}"#);
        let update = br#"{"type":"session.update","session":{"audio":{"output":{"speed":2}},"tools":[]}}"#;
        let effective = r#"{"instructions":"X","audio":{"output":{"voice":"marin","speed":2}},"tools":[]}"#;
        assert_eq!(updated(&locked, update).as_deref(), Some(effective));
        assert_eq!(updated(&locked, br#"{"type":"response.create"}"#), None);
    }
}
