//! `cargo xtask bench path`: what one request, one message and one session cost in the release binary, beside nginx.
//!
//! Times compare only within one run: the two take turns, and what counts is the ratio of their medians. System calls,
//! instructions and memory hardly depend on the machine; they are the guard. Nothing here is part of the tests.

pub(crate) mod console;
mod count;
pub(crate) mod events;
mod load;
mod log;
mod peer;
pub(crate) mod redact;
pub(crate) mod scan;
pub(crate) mod store;
mod upstream;
mod wire;
mod worst;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use self::load::Session;
use self::peer::Peer;
use crate::machine::{self, Need};
use crate::suite;

/// The sessions that are open at once when memory is measured.
const SESSIONS: usize = 3000;
/// How often the two take turns.
const TURNS: usize = 11;

/// A measurement under way.
struct Bench {
    binary: PathBuf,
    folder: tempfile::TempDir,
    upstream: SocketAddr,
    runtime: Runtime,
}

/// Builds the release binary, or takes `binary`, and prints one table.
pub(crate) fn run(root: &Path, binary: Option<&Path>) -> Result<ExitCode> {
    let target = suite::target(root);
    machine::prepare(&[Need::Nginx, Need::Strace, Need::Valgrind], &target.join("bench.log"))?;
    let files = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files })
        .context("cannot raise the limit of files")?;
    let bench = Bench {
        binary: self::binary(root, binary)?,
        folder: tempfile::Builder::new().prefix("keymoat-bench-").tempdir()?,
        upstream: upstream::start()?,
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
    };
    println!("{:<44} {:>12} {:>12} {:>7}   must", "", "keymoat", "nginx", "ratio");
    bench.times()?;
    bench.system_calls()?;
    bench.memory()?;
    bench.instructions()?;
    Ok(ExitCode::SUCCESS)
}

/// What is measured: `binary`, or the release binary, built here.
fn binary(root: &Path, binary: Option<&Path>) -> Result<PathBuf> {
    if let Some(binary) = binary {
        return Ok(std::path::absolute(binary)?);
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--package", "keymoat", "--bin", "keymoat"]).current_dir(root);
    ensure!(cargo.status()?.success(), "`cargo build` failed; what it printed above says why");
    Ok(suite::target(root).join("release/keymoat"))
}

impl Bench {
    fn gateway(&self, name: &str) -> Result<Peer> {
        Peer::gateway(&self.binary, &self.folder.path().join(name), self.upstream, &[])
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        LocalSet::new().block_on(&self.runtime, work)
    }

    /// Processor time per unit, each proxy in its turn.
    fn times(&self) -> Result<()> {
        let gateway = self.gateway("times")?;
        let nginx = Peer::nginx(&self.folder.path().join("nginx"), self.upstream)?;
        self.compare("CPU per GET", "1.10", [&gateway, &nginx], 4000, |peer| self.wait(load::get(&peer.plain, 4000)))?;
        self.compare("CPU per WebSocket, opened and closed", "1.15", [&gateway, &nginx], 1000, |peer| {
            self.wait(load::open_and_close(&peer.plain, 1000))
        })?;
        // The sessions stay open from turn to turn.
        let mut sessions = [self.wait(load::open_few(&gateway.plain))?, self.wait(load::open_few(&nginx.plain))?];
        for (payload_bytes, messages) in [(125, 6000), (4096, 6000), (65_536, 1500)] {
            let mut turn = 0;
            let name = format!("CPU per message of {payload_bytes} B, and its echo");
            self.compare(&name, "1.05", [&gateway, &nginx], messages, |_| {
                let sessions = &mut sessions[turn % 2];
                turn += 1;
                *sessions = self.wait(load::messages(std::mem::take(sessions), messages, payload_bytes))?;
                Ok(())
            })?;
        }
        Ok(())
    }

    fn compare(
        &self,
        name: &str,
        must: &str,
        peers: [&Peer; 2],
        units: usize,
        mut work: impl FnMut(&Peer) -> Result<()>,
    ) -> Result<()> {
        let mut used = [Vec::new(), Vec::new()];
        for turn in 0..=TURNS {
            for (peer, used) in peers.into_iter().zip(&mut used) {
                let before = peer.processor_time()?;
                work(peer)?;
                // The first turn warms up.
                if turn > 0 {
                    used.push(peer.processor_time()?.saturating_sub(before));
                }
            }
        }
        let [ours, theirs] = used.map(|used| median(used).as_secs_f64() * 1e6 / units as f64);
        println!("{name:<44} {ours:>9.1} µs {theirs:>9.1} µs {:>7.2}   {must}", ours / theirs);
        Ok(())
    }

    fn system_calls(&self) -> Result<()> {
        let (gateway, folder) = (self.gateway("calls")?, self.folder.path());
        let target = &gateway.plain;
        self.wait(load::get(target, 1000))?;
        let calls = count::system_calls(&gateway, folder, || self.wait(load::get(target, 10_000)))?;
        print_calls("system calls per GET", "5", &calls, 10_000);
        let calls = count::system_calls(&gateway, folder, || self.wait(load::open_and_close(target, 2000)))?;
        print_calls("system calls per WebSocket, opened and closed", "27", &calls, 2000);
        let sessions = self.wait(load::open_few(target))?;
        let calls =
            count::system_calls(&gateway, folder, || self.wait(load::messages(sessions, 10_000, 4096)).map(drop))?;
        print_calls("system calls per relayed message", "2.3", &calls, 20_000);
        Ok(())
    }

    fn memory(&self) -> Result<()> {
        for (name, tls, must) in [("plain", false, "4096"), ("TLS", true, "16384")] {
            let gateway = self.gateway(name)?;
            let target = if tls { gateway.tls.as_ref().context("no TLS")? } else { &gateway.plain };
            // What is made once, such as the buffer that the thread lends, is no session's.
            self.wait(async { load::close_all(load::open_few(target).await?).await })?;
            let before = gateway.anonymous_bytes()?;
            let sessions: Vec<Session> = self.wait(load::open(target, SESSIONS))?;
            settle();
            let open = gateway.anonymous_bytes()?.saturating_sub(before);
            let each = open / SESSIONS as u64;
            println!("{:<44} {each:>10} B {:>32}", format!("memory of an idle WebSocket, {name}"), must);
            self.wait(load::close_all(sessions))?;
            settle();
            let left = gateway.anonymous_bytes()?.saturating_sub(before);
            let text = format!("  left after {SESSIONS} were closed, of {} KiB", open / 1024);
            println!("{text:<44} {:>8} KiB", left / 1024);
        }
        Ok(())
    }

    fn instructions(&self) -> Result<()> {
        const REQUESTS: usize = 3000;
        let folder = self.folder.path().join("instructions");
        let profile = folder.join("profile");
        let out = format!("--callgrind-out-file={}", profile.display());
        let wrap = ["valgrind", "--quiet", "--tool=callgrind", &out];
        let gateway = Peer::gateway(&self.binary, &folder, self.upstream, &wrap)?;
        self.wait(load::get(&gateway.plain, 500))?;
        // The start is left out: gathering randomness takes more instructions than all requests together.
        count::callgrind(&gateway, "--zero")?;
        self.wait(load::get(&gateway.plain, REQUESTS))?;
        count::callgrind(&gateway, "--dump")?;
        let each = count::instructions(&profile.with_extension("1"))? / REQUESTS as u64;
        println!("{:<44} {each:>12} {:>32}", "user instructions per GET", "45000");
        Ok(())
    }
}

fn print_calls(name: &str, must: &str, calls: &std::collections::BTreeMap<String, u64>, units: usize) {
    let each = |count: u64| count as f64 / units as f64;
    println!("{name:<44} {:>12.2} {must:>32}", each(calls.values().sum()));
    let mut calls: Vec<_> = calls.iter().filter(|(_, count)| each(**count) >= 0.01).collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let calls: Vec<_> = calls.into_iter().map(|(name, count)| format!("{name} {:.2}", each(*count))).collect();
    println!("  {}", calls.join(", "));
}

/// Lets the gateway finish with what its clients have ended.
fn settle() {
    std::thread::sleep(Duration::from_secs(2));
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
