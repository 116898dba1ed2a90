//! The real binary in front of an emulator, a rude upstream and dead ends; canaries; and everything that came out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keymoat_core::format::{self, Kind};
use keymoat_core::token::{Calls, Constraint, NewToken, TokenLimits, Uses};
use keymoat_core::{Scopes, Secret, UnixMillis};
use keymoat_emulator::{Options, Recorder};
use keymoat_store::{MintOrder, Minting, Store};
use tokio::sync::oneshot;

use super::rude;
use super::search::Searcher;
use super::wire::Message;
use crate::harness::{Folder, Keymoat, told};

/// Where something can come out. One line each; what belongs to each is gathered in [`Stand::search_all`] or told to
/// [`Stand::came_out`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard output and standard error: records, diagnostics, panics.
    Log,
    /// What clients received: heads, bodies, frames, close reasons.
    Response,
    /// What the upstream received.
    Upstream,
    /// The files of the data folder, events among them.
    Folder,
    /// What `keymoat audit tail` shows.
    Audit,
    /// The text of the metrics.
    Metrics,
    /// The command line and the environment of the process.
    Process,
}

/// The canaries. Each is random, and each is a different one.
pub(crate) struct Canaries {
    /// A good key.
    pub(crate) key: String,
    /// A key that was revoked.
    pub(crate) revoked: String,
    /// A good key for another route.
    pub(crate) elsewhere: String,
    /// A good key that is revoked while its session lives.
    pub(crate) live: String,
    /// A good key that stands alone in a subprotocol, where the route echoes it.
    pub(crate) lone: String,
    /// Of a key's shape, and nobody's.
    pub(crate) unknown: String,
    /// Of a token's shape.
    pub(crate) token: String,
    /// A good token of the good key.
    pub(crate) minted: String,
    /// A token with one use.
    pub(crate) single: String,
    /// A token whose time is over.
    pub(crate) expired: String,
    /// Of another provider's shape; nothing lets it through.
    pub(crate) foreign: String,
    /// Of another provider's shape, in places that are the application's own, of requests that are let through.
    pub(crate) stray: String,
    /// In bodies, messages and close reasons of clients.
    pub(crate) payload: String,
    /// The upstream's real key.
    pub(crate) upstream: String,
    /// In all that the rude upstream says.
    pub(crate) rude: String,
}

/// What is left of the rule that nothing comes out: the whole list of exemptions.
fn may_be_in(canary: &str, output: Output) -> bool {
    matches!(
        (canary, output),
        ("stray" | "payload", Output::Upstream | Output::Response)
            | ("upstream", Output::Upstream)
            | ("rude", Output::Response)
    )
}

/// What runs for one test.
pub(crate) struct Stand {
    pub(crate) keymoat: Keymoat,
    pub(crate) canaries: Canaries,
    recorder: Recorder,
    searcher: Searcher,
    /// What came out that may not, with the places.
    leaks: RefCell<BTreeMap<String, Vec<String>>>,
    _emulator: oneshot::Sender<()>,
}

impl Stand {
    /// Starts everything; the log is as talkative as it can be made, in `log_format`.
    pub(crate) fn start(log_format: &str) -> Self {
        let folder = Folder::new();
        folder.write("keymoat.toml", "");
        let create = |arguments: &[&str]| {
            let (code, key, stderr) = told(&folder.run(&[&["key", "create"], arguments].concat()));
            assert_eq!(code, Some(0), "{stderr}");
            key.trim().to_owned()
        };
        let canaries = Canaries {
            key: create(&["good"]),
            revoked: create(&["revoked"]),
            elsewhere: create(&["elsewhere", "--scope", "nowhere"]),
            live: create(&["live"]),
            lone: create(&["lone"]),
            unknown: shaped(Kind::Key),
            token: shaped(Kind::Token),
            minted: minted(&folder, Uses::Unlimited, 3_600_000),
            single: minted(&folder, Uses::AtMost(1), 3_600_000),
            expired: minted(&folder, Uses::Unlimited, 1),
            foreign: format!("AIzaSy{}", random(33)),
            stray: format!("AIzaSy{}", random(33)),
            payload: random(40),
            upstream: random(40),
            rude: random(40),
        };
        assert_eq!(folder.run(&["key", "revoke", "revoked"]).status.code(), Some(0));
        let (emulator, recorder, running) = emulate(Secret::from(canaries.upstream.as_str()));
        let rude = rude::start(canaries.rude.clone());
        let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        folder.write("upstream.key", &canaries.upstream);
        folder.write("keymoat.toml", &configuration(&emulator, &rude.to_string(), &dead.to_string()));
        let arguments = ["--log", "trace", "--log-format", log_format];
        let keymoat = Keymoat::in_folder(folder.into(), &arguments, &[]);
        let searcher = Searcher::new(&canaries.list());
        Self { keymoat, canaries, recorder, searcher, leaks: RefCell::default(), _emulator: running }
    }

    /// The client's message on every WebSocket.
    pub(crate) fn message(&self) -> Message<'_> {
        Message(&self.canaries.payload)
    }

    /// Takes down what came out somewhere: every canary in it that may not be there is a leak.
    pub(crate) fn came_out(&self, output: Output, place: &str, bytes: &[u8]) {
        for (canary, spelling) in self.searcher.find(bytes) {
            if !may_be_in(canary, output) {
                self.leak(format!("`{canary}` ({spelling}) in {output:?}"), place);
            }
        }
    }

    /// Searches what the upstream received since the last time, and checks where its real key stood.
    pub(crate) fn search_upstream(&self, place: &str) {
        for request in self.recorder.requests() {
            let text = serde_json::to_string(&request).expect("JSON");
            self.came_out(Output::Upstream, place, text.as_bytes());
            let places = request.places_of(&self.canaries.upstream);
            let headers = ["header:x-api-key", "header:x-goog-api-key", "header:authorization"];
            if !matches!(places.as_slice(), [one] if headers.contains(&one.as_str())) {
                self.leak(format!("the real key stood in {places:?}"), place);
            }
        }
        self.recorder.clear();
    }

    /// How many requests the upstream received since it was searched.
    pub(crate) fn reached_upstream(&self) -> usize {
        self.recorder.requests().len()
    }

    /// Looks for another text that may be in no output but the answer that it was in.
    pub(crate) fn search_for(&self, text: &str) {
        let searcher = Searcher::new(&[("a new token", text)]);
        assert!(searcher.find(self.keymoat.output().as_bytes()).is_empty(), "in the log");
        let folder = self.keymoat.folder.path().join(".keymoat");
        for path in fs::read_dir(folder).expect("the data folder").flatten().map(|entry| entry.path()) {
            let content = fs::read(&path).unwrap_or_default();
            assert!(searcher.find(&content).is_empty(), "in {}", path.display());
        }
        let seen = serde_json::to_string(&self.recorder.requests()).expect("JSON");
        assert!(searcher.find(seen.as_bytes()).is_empty(), "sent upstream");
    }

    /// Searches log, files and process, and fails if there is any leak.
    pub(crate) fn search_all(&self) {
        self.search_upstream("the rest");
        self.search_folder(&self.keymoat.folder.path().join(".keymoat"));
        let (code, shown, stderr) = told(&self.keymoat.folder.run(&["audit", "tail", "-n", "100000"]));
        assert!(code == Some(0) && shown.lines().count() > 100, "{stderr}");
        self.came_out(Output::Audit, "audit tail", shown.as_bytes());
        for (number, line) in self.keymoat.output().lines().enumerate() {
            self.came_out(Output::Log, &format!("line {number}"), line.as_bytes());
        }
        let leaks = self.leaks.borrow();
        let told = |(what, places): (&String, &Vec<String>)| {
            format!("{what}, {} times, first: {}\n", places.len(), places[..places.len().min(3)].join("; "))
        };
        assert!(leaks.is_empty(), "leaks:\n{}", leaks.iter().map(told).collect::<String>());
    }

    fn leak(&self, what: String, place: &str) {
        self.leaks.borrow_mut().entry(what).or_default().push(place.to_owned());
    }

    /// Searches what other processes can see of the process; it must live.
    pub(crate) fn search_process(&self) {
        let metrics = crate::events::metrics_of(&self.keymoat);
        assert!(metrics.contains("keymoat_refusals_total"), "{metrics}");
        self.came_out(Output::Metrics, "/metrics", metrics.as_bytes());
        let pid = &self.keymoat.ready["pid"];
        let mut seen = 0;
        for name in ["cmdline", "environ"] {
            // The process has closed itself to others, and only the superuser sees its environment.
            if let Ok(content) = fs::read(format!("/proc/{pid}/{name}")) {
                seen += 1;
                self.came_out(Output::Process, name, &content);
            }
        }
        assert!(seen > 0, "the command line is visible to everyone");
    }

    fn search_folder(&self, folder: &Path) {
        let entries: Vec<_> = fs::read_dir(folder).expect("the data folder").flatten().collect();
        assert!(!entries.is_empty());
        for path in entries.iter().map(fs::DirEntry::path) {
            if path.is_dir() {
                self.search_folder(&path);
            } else {
                // SQLite's own files may go while they are listed.
                let content = fs::read(&path).unwrap_or_default();
                self.came_out(Output::Folder, &path.display().to_string(), &content);
            }
        }
    }
}

impl Canaries {
    fn list(&self) -> [(&'static str, &str); 15] {
        [
            ("key", &self.key),
            ("revoked", &self.revoked),
            ("elsewhere", &self.elsewhere),
            ("live", &self.live),
            ("lone", &self.lone),
            ("unknown", &self.unknown),
            ("token", &self.token),
            ("minted", &self.minted),
            ("single", &self.single),
            ("expired", &self.expired),
            ("foreign", &self.foreign),
            ("stray", &self.stray),
            ("payload", &self.payload),
            ("upstream", &self.upstream),
            ("rude", &self.rude),
        ]
    }
}

fn configuration(emulator: &str, rude: &str, dead: &str) -> String {
    let upstream = |name: &str, url: &str, more: &str| {
        format!("[upstream.{name}]\nurl = \"{url}\"\nsecret = \"${{file:upstream.key}}\"\n{more}\n")
    };
    let route = |name: &str, upstream: &str, path: &str, more: &str| {
        format!("[route.{name}]\nupstream = \"{upstream}\"\npaths = [\"{path}\"]\n{more}\n")
    };
    [
        "[limits]\nhead = \"500ms\"\nresponse_head = \"500ms\"\ndrain = \"300ms\"\nclose_wait = \"1s\"\n".to_owned(),
        upstream("emulator", &format!("http://{emulator}"), "inject = \"header:X-API-Key\""),
        upstream("google", &format!("http://{emulator}"), "preset = \"gemini\""),
        upstream("openai", &format!("http://{emulator}"), "preset = \"openai\""),
        upstream("rude", &format!("http://{rude}"), "inject = \"header:X-API-Key\""),
        upstream("rude2", &format!("http://{rude}"), "http = \"2\""),
        upstream("dead", &format!("http://{dead}"), ""),
        upstream("no_tls", &format!("https://{rude}"), ""),
        route("demo", "emulator", "/demo/*", ""),
        route("events", "emulator", "/api/*", "query = \"warn\""),
        route("sockets", "emulator", "/ws/*", ""),
        route("lone", "emulator", "/ws/events", "lone_subprotocol = \"echo\""),
        route("rude", "rude", "/rude/*", ""),
        route("rude2", "rude2", "/rude2/*", ""),
        route("dead", "dead", "/dead/*", ""),
        route("no_tls", "no_tls", "/no_tls/*", ""),
        "[route.gemini]\nupstream = \"google\"\n".to_owned(),
        "[route.openai]\nupstream = \"openai\"\n".to_owned(),
    ]
    .concat()
}

/// So many random letters and digits.
fn random(length: usize) -> String {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    bytes.iter().map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect()
}

/// A token of the good key, minted past the gateway.
fn minted(folder: &Folder, uses: Uses, live_millis: i64) -> String {
    let store = Store::open(&folder.path().join(".keymoat")).expect("a store");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = UnixMillis(i64::try_from(since).expect("a time"));
    let token = NewToken {
        key_id: store.key("good").expect("it was created").id,
        scopes: Scopes::All,
        calls: Calls::Any,
        uses,
        start_by: now.plus_millis(live_millis),
        live_until: now.plus_millis(live_millis),
        origins: Vec::new(),
        limits: TokenLimits::default(),
        constraint: Constraint::None,
        idempotency_key: None,
    };
    let text = shaped(Kind::Token);
    let order = MintOrder { token, secret: Secret::from(text.as_str()), live_tokens_max: 100, now };
    assert!(matches!(store.mint_token(order), Ok(Minting::Made(_))));
    text
}

fn shaped(kind: Kind) -> String {
    let secret = format::generate(kind, &mut |bytes| aws_lc_rs::rand::fill(bytes).expect("random bytes"));
    // The test plants it in requests as text.
    let text = secret.expose();
    String::from_utf8(text.to_vec()).expect("base62")
}

/// Runs an emulator on a thread of its own until the sender is dropped.
fn emulate(key: Secret) -> (String, Recorder, oneshot::Sender<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, started) = mpsc::channel();
    thread::spawn(move || {
        let mut options = Options::new(key);
        options.sse_pause = Duration::from_millis(20);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let emulator = keymoat_emulator::start(options).await.expect("a free port");
            ready.send((emulator.address().to_string(), emulator.recorder())).expect("the test waits");
            let _ = stopped.await;
        });
    });
    let (address, recorder) = started.recv().expect("an emulator");
    (address, recorder, stop)
}
