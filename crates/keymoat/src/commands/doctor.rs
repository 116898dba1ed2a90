//! `keymoat doctor`: looks at everything that could be wrong with an installation.

use std::path::PathBuf;

use serde::Serialize;

use super::store_choice::{is_there, open_at};
use super::{Found, print, to_json};
use crate::config::{self, Chosen};
use crate::doctor::{self, Address, Finding, Outcome, Patient, table};
use crate::output::time::now;
use crate::sealed;

/// Looks at an installation: certificates, clock, store, keys in URLs, upstreams, logs, and the proxies in front.
///
/// Nothing is changed and no secret is shown. Each check has an id and a page in the documentation. Exit codes: 0 all
/// well, 1 something warns or fails, 2 it could not look.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration [default: keymoat.toml, if there is one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the running gateway is reached on this machine [default: what the configuration says].
    #[arg(long, value_name = "URL", value_parser = Address::parse)]
    gateway: Option<Address>,
    /// Where clients reach it, through the proxies in front.
    #[arg(long, value_name = "URL", value_parser = Address::parse)]
    through: Option<Address>,
    /// A PEM file with an authority to trust there.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where something in front writes about requests, such as a proxy's access log: a file, a pipe, or - for standard
    /// input; may be given more than once.
    #[arg(long = "log", value_name = "FILE")]
    logs: Vec<PathBuf>,
    /// Where what the gateway prints is caught: a file, a pipe, or - for standard input; may be given more than once.
    #[arg(long = "output", value_name = "FILE")]
    outputs: Vec<PathBuf>,
    /// Takes the place of the collector that `[telemetry] otlp` names, to see what it is sent: stop it meanwhile.
    #[arg(long)]
    collector: bool,
    /// Runs this check alone, such as D103; may be given more than once.
    #[arg(long, value_name = "ID", value_parser = id)]
    only: Vec<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    is_well: bool,
    checks: &'a [Finding],
}

/// Looks, and tells.
///
/// # Errors
/// A configuration that cannot be read, and everything that is not well.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut config = Chosen::new(arguments.config.as_deref(), None, None).read(&config::environment())?;
    let database = config.database.as_ref();
    let there = is_there(&config.store_dir, database);
    let store = there.then(|| open_at(&config.store_dir, database, &config.master_key));
    if let Some(Ok(store)) = &store {
        sealed::take(&mut config, store)?;
    }
    let configured = (config.data.port() != 0).then(|| Address::parse(&format!("http://{}", config.data)).ok());
    let gateway = arguments.gateway.clone().or(configured.flatten());
    let mut patient = Patient {
        config,
        store,
        gateway,
        through: arguments.through.clone(),
        ca: arguments.ca.clone(),
        logs: arguments.logs.clone(),
        outputs: arguments.outputs.clone(),
        stands_in_for_collector: arguments.collector,
        now: now(),
        asked: None,
        sent: None,
    };
    let findings = doctor::examine(&mut patient, &arguments.only);
    let ill = findings.iter().filter(|finding| finding.outcome > Outcome::Ok).count();
    let report = Report { is_well: ill == 0, checks: &findings };
    print(&if arguments.json { to_json(&report)? } else { text(&findings) })?;
    match ill {
        0 => Ok(()),
        ill => Err(Found(format!("{ill} of {} checks are not well", findings.len())).into()),
    }
}

fn text(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let word = match finding.outcome {
            Outcome::Skipped => "skipped",
            Outcome::Ok => "ok",
            Outcome::Warn => "warn",
            Outcome::Fail => "FAIL",
        };
        let next = finding.next.map_or_else(String::new, |next| format!("{:25}{}\n", "", plain(next)));
        // What is seen may come from outside, and a terminal would obey some characters.
        let seen: String = finding.seen.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        format!("{}  {word:<7}  {:<14} {seen}\n{next}", finding.id, finding.title)
    };
    findings.iter().map(line).collect()
}

/// The words of a remedy without their links, which lead from the page of the book.
fn plain(text: &str) -> String {
    text.replace("[In front of Keymoat](proxies.md)", "The page \"In front of Keymoat\"")
}

fn id(text: &str) -> Result<String, String> {
    let known = table::CHECKS.iter().any(|check| check.id.eq_ignore_ascii_case(text));
    known.then(|| text.to_owned()).ok_or_else(|| "write an id such as D103, from `keymoat doctor`".to_owned())
}
