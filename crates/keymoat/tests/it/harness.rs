//! Runs the real binary: each in a folder of its own, on free ports, with all its output gathered, killed on drop.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test gives up; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The variables of the home-security backend that the binary reads too.
const BACKEND_VARIABLES: [&str; 10] = [
    "API_KEYS",
    "API_KEY_QUERY_PARAM_ENABLED",
    "CORS_ORIGINS",
    "TLS_CA_PATH",
    "TLS_CERT_PATH",
    "TLS_KEY_PATH",
    "TLS_MIN_VERSION",
    "TLS_MODE",
    "TLS_VERIFY_CLIENT",
    "TRUSTED_PROXY_IPS",
];

/// A folder in which the binary is run.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file into it, readable by its owner only.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        path
    }

    /// A command of the binary in this folder, without this process's own settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keymoat"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("KEYMOAT") || BACKEND_VARIABLES.contains(&&*text) {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }
}

/// A running `keymoat serve`.
pub(crate) struct Keymoat {
    pub(crate) folder: Arc<Folder>,
    /// The ready object.
    pub(crate) ready: Value,
    child: Child,
    output: Arc<Mutex<String>>,
    /// Closed when standard output and standard error have ended.
    ended: Receiver<()>,
}

impl Keymoat {
    /// Starts it without any configuration: the offline first run.
    pub(crate) fn first_run() -> Self {
        Self::in_folder(Folder::new().into(), &[], &[])
    }

    /// Starts it with this text as `keymoat.toml`.
    pub(crate) fn configured(text: &str) -> Self {
        let folder = Folder::new();
        folder.write("keymoat.toml", text);
        Self::in_folder(folder.into(), &[], &[])
    }

    /// Starts it in a prepared folder, with further arguments and variables.
    pub(crate) fn in_folder(folder: Arc<Folder>, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = folder.command(&["serve", "--json", "--listen", "127.0.0.1:0"]);
        command.args(arguments).envs(variables.iter().copied());
        Self::spawn(folder, command)
    }

    /// Starts any command that prints one JSON object when it is ready and then runs on.
    pub(crate) fn spawn(folder: Arc<Folder>, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let output = Arc::new(Mutex::new(String::new()));
        let (end, ended) = mpsc::channel();
        let (told, first_line) = mpsc::channel();
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        gather(stderr, Arc::clone(&output), end.clone(), None);
        gather(stdout, Arc::clone(&output), end, Some(told));
        let mut keymoat = Self { folder, ready: Value::Null, child, output, ended };
        match first_line.recv_timeout(PATIENCE) {
            Ok(line) => keymoat.ready = serde_json::from_str(&line).expect("the first line is the ready object"),
            Err(_) => panic!("keymoat did not become ready:\n{}", keymoat.output()),
        }
        keymoat
    }

    /// The plain address, such as `127.0.0.1:40123`.
    pub(crate) fn address(&self) -> &str {
        self.url("gateway").strip_prefix("http://").expect("plain text")
    }

    /// The TLS address, such as `127.0.0.1:40124`.
    pub(crate) fn address_tls(&self) -> &str {
        self.url("gateway_tls").strip_prefix("https://").expect("TLS")
    }

    fn url(&self, field: &str) -> &str {
        self.ready[field].as_str().expect("the ready object has it")
    }

    /// The demo key of a first run.
    pub(crate) fn demo_key(&self) -> String {
        let file = self.ready["demo_key_file"].as_str().expect("a first run has one");
        fs::read_to_string(file).expect("readable").trim().to_owned()
    }

    /// Everything that was written so far, standard output and standard error together.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a line of the output holds `text`, and gives that line.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.output();
            if let Some(line) = output.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "no line with `{text}` in:\n{output}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it lives");
    }

    /// Waits for its end and the end of its output.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.wait_for_exit();
        // Both threads drop their sender when the output has ended.
        while self.ended.recv_timeout(PATIENCE).is_ok() {}
        status
    }

    /// Waits for its end. Another process may go on writing to its output.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "keymoat does not end:\n{}", self.output());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Keymoat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            write_aside(&self.output());
        }
    }
}

/// Shows what a failed test's gateway wrote.
#[expect(clippy::print_stderr, reason = "a failed test tells what happened")]
fn write_aside(output: &str) {
    eprintln!("--- keymoat wrote:\n{output}---");
}

/// The emulated APIs, on their own and as lenient as the real providers, to be an upstream.
pub(crate) struct Emulated {
    process: Keymoat,
}

impl Emulated {
    pub(crate) fn start() -> Self {
        let folder: Arc<Folder> = Folder::new().into();
        let arguments =
            ["emulate", "events", "--json", "--listen", "127.0.0.1:0", "--credentials", "provider", "--record"];
        let command = folder.command(&arguments);
        Self { process: Keymoat::spawn(folder, command) }
    }

    /// Such as `http://127.0.0.1:40123`.
    pub(crate) fn url(&self) -> &str {
        self.process.url("emulator")
    }

    /// The one key that it takes.
    pub(crate) fn key(&self) -> String {
        let file = self.process.url("secret_file");
        fs::read_to_string(file).expect("readable").trim().to_owned()
    }
}

fn gather(
    from: impl Read + Send + 'static,
    output: Arc<Mutex<String>>,
    end: mpsc::Sender<()>,
    first_line: Option<mpsc::Sender<String>>,
) {
    thread::spawn(move || {
        let _end = end;
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            output.lock().unwrap_or_else(PoisonError::into_inner).push_str(&format!("{line}\n"));
            if let Some(first_line) = &first_line {
                let _ = first_line.send(line);
            }
        }
    });
}

/// Sends one HTTP/1.1 request with `Connection: close` to `address` and gives the whole answer.
pub(crate) fn request(address: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n").as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The same with a body.
pub(crate) fn post(address: &str, target: &str, (name, value): (&str, &str), body: &str) -> String {
    let length = body.len().to_string();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let head = format!("POST {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{name}: {value}\r\n");
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an answer.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// Opens a WebSocket and gives the head of the answer with the stream behind it.
pub(crate) fn open_websocket(address: &str, target: &str, headers: &[(&str, &str)]) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut text = format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n").as_bytes()).expect("it reads");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("it answers") > 0 {
        head.push(byte[0]);
    }
    (String::from_utf8_lossy(&head).into_owned(), stream)
}

/// The text of a finished command: exit code, standard output, standard error.
pub(crate) fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
