//! The page of all settings: written from the schema with `UPDATE=1`, compared without.

use std::fmt::Write;

use serde_json::Value;

use crate::harness::{Folder, told};
use crate::schema::{assert_fresh, book, schema};

const HEAD: &str = "\
# Settings

Every section and setting of `keymoat.toml`. How a configuration is read, checked, shown and changed is told in
[Configuration](configuration.md).

This page is made from the [JSON Schema](keymoat.schema.json), and that from the program; `keymoat config schema` prints it. Editors
that know schemas of TOML files take it from the first line of the file: `#:schema ./keymoat.schema.json`.

Where no default stands, nothing is set, or the meaning says what holds.
";

/// A file with one section of each kind.
const EVERY_SECTION: &str = "[upstream.NAME]\nurl = \"https://api.example\"\n[key.NAME]\nsecret = \"${file:secret}\"\n\
                             [route.NAME]\nupstream = \"NAME\"\npaths = [\"/*\"]\n";

#[test]
fn the_page_of_settings_says_what_the_schema_says() {
    assert_fresh("settings.md", &page());
    let summary = std::fs::read_to_string(book("SUMMARY.md")).expect("the book has a summary");
    assert_eq!(summary.matches("(settings.md)").count(), 1);
}

#[test]
fn every_setting_stands_on_the_page_with_its_variable() {
    let (schema, page) = (schema(), page());
    let mut settings = 0;
    for (section, inner) in schema["properties"].as_object().expect("sections") {
        let (inner, variable) = match inner["additionalProperties"].is_object() {
            true => (&inner["additionalProperties"], format!("KEYMOAT__{section}__NAME").to_uppercase()),
            false => (inner, format!("KEYMOAT__{section}").to_uppercase()),
        };
        for (name, setting) in inner["properties"].as_object().expect("settings") {
            let row = format!("| `{name}`<br>`{variable}__{}` |", name.to_uppercase());
            assert_eq!(page.matches(&row).count(), 1, "{row}");
            assert!(setting["description"].as_str().is_some_and(|text| text.ends_with('.')), "{section} {name}");
            settings += 1;
        }
    }
    assert!(settings > 50, "{settings} settings were found");
}

/// The whole page. Settings stand in the order in which they are shown, which is not that of the alphabet.
fn page() -> String {
    let folder = Folder::new();
    folder.write("keymoat.toml", EVERY_SECTION);
    folder.write("secret", "km_a-stand-in-for-a-key");
    let (code, stdout, stderr) = told(&folder.run(&["config", "show", "--json"]));
    assert_eq!(code, Some(0), "{stderr}");
    let shown: Vec<Value> = serde_json::from_str(&stdout).expect("JSON");
    let schema = schema();
    let mut text = HEAD.to_owned();
    for settings in shown.chunk_by(|one, other| one["section"] == other["section"]) {
        let section = settings[0]["section"].as_str().expect("a text");
        let inner = match section.split_once('.') {
            Some((section, _)) => &schema["properties"][section]["additionalProperties"],
            None => &schema["properties"][section],
        };
        let description = inner["description"].as_str().expect("a section has a description");
        write!(text, "\n## `[{section}]`\n\n{description}\n\n").expect("a string takes all");
        text.push_str("| setting and variable | type | default | meaning |\n|---|---|---|---|\n");
        for setting in settings {
            let name = setting["name"].as_str().expect("a text");
            rows(&mut text, section, name, &inner["properties"][name]);
        }
    }
    text
}

fn rows(text: &mut String, section: &str, name: &str, setting: &Value) {
    let variable = format!("KEYMOAT__{section}__{name}").replace('.', "__").to_uppercase();
    let default = setting.get("default").map_or_else(String::new, |value| format!("`{value}`"));
    let meaning = setting["description"].as_str().expect("a setting has a description");
    writeln!(text, "| `{name}`<br>`{variable}` | {} | {default} | {meaning} |", kind(setting))
        .expect("a string takes all");
    for (inner, setting) in setting["properties"].as_object().into_iter().flatten() {
        rows(text, section, &format!("{name}.{inner}"), setting);
    }
}

/// What may be written, in words.
fn kind(setting: &Value) -> String {
    if let Some(title) = setting["title"].as_str() {
        return title.to_owned();
    }
    if let Some(words) = setting["enum"].as_array() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    match setting["type"].as_str().expect("a type") {
        "string" => "text".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "integer" => format!("number from {} to {}", setting["minimum"], setting["maximum"]),
        "array" => "list of texts".to_owned(),
        "object" => "table of what follows".to_owned(),
        other => panic!("a type that this page has no word for: {other}"),
    }
}
