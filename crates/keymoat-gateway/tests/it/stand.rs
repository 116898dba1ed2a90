//! A gateway in front of an emulator, both in this process, and a client that writes raw bytes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use keymoat_core::carrier::Carriers;
use keymoat_core::record::Record;
use keymoat_core::route::{Dialect, LoneSubprotocol, Paths, Pattern, QueryPolicy, Route};
use keymoat_core::{Held, Key, Pepper, Scopes, Secret, Snapshot, UnixMillis, format};
use keymoat_emulator::{Options, Recorder};
use keymoat_gateway::settings::{Inject, Limits, Listener, Origin, Settings, Upstream};
use keymoat_gateway::{Gateway, Running};
use tokio::sync::oneshot;

/// The real key of every upstream here.
pub(crate) const REAL_KEY: &str = "REAL-upstream-key-0123456789abcdef";
/// How long an answer may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What runs for one test.
pub(crate) struct Stand {
    pub(crate) address: SocketAddr,
    pub(crate) recorder: Recorder,
    /// Where the emulator listens.
    pub(crate) behind: SocketAddr,
    pub(crate) records: Arc<Mutex<Vec<Record>>>,
    pub(crate) key: String,
    pub(crate) running: Option<Arc<Running>>,
    pub(crate) snapshots: Arc<ArcSwap<Snapshot>>,
    emulator: Option<oneshot::Sender<()>>,
}

/// Every carrier, as the built-in routes list them.
pub(crate) const ALL_CARRIERS: [&str; 9] = [
    "header:authorization",
    "header:x-api-key",
    "header:x-goog-api-key",
    "header:api-key",
    "subprotocol",
    "query:key",
    "query:api_key",
    "query:access_token",
    "query:token",
];

/// A generic route to the emulator.
pub(crate) fn generic(name: &str, upstream: &str, patterns: &[&str], query: QueryPolicy) -> Route {
    let paths = Paths::Patterns(patterns.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect());
    let carriers = Carriers::parse(ALL_CARRIERS).expect("known carriers");
    Route { query, ..Route::new(name, upstream, Dialect::Generic, paths, carriers) }
}

/// A Gemini route to the emulator, below `prefix`.
pub(crate) fn gemini(name: &str, prefix: &str, query: QueryPolicy) -> Route {
    Route {
        dialect: Dialect::Gemini,
        paths: Paths::Dialect { prefix: prefix.into() },
        ..generic(name, "gemini", &[], query)
    }
}

/// An upstream at `address` that takes the real key in `header`.
pub(crate) fn upstream(name: &str, address: SocketAddr, header: &'static str) -> Upstream {
    let origin = Origin { tls: false, host: address.ip().to_string(), port: address.port() };
    Upstream {
        secret: Some(Secret::from(REAL_KEY)),
        inject: Inject::Header(http::HeaderName::from_static(header)),
        ..Upstream::new(name, origin)
    }
}

impl Stand {
    /// The usual routes, default limits.
    pub(crate) fn start() -> Self {
        Self::with(Limits::default(), |_| {})
    }

    /// The usual routes, and what `change` does to the settings.
    pub(crate) fn with(limits: Limits, change: impl FnOnce(&mut Settings)) -> Self {
        let pepper = Arc::new(Pepper::derive(&Secret::from("a master key for tests, 32 bytes.")));
        Self::of_pepper(pepper, limits, change)
    }

    /// The same with the pepper of a store.
    pub(crate) fn of_pepper(pepper: Arc<Pepper>, limits: Limits, change: impl FnOnce(&mut Settings)) -> Self {
        let mut options = Options::new(Secret::from(REAL_KEY));
        options.gemini.speed = 20;
        options.openai.speed = 20;
        options.sse_pause = Duration::from_millis(50);
        options.events.interval = Duration::from_millis(50);
        let (behind, recorder, emulator) = emulate(options);
        let lone = Route {
            lone_subprotocol: LoneSubprotocol::Echo,
            ..generic("lone", "events", &["/ws/events"], QueryPolicy::Tokens)
        };
        let mut settings = Settings {
            listeners: vec![Listener { address: "127.0.0.1:0".parse().expect("an address"), tls: None }],
            threads: 2,
            routes: vec![
                generic("demo", "demo", &["/demo/*", "/objects"], QueryPolicy::Tokens),
                generic("events", "events", &["/api/*", "/ws/*"], QueryPolicy::Tokens),
                lone,
                gemini("gemini", "", QueryPolicy::Tokens),
                gemini("gemini-warn", "/warn", QueryPolicy::Warn),
            ],
            upstreams: vec![
                upstream("demo", behind, "x-api-key"),
                upstream("events", behind, "x-api-key"),
                upstream("gemini", behind, "x-goog-api-key"),
            ],
            limits,
            trusted_proxies: Vec::new(),
        };
        change(&mut settings);
        let mut seed = 7_u8;
        let key = format::generate(format::Kind::Key, &mut |bytes| {
            for byte in bytes {
                seed = seed.wrapping_mul(31).wrapping_add(17);
                *byte = seed;
            }
        });
        // The tests play the client, which knows its own key.
        let text = String::from_utf8(key.expose().to_vec()).expect("base62");
        let snapshots = Arc::new(ArcSwap::from_pointee(Snapshot::new(pepper, HashMap::new())));
        let records = Arc::new(Mutex::new(Vec::new()));
        let sink = records.clone();
        let running = Gateway::start(
            settings,
            snapshots.clone(),
            Arc::new(move |record: &Record| sink.lock().expect("no panic").push(record.clone())),
        )
        .expect("a gateway");
        let address = running.addresses()[0];
        let stand = Self {
            address,
            recorder,
            behind,
            records,
            key: text,
            running: Some(Arc::new(running)),
            snapshots,
            emulator: Some(emulator),
        };
        stand.know(&stand.key, &Stand::a_key("key_one", Scopes::All));
        stand
    }

    /// A key record.
    pub(crate) fn a_key(id: &str, scopes: Scopes) -> Key {
        Key { scopes, ..Key::new(id, id, UnixMillis(0)) }.with_secret("sec_1", UnixMillis(0))
    }

    /// Makes the gateway know `credential` as `key`, as the store's feed would.
    pub(crate) fn know(&self, credential: &str, key: &Key) {
        let old = self.snapshots.load();
        let mut keys = old.keys.clone();
        keys.insert(old.pepper.digest(credential.as_bytes()), Held::newest(Arc::new(key.clone())));
        self.snapshots.store(Arc::new(Snapshot::new(old.pepper.clone(), keys)));
    }

    /// Sends `request` and reads until the gateway closes.
    pub(crate) fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        read_all(&mut stream)
    }

    /// `GET path` with further header lines, on a connection of its own.
    pub(crate) fn fetch(&self, path: &str, headers: &str) -> String {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: keymoat.test\r\nConnection: close\r\n{headers}\r\n"))
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Opens a WebSocket by hand; gives the answer's head and the stream.
    pub(crate) fn open_websocket(&self, path: &str, headers: &str) -> (String, TcpStream) {
        let mut stream = self.connect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: keymoat.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        (read_head(&mut stream), stream)
    }

    /// The records so far, once there are at least `count`.
    pub(crate) fn records(&self, count: usize) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let records = self.records.lock().expect("no panic").clone();
            if records.len() >= count {
                return records;
            }
            assert!(Instant::now() < deadline, "{} of {count} records came", records.len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Runs an emulator on a thread of its own until the sender is dropped.
pub(crate) fn emulate(options: Options) -> (SocketAddr, Recorder, oneshot::Sender<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, started) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let emulator = keymoat_emulator::start(options).await.expect("a free port");
            ready.send((emulator.address(), emulator.recorder())).expect("the test waits");
            let _ = stopped.await;
        });
    });
    let (address, recorder) = started.recv().expect("an emulator");
    (address, recorder, stop)
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop_now();
            running.join();
        }
        drop(self.emulator.take());
    }
}

pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the gateway closes in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads up to the empty line.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).expect("a head in time") == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Reads one unmasked frame: opcode and payload.
pub(crate) fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame in time");
    let length = match head[1] & 0x7f {
        126 => {
            let mut long = [0; 2];
            stream.read_exact(&mut long).expect("a length");
            usize::from(u16::from_be_bytes(long))
        }
        127 => {
            let mut long = [0; 8];
            stream.read_exact(&mut long).expect("a length");
            usize::try_from(u64::from_be_bytes(long)).expect("fits")
        }
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).expect("a payload");
    (head[0] & 0x0f, payload)
}

/// One masked frame (the mask is zero, which is as good as any other).
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).expect("short")),
        long => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(long).expect("under 64 KiB").to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// Code and reason of a close frame's payload.
pub(crate) fn close_of((opcode, payload): &(u8, Vec<u8>)) -> (u16, String) {
    assert_eq!(*opcode, 8, "a close frame, not {payload:?}");
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    (code, String::from_utf8_lossy(&payload[2..]).into_owned())
}

/// What comes up to the end of the stream or its reset.
pub(crate) fn read_all_or_reset(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Looks again and again until it holds.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to hold");
        std::thread::sleep(Duration::from_millis(2));
    }
}
