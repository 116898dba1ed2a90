//! The help texts, as a person reads them.

use crate::harness::{Folder, told};

fn help(arguments: &[&str]) -> String {
    let output = Folder::new().command(arguments).env("COLUMNS", "100").output().expect("it runs");
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    stdout
}

#[test]
fn the_help_of_every_command_is_reviewed() {
    insta::assert_snapshot!("help", help(&["--help"]));
    for command in [
        "serve",
        "demo",
        "check",
        "config",
        "key",
        "token",
        "upstream",
        "store",
        "emulate",
        "redact",
        "scan",
        "explain",
        "ws",
        "man",
        "completion",
    ] {
        insta::assert_snapshot!(format!("help_{command}"), help(&[command, "--help"]));
    }
    insta::assert_snapshot!("help_key_create", help(&["key", "create", "--help"]));
    insta::assert_snapshot!("help_token_create", help(&["token", "create", "--help"]));
    insta::assert_snapshot!("help_token_inspect", help(&["token", "inspect", "--help"]));
    insta::assert_snapshot!("help_config_show", help(&["config", "show", "--help"]));
    insta::assert_snapshot!("help_upstream_add", help(&["upstream", "add", "--help"]));
    insta::assert_snapshot!("help_upstream_test", help(&["upstream", "test", "--help"]));
    insta::assert_snapshot!("help_store_backup", help(&["store", "backup", "--help"]));
}

#[test]
fn completion_scripts_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = help(&["completion", shell]);
        assert!(script.contains("emulate") && script.contains("secret-file"), "{shell}");
    }
}

#[test]
fn secrets_are_no_arguments() {
    for arguments in [["serve", "--secret", "canary"].as_slice(), &["emulate", "gemini", "--key", "canary"]] {
        let (code, _, stderr) = told(&Folder::new().run(arguments));
        assert_eq!(code, Some(2), "{stderr}");
    }
}

#[test]
fn a_slip_in_a_command_or_option_is_answered_with_the_right_one() {
    for (arguments, right) in [
        (&["explian"][..], "'explain'"),
        (&["key", "craete"], "'create'"),
        (&["ws", "wss://h.example/", "--secretfile", "x"], "'--secret-file'"),
    ] {
        let (code, _, stderr) = told(&Folder::new().run(arguments));
        assert!(code == Some(2) && stderr.contains(right), "{stderr}");
    }
}

#[test]
fn the_page_of_the_command_line_in_the_book_is_fresh() {
    crate::schema::assert_fresh("cli.md", &help(&["man", "--markdown"]));
}

#[test]
fn man_pages_are_printed_or_written_for_every_command() {
    let folder = Folder::new();
    let page = help(&["man", "key", "create"]);
    assert!(page.contains(".TH keymoat-key-create 1") && page.contains("scope"), "{page}");
    let (code, stdout, stderr) = told(&folder.run(&["man", "--out", "pages", "--json"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let written: Vec<String> = serde_json::from_str(&stdout).expect("JSON");
    for name in ["keymoat.1", "keymoat-ws.1", "keymoat-explain.1", "keymoat-token-create.1"] {
        assert!(written.iter().any(|one| one == name), "{stdout}");
    }
    for name in &written {
        let page = std::fs::read_to_string(folder.path().join("pages").join(name)).expect("it was written");
        assert!(page.contains(".SH NAME") && page.contains(name.trim_end_matches(".1")), "{name}");
    }
    let (code, _, stderr) = told(&folder.run(&["man", "kye"]));
    assert!(code == Some(1) && stderr.contains("explain"), "{stderr}");
}
