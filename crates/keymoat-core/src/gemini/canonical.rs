//! Messages in Google's JSON form of protobuf, brought to one spelling: camelCase, and no field under two names.

use std::collections::HashSet;

use super::field::{self, Place};
use crate::json::{Object, Value};

/// Two spellings of one field stand in one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TwoSpellings(pub(super) Place);

/// What an object's names are.
#[derive(Clone, Copy)]
enum Names {
    /// Fields of a message, known to Google under two spellings each.
    Fields,
    /// The user's own, above messages: the properties of a function's schema.
    OwnAboveMessages,
}

/// Renames all fields of a message to camelCase, at any depth, save below members that are the user's own: labels,
/// arguments, JSON schemas.
///
/// # Errors
/// [`TwoSpellings`] where an object names a field twice, in whatever spelling, also in another case.
pub(super) fn message(object: Object, place: &Place) -> Result<Object, TwoSpellings> {
    object_of(object, Names::Fields, place)
}

fn object_of(object: Object, names: Names, place: &Place) -> Result<Object, TwoSpellings> {
    let mut seen = HashSet::new();
    // INVARIANT: no name stands twice: the parser refuses that, and fields are compared folded.
    let mut canonical = Vec::with_capacity(object.len());
    for (name, value) in object {
        match names {
            Names::OwnAboveMessages => {
                let value = value_of(value, Names::Fields, &place.below(""))?;
                canonical.push((name, value));
            }
            Names::Fields => {
                let camel = field::camel(&name);
                let place = place.below(&camel);
                if !seen.insert(field::fold(&name)) {
                    return Err(TwoSpellings(place));
                }
                let value = match below(&camel) {
                    Below::Anything => value,
                    Below::Message(names) => value_of(value, names, &place)?,
                };
                canonical.push((camel, value));
            }
        }
    }
    Ok(Object::of_distinct(canonical))
}

fn value_of(value: Value, names: Names, place: &Place) -> Result<Value, TwoSpellings> {
    match value {
        Value::Object(object) => object_of(object, names, place).map(Value::Object),
        Value::Array(elements) => {
            let elements: Result<Vec<Value>, _> =
                elements.into_iter().map(|element| value_of(element, names, place)).collect();
            elements.map(Value::Array)
        }
        other => Ok(other),
    }
}

enum Below {
    Message(Names),
    /// A map or a free value of the user: left as it is.
    Anything,
}

/// What stands below a field. The same name means the same in all messages that a client sends.
fn below(field: &str) -> Below {
    match field {
        "properties" | "$defs" | "defs" => Below::Message(Names::OwnAboveMessages),
        "labels"
        | "args"
        | "response"
        | "parametersJsonSchema"
        | "responseJsonSchema"
        | "default"
        | "example"
        | "headers"
        | "partMetadata"
        | "customMetadata" => Below::Anything,
        _ => Below::Message(Names::Fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{self, Caps};

    fn canonical(text: &str) -> Result<String, String> {
        let Ok(Value::Object(object)) = json::parse(text.as_bytes(), &Caps::default()) else { panic!("an object") };
        message(object, &Place::default())
            .map(|object| object.render())
            .map_err(|TwoSpellings(place)| place.to_string())
    }

    #[test]
    fn e60_refuses_both_spellings_of_one_field_at_any_depth() {
        for (text, place) in [
            (r#"{"setup":{"generationConfig":{},"generation_config":{}}}"#, "`setup.generationConfig`"),
            (r#"{"setup":{"generation_config":{},"generationConfig":{}}}"#, "`setup.generationConfig`"),
            (r#"{"setup":{"generationConfig":{"topK":1,"top_k":2}}}"#, "`setup.generationConfig.topK`"),
            (r#"{"setup":{"a":1,"A":2}}"#, "`setup.…`"),
            (
                r#"{"setup":{"tools":[{"functionDeclarations":1,"function_declarations":2}]}}"#,
                "`setup.tools.functionDeclarations`",
            ),
            (
                r#"{"tools":[{"functionDeclarations":[{"parameters":{"properties":{"x":{"minItems":1,"min_items":2}}}}]}]}"#,
                "`tools.functionDeclarations.….….….…`",
            ),
            (
                r#"{"setup":{"systemInstruction":{"parts":[{"inlineData":1,"inline_data":2}]}}}"#,
                "`setup.systemInstruction.parts.…`",
            ),
        ] {
            assert_eq!(canonical(text).expect_err(text), place);
        }
    }

    #[test]
    fn e61_brings_snake_case_alone_to_one_spelling() {
        let text =
            r#"{"setup":{"generation_config":{"response_modalities":["AUDIO"]},"system_instruction":{"parts":[]}}}"#;
        let read =
            r#"{"setup":{"generationConfig":{"responseModalities":["AUDIO"]},"systemInstruction":{"parts":[]}}}"#;
        assert_eq!(canonical(text).as_deref(), Ok(read));
    }

    #[test]
    fn what_belongs_to_the_user_is_left_alone() {
        for text in [
            r#"{"labels":{"my_team":"a","myTeam":"b"}}"#,
            r#"{"functionResponses":[{"response":{"a_b":1,"aB":2}}]}"#,
            r#"{"parametersJsonSchema":{"properties":{"x_y":1,"xY":2}}}"#,
            r#"{"parameters":{"properties":{"user_id":{"type":"STRING"},"userId":{"type":"STRING"}}}}"#,
            r#"{"parameters":{"properties":{"properties":{"type":"OBJECT"},"labels":{"minItems":1}}}}"#,
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(text));
        }
    }
}
