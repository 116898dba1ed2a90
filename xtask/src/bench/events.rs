//! `cargo xtask bench events`: what the questions to the store of events take when it is large.
//!
//! The generator and the questions are an example of the store's own crate, because only that one knows its statements.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

/// Builds the example as a release build and runs it.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "--package", "keymoat-store", "--example", "events"]).current_dir(root);
    ensure!(cargo.status()?.success(), "the measurement failed; what it printed above says why");
    Ok(ExitCode::SUCCESS)
}
