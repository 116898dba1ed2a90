//! The suite that asks the admin API of the real binary what its own description allows, and what it does not: schemathesis
//! finds nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::gateway::folder;
use crate::packages::Store;
use crate::process::{self, Ended};
use crate::ready;
use crate::report::Findings;
use crate::suite::{self, Place};

/// The same cases on every run, so that a failure can be repeated.
const SEED: &str = "20261122";
/// How long schemathesis may take.
const LIMIT: Duration = Duration::from_secs(150);

/// What never ends, or needs a credential of its own: the Rust tests drive these.
const LEFT_OUT: [&str; 4] = ["/api/v1/sign-in", "/api/v1/claim", "/api/events/stream", "/ws/events"];

/// Runs schemathesis against a first run.
pub(crate) fn all(place: Place<'_>) -> Result<Findings> {
    let binary = suite::build(place)?;
    let scripts = place.root.join("tests/admin");
    let store = Store { folder: place.folder, log: place.log, deadline: place.deadline };
    let python = store.venv("schemathesis", &scripts.join("requirements.txt"))?;
    let folder = folder(place.folder)?;
    let mut create = Command::new(&binary);
    create.args(["admin", "create", "suite", "--role", "admin"]).current_dir(folder.path());
    let key = process::output(&mut create).context("`keymoat admin create` failed")?;
    let mut serve = Command::new(&binary);
    serve.args(["serve", "--json", "--listen", "127.0.0.1:0"]);
    let (_gateway, ready) = ready::start(&mut serve, folder.path(), "gateway")?;
    let url = ready::text(&ready, "admin")?;
    let description = folder.path().join("openapi.json");
    let mut written = File::create(&description).context("cannot write the description")?;
    let kept = fs::read(place.root.join("docs/src/openapi.json")).context("the book has no description")?;
    written.write_all(&kept).context("cannot write the description")?;
    let mut schemathesis = Command::new(python.with_file_name("schemathesis"));
    schemathesis.arg("--config-file").arg(scripts.join("schemathesis.toml")).arg("run").arg(&description);
    schemathesis.args(["--url", &url, "--max-examples", "10", "--seed", SEED, "--workers", "2", "--no-color"]);
    for path in LEFT_OUT {
        schemathesis.args(["--exclude-path", path]);
    }
    // In the environment, so that it stands in no list of processes.
    schemathesis.env("KEYMOAT_ADMIN_KEY", key.trim()).current_dir(folder.path());
    let deadline = place.deadline.min(Instant::now() + LIMIT);
    Ok(match process::run(&mut schemathesis, place.log, deadline)? {
        Ended::Well => Findings::clean(),
        Ended::Badly(_) => Findings::failed("`schemathesis` found something in the admin API"),
        Ended::Late => Findings::failed("`schemathesis` was killed at its limit"),
    })
}
