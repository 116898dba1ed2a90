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
