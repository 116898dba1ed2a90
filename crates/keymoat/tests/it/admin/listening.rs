//! Where the listener listens, and where it refuses to.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Administered, admin_key, ask, ask_socket};
use crate::harness::{Folder, Keymoat, told};

const ROUTE: &str = "[upstream.x]\nurl = \"http://127.0.0.1:9\"\n[route.x]\nupstream = \"x\"\npaths = [\"/*\"]\n";

#[test]
fn it_is_off_when_the_file_says_so_and_its_address_is_told_when_it_is_on() {
    let off = Keymoat::configured(&format!("{ROUTE}[admin]\nenabled = false\n"));
    assert_eq!(off.ready["admin"], Value::Null);
    assert!(!off.folder.path().join(".keymoat/admin.sock").exists());
    let on = Keymoat::configured(ROUTE);
    let address =
        on.ready["admin"].as_str().and_then(|url| url.strip_prefix("http://")).expect("plain text").to_owned();
    assert_eq!(ask(&address, "GET", "/healthz", &[], None).status, 200);
}

#[test]
fn beyond_loopback_it_needs_tls_and_an_admin() {
    let start = |text: &str, folder: &Folder| {
        folder.write("keymoat.toml", &format!("{ROUTE}{text}"));
        let (code, _, complaint) = told(&folder.run(&["serve", "--json"]));
        assert_eq!(code, Some(2), "{complaint}");
        complaint
    };
    let open = "[listen]\ndata = \"127.0.0.1:0\"\n[admin]\nlisten = \"0.0.0.0:0\"\n";
    let folder = Folder::new();
    let complaint = start(&format!("{open}[tls]\nmode = \"disabled\"\n"), &folder);
    assert!(complaint.contains("keymoat.toml:9:10") && complaint.contains("TLS"), "{complaint}");
    let complaint = start(open, &folder);
    assert!(complaint.contains("keymoat admin create NAME --role admin"), "{complaint}");

    let folder = Folder::new();
    folder.write("keymoat.toml", &format!("{ROUTE}{open}hosts = [\"admin.example\"]\n"));
    admin_key(&folder, "root", "admin");
    let mut command = folder.command(&["serve", "--json"]);
    command.env_remove("RUST_LOG");
    let keymoat = Keymoat::spawn(folder.into(), command);
    assert!(
        keymoat.ready["admin"].as_str().is_some_and(|url| url.starts_with("https://127.0.0.1:")),
        "{}",
        keymoat.ready
    );
    let health = ask_socket(&keymoat.folder, "GET", "/api/v1/health", None);
    assert_eq!(health.json()["is_claimed"], true);
}

#[test]
fn the_socket_is_for_its_owner_only_and_goes_with_the_server() {
    let administered = Administered::first_run();
    let path = administered.keymoat.folder.path().join(".keymoat/admin.sock");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    let me = ask_socket(&administered.keymoat.folder, "GET", "/api/v1/me", None);
    assert_eq!(
        me.json(),
        json!({"kind": "command", "id": null, "name": null, "role": "admin", "expires_at": null, "csrf_token": null})
    );
    let mut keymoat = administered.keymoat;
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    assert!(!path.exists());
    // A socket that a killed server left is no hindrance.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale one"));
    let again = Keymoat::in_folder(keymoat.folder.clone(), &[], &[]);
    assert_eq!(ask_socket(&again.folder, "GET", "/api/v1/health", None).status, 200);
}

#[test]
fn an_upgrade_takes_the_admin_listener_along() {
    let folder = Folder::new();
    folder.write("keymoat.toml", ROUTE);
    let administered = Administered::in_folder(folder.into());
    let address = administered.address().to_owned();
    let started = || {
        let health = ask_socket(&administered.keymoat.folder, "GET", "/api/v1/health", None).json();
        health["started_at"].as_str().map(str::to_owned)
    };
    let before = started().expect("a time");
    administered.keymoat.signal(Signal::USR2);
    administered.until(|| {
        let bearer = format!("Bearer {}", administered.root);
        let health = ask(&address, "GET", "/api/v1/health", &[("Authorization", &bearer)], None);
        health.status == 200 && health.json()["started_at"] != *before
    });
    let pid = administered.keymoat.wait_for_line("the new process is ready");
    assert_ne!(started().expect("the new one's socket"), before);
    let pid: i32 = pid
        .split("\"pid\":")
        .nth(1)
        .and_then(|rest| rest.split([',', '}']).next())
        .and_then(|pid| pid.parse().ok())
        .expect("a number");
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("a process"), Signal::TERM)
        .expect("it lives");
}

#[test]
fn bodies_and_heads_are_bounded() {
    let administered = Administered::first_run();
    let large = Value::String(format!("{{\"text\":\"{}\"}}", "x".repeat(1 << 20)));
    let answer = administered.ask("POST", "/api/v1/redactions", Some(large));
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    let answer = administered.ask_with("GET", "/healthz", &[("X-Filler", &"x".repeat(80 << 10))], None);
    assert_eq!(answer.status, 431, "{answer:?}");
    let bearer = format!("Bearer {}", administered.root);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "text/plain")];
    let answer = administered.ask_with("POST", "/api/v1/keys", &headers, Some(json!({"name": "x"})));
    assert_eq!((answer.status, answer.code().as_str()), (415, "media_type"));
}
