//! The JSON Schema of `keymoat.toml`, made from the types that read it, for editors and for the book.

use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::file::File;
use super::shown::show_text;
use super::{Environment, Flags};

/// A file that says as little as it can, so that what is shown of it are the defaults.
pub(super) const LEAST: &str = "[upstream.NAME]\nurl = \"https://api.example\"\n[key.NAME]\nsecret = \"${env:SECRET}\"\n\
                     [route.NAME]\nupstream = \"NAME\"\npaths = [\"/*\"]\n";

/// The schema (draft 7, which every editor knows), with nothing to look up elsewhere in it.
///
/// # Errors
/// The defaults cannot be told, which a test rules out.
pub(crate) fn schema() -> anyhow::Result<Value> {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<File>().to_value();
    simplify(&mut schema);
    let environment = Environment::from([("SECRET".to_owned(), "km_not-a-secret-but-a-stand-in".to_owned())]);
    for shown in
        show_text("the least".to_owned(), LEAST.to_owned(), Path::new("."), (&Flags::default(), None), &environment)?
    {
        if shown.value.is_none() || !(shown.source == "default" || shown.source.starts_with("default: ")) {
            continue;
        }
        let (section, named) = match shown.section.split_once('.') {
            Some((section, _)) => (section, true),
            None => (shown.section.as_str(), false),
        };
        let place = if named { "additionalProperties/" } else { "" };
        let pointer = format!("/properties/{section}/{place}properties/{}", shown.name);
        if let Some(Value::Object(setting)) = schema.pointer_mut(&pointer) {
            setting.insert("default".to_owned(), shown.json());
        }
    }
    Ok(schema)
}

/// Takes out what TOML has no word for (`null`) and what says nothing (empty defaults, widths of numbers), and puts the
/// lines of a text together.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("default");
            object.remove("format");
            without_null(object);
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            // The names of settings are no words of the schema.
            for (word, inner) in object.iter_mut() {
                match inner {
                    Value::Object(named) if word == "properties" => named.values_mut().for_each(simplify),
                    _ => simplify(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|word| word != "null");
        if let [one] = &types[..] {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice != &json!({ "type": "null" }));
        if let [Value::Object(one)] = &choices[..] {
            let one = one.clone();
            object.remove("anyOf");
            for (word, value) in one {
                // What is said of the setting goes before what is said of its type.
                object.entry(word).or_insert(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot read its own input fails")]

    use super::*;

    fn is_read(text: String) -> bool {
        let environment = Environment::from([("SECRET".to_owned(), "km_not-a-secret-but-a-stand-in".to_owned())]);
        show_text("x".to_owned(), text, Path::new("."), (&Flags::default(), None), &environment).is_ok()
    }

    #[test]
    fn bounds_of_numbers_are_those_of_the_reader() {
        let schema = schema().unwrap();
        let mut bounds = 0;
        for section in ["listen", "limits", "events"] {
            for (name, setting) in schema["properties"][section]["properties"].as_object().unwrap() {
                let Some(max) = setting["maximum"].as_i64() else { continue };
                let with = |number: i64| format!("[{section}]\n{name} = {number}\n");
                let min = setting["minimum"].as_i64().unwrap();
                assert!(is_read(with(max)) && is_read(with(min)), "{name}");
                assert!(!is_read(with(max + 1)) && !is_read(with(min - 1)), "{name}");
                bounds += 1;
            }
        }
        assert_eq!(bounds, 8);
    }

    #[test]
    fn every_word_of_a_choice_is_taken_by_the_reader() {
        let schema = schema().unwrap();
        let words = |pointer: &str| {
            let words = schema.pointer(pointer).unwrap().as_array().unwrap().iter();
            words.map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for word in words("/properties/tls/properties/mode/enum") {
            let files = if word == "provided" { "cert = \"c\"\nkey = \"k\"\n" } else { "" };
            assert!(is_read(format!("[tls]\nmode = \"{word}\"\n{files}")), "{word}");
        }
        for (section, name) in [("tls", "min_version"), ("log", "format"), ("log", "level"), ("events", "delivery")] {
            for word in words(&format!("/properties/{section}/properties/{name}/enum")) {
                assert!(is_read(format!("[{section}]\n{name} = \"{word}\"\n")), "{word}");
            }
        }
        for (section, name) in
            [("upstream", "preset"), ("upstream", "http"), ("route", "query"), ("route", "lone_subprotocol")]
        {
            for word in words(&format!("/properties/{section}/additionalProperties/properties/{name}/enum")) {
                let heading = format!("[{section}.NAME]\n");
                assert!(is_read(LEAST.replace(&heading, &format!("{heading}{name} = \"{word}\"\n"))), "{word}");
            }
        }
    }
}
