//! The life of keys, with the built binary: rotated and revoked while clients go on, limits that survive a restart, keys
//! taken over from elsewhere, and upstreams whose secret is replaced.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Emulated, Folder, Keymoat, PATIENCE, open_websocket, request, status, told};

/// A gateway in front of the emulated APIs, with the key `client`.
struct Stand {
    keymoat: Keymoat,
    _emulated: Emulated,
    key: String,
}

impl Stand {
    fn start(key: &[&str]) -> Self {
        let folder = Folder::new();
        let emulated = Emulated::start();
        folder.write("upstream.key", &emulated.key());
        folder.write("keymoat.toml", &configuration(emulated.url(), "secret = \"${file:upstream.key}\"\n"));
        let key = secret_of(&folder, &[&["key", "create", "client"], key].concat());
        Self { keymoat: Keymoat::in_folder(folder.into(), &[], &[]), _emulated: emulated, key }
    }

    fn folder(&self) -> &Arc<Folder> {
        &self.keymoat.folder
    }

    fn ask(&self, key: &str) -> String {
        request(self.keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", key)])
    }

    fn open(&self, key: &str) -> TcpStream {
        let (head, socket) = open_websocket(self.keymoat.address(), "/demo/ws", &[("X-API-Key", key)]);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        socket
    }
}

fn configuration(upstream: &str, further: &str) -> String {
    format!(
        "[tls]\nmode = \"disabled\"\n[upstream.demo]\nurl = \"{upstream}\"\ninject = \"header:X-API-Key\"\n{further}\
         [route.demo]\nupstream = \"demo\"\npaths = [\"/demo/*\", \"/api/*\"]\n"
    )
}

/// What a command prints that prints a key and nothing else.
fn secret_of(folder: &Folder, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = told(&folder.run(arguments));
    assert_eq!(code, Some(0), "{stderr}");
    let secret = stdout.trim_end().to_owned();
    assert!(secret.starts_with("km_") && secret.len() == 52 && !stderr.contains(&secret), "a key and nothing else");
    secret
}

fn json_of(folder: &Folder, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = told(&folder.run(arguments));
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).expect("JSON")
}

fn echoes(socket: &mut TcpStream, text: &str) -> bool {
    socket.write_all(&frame(text)).expect("it is open");
    let mut answer = vec![0; 2 + text.len()];
    socket.read_exact(&mut answer).expect("it is open");
    answer.ends_with(text.as_bytes())
}

/// A masked text frame; the mask is zero, so that the payload is the text itself.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).expect("short"), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The close frame that a socket gets: code and reason.
fn close_of(socket: &mut TcpStream) -> (u16, String) {
    let mut head = [0; 2];
    socket.read_exact(&mut head).expect("a frame");
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    socket.read_exact(&mut payload).expect("its payload");
    assert_eq!(head[0], 0x88, "a close frame, not {payload:?}");
    (u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8_lossy(&payload[2..]).into_owned())
}

/// Clients that ask without a pause, and count what is not answered 200.
struct Hammer {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Hammer {
    fn start(address: &str, key: &str, clients: usize) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..clients).map(|_| {
            let (stop, asked, address, key) = (stop.clone(), asked.clone(), address.to_owned(), key.to_owned());
            thread::spawn(move || {
                let mut refused = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = request(&address, "GET", "/demo/echo", &[("X-API-Key", &key)]);
                    asked.fetch_add(1, Ordering::Relaxed);
                    if status(&answer) != 200 {
                        refused.push(answer);
                    }
                }
                refused
            })
        });
        Self { threads: threads.collect(), stop, asked }
    }

    /// Waits until so many more were asked.
    fn until_further(&self, more: usize) {
        let (before, deadline) = (self.asked.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while self.asked.load(Ordering::Relaxed) < before + more {
            assert!(Instant::now() < deadline, "the clients do not get on");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All answers that were no 200.
    fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    }
}

#[test]
fn a_key_is_rotated_under_load_without_one_refusal() {
    let stand = Stand::start(&[]);
    let old = Hammer::start(stand.keymoat.address(), &stand.key, 3);
    let mut session = stand.open(&stand.key);
    assert!(echoes(&mut session, "before"));
    old.until_further(20);
    let new_key = secret_of(stand.folder(), &["key", "rotate", "client", "--overlap", "3s"]);
    // From the first moment on, before the gateway can have looked at the store.
    let new = Hammer::start(stand.keymoat.address(), &new_key, 3);
    new.until_further(30);
    old.until_further(30);
    assert_eq!(old.stop(), [""; 0]);

    let (code, _, stderr) = told(&stand.folder().run(&["key", "rotate", "client"]));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("already rotated at") && stderr.contains("key retire"), "{stderr}");

    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        let answer = stand.ask(&stand.key);
        if status(&answer) != 200 {
            break answer;
        }
        assert!(Instant::now() < deadline, "the overlap does not end");
        thread::sleep(Duration::from_millis(50));
    };
    assert!(status(&ended) == 401 && ended.contains("this secret was replaced and ended on "), "{ended}");
    assert!(!ended.contains(&stand.key) && !ended.contains(&new_key), "{ended}");
    new.until_further(10);
    assert_eq!(new.stop(), [""; 0]);
    assert!(echoes(&mut session, "after"), "the session that the old secret opened goes on");

    let shown = json_of(stand.folder(), &["key", "show", "client", "--json"]);
    let (old_id, new_id) = (&shown["secrets"][0]["id"], &shown["secrets"][1]["id"]);
    assert_eq!((&shown["secrets"][0]["state"], &shown["secrets"][1]["state"]), (&"ended".into(), &"in use".into()));
    let output = stand.keymoat.output();
    let uses = |at: usize| shown["secrets"][at]["uses"].as_u64().unwrap_or_default();
    assert!(uses(0) > 50 && uses(1) > 30, "what is left of the old secret is counted: {shown}");
    for id in [old_id, new_id] {
        let named = format!("\"secret_id\":{id}");
        assert!(output.contains(&named), "records name the secret {id}");
    }
    for secret in [&stand.key, &new_key] {
        assert!(!output.contains(secret.as_str()), "no secret is in the log");
    }
}

#[test]
fn an_old_secret_is_retired_before_its_time_and_its_sessions_go_on() {
    let stand = Stand::start(&[]);
    let mut session = stand.open(&stand.key);
    let new_key = secret_of(stand.folder(), &["key", "rotate", "client", "--overlap", "30d"]);
    assert_eq!((status(&stand.ask(&stand.key)), status(&stand.ask(&new_key))), (200, 200));
    let (code, stdout, stderr) = told(&stand.folder().run(&["key", "retire", "client"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("works no longer"), "{stdout}");
    let deadline = Instant::now() + Duration::from_secs(2);
    while status(&stand.ask(&stand.key)) == 200 {
        assert!(Instant::now() < deadline, "the old secret still works");
    }
    assert_eq!(status(&stand.ask(&new_key)), 200);
    assert!(echoes(&mut session, "still here"));
}

#[test]
fn a_revoked_key_s_sessions_are_closed_within_two_seconds_and_the_record_says_why() {
    let stand = Stand::start(&[]);
    let mut socket = stand.open(&stand.key);
    assert!(echoes(&mut socket, "before"));
    let mut events = TcpStream::connect(stand.keymoat.address()).expect("it listens");
    events.set_read_timeout(Some(PATIENCE)).expect("a time");
    let head = format!("GET /demo/sse?count=100000 HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
    events.write_all(head.as_bytes()).expect("sent");
    let mut begun = [0; 64];
    events.read_exact(&mut begun).expect("it begins");

    let (code, _, stderr) = told(&stand.folder().run(&["key", "revoke", "client"]));
    let revoked = Instant::now();
    assert_eq!(code, Some(0), "{stderr}");
    let (code, reason) = close_of(&mut socket);
    assert_eq!(code, 4001);
    assert!(reason.starts_with("credential_revoked: "), "{reason}");
    let mut rest = Vec::new();
    let _ = events.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "nobody takes the stream for a finished one");
    assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    assert_eq!(status(&stand.ask(&stand.key)), 401);
    stand.keymoat.wait_for_line("\"close_code\":4001");
    let output = stand.keymoat.output();
    let ended = output.lines().filter(|line| line.contains("\"code\":\"credential_revoked\"")).count();
    assert!(ended >= 3, "both sessions and the request after them:\n{output}");
}

#[test]
fn a_day_s_count_survives_a_restart() {
    let stand = Stand::start(&["--limit", "requests-per-day=3"]);
    assert_eq!((status(&stand.ask(&stand.key)), status(&stand.ask(&stand.key))), (200, 200));
    let Stand { mut keymoat, _emulated, key } = stand;
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    let keymoat = Keymoat::in_folder(keymoat.folder.clone(), &[], &[]);
    let ask = || request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", &key)]);
    assert_eq!(status(&ask()), 200);
    let used_up = ask();
    assert!(status(&used_up) == 429 && used_up.contains("retry-after: "), "{used_up}");
}

#[test]
fn a_limit_that_is_changed_holds_a_running_gateway_s_clients() {
    let stand = Stand::start(&[]);
    assert_eq!(status(&stand.ask(&stand.key)), 200);
    let (code, stdout, stderr) =
        told(&stand.folder().run(&["key", "change", "client", "--limit", "sessions=1", "--name", "front"]));
    assert!(code == Some(0) && stdout.contains("sessions=1"), "{stderr}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_one, mut other) = (stand.open(&stand.key), stand.open(&stand.key));
        other.write_all(&frame("x")).expect("it is open");
        let mut first = [0];
        other.read_exact(&mut first).expect("a frame");
        if first == [0x88] {
            break;
        }
        assert!(Instant::now() < deadline, "the limit is not taken over");
        thread::sleep(Duration::from_millis(50));
    }
    let (_, stdout, _) = told(&stand.folder().run(&["key", "change", "front", "--limit", "sessions=none"]));
    assert!(stdout.contains("limits   none"), "{stdout}");
}

#[test]
fn keys_that_clients_have_are_taken_over_and_none_is_shown() {
    let stand = Stand::start(&[]);
    let folder = stand.folder();
    let canaries = ["canary-one-of-another-maker", "canary-two-of-another-maker", "canary3"];
    folder.write("old.env", &format!("# the old gateway\nAPI_KEYS=[\"{}\",\"{}\"]\n", canaries[0], canaries[1]));
    let run = |arguments: &[&str], expected: i32| {
        let (code, stdout, stderr) = told(&folder.run(arguments));
        assert_eq!(code, Some(expected), "{stdout}{stderr}");
        let all = format!("{stdout}{stderr}");
        assert!(canaries.iter().all(|canary| !all.contains(canary)), "{all}");
        all
    };
    let trial = run(&["key", "import", "old.env", "--dry-run", "--scope", "demo"], 0);
    assert!(trial.contains("2 imported, 0 known already, 0 refused; nothing was changed"), "{trial}");
    assert_eq!(status(&stand.ask(canaries[0])), 401);
    let done = run(&["key", "import", "old.env", "--scope", "demo", "--name-prefix", "old"], 0);
    assert!(done.contains("line 2, key 1  imported as key_") && done.contains("(old-2)"), "{done}");
    let again = run(&["key", "import", "old.env"], 0);
    assert!(again.contains("0 imported, 2 known already"), "{again}");
    folder.write("more", &format!("door={}\nclient=canary-four-of-another-maker\nkma_{}\n", canaries[2], canaries[0]));
    let more = run(&["key", "import", "more"], 1);
    assert!(more.contains("line 2  refused: a key named `client` exists"), "{more}");
    assert!(more.contains("line 3  refused") && more.contains("can be guessed"), "{more}");
    let report = run(&["key", "import", "more", "--json", "--dry-run"], 1);
    assert!(report.contains("\"refused\": 2") && report.contains("\"line\": 3"), "{report}");
    run(&["key", "import", "canary-one-of-another-maker.txt"], 2);

    let deadline = Instant::now() + PATIENCE;
    while status(&stand.ask(canaries[1])) != 200 {
        assert!(Instant::now() < deadline, "the key is not taken over");
        thread::sleep(Duration::from_millis(50));
    }
    for arguments in [["key", "list"].as_slice(), &["key", "show", "old-1"], &["key", "show", "old-1", "--json"]] {
        run(arguments, 0);
    }
    let (code, _, stderr) = told(&folder.run(&["key", "rotate", "canary-one-of-another-maker"]));
    assert!(code == Some(1) && !stderr.contains("canary"), "{stderr}");
    assert!(!stand.keymoat.output().contains("canary"), "{}", stand.keymoat.output());
    search(folder.path(), &canaries);
}

/// No file of the store holds any of these.
fn search(folder: &Path, canaries: &[&str]) {
    let files = std::fs::read_dir(folder.join(".keymoat")).expect("the store").flatten();
    for file in files.filter(|file| file.path().is_file()) {
        let content = std::fs::read(file.path()).expect("readable");
        for canary in canaries {
            let found = content.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{:?} holds a key", file.path());
        }
    }
}

#[test]
fn two_secrets_of_a_configured_key_work_side_by_side() {
    let folder = Folder::new();
    let emulated = Emulated::start();
    for (name, text) in
        [("upstream.key", &*emulated.key()), ("new", "canary-new-of-the-file"), ("old", "canary-old-of-the-file")]
    {
        folder.write(name, text);
    }
    let text = |previous: &str| {
        let keys = format!("[key.one]\nsecret = \"${{file:new}}\"\n{previous}[key.one.limits]\nsessions = 1\n");
        configuration(emulated.url(), "secret = \"${file:upstream.key}\"\n") + &keys
    };
    folder.write("keymoat.toml", &text("previous_secret = \"${file:old}\"\nrotate_after = 2020-01-01\n"));
    let keymoat = Keymoat::in_folder(folder.into(), &[], &[]);
    let ask = |key: &str| status(&request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", key)]));
    assert_eq!((ask("canary-new-of-the-file"), ask("canary-old-of-the-file")), (200, 200));
    let (_, _session) = open_websocket(keymoat.address(), "/demo/ws", &[("X-API-Key", "canary-old-of-the-file")]);
    let (_, mut other) = open_websocket(keymoat.address(), "/demo/ws", &[("X-API-Key", "canary-new-of-the-file")]);
    assert_eq!(close_of(&mut other).0, 4029, "both are one key, with one limit");
    keymoat.folder.write("keymoat.toml", &text("previous_secret = \"${file:old}\"\nprevious_until = 2020-01-01\n"));
    let deadline = Instant::now() + PATIENCE;
    while ask("canary-old-of-the-file") == 200 {
        assert!(Instant::now() < deadline, "the old one does not end");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ask("canary-new-of-the-file"), 200);
    assert!(!keymoat.output().contains("canary"), "{}", keymoat.output());
}

/// An API that takes any key and answers with the one that it got.
fn telling_upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || tell(stream));
        }
    });
    format!("http://{address}")
}

/// Answers each request on a connection, which stays open.
fn tell(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while let Ok(1..) = stream.read(&mut byte) {
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let key = text.lines().find_map(|line| line.strip_prefix("x-api-key: ")).unwrap_or("none").to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{key}", key.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
        head.clear();
    }
}

#[test]
fn an_upstream_s_secret_is_replaced_under_load_without_one_refusal() {
    let folder = Folder::new();
    folder.write("keymoat.toml", &configuration(&telling_upstream(), ""));
    let seal = |folder: &Folder, action: &str, secret: &str| {
        folder.write("sealing", secret);
        let (code, _, stderr) = told(&folder.run(&["upstream", action, "demo", "--secret-file", "sealing"]));
        assert_eq!(code, Some(0), "{stderr}");
    };
    seal(&folder, "add", "the-first-secret-of-the-upstream");
    let key = secret_of(&folder, &["key", "create", "client"]);
    let keymoat = Keymoat::in_folder(folder.into(), &[], &[]);
    let ask = || request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", &key)]);
    assert!(ask().ends_with("the-first-secret-of-the-upstream"));
    let hammer = Hammer::start(keymoat.address(), &key, 3);
    hammer.until_further(20);
    seal(&keymoat.folder, "rotate", "the-second-secret-of-the-upstream");
    let deadline = Instant::now() + PATIENCE;
    while !ask().ends_with("the-second-secret-of-the-upstream") {
        assert!(Instant::now() < deadline, "the new secret is not used");
    }
    for _ in 0..20 {
        assert!(ask().ends_with("the-second-secret-of-the-upstream"), "never the old one again");
    }
    hammer.until_further(20);
    assert_eq!(hammer.stop(), [""; 0]);
    assert!(!keymoat.output().contains("secret-of-the-upstream"), "{}", keymoat.output());
}

#[test]
fn a_session_outlives_the_upstream_s_secret_that_opened_it() {
    let stand = Stand::start(&[]);
    let mut session = stand.open(&stand.key);
    assert!(echoes(&mut session, "before"));
    let events = || {
        let answer = request(stand.keymoat.address(), "GET", "/api/events", &[("X-API-Key", &stand.key)]);
        status(&answer)
    };
    assert_eq!(events(), 200);
    stand.folder().write("upstream.key", "another-secret-that-the-upstream-refuses");
    let deadline = Instant::now() + PATIENCE;
    while events() != 401 {
        assert!(Instant::now() < deadline, "what is new goes on with the old secret");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(echoes(&mut session, "after"), "the session goes on");
}
