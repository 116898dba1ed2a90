//! The suites of `cargo xtask test`, cheap ones first, each with a limit, all of them within [`WHOLE_LIMIT`].

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::console;
use crate::container;
use crate::machine::{self, Need};
use crate::packages::Store;
use crate::process::{self, Ended};
use crate::report::{self, Findings};
use crate::{admin, sdk, snippets, typescript, web};

/// The whole run, installations and builds from an empty target folder included.
const WHOLE_LIMIT: Duration = Duration::from_secs(58 * 60);

/// [`console::FEATURE`], as cargo wants it for the whole workspace.
const FEATURE: &str = "keymoat/console";

/// One kind of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// The code is formatted.
    Fmt,
    /// Clippy finds nothing, in any target.
    Clippy,
    /// The API documentation has no warning.
    Docs,
    /// The Dockerfile passes its linter.
    Container,
    /// Unit, integration and documentation tests of every crate.
    Rust,
    /// The admin API does what its OpenAPI description says, by schemathesis.
    Admin,
    /// Google's and OpenAI's unmodified Python SDKs through the gateway.
    Python,
    /// Google's and OpenAI's unmodified JavaScript SDKs through the gateway, on Node.
    Node,
    /// A page in Chromium through the gateway.
    Browser,
    /// The web console: types, lint, unit tests, then a person's way through it in Chromium.
    Console,
    /// The TypeScript client: types, lint, tests, size, and every runtime through the gateway.
    Typescript,
    /// Every block of code in the documents, run against the real binary.
    Snippets,
}

/// What every suite is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The workspace.
    pub(crate) root: &'a Path,
    /// `target/suites`: packages, logs.
    pub(crate) folder: &'a Path,
    /// The log of this suite.
    pub(crate) log: &'a Path,
    /// When the suite has to be over.
    pub(crate) deadline: Instant,
}

impl Suite {
    /// How long it may take from an empty target folder on two cores.
    fn limit(self) -> Duration {
        let minutes = match self {
            Self::Fmt => 2,
            Self::Container => 5,
            Self::Clippy | Self::Docs => 15,
            Self::Rust => 30,
            Self::Admin => 10,
            Self::Python | Self::Node | Self::Browser | Self::Console | Self::Typescript | Self::Snippets => 15,
        };
        Duration::from_secs(minutes * 60)
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::Fmt => &[Need::Rustfmt],
            Self::Clippy => &[Need::Clippy, Need::Node],
            Self::Docs | Self::Node => &[Need::Node],
            Self::Rust => &[Need::Postgres, Need::Strace, Need::Nginx, Need::Caddy, Need::Haproxy, Need::Node],
            Self::Container => &[Need::Python],
            Self::Admin => &[Need::Python, Need::Node],
            Self::Python => &[Need::Python, Need::Node],
            Self::Browser => &[Need::Node, Need::Chromium, Need::Certutil],
            Self::Console | Self::Typescript => &[Need::Node, Need::Chromium],
            Self::Snippets => &[Need::Node, Need::Python, Need::Curl, Need::Openssl],
        }
    }

    fn run(self, place: Place<'_>) -> Result<Findings> {
        let cargo = |words: &[&str]| cargo(place, words);
        match self {
            Self::Fmt => cargo(&["fmt", "--all", "--check"]),
            Self::Clippy => with_console(
                place,
                &["clippy", "--workspace", "--all-targets", "--quiet", "--features", FEATURE, "--", "-D", "warnings"],
            ),
            Self::Docs => with_console(place, &["doc", "--workspace", "--no-deps", "--quiet", "--features", FEATURE]),
            Self::Rust => rust(place),
            Self::Container => container::lint(place),
            Self::Admin => admin::all(place),
            Self::Python => sdk::python(place),
            Self::Node => sdk::node(place),
            Self::Browser => sdk::browser(place),
            Self::Console => web::all(place),
            Self::Typescript => typescript::all(place),
            Self::Snippets => snippets::all(place),
        }
    }
}

/// Builds the console for a person; what its tools print goes into a log.
pub(crate) fn console(root: &Path) -> Result<ExitCode> {
    process::end_all_on_signal()?;
    let folder = target(root).join("suites");
    let log = folder.join("logs/console-build.log");
    std::fs::create_dir_all(folder.join("logs")).context("cannot make the folder of logs")?;
    machine::prepare(&[Need::Node], &log)?;
    let deadline = Instant::now() + Suite::Console.limit();
    console::build(root, Store { folder: &folder, log: &log, deadline })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the names of all suites and what they prove.
pub(crate) fn list() {
    for suite in Suite::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
        println!("{:<10} {}", suite.get_name(), suite.get_help().cloned().unwrap_or_default());
    }
}

/// Runs the suites `only`, or all of them if there is none, and prints what they found.
pub(crate) fn run(root: &Path, only: &[Suite]) -> Result<ExitCode> {
    process::end_all_on_signal()?;
    let end = Instant::now() + WHOLE_LIMIT;
    let folder = target(root).join("suites");
    let logs = folder.join("logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make `{}`", logs.display()))?;
    let all = Suite::value_variants().iter().copied();
    let suites: Vec<Suite> = all.filter(|suite| only.is_empty() || only.contains(suite)).collect();

    let mut failed = 0;
    for suite in &suites {
        let word = suite.to_possible_value().context("a suite without a name")?;
        let name = word.get_name();
        let log = logs.join(format!("{name}.log"));
        std::fs::write(&log, "").with_context(|| format!("cannot write `{}`", log.display()))?;
        report::running(name);
        let start = Instant::now();
        let place = Place { root, folder: &folder, log: &log, deadline: end.min(start + suite.limit()) };
        let findings = machine::prepare(suite.needs(), &log).and_then(|()| suite.run(place));
        let findings = findings.unwrap_or_else(|error| Findings::failed(format!("{error:#}")));
        report::ended(name, &findings, start.elapsed(), &log);
        failed += usize::from(!findings.passed());
    }
    println!("{} passed, {failed} failed", suites.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the binary as a suite needs it, and returns its path.
pub(crate) fn build(place: Place<'_>) -> Result<PathBuf> {
    let words = ["build", "--package", "keymoat", "--bin", "keymoat", "--features", console::FEATURE, "--quiet"];
    let findings = with_console(place, &words)?;
    if let Some(why) = findings.failure {
        anyhow::bail!(why);
    }
    Ok(target(place.root).join("debug/keymoat"))
}

/// Where cargo builds: what it told the process that it started, or the default.
pub(crate) fn target(root: &Path) -> PathBuf {
    let told = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    told.map_or_else(|| root.join("target"), |path| root.join(path))
}

/// All tests by nextest, or by cargo where nextest is not installed, then those in the documentation.
fn rust(place: Place<'_>) -> Result<Findings> {
    let nextest = machine::find("cargo-nextest").is_some();
    let words: &[&str] = if nextest {
        &["nextest", "run", "--workspace", "--no-fail-fast", "--cargo-quiet", "--no-tests=pass", "--features", FEATURE]
    } else {
        &["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast", "--quiet", "--features", FEATURE]
    };
    let tests = with_console(place, words)?;
    if !tests.passed() {
        return Ok(tests);
    }
    cargo(place, &["test", "--workspace", "--doc", "--quiet", "--features", FEATURE])
}

/// Runs cargo on a binary that has the console in it.
fn with_console(place: Place<'_>, words: &[&str]) -> Result<Findings> {
    console::build(place.root, Store { folder: place.folder, log: place.log, deadline: place.deadline })?;
    cargo(place, words)
}

/// Runs cargo at the top of the workspace.
pub(crate) fn cargo(place: Place<'_>, words: &[&str]) -> Result<Findings> {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(place.root).env("RUSTDOCFLAGS", "-D warnings");
    let shown = format!("cargo {}", words.first().copied().unwrap_or_default());
    Ok(match process::run(&mut command, place.log, place.deadline)? {
        Ended::Well => Findings::clean(),
        Ended::Badly(_) => Findings::failed(format!("`{shown}` failed")),
        Ended::Late => Findings::failed(format!("`{shown}` was killed at the suite's limit")),
    })
}
