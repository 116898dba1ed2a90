//! The suite of the documents: every block of code in them is run, or says why it is not; how is written in `tests/snippets`.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::gateway;
use crate::process::{self, Ended};
use crate::report::{self, Check, Findings};
use crate::sdk;
use crate::suite::{self, Place};

/// How long all blocks may take together.
const LIMIT: Duration = Duration::from_secs(300);

/// Every block of every page, against the real binary and with unmodified SDKs.
pub(crate) fn all(place: Place<'_>) -> Result<Findings> {
    let binary = suite::build(place)?;
    let (google, openai) = sdk::newest_pythons(place)?;
    let node = sdk::newest_node(place)?;
    let client = place.root.join("clients/typescript");
    sdk::packages(place).npm_locked(&client)?;
    let mut build = Command::new("npm");
    build.args(["run", "--silent", "build"]).current_dir(&client);
    if process::run(&mut build, place.log, place.deadline)? != Ended::Well {
        bail!("the TypeScript client cannot be built, see `{}`", place.log.display());
    }

    let folder = gateway::folder(place.folder)?;
    let mut command = Command::new("python3");
    command.arg(place.root.join("tests/snippets/run.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("SUITE_ROOT", place.root).env("SUITE_BINARY", &binary).env("SUITE_FOLDER", folder.path());
    command.env("SUITE_NODE", node.join(sdk::NODE_22)).env("SUITE_NODE_MODULES", node.join("node_modules"));
    command.env("SUITE_PYTHON_GOOGLE", google).env("SUITE_PYTHON_OPENAI", openai);
    command.env("CARGO_TARGET_DIR", suite::target(place.root));
    let log = place.log.with_extension("blocks");
    let _ = std::fs::remove_file(&log);
    let ended = process::run(&mut command, &log, place.deadline.min(Instant::now() + LIMIT))?;
    let output = std::fs::read_to_string(&log).context("the blocks left no log")?;
    std::io::Write::write_all(&mut process::append(place.log)?, output.as_bytes()).context("cannot write the log")?;
    Ok(findings(&report::checks(&output, "documents"), ended))
}

/// All checks, and a failure of the whole if the script did not say what failed.
fn findings(checks: &[Check], ended: Ended) -> Findings {
    let failed = checks.iter().any(|check| check.failure.is_some());
    let failure = match ended {
        Ended::Well if checks.is_empty() => Some("no block was run".to_owned()),
        Ended::Late => Some("the blocks did not end in time".to_owned()),
        Ended::Badly(_) if !failed => Some("the script that runs the blocks crashed".to_owned()),
        Ended::Well | Ended::Badly(_) => None,
    };
    Findings { checks: checks.to_vec(), failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_runs_nothing_or_crashes_fails_the_suite() {
        let good = report::checks("ok README.md:1 sh keymoat serve", "documents");
        assert!(findings(&good, Ended::Well).passed());
        assert!(!findings(&[], Ended::Well).passed());
        assert!(!findings(&good, Ended::Badly(Some(1))).passed());
        assert!(!findings(&good, Ended::Late).passed());
    }
}
