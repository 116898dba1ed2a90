//! The real `keymoat` binary for a suite: an emulated API with a record, the gateway in front of it, and what they leave behind.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::canary::Canary;
use crate::emulator::{Emulator, crossed, misplaced};
use crate::process::{self, Running};
use crate::ready;
use crate::report::Check;

/// The real key of the emulated APIs, made up for the tests. It may be in upstream headers and nowhere else.
const UPSTREAM_KEY: &str = "AIzaTestsOnly-UpstreamCanary0UpstreamCanary0Upstream";
/// A well-formed key that no gateway ever issued.
pub(crate) const WRONG_KEY: &str = "km_TestVector0TestVector0TestVector0TestVector02cu8n";

/// Routes as people write them; `watched` is the same API where the URL may still carry a key.
const CONFIGURATION: &str = r#"
[upstream.gemini]
preset = "gemini"
url = "EMULATOR"
secret = "${file:SECRET}"

[upstream.openai]
preset = "openai"
url = "EMULATOR"
secret = "${file:SECRET}"

[upstream.events]
url = "EMULATOR"
secret = "${file:SECRET}"
inject = "header:X-API-Key"

[route.gemini]
upstream = "gemini"

[route.watched]
upstream = "gemini"
prefix = "/watched"
query = "warn"

[route.openai]
upstream = "openai"

[route.openai_below]
upstream = "openai"
prefix = "/openai"

[route.events]
upstream = "events"
paths = ["/api/*", "/ws/events"]
lone_subprotocol = "echo"
"#;

/// A gateway with everything around it, in a folder of its own; dropping it ends and removes all.
#[derive(Debug)]
pub(crate) struct Gateway {
    folder: TempDir,
    gateway: Running,
    emulator: Option<Emulator>,
    /// The base URL in plain text.
    pub(crate) plain: String,
    /// The base URL with TLS.
    pub(crate) tls: String,
    /// The authority that a client has to trust.
    pub(crate) ca_file: PathBuf,
    /// The client's key.
    pub(crate) key_file: PathBuf,
}

impl Gateway {
    /// Starts an emulator that records, and a gateway that is configured for it and knows one key, in a folder of their own in `place`.
    pub(crate) fn configured(binary: &Path, place: &Path) -> Result<Self> {
        let folder = folder(place)?;
        let secret = folder.path().join("upstream.key");
        write_private(&secret, UPSTREAM_KEY.as_bytes())?;
        let emulator = Emulator::start(binary, folder.path(), &secret)?;

        let configuration = folder.path().join("keymoat.toml");
        let written = CONFIGURATION.replace("EMULATOR", &emulator.url).replace("SECRET", &secret.to_string_lossy());
        fs::write(&configuration, written).context("cannot write the configuration")?;
        let mut create = Command::new(binary);
        create.args(["key", "create", "suite", "--config"]).arg(&configuration);
        let key = process::output(&mut create).context("`keymoat key create` failed")?;
        let key_file = folder.path().join("client.key");
        write_private(&key_file, key.as_bytes())?;

        let mut serve = serve(binary);
        serve.arg("--config").arg(&configuration);
        let (gateway, ready) = ready::start(&mut serve, folder.path(), "gateway")?;
        Self::of(gateway, &ready, key_file, Some(emulator), folder)
    }

    /// Starts a gateway as someone does who has only the binary: no configuration at all, and an empty folder.
    pub(crate) fn unconfigured(binary: &Path, place: &Path) -> Result<Self> {
        let folder = folder(place)?;
        let (gateway, ready) = ready::start(&mut serve(binary), folder.path(), "gateway")?;
        let key_file = ready::text(&ready, "demo_key_file")?.into();
        Self::of(gateway, &ready, key_file, None, folder)
    }

    /// The file in which a client notes the tokens that it minted.
    pub(crate) fn tokens_file(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    /// The tokens that a client noted.
    fn tokens(&self) -> Vec<Canary> {
        let noted = fs::read_to_string(self.tokens_file()).unwrap_or_default();
        noted.lines().map(|token| Canary::new("a token", token)).collect()
    }

    fn of(
        gateway: Running,
        ready: &Value,
        key_file: PathBuf,
        emulator: Option<Emulator>,
        folder: TempDir,
    ) -> Result<Self> {
        let (plain, tls) = (ready::text(ready, "gateway")?, ready::text(ready, "gateway_tls")?);
        let ca_file = ready::text(ready, "ca_file")?.into();
        Ok(Self { folder, gateway, emulator, plain, tls, ca_file, key_file })
    }

    /// Ends everything, and tells what was found in what it left behind; `output` is what the clients printed.
    pub(crate) fn end(&mut self, output: &str, place: &str) -> Result<Vec<Check>> {
        let key = fs::read_to_string(&self.key_file).context("cannot read the client's key")?;
        let key = Canary::new("the client's key", key.trim());
        let wrong = Canary::new("a wrong key", WRONG_KEY);
        let upstream = Canary::new("the real key", UPSTREAM_KEY);
        let record = self.emulator.as_ref().map(Emulator::record).transpose()?;

        // Twice, because what a database's journal held is gone after an orderly end.
        let tokens = self.tokens();
        let clients: Vec<&Canary> = [&key, &wrong].into_iter().chain(&tokens).collect();
        let all: Vec<&Canary> = clients.iter().copied().chain([&upstream]).collect();
        let mut leaks = self.leaks(&all)?;
        let ended = self.gateway.end();
        if let Some(emulator) = &mut self.emulator {
            emulator.end();
        }
        leaks.extend(self.leaks(&all)?);
        if upstream.is_in(output.as_bytes()) {
            leaks.push(format!("{} in what a client was told", upstream.name()));
        }
        leaks.sort();
        leaks.dedup();

        let unordered = (!ended).then(|| "it had to be killed, or its exit code was not 0".to_owned());
        let mut checks = vec![
            check(place, "the gateway ends in order", unordered),
            check(place, "no credential in its output or its files", leaks),
        ];
        if self.emulator.is_none() {
            let mode =
                fs::metadata(&self.key_file).context("cannot look at the demo key")?.permissions().mode() & 0o777;
            let open = (mode & 0o077 != 0).then(|| format!("its mode is {mode:o}"));
            checks.push(check(place, "the demo key is for its owner alone", open));
        }
        if let Some(record) = record {
            let (crossed, misplaced) = (crossed(&record, &clients), misplaced(&record, &upstream)?);
            checks.push(check(place, "no client's key went upstream", crossed));
            checks.push(check(place, "the real key went upstream in its header alone", misplaced));
        }
        Ok(checks)
    }

    /// Keeps what was printed in files that start with `path`, for a person to read.
    pub(crate) fn keep(&self, path: &Path) {
        for name in ["gateway.stdout", "gateway.stderr", "emulator.stdout", "emulator.stderr"] {
            let _ = fs::copy(self.folder.path().join(name), path.with_extension(name));
        }
    }

    fn leaks(&self, canaries: &[&Canary]) -> Result<Vec<String>> {
        let secret = self.folder.path().join("upstream.key");
        let mut leaks = Vec::new();
        for canary in canaries {
            let files = canary.files(self.folder.path(), &[&self.key_file, &secret, &self.tokens_file()])?;
            leaks.extend(files.into_iter().map(|file| format!("{} in `{file}`", canary.name())));
        }
        Ok(leaks)
    }
}

fn check(place: &str, name: &str, problems: impl IntoIterator<Item = String>) -> Check {
    let problems: Vec<String> = problems.into_iter().collect();
    let failure = (!problems.is_empty()).then(|| problems.join("; "));
    Check { name: format!("{place}: {name}"), failure }
}

fn serve(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(["serve", "--json", "--listen", "127.0.0.1:0"]);
    command
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let file = File::options().create_new(true).write(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(content));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// A folder in `place` that ends with the value.
pub(crate) fn folder(place: &Path) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(place);
    folder.with_context(|| format!("cannot make a folder in `{}`", place.display()))
}
