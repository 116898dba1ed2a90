//! The admin listener of the real binary: who gets in, what it shows and steers, and what keeps others out.

mod access;
mod canary;
mod commands;
mod group_i;
mod listening;
mod resources;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Folder, Keymoat, PATIENCE, told};

/// A running gateway with its admin listener, and an admin key that may do everything.
pub(crate) struct Administered {
    pub(crate) keymoat: Keymoat,
    pub(crate) root: String,
}

impl Administered {
    /// The offline first run.
    pub(crate) fn first_run() -> Self {
        Self::in_folder(Folder::new().into())
    }

    /// In a folder with its configuration.
    pub(crate) fn in_folder(folder: Arc<Folder>) -> Self {
        let root = admin_key(&folder, "root", "admin");
        Self { keymoat: Keymoat::in_folder(folder, &[], &[]), root }
    }

    /// Such as `127.0.0.1:40123`.
    pub(crate) fn address(&self) -> &str {
        let url = self.keymoat.ready["admin"].as_str().expect("there is an admin listener");
        url.split_once("://").expect("a URL").1
    }

    /// Asks with the admin key.
    pub(crate) fn ask(&self, method: &str, target: &str, body: Option<Value>) -> Answer {
        self.ask_with(method, target, &[("Authorization", &format!("Bearer {}", self.root))], body)
    }

    /// Asks with these headers and no others of its own, but for the type of a body.
    pub(crate) fn ask_with(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        ask(self.address(), method, target, headers, body.as_ref())
    }

    /// Waits until something is so: a change is taken over within a moment.
    pub(crate) fn until(&self, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "it never came to be so:\n{}", self.keymoat.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Such as `Bearer kma_…` for a new key of this role.
    pub(crate) fn bearer(&self, role: &str) -> String {
        format!("Bearer {}", admin_key(&self.keymoat.folder, &format!("{role} of a test"), role))
    }
}

/// An admin key of this role, made by the command.
pub(crate) fn admin_key(folder: &Folder, name: &str, role: &str) -> String {
    let (code, key, complaint) = told(&folder.run(&["admin", "create", name, "--role", role]));
    assert_eq!(code, Some(0), "{complaint}");
    key.trim().to_owned()
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Answer {
    fn read(mut stream: impl Read) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("it answers");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Self { status, head: head.to_owned(), text: body.to_owned() }
    }

    /// The body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The word of a problem.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The cookie that was set, as it is sent back.
    pub(crate) fn cookie(&self) -> &str {
        self.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie")
    }
}

/// One request with `Connection: close`; `Host` is the address unless the headers name one.
pub(crate) fn ask(address: &str, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    send(&mut stream, address, (method, target), headers, body);
    Answer::read(stream)
}

/// The same over the Unix socket of a store.
pub(crate) fn ask_socket(folder: &Folder, method: &str, target: &str, body: Option<&Value>) -> Answer {
    let mut stream = UnixStream::connect(folder.path().join(".keymoat/admin.sock")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    send(&mut stream, "localhost", (method, target), &[], body);
    Answer::read(stream)
}

fn send(
    stream: &mut impl Write,
    address: &str,
    (method, target): (&str, &str),
    headers: &[(&str, &str)],
    body: Option<&Value>,
) {
    let named = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let mut text = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    if !named("Host") {
        text.push_str(&format!("Host: {address}\r\n"));
    }
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    let body = body.map(|body| if let Value::String(raw) = body { raw.clone() } else { body.to_string() });
    if let Some(body) = &body {
        if !named("Content-Type") {
            text.push_str("Content-Type: application/json\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let whole = format!("{text}\r\n{}", body.unwrap_or_default());
    stream.write_all(whole.as_bytes()).expect("it reads");
}
