//! A gateway and those that come after it in its place; and clients that tell failures instead of panicking.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keymoat_gateway::tls::client;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::harness::{Keymoat, PATIENCE, status};

/// One gateway after the other on the same sockets. Whatever of it still runs is killed on drop.
pub(crate) struct Line {
    pub(crate) first: Keymoat,
}

impl Line {
    pub(crate) fn new(first: Keymoat) -> Self {
        Self { first }
    }

    /// The processes that became ready, in their order, the first one included.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        let output = self.first.output();
        let ready = output.lines().filter(|line| line.starts_with("{\"gateway\""));
        let ready = ready.map(|line| serde_json::from_str::<Value>(line).expect("a ready object"));
        ready.map(|ready| pid(ready["pid"].as_i64().expect("a process"))).collect()
    }

    /// Asks the youngest one for an upgrade and waits until the next one has taken over. Gives that one.
    pub(crate) fn upgrade(&self) -> Pid {
        let before = self.pids();
        kill_process(*before.last().expect("one runs"), Signal::USR2).expect("it lives");
        self.until("an upgrade", || {
            let taken_over = self.first.output().matches("the new process is ready").count();
            self.pids().len() > before.len() && taken_over >= before.len()
        });
        *self.pids().last().expect("it is there")
    }

    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "it does not come to {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn until_gone(&self, process: Pid) {
        self.until("the end of a process", || is_gone(process));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for process in self.pids().into_iter().skip(1) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

pub(crate) fn pid(number: i64) -> Pid {
    i32::try_from(number).ok().and_then(Pid::from_raw).expect("a process id")
}

/// Whether a process has ended, also one that nobody has asked about since.
pub(crate) fn is_gone(process: Pid) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(process).is_err() || state.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

/// One request in a connection of its own: its status.
pub(crate) fn ask(address: &str, target: &str, header: (&str, &str)) -> io::Result<u16> {
    converse(connect(address)?, address, target, header)
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn converse(mut stream: impl Read + Write, host: &str, target: &str, (name, value): (&str, &str)) -> io::Result<u16> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{name}: {value}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(status(&String::from_utf8_lossy(&answer)))
}

/// Opens a WebSocket that echoes.
pub(crate) fn open(address: &str, key: &str) -> io::Result<TcpStream> {
    let mut stream = connect(address)?;
    let head = format!(
        "GET /demo/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-API-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        answer.extend(byte);
    }
    if answer.starts_with(b"HTTP/1.1 101 ") {
        return Ok(stream);
    }
    Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
}

/// Sends a text and reads the same one back.
pub(crate) fn echo(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short text");
    // The mask is zero, so that the payload is the text itself.
    stream.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat())?;
    let (opcode, payload) = frame(stream)?;
    if (opcode, &*payload) == (1, text.as_bytes()) {
        return Ok(());
    }
    Err(io::Error::other(format!("opcode {opcode}, {} bytes", payload.len())))
}

/// The next frame that is no ping: its opcode and payload.
pub(crate) fn frame(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        assert!(head[1] < 126, "a short frame");
        let mut payload = vec![0; usize::from(head[1])];
        stream.read_exact(&mut payload)?;
        if head[0] & 0x0F != 9 {
            return Ok((head[0] & 0x0F, payload));
        }
    }
}

/// Clients that connect again and again: plain requests, WebSockets, requests over TLS.
pub(crate) struct Visitors {
    ends: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<Vec<io::Error>>>,
}

impl Visitors {
    pub(crate) fn start(keymoat: &Keymoat, key: &str) -> Self {
        let mut visitors = Self { ends: Arc::default(), served: Arc::default(), threads: Vec::new() };
        let (address, address_tls) = (keymoat.address().to_owned(), keymoat.address_tls().to_owned());
        let ca_file = keymoat.ready["ca_file"].as_str().expect("its own authority").to_owned();
        let ca = client::config(Some(ca_file.as_ref()), client::Alpn::Http1).expect("it is an authority");
        let header = |key: &str| ("X-API-Key".to_owned(), key.to_owned());
        let (name, value) = header(key);
        let (of_requests, of_tls, of_websockets) = (address.clone(), address_tls, address);
        let (plain_name, plain_value, key) = (name.clone(), value.clone(), key.to_owned());
        visitors.add(move || well(ask(&of_requests, "/demo/echo", (&plain_name, &plain_value))?));
        visitors.add(move || {
            let session = rustls::ClientConnection::new(Arc::clone(&ca), "127.0.0.1".try_into().expect("a name"));
            let stream = rustls::StreamOwned::new(session.map_err(io::Error::other)?, connect(&of_tls)?);
            well(converse(stream, "127.0.0.1", "/demo/echo", (&name, &value))?)
        });
        visitors.add(move || echo(&mut open(&of_websockets, &key)?, "a visitor"));
        visitors
    }

    fn add(&mut self, visit: impl Fn() -> io::Result<()> + Send + 'static) {
        let (ends, served) = (Arc::clone(&self.ends), Arc::clone(&self.served));
        self.threads.push(thread::spawn(move || {
            let mut failures = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                match visit() {
                    Ok(()) => drop(served.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => failures.push(error),
                }
            }
            failures
        }));
    }

    /// How many visits went well.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// How many visits went well; how many were refused a connection; and what else failed.
    pub(crate) fn stop(self) -> (usize, usize, Vec<String>) {
        self.ends.store(true, Ordering::Relaxed);
        let failures: Vec<_> =
            self.threads.into_iter().flat_map(|thread| thread.join().expect("a visitor does not panic")).collect();
        let (refused, other): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|error| error.kind() == ErrorKind::ConnectionRefused);
        let texts: HashSet<String> = other.iter().map(ToString::to_string).collect();
        (self.served.load(Ordering::Relaxed), refused.len(), texts.into_iter().collect())
    }
}

fn well(status: u16) -> io::Result<()> {
    if status == 200 { Ok(()) } else { Err(io::Error::other(format!("status {status}"))) }
}
