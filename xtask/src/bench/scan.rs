//! `cargo xtask bench scan`: what `keymoat scan` costs per byte, beside the programs that only inflate.
//!
//! Processor time counts, user and system, of one thread where nothing else is said; the median of five runs, with the
//! log in the page cache.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::log::Log;
use crate::machine::{self, Need};
use crate::suite;

/// How often the log is repeated, each time with other keys, for the largest one.
const BIG: usize = 50;
/// The most memory that scanning may take, in MiB.
const MEBIBYTES_MAX: f64 = 64.0;
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
    machine::prepare(&[Need::Python, Need::Zstd], &target.join("bench.log"))?;
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
    let written = Log::write(&log)?;
    let (keys, bytes) = (written.keys.len(), written.bytes as f64);
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
        written.repeat(&log, &path, BIG)?;
        let bytes = bytes * BIG as f64;
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
