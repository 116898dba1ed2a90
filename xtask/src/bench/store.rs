//! `cargo xtask bench store`: sessions admitted per second, beside the raw store's own rate for the same statement.
//!
//! Both keep every promise: each commit is synced to the disk before it counts. They take turns, and what counts is the
//! ratio of their medians on this machine. PostgreSQL's own rate is the better one of one process and of as many as there
//! are nodes.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use keymoat_postgres_stand::{Durability, Postgres};

use crate::machine::{self, Need};
use crate::suite;

/// How long each turn measures, in seconds.
const SECS: &str = "3";
const TURNS: usize = 5;

/// What a node has to reach of the raw store.
const RATIO_MIN: f64 = 0.8;

/// Builds what it runs, and prints one table.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let target = suite::target(root);
    machine::prepare(&[Need::Postgres], &target.join("bench.log"))?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--package", "keymoat-store", "--example", "claims"]).current_dir(root);
    ensure!(cargo.status()?.success(), "`cargo build` failed; what it printed above says why");
    let claims = target.join("release/examples/claims");
    // On the same disk as the server's folder.
    let folder = tempfile::Builder::new().prefix("keymoat-bench-").tempdir()?;
    let server = Postgres::start_with(Durability::Full, &["shared_buffers=256MB", "max_wal_size=4GB"]);
    let path = folder.path().join("store").to_str().context("the folder's name is no text")?.to_owned();
    println!("{:<44} {:>12} {:>12} {:>7}   must", "sessions admitted per second", "keymoat", "raw", "ratio");
    let mut is_well = true;
    for (name, target) in [("SQLite", path), ("PostgreSQL", server.url())] {
        sum(&claims, "prepare", &target, 1)?;
        for nodes in [1, 3] {
            let (mut ours, mut alone, mut together) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..TURNS {
                ours.push(sum(&claims, "desk", &target, nodes)?);
                alone.push(sum(&claims, "raw", &target, 1)?);
                // Of SQLite's writers the first one keeps the others out: they have no turns but Keymoat's.
                if nodes > 1 && name == "PostgreSQL" {
                    together.push(sum(&claims, "raw", &target, nodes)?);
                }
            }
            let (ours, raw) = (median(ours), median(alone).max(median(together)));
            let ratio = ours / raw;
            is_well &= ratio >= RATIO_MIN;
            let label = format!("{name}, {nodes} {}", if nodes == 1 { "node" } else { "nodes" });
            println!("{label:<44} {ours:>12.0} {raw:>12.0} {ratio:>7.2}   >= {RATIO_MIN}");
        }
        let minted = median((0..TURNS).map(|_| sum(&claims, "mint", &target, 1)).collect::<Result<Vec<_>>>()?);
        println!("{:<44} {minted:>12.0}", format!("{name}, 1 node, each with a token minted for it"));
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs so many at once and adds what they say.
fn sum(claims: &PathBuf, word: &str, target: &str, processes: usize) -> Result<f64> {
    let start = || Command::new(claims).args([word, target, SECS]).stdout(Stdio::piped()).spawn();
    let running = (0..processes).map(|_| start()).collect::<std::io::Result<Vec<_>>>()?;
    let mut sum = 0.0;
    for process in running {
        let output = process.wait_with_output()?;
        ensure!(output.status.success(), "`claims {word}` failed");
        sum += String::from_utf8_lossy(&output.stdout).trim().parse::<f64>()?;
    }
    Ok(sum)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}
