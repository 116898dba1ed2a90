//! Looks at an installation from inside and from outside, and says what is not well and what to do.

mod canary;
mod front;
mod local;
mod nodes;
pub(crate) mod table;
mod wire;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use keymoat_core::UnixMillis;
use keymoat_store::Store;
use serde::Serialize;

use self::table::Check;
use crate::config::Config;

pub(crate) use self::canary::{NotSent, Sent};
pub(crate) use self::front::AskedUpstream;
pub(crate) use self::wire::Address;

/// How a check ended, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// There was nothing to look at.
    Skipped,
    /// All is well.
    Ok,
    /// It works, but should not stay so.
    Warn,
    /// It does not work, or shows a key.
    Fail,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// The check's id.
    pub(crate) id: &'static str,
    /// What it is about.
    pub(crate) title: &'static str,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// What was seen.
    pub(crate) seen: String,
    /// What to do, where something is not well.
    pub(crate) next: Option<&'static str>,
}

impl Finding {
    fn new(check: &Check, outcome: Outcome, seen: impl Into<String>) -> Self {
        let next = (outcome > Outcome::Ok).then_some(check.remedy);
        Self { id: check.id, title: check.title, outcome, seen: seen.into(), next }
    }
}

/// What is looked at.
pub(crate) struct Patient {
    /// What is configured, secrets of upstreams taken from the store.
    pub(crate) config: Config,
    /// The store, or why it does not open; `None` where there is none yet.
    pub(crate) store: Option<anyhow::Result<Store>>,
    /// Where the gateway is reached from the machine.
    pub(crate) gateway: Option<Address>,
    /// Where it is reached from outside.
    pub(crate) through: Option<Address>,
    /// An authority that is trusted there, beside the machine's own.
    pub(crate) ca: Option<PathBuf>,
    /// Where something in front writes about requests: files, pipes, or `-`.
    pub(crate) logs: Vec<PathBuf>,
    /// Where what the gateway prints is caught: files, pipes, or `-`.
    pub(crate) outputs: Vec<PathBuf>,
    /// Whether to take the place of the collector that the configuration names.
    pub(crate) stands_in_for_collector: bool,
    /// The time.
    pub(crate) now: UnixMillis,
    /// What the upstreams answered, once they were asked.
    pub(crate) asked: Option<Vec<AskedUpstream>>,
    /// The canaries, once they were sent.
    pub(crate) sent: Option<Result<Rc<Sent>, NotSent>>,
}

impl Patient {
    fn store(&self) -> Option<&Store> {
        self.store.as_ref()?.as_ref().ok()
    }

    fn store_dir(&self) -> &Path {
        &self.config.store_dir
    }
}

/// Runs the checks that are asked for, all of them where `only` is empty, in their order.
pub(crate) fn examine(patient: &mut Patient, only: &[String]) -> Vec<Finding> {
    let wanted = |check: &Check| only.is_empty() || only.iter().any(|id| id.eq_ignore_ascii_case(check.id));
    let mut findings = Vec::new();
    for check in table::CHECKS.into_iter().filter(|check| wanted(check)) {
        findings.push(match check.id {
            "D101" => local::certificate(patient),
            "D102" => front::clock(patient),
            "D103" => local::store(patient),
            "D104" => local::files(patient),
            "D105" => local::disk(patient),
            "D106" => front::ready(patient),
            "D107" => local::query(patient),
            "D108" => local::rotation(patient),
            "D109" => front::subprotocols(patient),
            "D110" => front::events(patient),
            "D111" => front::upstreams(patient),
            "D112" => canary::canary(patient),
            "D113" => local::admin(patient),
            "D114" => canary::output(patient),
            "D115" => canary::telemetry(patient),
            _ => nodes::nodes(patient),
        });
    }
    findings
}
