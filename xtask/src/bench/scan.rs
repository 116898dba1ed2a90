//! `cargo xtask bench scan`: what `keymoat scan` costs per byte, beside the programs that only inflate.
//!
//! Processor time counts, user and system, of one thread where nothing else is said; the median of five runs, with the
//! log in the page cache.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::machine::{self, Need};
use crate::suite;

/// How large the log is.
const BYTES: usize = 200_000_000;
/// How often it is repeated, each time with other keys, for the largest one.
const BIG: usize = 50;
/// The most memory that scanning may take, in MiB.
const MEBIBYTES_MAX: f64 = 64.0;
/// One line in so many holds a key.
const LINES_PER_KEY: usize = 500;

/// Runs a command so many times; prints the medians of processor time and time in seconds, and the most memory in KiB.
const MEASURE: &str = "\
import os, statistics, subprocess, sys, time
cpu, wall, memory = [], [], 0
for _ in range(int(sys.argv[1])):
    start = time.monotonic()
    child = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall.append(time.monotonic() - start)
    cpu.append(usage.ru_utime + usage.ru_stime)
    memory = max(memory, usage.ru_maxrss)
print(statistics.median(cpu), statistics.median(wall), memory)
";

/// How often a command takes its turn.
const TURNS: usize = 5;

/// What a command cost.
struct Cost {
    cpu: f64,
    wall: f64,
    kib: f64,
}

/// Takes `binary`, or builds it, and prints one table; `big` adds a log of 10 GB, which is written and removed again. A row
/// that is missed fails.
pub(crate) fn run(root: &Path, binary: Option<&Path>, big: bool) -> Result<ExitCode> {
    let target = suite::target(root);
    machine::prepare(&[Need::Python], &target.join("bench.log"))?;
    let binary = match binary {
        Some(binary) => std::path::absolute(binary)?,
        None => {
            let mut cargo = Command::new("cargo");
            cargo.args(["build", "--release", "--package", "keymoat", "--bin", "keymoat"]).current_dir(root);
            ensure!(cargo.status()?.success(), "`cargo build` failed; what it printed above says why");
            target.join("release/keymoat")
        }
    };
    // In the target folder, not below /tmp, which may be small.
    let folder = tempfile::Builder::new().prefix("bench-scan-").tempdir_in(&target)?;
    let log = folder.path().join("access.log");
    let key_ends = write_log(&log, BYTES)?;
    let keys = key_ends.len();
    let bytes = fs::metadata(&log)?.len() as f64;
    for program in ["gzip", "zstd"] {
        let done = Command::new(program).args(["-q", "-k"]).arg(&log).status();
        ensure!(done.is_ok_and(|status| status.success()), "`{program}` does not run: install it");
    }

    let scan = |file: &str, threads: &str| {
        let mut command = Command::new(&binary);
        command.args(["scan", "--threads", threads, "--format", "jsonl"]).arg(folder.path().join(file));
        command.env("HOME", folder.path()).env_remove("XDG_DATA_HOME");
        command
    };
    let inflate = |program: &str, file: &str| {
        let mut command = Command::new(program);
        command.arg("-dc").arg(folder.path().join(file));
        command
    };
    let output = scan("access.log", "2").output().context("cannot run `keymoat scan`")?;
    let (found, places) = count(&output.stdout)?;
    let plain = cost(&scan("access.log", "1"), TURNS)?;
    let two = cost(&scan("access.log", "2"), TURNS)?;
    let gz = cost(&scan("access.log.gz", "1"), TURNS)?;
    let gzip = cost(&inflate("gzip", "access.log.gz"), TURNS)?;
    let zst = cost(&scan("access.log.zst", "1"), TURNS)?;
    let zstd = cost(&inflate("zstd", "access.log.zst"), TURNS)?;

    println!("{:<56} {:>10}   must", "", "");
    let mut missed = 0;
    let mut row = |name: &str, value: f64, must: f64| {
        missed += usize::from(value < must);
        println!("{name:<56} {value:>10.2}   ≥ {must}{}", if value < must { "  MISSED" } else { "" });
    };
    row("plain, GB per second of processor time", bytes / plain.cpu / 1e9, 0.8);
    row("two threads, times as fast as one", plain.wall / two.wall, 1.8);
    row(".gz, speed as a part of `gzip -dc`", gzip.cpu / gz.cpu, 1.0);
    row(".zst, speed as a part of `zstd -dc`", zstd.cpu / zst.cpu, 0.7);
    row("keys found, as a part of those planted", found as f64 / keys as f64, 1.0);
    row("places found that hold a key, as a part of all", keys as f64 / places.max(1) as f64, 1.0);
    let memory = [&plain, &two, &gz, &zst].map(|cost| cost.kib).into_iter().fold(0.0, f64::max);
    row(&format!("{:.1} MiB taken, MiB left of 64", memory / 1024.0), MEBIBYTES_MAX - memory / 1024.0, 0.0);
    if big {
        let path = folder.path().join("big.log");
        let bytes = write_big(&log, &key_ends, &path)?;
        let (found, _) = count(&scan("big.log", "2").output().context("cannot run `keymoat scan`")?.stdout)?;
        row("10 GB: keys found, as a part of those planted", found as f64 / (keys * BIG) as f64, 1.0);
        for threads in ["1", "2"] {
            let cost = cost(&scan("big.log", threads), 1)?;
            let name = format!("10 GB, {threads} threads: GB per second of processor time");
            row(&name, bytes / cost.cpu / 1e9, 0.8);
            let name = format!("10 GB, {threads} threads: {:.1} MiB taken, MiB left of 64", cost.kib / 1024.0);
            row(&name, MEBIBYTES_MAX - cost.kib / 1024.0, 0.0);
        }
    }
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many credentials and how many places a report in lines has.
fn count(report: &[u8]) -> Result<(usize, usize)> {
    let (mut credentials, mut places) = (0, 0);
    for line in report.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).context("the report is no JSON")?;
        if line["type"] == "credential" {
            credentials += 1;
            places += line["count"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
        }
    }
    Ok((credentials, places))
}

fn cost(command: &Command, turns: usize) -> Result<Cost> {
    let mut measure = Command::new("python3");
    measure.arg("-c").arg(MEASURE).arg(turns.to_string()).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => measure.env(name, value),
            None => measure.env_remove(name),
        };
    }
    let output = measure.output().context("cannot run `python3`")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [cpu, wall, kib] = numbers[..] else {
        anyhow::bail!("nothing was measured: {}", String::from_utf8_lossy(&output.stderr))
    };
    Ok(Cost { cpu, wall, kib })
}

/// Writes the log again and again, each time with other keys, and says how many bytes that are.
fn write_big(log: &Path, key_ends: &[usize], path: &Path) -> Result<f64> {
    let mut text = fs::read(log)?;
    let mut big = File::create(path)?;
    for copy in 0..BIG {
        for end in key_ends {
            let digits = format!("{copy:04x}");
            let place = text.get_mut(end - digits.len()..*end).context("a key that is not in the log")?;
            place.copy_from_slice(digits.as_bytes());
        }
        big.write_all(&text)?;
    }
    Ok((text.len() * BIG) as f64)
}

/// Writes an access log like those of nginx, always the same, and says where the keys in it end.
fn write_log(path: &Path, bytes: usize) -> Result<Vec<usize>> {
    const HEX: &[u8] = b"0123456789abcdef";
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const AGENTS: [&str; 4] = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        "curl/8.5.0",
        "Go-http-client/2.0",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ];
    const REFERRERS: [&str; 3] =
        ["-", "https://shop.example.com/products?page=7&sort=price", "https://example.com/search?q=shoes"];
    let mut random = Random(7);
    let mut log = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut written, mut lines, mut key_ends) = (0, 0, Vec::new());
    while written < bytes {
        lines += 1;
        let mut key_of_line = None;
        let path = if lines % LINES_PER_KEY == 0 {
            let key = match random.below(4) {
                0 => format!("sk-{}", random.text(LETTERS, 32)),
                1 => random.text(LETTERS, 43),
                2 => format!("AIza{}", random.text(LETTERS, 35)),
                _ => random.text(HEX, 32),
            };
            let before = ["", "page=3&"][random.below(2)];
            let behind = ["", "&x=1"][random.below(2)];
            let path = format!("/api/events?{before}api_key={key}{behind}");
            key_of_line = Some(key);
            path
        } else {
            match random.below(9) {
                0 => format!("/search?q={}&lang=en", random.text(LETTERS, 6)),
                1 => format!("/login?session={}&utm_campaign=spring", random.below(1_000_000_000)),
                2 => format!("/api/v1/users?id={}", random.text(HEX, 32)),
                3 => format!("/products/{}", random.below(100_000)),
                4 => format!("/static/js/app.{}.js", random.text(HEX, 8)),
                5 => "/products?sort_key=price&monkey=7".to_owned(),
                _ => "/api/events".to_owned(),
            }
        };
        let line = format!(
            "{}.{}.{}.{} - - [{:02}/Jan/2026:{:02}:{:02}:{:02} +0000] \"GET {path} HTTP/1.1\" 200 {} \"{}\" \"{}\"\n",
            1 + random.below(223),
            random.below(256),
            random.below(256),
            random.below(256),
            1 + random.below(28),
            random.below(24),
            random.below(60),
            random.below(60),
            random.below(60_000),
            REFERRERS[random.below(3)],
            AGENTS[random.below(4)],
        );
        if let Some((at, key)) = key_of_line.and_then(|key| Some((line.find(&key)?, key))) {
            key_ends.push(written + at + key.len());
        }
        written += line.len();
        log.write_all(line.as_bytes())?;
    }
    log.flush()?;
    Ok(key_ends)
}

/// A generator of numbers that are always the same (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_always_the_same_and_its_keys_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        let keys = write_log(&one, 1_000_000).expect("written");
        assert_eq!(write_log(&two, 1_000_000).expect("written"), keys);
        let text = fs::read_to_string(&one).expect("text");
        assert!(text == fs::read_to_string(&two).expect("text"));
        assert!(keys.len() > 5 && text.matches("api_key=").count() == keys.len());
        write_big(&one, &keys, &two).expect("written");
        let big = fs::read_to_string(&two).expect("text");
        let values = big.split("api_key=").skip(1).map(|rest| rest.split([' ', '&']).next());
        let different: std::collections::HashSet<_> = values.collect();
        assert_eq!(different.len(), keys.len() * BIG);
    }
}
