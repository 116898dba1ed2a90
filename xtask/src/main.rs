//! The project's own commands: `cargo xtask demo`, `cargo xtask console`, `cargo xtask test` and `cargo xtask bench`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "these commands talk to a person at a terminal")]

mod admin;
mod bench;
mod canary;
mod console;
mod container;
mod demo;
mod emulator;
mod gateway;
mod machine;
mod packages;
mod process;
mod ready;
mod report;
mod scan;
mod sdk;
mod snippets;
mod suite;
mod typescript;
mod web;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::suite::Suite;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Runs Keymoat's demonstration, its tests and its measurements"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds Keymoat and runs it on loopback in front of emulated APIs, until Ctrl-C.
    Demo,
    /// Installs what the tests need, then runs all of them.
    Test {
        /// Runs this suite alone; may be given more than once.
        #[arg(long, value_name = "NAME")]
        only: Vec<Suite>,
        /// Lists the suites and runs nothing.
        #[arg(long)]
        list: bool,
    },
    /// Builds the web console into `console/dist`, where `cargo build --features console` finds it.
    Console,
    /// Measures the release binary.
    Bench {
        #[command(subcommand)]
        measure: Measure,
    },
}

#[derive(Subcommand)]
enum Measure {
    /// The data path: processor time beside nginx, system calls, memory, instructions.
    Path {
        /// Measures this binary and builds none.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
    /// The scanner: bytes per second of processor time, plain and beside gzip and zstd.
    Scan {
        /// Measures this binary and builds none.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// Scans a log of 10 GB too, which needs that much room in the target folder.
        #[arg(long)]
        big: bool,
    },
    /// The store of events: what its pages and counts take at 10,000 keys and 1,000,000 events.
    Events,
    /// The store: sessions admitted per second on one node and on three, SQLite and PostgreSQL, beside the raw store.
    Store,
    /// The console: how long the data of each screen takes, with 10,000 keys and 1,000,000 events.
    Console {
        /// Measures this binary and builds none.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// A store that was filled before, by `--example fill` of `keymoat-store`.
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
    },
    /// The redactor and the scanner: bytes per second of processor time beside other tools, worst inputs, memory.
    Redact {
        /// Measures this binary and builds none.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    let root = root()?;
    match command {
        Command::Demo => demo::run(&root),
        Command::Console => suite::console(&root),
        Command::Test { list: true, .. } => {
            suite::list();
            Ok(ExitCode::SUCCESS)
        }
        Command::Test { only, .. } => suite::run(&root, only),
        Command::Bench { measure: Measure::Path { binary } } => bench::run(&root, binary.as_deref()),
        Command::Bench { measure: Measure::Events } => bench::events::run(&root),
        Command::Bench { measure: Measure::Scan { binary, big } } => bench::scan::run(&root, binary.as_deref(), *big),
        Command::Bench { measure: Measure::Store } => bench::store::run(&root),
        Command::Bench { measure: Measure::Console { binary, store } } => {
            bench::console::run(&root, binary.as_deref(), store.as_deref())
        }
        Command::Bench { measure: Measure::Redact { binary } } => bench::redact::run(&root, binary.as_deref()),
    }
}

/// The folder of the workspace: what cargo says now, because checkouts that share a target folder share this binary.
fn root() -> Result<PathBuf> {
    let told = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let xtask = told.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    xtask.parent().map(Path::to_owned).context("the folder of xtask has no parent")
}
