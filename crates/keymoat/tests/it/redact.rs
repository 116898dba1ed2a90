//! `keymoat redact` as a filter in a pipe.

use std::io::{Read, Write};
use std::process::{Output, Stdio};

use crate::harness::{Folder, told};

/// The credential that must come out nowhere.
const CANARY: &str = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";

fn filtered(folder: &Folder, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = folder.command(&[&["redact"], arguments].concat());
    command.env("HOME", folder.path()).env_remove("XDG_DATA_HOME");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("it starts");
    let mut stdin = running.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // Whoever ends early closes the pipe.
        let _ = stdin.write_all(&input);
    });
    let output = running.wait_with_output().expect("it ends");
    writer.join().expect("written");
    output
}

#[test]
fn what_passes_is_masked_and_everything_else_stays() {
    let folder = Folder::new();
    let input = format!("\u{0}clean\r\nGET /e?page=1&api_key={CANARY}&x=1\n\u{fc}no end");
    let output = filtered(&folder, &["--stats"], input.as_bytes());
    let (code, stdout, stderr) = told(&output);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, input.replace(CANARY, "[REDACTED:api_key]"));
    assert!(stderr.contains("1 masked in 1 lines") && stderr.contains("api_key 1"), "{stderr}");
}

#[test]
fn check_prints_nothing_and_tells_by_its_exit_code() {
    let folder = Folder::new();
    let file = folder.write("a.log", &format!("token={CANARY}\n"));
    let clean = folder.write("b.log", "nothing here\n");
    let run = |path: &std::path::Path| told(&folder.run(&["redact", "--check", path.to_str().expect("text")]));
    let (code, stdout, stderr) = run(&file);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("1 credentials found in 1 lines") && !stderr.contains("Zk7Qw2Lr"), "{stderr}");
    assert_eq!(run(&clean).0, Some(0));
    assert_eq!(run(&folder.path().join("missing")).0, Some(2));
}

#[test]
fn fingerprints_are_stable_and_their_key_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let input = format!("api_key={CANARY}\n");
    let first = filtered(&folder, &["--fingerprint"], input.as_bytes());
    let second = filtered(&folder, &["--fingerprint"], input.as_bytes());
    assert_eq!(first.stdout, second.stdout);
    assert!(String::from_utf8_lossy(&first.stdout).starts_with("api_key=[REDACTED:api_key:fp="));
    let key = folder.path().join(".local/share/keymoat/fingerprint.key");
    assert_eq!(std::fs::metadata(&key).expect("made").permissions().mode() & 0o777, 0o600);
    assert!(!folder.path().join(".keymoat").exists(), "there is one place");
    let other = filtered(&Folder::new(), &["--fingerprint"], input.as_bytes());
    assert_ne!(first.stdout, other.stdout);
}

#[test]
fn one_credential_has_the_same_fingerprint_in_a_mark_and_in_a_report() {
    let folder = Folder::new();
    folder.write("key", "thirty-two bytes of a team's own!");
    folder.write("a.log", &format!("GET /?api_key={CANARY}\n"));
    for key in [&[][..], &["--fingerprint-key", "key"]] {
        let masked = filtered(&folder, &[&["--fingerprint", "a.log"], key].concat(), b"");
        let masked = String::from_utf8(masked.stdout).expect("text");
        let mark = masked.split("fp=").nth(1).and_then(|rest| rest.split(']').next()).expect("a mark");
        let mut scan = folder.command(&["scan", "a.log", "--format", "json"]);
        scan.args(key).env("HOME", folder.path()).env_remove("XDG_DATA_HOME");
        let report: serde_json::Value =
            serde_json::from_slice(&scan.output().expect("it runs").stdout).expect("a report");
        let reported = report["credentials"][0]["fingerprint"].as_str().expect("it is named");
        assert_eq!(reported.get(..8), Some(mark));
    }
}

#[test]
fn the_configuration_adds_rules_and_a_wrong_one_is_told_with_its_place() {
    let folder = Folder::new();
    folder.write("keymoat.toml", "[redact]\nnames = [\"X-Badge\"]\nrules = { badge = \"BDG-([0-9]{6})\" }\n");
    let output = filtered(&folder, &[], b"x_badge=abc12345 BDG-123456\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "x_badge=[REDACTED:credential] BDG-[REDACTED:badge]\n");
    folder.write("keymoat.toml", "[redact]\nrules = { badge = \"(\" }\n");
    let (code, stdout, stderr) = told(&filtered(&folder, &[], b"x\n"));
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("keymoat.toml:2") && stderr.contains("badge"), "{stderr}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let folder = Folder::new();
    let mut command = folder.command(&["redact"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("it starts");
    drop(running.stdout.take());
    let mut stdin = running.stdin.take().expect("a pipe");
    let line = format!("api_key={CANARY} and more\n").repeat(20_000);
    let _ = stdin.write_all(line.as_bytes());
    drop(stdin);
    let mut stderr = String::new();
    running.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert_eq!((running.wait().expect("it ends").code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn lines_come_out_of_a_pipe_as_they_come_in() {
    let folder = Folder::new();
    let mut command = folder.command(&["redact"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = command.spawn().expect("it starts");
    let (mut stdin, mut stdout) = (running.stdin.take().expect("a pipe"), running.stdout.take().expect("a pipe"));
    let shown = b"api_key=[REDACTED:api_key]\n";
    let mut buffer = vec![0; shown.len()];
    for _ in 0..3 {
        stdin.write_all(format!("api_key={CANARY}\n").as_bytes()).expect("written");
        stdout.read_exact(&mut buffer).expect("it comes before the end");
        assert_eq!(buffer, shown);
    }
    drop(stdin);
    assert_eq!(running.wait().expect("it ends").code(), Some(0));
}
