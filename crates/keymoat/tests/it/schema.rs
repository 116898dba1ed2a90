//! The JSON Schema of the configuration: kept in the book as the binary prints it, and true of every example.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::configurations::{KEYS_IN_URLS, VOICE};
use crate::harness::{Folder, told};
use crate::json_schema::{complaints, of_toml};

/// How the generated files of the book are written anew.
const UPDATE: &str = "UPDATE=1 cargo nextest run -p keymoat --test it schema settings_page help";

/// A page of the book, or the folder of all.
pub(crate) fn book(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src").join(name)
}

/// Compares a generated file of the book with what it should be, or writes it where that is asked for.
pub(crate) fn assert_fresh(name: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(book(name), expected).expect("the file can be written");
    }
    let found = fs::read_to_string(book(name)).unwrap_or_default();
    assert!(found == expected, "docs/src/{name} is stale: run `{UPDATE}`");
}

fn printed() -> String {
    let (code, stdout, stderr) = told(&Folder::new().run(&["config", "schema"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    stdout
}

/// The schema that the binary prints.
pub(crate) fn schema() -> Value {
    serde_json::from_str(&printed()).expect("JSON")
}

#[test]
fn the_schema_in_the_book_is_the_one_that_is_printed() {
    assert_fresh("keymoat.schema.json", &printed());
}

#[test]
fn the_two_configurations_of_the_plan_are_valid_and_a_slip_in_them_is_not() {
    let schema = schema();
    for text in [VOICE, KEYS_IN_URLS] {
        assert_eq!(complaints(&schema, &of_toml(text)), [""; 0]);
    }
    for (right, wrong, place) in [
        ("trusted_proxies", "trusted_proxys", "/listen/trusted_proxys: not allowed"),
        ("mode = \"behind_proxy\"", "mode = \"behind\"", "/tls/mode: "),
        ("enabled = false", "enabled = \"no\"", "/admin/enabled: "),
        ("\"${file:gemini}\"", "\"the-key-itself\"", "/upstream/gemini/secret: "),
        ("[key.backend]", "[key.\"back end\"]", "/key: "),
        ("uses_max = 10", "uses_max = 0", "/route/voice/tokens/uses_max: "),
        ("\"30m\"", "\"30 parsecs\"", "/route/voice/tokens/live_max: "),
        ("[route.voice]", "[routes.voice]", "/routes: not allowed"),
    ] {
        assert!(VOICE.contains(right), "{right}");
        let found = complaints(&schema, &of_toml(&VOICE.replace(right, wrong)));
        assert!(matches!(&found[..], [one] if one.starts_with(place)), "{wrong}: {found:?}");
    }
}

#[test]
fn what_config_show_prints_is_valid() {
    let (schema, folder) = (schema(), Folder::new());
    let mut shown = Vec::new();
    for preset in ["gemini", "openai", "events"] {
        let mut command = folder.command(&["config", "show", "--preset", preset]);
        if preset == "events" {
            command.env("KEYMOAT__UPSTREAM__EVENTS__URL", "http://127.0.0.1:8000");
        }
        shown.push(command.output().expect("it runs"));
    }
    for (name, text) in [("voice.toml", VOICE), ("events.toml", KEYS_IN_URLS)] {
        folder.write(name, text);
        for (name, content) in [("gemini", "the-real-key"), ("events", "the-real-key"), ("database_url", "sqlite:kept")]
        {
            folder.write(name, content);
        }
        folder.write("backend_key", "the-key-of-the-backend-1");
        shown.push(folder.run(&["config", "show", name]));
    }
    for output in shown {
        let (code, stdout, stderr) = told(&output);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(complaints(&schema, &of_toml(&stdout)), [""; 0], "{stdout}");
        // And it is taken by the program as well.
        folder.write("shown.toml", &stdout);
        let (code, again, stderr) = told(&folder.run(&["config", "show", "shown.toml"]));
        let values =
            |text: &str| text.lines().filter_map(|line| line.split("  # ").next()).collect::<Vec<_>>().join("\n");
        assert_eq!((code, of_toml(&again)), (Some(0), of_toml(&stdout)), "{stderr}");
        assert_eq!(values(&again).matches('\n').count(), values(&stdout).matches('\n').count());
    }
}

#[test]
fn every_example_of_the_documents_is_valid() {
    let schema = schema();
    let mut pages = vec![book("../../README.md")];
    gather(&book(""), &mut pages);
    let mut examples = 0;
    for page in pages {
        let text = fs::read_to_string(&page).expect("readable");
        for example in text.split("```toml\n").skip(1) {
            let example = example.split("```").next().unwrap_or_default();
            let found = complaints(&schema, &of_toml(example));
            assert!(found.is_empty(), "{}: {found:?}:\n{example}", page.display());
            examples += 1;
        }
    }
    assert!(examples >= 8, "{examples} examples were found");
}

fn gather(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the book").flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}
