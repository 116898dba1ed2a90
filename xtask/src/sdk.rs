//! The suites that drive the real binary with unmodified SDKs and a real browser; what they do is written in `tests/sdk`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::gateway::{self, Gateway, WRONG_KEY};
use crate::machine;
use crate::packages::Store;
use crate::process::{self, Ended};
use crate::report::{self, Check, Findings};
use crate::scan::{self, Expected};
use crate::suite::{self, Place};

/// The releases of google-genai: the newest, one of 2.x, and an old one that puts the Music key into the URL.
const PYTHON_RELEASES: [&str; 3] = ["3.4.0", "2.8.0", "1.60.0"];
/// The release of google-genai that was the first to send Live Music's key in the header only; looked at, not run.
const FIRST_WITHOUT_MUSIC_IN_URL: &str = "2.9.0";
/// The releases of openai for Python: the newest, and one that still speaks Realtime's beta.
const OPENAI_PYTHON_RELEASES: [&str; 2] = ["3.54.0", "1.109.1"];
/// Node to run npm packages on: the machine's, and one that some packages bring along because they need it.
const NODES: [(&str, Option<&str>); 2] = [("node20", None), ("node22", Some(NODE_22))];
/// Node 22 below the folder that its package was installed in.
pub(crate) const NODE_22: &str = "node_modules/node/bin/node";
/// Where the scripts of each SDK are, and the names of its packages.
const GOOGLE_PYTHON: (&str, &str) = ("tests/sdk/python", "google-genai");
const OPENAI_PYTHON: (&str, &str) = ("tests/sdk/openai", "openai");
const GOOGLE_NODE: (&str, &str) = ("tests/sdk/node", "@google/genai");
const OPENAI_NODE: (&str, &str) = ("tests/sdk/openai", "openai");
/// How long the script of one release may take.
const SCRIPT_LIMIT: Duration = Duration::from_secs(240);

/// Google's and OpenAI's Python SDKs in every release that matters.
pub(crate) fn python(place: Place<'_>) -> Result<Findings> {
    let binary = suite::build(place)?;
    let mut findings = Findings::clean();
    let google = PYTHON_RELEASES.map(|release| (GOOGLE_PYTHON, release));
    let openai = OPENAI_PYTHON_RELEASES.map(|release| (OPENAI_PYTHON, release));
    for (sdk, release) in google.into_iter().chain(openai) {
        let (scripts, package) = (place.root.join(sdk.0), sdk.1);
        let python = python_with(place, sdk, release)?;
        if sdk == GOOGLE_PYTHON {
            let newest = release == PYTHON_RELEASES[0];
            let expected = if newest { Expected::Nothing } else { Expected::MusicNamed };
            let code = scan::live_music(&python)?;
            let name = format!("{package} {release}");
            findings.checks.push(scan::check(place, &binary, &name, &code, expected)?);
            if newest {
                let first = FIRST_WITHOUT_MUSIC_IN_URL;
                let requirements = scripts.join(format!("requirements-{first}.txt"));
                let folder = packages(place).unpacked(&python, &format!("{package}-{first}"), &requirements)?;
                let code = scan::live_music_unpacked(&folder)?;
                let name = format!("{package} {first}");
                findings.checks.push(scan::check(place, &binary, &name, &code, Expected::Nothing)?);
            }
        }
        let gateway = Gateway::configured(&binary, place.folder)?;
        let mut command = Command::new(python);
        command.arg(scripts.join("sdk.py")).env("PYTHONPATH", place.root.join("tests/sdk"));
        command.env("SSL_CERT_FILE", &gateway.ca_file).env_remove("SSL_CERT_DIR");
        client(place, gateway, &mut command, &format!("{package} {release}"), &mut findings)?;
    }
    Ok(findings)
}

/// Google's and OpenAI's JavaScript SDKs: 2.x and 6.x on the machine's Node, 3.x and 7.x on Node 22.
pub(crate) fn node(place: Place<'_>) -> Result<Findings> {
    let binary = suite::build(place)?;
    let mut findings = Findings::clean();
    for sdk in [GOOGLE_NODE, OPENAI_NODE] {
        let (scripts, package) = (place.root.join(sdk.0), sdk.1);
        for (name, node) in NODES {
            let folder = node_with(place, sdk, name)?;
            if sdk == GOOGLE_NODE {
                let (code, name) = (scan::genai_on_node(&folder), format!("{package} on {name}"));
                findings.checks.push(scan::check(place, &binary, &name, &code, Expected::MusicNamed)?);
            }
            let script = sdk_beside(&folder, &scripts, "sdk.mjs")?;
            let node = node.map_or("node".into(), |path| folder.join(path));
            let gateway = Gateway::configured(&binary, place.folder)?;
            let mut command = Command::new(node);
            command.arg(script).env("NODE_EXTRA_CA_CERTS", &gateway.ca_file);
            client(place, gateway, &mut command, &format!("{package} on {name}"), &mut findings)?;
        }
    }
    Ok(findings)
}

/// Pythons with the newest releases of Google's SDK and of OpenAI's.
pub(crate) fn newest_pythons(place: Place<'_>) -> Result<(PathBuf, PathBuf)> {
    let google = python_with(place, GOOGLE_PYTHON, PYTHON_RELEASES[0])?;
    Ok((google, python_with(place, OPENAI_PYTHON, OPENAI_PYTHON_RELEASES[0])?))
}

/// The folder with Node 22 and the newest release of Google's SDK.
pub(crate) fn newest_node(place: Place<'_>) -> Result<PathBuf> {
    node_with(place, GOOGLE_NODE, "node22")
}

/// The Python of an environment with one release of `sdk`.
fn python_with(place: Place<'_>, sdk: (&str, &str), release: &str) -> Result<PathBuf> {
    let requirements = place.root.join(sdk.0).join(format!("requirements-{release}.txt"));
    let environment = if sdk == OPENAI_PYTHON { format!("openai-{release}") } else { release.to_owned() };
    packages(place).venv(&environment, &requirements)
}

/// The folder with the release of `sdk` for one Node.
fn node_with(place: Place<'_>, sdk: (&str, &str), node: &str) -> Result<PathBuf> {
    let installed = if sdk == OPENAI_NODE { format!("openai-{node}") } else { node.to_owned() };
    packages(place).npm(&installed, &place.root.join(sdk.0).join(node).join("package.json"))
}

/// A page in Chromium, in front of a gateway that is configured and of one that is not.
pub(crate) fn browser(place: Place<'_>) -> Result<Findings> {
    let scripts = place.root.join("tests/sdk/browser");
    let chromium = machine::chromium().context("there is no Chromium")?;
    let folder = packages(place).npm("browser", &scripts.join("package.json"))?;
    let script = sdk_beside(&folder, &scripts, "page.mjs")?;
    let binary = suite::build(place)?;
    let mut findings = Findings::clean();
    for (gateway, name) in [
        (Gateway::configured(&binary, place.folder)?, "configured"),
        (Gateway::unconfigured(&binary, place.folder)?, "built-in"),
    ] {
        // Apart from the gateway's own files: a browser may well remember where it was.
        let home = gateway::folder(place.folder)?;
        let home = home.path();
        trust(home, &gateway.ca_file, place)?;
        let mut command = Command::new("node");
        command.arg(&script).env("SUITE_CHROMIUM", &chromium).env("SUITE_FOLDER", home).env("HOME", home);
        client(place, gateway, &mut command, &format!("Chromium, {name}"), &mut findings)?;
    }
    Ok(findings)
}

/// Runs one client against `gateway`, ends the gateway, and adds what both showed to `findings`.
pub(crate) fn client(
    place: Place<'_>,
    mut gateway: Gateway,
    command: &mut Command,
    name: &str,
    findings: &mut Findings,
) -> Result<()> {
    command.env("SUITE_PLAIN", &gateway.plain).env("SUITE_TLS", &gateway.tls);
    command.env("SUITE_WATCHED_TLS", format!("{}/watched", gateway.tls.trim_end_matches('/')));
    command.env("SUITE_KEY_FILE", &gateway.key_file).env("SUITE_WRONG_KEY", WRONG_KEY);
    command.env("SUITE_TOKENS_FILE", gateway.tokens_file());
    for variable in [
        "GOOGLE_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_GEMINI_BASE_URL",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(variable).env_remove(variable.to_ascii_lowercase());
    }
    let (mut checks, output) = run(place, command, name)?;
    checks.extend(gateway.end(&output, name)?);
    if failed(&checks) {
        let slug = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        gateway.keep(&place.log.with_file_name(slug));
    }
    findings.checks.append(&mut checks);
    Ok(())
}

/// Runs one script that starts what it needs by itself, and adds what it showed to `findings`.
pub(crate) fn script(place: Place<'_>, command: &mut Command, name: &str, findings: &mut Findings) -> Result<()> {
    let (mut checks, _) = run(place, command, name)?;
    findings.checks.append(&mut checks);
    Ok(())
}

fn run(place: Place<'_>, command: &mut Command, name: &str) -> Result<(Vec<Check>, String)> {
    let log = place.log.with_extension("client");
    let _ = fs::remove_file(&log);
    let ended = process::run(command, &log, place.deadline.min(Instant::now() + SCRIPT_LIMIT));
    let output = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    std::io::Write::write_all(&mut process::append(place.log)?, output.as_bytes()).context("cannot write the log")?;
    let mut checks = report::checks(&output, name);
    let crash = match ended? {
        Ended::Late => Some("did not end in time"),
        Ended::Badly(_) if !failed(&checks) => Some("crashed"),
        Ended::Well if checks.is_empty() => Some("tried nothing"),
        Ended::Well | Ended::Badly(_) => None,
    };
    if let Some(how) = crash {
        checks.push(Check { name: format!("{name}: the client runs to its end"), failure: Some(format!("it {how}")) });
    }
    Ok((checks, output))
}

fn failed(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.failure.is_some())
}

/// Makes Chromium, run with this `home`, trust the gateway's own authority, as a person's certificate store does.
fn trust(home: &Path, ca_file: &Path, place: Place<'_>) -> Result<()> {
    let store = home.join(".pki/nssdb");
    fs::create_dir_all(&store).context("cannot make a certificate store")?;
    let store = format!("sql:{}", store.display());
    let mut create = Command::new("certutil");
    create.args(["-d", &store, "-N", "--empty-password"]);
    let mut add = Command::new("certutil");
    add.args(["-d", &store, "-A", "-t", "C,,", "-n", "keymoat", "-i"]).arg(ca_file);
    for command in [&mut create, &mut add] {
        let ended = process::run(command, place.log, place.deadline)?;
        ensure!(ended == Ended::Well, "`certutil` could not make a certificate store");
    }
    Ok(())
}

/// Copies every script of `scripts`, and what the suites of SDKs share, into `folder`, and gives the place of `main`, which
/// uses the others.
fn sdk_beside(folder: &Path, scripts: &Path, main: &str) -> Result<PathBuf> {
    beside(folder, &scripts.parent().context("the scripts are in no folder")?.join("checks.mjs"))?;
    all_beside(folder, scripts, main)
}

/// Copies every script of `scripts` into `folder`, and gives the place of `main`, which uses the others.
pub(crate) fn all_beside(folder: &Path, scripts: &Path, main: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(scripts).with_context(|| format!("cannot list `{}`", scripts.display()))? {
        let path = entry.with_context(|| format!("cannot list `{}`", scripts.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            beside(folder, &path)?;
        }
    }
    Ok(folder.join(main))
}

/// Copies `script` into `folder`, because Node looks for packages beside a script.
fn beside(folder: &Path, script: &Path) -> Result<PathBuf> {
    let copy = folder.join(script.file_name().context("a script has a name")?);
    fs::copy(script, &copy).with_context(|| format!("cannot copy `{}`", script.display()))?;
    Ok(copy)
}

/// Where the packages of a suite are installed.
pub(crate) fn packages(place: Place<'_>) -> Store<'_> {
    Store { folder: place.folder, log: place.log, deadline: place.deadline }
}
