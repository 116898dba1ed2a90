//! The forms of a report, baselines and the fingerprint key.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{GOOGLE, KEY, Scene, TOKEN, credentials, state};

/// One of each: a long credential, a short one, a line of code, something unreadable.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.write(
        "access.log",
        format!("1.2.3.4 - - [10/Jan/2026:13:55:36 +0000] \"GET /?api_key={KEY}&key={GOOGLE} HTTP/1.1\" 200 2\n"),
    );
    scene.write(
        "app.log",
        format!("2026-01-10T13:55:36Z password=hunter2-and-so\nretry password=other-pass4 access_token={TOKEN}\n"),
    );
    scene.write("live.py", "uri = f'{base}/ws?key={api_key}'\n");
    scene.write(&format!("broken-api_key={KEY}.gz"), [0x1f, 0x8b, 8, 0, 1, 2, 3]);
    scene
}

#[test]
fn no_form_of_the_report_shows_a_credential() {
    let scene = scene();
    for format in ["text", "json", "jsonl", "sarif"] {
        let scanned = scene.scan(&["in", "--format", format]);
        assert_eq!(scanned.code, Some(2), "{}", scanned.stderr);
        for text in [&scanned.stdout, &scanned.stderr] {
            assert!(!text.contains("hunter2") && !text.contains("other-pass4"), "{text}");
        }
        assert!(scanned.stdout.contains("[REDACTED:api_key]&key=[REDACTED:api_key]"), "{}", scanned.stdout);
    }
    for home in [state(&scene.path("home"))] {
        for (file, (bytes, _)) in home {
            super::assert_no_leak(&format!("{file} {}", String::from_utf8_lossy(&bytes)));
        }
    }
}

#[test]
fn a_person_reads_place_fingerprint_times_and_what_to_do() {
    let scene = Scene::new();
    scene.write(
        "access.log",
        format!(
            "[10/Jan/2026:13:55:36 +0000] GET /?key={GOOGLE}&x=1\n[11/Jan/2026:13:55:36 +0000] GET /?key={GOOGLE}\n"
        ),
    );
    fs::write(scene.path("key"), [7; 32]).expect("written");
    fs::set_permissions(scene.path("key"), fs::Permissions::from_mode(0o600)).expect("changed");
    let scanned = scene.scan(&["in", "--fingerprint-key", "key"]);
    insta::assert_snapshot!("scan_text", scanned.stdout);
    assert_eq!(scanned.stderr, "keymoat: found 1 credential and 0 lines of code\n");
    assert!(!scene.path("home/.local").exists(), "a key that is named is all that is used");
}

#[test]
fn short_values_have_no_fingerprint_and_are_told_by_place() {
    let scene = scene();
    let report = scene.report(&[]);
    let short = credentials(&report).iter().find(|found| found["kind"] == "password").expect("found");
    assert_eq!((&short["fingerprint_of"], &short["count"]), (&json!("place"), &json!(2)));
}

#[test]
fn json_is_asked_for_as_of_every_command() {
    let scene = scene();
    assert_eq!(scene.scan(&["in", "--json"]).stdout, scene.scan(&["in", "--format", "json"]).stdout);
    let both = scene.scan(&["in", "--json", "--format", "text"]);
    assert_eq!(both.code, Some(2));
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
}

#[test]
fn lines_of_json_say_what_they_are_and_end_with_the_sum() {
    let scanned = scene().scan(&["in", "--format", "jsonl"]);
    let lines: Vec<Value> = scanned.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().expect("text")).collect();
    assert_eq!(
        types,
        ["credential", "credential", "credential", "credential", "code", "error", "summary"],
        "{}",
        scanned.stdout
    );
    let sum = lines.last().expect("there is one");
    assert_eq!((&sum["credentials_found"], &sum["code_found"], &sum["unread"]), (&json!(4), &json!(1), &json!(1)));
}

#[test]
fn sarif_has_what_its_schema_requires() {
    let log: Value = serde_json::from_str(&scene().scan(&["in", "--format", "sarif"]).stdout).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "keymoat");
    let rules: Vec<_> =
        driver["rules"].as_array().expect("a list").iter().map(|rule| rule["id"].as_str().expect("an id")).collect();
    let results = run["results"].as_array().expect("a list");
    assert_eq!(results.len(), 5);
    for result in results {
        assert!(rules.contains(&result["ruleId"].as_str().expect("an id")));
        assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().expect("a level")));
        assert!(!result["message"]["text"].as_str().expect("text").is_empty());
        let prints = result["partialFingerprints"].as_object().expect("an object");
        assert!(
            prints.len() == 1 && prints.values().all(|print| print.as_str().is_some_and(|print| print.len() == 12))
        );
        assert_eq!(result["locations"].as_array().expect("a list").len(), 1);
        for location in
            result["locations"].as_array().into_iter().chain(result["relatedLocations"].as_array()).flatten()
        {
            let physical = &location["physicalLocation"];
            assert!(physical["artifactLocation"]["uri"].as_str().is_some_and(|uri| uri.starts_with("in/")));
            let region = &physical["region"];
            assert!(
                region.is_null()
                    || region["startLine"].as_u64() >= Some(1) && region["startColumn"].as_u64() >= Some(1),
                "{region}"
            );
        }
    }
    let invocation = &run["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    let notes = invocation["toolExecutionNotifications"].as_array().expect("a list");
    assert!(notes.len() == 1 && notes[0]["message"]["text"].is_string());
}

#[test]
fn a_baseline_leaves_out_what_is_known_and_holds_no_value() {
    let scene = Scene::new();
    scene.write("access.log", format!("GET /?api_key={KEY}\npassword=hunter2-and-so\n"));
    scene.write("live.py", "uri = f'{base}/ws?key={api_key}'\n");
    let written = scene.scan(&["in", "--write-baseline", "baseline"]);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let baseline = fs::read_to_string(scene.path("baseline")).expect("written");
    super::assert_no_leak(&baseline);
    let prints: Vec<&str> = baseline.lines().skip(1).collect();
    assert!(prints.len() == 3 && prints.is_sorted() && prints.iter().all(|print| print.len() == 12), "{baseline}");

    // The log is rotated, and a line is put before the code: nothing of that is new.
    fs::rename(scene.path("in/access.log"), scene.path("in/access.log.1")).expect("renamed");
    fs::write(scene.path("in/access.log.1"), format!("first\nGET /x?a=b&token={KEY}\n")).expect("written");
    scene.write("live.py", "import x\nuri = f'{base}/ws?key={api_key}'\n");
    assert_eq!(scene.scan(&["in", "--baseline", "baseline"]).code, Some(0));
    scene.write("new.log", format!("GET /?api_key={TOKEN}\n"));
    let report = scene.report(&["--baseline", "baseline"]);
    assert_eq!((credentials(&report).len(), &report["known"]), (1, &json!(2)));
}

#[test]
fn a_baseline_of_another_key_and_a_wrong_one_are_errors() {
    let scene = Scene::new();
    scene.write("access.log", format!("GET /?api_key={KEY}\n"));
    scene.scan(&["in", "--write-baseline", "baseline"]);
    fs::remove_dir_all(scene.path("home/.local")).expect("removed");
    let scanned = scene.scan(&["in", "--baseline", "baseline"]);
    assert_eq!(scanned.code, Some(2));
    assert!(scanned.stderr.contains("another fingerprint key"), "{}", scanned.stderr);
    fs::write(scene.path("baseline"), format!("api_key={KEY}\n")).expect("written");
    let scanned = scene.scan(&["in", "--baseline", "baseline"]);
    assert!(scanned.code == Some(2) && scanned.stderr.contains("is no baseline"), "{}", scanned.stderr);
}

#[test]
fn the_fingerprint_key_is_made_once_and_kept_private() {
    let scene = Scene::new();
    scene.write("access.log", format!("GET /?api_key={KEY}\n"));
    let first = scene.report(&[]);
    let file = scene.path("home/.local/share/keymoat/fingerprint.key");
    assert_eq!(fs::metadata(&file).expect("made").permissions().mode() & 0o777, 0o600);
    let second = scene.report(&[]);
    assert_eq!(first["fingerprint_key"], second["fingerprint_key"]);
    assert_eq!(first["credentials"][0]["fingerprint"], second["credentials"][0]["fingerprint"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("changed");
    let scanned = scene.scan(&["in"]);
    assert!(scanned.code == Some(2) && scanned.stderr.contains("fingerprint.key"), "{}", scanned.stderr);
}

#[test]
fn rules_of_ones_own_are_used_and_named() {
    let scene = Scene::new();
    scene.write("access.log", "badge BDG-123456 at the door\napi_key=sk-test-0000000000000000000\n");
    let custom = "[redact]\nrules = { badge = \"BDG-([0-9]{6})\" }\nallow = [\"sk-test-0000000000000000000\"]\n";
    fs::write(scene.path("own.toml"), custom).expect("written");
    let report = scene.report(&["--config", "own.toml"]);
    assert_eq!((credentials(&report).len(), &report["credentials"][0]["kind"]), (1, &json!("badge")), "{report:#}");
}

#[test]
fn a_clean_folder_exits_with_nought() {
    let scene = Scene::new();
    scene.write(
        "access.log",
        "1.2.3.4 - - [10/Jan/2026:13:55:36 +0000] \"GET /?page=1&sort_key=price HTTP/1.1\" 200 2\n",
    );
    let scanned = scene.scan(&["in"]);
    assert_eq!((scanned.code, scanned.stderr.as_str()), (Some(0), ""), "{}", scanned.stdout);
    assert!(
        scanned.stdout.starts_with("1 file, 86 bytes: 0 credentials, 0 lines of code (fingerprint key "),
        "{}",
        scanned.stdout
    );
}
