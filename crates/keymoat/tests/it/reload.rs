//! A running gateway takes a changed configuration over, and keeps the one it has when the new one is wrong.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keymoat_core::UnixMillis;
use keymoat_gateway::tls::{client, self_signed};
use rustix::process::Signal;

use crate::harness::{Emulated, Folder, Keymoat, PATIENCE, open_websocket, request, status, told};

/// A gateway in front of the emulated APIs, with one key and one route.
struct Stand {
    keymoat: Keymoat,
    emulated: Emulated,
    key: String,
}

impl Stand {
    fn start(further: &str) -> Self {
        let folder = Folder::new();
        let emulated = Emulated::start();
        folder.write("upstream.key", &emulated.key());
        folder.write("keymoat.toml", &configuration(&emulated, "/demo/*", further));
        let (_, stdout, stderr) = told(&folder.run(&["key", "create", "client"]));
        assert!(stdout.starts_with("km_"), "{stderr}");
        let keymoat = Keymoat::in_folder(folder.into(), &[], &[]);
        Self { keymoat, emulated, key: stdout.trim().to_owned() }
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        self.keymoat.folder.write(name, content)
    }

    fn status(&self, target: &str) -> u16 {
        status(&request(self.keymoat.address(), "GET", target, &[("X-API-Key", &self.key)]))
    }

    fn until(&self, target: &str, expected: u16) {
        until(|| self.status(target) == expected, || self.keymoat.output());
    }
}

fn configuration(emulated: &Emulated, path: &str, further: &str) -> String {
    let tls = if further.contains("[tls]") { "" } else { "[tls]\nmode = \"disabled\"\n" };
    format!(
        "{tls}[upstream.demo]\nurl = \"{}\"\nsecret = \"${{file:upstream.key}}\"\ninject = \"header:X-API-Key\"\n\
         [route.demo]\nupstream = \"demo\"\npaths = [\"{path}\"]\n{further}",
        emulated.url()
    )
}

fn until(mut done: impl FnMut() -> bool, shown: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it does not come about:\n{}", shown());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn echoes(socket: &mut TcpStream, text: &str) -> bool {
    // A masked text frame; the mask is zero, so that the payload is the text itself.
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).expect("short"), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    socket.write_all(&frame).expect("it is open");
    let mut answer = vec![0; 2 + text.len()];
    socket.read_exact(&mut answer).expect("it is open");
    answer.ends_with(text.as_bytes())
}

#[test]
fn an_edited_route_is_in_force_while_a_websocket_stays_open() {
    let stand = Stand::start("");
    let (head, mut socket) = open_websocket(stand.keymoat.address(), "/demo/ws", &[("X-API-Key", &stand.key)]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(echoes(&mut socket, "before"));
    assert_eq!((stand.status("/demo/echo"), stand.status("/api/events")), (200, 404));

    stand.write("keymoat.toml", &configuration(&stand.emulated, "/api/*", ""));
    stand.until("/api/events", 200);
    assert_eq!(stand.status("/demo/echo"), 404, "the old route is gone");
    assert!(echoes(&mut socket, "after"), "the session goes on");
}

#[test]
fn h98_a_wrong_edit_changes_nothing_and_the_log_says_where_and_why() {
    let stand = Stand::start("");
    let wrong = configuration(&stand.emulated, "/api/*", "").replace("upstream = \"demo\"", "upstream = \"dmo\"");
    stand.write("keymoat.toml", &wrong);
    let line = stand.keymoat.wait_for_line("keymoat.toml:8:12: unknown upstream `dmo`: did you mean `demo`?");
    assert!(line.contains("ERROR"), "{line}");
    stand.keymoat.wait_for_line("the one in force stays");
    assert_eq!((stand.status("/demo/echo"), stand.status("/api/events")), (200, 404));

    stand.write("keymoat.toml", &configuration(&stand.emulated, "/api/*", ""));
    stand.until("/api/events", 200);
}

#[test]
fn a_secret_that_is_replaced_is_used_and_none_is_ever_written() {
    let stand = Stand::start("");
    stand.write("keymoat.toml", &configuration(&stand.emulated, "/api/*", ""));
    stand.until("/api/events", 200);
    stand.write("upstream.key", "canary-of-a-wrong-key");
    stand.until("/api/events", 401);
    // A file that is missing for a moment is told of, and the secret in force stays.
    std::fs::remove_file(stand.keymoat.folder.path().join("upstream.key")).expect("it is there");
    stand.keymoat.wait_for_line("cannot read ");
    stand.write("upstream.key", &stand.emulated.key());
    stand.until("/api/events", 200);
    let output = stand.keymoat.output();
    assert!(!output.contains("canary") && !output.contains(&stand.emulated.key()), "{output}");
}

#[test]
fn a_signal_reads_the_configuration_anew_and_what_needs_a_restart_is_told() {
    let stand = Stand::start("");
    stand.keymoat.signal(Signal::HUP);
    stand.keymoat.wait_for_line("was read anew and is in force");
    let further = "[listen]\nthreads = 7\n[store]\ndir = \"elsewhere\"\n[log]\nlevel = \"debug\"\n";
    stand.write("keymoat.toml", &configuration(&stand.emulated, "/api/*", further));
    stand.keymoat.signal(Signal::HUP);
    stand.until("/api/events", 200);
    for note in ["the number of threads stays", "the store stays where it is", "the level of the log stay"] {
        stand.keymoat.wait_for_line(note);
    }
}

#[test]
fn a_first_run_has_nothing_to_read_anew() {
    let keymoat = Keymoat::first_run();
    keymoat.signal(Signal::HUP);
    keymoat.wait_for_line("there is no configuration to read anew");
    assert_eq!(status(&request(keymoat.address(), "GET", "/keymoat/livez", &[])), 200);
}

/// A certificate with its key, and the authority that vouches for it.
struct Pair {
    pem: PathBuf,
    ca: PathBuf,
}

fn pair(dir: &Path) -> Pair {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let made = self_signed::prepare(dir, UnixMillis(i64::try_from(now).expect("in time"))).expect("a certificate");
    Pair { pem: dir.join("server.pem"), ca: made.ca_file }
}

/// Whether a new handshake presents a certificate of this authority.
fn vouched_for(address: &str, ca: &Path) -> bool {
    let config = client::config(Some(ca), client::Alpn::Http1).expect("an authority");
    let session = rustls::ClientConnection::new(config, "localhost".try_into().expect("a name")).expect("a session");
    let socket = TcpStream::connect(address).expect("it listens");
    let mut stream = rustls::StreamOwned::new(session, socket);
    stream.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").is_ok()
        && stream.read(&mut [0; 64]).is_ok_and(|read| read > 0)
}

#[test]
fn g88_a_replaced_certificate_is_presented_and_a_pair_that_does_not_fit_is_not() {
    let certificates = tempfile::tempdir().expect("a folder");
    let (one, two) = (pair(&certificates.path().join("1")), pair(&certificates.path().join("2")));
    let read = |path: &Path| std::fs::read_to_string(path).expect("readable");
    let folder: Arc<Folder> = Folder::new().into();
    let emulated = Emulated::start();
    folder.write("upstream.key", &emulated.key());
    folder.write("crt", &read(&one.pem));
    folder.write("key", &read(&one.pem));
    let tls = "[tls]\nmode = \"provided\"\ncert = \"crt\"\nkey = \"key\"\n";
    folder.write("keymoat.toml", &configuration(&emulated, "/demo/*", tls));
    let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
    let address = keymoat.address_tls().to_owned();
    assert!(vouched_for(&address, &one.ca) && !vouched_for(&address, &two.ca));

    folder.write("crt", &read(&two.pem));
    keymoat.wait_for_line("[tls] cert, key and client_ca: ");
    keymoat.wait_for_line("the one in force stays");
    assert!(vouched_for(&address, &one.ca), "the old pair holds");

    folder.write("key", &read(&two.pem));
    until(|| vouched_for(&address, &two.ca), || keymoat.output());
    assert!(!vouched_for(&address, &one.ca));
    let key_line = read(&two.pem).lines().find(|line| line.len() > 60).expect("base64").to_owned();
    assert!(!keymoat.output().contains(&key_line));
}

#[test]
fn lines_are_masked_by_rules_of_the_configuration_and_by_secrets_that_were_replaced() {
    let stand = Stand::start("[redact]\nrules = { badge = \"BDG-[0-9]{6}\" }\n");
    let read_anew = |times: usize| {
        let done = || stand.keymoat.output().matches("was read anew").count() >= times;
        until(done, || stand.keymoat.output());
    };
    for (times, secret) in [(1, "blue-harbour-lantern"), (2, "green-harbour-lantern")] {
        stand.write("upstream.key", secret);
        stand.keymoat.signal(Signal::HUP);
        read_anew(times);
    }
    for path in ["/demo/BDG-123456/one", "/demo/blue-harbour-lantern/two", "/demo/green%2dharbour-lantern/three"] {
        stand.status(path);
    }
    let of = |end: &str| stand.keymoat.wait_for_line(end);
    assert!(of("/one\"").contains("\"path\":\"/demo/[REDACTED:badge]/one\""));
    assert!(of("/two\"").contains("\"path\":\"/demo/[REDACTED:known]/two\""));
    assert!(of("/three\"").contains("[REDACTED:known]"));
    let configured = configuration(&stand.emulated, "/demo/*", "[redact]\nrules = { badge = \"TAG-[0-9]{6}\" }\n");
    stand.write("keymoat.toml", &configured);
    stand.keymoat.signal(Signal::HUP);
    read_anew(3);
    stand.status("/demo/TAG-123456/BDG-123456/four");
    assert!(of("/four\"").contains("/demo/[REDACTED:badge]/BDG-123456/four"));
    let output = stand.keymoat.output();
    assert!(!output.contains("harbour") && !output.contains("TAG-1"), "{output}");
}
