//! Whole configurations, served by the real binary.

use std::sync::Arc;

use crate::harness::{Emulated, Folder, Keymoat, request, status, told};

/// A voice app behind a platform's TLS, as the plan has it; the emulator takes Google's place.
fn voice(folder: &Folder, emulated: &Emulated) {
    folder.write("gemini", &emulated.key());
    folder.write("backend_key", "the-key-of-the-backend-1");
    let text = r#"
[listen]
data = "0.0.0.0:8080"
trusted_proxies = ["10.0.0.0/8"]
[tls]
mode = "behind_proxy"        # disabled | self_signed | provided | behind_proxy
[admin]
enabled = false
[upstream.gemini]
preset = "gemini"
secret = "${file:gemini}"
[key.backend]                # a key kept in the file, for platforms without a disk; others are made with `key create`
secret = "${file:backend_key}"
scopes = ["voice", "mint"]
[route.voice]                # no paths: the dialect's own
upstream = "gemini"
tokens = { uses_max = 10, live_max = "30m" }
"#;
    folder.write("keymoat.toml", text);
}

#[test]
fn a_voice_app_is_served_behind_a_proxy_with_a_key_of_the_file() {
    let (folder, emulated) = (Folder::new(), Emulated::start());
    voice(&folder, &emulated);
    let (code, stdout, stderr) = told(&folder.run(&["check"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("keymoat.toml is well: 1 route (voice → gemini)\n"), "{stdout}");
    assert!(stderr.contains("`tokens` is checked and takes effect with minting"), "{stderr}");

    let folder: Arc<Folder> = folder.into();
    let variables =
        [("KEYMOAT__UPSTREAM__GEMINI__URL", emulated.url()), ("KEYMOAT__LISTEN__TRUSTED_PROXIES", "[\"127.0.0.1\"]")];
    let mut keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &variables);
    assert!(keymoat.ready["gateway_tls"].is_null());
    let ask = |headers: &[(&str, &str)]| request(keymoat.address(), "GET", "/v1beta/models", headers);
    let key = ("x-goog-api-key", "the-key-of-the-backend-1");
    assert_eq!(status(&ask(&[key, ("X-Forwarded-For", "1.1.1.1, 203.0.113.7"), ("X-Forwarded-Proto", "https")])), 200);
    assert_eq!(status(&ask(&[("x-goog-api-key", "another-key-of-no-meaning")])), 401);
    let record: serde_json::Value =
        serde_json::from_str(&keymoat.wait_for_line("\"status\":200")).expect("a record is JSON");
    assert_eq!((&record["client"], &record["key_id"]), (&"203.0.113.7".into(), &"file_backend".into()));
    keymoat.signal(rustix::process::Signal::TERM);
    assert!(keymoat.wait().success());
    assert!(!keymoat.output().contains("the-key-of-the-backend"));
    // The key was never stored: the store itself knows of none.
    let (_, stdout, _) = told(&folder.run(&["key", "list", "--json"]));
    assert_eq!(stdout.trim(), "[]");
}

#[test]
fn nobody_but_a_trusted_proxy_is_believed_about_its_client() {
    let emulated = Emulated::start();
    let folder = Folder::new();
    voice(&folder, &emulated);
    let variables = [("KEYMOAT__UPSTREAM__GEMINI__URL", emulated.url())];
    let keymoat = Keymoat::in_folder(folder.into(), &[], &variables);
    let headers = [("x-goog-api-key", "the-key-of-the-backend-1"), ("X-Forwarded-For", "203.0.113.7")];
    assert_eq!(status(&request(keymoat.address(), "GET", "/v1beta/models", &headers)), 200);
    assert!(keymoat.wait_for_line("\"status\":200").contains("\"client\":\"127.0.0.1\""));
}

#[test]
fn a_key_that_leaves_the_file_is_refused_and_its_sessions_end() {
    let emulated = Emulated::start();
    let folder: Arc<Folder> = Folder::new().into();
    folder.write("real", &emulated.key());
    folder.write("one", "the-key-of-the-first-client");
    folder.write("two", "the-key-of-the-second-client");
    let text = format!(
        "[tls]\nmode = \"disabled\"\n[upstream.demo]\nurl = \"{}\"\nsecret = \"${{file:real}}\"\ninject = \"header:X-API-Key\"\n\
         [route.demo]\nupstream = \"demo\"\npaths = [\"/demo/*\"]\n[key.two]\nsecret = \"${{file:two}}\"\n",
        emulated.url()
    );
    let first = "[key.one]\nsecret = \"${file:one}\"\n";
    folder.write("keymoat.toml", &format!("{text}{first}"));
    let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
    let open = |key: &str| crate::harness::open_websocket(keymoat.address(), "/demo/ws", &[("X-API-Key", key)]);
    let (head, mut one) = open("the-key-of-the-first-client");
    let (other_head, _two) = open("the-key-of-the-second-client");
    assert!(head.starts_with("HTTP/1.1 101 ") && other_head.starts_with("HTTP/1.1 101 "));
    folder.write("keymoat.toml", &text);
    let line = keymoat.wait_for_line("the key is revoked");
    assert!(line.contains("file_one") && line.contains("\"sessions\":1"), "{line}");
    let mut close = [0; 4];
    std::io::Read::read_exact(&mut one, &mut close).expect("a close frame");
    assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 4001));
    let status_of = |key: &str| status(&request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", key)]));
    assert_eq!((status_of("the-key-of-the-first-client"), status_of("the-key-of-the-second-client")), (401, 200));
}

#[test]
fn a_store_is_named_by_a_url_in_a_file() {
    let emulated = Emulated::start();
    let folder: Arc<Folder> = Folder::new().into();
    folder.write("real", &emulated.key());
    folder.write("database_url", "sqlite:kept\n");
    let text = format!(
        "[tls]\nmode = \"disabled\"\n[store]\nurl = \"${{file:database_url}}\"\n[upstream.events]\nurl = \"{}\"\n\
         secret = \"${{file:real}}\"\ninject = \"header:X-API-Key\"\n[route.events]\nupstream = \"events\"\npaths = [\"/api/*\"]\n",
        emulated.url()
    );
    folder.write("keymoat.toml", &text);
    let (_, stdout, stderr) = told(&folder.run(&["key", "create", "client"]));
    assert!(folder.path().join("kept/keymoat.db").exists(), "{stderr}");
    let keymoat = Keymoat::in_folder(folder, &[], &[]);
    let headers = [("X-API-Key", stdout.trim())];
    assert_eq!(status(&request(keymoat.address(), "GET", "/api/events", &headers)), 200);
}
