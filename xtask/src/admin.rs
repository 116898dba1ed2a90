//! The suite that asks the admin API of the real binary what its own description allows, and what it does not: schemathesis
//! finds nothing. Once with an admin key, and once each for the two operations that let somebody in who has none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::canary::Canary;
use crate::gateway::{self, folder};
use crate::packages::Store;
use crate::process::{self, Ended, Running};
use crate::ready;
use crate::report::{Check, Findings};
use crate::suite::{self, Place};

/// The same cases on every run, so that a failure can be repeated.
const SEED: &str = "20261122";
/// How long schemathesis may take in one round.
const LIMIT: Duration = Duration::from_secs(150);

/// What lets people in: a round of its own for each, with a gateway of its own, because guesses are slowed down.
const OPEN: [&str; 2] = ["/api/v1/sign-in", "/api/v1/claim"];
/// The person who signs in, made up for the suite.
const PASSWORD: &str = "canary-of-the-suite-Zk7Qw2Lr9TnXb4Vm";

/// What every round needs.
struct Tools<'a> {
    place: Place<'a>,
    binary: PathBuf,
    scripts: PathBuf,
    schemathesis: PathBuf,
    /// The description as the book has it.
    description: PathBuf,
}

/// A gateway on its first run.
struct Stand {
    gateway: Running,
    url: String,
    folder: TempDir,
}

/// Runs schemathesis against first runs.
pub(crate) fn all(place: Place<'_>) -> Result<Findings> {
    let scripts = place.root.join("tests/admin");
    let store = Store { folder: place.folder, log: place.log, deadline: place.deadline };
    let python = store.venv("schemathesis", &scripts.join("requirements.txt"))?;
    let tools = Tools {
        place,
        binary: suite::build(place)?,
        scripts,
        schemathesis: python.with_file_name("schemathesis"),
        description: place.root.join("docs/src/openapi.json"),
    };
    Ok(Findings { checks: [tools.with_key()?, tools.sign_in()?, tools.claim()?].concat(), failure: None })
}

impl Tools<'_> {
    /// Everything that needs a credential, the beginning of the event stream too.
    fn with_key(&self) -> Result<Vec<Check>> {
        let folder = folder(self.place.folder)?;
        let key = self.told(folder.path(), &["admin", "create", "suite", "--role", "admin"])?;
        let mut stand = self.serve(folder)?;
        let mut command = self.schemathesis(&stand, "schemathesis.toml");
        command.args(["--max-examples", "10", "--workers", "2"]);
        for path in OPEN {
            command.args(["--exclude-path", path]);
        }
        // In the environment, so that it stands in no list of processes.
        command.env("KEYMOAT_ADMIN_KEY", &key);
        let run = self.run(&mut command)?;
        let kept = self.nowhere(&mut stand, &Canary::new("the admin key", &key), &[])?;
        Ok(vec![check("with an admin key", run), check("with an admin key, no credential is kept", kept)])
    }

    fn sign_in(&self) -> Result<Vec<Check>> {
        let folder = folder(self.place.folder)?;
        let file = folder.path().join("password");
        gateway::write_private(&file, PASSWORD.as_bytes())?;
        self.told(folder.path(), &["admin", "create", "ada", "--role", "admin", "--password-file", "password"])?;
        let mut stand = self.serve(folder)?;
        let run = self.open(&stand, OPEN[0], &[("SUITE_PASSWORD", PASSWORD)])?;
        let done = self.happened(&stand, "admin.signed_in")?;
        let kept = self.nowhere(&mut stand, &Canary::new("the password", PASSWORD), &[&file])?;
        Ok(vec![
            check("signing in", run),
            check("somebody did sign in", done),
            check("signing in, no credential is kept", kept),
        ])
    }

    fn claim(&self) -> Result<Vec<Check>> {
        let mut stand = self.serve(folder(self.place.folder)?)?;
        let link = self.told(stand.folder.path(), &["admin", "claim"])?;
        let claim = link.split_once("#claim=").context("`keymoat admin claim` prints no link")?.1.trim();
        let run = self.open(&stand, OPEN[1], &[("SUITE_CLAIM", claim), ("SUITE_PASSWORD", PASSWORD)])?;
        let done = self.happened(&stand, "admin.claimed")?;
        let kept = self.nowhere(&mut stand, &Canary::new("the claim", claim), &[])?;
        Ok(vec![
            check("claiming", run),
            check("somebody did claim", done),
            check("claiming, no credential is kept", kept),
        ])
    }

    /// What is well-formed first, before guesses are slowed down; then what is not.
    fn open(&self, stand: &Stand, path: &str, right: &[(&str, &str)]) -> Result<Option<String>> {
        for mode in ["positive", "negative"] {
            let mut command = self.schemathesis(stand, "open.toml");
            command.args(["--include-path", path, "--mode", mode, "--max-examples", "20", "--workers", "1"]);
            command.env("SCHEMATHESIS_HOOKS", self.scripts.join("hooks.py")).envs(right.iter().copied());
            if let Some(failure) = self.run(&mut command)? {
                return Ok(Some(failure));
            }
        }
        Ok(None)
    }

    fn schemathesis(&self, stand: &Stand, config: &str) -> Command {
        let mut command = Command::new(&self.schemathesis);
        command.arg("--config-file").arg(self.scripts.join(config)).arg("run").arg(&self.description);
        command.args(["--url", &stand.url, "--seed", SEED, "--no-color"]).current_dir(stand.folder.path());
        command
    }

    fn run(&self, command: &mut Command) -> Result<Option<String>> {
        let deadline = self.place.deadline.min(Instant::now() + LIMIT);
        Ok(match process::run(command, self.place.log, deadline)? {
            Ended::Well => None,
            Ended::Badly(_) => Some(format!("`schemathesis` found something, see `{}`", self.place.log.display())),
            Ended::Late => Some("`schemathesis` was killed at its limit".to_owned()),
        })
    }

    fn serve(&self, folder: TempDir) -> Result<Stand> {
        let mut serve = Command::new(&self.binary);
        serve.args(["serve", "--json", "--listen", "127.0.0.1:0"]);
        let (gateway, ready) = ready::start(&mut serve, folder.path(), "gateway")?;
        Ok(Stand { gateway, url: ready::text(&ready, "admin")?, folder })
    }

    /// What a command of the binary prints.
    fn told(&self, folder: &Path, words: &[&str]) -> Result<String> {
        let printed = process::output(Command::new(&self.binary).args(words).current_dir(folder));
        Ok(printed.with_context(|| format!("`keymoat {}` failed", words.join(" ")))?.trim().to_owned())
    }

    /// What is wrong if no event tells that this was done.
    fn happened(&self, stand: &Stand, action: &str) -> Result<Option<String>> {
        let events = self.told(stand.folder.path(), &["audit", "tail", "--json", "--type", action])?;
        Ok(events.is_empty().then(|| format!("there is no event `{action}`")))
    }

    /// What is wrong if the gateway printed or kept the credential; it is ended.
    fn nowhere(&self, stand: &mut Stand, canary: &Canary, allowed: &[&Path]) -> Result<Option<String>> {
        ensure!(stand.gateway.end(), "the gateway did not end in order");
        let files = canary.files(stand.folder.path(), allowed)?;
        Ok((!files.is_empty()).then(|| format!("{} stands in {}", canary.name(), files.join(", "))))
    }
}

fn check(name: &str, failure: Option<String>) -> Check {
    Check { name: format!("schemathesis: {name}"), failure }
}
