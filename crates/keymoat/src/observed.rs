//! What is seen of a running gateway: its events, its metrics, and the collector that is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use arc_swap::ArcSwap;
use keymoat_admin::Acts;
use keymoat_admin::events::{Delivery, Events, Losses, Options, keep_acts};
use keymoat_admin::metrics::Metrics;
use keymoat_admin::otlp::{self, METRICS_EVERY, MetricsTeller, Signal, Target};
use keymoat_core::act::{Act, Action, Actor};
use keymoat_core::{Record, Snapshot};
use keymoat_gateway::{Records, Running, tls};
use keymoat_store::events::{Durability, Retention};
use keymoat_store::{Freshness, Store, StoreError};

use crate::commands::remark;
use crate::config::{self, Tls};
use crate::output::{Output, time};

/// Everything that sees; cheap to clone.
#[derive(Clone)]
pub(crate) struct Observed {
    /// Where events are kept and told.
    pub(crate) events: Events,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Acts on this process, counted and kept.
    pub(crate) acts: Acts,
    /// The same that are kept already, counted.
    pub(crate) kept_acts: Acts,
    /// Requests are told of to a collector, and so they have a place in a trace.
    traces: bool,
    _teller: Option<Arc<MetricsTeller>>,
}

impl Observed {
    /// Opens the events of the store and starts to keep and tell them. What the configuration says of a
    /// collector is used up.
    ///
    /// # Errors
    /// A database or a file that cannot be opened, or that others can read.
    pub(crate) fn start(
        store: &Store,
        events: &config::Events,
        telemetry: Option<config::Telemetry>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let durability = match events.delivery {
            Delivery::BestEffort => Durability::Process,
            Delivery::Required => Durability::Power,
        };
        let store = Arc::new(store.events(durability).context("opening the events of the store")?);
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), time::now()));
        let lost = Arc::<Losses>::default();
        let (mut others, mut teller, mut traces) = (Vec::new(), None, false);
        if let Some(config::Telemetry { endpoint, headers, signals }) = telemetry {
            let target = Target { endpoint, headers: headers.into() };
            traces = signals.contains(&Signal::Traces);
            if traces || signals.contains(&Signal::Logs) {
                others.push(otlp::sink(&target, &signals, Arc::clone(&lost)).context("[telemetry] otlp")?);
            }
            if signals.contains(&Signal::Metrics) {
                let rendered = Arc::clone(&metrics);
                let render = move || rendered.render();
                let started = MetricsTeller::start(&target, METRICS_EVERY, render, time::now);
                teller = Some(Arc::new(started.context("[telemetry] otlp")?));
            }
        }
        let keep_millis = i64::try_from(events.keep.as_millis()).unwrap_or(i64::MAX);
        let options = Options {
            delivery: events.delivery,
            retention: Retention { keep_millis, keep_max: events.keep_max },
            known: output.known(),
            rules: output.rules(),
            file: events.file.clone(),
            stdout: events.stdout,
            others,
            lost: Arc::clone(&lost),
            clock: time::now,
        };
        let events = Events::start(store, options).context("starting to keep events")?;
        let (waiting, lines) = (events.probe(), output.clone());
        metrics.look_at(move |gauges| {
            gauges.events(waiting.waiting(), &lost);
            gauges.lines_dropped(lines.dropped());
        });
        let acts = logged(metrics.counted(events.acts()));
        let kept_acts = logged(metrics.counted(Arc::new(|_| ())));
        Ok(Self { events, metrics, acts, kept_acts, traces, _teller: teller })
    }

    /// Where records go: into the log, the metrics and the events.
    pub(crate) fn records(&self, output: &Output) -> Records {
        let (output, metrics, events) = (output.clone(), Arc::clone(&self.metrics), self.events.clone());
        Arc::new(move |record: &Record| {
            metrics.count(record);
            let record = Arc::new(record.clone());
            output.record(Arc::clone(&record));
            events.record(record);
        })
    }

    /// Sees the gateway from now on, and has beginnings kept where that is demanded.
    pub(crate) fn watch(&self, running: &Arc<Running>, snapshots: Arc<ArcSwap<Snapshot>>, freshness: Freshness) {
        if self.traces {
            running.trace();
        }
        if self.events.delivery() == Delivery::Required {
            let events = self.events.clone();
            running.keep_beginnings_by(Arc::new(move |record| {
                let events = events.clone();
                Box::pin(async move { events.begin(record).await.is_ok() })
            }));
        }
        let running = Arc::downgrade(running);
        self.metrics.look_at(move |gauges| {
            if let Some(running) = running.upgrade() {
                gauges.sessions(running.live_sessions_by_route());
            }
            gauges.snapshot_age(freshness.age(Instant::now()));
            gauges.changes_seen(freshness.changes());
            let now = time::now();
            let snapshot = snapshots.load();
            let is_due =
                |key: &&Arc<keymoat_core::Key>| key.is_live(now) && key.rotation_due().is_some_and(|at| at <= now);
            gauges.rotations_due(snapshot.each_key().filter(is_due).count());
        });
    }

    /// Looks at the certificate in this file when somebody asks how long it holds.
    pub(crate) fn watch_certificate(&self, file: Option<PathBuf>) {
        let Some(file) = file else { return };
        self.metrics.look_at(move |gauges| {
            let expires_at = tls::server::expires_at(&file);
            gauges.certificate_expiry("data", expires_at.map(|at| (at.0 - time::now().0) / 1000));
        });
    }

    /// Tells of something that this process did by itself.
    pub(crate) fn act(&self, action: Action, detail: impl Into<Option<String>>) {
        let (at, actor) = (time::now(), Actor::Keymoat);
        (self.acts)(Act { at, actor, action, target: None, detail: detail.into() });
    }
}

/// The acts that go to `acts`, written into the log, too.
fn logged(acts: Acts) -> Acts {
    Arc::new(move |act| {
        let actor = match &act.actor {
            Actor::Keymoat => "keymoat",
            Actor::Command => "command",
            Actor::Admin(id) => id,
        };
        let (of, detail) = (act.target.as_deref(), act.detail.as_deref());
        tracing::info!(actor, action = act.action.word(), of, detail, "act");
        acts(act);
    })
}

/// Where the certificate of the TLS listener is.
pub(crate) fn certificate_file(tls: &Tls, store_dir: &Path) -> Option<PathBuf> {
    match tls {
        Tls::Disabled | Tls::BehindProxy => None,
        Tls::SelfSigned { .. } => Some(store_dir.join("tls").join("server.pem")),
        Tls::Provided { cert, .. } => Some(cert.clone()),
    }
}

/// Keeps what a command on this machine has done in the events of the store. It is done, so that a failure here
/// is a remark.
pub(crate) fn tell_of_command(store: &Store, action: Action, target: &str, detail: Option<String>) {
    tell_of_commands(store, action, [(target, detail)]);
}

/// The same of one action on several things, each with a detail.
pub(crate) fn tell_of_commands<'t>(
    store: &Store,
    action: Action,
    done: impl IntoIterator<Item = (&'t str, Option<String>)>,
) {
    if let Err(error) = keep_acts_of_command(store, action, done) {
        remark(&format!("keymoat: warning: it is done, but does not stand in the events: {error}"));
    }
}

/// Keeps what a command has done, where it is not done without that.
///
/// # Errors
/// Whatever the disk refuses; then it is not kept.
pub(crate) fn keep_act_of_command(
    store: &Store,
    action: Action,
    target: &str,
    detail: String,
) -> Result<(), StoreError> {
    keep_acts_of_command(store, action, [(target, Some(detail))])
}

fn keep_acts_of_command<'t>(
    store: &Store,
    action: Action,
    done: impl IntoIterator<Item = (&'t str, Option<String>)>,
) -> Result<(), StoreError> {
    let at = time::now();
    let act =
        |(target, detail): (&str, _)| Act { at, actor: Actor::Command, action, target: Some(target.into()), detail };
    let acts = done.into_iter().map(act);
    store.events(Durability::Power).and_then(|events| keep_acts(&events, acts, at))
}
