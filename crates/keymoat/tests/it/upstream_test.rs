//! `keymoat upstream test`: what it says of an upstream that takes the key, refuses it, is down, or is not trusted.

use std::net::TcpListener;
use std::sync::Arc;

use serde_json::Value;

use crate::harness::{Folder, Keymoat, told};
use crate::upstreams::{CANARY, holds_canary};

/// An emulated Gemini API that takes the canary as its key.
struct Upstream(Keymoat);

impl Upstream {
    fn start(more: &[&str]) -> Self {
        let folder: Arc<Folder> = Folder::new().into();
        folder.write("key", CANARY);
        let arguments = ["emulate", "gemini", "--json", "--listen", "127.0.0.1:0", "--secret-file", "key"];
        let mut command = folder.command(&arguments);
        command.args(more);
        Self(Keymoat::spawn(folder, command))
    }

    fn field(&self, name: &str) -> &str {
        self.0.ready[name].as_str().expect("the ready object has it")
    }
}

/// A folder with the preset at this address, and this secret.
fn configured(url: &str, secret: &str, more: &str) -> Folder {
    let folder = Folder::new();
    folder.write("secret", secret);
    let text = format!(
        "[upstream.gemini]\npreset = \"gemini\"\nurl = \"{url}\"\nsecret = \"${{file:secret}}\"\n{more}\n\
         [route.voice]\nupstream = \"gemini\"\n"
    );
    folder.write("keymoat.toml", &text);
    folder
}

/// Tests the upstream, and gives exit code, standard output and standard error; neither holds the canary.
fn test(folder: &Folder, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = folder.command(&["upstream", "test", "gemini"]);
    let told = told(&command.args(more).output().expect("it runs"));
    assert!(!holds_canary(format!("{}{}", told.1, told.2).as_bytes()), "{told:?}");
    told
}

#[test]
fn a_key_that_is_taken_is_told_from_one_that_is_not() {
    let upstream = Upstream::start(&[]);
    let url = upstream.field("emulator");
    let folder = configured(url, CANARY, "");
    let (code, stdout, stderr) = test(&folder, &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let address = url.trim_start_matches("http://");
    let lines: Vec<&str> = stdout.lines().collect();
    let first = format!("upstream gemini: {url}, secret from ${{file:./secret}}");
    let second = format!("connected to {address}");
    let rest = ["GET /v1beta/models was answered with 200", "the upstream takes this key"];
    assert_eq!(lines, [first.as_str(), &second, rest[0], rest[1]]);

    // The key that is refused is the canary now, and an echo of it in the answer stays where it is.
    let other: Arc<Folder> = Folder::new().into();
    let command = other.command(&["emulate", "gemini", "--json", "--listen", "127.0.0.1:0"]);
    let other = Keymoat::spawn(Arc::clone(&other), command);
    let folder = configured(other.ready["emulator"].as_str().expect("an address"), CANARY, "");
    let (code, stdout, stderr) = test(&folder, &[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stdout.ends_with("was answered with 400\n"), "{stdout}");
    assert!(stderr.starts_with("keymoat: the upstream does not accept this key"), "{stderr}");

    let (code, stdout, _) = test(&folder, &["--json"]);
    let json: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &json["status"], &json["is_well"]), (Some(1), &400.into(), &false.into()), "{stdout}");
}

#[test]
fn what_is_no_answer_of_the_api_is_not_taken_for_one() {
    let upstream = Upstream::start(&[]);
    let folder = configured(&format!("{}/elsewhere", upstream.field("emulator")), CANARY, "");
    let (code, _, stderr) = test(&folder, &[]);
    assert!(code == Some(1) && stderr.contains("is `url` the address of the API?"), "{stderr}");
    let (code, _, stderr) = test(&folder, &["--path", "/nowhere"]);
    assert!(code == Some(1) && stderr.contains("does not know this path"), "{stderr}");
}

#[test]
fn an_upstream_that_is_down_gets_no_key() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let (code, stdout, stderr) = test(&configured(&format!("http://{address}"), CANARY, ""), &[]);
    assert_eq!((code, stdout.lines().count()), (Some(2), 1), "{stdout}");
    assert!(stderr.contains("refused") && stderr.contains("The key was not sent"), "{stderr}");
}

#[test]
fn a_certificate_is_named_when_it_is_trusted_and_the_key_kept_when_it_is_not() {
    let upstream = Upstream::start(&["--tls"]);
    let (url, ca_file) = (upstream.field("emulator"), upstream.field("ca_file"));
    let (code, stdout, stderr) = test(&configured(url, CANARY, ""), &[]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stdout.contains("connected to 127.0.0.1:") && !stdout.contains("certificate"), "{stdout}");
    assert!(stderr.contains("UnknownIssuer") && stderr.contains("The key was not sent"), "{stderr}");

    let folder = configured(url, CANARY, &format!("ca = \"{ca_file}\""));
    let (code, stdout, stderr) = test(&folder, &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.contains("\nTLSv1.3, trusted certificate of ") && stdout.contains(" days left\n"), "{stdout}");
    let json: Value = serde_json::from_str(&test(&folder, &["--json"]).1).expect("JSON");
    let names = json["certificate_names"].as_array().expect("a list");
    assert!(names.contains(&"localhost".into()) && names.contains(&"127.0.0.1".into()), "{names:?}");
    let days = json["certificate_days_left"].as_i64().expect("a number");
    assert!((394..=397).contains(&days), "{days}");
}

#[test]
fn a_sealed_secret_is_used_and_another_name_told_of() {
    let upstream = Upstream::start(&[]);
    let folder = Folder::new();
    folder.write("secret", CANARY);
    let sealed = folder.run(&["upstream", "add", "gemini", "--secret-file", "secret"]);
    assert!(sealed.status.success());
    let url = upstream.field("emulator");
    let text = format!(
        "[upstream.gemini]\npreset = \"gemini\"\nurl = \"{url}\"\n[upstream.bare]\nurl = \"{url}\"\n\
         [route.voice]\nupstream = \"gemini\"\n"
    );
    folder.write("keymoat.toml", &text);
    let (code, stdout, _) = test(&folder, &[]);
    assert!(code == Some(0) && stdout.contains("secret sealed in the store, version 1"), "{stdout}");

    let (code, _, stderr) = told(&folder.run(&["upstream", "test", CANARY]));
    assert!(code == Some(2) && stderr.contains("`gemini`") && !holds_canary(stderr.as_bytes()), "{stderr}");
    let (code, _, stderr) = told(&folder.run(&["upstream", "test", "bare", "--path", "/v1beta/models"]));
    assert!(code == Some(1) && stderr.contains("wants a key, and has none here"), "{stderr}");
}
