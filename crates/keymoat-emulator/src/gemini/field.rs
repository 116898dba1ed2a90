//! Reads JSON objects as Google's protobuf parser does: both spellings of a name, unknown names refused.

use std::collections::BTreeMap;

use serde_json::Value;

use super::invalid;
use crate::websocket::End;

/// The members of one object under their camelCase names.
pub(crate) type Fields<'a> = BTreeMap<&'static str, &'a Value>;

/// Reads an object whose members are all in `known` (camelCase). Null members are absent, as in protobuf's JSON; of
/// two spellings of one name either may win (what Google does is not known).
pub(crate) fn object<'a>(value: &'a Value, at: &str, known: &[&'static str]) -> Result<Fields<'a>, End> {
    let Value::Object(members) = value else {
        return Err(mismatch(at, "an object", value));
    };
    let mut fields = Fields::new();
    for (name, member) in members {
        let camel = camel_case(name);
        let Some(known) = known.iter().find(|known| **known == camel) else {
            return Err(unknown(name, at));
        };
        if !member.is_null() {
            fields.insert(known, member);
        }
    }
    Ok(fields)
}

/// Reads an array; absent is empty.
pub(crate) fn array<'a>(fields: &Fields<'a>, name: &str, at: &str) -> Result<&'a [Value], End> {
    match fields.get(name) {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(mismatch(&format!("{at}.{name}"), "a list", other)),
    }
}

/// Reads a string, if it is there.
pub(crate) fn string<'a>(fields: &Fields<'a>, name: &str, at: &str) -> Result<Option<&'a str>, End> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(mismatch(&format!("{at}.{name}"), "a string", other)),
    }
}

/// Reads a boolean; absent is false.
pub(crate) fn boolean(fields: &Fields<'_>, name: &str, at: &str) -> Result<bool, End> {
    match fields.get(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(mismatch(&format!("{at}.{name}"), "a boolean", other)),
    }
}

/// Reads a number between `low` and `high`, if it is there.
pub(crate) fn number(fields: &Fields<'_>, name: &str, at: &str, low: f64, high: f64) -> Result<Option<f64>, End> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    match value.as_f64() {
        Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
        Some(number) => Err(invalid(format!("{at}.{name} must be between {low} and {high}, got {number}"))),
        None => Err(mismatch(&format!("{at}.{name}"), "a number", value)),
    }
}

/// Says that a name is not known, in Google's words.
pub(crate) fn unknown(name: &str, at: &str) -> End {
    let place = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
    // Long names from outside must not push the rest out of the close reason.
    let name: String = name.chars().take(40).collect();
    invalid(format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."))
}

fn mismatch(at: &str, expected: &str, value: &Value) -> End {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    invalid(format!("Invalid JSON payload received. Invalid value at '{at}': expected {expected}, got {kind}."))
}

/// Turns `snake_case` into `snakeCase` and leaves other names alone.
pub(crate) fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut after_underscore = false;
    for letter in name.chars() {
        match letter {
            '_' => after_underscore = true,
            _ if after_underscore => {
                camel.extend(letter.to_uppercase());
                after_underscore = false;
            }
            _ => camel.push(letter),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_both_spellings() {
        let value = json!({"generation_config": 1, "systemInstruction": 2, "tools": null});
        let fields = object(&value, "setup", &["generationConfig", "systemInstruction", "tools"]);
        let names: Vec<_> = fields.expect("every name is known").into_keys().collect();
        assert_eq!(names, ["generationConfig", "systemInstruction"]);
    }

    #[test]
    fn refuses_an_unknown_name_in_googles_words() {
        let value = json!({"voice": 1});
        let refused = object(&value, "setup", &["model"]);
        let reason = "Invalid JSON payload received. Unknown name \"voice\" at 'setup': Cannot find field.";
        assert_eq!(refused, Err(End::Close(1007, reason.to_owned())));
    }

    #[test]
    fn refuses_what_is_not_an_object() {
        let Err(End::Close(1007, reason)) = object(&json!([1]), "setup", &[]) else { panic!("was read") };
        assert!(reason.contains("'setup': expected an object, got a list"), "{reason}");
    }
}
