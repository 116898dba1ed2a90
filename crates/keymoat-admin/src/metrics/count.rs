//! Counts a request where it ended, on the serving thread: each thread remembers which counters belong to what it has
//! seen, so that nothing is locked or looked up by name.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keymoat_core::record::{Outcome, Protocol, Record};
use keymoat_core::{Carrier, Code};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::{Families, Labels, Metrics, NONE};

/// So much a thread remembers; then it begins anew.
const REMEMBERED_MAX: usize = 256;

thread_local! {
    static REMEMBERED: RefCell<Vec<Remembered>> = const { RefCell::new(Vec::new()) };
}

/// A number that no other set of metrics has.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What tells one request's counters from another's.
#[derive(Clone, Debug)]
struct Sort {
    metrics: u64,
    /// Held, so that its address belongs to no other route meanwhile.
    route: Option<Arc<str>>,
    upstream: Option<Arc<str>>,
    carrier: &'static str,
    outcome: Outcome,
    code: Option<Code>,
    is_session: bool,
}

#[derive(Debug)]
struct Remembered {
    sort: Sort,
    counters: Counters,
}

/// The counters of one sort of request.
#[derive(Clone, Debug)]
struct Counters {
    auth_requests: Counter,
    refusals: Option<Counter>,
    upstream_failures: Option<Counter>,
    duration: Histogram,
    upstream_response: Histogram,
    bytes: [Counter; 2],
    messages: Option<[Counter; 2]>,
    url_keys: Counter,
    copies: Counter,
    echoes: Counter,
    token_uses: Counter,
    token_mints: Counter,
}

impl Metrics {
    /// Counts how a request or session ended. Cheap: some comparisons, and an atomic addition for each counter.
    pub fn count(&self, record: &Record) {
        let sort = Sort {
            metrics: self.number,
            route: record.route.clone(),
            upstream: record.upstream.clone(),
            carrier: kind(record.carrier.as_ref()),
            outcome: record.outcome,
            code: record.code,
            is_session: record.protocol == Protocol::WebSocket,
        };
        REMEMBERED.with_borrow_mut(|remembered| {
            let known = remembered.iter().position(|one| one.sort.is(&sort));
            let at = known.unwrap_or_else(|| {
                if remembered.len() >= REMEMBERED_MAX {
                    remembered.clear();
                }
                let counters = self.families.counters(&sort);
                remembered.push(Remembered { sort, counters });
                remembered.len() - 1
            });
            // What is counted often comes to stand in front.
            let at = if at > 0 {
                remembered.swap(at, at - 1);
                at - 1
            } else {
                at
            };
            if let Some(one) = remembered.get(at) {
                one.counters.count(record);
            }
        });
    }
}

impl Sort {
    fn is(&self, other: &Self) -> bool {
        self.metrics == other.metrics
            && same(&self.route, &other.route)
            && same(&self.upstream, &other.upstream)
            && self.carrier == other.carrier
            && self.outcome == other.outcome
            && self.code == other.code
            && self.is_session == other.is_session
    }
}

/// Whether both are one text in memory: after a reload a route is counted under its old name by a new entry.
fn same(one: &Option<Arc<str>>, other: &Option<Arc<str>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl Families {
    fn counters(&self, sort: &Sort) -> Counters {
        let route = sort.route.clone().unwrap_or_else(|| NONE.into());
        let upstream = sort.upstream.clone().unwrap_or_else(|| NONE.into());
        let code: Arc<str> = sort.code.map_or(NONE, Code::word).into();
        let of_route: Labels = vec![("route", route.clone())];
        let towards = |direction: &str| -> Labels { vec![("direction", direction.into()), ("route", route.clone())] };
        let both = |family: &prometheus_client::metrics::family::Family<Labels, Counter>| {
            ["in", "out"].map(|direction| family.get_or_create(&towards(direction)).clone())
        };
        let durations = if sort.is_session { &self.session_duration } else { &self.request_duration };
        let auth: Labels =
            vec![("carrier", sort.carrier.into()), ("route", route.clone()), ("outcome", sort.outcome.word().into())];
        let refused = || self.refusals.get_or_create(&vec![("code", code.clone()), ("route", route.clone())]).clone();
        let failed =
            || self.upstream_failures.get_or_create(&vec![("code", code.clone()), ("upstream", upstream)]).clone();
        Counters {
            auth_requests: self.auth_requests.get_or_create(&auth).clone(),
            refusals: (sort.outcome == Outcome::Refused).then(refused),
            upstream_failures: (sort.outcome == Outcome::Failed).then(failed),
            duration: durations.get_or_create(&of_route).clone(),
            upstream_response: self.upstream_response.get_or_create(&of_route).clone(),
            bytes: both(&self.bytes),
            messages: sort.is_session.then(|| both(&self.messages)),
            url_keys: self.url_keys.get_or_create(&of_route).clone(),
            copies: self.copies.get_or_create(&of_route).clone(),
            echoes: self.echoes.get_or_create(&of_route).clone(),
            token_uses: self.token_uses.get_or_create(&of_route).clone(),
            token_mints: self.token_mints.get_or_create(&of_route).clone(),
        }
    }
}

impl Counters {
    fn count(&self, record: &Record) {
        self.auth_requests.inc();
        if let Some(refusals) = &self.refusals {
            refusals.inc();
        }
        if let Some(failures) = &self.upstream_failures {
            failures.inc();
        }
        self.duration.observe(record.duration_millis as f64 / 1000.0);
        if let Some(millis) = record.upstream_millis {
            self.upstream_response.observe(millis as f64 / 1000.0);
        }
        add(&self.bytes, [record.bytes_in, record.bytes_out]);
        if let Some(messages) = &self.messages {
            add(messages, [record.messages_in, record.messages_out]);
        }
        let counted = [
            (&self.url_keys, u64::from(is_let_in_by_url(record))),
            (&self.copies, u64::from(record.copies_stripped)),
            (&self.echoes, u64::from(record.lone_subprotocol_echoed)),
            (&self.token_mints, u64::from(record.token_minted)),
            (&self.token_uses, u64::from(is_token_use(record))),
        ];
        for (counter, count) in counted {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }
}

fn add([one, other]: &[Counter; 2], [to_one, to_other]: [u64; 2]) {
    if to_one > 0 {
        one.inc_by(to_one);
    }
    if to_other > 0 {
        other.inc_by(to_other);
    }
}

/// What a carrier goes by: its kind, because there is no end of names.
const fn kind(carrier: Option<&Carrier>) -> &'static str {
    match carrier {
        Some(Carrier::Header(_)) => "header",
        Some(Carrier::Subprotocol) => "subprotocol",
        Some(Carrier::Query(_)) => "query",
        None => "none",
    }
}

fn is_let_in_by_url(record: &Record) -> bool {
    record.let_in_by_url && record.outcome != Outcome::Refused
}

fn is_token_use(record: &Record) -> bool {
    record.token_id.is_some() && !record.token_minted && record.upstream_millis.is_some()
}
