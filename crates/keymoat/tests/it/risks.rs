//! The seven risks of a key in a URL, each with what Keymoat does about it. What remains is asserted too: the page of the
//! documentation says it, and a test that could not see it would prove nothing.

pub(crate) mod nginx;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::{Emulated, Folder, Keymoat, open_websocket, request, status, told};
use nginx::Nginx;

/// A navigation as Chromium asks for it.
const NAVIGATION: [(&str, &str); 3] =
    [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"), ("Accept", "text/html,*/*;q=0.8")];

/// A gateway with a route that refuses keys in URLs, and one that warns of them; both lead to the emulated APIs.
struct Stand {
    keymoat: Keymoat,
    emulated: Emulated,
    key: String,
}

impl Stand {
    fn start() -> Self {
        let emulated = Emulated::start();
        let url = emulated.url().to_owned();
        Self::before(emulated, &url)
    }

    /// The same, with something between the gateway and the emulated APIs, at `url`.
    fn before(emulated: Emulated, url: &str) -> Self {
        let folder = Folder::new();
        folder.write("upstream.key", &emulated.key());
        let text = format!(
            "[upstream.events]\nurl = \"{url}\"\nsecret = \"${{file:upstream.key}}\"\ninject = \"header:X-API-Key\"\n\
             [route.events]\nupstream = \"events\"\npaths = [\"/api/*\", \"/ws/*\"]\n\
             [route.old]\nupstream = \"events\"\npaths = [\"/demo/*\"]\nquery = \"warn\"\nsunset = 2099-03-01\n"
        );
        folder.write("keymoat.toml", &text);
        let (_, stdout, stderr) = told(&folder.run(&["key", "create", "client"]));
        assert!(stdout.starts_with("km_"), "{stderr}");
        Self { keymoat: Keymoat::in_folder(folder.into(), &[], &[]), emulated, key: stdout.trim().to_owned() }
    }

    fn get(&self, target: &str, headers: &[(&str, &str)]) -> String {
        request(self.keymoat.address(), "GET", target, headers)
    }

    fn in_url(&self, path: &str) -> String {
        format!("{path}?limit=1&api_key={}", self.key)
    }

    /// A client of every kind: with the key in the URL and in its own place, refused, warned and welcome.
    fn drive(&self, address: &str) {
        let get = |target: &str, headers: &[(&str, &str)]| status(&request(address, "GET", target, headers));
        assert_eq!(get(&self.in_url("/api/events"), &[]), 401);
        assert_eq!(get(&self.in_url("/api/events"), &NAVIGATION), 303);
        assert_eq!(get(&self.in_url("/demo/echo"), &[]), 200);
        self.drive_headers(address);
    }

    /// Only clients that send the key where it belongs.
    fn drive_headers(&self, address: &str) {
        let key = self.key.as_str();
        let get = |target: &str, headers: &[(&str, &str)]| status(&request(address, "GET", target, headers));
        assert_eq!(get("/api/events?limit=1", &[("X-API-Key", key)]), 200);
        assert_eq!(get("/demo/echo", &[("Authorization", &format!("Bearer {key}"))]), 200);
        let offered = format!("keymoat.v1, api-key.{key}");
        let (head, _) = open_websocket(address, "/ws/events", &[("Sec-WebSocket-Protocol", &offered)]);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let named =
        head.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| found.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value)
}

/// Every file under `folder` that has `text` in it.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| memchr::memmem::find(&bytes, text.as_bytes()).is_some()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn risk_1_access_logs_of_keymoat_and_of_everything_behind_it_hold_no_key() {
    let emulated = Emulated::start();
    let behind = Nginx::before(emulated.url(), "");
    let mut stand = Stand::before(emulated, &format!("http://{}", behind.address));
    stand.drive(stand.keymoat.address());
    stand.keymoat.signal(rustix::process::Signal::TERM);
    assert!(stand.keymoat.wait().success());
    let output = stand.keymoat.output();
    assert!(output.contains("\"carrier\":\"query:api_key\""), "the record says where the key sat: {output}");
    assert!(!output.contains(&stand.key), "a key in the log");
    assert_eq!(files_with(stand.keymoat.folder.path(), &stand.key), Vec::<String>::new());
    let log = behind.log();
    assert!(log.contains("/api/events?limit=1") && log.contains("/demo/echo?limit=1"), "{log}");
    assert!(!log.contains(&stand.key) && !log.contains("api_key"), "a key went on in a URL: {log}");
}

#[test]
fn risk_2_browser_history_a_refused_navigation_is_led_away_from_the_address() {
    let stand = Stand::start();
    let answer = stand.get(&stand.in_url("/api/events"), &NAVIGATION);
    assert_eq!(status(&answer), 303, "{answer}");
    assert_eq!(header(&answer, "location"), Some("/keymoat/why/credential_in_query#refused"));
    assert_eq!(header(&answer, "cache-control"), Some("private, no-store"));
    assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"));
    assert_eq!(header(&answer, "clear-site-data"), Some("\"cache\""));
    assert!(!answer.contains(&stand.key), "{answer}");
    stand.keymoat.wait_for_line("\"code\":\"credential_in_query\",\"status\":303");
    // An old browser says what it wants in `Accept` only.
    assert_eq!(status(&stand.get(&stand.in_url("/api/events"), &[("Accept", "text/html")])), 303);
    // Also where no route takes the address, and where the key is a wrong one.
    assert_eq!(status(&stand.get(&stand.in_url("/elsewhere"), &NAVIGATION)), 303);
    let wrong = stand.get("/demo/echo?api_key=km_wrong", &NAVIGATION);
    assert_eq!(header(&wrong, "location"), Some("/keymoat/why/credential_invalid#refused"), "{wrong}");
    let page = stand.get("/keymoat/why/credential_in_query", &NAVIGATION);
    assert_eq!(status(&page), 404, "Chromium keeps no 404 where it can be seen: {page}");
    assert!(page.contains("text/html") && page.contains("default-src 'none'") && page.contains("What to do"), "{page}");
    // A script or a program reads the refusal itself; without a key in the URL there is nothing to lead away from.
    assert_eq!(status(&stand.get(&stand.in_url("/api/events"), &[("Sec-Fetch-Mode", "cors")])), 401);
    assert_eq!(status(&stand.get(&stand.in_url("/api/events"), &[("Accept", "application/json")])), 401);
    assert_eq!(status(&stand.get("/api/events", &NAVIGATION)), 401);
    // What remains: where keys in URLs are still taken, the browser keeps the address.
    assert_eq!(status(&stand.get(&stand.in_url("/demo/echo"), &NAVIGATION)), 200);
}

#[test]
fn risk_3_referer_is_not_sent_on_by_browsers_nor_by_keymoat() {
    let emulated = Emulated::start();
    let behind = Nginx::before(emulated.url(), "");
    let stand = Stand::before(emulated, &format!("http://{}", behind.address));
    for target in [stand.in_url("/api/events"), stand.in_url("/demo/echo"), "/api/events".to_owned()] {
        let answer = stand.get(&target, &[]);
        assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"), "{answer}");
    }
    // A page that was opened with the key in its address asks for something else, and names that address.
    let referer = format!("http://{}{}", stand.keymoat.address(), stand.in_url("/page"));
    assert_eq!(status(&stand.get("/demo/echo?one", &[("X-API-Key", &stand.key), ("Referer", &referer)])), 200);
    let other = ("Referer", "https://app.example/");
    assert_eq!(status(&stand.get("/demo/echo?two", &[("X-API-Key", &stand.key), other])), 200);
    let log = behind.log();
    assert!(log.contains("GET /demo/echo?one HTTP/1.1|-|200"), "it went no further: {log}");
    assert!(log.contains("GET /demo/echo?two HTTP/1.1|https://app.example/|200"), "another one passes: {log}");
}

#[test]
fn risk_4_sharing_a_link_gives_nothing_away_where_keys_in_urls_are_refused() {
    let stand = Stand::start();
    let answer = stand.get(&stand.in_url("/api/events"), &[]);
    assert!(status(&answer) == 401 && answer.contains("credential_in_query"), "the link does not work: {answer}");
    // What is pasted into a report is a refusal without the key, and what is pasted anyway can be cleaned.
    assert!(!answer.contains(&stand.key), "{answer}");
    let pasted = format!("it fails: GET {}\n", stand.in_url("/api/events"));
    let mut redact = stand.keymoat.folder.command(&["redact"]);
    let mut child = redact
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("piped").write_all(pasted.as_bytes()).expect("it reads");
    let cleaned = child.wait_with_output().expect("it ends").stdout;
    let cleaned = String::from_utf8_lossy(&cleaned);
    assert!(cleaned.contains("limit=1") && !cleaned.contains(&stand.key), "{cleaned}");
}

#[test]
fn risk_5_extensions_see_addresses_without_keys_and_what_they_take_ends_soon() {
    let stand = Stand::start();
    // A backend mints what a page gets. An extension may read it in the subprotocol: it opens one session and no more.
    let body = r#"{"uses":1,"start_within":"60s","live_for":"60s"}"#;
    let minted = crate::harness::post(stand.keymoat.address(), "/keymoat/v1/tokens", ("X-API-Key", &stand.key), body);
    let body = minted.split("\r\n\r\n").nth(1).unwrap_or_default();
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{minted}"));
    let token = answer["token"].as_str().unwrap_or_else(|| panic!("no token: {}", answer["code"]));
    let offered = format!("keymoat.v1, keymoat.token.{}", base64url(token));
    let open = || open_websocket(stand.keymoat.address(), "/ws/events", &[("Sec-WebSocket-Protocol", &offered)]);
    let (head, mut socket) = open();
    // The address is the same for everybody, and what was selected is no secret.
    assert!(head.contains("sec-websocket-protocol: keymoat.v1") && !head.contains(token), "{head}");
    let mut first = [0; 2];
    socket.read_exact(&mut first).expect("events come");
    assert_eq!(first[0] & 0x0f, 1, "a text message");
    let (_, mut stolen) = open();
    let mut close = [0; 4];
    stolen.read_exact(&mut close).expect("a close frame");
    assert_eq!((close[0] & 0x0f, u16::from_be_bytes([close[2], close[3]])), (8, 4002), "it is used up");
}

#[test]
fn risk_6_proxies_and_cdns_log_no_key_of_clients_that_send_a_header() {
    let stand = Stand::start();
    let front = Nginx::before(&format!("http://{}", stand.keymoat.address()), "");
    stand.drive_headers(&front.address);
    assert!(front.log().contains("/ws/events") && !front.log().contains(&stand.key), "{}", front.log());
    // What remains: a proxy that terminates TLS has written the address down before Keymoat can refuse it.
    let answer = request(&front.address, "GET", &stand.in_url("/api/events"), &[]);
    assert_eq!(status(&answer), 401);
    assert!(front.log().contains(&stand.key), "a proxy in front sees it: {}", front.log());
    // One that does not terminate TLS sees nothing of it.
    let wire = Wire::before(stand.keymoat.address_tls());
    let answer = crate::canary::wire::exchange_tls(
        &wire.address,
        &stand.keymoat.folder.path().join(".keymoat/tls/ca.pem"),
        "localhost",
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", stand.in_url("/demo/echo"))
            .as_bytes(),
        crate::canary::wire::Message(""),
    );
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    let seen = wire.seen();
    assert!(seen.len() > 300 && memchr::memmem::find(&seen, stand.key.as_bytes()).is_none());
}

#[test]
fn risk_7_caches_keep_nothing_of_a_key_in_a_url_and_give_nothing_to_strangers() {
    let stand = Stand::start();
    let front = Nginx::before(
        &format!("http://{}", stand.keymoat.address()),
        "proxy_cache kept; proxy_cache_valid 200 10m; proxy_cache_valid 401 10m; add_header X-Kept $upstream_cache_status always;",
    );
    let get = |target: &str, headers: &[(&str, &str)]| request(&front.address, "GET", target, headers);
    for target in [stand.in_url("/demo/echo"), stand.in_url("/api/events")] {
        for _ in 0..2 {
            let answer = get(&target, &[]);
            assert_eq!(header(&answer, "x-kept"), Some("MISS"), "{answer}");
            assert_eq!(header(&answer, "cache-control"), Some("private, no-store"), "{answer}");
            assert!(header(&answer, "vary").is_some_and(|vary| vary.contains("x-api-key")), "{answer}");
        }
    }
    // A key in a header: what it got is nobody else's, although no cache knows `X-API-Key` for a credential.
    assert_eq!(status(&get("/demo/echo", &[("X-API-Key", &stand.key)])), 200);
    let stranger = get("/demo/echo", &[]);
    assert_eq!((status(&stranger), header(&stranger, "x-kept")), (401, Some("MISS")), "{stranger}");
    assert_eq!(files_with(&front.folder().join("kept"), &stand.key), Vec::<String>::new());
    // The cache does keep what may be kept: it is no cache that never works.
    let page = |_| header(&get("/kept-by-the-test", &[]), "x-kept").map(str::to_owned);
    assert_eq!([0, 1].map(page), [Some("MISS".to_owned()), Some("HIT".to_owned())]);
    // What it told a browser to forget is the cache and nothing more.
    assert_eq!(header(&stand.get(&stand.in_url("/api/events"), &[]), "clear-site-data"), Some("\"cache\""));
    assert_eq!(header(&stand.get(&stand.in_url("/demo/echo"), &[]), "clear-site-data"), None, "not on each success");
    assert!(!stand.emulated.key().is_empty());
}

#[test]
fn a_warned_client_is_told_over_http_events_and_websockets_until_when_it_may_go_on() {
    let stand = Stand::start();
    let (websocket, _) = open_websocket(stand.keymoat.address(), &stand.in_url("/demo/ws"), &[]);
    for answer in [stand.get(&stand.in_url("/demo/echo"), &[]), stand.get(&stand.in_url("/demo/sse"), &[]), websocket] {
        assert!(matches!(status(&answer), 101 | 200), "{answer}");
        let since = header(&answer, "deprecation").and_then(|since| since.strip_prefix('@')).map(str::parse::<u64>);
        assert!(matches!(since, Some(Ok(_))), "a date as RFC 9745 has it: {answer}");
        assert_eq!(header(&answer, "sunset"), Some("Sun, 01 Mar 2099 00:00:00 GMT"), "{answer}");
        assert!(header(&answer, "link").is_some_and(|link| link.contains("rel=\"deprecation\"")), "{answer}");
    }
    let answer = stand.get("/demo/echo", &[("X-API-Key", &stand.key)]);
    assert!(header(&answer, "deprecation").is_none() && header(&answer, "sunset").is_none(), "{answer}");
}

fn base64url(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// Passes bytes on and keeps those that a client sent.
struct Wire {
    address: String,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    fn before(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (own, behind) = (listener.local_addr().expect("bound").to_string(), address.to_owned());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut server = TcpStream::connect(behind).expect("it listens");
            let (mut from_server, mut to_client) = (server.try_clone().expect("one"), client.try_clone().expect("one"));
            std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = client.read(&mut buffer) {
                kept.lock().expect("no panic").extend_from_slice(&buffer[..read]);
                let _ = server.write_all(&buffer[..read]);
            }
        });
        Self { address: own, seen }
    }

    fn seen(&self) -> Vec<u8> {
        std::thread::sleep(Duration::from_millis(20));
        self.seen.lock().expect("no panic").clone()
    }
}
