//! `keymoat upstream` and `keymoat store`: sealed secrets, from the command to the upstream that gets them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::canary::search::Searcher;
use crate::harness::{Folder, Keymoat, request, told};

pub(crate) const CANARY: &str = "AIza-canary-of-the-provider-0123456789";

/// Runs a command that must succeed, with these variables, and gives its standard output; no output holds the canary.
pub(crate) fn well(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = folder.command(arguments).envs(variables.iter().copied()).output().expect("it runs");
    let (code, stdout, stderr) = told(&output);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    assert!(!holds_canary(format!("{stdout}{stderr}").as_bytes()), "{arguments:?}: {stdout}{stderr}");
    stdout
}

/// Runs a command that must fail with this exit code, and gives its standard error; no output holds the canary.
pub(crate) fn refused(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)], code: i32) -> String {
    let output = folder.command(arguments).envs(variables.iter().copied()).output().expect("it runs");
    let (got, stdout, stderr) = told(&output);
    assert_eq!((got, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
    assert!(!holds_canary(stderr.as_bytes()), "{arguments:?}: {stderr}");
    stderr
}

/// Whether the canary, or half of it, is there in any spelling.
pub(crate) fn holds_canary(text: &[u8]) -> bool {
    !Searcher::new(&[("secret", CANARY)]).find(text).is_empty()
}

pub(crate) fn add(folder: &Folder, name: &str, secret: &str) {
    let file = folder.write("secret", secret);
    well(folder, &["upstream", "add", name, "--secret-file", "secret"], &[]);
    fs::remove_file(file).expect("removed");
}

fn configuration(folder: &Folder, address: &str, more: &str) {
    let text = format!(
        "[tls]\nmode = \"disabled\"\n[log]\nlevel = \"trace\"\n[upstream.events]\nurl = \"http://{address}\"\n\
         inject = \"header:X-API-Key\"\n{more}[route.events]\nupstream = \"events\"\npaths = [\"/api/*\"]\n"
    );
    folder.write("keymoat.toml", &text);
}

#[test]
fn a_sealed_secret_is_listed_replaced_and_removed_and_never_shown() {
    let folder = Folder::new();
    add(&folder, "gemini", CANARY);
    let listed = well(&folder, &["upstream", "list"], &[]);
    assert!(listed.lines().count() == 2 && listed.contains("gemini"), "{listed}");

    let mut rotate = folder.command(&["upstream", "rotate", "gemini", "--secret-file", "-", "--json"]);
    rotate.stdin(fs::File::open(folder.write("next", CANARY)).expect("it is there"));
    let (code, stdout, stderr) = told(&rotate.output().expect("it runs"));
    assert_eq!(code, Some(0), "{stderr}");
    fs::remove_file(folder.path().join("next")).expect("removed");
    let rotated: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((&rotated["upstream"], &rotated["version"]), (&"gemini".into(), &2.into()));

    let removed = well(&folder, &["upstream", "remove", "gemini", "--json"], &[]);
    assert_eq!(serde_json::from_str::<Value>(&removed).expect("JSON")["state"], "retired");
    let listed: Value = serde_json::from_str(&well(&folder, &["upstream", "list", "--json"], &[])).expect("JSON");
    let states: Vec<_> = listed.as_array().expect("a list").iter().map(|one| one["state"].as_str()).collect();
    assert_eq!(states, [Some("retired"), Some("retired")]);
    assert_no_file_holds_the_canary(folder.path());
}

fn assert_no_file_holds_the_canary(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_no_file_holds_the_canary(&path);
        } else if path.is_file() {
            assert!(!holds_canary(&fs::read(&path).expect("readable")), "{}", path.display());
        }
    }
}

#[test]
fn what_is_refused_ends_with_one_and_says_what_to_do() {
    let folder = Folder::new();
    let file = folder.write("secret", CANARY);
    let path = file.to_str().expect("a path");
    assert!(refused(&folder, &["upstream", "list"], &[], 2).contains("keymoat upstream add"));
    let entry = |action, name| ["upstream", action, name, "--secret-file", path];
    well(&folder, &entry("add", "gemini"), &[]);
    assert!(refused(&folder, &entry("add", "gemini"), &[], 1).contains("keymoat upstream rotate gemini"));
    assert!(refused(&folder, &entry("rotate", CANARY), &[], 1).contains("keymoat upstream list"));
    assert!(refused(&folder, &["upstream", "remove", CANARY], &[], 1).contains("keymoat upstream list"));
    assert!(refused(&folder, &entry("add", "km_x"), &[], 1).contains("does not start with"));
    folder.write("empty", "\n");
    assert!(refused(&folder, &["upstream", "rotate", "gemini", "--secret-file", "empty"], &[], 2).contains("is empty"));
    assert!(refused(&folder, &["upstream", "add", "openai"], &[], 2).contains("--secret-file"));
    assert!(refused(&folder, &["upstream", "add", "openai", "--secret", "x"], &[], 2).contains("unexpected argument"));
}

#[test]
fn the_upstream_gets_the_sealed_secret_and_nothing_else_does() {
    let upstream = Keymoat::first_run();
    let folder = Folder::new();
    configuration(&folder, upstream.address(), "");
    // Another Keymoat is an upstream that takes nothing but the key it gave.
    let real_key = upstream.demo_key();
    add(&folder, "events", &real_key);
    let client_key = well(&folder, &["key", "create", "client"], &[]);
    let keymoat = Keymoat::in_folder(folder.into(), &[], &[]);
    let ask = |key: &str| request(keymoat.address(), "GET", "/api/events", &[("X-API-Key", key)]);
    let answer = ask(client_key.trim());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(ask(&real_key).starts_with("HTTP/1.1 401 "), "the upstream's key is no client's key");

    // A running gateway takes over what is sealed, and what is removed.
    let file = keymoat.folder.write("next", CANARY);
    well(&keymoat.folder, &["upstream", "rotate", "events", "--secret-file", "next"], &[]);
    keymoat.wait_for_line("was read anew and is in force");
    assert!(ask(client_key.trim()).starts_with("HTTP/1.1 401 "), "the upstream does not know the other secret");
    fs::write(&file, &real_key).expect("written");
    well(&keymoat.folder, &["upstream", "rotate", "events", "--secret-file", "next"], &[]);
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while !ask(client_key.trim()).starts_with("HTTP/1.1 200 ") {
        assert!(std::time::Instant::now() < deadline, "the rotated secret is not used");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    fs::remove_file(file).expect("removed");
    let output = keymoat.output();
    assert!(!output.contains(&real_key) && !holds_canary(output.as_bytes()), "even at trace no secret is written");
    assert_no_file_holds_the_canary(&keymoat.folder.path().join(".keymoat"));
}

#[test]
fn check_tells_where_each_secret_comes_from() {
    let folder = Folder::new();
    folder.write(
        "keymoat.toml",
        "[upstream.a]\nurl = \"https://a\"\n[upstream.b]\nurl = \"https://b\"\nsecret = \"${file:b.key}\"\n\
         [upstream.c]\nurl = \"https://c\"\nsecret = \"${env:C}\"\n[upstream.d]\nurl = \"https://d\"\n\
         [route.a]\nupstream = \"a\"\npaths = [\"/a\"]\n",
    );
    folder.write("b.key", CANARY);
    let lines = |told: &str| told.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let before = well(&folder, &["check"], &[("C", CANARY)]);
    let [b, c, d] =
        ["upstream b: secret from ${file:./b.key}", "upstream c: secret from ${env:C}", "upstream d: no secret"];
    assert_eq!(lines(&before), ["store `./.keymoat`, not made yet", "upstream a: no secret", b, c, d]);
    assert!(!folder.path().join(".keymoat").exists(), "checking makes no store");

    add(&folder, "a", CANARY);
    let after = well(&folder, &["check"], &[("C", CANARY)]);
    let store = "store `./.keymoat`, master key at `./.keymoat/master.key`";
    assert_eq!(lines(&after), [store, "upstream a: secret sealed in the store, version 1", b, c, d]);
}

#[test]
fn two_secrets_for_one_upstream_are_refused_until_one_is_taken_away() {
    let folder = Folder::new();
    configuration(&folder, "127.0.0.1:9", "secret = \"${file:named}\"\n");
    folder.write("named", CANARY);
    let output = folder.run(&["upstream", "add", "events", "--secret-file", "named"]);
    let (code, _, stderr) = told(&output);
    assert!(code == Some(0) && stderr.contains("take `secret` out of [upstream.events]"), "{stderr}");
    for arguments in [["check"].as_slice(), &["serve", "--listen", "127.0.0.1:0"]] {
        let stderr = refused(&folder, arguments, &[], 2);
        assert!(stderr.contains("upstream `events` has two secrets") && stderr.contains("neither wins"), "{stderr}");
        assert!(stderr.contains("keymoat upstream remove events"), "{stderr}");
    }
    well(&folder, &["upstream", "remove", "events"], &[]);
    assert!(well(&folder, &["check"], &[]).contains("upstream events: secret from ${file:./named}"));
}

#[test]
fn the_master_key_comes_from_a_credential_a_file_or_with_a_warning_from_the_environment() {
    let folder = Folder::new();
    folder.write("secret", CANARY);
    let digits = "5f".repeat(32);
    folder.write("keymoat-master-key", &digits);
    folder.write("other", &"60".repeat(32));
    let path = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let variable = ("KEYMOAT_MASTER_KEY", digits.as_str());
    let first = folder.command(&["upstream", "add", "a", "--secret-file", "secret"]).envs([variable]).output();
    let (code, _, stderr) = told(&first.expect("it runs"));
    assert!(code == Some(0) && stderr.contains("warning: the master key comes from environment variable"), "{stderr}");
    assert!(!stderr.contains(&digits) && !folder.path().join(".keymoat/master.key").exists());

    let (own, credentials) = (path("keymoat-master-key"), path("."));
    for variables in [[("KEYMOAT_MASTER_KEY_FILE", own.as_str())], [("CREDENTIALS_DIRECTORY", credentials.as_str())]] {
        let output = folder.command(&["upstream", "list"]).envs(variables).output().expect("it runs");
        assert_eq!(told(&output).2, "", "{variables:?}");
    }
    folder.write("keymoat.toml", "[store]\nmaster_key = \"./keymoat-master-key\"\n");
    well(&folder, &["upstream", "list"], &[]);
    fs::remove_file(folder.path().join("keymoat.toml")).expect("removed");

    let wrong = refused(&folder, &["upstream", "list"], &[("KEYMOAT_MASTER_KEY_FILE", &path("other"))], 2);
    assert!(wrong.contains("is not the master key of this database"), "{wrong}");
    let none = refused(&folder, &["upstream", "list"], &[], 2);
    assert!(none.contains("KEYMOAT_MASTER_KEY_FILE") && none.contains("make all keys anew"), "{none}");
    let malformed = refused(&folder, &["upstream", "list"], &[("KEYMOAT_MASTER_KEY", CANARY)], 2);
    assert!(malformed.contains("environment variable KEYMOAT_MASTER_KEY is not a master key"), "{malformed}");
    let pasted = refused(&folder, &["upstream", "list"], &[("KEYMOAT_MASTER_KEY_FILE", &digits)], 2);
    assert!(!pasted.contains(&digits), "{pasted}");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o640)).expect("changed");
    let exposed = refused(&folder, &["upstream", "list"], &[("KEYMOAT_MASTER_KEY_FILE", &own)], 2);
    assert!(exposed.contains("can be read or written by others (mode 640)"), "{exposed}");
}

#[test]
fn a_backup_is_restored_with_the_master_key_and_without_it_the_loss_is_told() {
    let folder = Folder::new();
    add(&folder, "gemini", CANARY);
    let key = well(&folder, &["key", "create", "client"], &[]);
    let told = well(&folder, &["store", "backup", "saved"], &[]);
    assert!(told.contains("`.keymoat/master.key`") || told.contains("`./.keymoat/master.key`"), "{told}");
    assert!(refused(&folder, &["store", "backup", "saved"], &[], 1).contains("exists"));
    assert_no_file_holds_the_canary(&folder.path().join("saved"));

    let moved = folder.path().join("elsewhere");
    fs::rename(folder.path().join("saved"), &moved).expect("moved");
    let lost = refused(&folder, &["upstream", "list", "--store", "elsewhere"], &[], 2);
    for loss in ["no key in the database is recognised", "no sealed secret opens", "enter the upstreams' secrets again"]
    {
        assert!(lost.contains(loss), "{lost}");
    }
    fs::copy(folder.path().join(".keymoat/master.key"), moved.join("master.key")).expect("copied");
    let listed = well(&folder, &["key", "list", "--store", "elsewhere"], &[]);
    assert!(listed.contains("client"), "{listed}");

    // The restored store opens the door to its clients and to its upstream.
    let text = "[tls]\nmode = \"disabled\"\n[store]\ndir = \"elsewhere\"\n[upstream.gemini]\nurl = \"http://127.0.0.1:9\"\n\
                [route.gemini]\nupstream = \"gemini\"\npaths = [\"/api/*\"]\n";
    folder.write("keymoat.toml", text);
    assert!(well(&folder, &["check"], &[]).contains("upstream gemini: secret sealed in the store, version 1"));
    let keymoat = Keymoat::in_folder(folder.into(), &[], &[]);
    let answer = request(keymoat.address(), "GET", "/api/x", &[("X-API-Key", key.trim())]);
    assert!(answer.starts_with("HTTP/1.1 503 "), "the key is known, and nobody answers behind: {answer}");
}
