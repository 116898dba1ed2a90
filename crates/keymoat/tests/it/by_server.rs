//! Commands while a server runs on their store: the same answers and the same events as without one, by the server's hand.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::{Administered, ask_socket};
use crate::harness::{Folder, Keymoat, PATIENCE, told};

/// A life of everything that commands change: what is run, and what is given to it on standard input.
const LIFE: [(&[&str], &str); 35] = [
    (&["key", "create", "voice", "--scope", "voice", "--scope", "mint", "--limit", "sessions=3"], ""),
    (&["key", "create", "voice"], ""),
    (&["key", "create", "dated", "--rotate-after", "2199-01-01", "--json"], ""),
    (&["key", "change", "voice", "--name", "app", "--limit", "requests-per-second=5", "--expires", "2199-01-01"], ""),
    (&["key", "change", "app", "--rotate-after", "2199-01-01"], ""),
    (&["key", "change", "app", "--rotate-after", "30d", "--expires", "never", "--json"], ""),
    (&["key", "change", "app"], ""),
    (&["key", "change", "dated", "--name", "app"], ""),
    (&["key", "change", "nobody", "--name", "x"], ""),
    (&["key", "retire", "app"], ""),
    (&["key", "rotate", "app", "--overlap", "1h"], ""),
    (&["key", "retire", "app"], ""),
    (&["key", "rotate", "app", "--if-older-than", "30d"], ""),
    (&["key", "import", "-", "--dry-run"], IMPORTED),
    (&["key", "import", "-", "--scope", "voice", "--limit", "sessions=2", "--rotate-after", "2199-01-01"], IMPORTED),
    (&["key", "import", "-", "--json"], IMPORTED),
    (&["key", "show", "front door"], ""),
    (
        &[
            "token",
            "create",
            "--key",
            "app",
            "--uses",
            "unlimited",
            "--limit",
            "sessions=1",
            "--limit",
            "total-bytes=1KiB",
        ],
        "",
    ),
    (
        &[
            "token",
            "create",
            "--key",
            "app",
            "--route",
            "voice",
            "--start-within",
            "1500ms",
            "--max-bytes",
            "9",
            "--json",
        ],
        "",
    ),
    (&["token", "create", "--key", "app", "--limit", "sessions=4"], ""),
    (&["token", "create", "--key", "app", "--route", "events"], ""),
    (&["token", "create", "--key", "app", "--gemini-setup", "-"], r#"{"setup":{"model":"models/x"}}"#),
    (&["upstream", "list"], ""),
    (&["upstream", "add", "later", "--secret-file", "-"], "the-real-key-of-an-upstream"),
    (&["upstream", "add", "later", "--secret-file", "-"], "the-real-key-of-an-upstream"),
    (&["upstream", "rotate", "later", "--secret-file", "-", "--json"], "the-next-key-of-an-upstream"),
    (&["upstream", "rotate", "nobody", "--secret-file", "-"], "the-next-key-of-an-upstream"),
    (&["upstream", "list"], ""),
    (&["upstream", "remove", "later"], ""),
    (&["upstream", "remove", "later"], ""),
    (&["upstream", "list", "--json"], ""),
    (&["admin", "create", "ada", "--role", "operator"], ""),
    (&["admin", "create", "bob", "--role", "admin", "--password-file", "-", "--json"], "correct horse battery"),
    (&["admin", "remove", "ada"], ""),
    (&["key", "revoke", "app"], ""),
];

const IMPORTED: &str = "front door,a-key-of-the-front-door\nshort=x7\nan-unnamed-key-of-somebody\nback,two words\nan-unnamed-key-of-somebody\n";

fn run(folder: &Folder, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = folder.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    // One that reads nothing may have ended.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    told(&child.wait_with_output().expect("it ends"))
}

/// A text without what differs from one run to the next: ids, credentials, times, and the width of columns.
fn plain(text: &str) -> String {
    let word = |word: &str| -> String {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let starts = ["key_", "sec_", "tok_", "adm_", "km_", "kmt_", "kma_"];
        match starts.iter().find(|start| bare.starts_with(**start)) {
            Some(start) => word.replace(bare, start),
            None if bare.len() >= 10 && bare.starts_with("20") && bare.contains('-') && !bare.starts_with("2199") => {
                word.replace(bare, "TIME")
            }
            None => word.to_owned(),
        }
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// What each command of the life answered.
fn lived(folder: &Folder) -> Vec<String> {
    let answered = |(arguments, input): &(&[&str], &str)| {
        let (code, stdout, stderr) = run(folder, arguments, input);
        for secret in ["a-key-of-the-front", "an-unnamed-key", "the-real-key", "the-next-key", "correct horse"] {
            assert!(!format!("{stdout}{stderr}").contains(secret), "{arguments:?}: {stdout}{stderr}");
        }
        // How far away a moment is depends on how long it took.
        let mut parts = stderr.split(" (in ");
        let first = parts.next().unwrap_or_default().to_owned();
        let stderr = parts.fold(first, |text, part| text + part.split_once(')').map_or(part, |(_, rest)| rest));
        format!("{} => {code:?}\n{}\n{}", arguments.join(" "), plain(&stdout), plain(&stderr))
    };
    LIFE.iter().map(answered).collect()
}

/// The acts of commands that are kept: who, what, to what kind of thing, and the detail.
fn acts(folder: &Folder) -> Vec<String> {
    let (code, stdout, stderr) = told(&folder.run(&["audit", "tail", "--json", "-n", "1000", "--kind", "acts"]));
    assert_eq!(code, Some(0), "{stderr}");
    let events = stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let commands = events.filter(|event| event["actor"] == "command");
    commands.map(|event| plain(&format!("{} {} {}", event["type"], event["target"], event["detail"]))).collect()
}

/// The same, once there are `count` of them, or will not be: a server that runs writes them down a moment later.
fn acts_of(folder: &Folder, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = acts(folder);
        if found.len() >= count || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_command_answers_and_is_told_of_as_without_a_server_and_the_server_does_it() {
    let alone = Folder::new();
    let (expected, expected_acts) = (lived(&alone), acts(&alone));
    let keymoat = Keymoat::first_run();
    let found = lived(&keymoat.folder);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(acts_of(&keymoat.folder, expected_acts.len()), expected_acts);
    // What the server does by itself stands in its own log.
    let log = keymoat.output();
    for action in [
        "key.created",
        "key.changed",
        "key.rotated",
        "key.imported",
        "key.revoked",
        "token.minted",
        "upstream.secret_sealed",
        "upstream.secret_removed",
        "admin.created",
        "admin.removed",
    ] {
        assert!(log.contains(action), "{action} is not by the server's hand");
    }
    for secret in ["a-key-of-the-front", "an-unnamed-key", "the-real-key", "the-next-key", "correct horse"] {
        assert!(!log.contains(secret), "the log has {secret}");
    }
}

#[test]
fn an_import_of_thousands_goes_over_in_parts_and_keeps_the_order() {
    let keymoat = Keymoat::first_run();
    let list: String = (0..2500).map(|number| format!("client-{number},a-key-of-client-number-{number}\n")).collect();
    keymoat.folder.write("keys", &list);
    let (code, stdout, stderr) = told(&keymoat.folder.run(&["key", "import", "keys", "--json"]));
    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((&report["imported"], &report["refused"]), (&json!(2500), &json!(0)));
    let keys = report["keys"].as_array().expect("a list");
    for (number, key) in keys.iter().enumerate() {
        assert_eq!((&key["line"], &key["name"]), (&json!(number + 1), &json!(format!("client-{number}"))));
    }
    let (_, again, _) = told(&keymoat.folder.run(&["key", "import", "keys", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&again).expect("JSON")["known"], 2500);
}

#[test]
fn an_upstream_is_tried_by_the_server_that_runs() {
    let emulated = crate::harness::Emulated::start();
    let folder: Arc<Folder> = Folder::new().into();
    folder.write("gemini", &emulated.key());
    let text = format!(
        "[tls]\nmode = \"disabled\"\n[upstream.gemini]\npreset = \"gemini\"\nurl = \"{}\"\nsecret = \"${{file:gemini}}\"\n\
         [route.voice]\nupstream = \"gemini\"\n",
        emulated.url()
    );
    folder.write("keymoat.toml", &text);
    let tried = |more: &[&str]| {
        let (code, stdout, stderr) = told(&folder.run(&[&["upstream", "test"], more].concat()));
        format!("{code:?}\n{stdout}\n{stderr}")
    };
    let asked: [&[&str]; 3] = [&["gemini"], &["gemini", "--json"], &["gemini", "--path", "/none"]];
    // A store, so that there is somewhere to tell it.
    told(&folder.run(&["key", "create", "any"]));
    let alone = asked.map(tried);
    assert!(alone[0].starts_with("Some(0)") && alone[2].starts_with("Some(1)"), "{alone:?}");
    let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
    assert_eq!(asked.map(tried), alone);
    let other = tried(&["other"]);
    assert!(other.starts_with("Some(2)") && other.contains("no upstream of that name, but `gemini`"), "{other}");
    keymoat.wait_for_line("upstream.tested");
    // One for the key that was created.
    let told_of = acts_of(&folder, 1 + 6);
    let told_of: Vec<_> = told_of.into_iter().filter(|act| act.contains("upstream.tested")).collect();
    assert_eq!(told_of.len(), 6, "{told_of:?}");
    assert_eq!(told_of[..3], told_of[3..]);
}

#[test]
fn a_list_is_no_object_and_a_field_stands_for_one_thing() {
    let administered = Administered::first_run();
    let folder = &administered.keymoat.folder;
    let refused = |target: &str, body: Value| {
        let answer = ask_socket(folder, "POST", target, Some(&body));
        assert_eq!(answer.status, 422, "{target} {body}: {answer:?}");
        answer.text
    };
    let key = administered.ask("POST", "/api/v1/keys", Some(json!({"name": "a"}))).json()["key"]["id"].clone();
    for body in [json!({"name": "b", "limits": [1, 2]}), json!({"name": "b", "limits": [1, 1, 1, 1, 1, 1, 1, ["m"]]})] {
        assert!(refused("/api/v1/keys", body).contains("this must be an object"));
    }
    assert!(refused("/api/v1/tokens", json!({"key_id": key, "limits": [1, 1, 1]})).contains("must be an object"));
    assert!(
        refused("/api/v1/keys/import", json!({"keys": [["a", "a-key-of-a-client"]]})).contains("must be an object")
    );
    let both = json!({"name": "b", "rotate_after_secs": 1, "rotate_at": "2199-01-01T00:00:00Z"});
    assert!(refused("/api/v1/keys", both).contains("not both"));
    refused("/api/v1/keys/import", json!({"text": "a-key-of-a-client", "keys": [{"secret": "a-key-of-a-client"}]}));
    refused("/api/v1/keys/import", json!({}));
    refused("/api/v1/tokens", json!({"key_id": key, "uses": 1, "unlimited_uses": true}));
    let import = |any_form: bool| {
        let body = json!({"keys": [{"name": "short", "secret": "x7"}, {"secret": "kma_no"}], "any_form": any_form});
        let answer = administered.ask("POST", "/api/v1/keys/import", Some(body)).json();
        (answer["imported"].clone(), answer["refused"].as_array().map(Vec::len))
    };
    assert_eq!(import(false), (json!([]), Some(2)));
    let (imported, refused) = import(true);
    assert_eq!((&imported[0]["line"], &imported[0]["name"], refused), (&json!(1), &json!("short"), Some(1)));
}

#[test]
fn what_is_there_decides_what_a_secret_may_replace() {
    let administered = Administered::first_run();
    let secret = |name: &str, body: Value| {
        administered.ask("PUT", &format!("/api/v1/upstreams/{name}/secret"), Some(body)).status
    };
    let body = |expects: &str, ahead: bool| json!({"secret": "the-real-key-of-it", "expects": expects, "ahead": ahead});
    assert_eq!(secret("later", body("none", false)), 404, "nobody knows it");
    assert_eq!(secret("later", body("sealed", true)), 404);
    assert_eq!(secret("later", body("none", true)), 200);
    assert_eq!(secret("later", body("none", true)), 409);
    assert_eq!(secret("later", body("sealed", true)), 200);
    let viewer = administered.bearer("viewer");
    let list = administered.ask_with("GET", "/api/v1/upstream-secrets?limit=1", &[("Authorization", &viewer)], None);
    let (list, next) = (list.json(), list.json()["next_cursor"].as_str().expect("there is more").to_owned());
    assert_eq!((&list["items"][0]["upstream"], &list["items"][0]["version"]), (&json!("later"), &json!(1)));
    assert!(list["items"][0]["retired_at"].is_string());
    let rest = administered.ask("GET", &format!("/api/v1/upstream-secrets?cursor={next}"), None).json();
    assert_eq!((&rest["items"][0]["version"], &rest["items"][0]["retired_at"]), (&json!(2), &Value::Null));
    assert_eq!(administered.ask("DELETE", "/api/v1/upstreams/later/secret", None).status, 204);
    assert_eq!(administered.ask("DELETE", "/api/v1/upstreams/later/secret", None).status, 404);
}
