//! Whole configurations, served by the real binary.

use std::sync::Arc;

use crate::harness::{Emulated, Folder, Keymoat, request, status, told};

/// A voice app behind a platform's TLS, as the plan has it.
pub(crate) const VOICE: &str = r#"
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
origins = ["https://app.example"]
tokens = { uses_max = 10, live_max = "30m" }
"#;

/// A service that takes keys in its URLs, as the plan has it.
pub(crate) const KEYS_IN_URLS: &str = r#"
[tls]
mode = "provided"
cert = "crt"
key = "key"
[store]
url = "${file:database_url}"
[upstream.events]
url = "https://events.internal"
secret = "${file:events}"
inject = "header:X-API-Key"
[route.events]
upstream = "events"
paths = ["/api/*", "/ws/*"]
carriers = ["header:x-api-key", "subprotocol", "query:api_key"]
query = "warn"               # refuse | tokens | warn | allow
sunset = 2027-03-01
"#;

/// The voice app; the emulator takes Google's place.
fn voice(folder: &Folder, emulated: &Emulated) {
    folder.write("gemini", &emulated.key());
    folder.write("backend_key", "the-key-of-the-backend-1");
    folder.write("keymoat.toml", VOICE);
}

#[test]
fn a_voice_app_is_served_behind_a_proxy_with_a_key_of_the_file() {
    let (folder, emulated) = (Folder::new(), Emulated::start());
    voice(&folder, &emulated);
    let (code, stdout, stderr) = told(&folder.run(&["check"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("keymoat.toml is well: 1 route (voice → gemini)\n"), "{stdout}");
    assert!(!stderr.contains("tokens"), "{stderr}");

    let folder: Arc<Folder> = folder.into();
    let variables =
        [("KEYMOAT__UPSTREAM__GEMINI__URL", emulated.url()), ("KEYMOAT__LISTEN__TRUSTED_PROXIES", "[\"127.0.0.1\"]")];
    let mut keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &variables);
    assert!(keymoat.ready["gateway_tls"].is_null());
    let ask = |headers: &[(&str, &str)]| request(keymoat.address(), "GET", "/v1beta/models", headers);
    let key = ("x-goog-api-key", "the-key-of-the-backend-1");
    assert_eq!(status(&ask(&[key, ("X-Forwarded-For", "1.1.1.1, 203.0.113.7"), ("X-Forwarded-Proto", "https")])), 200);
    assert_eq!(status(&ask(&[("x-goog-api-key", "another-key-of-no-meaning")])), 401);
    let of_page = |origin| status(&ask(&[key, ("X-Forwarded-For", "203.0.113.8"), ("Origin", origin)]));
    assert_eq!((of_page("https://app.example"), of_page("https://evil.example")), (200, 403));
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

/// The emulator takes the service's place.
#[test]
fn a_service_with_keys_in_its_urls_is_served_and_its_clients_are_told_until_when() {
    let emulated = Emulated::start();
    let folder: Arc<Folder> = Folder::new().into();
    let pem = certificate(&folder);
    folder.write("crt", &pem);
    folder.write("key", &pem);
    folder.write("events", &emulated.key());
    folder.write("database_url", "sqlite:kept\n");
    folder.write("keymoat.toml", KEYS_IN_URLS);
    let (code, _, stderr) = told(&folder.run(&["check"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let (_, stdout, stderr) = told(&folder.run(&["key", "create", "client", "--scope", "events"]));
    assert!(folder.path().join("kept/keymoat.db").exists(), "{stderr}");
    let key = stdout.trim();

    let variables = [("KEYMOAT__UPSTREAM__EVENTS__URL", emulated.url())];
    let keymoat = Keymoat::in_folder(folder, &[], &variables);
    assert!(keymoat.ready["gateway_tls"].is_string() && keymoat.ready["ca_file"].is_null());
    let get = |target: &str, headers: &[(&str, &str)]| request(keymoat.address(), "GET", target, headers);
    let safe = get("/api/events", &[("X-API-Key", key)]);
    assert!(status(&safe) == 200 && !safe.contains("sunset:"), "{safe}");
    let warned = get(&format!("/api/events?api_key={key}"), &[]);
    assert!(status(&warned) == 200 && warned.contains("sunset: Mon, 01 Mar 2027 00:00:00 GMT"), "{warned}");
    assert!(warned.contains("deprecation: @"), "{warned}");
}

/// A certificate with its key in one PEM text.
fn certificate(folder: &Folder) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let dir = folder.path().join("made");
    let now = keymoat_core::UnixMillis(i64::try_from(now).expect("in time"));
    keymoat_gateway::tls::self_signed::prepare(&dir, now).expect("a certificate");
    std::fs::read_to_string(dir.join("server.pem")).expect("readable")
}

#[test]
fn the_configuration_in_force_is_shown_with_its_sources_and_without_its_secrets() {
    let (folder, emulated) = (Folder::new(), Emulated::start());
    voice(&folder, &emulated);
    let mut command = folder.command(&["config", "show"]);
    command.envs([("KEYMOAT__LIMITS__DRAIN", "5s"), ("API_KEYS", "[\"canary-of-a-client-1\"]")]);
    let (code, stdout, stderr) = told(&command.output().expect("it runs"));
    assert_eq!(code, Some(0), "{stderr}");
    for line in [
        "data = \"0.0.0.0:8080\" # keymoat.toml:3:8",
        "mode = \"behind_proxy\" # keymoat.toml:6:8",
        "url = \"https://generativelanguage.googleapis.com\" # preset gemini",
        "secret = \"${file:gemini}\" # keymoat.toml:11:10",
        "secret = \"${file:backend_key}\" # keymoat.toml:13:10",
        "# [key.env_1]",
        "# secret = # environment variable API_KEYS: not shown",
        "query = \"warn\" # environment variable API_KEYS",
        "tokens = { live_max = \"30m\", uses_max = 10 } # keymoat.toml:18:10",
        "# master_key = # default: `./.keymoat/master.key`, made with the store",
        "drain = \"5s\" # environment variable KEYMOAT__LIMITS__DRAIN",
        "keep_alive = \"75s\" # default",
    ] {
        let is_it = |shown: &str| shown.split_whitespace().eq(line.split_whitespace());
        assert!(stdout.lines().any(is_it), "{line} is not in\n{stdout}");
    }
    for secret in ["canary", "the-key-of-the-backend", &emulated.key()] {
        assert!(!stdout.contains(secret) && !stderr.contains(secret), "{secret} is shown");
    }
    // What is shown is a configuration itself, and flags go before everything.
    folder.write("shown.toml", &stdout);
    let again = ["config", "show", "shown.toml", "--listen", "127.0.0.1:9", "--log", "debug", "--log-format", "json"];
    let (code, stdout, stderr) = told(&folder.run(&again));
    assert_eq!(code, Some(0), "{stderr}");
    for line in [
        "data = \"127.0.0.1:9\" # flag --listen",
        "level = \"debug\" # flag --log",
        "format = \"json\" # flag --log-format",
        "secret = \"${file:backend_key}\" # shown.toml:",
    ] {
        let shown = stdout.lines().map(|shown| shown.split_whitespace().collect::<Vec<_>>().join(" "));
        assert!(shown.into_iter().any(|shown| shown.starts_with(line)), "{line} is not in\n{stdout}");
    }
    let preset = ["config", "show", "--preset", "gemini", "--secret-file", "gemini"];
    let (_, stdout, _) = told(&folder.run(&preset));
    assert!(stdout.contains("secret = \"${file:gemini}\"") && stdout.contains("# flag --secret-file"), "{stdout}");
    assert!(stdout.contains("preset = \"gemini\"") && stdout.contains("# flag --preset"), "{stdout}");
    assert!(!stdout.contains(&emulated.key()));
    let (code, stdout, _) = told(&folder.run(&["config", "show", "--preset", "openai", "--json"]));
    assert_eq!(code, Some(0));
    let shown: Vec<serde_json::Value> = serde_json::from_str(&stdout).expect("JSON");
    assert!(shown.iter().any(|setting| setting["name"] == "inject" && setting["value"] == "header:authorization"));
    let (code, _, stderr) = told(&folder.run(&["config", "show", "--preset", "opnai"]));
    assert!(code == Some(2) && stderr.contains("did you mean `openai`?"), "{stderr}");
}
