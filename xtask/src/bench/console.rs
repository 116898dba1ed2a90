//! `cargo xtask bench console`: how long the data of each screen of the console takes, with 10,000 keys and 1,000,000 events.
//!
//! A screen's time is that of all its requests, sent at once as a browser sends them, until the last byte has come; that of the
//! first time after the start is printed apart.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{process, ready, suite};

const KEYS: &str = "10000";
const EVENTS: &str = "1000000";
/// How often each screen is asked for; the first times warm the caches up and do not count.
const ROUNDS: usize = 60;
const WARM: usize = 5;
/// 95 of 100 must be faster.
const LIMIT: Duration = Duration::from_millis(100);

/// What each screen asks for; DAYS and HOURS are times, KEY is the id of a key.
const SCREENS: [(&str, &[&str]); 9] = [
    (
        "Overview",
        &[
            "usage?by=day&group=carrier&outcome=allowed&from=DAYS",
            "usage?by=day&group=code&from=HOURS",
            "sunset",
            "sunset/plan",
            "health",
        ],
    ),
    ("Keys", &["keys?limit=50"]),
    ("Keys, searched", &["keys?limit=50&text=client-77"]),
    ("Key", &["keys/KEY", "events?key=KEY&limit=15", "usage?by=day&group=secret&key=KEY&from=DAYS"]),
    ("Tokens", &["tokens?limit=50"]),
    ("Sessions", &["sessions?limit=50"]),
    ("Routes and upstreams", &["routes?limit=50", "upstreams?limit=50"]),
    ("Audit", &["events?kind=act&limit=50"]),
    ("People", &["admins?limit=50"]),
];

/// A gateway over a store that has been filled.
const CONFIGURATION: &str = r#"
[store]
dir = "STORE"

[admin]
listen = "127.0.0.1:0"

[upstream.events]
url = "http://127.0.0.1:9"
secret = "${file:SECRET}"

[upstream.gemini]
preset = "gemini"
secret = "${file:SECRET}"

[route.events]
upstream = "events"
paths = ["/api/*", "/ws/events"]
carriers = ["header:x-api-key", "subprotocol", "query:api_key"]
query = "warn"

[route.gemini]
upstream = "gemini"
"#;

/// Fills a store and asks for every screen; a screen that is too slow fails. `filled` is a store that was filled before.
pub(crate) fn run(root: &Path, binary: Option<&Path>, filled: Option<&Path>) -> Result<ExitCode> {
    process::end_all_on_signal()?;
    let binary = super::binary(root, binary)?;
    let folder = tempfile::Builder::new().prefix("keymoat-bench-").tempdir()?;
    let store = match filled {
        Some(filled) => std::path::absolute(filled)?,
        None => fill(root, folder.path())?,
    };
    let secret = folder.path().join("upstream.key");
    fs::write(&secret, "a-secret-that-opens-nothing").context("cannot write the secret")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).context("cannot hide the secret")?;
    let written = CONFIGURATION.replace("STORE", &store.to_string_lossy()).replace("SECRET", &secret.to_string_lossy());
    fs::write(folder.path().join("keymoat.toml"), written).context("cannot write the configuration")?;
    let mut create = Command::new(&binary);
    let name = format!("bench-{}", std::process::id());
    create.args(["admin", "create", &name, "--role", "admin", "--store"]).arg(&store);
    let key = process::output(&mut create).context("`keymoat admin create` failed")?;
    let key =
        key.split_whitespace().find(|word| word.starts_with("kma_")).context("no admin key was printed")?.to_owned();
    let mut serve = Command::new(&binary);
    serve.args(["serve", "--json", "--listen", "127.0.0.1:0", "--config", "keymoat.toml"]);
    let (_gateway, ready) = ready::start(&mut serve, folder.path(), "gateway")?;
    let admin = Admin {
        address: ready::text(&ready, "admin")?.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        key,
    };

    let (days, hours) = (ago(29 * 86_400)?, ago(86_400)?);
    println!("{:<24} {:>9} {:>9}   must", "screen", "p50", "p95");
    let mut is_slow = false;
    for (screen, paths) in SCREENS.iter().filter(|(_, paths)| !paths.iter().any(|path| path.contains("KEY"))).take(2) {
        // Nothing was asked before: no answer can have been kept.
        let paths: Vec<String> =
            paths.iter().map(|path| path.replace("DAYS", &days).replace("HOURS", &hours)).collect();
        let took = admin.screen(&paths)?;
        is_slow |= !told(&format!("{screen}, first time"), took, took);
    }
    let first = admin.get("keys?limit=1")?;
    let first: serde_json::Value = serde_json::from_slice(&first).context("the list of keys is not JSON")?;
    let id = first["items"][0]["id"].as_str().context("there is no key")?.to_owned();
    for (screen, paths) in SCREENS {
        let filled = |path: &&str| path.replace("KEY", &id).replace("DAYS", &days).replace("HOURS", &hours);
        let paths: Vec<String> = paths.iter().map(filled).collect();
        let mut times = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS + WARM {
            let took = admin.screen(&paths)?;
            if round >= WARM {
                times.push(took);
            }
        }
        times.sort();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        is_slow |= !told(screen, at(50), at(95));
    }
    Ok(if is_slow { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints what a screen took, and says whether that was quick enough.
fn told(screen: &str, p50: Duration, p95: Duration) -> bool {
    let word = if p95 < LIMIT { "< 100 ms" } else { "< 100 ms   MISSED" };
    println!("{screen:<24} {:>6.1} ms {:>6.1} ms   {word}", millis(p50), millis(p95));
    p95 < LIMIT
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Makes a store with keys and events.
fn fill(root: &Path, folder: &Path) -> Result<PathBuf> {
    println!("fills a store with {KEYS} keys and {EVENTS} events");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--quiet", "--package", "keymoat-store", "--example", "fill"]).current_dir(root);
    ensure!(cargo.status()?.success(), "`cargo build` failed; what it printed above says why");
    let store = folder.join("store");
    let mut fill = Command::new(suite::target(root).join("release/examples/fill"));
    ensure!(fill.arg(&store).args([KEYS, EVENTS]).status()?.success(), "the store could not be filled");
    Ok(store)
}

/// The beginning of the day or hour so many seconds ago, as the API reads it.
fn ago(secs: u64) -> Result<String> {
    let mut date = Command::new("date");
    date.args(["--utc", "--date", &format!("{secs} seconds ago"), "+%Y-%m-%dT%H:00:00.000Z"]);
    process::output(&mut date).map(|text| text.trim().to_owned()).context("`date` failed")
}

/// The admin API, and who asks.
struct Admin {
    address: String,
    key: String,
}

impl Admin {
    /// Asks for all `paths` at once, and gives the time until all have come.
    fn screen(&self, paths: &[String]) -> Result<Duration> {
        let start = Instant::now();
        thread::scope(|scope| {
            let asked: Vec<_> = paths.iter().map(|path| scope.spawn(move || self.get(path))).collect();
            asked.into_iter().try_for_each(|one| match one.join() {
                Ok(answer) => answer.map(drop),
                Err(_) => bail!("a request panicked"),
            })
        })?;
        Ok(start.elapsed())
    }

    fn get(&self, path: &str) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.address).context("the admin listener is gone")?;
        stream.set_read_timeout(Some(ready::LIMIT)).context("cannot set a time limit")?;
        let Self { address, key } = self;
        let head = format!(
            "GET /api/v1/{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).context("cannot ask")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("cannot read the answer")?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("the answer has no body")?;
        ensure!(answer.starts_with(b"HTTP/1.1 200 "), "`{path}`: {}", String::from_utf8_lossy(&answer));
        Ok(answer.split_off(end + 4))
    }
}
