//! `keymoat token`, against a real store.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Folder, told};

/// A folder with a store that has the key `backend`.
fn with_key() -> Folder {
    let folder = Folder::new();
    let (code, _, stderr) = told(&folder.run(&["key", "create", "backend", "--scope", "voice", "--scope", "mint"]));
    assert_eq!(code, Some(0), "{stderr}");
    folder
}

fn well(folder: &Folder, arguments: &[&str]) -> (String, String) {
    let (code, stdout, stderr) = told(&folder.run(arguments));
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    (stdout, stderr)
}

fn in_json(folder: &Folder, arguments: &[&str]) -> Value {
    let (stdout, _) = well(folder, &[arguments, &["--json"]].concat());
    serde_json::from_str(&stdout).expect("JSON")
}

/// Runs it with `input` on standard input.
fn with_input(folder: &Folder, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = folder.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    told(&child.wait_with_output().expect("it ends"))
}

/// Mints a token and gives it with its id.
fn mint(folder: &Folder, arguments: &[&str]) -> (String, String) {
    let (stdout, stderr) = well(folder, &[&["token", "create", "--key", "backend"], arguments].concat());
    let token = stdout.trim_end().to_owned();
    assert!(token.contains("kmt_") && stdout.lines().count() == 1, "standard output is the token and nothing else");
    let id = stderr.split_whitespace().find(|word| word.starts_with("tok_")).expect("its id").to_owned();
    assert!(!stderr.contains(&token), "the token is shown once");
    (token, id)
}

#[test]
fn a_token_is_shown_once_and_never_again() {
    let folder = with_key();
    let (token, id) = mint(&folder, &["--uses", "3", "--route", "voice", "--origin", "https://app.example"]);
    let secret = token.strip_prefix("kmt_").expect("a token").to_owned();
    for arguments in [
        ["token", "list"].as_slice(),
        &["token", "list", "--json"],
        &["token", "list", "--key", "backend"],
        &["token", "inspect", &id],
        &["token", "inspect", &id, "--json"],
        &["token", "revoke", &id],
    ] {
        let (stdout, stderr) = well(&folder, arguments);
        assert!(stdout.contains(&id), "{stdout}");
        assert!(!stdout.contains(&secret) && !stderr.contains(&secret), "{arguments:?} shows the token");
    }
    for input in [token.clone(), format!("auth_tokens/{token}\n"), format!("ek_{token}")] {
        let (code, stdout, stderr) = with_input(&folder, &["token", "inspect"], &input);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains(&id) && stdout.contains("revoked: it was revoked"), "{stdout}");
        assert!(!stdout.contains(&secret) && !stderr.contains(&secret));
    }
    for file in std::fs::read_dir(folder.path().join(".keymoat")).expect("the store").flatten() {
        let content = std::fs::read(file.path()).unwrap_or_default();
        assert!(!content.windows(secret.len()).any(|window| window == secret.as_bytes()), "{:?}", file.path());
    }
}

#[test]
fn a_token_has_what_was_asked_for() {
    let folder = with_key();
    let plain = in_json(&folder, &["token", "create", "--key", "backend"]);
    assert!(plain["token"].as_str().is_some_and(|token| token.starts_with("kmt_")));
    assert_eq!((&plain["uses_max"], &plain["uses_left"], &plain["state"]), (&1.into(), &1.into(), &"live".into()));
    assert_eq!((&plain["routes"], &plain["calls"], &plain["constraint"]), (&json!(["*"]), &"any".into(), &json!({})));

    folder.write("setup.json", r#"{"setup":{"model":"models/a","generation_config":{"temperature":0.5}}}"#);
    folder.write("session.json", r#"{"model":"gpt-realtime","instructions":"be kind"}"#);
    let locked = in_json(
        &folder,
        &[
            &[
                "token",
                "create",
                "--key",
                "backend",
                "--gemini-setup",
                "setup.json",
                "--field-mask",
                "model,temperature",
            ],
            ["--spelling", "gemini", "--uses", "unlimited", "--start-within", "5m", "--live-for", "2h"].as_slice(),
            &["--max-duration", "10m", "--max-bytes", "1000", "--max-messages", "7", "--route", "voice"],
        ]
        .concat(),
    );
    assert!(locked["token"].as_str().is_some_and(|token| token.starts_with("auth_tokens/kmt_")));
    assert_eq!(
        (&locked["uses_max"], &locked["calls"], &locked["routes"]),
        (&Value::Null, &"live".into(), &json!(["voice"]))
    );
    let limits = (&locked["duration_secs_max"], &locked["bytes_max"], &locked["messages_max"]);
    assert_eq!(limits, (&600.into(), &1000.into(), &7.into()));
    let setup = json!({"setup": {"model": "models/a", "generationConfig": {"temperature": 0.5}}, "field_mask": "model,generationConfig.temperature"});
    assert_eq!(locked["constraint"], json!({"gemini": setup}));

    let realtime = ["token", "create", "--key", "backend", "--openai-session", "session.json", "--spelling", "openai"];
    let realtime = in_json(&folder, &realtime);
    assert!(realtime["token"].as_str().is_some_and(|token| token.starts_with("ek_kmt_")));
    assert_eq!(realtime["constraint"]["openai"]["session"]["model"], "gpt-realtime");
    assert_eq!(in_json(&folder, &["token", "list", "--key", "backend"]).as_array().map(Vec::len), Some(3));
}

#[test]
fn a_token_can_go_into_a_file_of_its_owner() {
    let folder = with_key();
    let (stdout, stderr) = well(&folder, &["token", "create", "--key", "backend", "--out", "token"]);
    assert!(stdout.is_empty() && stderr.contains("`token`"), "{stdout}{stderr}");
    let file = folder.path().join("token");
    let token = std::fs::read_to_string(&file).expect("the file");
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    let (code, stdout, _) = with_input(&folder, &["token", "inspect", "-", "--json"], &token);
    assert_eq!(code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&stdout).expect("JSON")["state"], "live");
    let (code, _, stderr) = told(&folder.run(&["token", "create", "--key", "backend", "--out", "token"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("exists"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), token, "it is untouched");
    assert_eq!(in_json(&folder, &["token", "list"]).as_array().map(Vec::len), Some(1), "and none was minted in vain");
}

#[test]
fn a_setup_is_explained_under_a_tokens_lock() {
    let folder = with_key();
    folder.write("own.json", r#"{"model":"models/a"}"#);
    folder.write("asked.json", r#"{"setup":{"model":"models/b","systemInstruction":{"parts":[{"text":"hi"}]}}}"#);
    let (_, id) = mint(&folder, &["--gemini-setup", "own.json", "--field-mask", "model,tools"]);
    let (stdout, _) = well(&folder, &["token", "inspect", &id, "--setup", "asked.json"]);
    for line in ["model", "from the token", "systemInstruction", "from the client", "cleared", "models/a"] {
        assert!(stdout.contains(line), "no `{line}` in:\n{stdout}");
    }
    assert!(!stdout.contains("models/b"), "{stdout}");
    let told = in_json(&folder, &["token", "inspect", &id, "--setup", "asked.json"]);
    assert_eq!(told["setup"]["effective"]["model"], "models/a");
    assert_eq!(told["setup"]["fields"][0], json!({"path": "model", "fate": "from the token"}));
}

#[test]
fn a_token_ends_with_its_key_and_says_so() {
    let folder = with_key();
    let (_, id) = mint(&folder, &[]);
    assert!(well(&folder, &["token", "inspect", &id]).0.contains("live: it opens new sessions"));
    well(&folder, &["key", "revoke", "backend"]);
    assert!(well(&folder, &["token", "inspect", &id]).0.contains("was revoked or is gone"));
    let (code, _, stderr) = told(&folder.run(&["token", "create", "--key", "backend"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("mint with another key"), "{stderr}");
}

#[test]
fn what_is_refused_ends_with_one_and_says_what_to_do() {
    let folder = Folder::new();
    let refused = |arguments: &[&str], code: i32, hint: &str| {
        let (got, stdout, stderr) = told(&folder.run(arguments));
        assert_eq!((got, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(hint), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("canary") && !stderr.contains("TestVector"), "{stderr}");
    };
    let create = |more: &[&'static str]| [&["token", "create", "--key", "backend"], more].concat();
    refused(&["token", "list"], 2, "keymoat key create");
    well(&folder, &["key", "create", "backend", "--scope", "voice"]);
    let token = "kmt_TestVector0TestVector0TestVector0TestVector02cu8n";
    refused(&["token", "inspect", token], 1, "standard input");
    refused(&["token", "revoke", token], 1, "standard input");
    refused(&["token", "inspect", "tok_canary"], 1, "keymoat token list");
    refused(&["token", "revoke", "canary"], 1, "keymoat token list");
    refused(&["token", "create", "--key", "canary"], 1, "keymoat key list");
    refused(&create(&["--route", "music"]), 1, "may not use `music`");
    refused(&create(&["--uses", "0"]), 2, "from 1 on");
    refused(&create(&["--live-for", "20h"]), 2, "less than 20h");
    refused(&create(&["--start-within", "0s"]), 2, "--start-within");
    refused(&create(&["--origin", "https://app.example/path"]), 2, "no origin");
    refused(&create(&["--field-mask", "nonsense"]), 2, "no field of a setup");
    refused(&create(&["--gemini-setup", "absent.json"]), 2, "cannot read absent.json");
    folder.write("twice.json", r#"{"model":"models/a","model":"canary"}"#);
    refused(&create(&["--gemini-setup", "twice.json"]), 2, "--gemini-setup");
    folder.write("list.json", "[]");
    refused(&create(&["--openai-session", "list.json"]), 2, "no JSON object");
    let (code, _, stderr) = with_input(&folder, &["token", "inspect"], "not-a-token-canary");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("start with `kmt_`") && !stderr.contains("canary"), "{stderr}");
    let (foreign, _) = mint(&with_key(), &[]);
    let (code, _, stderr) = with_input(&folder, &["token", "inspect"], &foreign);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no token of this store") && !stderr.contains(&foreign[4..]), "{stderr}");
}

#[test]
fn tokens_are_minted_and_revoked_beside_a_running_gateway() {
    let keymoat = crate::harness::Keymoat::first_run();
    let folder = &keymoat.folder;
    let key = in_json(folder, &["key", "list"])[0]["id"].as_str().expect("the demo key").to_owned();
    let made = in_json(folder, &["token", "create", "--key", &key]);
    let id = made["id"].as_str().expect("an id");
    assert_eq!(in_json(folder, &["token", "revoke", id])["state"], "revoked");
    assert_eq!(in_json(folder, &["token", "inspect", id])["state"], "revoked");
}

#[test]
fn a_restored_backup_has_no_token_that_is_good() {
    let folder = with_key();
    let (_, id) = mint(&folder, &["--uses", "5"]);
    let (stdout, _) = well(&folder, &["store", "backup", "copy"]);
    assert!(stdout.contains("tokens"), "{stdout}");
    assert_eq!(in_json(&folder, &["store", "backup", "another"])["tokens_revoked"], true);
    std::fs::copy(folder.path().join(".keymoat/master.key"), folder.path().join("copy/master.key")).expect("copied");
    assert_eq!(in_json(&folder, &["token", "inspect", &id, "--store", "copy"])["state"], "revoked");
    assert_eq!(in_json(&folder, &["token", "inspect", &id])["state"], "live");
}
