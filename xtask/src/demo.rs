//! `cargo xtask demo`: builds the binary and hands the terminal to it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{console, machine, suite};

/// Builds `keymoat`, runs `keymoat serve` in the foreground and ends with it.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let cc = ["cc", "gcc", "clang"].into_iter().find_map(machine::find);
    ensure!(machine::find("cargo").is_some(), "`cargo` is missing: install Rust with rustup (https://rustup.rs)");
    ensure!(cc.is_some(), "a C compiler is missing: install one (Debian: `apt-get install build-essential`)");

    println!("Builds Keymoat; the first time takes a few minutes.");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--package", "keymoat", "--bin", "keymoat"]).current_dir(root);
    if machine::has_node() {
        suite::console(root)?;
        cargo.args(["--features", console::FEATURE]);
    } else {
        println!("Without the web console: that needs Node 20.19 or newer with npm (https://nodejs.org).");
    }
    let built = cargo.status().context("`cargo` does not start")?;
    ensure!(built.success(), "`cargo build` failed; what it printed above says why");

    println!("Starts Keymoat on loopback. Ctrl-C stops it.");
    serve(&mut Command::new(suite::target(root).join("debug/keymoat")))
}

/// Runs the gateway; a signal to end goes to it, and this process waits for it to end in order.
fn serve(command: &mut Command) -> Result<ExitCode> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
    // In a group of its own, so that the terminal's Ctrl-C reaches it once: by way of this process.
    let child = command.arg("serve").stdin(Stdio::null()).process_group(0).spawn();
    let mut child = child.context("`keymoat serve` does not start")?;
    let gateway = Pid::from_child(&child);
    thread::spawn(move || {
        for _ in &mut signals {
            let _ = kill_process(gateway, Signal::TERM);
        }
    });
    let status = child.wait().context("cannot wait for `keymoat serve`")?;
    Ok(match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    })
}
