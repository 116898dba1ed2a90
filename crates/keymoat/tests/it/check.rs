//! `keymoat check`, and every other command that reads a configuration.

use crate::harness::{Folder, told};

const EVENTS: &str = "[upstream.events]\nurl = \"https://events.internal\"\nsecret = \"${file:secret}\"\n\
    [route.events]\nupstream = \"events\"\npaths = [\"/api/*\"]\n";

#[test]
fn a_good_configuration_is_called_well() {
    let folder = Folder::new();
    folder.write("keymoat.toml", EVENTS);
    folder.write("secret", "canary-key\n");
    let (code, stdout, stderr) = told(&folder.run(&["check"]));
    let told = "keymoat.toml is well: 1 route (events → events)\nstore `./.keymoat`, not made yet\n\
                upstream events: secret from ${file:./secret}\n";
    assert_eq!((code, stdout.as_str()), (Some(0), told), "{stderr}");
    assert!(!stderr.contains("canary"));
}

#[test]
fn a_good_configuration_is_told_in_json() {
    let folder = Folder::new();
    folder.write("keymoat.toml", EVENTS);
    folder.write("secret", "canary-key\n");
    let (code, stdout, stderr) = told(&folder.run(&["check", "--json"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let well: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(well["routes"], serde_json::json!([{"name": "events", "upstream": "events"}]));
    assert_eq!(well["upstreams"][0]["secret"], "secret from ${file:./secret}");
    assert_eq!(well["store_exists"], false);
    assert!(!stdout.contains("canary"), "{stdout}");
}

#[test]
fn every_mistake_is_told_with_its_place_and_exit_code_two() {
    let folder = Folder::new();
    let text = EVENTS
        .replace("upstream = \"events\"", "upstream = \"event\"")
        .replace("[\"/api/*\"]", "[\"api\"]\nquery = \"wran\"");
    let file = folder.write("bad.toml", &text);
    folder.write("secret", "canary-key\n");
    for arguments in [["check", "bad.toml"].as_slice(), &["serve", "--config", "bad.toml"]] {
        let (code, stdout, stderr) = told(&folder.run(arguments));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert_eq!(stderr, "keymoat: bad.toml:5:12: unknown upstream `event`: did you mean `events`?\n");
    }
    std::fs::write(file, text.replace("\"event\"", "\"events\"")).expect("written");
    let (_, _, stderr) = told(&folder.run(&["check", "bad.toml"]));
    assert!(stderr.contains("bad.toml:6:10: ") && stderr.contains("bad.toml:7:9: "), "{stderr}");
}

#[test]
fn a_secret_that_is_missing_or_stands_in_the_file_is_refused() {
    let folder = Folder::new();
    folder.write("keymoat.toml", EVENTS);
    let (code, _, stderr) = told(&folder.run(&["check"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("keymoat.toml:3:10: cannot read ") && stderr.contains("secret"), "{stderr}");
    folder.write("keymoat.toml", &EVENTS.replace("${file:secret}", "canary"));
    let (code, stdout, stderr) = told(&folder.run(&["check"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("does not stand in the configuration itself"), "{stderr}");
    assert!(!stdout.contains("canary") && !stderr.contains("canary"));
}

#[test]
fn a_missing_file_and_a_missing_certificate_say_what_to_do() {
    let folder = Folder::new();
    let (code, _, stderr) = told(&folder.run(&["check"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("cannot read keymoat.toml") && stderr.contains("--config FILE"), "{stderr}");
    folder.write("secret", "canary-key\n");
    folder.write("keymoat.toml", &format!("[tls]\nmode = \"provided\"\ncert = \"crt\"\nkey = \"key\"\n{EVENTS}"));
    let (code, _, stderr) = told(&folder.run(&["check"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("[tls] cert, key"), "{stderr}");
}

#[test]
fn a_variable_lies_over_the_file() {
    let folder = Folder::new();
    folder.write("keymoat.toml", EVENTS);
    folder.write("secret", "canary-key\n");
    let output = folder.command(&["check"]).env("KEYMOAT__LIMITS__DRAIN", "soon").output().expect("it runs");
    let (code, _, stderr) = told(&output);
    assert_eq!(code, Some(2));
    assert!(
        stderr.starts_with("keymoat: environment variable KEYMOAT__LIMITS__DRAIN: `soon` is no duration"),
        "{stderr}"
    );
}

#[test]
fn authorities_of_clients_that_cannot_be_read_are_told() {
    let folder = Folder::new();
    folder.write("secret", "canary-key\n");
    folder.write("clients.pem", "no certificate here\n");
    folder.write("keymoat.toml", &format!("[tls]\nclient_ca = \"clients.pem\"\n{EVENTS}"));
    let (code, _, stderr) = told(&folder.run(&["check"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("[tls] client_ca: ") && stderr.contains("clients.pem` holds no certificate"), "{stderr}");
}

#[test]
fn a_secret_that_is_too_short_to_be_masked_is_refused_and_one_byte_more_is_not() {
    let folder = Folder::new();
    folder.write("keymoat.toml", EVENTS);
    folder.write("secret", "canary7\n");
    let (code, _, stderr) = told(&folder.run(&["check"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("keymoat.toml:3:10: the secret of upstream `events` has fewer than 8 bytes"), "{stderr}");
    assert!(!stderr.contains("canary7"));
    for arguments in [
        &["upstream", "add", "other", "--secret-file", "secret"][..],
        &["serve", "--listen", "127.0.0.1:0", "--preset", "gemini", "--secret-file", "secret"],
    ] {
        let (code, _, stderr) = told(&folder.run(arguments));
        assert_eq!(code, Some(2));
        assert!(stderr.contains("has fewer than 8 bytes"), "{arguments:?}: {stderr}");
    }
    folder.write("secret", "canary78\n");
    assert_eq!(told(&folder.run(&["check"])).0, Some(0));
}
