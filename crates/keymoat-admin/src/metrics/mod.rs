//! Counts for whoever watches: a text for Prometheus, and the same for a collector.
//!
//! A label has a bounded number of values: routes and upstreams are those of the configuration, carriers go by their
//! kind, and what no route takes is `-`. No credential, key, address or path is ever one.

mod catalogue;
mod count;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use keymoat_core::event::Sink;
use keymoat_core::{Act, UnixMillis};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use self::catalogue::{
    ACTS, AUTH_REQUESTS, BUILD, BYTES, CERTIFICATE_EXPIRY, CHANGES_SEEN, COPIES, ECHOES, EVENTS_LOST, EVENTS_WAITING,
    LINES_DROPPED, MESSAGES, REFUSALS, REQUEST_DURATION, ROTATIONS_DUE, SESSION_DURATION, SESSIONS_ACTIVE,
    SNAPSHOT_AGE, START_TIME, TOKEN_MINTS, TOKEN_USES, UPSTREAM_FAILURES, UPSTREAM_RESPONSE, URL_KEYS,
};
use crate::Acts;
use crate::events::Losses;

pub use self::catalogue::{CATALOGUE, Described, Movement};

/// The media type of [`Metrics::render`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page `/metrics` for the admin listener, where it takes a viewer.
pub fn page(metrics: Arc<Metrics>) -> Router {
    let serve = move || {
        let text = metrics.render();
        async move { ([(CONTENT_TYPE, MEDIA_TYPE)], text) }
    };
    Router::new().route("/metrics", get(serve))
}

/// What stands for a route that there is none of.
const NONE: &str = "-";

/// Labels, in the order of their metric.
type Labels = Vec<(&'static str, Arc<str>)>;

/// Upper bounds in seconds: from a fast local answer to a slow model.
const DURATIONS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The same for sessions: from a second to a day.
const SESSION_DURATIONS: [f64; 8] = [1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

/// All metrics of this process.
pub struct Metrics {
    /// Tells one set from another in the threads' own memories.
    number: u64,
    registry: Registry,
    families: Families,
    gauges: Gauges,
    looks: Mutex<Vec<Look>>,
}

/// Looks at something before each text is made.
type Look = Box<dyn Fn(&Gauges) + Send + Sync>;

/// What requests are counted in.
struct Families {
    auth_requests: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    request_duration: Family<Labels, Histogram, Bounds>,
    session_duration: Family<Labels, Histogram, Bounds>,
    upstream_response: Family<Labels, Histogram, Bounds>,
    upstream_failures: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    messages: Family<Labels, Counter>,
    url_keys: Family<Labels, Counter>,
    copies: Family<Labels, Counter>,
    echoes: Family<Labels, Counter>,
    token_uses: Family<Labels, Counter>,
    token_mints: Family<Labels, Counter>,
    acts: Family<Labels, Counter>,
}

/// What is looked at when somebody asks.
pub struct Gauges {
    sessions_active: Family<Labels, Gauge>,
    events_lost: Family<Labels, Counter>,
    events_waiting: Gauge,
    lines_dropped: Counter,
    snapshot_age: Gauge<f64, AtomicU64>,
    changes_seen: Gauge,
    certificate_expiry: Family<Labels, Gauge<f64, AtomicU64>>,
    rotations_due: Gauge,
}

/// Makes histograms with these bounds.
#[derive(Clone)]
struct Bounds(&'static [f64]);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Registers metrics by what the catalogue says of them.
struct Register(Registry);

impl Register {
    fn add<M: Metric + Clone>(&mut self, described: Described, metric: M) -> M {
        let name = described.name_without_unit();
        let unit = match described.name.strip_prefix(name) {
            Some("_seconds") => Some(Unit::Seconds),
            Some("_bytes") => Some(Unit::Bytes),
            _ => None,
        };
        match unit {
            Some(unit) => self.0.register_with_unit(name, described.help, unit, metric.clone()),
            None => self.0.register(name, described.help, metric.clone()),
        }
        metric
    }
}

impl Metrics {
    /// All of them at zero. `version` is this process's, `started_at` when it started.
    #[must_use]
    pub fn new(version: &str, started_at: UnixMillis) -> Self {
        let mut all = Register(Registry::default());
        let durations = || Family::new_with_constructor(Bounds(&DURATIONS));
        let families = Families {
            auth_requests: all.add(AUTH_REQUESTS, Family::default()),
            refusals: all.add(REFUSALS, Family::default()),
            request_duration: all.add(REQUEST_DURATION, durations()),
            session_duration: all.add(SESSION_DURATION, Family::new_with_constructor(Bounds(&SESSION_DURATIONS))),
            upstream_response: all.add(UPSTREAM_RESPONSE, durations()),
            upstream_failures: all.add(UPSTREAM_FAILURES, Family::default()),
            bytes: all.add(BYTES, Family::default()),
            messages: all.add(MESSAGES, Family::default()),
            url_keys: all.add(URL_KEYS, Family::default()),
            copies: all.add(COPIES, Family::default()),
            echoes: all.add(ECHOES, Family::default()),
            token_uses: all.add(TOKEN_USES, Family::default()),
            token_mints: all.add(TOKEN_MINTS, Family::default()),
            acts: all.add(ACTS, Family::default()),
        };
        let gauges = Gauges {
            sessions_active: all.add(SESSIONS_ACTIVE, Family::default()),
            events_lost: all.add(EVENTS_LOST, Family::default()),
            events_waiting: all.add(EVENTS_WAITING, Gauge::default()),
            lines_dropped: all.add(LINES_DROPPED, Counter::default()),
            snapshot_age: all.add(SNAPSHOT_AGE, Gauge::default()),
            changes_seen: all.add(CHANGES_SEEN, Gauge::default()),
            certificate_expiry: all.add(CERTIFICATE_EXPIRY, Family::default()),
            rotations_due: all.add(ROTATIONS_DUE, Gauge::default()),
        };
        all.add(START_TIME, Gauge::<f64, AtomicU64>::default()).set(started_at.0 as f64 / 1000.0);
        all.0.register(BUILD.name, BUILD.help, Info::new([("version", version.to_owned())]));
        Self { number: count::next_number(), registry: all.0, families, gauges, looks: Mutex::default() }
    }

    /// Has something looked at before each text is made, such as how many sessions there are. Must be quick.
    pub fn look_at(&self, look: impl Fn(&Gauges) + Send + Sync + 'static) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(look));
    }

    /// The acts that go to `acts`, counted.
    #[must_use]
    pub fn counted(self: &Arc<Self>, acts: Acts) -> Acts {
        let metrics = Arc::clone(self);
        Arc::new(move |act: Act| {
            metrics.families.acts.get_or_create(&vec![("action", act.action.word().into())]).inc();
            acts(act);
        })
    }

    /// Everything as text in the form of OpenMetrics, which Prometheus reads ([`MEDIA_TYPE`]).
    #[must_use]
    pub fn render(&self) -> String {
        for look in &*self.looks.lock().unwrap_or_else(PoisonError::into_inner) {
            look(&self.gauges);
        }
        let mut text = String::with_capacity(8 << 10);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Gauges {
    /// How many sessions are open on each route that has any.
    pub fn sessions(&self, by_route: impl IntoIterator<Item = (Arc<str>, usize)>) {
        self.sessions_active.clear();
        for (route, count) in by_route {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.sessions_active.get_or_create(&vec![("route", route)]).set(count);
        }
    }

    /// How many events wait, and how many were lost.
    pub fn events(&self, waiting: usize, lost: &Losses) {
        self.events_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        for sink in Sink::ALL {
            raise(&self.events_lost.get_or_create(&vec![("sink", sink.word().into())]), lost.of(sink));
        }
    }

    /// How many log lines were dropped since the start.
    pub fn lines_dropped(&self, count: u64) {
        raise(&self.lines_dropped, count);
    }

    /// How old the view of the store is.
    pub fn snapshot_age(&self, age: std::time::Duration) {
        self.snapshot_age.set(age.as_secs_f64());
    }

    /// How many changes of the store the view shows.
    pub fn changes_seen(&self, changes: i64) {
        self.changes_seen.set(changes);
    }

    /// How long the certificate of a listener holds from now on, if there is one.
    pub fn certificate_expiry(&self, listener: &'static str, secs: Option<i64>) {
        let labels: Labels = vec![("listener", listener.into())];
        match secs {
            Some(secs) => drop(self.certificate_expiry.get_or_create(&labels).set(secs as f64)),
            None => drop(self.certificate_expiry.remove(&labels)),
        }
    }

    /// How many keys want another secret.
    pub fn rotations_due(&self, count: usize) {
        self.rotations_due.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Brings a counter up to what was counted elsewhere.
fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
