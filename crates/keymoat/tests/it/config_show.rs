//! `keymoat config show` and `config schema` hold no secret, whatever place it comes from or was put into.

use std::process::Output;

use crate::harness::{Folder, told};
use crate::upstreams::{CANARY, holds_canary};

const UPSTREAM: &str = "[upstream.x]\nurl = \"https://x\"\n";
const ROUTE: &str = "[route.r]\nupstream = \"x\"\npaths = [\"/api/*\"]\n";

/// Gives the exit code; no output holds the canary.
fn code_without_canary(output: &Output) -> Option<i32> {
    let (code, stdout, stderr) = told(output);
    assert!(!holds_canary(stdout.as_bytes()) && !holds_canary(stderr.as_bytes()), "{stdout}{stderr}");
    code
}

#[test]
fn a_secret_in_its_place_is_read_and_not_shown() {
    let folder = Folder::new();
    folder.write("secret", CANARY);
    let master = "c4".repeat(32);
    let list = format!("[\"{CANARY}-of-a-client\"]");
    let text = format!(
        "{UPSTREAM}secret = \"${{file:secret}}\"\n{ROUTE}[upstream.y]\nurl = \"https://y\"\nsecret = \"${{env:REAL}}\"\n\
         [key.one]\nsecret = \"${{env:CLIENT}}\"\n"
    );
    folder.write("keymoat.toml", &text);
    for arguments in [["config", "show"].as_slice(), &["config", "show", "--json"], &["config", "schema"]] {
        let mut command = folder.command(arguments);
        command.env("REAL", CANARY).env("CLIENT", format!("{CANARY}-2")).env("API_KEYS", &list);
        let output = command.env("KEYMOAT_MASTER_KEY", &master).output().expect("it runs");
        assert_eq!(code_without_canary(&output), Some(0), "{arguments:?}");
        let (_, stdout, stderr) = told(&output);
        assert!(!stdout.contains(&master) && !stderr.contains(&master), "{arguments:?}");
    }
    let preset = folder.run(&["config", "show", "--preset", "gemini", "--secret-file", "secret"]);
    assert_eq!(code_without_canary(&preset), Some(0));
}

#[test]
fn a_secret_in_the_wrong_place_is_refused_and_not_repeated() {
    for (text, variable) in [
        (format!("{UPSTREAM}secret = \"{CANARY}\"\n{ROUTE}"), None),
        (format!("{UPSTREAM}secret = [\"{CANARY}\"]\n{ROUTE}"), None),
        (format!("[upstream.x]\nurl = \"https://user:{CANARY}@x\"\n{ROUTE}"), None),
        (format!("[upstream.x]\nurl = \"https://x/?key={CANARY}\"\n{ROUTE}"), None),
        (format!("[store]\nmaster_key = \"{CANARY}\"\n"), None),
        (format!("[store]\nurl = \"postgres://user:{CANARY}@host/db\"\n"), None),
        (format!("[key.one]\nsecret = \"{CANARY}\"\n"), None),
        (format!("{UPSTREAM}{ROUTE}"), Some(("KEYMOAT__UPSTREAM__X__SECRET", CANARY))),
        (format!("{UPSTREAM}{ROUTE}"), Some(("KEYMOAT__UPSTREAM__X__SECRT", CANARY))),
        (format!("{UPSTREAM}{ROUTE}"), Some(("KEYMOAT_MASTER_KEY_FILE", CANARY))),
        (format!("{UPSTREAM}{ROUTE}"), Some(("API_KEYS", CANARY))),
    ] {
        let folder = Folder::new();
        folder.write("keymoat.toml", &text);
        let mut command = folder.command(&["config", "show"]);
        command.envs(variable);
        assert_eq!(code_without_canary(&command.output().expect("it runs")), Some(2), "{text}{variable:?}");
    }
}
