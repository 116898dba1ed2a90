//! The suite of the web console: its own checks, then a person's way through it, in Chromium, on the real binary.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{self, Ended};
use crate::report::{Check, Findings};
use crate::suite::{self, Place};
use crate::{console, gateway, machine, sdk};

/// What `package.json` runs, and what that shows.
const SCRIPTS: [(&str, &str); 3] = [
    ("typecheck", "the types are right, and those of the API are its own"),
    ("lint", "the linter finds nothing, and all is formatted"),
    ("test", "the unit tests pass"),
];

/// Everything about `console`.
pub(crate) fn all(place: Place<'_>) -> Result<Findings> {
    let folder = place.root.join("console");
    console::build(place.root, sdk::packages(place))?;
    let mut findings = Findings::clean();
    for (script, name) in SCRIPTS {
        findings.checks.push(check(place, &folder, script, name)?);
    }
    let chromium = machine::chromium().context("there is no Chromium")?;
    let binary = suite::build(place)?;
    let scripts = place.root.join("tests/console");
    let packages = sdk::packages(place).npm("console", &scripts.join("package.json"))?;
    let script = sdk::all_beside(&packages, &scripts, "console.mjs")?;
    let home = gateway::folder(place.folder)?;
    let mut command = Command::new("node");
    command.arg(script).env("SUITE_CHROMIUM", chromium).env("SUITE_BINARY", binary).env("SUITE_FOLDER", home.path());
    if std::env::var_os("SUITE_TAKE_IMAGES").is_some() {
        let words = ["build", "--package", "keymoat-store", "--example", "fill", "--quiet"];
        anyhow::ensure!(suite::cargo(place, &words)?.passed(), "the example `fill` could not be built");
        command.env("SUITE_FILL", suite::target(place.root).join("debug/examples/fill"));
        command.env("SUITE_IMAGES", place.root.join("docs/src/images"));
    }
    sdk::script(place, &mut command, "console", &mut findings)?;
    Ok(findings)
}

fn check(place: Place<'_>, folder: &Path, script: &str, name: &str) -> Result<Check> {
    let mut command = Command::new("npm");
    command.args(["run", "--silent", script]).current_dir(folder);
    let failure = match process::run(&mut command, place.log, place.deadline)? {
        Ended::Well => None,
        Ended::Badly(_) => Some(format!("`npm run {script}` failed, see `{}`", place.log.display())),
        Ended::Late => Some(format!("`npm run {script}` was killed at the suite's limit")),
    };
    Ok(Check { name: format!("console: {name}"), failure })
}
