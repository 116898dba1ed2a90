//! What the machine must have: asked for before it is needed, installed where that is our business, named where it is not.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{self, Ended};

/// The oldest Node that the npm packages take.
const NODE_MIN: (u32, u32) = (20, 19);
/// The oldest Python that the PyPI packages take.
const PYTHON_MIN: (u32, u32) = (3, 11);
/// How long an installation may take.
pub(crate) const APT_LIMIT: Duration = Duration::from_secs(600);
const CHROMIUM_NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A program or module that a suite cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// `cargo fmt`.
    Rustfmt,
    /// `cargo clippy`.
    Clippy,
    /// Node and npm.
    Node,
    /// Python with `venv` and `pip`.
    Python,
    /// A Chromium that runs without a display.
    Chromium,
    /// NSS's `certutil`, which fills the certificate store that Chromium reads.
    Certutil,
    /// curl, as the documents type it.
    Curl,
    /// The `openssl` command, which makes keys and certificates for the documents' configurations.
    Openssl,
    /// nginx, to stand in front and behind, and to measure beside.
    Nginx,
    /// Caddy, to stand in front.
    Caddy,
    /// HAProxy, to stand in front, also of many nodes.
    Haproxy,
    /// `strace`, which counts system calls and makes some fail.
    Strace,
    /// Valgrind, which counts instructions.
    Valgrind,
    /// ripgrep, to measure beside.
    Ripgrep,
    /// Zstandard, to measure beside.
    Zstd,
    /// PostgreSQL's server and tools, which tests start by themselves.
    Postgres,
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Rustfmt => process::output(Command::new("cargo").args(["fmt", "--version"])).is_some(),
            Self::Clippy => process::output(Command::new("cargo").args(["clippy", "--version"])).is_some(),
            Self::Node => has_node(),
            Self::Python => {
                version("python3").is_some_and(|found| found >= PYTHON_MIN)
                    && process::output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_some()
            }
            Self::Chromium => chromium().is_some(),
            Self::Certutil => find("certutil").is_some(),
            Self::Curl => find("curl").is_some(),
            Self::Openssl => find("openssl").is_some(),
            Self::Nginx => find("nginx").is_some(),
            Self::Caddy => find("caddy").is_some(),
            Self::Haproxy => find("haproxy").is_some() || Path::new("/usr/sbin/haproxy").exists(),
            Self::Strace => find("strace").is_some(),
            Self::Valgrind => find("valgrind").is_some(),
            Self::Ripgrep => find("rg").is_some(),
            Self::Zstd => find("zstd").is_some(),
            Self::Postgres => keymoat_postgres_stand::programs().is_some(),
        }
    }

    /// The rustup component that has it.
    fn component(self) -> Option<&'static str> {
        match self {
            Self::Rustfmt => Some("rustfmt"),
            Self::Clippy => Some("clippy"),
            _ => None,
        }
    }

    /// The Debian package that has it. Debian 12's Node is older than `NODE_MIN`: that one is a person's choice.
    fn debian_package(self) -> Option<&'static str> {
        match self {
            Self::Python => Some("python3-venv"),
            Self::Chromium => Some("chromium"),
            Self::Certutil => Some("libnss3-tools"),
            Self::Curl => Some("curl"),
            Self::Openssl => Some("openssl"),
            Self::Nginx => Some("nginx-light"),
            Self::Caddy => Some("caddy"),
            Self::Haproxy => Some("haproxy"),
            Self::Strace => Some("strace"),
            Self::Valgrind => Some("valgrind"),
            Self::Ripgrep => Some("ripgrep"),
            Self::Zstd => Some("zstd"),
            Self::Postgres => Some("postgresql"),
            Self::Rustfmt | Self::Clippy | Self::Node => None,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Rustfmt => "rustfmt (`rustup component add rustfmt`)",
            Self::Clippy => "clippy (`rustup component add clippy`)",
            Self::Node => "Node 20.19 or newer with npm (https://nodejs.org)",
            Self::Python => "Python 3.11 or newer with venv and pip",
            Self::Chromium => "Chromium or Chrome, in the PATH",
            Self::Certutil => "NSS's certutil",
            Self::Curl => "curl",
            Self::Openssl => "openssl",
            Self::Nginx => "nginx",
            Self::Caddy => "Caddy",
            Self::Haproxy => "HAProxy",
            Self::Strace => "strace",
            Self::Valgrind => "Valgrind",
            Self::Ripgrep => "ripgrep",
            Self::Zstd => "zstd",
            Self::Postgres => "PostgreSQL 15 or newer, with initdb, postgres, psql and pg_dump",
        }
    }
}

/// Installs what is missing of `needs`, saying what, or fails and names what a person has to install.
pub(crate) fn prepare(needs: &[Need], log: &Path) -> Result<()> {
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !need.is_met()).collect();
    let components: Vec<&str> = missing.iter().filter_map(|need| need.component()).collect();
    if !components.is_empty() && find("rustup").is_some() {
        println!("installs Rust components: {}", components.join(" "));
        let mut command = Command::new("rustup");
        run(command.args(["component", "add"]).args(&components), log)?;
    }
    let packages: Vec<&str> = missing.iter().filter_map(|need| need.debian_package()).collect();
    if !packages.is_empty() && Path::new("/etc/debian_version").exists() {
        println!("installs Debian packages: {}", packages.join(" "));
        authorise();
        // A broken list of some other repository is no reason to stop: the installation itself tells.
        let _ = run(apt().args(["update", "-qq"]), log);
        let installed = run(apt().args(["install", "-y", "--no-install-recommends"]).args(&packages), log);
        installed.with_context(|| format!("install by hand: apt-get install {}", packages.join(" ")))?;
    }
    let still: Vec<&str> = missing.into_iter().filter(|need| !need.is_met()).map(Need::advice).collect();
    ensure!(still.is_empty(), "missing on this machine: {}", still.join(", "));
    Ok(())
}

/// Whether the npm packages can be installed and run here.
pub(crate) fn has_node() -> bool {
    find("npm").is_some() && version("node").is_some_and(|found| found >= NODE_MIN)
}

/// The Chromium to test with.
pub(crate) fn chromium() -> Option<PathBuf> {
    CHROMIUM_NAMES.into_iter().find_map(find)
}

/// Where the program `name` is, as a shell would find it.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Lets a person type the password for `sudo` while they are looking.
fn authorise() {
    if !is_root() && std::io::stdin().is_terminal() {
        let _ = Command::new("sudo").arg("--validate").status();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn apt() -> Command {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else {
        // Bounded and in the background: it must not wait for a password here.
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn run(command: &mut Command, log: &Path) -> Result<()> {
    let shown = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = shown.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    match process::run(command, log, Instant::now() + APT_LIMIT).with_context(|| shown.clone())? {
        Ended::Well => Ok(()),
        Ended::Badly(_) => bail!("`{shown}` failed, see `{}`", log.display()),
        Ended::Late => bail!("`{shown}` took longer than {} s, see `{}`", APT_LIMIT.as_secs(), log.display()),
    }
}

/// The first two numbers of what `program --version` prints.
fn version(program: &str) -> Option<(u32, u32)> {
    parse_version(&process::output(Command::new(program).arg("--version"))?)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut numbers = digits.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_versions_that_node_and_python_print() {
        assert_eq!(parse_version("v20.19.5"), Some((20, 19)));
        assert_eq!(parse_version("Python 3.11.7"), Some((3, 11)));
        assert_eq!(parse_version("no number"), None);
    }

    #[test]
    fn a_newer_major_is_newer_whatever_its_minor() {
        assert!((22, 0) >= NODE_MIN);
        assert!((20, 18) < NODE_MIN);
    }
}
