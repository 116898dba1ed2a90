//! The suite that reads the Dockerfile: hadolint has nothing to say about it. Nothing is built.

use std::process::Command;

use anyhow::Result;

use crate::packages::Store;
use crate::process::{self, Ended};
use crate::report::Findings;
use crate::suite::Place;

/// Lints the Dockerfile.
pub(crate) fn lint(place: Place<'_>) -> Result<Findings> {
    let store = Store { folder: place.folder, log: place.log, deadline: place.deadline };
    let python = store.venv("hadolint", &place.root.join("tests/deploy/requirements.txt"))?;
    let mut hadolint = Command::new(python.with_file_name("hadolint"));
    hadolint.arg("deploy/docker/Dockerfile").current_dir(place.root);
    Ok(match process::run(&mut hadolint, place.log, place.deadline)? {
        Ended::Well => Findings::clean(),
        Ended::Badly(_) => Findings::failed("`hadolint` found something in deploy/docker/Dockerfile"),
        Ended::Late => Findings::failed("`hadolint` was killed at the suite's limit"),
    })
}
