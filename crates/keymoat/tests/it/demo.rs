//! `keymoat demo`: how its story comes out, and that nothing is left behind, however it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Folder, PATIENCE, told};

/// The command, which makes its temporary folder in this one.
fn demo(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = folder.command(arguments);
    command.env("TMPDIR", folder.path());
    command
}

/// Everything that the story's credentials begin with: whatever is printed, none of them is in it.
fn shows_no_credential(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        for beginning in ["km_", "kmt_", "auth_tokens/", "emulator-"] {
            assert!(!text.contains(beginning), "`{beginning}` in what was printed");
        }
        assert!(!keymoat_core::format::is_in(text.as_bytes()), "a credential of Keymoat's in what was printed");
    }
}

fn is_empty(folder: &Folder) -> bool {
    fs::read_dir(folder.path()).expect("the folder").next().is_none()
}

fn attempts<'a>(scene: &'a Value, name: &str) -> Vec<&'a Value> {
    assert_eq!(scene["scene"], name);
    let attempts: Vec<&Value> = scene["attempts"].as_array().expect("attempts").iter().collect();
    let carrying: Vec<&str> = attempts.iter().filter_map(|attempt| attempt["carrying"].as_str()).collect();
    assert_eq!(carrying, ["key-parameter", "bearer", "google-header"]);
    attempts
}

#[test]
fn the_story_comes_out_as_it_is_told_and_leaves_nothing_behind() {
    let folder = Folder::new();
    let output = demo(&folder, &["demo", "--json"]).output().expect("the binary runs");
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let story: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!(story["ok"], true, "{story}");
    let scenes = story["scenes"].as_array().expect("scenes");
    assert_eq!(scenes.len(), 4);

    let words = ["API key not valid.", "Method doesn't allow unregistered callers", "API key not valid."];
    for (attempt, words) in attempts(&scenes[0], "direct").into_iter().zip(words) {
        let reason = attempt["ended"]["reason"].as_str().expect("refused");
        assert!(reason.starts_with(words), "in the provider's words: {reason}");
        assert!(matches!(attempt["ended"]["code"].as_u64(), Some(1007 | 1008)), "{attempt}");
        assert_eq!(attempt["heard_millis"], 0);
    }
    for attempt in attempts(&scenes[1], "through_keymoat") {
        assert_eq!(attempt["ended"], Value::Null, "{attempt}");
        assert!(attempt["heard_millis"].as_u64().is_some_and(|heard| heard > 0), "{attempt}");
    }
    let revoked = &scenes[2];
    assert_eq!((&revoked["scene"], &revoked["ended"]["code"]), (&"revoked".into(), &1008.into()));
    assert!(revoked["ended"]["reason"].as_str().is_some_and(|reason| reason.starts_with("credential_revoked: ")));
    assert!(revoked["ended_after_millis"].as_u64().is_some_and(|millis| millis < 2000), "{revoked}");
    assert!(revoked["heard_millis"].as_u64() < revoked["whole_millis"].as_u64(), "{revoked}");
    let searched = &scenes[3];
    assert_eq!((&searched["scene"], &searched["found"]), (&"searched".into(), &Value::Array(Vec::new())));
    assert_eq!((&searched["secrets"], &searched["requests"]), (&3.into(), &4.into()));
    assert_eq!(searched["in_their_place"], searched["requests"], "the real key in each, in its header");
    assert!(searched["log_lines"].as_u64().is_some_and(|lines| lines > 4), "{searched}");
    shows_no_credential(&output);
    assert!(is_empty(&folder), "a folder is left");
}

#[test]
fn the_story_is_told_to_people_without_a_credential_in_it() {
    let folder = Folder::new();
    let output = demo(&folder, &["demo"]).output().expect("the binary runs");
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(stdout.matches(" refused: ").count(), 3, "{stdout}");
    assert_eq!(stdout.matches(" talks: ").count(), 3, "{stdout}");
    assert!(stdout.contains("credential_revoked: ") && stdout.contains("found nowhere"), "{stdout}");
    shows_no_credential(&output);
    assert!(is_empty(&folder), "a folder is left");
}

#[test]
fn a_signal_in_the_middle_leaves_no_process_and_no_folder() {
    // In front of a provider that refuses, in the middle of an attempt, and while the long story is told.
    for (announced, signal) in [
        ("A backend mints a token", Signal::INT),
        ("The same backend mints at Keymoat", Signal::TERM),
        ("The model tells a long story", Signal::INT),
    ] {
        let folder = Folder::new();
        let mut command = demo(&folder, &["demo"]);
        let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut lines = BufReader::new(demo.stdout.take().expect("it is piped")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.contains(announced))), "it is announced");
        let gateways = children(&demo);
        assert_eq!(gateways.len(), 1, "the gateway is a process of its own");
        kill_process(Pid::from_child(&demo), signal).expect("it lives");
        let mut stderr = String::new();
        demo.stderr.take().expect("it is piped").read_to_string(&mut stderr).expect("text");
        assert_eq!(demo.wait().expect("it is ours").code(), Some(2), "{stderr}");
        assert!(stderr.contains("stopped before the end of the story"), "{stderr}");
        let deadline = Instant::now() + PATIENCE;
        while gateways.iter().any(|pid| fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            assert!(Instant::now() < deadline, "the gateway is left");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(is_empty(&folder), "a folder is left");
    }
}

/// The processes that `parent` has started.
fn children(parent: &Child) -> Vec<String> {
    let id = parent.id();
    let tasks = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("the system tells");
    tasks.split_whitespace().map(str::to_owned).collect()
}
