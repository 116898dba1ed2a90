//! The suite that reads the Dockerfile and the compose file: hadolint has nothing to say about the one, and the other is what
//! the Compose specification's own schema asks for. Nothing is built.

use std::process::Command;

use anyhow::Result;

use crate::packages::Store;
use crate::process::{self, Ended};
use crate::report::Findings;
use crate::suite::Place;

/// The Dockerfile and the compose file.
pub(crate) fn lint(place: Place<'_>) -> Result<Findings> {
    let store = Store { folder: place.folder, log: place.log, deadline: place.deadline };
    let python = store.venv("hadolint", &place.root.join("tests/deploy/requirements.txt"))?;
    for (program, arguments, file) in [
        ("hadolint", &[][..], "deploy/docker/Dockerfile"),
        ("check-jsonschema", &["--builtin-schema", "vendor.compose-spec"], "deploy/compose/compose.yaml"),
    ] {
        let mut linter = Command::new(python.with_file_name(program));
        linter.args(arguments).arg(file).current_dir(place.root);
        match process::run(&mut linter, place.log, place.deadline)? {
            Ended::Well => {}
            Ended::Badly(_) => return Ok(Findings::failed(format!("`{program}` found something in {file}"))),
            Ended::Late => return Ok(Findings::failed(format!("`{program}` was killed at the suite's limit"))),
        }
    }
    Ok(Findings::clean())
}
