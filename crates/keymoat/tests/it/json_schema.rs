//! What the configuration's JSON Schema (draft 7) says of a value. A word of the schema that is not known here is an error
//! of the test, so that nothing goes unchecked.

use regex_automata::meta::Regex;
use serde_json::{Map, Value};

/// Everything in `value` that the schema does not allow, each with its place.
pub(crate) fn complaints(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, "", &mut found);
    found
}

/// A TOML text as the value that a schema speaks of; a date is its text.
pub(crate) fn of_toml(text: &str) -> Value {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}:\n{text}"));
    plain(toml::Value::Table(table))
}

fn plain(value: toml::Value) -> Value {
    match value {
        toml::Value::Datetime(moment) => Value::String(moment.to_string()),
        toml::Value::Array(items) => items.into_iter().map(plain).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(name, value)| (name, plain(value))).collect(),
        other => serde_json::to_value(other).expect("plain"),
    }
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return found.push(format!("{at}: not allowed")),
        schema => schema.as_object().expect("a schema is an object"),
    };
    for (word, meant) in schema {
        let holds = match word.as_str() {
            "$schema" | "title" | "description" | "default" => true,
            "type" => is_of_type(value, meant.as_str().expect("one type")),
            "const" => value == meant,
            "enum" => meant.as_array().expect("a list").contains(value),
            "minimum" => value.as_i64() >= meant.as_i64(),
            "maximum" => value.as_i64() <= meant.as_i64(),
            "pattern" => value.as_str().is_none_or(|text| matches(meant, text)),
            "anyOf" => meant.as_array().expect("a list").iter().any(|one| complaints(one, value).is_empty()),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(meant, item, &format!("{at}/{index}"), found);
                }
                true
            }
            "propertyNames" => names(value).all(|name| complaints(meant, &Value::String(name.clone())).is_empty()),
            "properties" => {
                for (name, inner) in meant.as_object().expect("an object") {
                    if let Some(value) = value.get(name) {
                        check(inner, value, &format!("{at}/{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, inner) in value.as_object().into_iter().flatten() {
                    if !known.is_some_and(|known| known.contains_key(name)) {
                        check(meant, inner, &format!("{at}/{name}"), found);
                    }
                }
                true
            }
            unknown => panic!("{at}: this test does not know `{unknown}`"),
        };
        if !holds {
            found.push(format!("{at}: not as `{word}` says: {meant}"));
        }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        other => panic!("this test does not know the type `{other}`"),
    }
}

fn names(value: &Value) -> impl Iterator<Item = &String> {
    value.as_object().into_iter().flat_map(Map::keys)
}

fn matches(pattern: &Value, text: &str) -> bool {
    Regex::new(pattern.as_str().expect("a text")).expect("a pattern").is_match(text)
}

#[test]
fn what_is_not_allowed_is_complained_of() {
    let schema = serde_json::json!({
        "properties": { "a": { "anyOf": [{ "type": "integer", "maximum": 3 }, { "type": "string", "pattern": "^x" }] } },
        "additionalProperties": false
    });
    for (text, complaints_of_it) in [("a = 3", 0), ("a = 4", 1), ("a = \"xy\"", 0), ("a = \"y\"", 1), ("b = 1", 1)] {
        assert_eq!(complaints(&schema, &of_toml(text)).len(), complaints_of_it, "{text}");
    }
}
