//! Fills a store with events and prints what its questions take: `cargo xtask bench events` runs it as a release build.
//!
//! Arguments: how many events (1,000,000), how many keys (10,000), and a folder that is kept, to be measured again.

#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![expect(clippy::print_stdout, reason = "a measurement prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keymoat_core::act::{Act, Action, Actor};
use keymoat_core::event::{Event, Kind, Severity};
use keymoat_core::record::{InUrl, Outcome, Protocol, Record};
use keymoat_core::{Carrier, Code, UnixMillis};
use keymoat_store::EventStore;
use keymoat_store::events::{Dimension, Durability, Entry, Filter, Retention, Span, UsageQuery};

const DAY: i64 = 86_400_000;
/// The last moment of the events.
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
/// So many events share a commit, as under load.
const GROUP: usize = 1_000;
/// How often each question is asked.
const TURNS: usize = 60;
/// What one screen's data may take.
const SCREEN: Duration = Duration::from_millis(100);
/// What one page of events may take.
const PAGE: Duration = Duration::from_millis(20);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (events, keys) = (number(1_000_000), number(10_000));
    let made;
    let kept = arguments.next();
    let dir = match &kept {
        Some(dir) => Path::new(dir),
        None => {
            made = tempfile::tempdir().unwrap();
            made.path()
        }
    };
    let store = EventStore::open(dir, Durability::Process).unwrap();
    if store.last_seq().unwrap() == 0 {
        fill(&store, events, keys);
    }
    let size = std::fs::metadata(dir.join(keymoat_store::events::FILE_NAME)).unwrap().len();
    println!("{events} events of {keys} keys over 30 days: {} MiB", size >> 20);
    println!("{:<52} {:>9} {:>9}   must", "", "p50", "p95");
    ask(&store, keys);
}

/// A generator that gives the same every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn key_id(number: usize) -> Arc<str> {
    format!("key_{number:012}").into()
}

fn fill(store: &EventStore, events: usize, keys: usize) {
    let began = Instant::now();
    let mut draw = Draw(7);
    for first in (0..events).step_by(GROUP) {
        let group: Vec<Event> =
            (first..(first + GROUP).min(events)).map(|at| event(&mut draw, at, events, keys)).collect();
        let bodies: Vec<String> = group.iter().map(ToString::to_string).collect();
        let entries: Vec<Entry<'_>> =
            group.iter().zip(&bodies).map(|(event, body)| Entry { at: event.happened_at(), event, body }).collect();
        store.append(&entries).unwrap();
    }
    let took = began.elapsed();
    println!("written in {took:.1?}: {:.1} µs an event", took.as_secs_f64() * 1e6 / events as f64);
}

/// One event of thirty days: a few keys are used much, most little; one in fifty is refused, one in a thousand is an act.
fn event(draw: &mut Draw, number: usize, events: usize, keys: usize) -> Event {
    let share = i64::try_from(number).unwrap() * (30 * DAY) / i64::try_from(events).unwrap();
    let at = UnixMillis(NOW.0 - 30 * DAY + share);
    let key = key_id(draw.below(keys).min(draw.below(keys)));
    if draw.below(1_000) == 0 {
        let (actor, action) = (Actor::Command, Action::KeyRotated);
        return Event::Act(Box::new(Act { at, actor, action, target: Some(key), detail: None }));
    }
    let mut record = Record::begin(at, [10, 0, 0, 7].into(), Protocol::Http1);
    (record.method, record.path) = ("GET", format!("/api/events/{number}"));
    record.route = Some(["events", "voice", "demo", "files", "rare"][draw.below(100).min(4)].into());
    (record.outcome, record.status) = (Outcome::Allowed, Some(200));
    (record.duration_millis, record.upstream_millis, record.bytes_out) = (12, Some(8), 1_200);
    record.carrier = Some(match draw.below(20) {
        0 => Carrier::Query("api_key".into()),
        1..=3 => Carrier::Subprotocol,
        _ => Carrier::Header("x-api-key".parse().unwrap()),
    });
    if matches!(record.carrier, Some(Carrier::Query(_))) {
        (record.in_url, record.let_in_by_url) = (InUrl::Key, true);
        record.user_agent = Some("old-camera/1.0".to_owned());
    }
    if draw.below(50) == 0 {
        let code = [Code::CredentialInvalid, Code::Forbidden, Code::RateLimited][draw.below(3)];
        (record.outcome, record.code, record.status) = (Outcome::Refused, Some(code), Some(code.status()));
        record.let_in_by_url = false;
    }
    if draw.below(10) == 0 {
        record.token_id = Some(format!("tok_{:012}", draw.below(100_000)).into());
    }
    record.key_id = Some(key);
    Event::Decision(Arc::new(record))
}

fn ask(store: &EventStore, keys: usize) {
    let mut draw = Draw(11);
    type Change = fn(&mut Filter, usize);
    let filters: [(&str, Change); 15] = [
        ("the newest", |_, _| {}),
        ("of one key", |filter, key| filter.key_id = Some(key_id(key).to_string())),
        ("of one key that were refused", |filter, key| {
            (filter.key_id, filter.outcome) = (Some(key_id(key).to_string()), Some(Outcome::Refused));
        }),
        ("of one token", |filter, key| filter.token_id = Some(format!("tok_{key:012}"))),
        ("acts", |filter, _| filter.kind = Some(Kind::Act)),
        ("of the type key.*", |filter, _| filter.word = Some("key.*".to_owned())),
        ("of the type session.refused, which there is none of", |filter, _| {
            filter.word = Some("session.refused".to_owned());
        }),
        ("refused", |filter, _| filter.outcome = Some(Outcome::Refused)),
        ("by code", |filter, _| filter.code = Some("rate_limited".to_owned())),
        ("by a code that there is none of", |filter, _| filter.code = Some("draining".to_owned())),
        ("by route", |filter, _| filter.route = Some("voice".to_owned())),
        ("by carrier", |filter, _| filter.carrier = Some("query:api_key".to_owned())),
        ("that matter", |filter, _| filter.severity_min = Some(Severity::Medium)),
        ("with a text that there is none of", |filter, _| filter.text = Some("no-such-text".to_owned())),
        ("of one day, by route, two weeks ago", |filter, _| {
            filter.route = Some("rare".to_owned());
            (filter.from, filter.to) = (Some(UnixMillis(NOW.0 - 15 * DAY)), Some(UnixMillis(NOW.0 - 14 * DAY)));
        }),
    ];
    for (name, change) in filters {
        measure(&format!("a page of 50 events {name}"), PAGE, || {
            let mut filter = Filter::default();
            change(&mut filter, draw.below(keys));
            store.events(&filter, None, 50).unwrap();
        });
    }
    let usage = |days: i64, span, by_span, group: &[Dimension], only: Vec<(Dimension, String)>| {
        let from = UnixMillis(NOW.0 - days * DAY);
        UsageQuery { by_span, group: group.to_vec(), only, ..UsageQuery::between(from, NOW, span) }
    };
    let of_key = vec![(Dimension::Key, key_id(3).to_string())];
    for (name, query) in [
        ("a day by hour and outcome", usage(1, Span::Hour, true, &[Dimension::Outcome], vec![])),
        ("30 days by day and carrier", usage(30, Span::Day, true, &[Dimension::Carrier], vec![])),
        ("30 days by hour and route", usage(30, Span::Hour, true, &[Dimension::Route], vec![])),
        ("30 days of one key by day", usage(30, Span::Day, true, &[Dimension::Carrier], of_key.clone())),
        ("30 days of one key by hour", usage(30, Span::Hour, true, &[Dimension::Secret], of_key)),
        ("a day by key", usage(1, Span::Day, false, &[Dimension::Key], vec![])),
    ] {
        measure(&format!("usage of {name}"), SCREEN, || drop(store.usage(&query).unwrap()));
    }
    measure("where one key was last seen", PAGE, || drop(store.last_seen(Some(&key_id(draw.below(keys)))).unwrap()));
    measure("when 50 keys were used last", PAGE, || {
        let ids: Vec<Arc<str>> = (0..50).map(|_| key_id(draw.below(keys))).collect();
        store.last_use(&ids).unwrap();
    });
    measure("who came by URLs within 30 days", SCREEN, || {
        store.url_clients(UnixMillis(NOW.0 - 30 * DAY), 100).unwrap();
    });
    measure("keys in URLs of a day", SCREEN, || drop(store.url_key_use(UnixMillis(NOW.0 - DAY)).unwrap()));
    measure("a slice of what is forgotten", SCREEN, || {
        store.forget(Retention { keep_millis: 30 * DAY, keep_max: u64::MAX }, NOW).unwrap();
    });
}

fn measure(name: &str, must: Duration, mut work: impl FnMut()) {
    let mut took: Vec<Duration> = (0..TURNS)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    let at = |share: usize| took[(TURNS * share / 100).min(TURNS - 1)];
    let verdict = if at(95) <= must { "" } else { "  TOO SLOW" };
    println!("{name:<52} {:>9.2?} {:>9.2?}   {must:?}{verdict}", at(50), at(95));
}
