//! The suite of the TypeScript client: its own checks, then the packed package on every runtime against the real binary.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::gateway::{self, Gateway};
use crate::machine;
use crate::process::{self, Ended};
use crate::report::{Check, Findings};
use crate::sdk;
use crate::suite::{self, Place};

/// What `package.json` runs, and what that shows.
const SCRIPTS: [(&str, &str); 3] = [
    ("typecheck", "the types are right"),
    ("lint", "the linter finds nothing, and all is formatted"),
    ("test", "the unit tests pass, the README runs, and the core is small"),
];

/// Everything about `clients/typescript`.
pub(crate) fn all(place: Place<'_>) -> Result<Findings> {
    let client = place.root.join("clients/typescript");
    let runtimes = client.join("tests/runtimes");
    for folder in [&client, &runtimes] {
        sdk::packages(place).npm_locked(folder)?;
    }
    let mut findings = Findings::clean();
    for (script, name) in SCRIPTS {
        findings.checks.push(check(place, &client, script, name)?);
    }
    let chromium = machine::chromium().context("there is no Chromium")?;
    let binary = suite::build(place)?;
    let gateway = Gateway::unconfigured(&binary, place.folder)?;
    // Apart from the gateway's own files: a browser may well remember where it was.
    let folder = gateway::folder(place.folder)?;
    let mut command = Command::new("node");
    command.arg("run.mjs").current_dir(&runtimes);
    command.env("SUITE_CA_FILE", &gateway.ca_file).env("SUITE_CHROMIUM", chromium).env("SUITE_FOLDER", folder.path());
    // The scripts of the admin listener start one each.
    command.env("SUITE_BINARY", &binary);
    sdk::client(place, gateway, &mut command, "client", &mut findings)?;
    Ok(findings)
}

fn check(place: Place<'_>, client: &Path, script: &str, name: &str) -> Result<Check> {
    let mut command = Command::new("npm");
    command.args(["run", "--silent", script]).current_dir(client);
    let failure = match process::run(&mut command, place.log, place.deadline)? {
        Ended::Well => None,
        Ended::Badly(_) => Some(format!("`npm run {script}` failed, see `{}`", place.log.display())),
        Ended::Late => Some(format!("`npm run {script}` was killed at the suite's limit")),
    };
    Ok(Check { name: format!("client: {name}"), failure })
}
