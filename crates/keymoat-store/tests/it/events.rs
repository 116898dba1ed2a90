//! Events and their counts: numbers without gaps, pages, filters, roll-ups and what is forgotten.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use keymoat_core::act::{Act, Action, Actor};
use keymoat_core::event::{Event, Kind, Severity};
use keymoat_core::record::{InUrl, Outcome, Protocol, Record};
use keymoat_core::refusal::Code;
use keymoat_core::{Carrier, UnixMillis};
use keymoat_store::events::{
    Dimension, Durability, Entry, FILE_NAME, Filter, Retention, SCAN_MAX, Span, UrlClients, UsageQuery,
};
use keymoat_store::{EventStore, StoreError};
use tempfile::TempDir;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn store() -> (TempDir, EventStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = EventStore::open(dir.path(), Durability::Process).unwrap();
    (dir, store)
}

fn decision(at: i64, change: impl FnOnce(&mut Record)) -> Event {
    let mut record = Record::begin(UnixMillis(at), [127, 0, 0, 1].into(), Protocol::Http1);
    record.outcome = Outcome::Allowed;
    record.route = Some("events".into());
    record.key_id = Some("key_1".into());
    record.carrier = Some(Carrier::Header("x-api-key".parse().unwrap()));
    change(&mut record);
    Event::Decision(Arc::new(record))
}

fn by_url(record: &mut Record) {
    record.carrier = Some(Carrier::Query("api_key".into()));
    (record.in_url, record.let_in_by_url) = (InUrl::Key, true);
    record.user_agent = Some("curl/8.5".to_owned());
}

fn act(at: i64, action: Action, target: &str) -> Event {
    let (at, target) = (UnixMillis(at), Some(target.into()));
    Event::Act(Box::new(Act { at, actor: Actor::Command, action, target, detail: None }))
}

fn append(store: &EventStore, events: &[Event]) -> u64 {
    append_at(store, events, Event::happened_at)
}

fn append_at(store: &EventStore, events: &[Event], at: impl Fn(&Event) -> UnixMillis) -> u64 {
    let bodies: Vec<String> = events.iter().map(ToString::to_string).collect();
    let entries: Vec<Entry<'_>> =
        events.iter().zip(&bodies).map(|(event, body)| Entry { at: at(event), event, body }).collect();
    store.append(&entries).unwrap()
}

fn numbers(store: &EventStore, filter: &Filter) -> Vec<u64> {
    store.events(filter, None, 100).unwrap().items.iter().map(|kept| kept.seq).collect()
}

#[test]
fn numbers_have_no_gaps_across_writers_and_are_never_given_twice() {
    let (dir, one) = store();
    let other = EventStore::open(dir.path(), Durability::Power).unwrap();
    assert_eq!(append(&one, &[decision(1, |_| {}), decision(2, |_| {})]), 1);
    assert_eq!(append(&other, &[act(3, Action::KeyCreated, "key_1")]), 3);
    assert_eq!(append(&one, &[decision(4, |_| {})]), 4);
    let all: Vec<u64> = one.since(0, 10).unwrap().iter().map(|kept| kept.seq).collect();
    assert_eq!(all, [1, 2, 3, 4]);
    assert_eq!(one.since(2, 1).unwrap()[0].seq, 3);
    let everything = Retention { keep_millis: 0, keep_max: 0 };
    assert!(!one.forget(everything, UnixMillis(10)).unwrap());
    assert_eq!(one.events(&Filter::default(), None, 10).unwrap().items, []);
    drop((one, other));
    let again = EventStore::open(dir.path(), Durability::Process).unwrap();
    assert_eq!((again.last_seq().unwrap(), append(&again, &[decision(5, |_| {})])), (4, 5));
}

#[test]
fn the_database_is_private_and_an_exposed_one_is_refused() {
    let (dir, store) = store();
    let path = dir.path().join(FILE_NAME);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = EventStore::open(dir.path(), Durability::Process).unwrap_err();
    assert!(matches!(refused, StoreError::File(_)), "{refused}");
}

#[test]
fn a_later_schema_is_refused() {
    let (dir, store) = store();
    drop(store);
    let raw = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    let refused = EventStore::open(dir.path(), Durability::Process).unwrap_err();
    assert!(matches!(refused, StoreError::SchemaTooNew { found: 99, .. }), "{refused}");
}

#[test]
fn an_event_is_given_as_one_object_with_its_number() {
    let (_dir, store) = store();
    append_at(&store, &[act(5, Action::KeyRevoked, "key_1")], |_| UnixMillis(7));
    let kept = store.event(1).unwrap().unwrap();
    assert_eq!((kept.kind, &*kept.word, kept.severity), (Kind::Act, "key.revoked", Severity::Medium));
    let text = r#"{"seq":1,"recorded_at":"1970-01-01T00:00:00.007Z","type":"key.revoked","severity":"medium","timestamp":"1970-01-01T00:00:00.005Z","level":"INFO","event":"act","action":"key.revoked","actor":"command","target":"key_1"}"#;
    assert_eq!(kept.json(), text);
    assert_eq!(store.event(2).unwrap(), None);
}

#[test]
fn each_filter_finds_what_it_says_and_several_narrow_it() {
    let (_dir, store) = store();
    let refused = |record: &mut Record| {
        (record.outcome, record.code) = (Outcome::Refused, Some(Code::CredentialRevoked));
        record.key_id = Some("key_2".into());
    };
    append(
        &store,
        &[
            decision(HOUR, |_| {}),
            decision(2 * HOUR, by_url),
            decision(3 * HOUR, refused),
            decision(4 * HOUR, |record| record.route = Some("voice".into())),
            decision(5 * HOUR, |record| record.token_id = Some("tok_1".into())),
            act(6 * HOUR, Action::KeyRevoked, "key_2"),
            decision(7 * HOUR, |record| (record.protocol, record.path) = (Protocol::WebSocket, "/50%".to_owned())),
            Event::Begun(Arc::new(Record::begin(UnixMillis(8 * HOUR), [1, 2, 3, 4].into(), Protocol::Http2))),
        ],
    );
    let by = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        numbers(&store, &filter)
    };
    assert_eq!(by(|_| {}), [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(by(|filter| filter.kind = Some(Kind::Act)), [6]);
    assert_eq!(by(|filter| filter.kind = Some(Kind::Begun)), [8]);
    assert_eq!(by(|filter| filter.word = Some("key.*".into())), [6]);
    assert_eq!(by(|filter| filter.word = Some("session.allowed".into())), [7]);
    assert_eq!(by(|filter| filter.word = Some("request.*".into())), [8, 5, 4, 3, 2, 1]);
    assert_eq!(by(|filter| filter.severity_min = Some(Severity::Medium)), [6, 3]);
    assert_eq!(by(|filter| filter.severity_min = Some(Severity::High)), [3]);
    assert_eq!(by(|filter| filter.outcome = Some(Outcome::Refused)), [3]);
    assert_eq!(by(|filter| filter.outcome = Some(Outcome::Allowed)), [7, 5, 4, 2, 1]);
    assert_eq!(by(|filter| filter.code = Some("credential_revoked".into())), [3]);
    assert_eq!(by(|filter| filter.route = Some("voice".into())), [4]);
    assert_eq!(by(|filter| filter.carrier = Some("query:api_key".into())), [2]);
    assert_eq!(by(|filter| filter.carrier = Some("query:*".into())), [2]);
    assert_eq!(by(|filter| filter.key_id = Some("key_2".into())), [6, 3]);
    assert_eq!(by(|filter| filter.token_id = Some("tok_1".into())), [5]);
    assert_eq!(by(|filter| filter.text = Some("/50%".into())), [7]);
    assert_eq!(by(|filter| filter.text = Some("KEY.REVOKED".into())), [6]);
    assert_eq!(by(|filter| filter.text = Some("5_%".into())), []);
    assert_eq!(by(|filter| filter.from = Some(UnixMillis(6 * HOUR))), [8, 7, 6]);
    assert_eq!(by(|filter| filter.to = Some(UnixMillis(2 * HOUR))), [1]);
    assert_eq!(by(|filter| filter.from = Some(UnixMillis(9 * HOUR))), []);
    let narrow = |filter: &mut Filter| {
        (filter.key_id, filter.outcome) = (Some("key_1".into()), Some(Outcome::Allowed));
        (filter.from, filter.to) = (Some(UnixMillis(2 * HOUR)), Some(UnixMillis(5 * HOUR)));
    };
    assert_eq!(by(narrow), [4, 2]);
}

#[test]
fn pages_follow_each_other_to_the_end_while_events_are_added() {
    let (_dir, store) = store();
    append(&store, &(0..25).map(|at| decision(at, |_| {})).collect::<Vec<_>>());
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.events(&Filter::default(), before, 10).unwrap();
        seen.extend(page.items.iter().map(|kept| kept.seq));
        append(&store, &[decision(99, |_| {})]);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
}

#[test]
fn a_page_that_looked_at_enough_says_where_to_go_on() {
    let (_dir, store) = store();
    let rare = decision(0, |record| record.path = "/needle".to_owned());
    let many = (0..SCAN_MAX as i64 + 5).map(|at| decision(at, |_| {}));
    append(&store, &std::iter::once(rare).chain(many).collect::<Vec<_>>());
    let filter = Filter { text: Some("needle".into()), ..Filter::default() };
    let first = store.events(&filter, None, 10).unwrap();
    assert_eq!((first.items.len(), first.next), (0, Some(7)));
    let second = store.events(&filter, first.next, 10).unwrap();
    assert_eq!((second.items[0].seq, second.next), (1, None));
}

#[test]
fn decisions_are_counted_by_hour_and_day_and_whatever_tells_them_apart() {
    let (_dir, store) = store();
    let sized = |record: &mut Record| (record.bytes_in, record.bytes_out) = (10, 200);
    append(&store, &[decision(1, sized), decision(2, sized), decision(HOUR, by_url), act(3, Action::KeyCreated, "k")]);
    append(&store, &[decision(DAY + 5, |record| record.protocol = Protocol::WebSocket)]);
    append(&store, &[decision(4, |record| (record.key_id, record.outcome) = (None, Outcome::Refused))]);
    let all = UsageQuery::between(UnixMillis(0), UnixMillis(2 * DAY), Span::Hour);
    let total = store.usage(&all).unwrap().remove(0).counts;
    assert_eq!((total.requests, total.sessions, total.bytes_in, total.bytes_out), (4, 1, 20, 400));
    assert_eq!((total.let_in_by_url, total.first_at, total.last_at), (1, UnixMillis(1), UnixMillis(DAY + 5)));
    let by = |query: UsageQuery| -> Vec<(Option<i64>, Vec<String>, u64)> {
        let rows = store.usage(&query).unwrap().into_iter();
        rows.map(|row| (row.start.map(|at| at.0), row.group, row.counts.requests + row.counts.sessions)).collect()
    };
    let none = Vec::<String>::new;
    let hours = UsageQuery { by_span: true, ..all.clone() };
    assert_eq!(by(hours), [(Some(0), none(), 3), (Some(HOUR), none(), 1), (Some(DAY), none(), 1)]);
    let days = UsageQuery { by_span: true, span: Span::Day, ..all.clone() };
    assert_eq!(by(days), [(Some(0), none(), 4), (Some(DAY), none(), 1)]);
    let carriers = UsageQuery { group: vec![Dimension::Carrier, Dimension::InUrl], ..all.clone() };
    let words = |words: [&str; 2]| words.map(str::to_owned).to_vec();
    let expected = [(None, words(["header:x-api-key", ""]), 4), (None, words(["query:api_key", "key"]), 1)];
    assert_eq!(by(carriers), expected);
    let of_key = |id: &str| {
        let only = vec![(Dimension::Key, id.to_owned()), (Dimension::Carrier, "query:*".to_owned())];
        by(UsageQuery { only, ..all.clone() })
    };
    assert_eq!(of_key("key_1"), [(None, none(), 1)]);
    assert_eq!(of_key("key_9"), []);
    let early = UsageQuery { to: UnixMillis(HOUR), ..all.clone() };
    assert_eq!(by(early), [(None, none(), 3)]);
}

#[test]
fn a_secret_is_last_seen_in_each_of_its_carriers() {
    let (_dir, store) = store();
    append(&store, &[decision(5, |_| {}), decision(9, by_url), decision(7, |_| {})]);
    append(&store, &[decision(3, |_| {}), decision(4, |record| record.outcome = Outcome::Refused)]);
    append(&store, &[decision(1, |record| record.key_id = Some("key_2".into()))]);
    let seen = store.last_seen(Some("key_1")).unwrap();
    let short: Vec<_> = seen.iter().map(|seen| (&*seen.carrier, seen.first_at.0, seen.last_at.0)).collect();
    assert_eq!(short, [("query:api_key", 9, 9), ("header:x-api-key", 3, 7)]);
    assert_eq!((seen[1].allowed, seen[1].refused), (3, 1));
    assert_eq!((seen[0].user_agent.as_deref(), &seen[1].user_agent), (Some("curl/8.5"), &None));
    assert_eq!(store.last_seen(None).unwrap().len(), 3);
    append(&store, &[decision(20, |record| record.secret_id = Some("sec_2".into()))]);
    let seen = store.last_seen(Some("key_1")).unwrap();
    assert_eq!((&*seen[0].secret_id, seen.len()), ("sec_2", 3), "each secret of a key is seen by itself");
}

#[test]
fn keys_in_urls_are_counted_by_route_and_key() {
    let (_dir, store) = store();
    let of_two = |record: &mut Record| {
        by_url(record);
        record.key_id = Some("key_2".into());
    };
    let by_token = |record: &mut Record| {
        by_url(record);
        (record.in_url, record.let_in_by_url) = (InUrl::Token, false);
        record.token_id = Some("tok_1".into());
    };
    let refused = |record: &mut Record| {
        by_url(record);
        (record.outcome, record.code) = (Outcome::Refused, Some(Code::CredentialInQuery));
    };
    append(&store, &[decision(DAY, by_url), decision(DAY + 1, by_url), decision(DAY + 2, of_two)]);
    append(&store, &[decision(DAY + 3, by_token), decision(DAY + 4, refused), decision(DAY + 5, |_| {})]);
    append(&store, &[decision(0, by_url)]);
    let uses = |since| -> Vec<(String, u64, i64)> {
        let uses = store.url_key_use(UnixMillis(since)).unwrap().into_iter();
        uses.map(|used| (used.key_id.to_string(), used.uses, used.last_at.0)).collect()
    };
    assert_eq!(uses(DAY), [("key_1".to_owned(), 2, DAY + 1), ("key_2".to_owned(), 1, DAY + 2)]);
    assert_eq!(uses(0)[0], ("key_1".to_owned(), 3, DAY + 1));
    assert_eq!(uses(2 * DAY), []);
}

#[test]
fn who_came_by_urls_is_known_for_each_key_and_exact_for_the_busiest() {
    let (_dir, store) = store();
    who_came_by_urls(&store);
    let everything = Retention { keep_millis: 0, keep_max: 0 };
    assert!(!store.forget(everything, UnixMillis(500 * DAY)).unwrap());
    assert_eq!(store.url_clients(UnixMillis(0), 9).unwrap(), UrlClients::default());
}

#[test]
fn who_came_by_urls_is_known_in_postgresql_too() {
    let server = keymoat_postgres_stand::Postgres::start();
    let url = keymoat_core::Secret::from(server.url());
    who_came_by_urls(&EventStore::open_database(&url).unwrap());
}

fn who_came_by_urls(store: &EventStore) {
    let of = |key: &'static str, at| {
        decision(at, move |record| {
            by_url(record);
            record.key_id = Some(key.into());
        })
    };
    // A key that was busy once, and is not any more, comes after one that is.
    let mut old: Vec<Event> = (0..5).map(|at| of("key_once", at)).collect();
    old.push(decision(3, |_| {}));
    append(store, &old);
    append(store, &[of("key_once", 40 * DAY), of("key_now", 40 * DAY + 1), of("key_now", 40 * DAY + 2)]);
    append(store, &[of("key_long_ago", 20 * DAY)]);
    let found = store.url_clients(UnixMillis(30 * DAY), 9).unwrap();
    let short: Vec<_> = found
        .busiest
        .iter()
        .map(|(used, seq)| (&*used.key_id, used.uses, used.first_at.0, used.last_at.0, seq.unwrap()))
        .collect();
    assert_eq!(short, [("key_now", 2, 40 * DAY + 1, 40 * DAY + 2, 9), ("key_once", 1, 40 * DAY, 40 * DAY, 7),]);
    assert_eq!(found.busiest[0].0.user_agent.as_deref(), Some("curl/8.5"));
    assert_eq!(found.all.len(), 2);
    let one = store.url_clients(UnixMillis(30 * DAY), 1).unwrap();
    assert_eq!((one.busiest.len(), &one.all), (1, &found.all), "all of them are known, however few are told of");
    let events = store.events_of(&[9, 7, 999]).unwrap();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event.body.contains("query:api_key")));
    let used = store.last_use(&["key_now".into(), "key_1".into(), "key_never".into()]).unwrap();
    assert_eq!((used.len(), used["key_now"].at.0, &*used["key_1"].carrier), (2, 40 * DAY + 2, "header:x-api-key"));
}

#[test]
fn a_store_of_before_knows_who_came_by_urls() {
    let (dir, store) = store();
    append(&store, &[decision(DAY, by_url), decision(DAY + 1, by_url), decision(DAY + 2, |_| {})]);
    drop(store);
    let database = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    database.execute_batch("DROP TABLE url_client; DROP INDEX event_by_type; PRAGMA user_version = 1").unwrap();
    drop(database);
    let store = EventStore::open(dir.path(), Durability::Process).unwrap();
    let found = store.url_clients(UnixMillis(0), 9).unwrap();
    let [(used, None)] = &found.busiest[..] else { panic!("{found:?}") };
    assert_eq!((used.uses, used.last_at.0, used.user_agent.as_deref()), (2, DAY + 1, Some("curl/8.5")));
}

#[test]
fn what_is_too_old_or_too_much_is_deleted_in_slices_and_counts_stay_longer() {
    let (_dir, store) = store();
    append(&store, &(0..2_500).map(|at| decision(at, |_| {})).collect::<Vec<_>>());
    append(&store, &(0..10).map(|at| decision(40 * DAY + at, |_| {})).collect::<Vec<_>>());
    let now = UnixMillis(40 * DAY + 10);
    let retention = Retention { keep_millis: 30 * DAY, keep_max: 1_000_000 };
    let mut slices = 1;
    while store.forget(retention, now).unwrap() {
        slices += 1;
    }
    assert_eq!(slices, 3);
    assert_eq!(numbers(&store, &Filter::default()).len(), 10);
    assert!(!store.forget(Retention { keep_max: 4, ..retention }, now).unwrap());
    assert_eq!(numbers(&store, &Filter::default()), [2510, 2509, 2508, 2507]);
    let day = UsageQuery::between(UnixMillis(0), UnixMillis(DAY), Span::Day);
    let by_key = UsageQuery { group: vec![Dimension::Key], ..day.clone() };
    assert_eq!(store.usage(&day).unwrap()[0].counts.requests, 2500);
    assert_eq!(store.usage(&by_key).unwrap()[0].counts.requests, 2500);
    let hours_of_key = UsageQuery { span: Span::Hour, ..by_key.clone() };
    assert_eq!(store.usage(&hours_of_key).unwrap(), [], "a key's hours are kept for 35 days");
    assert!(!store.forget(retention, UnixMillis(500 * DAY)).unwrap());
    assert_eq!((store.usage(&day).unwrap(), store.usage(&by_key).unwrap()), (vec![], vec![]));
    assert_eq!(store.last_seen(None).unwrap(), []);
}

#[test]
fn another_process_s_events_are_noticed() {
    let (dir, one) = store();
    let other = EventStore::open(dir.path(), Durability::Process).unwrap();
    assert!(one.has_grown().unwrap());
    assert!(!one.has_grown().unwrap());
    append(&other, &[decision(1, |_| {})]);
    assert!(one.has_grown().unwrap());
    assert!(!one.has_grown().unwrap());
}

#[test]
fn events_that_cannot_be_written_take_no_number() {
    let (dir, store) = store();
    append(&store, &[decision(1, |_| {})]);
    drop(store);
    let path: &Path = &dir.path().join(FILE_NAME);
    let store = EventStore::open(dir.path(), Durability::Process).unwrap();
    // A lock that is held stands in for whatever keeps a transaction from its end.
    let raw = rusqlite::Connection::open(path).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (event, body) = (decision(2, |_| {}), "{}");
    let entry = Entry { at: UnixMillis(2), event: &event, body };
    assert!(matches!(store.append(&[entry]).unwrap_err(), StoreError::Busy { .. }));
    raw.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.append(&[entry]).unwrap(), 2);
}

#[test]
fn events_of_all_nodes_in_postgresql_are_answered_like_those_of_one_in_sqlite() {
    let server = keymoat_postgres_stand::Postgres::start();
    let url = keymoat_core::Secret::from(server.url());
    let open = || EventStore::open_database(&url).unwrap();
    let (one, other, (_dir, file)) = (open(), open(), store());
    assert!(one.has_grown().unwrap() && !one.has_grown().unwrap());
    let mut events = Vec::new();
    for number in 0..60_i64 {
        let at = DAY * (number % 3) + HOUR * (number % 5) + number;
        events.push(match number % 6 {
            0 => act(at, Action::KeyCreated, "key_1"),
            1 => decision(at, by_url),
            2 => decision(at, |record| {
                (record.outcome, record.code) = (Outcome::Refused, Some(Code::CredentialInQuery));
                record.token_id = Some("tok_1".into());
            }),
            3 => decision(at, |record| record.route = Some("50%_x".into())),
            4 => decision(at, |record| record.key_id = Some("key_2".into())),
            _ => decision(at, |record| record.protocol = Protocol::WebSocket),
        });
    }
    for (number, group) in events.chunks(7).enumerate() {
        let node = if number % 2 == 0 { &one } else { &other };
        // Written down in order, as clocks have it.
        let at = |_: &Event| UnixMillis(number as i64 * HOUR);
        assert_eq!(append_at(node, group, at), append_at(&file, group, at));
    }
    assert!(one.has_grown().unwrap());
    assert_eq!(one.last_seq().unwrap(), 60);
    let text = |text: &str| Some(text.to_owned());
    let filters = [
        Filter::default(),
        Filter { kind: Some(Kind::Act), ..Filter::default() },
        Filter { word: text("request.*"), ..Filter::default() },
        Filter { word: text("key.*"), key_id: text("key_1"), ..Filter::default() },
        Filter { severity_min: Some(Severity::Medium), ..Filter::default() },
        Filter { outcome: Some(Outcome::Refused), code: text("credential_in_query"), ..Filter::default() },
        Filter { route: text("50%_x"), ..Filter::default() },
        Filter { carrier: text("query:*"), ..Filter::default() },
        Filter { token_id: text("tok_1"), ..Filter::default() },
        Filter { text: text("CURL/8"), ..Filter::default() },
        Filter { text: text("%_x"), ..Filter::default() },
        Filter { from: Some(UnixMillis(2 * HOUR)), to: Some(UnixMillis(5 * HOUR)), ..Filter::default() },
    ];
    for filter in &filters {
        for (before, limit) in [(None, 100), (None, 3), (Some(20), 5)] {
            let (of_all, of_one) = (one.events(filter, before, limit), file.events(filter, before, limit));
            assert_eq!(of_all.unwrap(), of_one.unwrap(), "{filter:?}");
        }
    }
    assert_eq!(one.since(10, 7).unwrap(), file.since(10, 7).unwrap());
    assert_eq!((one.event(5).unwrap(), one.event(999).unwrap()), (file.event(5).unwrap(), None));
    for span in [Span::Hour, Span::Day] {
        let whole = UsageQuery::between(UnixMillis(0), UnixMillis(9 * DAY), span);
        let mut queries = vec![whole.clone(), UsageQuery { by_span: true, ..whole.clone() }];
        for dimension in Dimension::ALL {
            queries.push(UsageQuery { group: vec![dimension], by_span: true, ..whole.clone() });
        }
        let only = vec![(Dimension::Carrier, "query:*".to_owned()), (Dimension::Route, "events".to_owned())];
        queries.push(UsageQuery { group: vec![Dimension::Key, Dimension::Outcome], only, ..whole });
        for query in queries {
            assert_eq!(one.usage(&query).unwrap(), file.usage(&query).unwrap(), "{query:?}");
        }
    }
    assert_eq!(one.last_seen(Some("key_1")).unwrap().len(), file.last_seen(Some("key_1")).unwrap().len());
    assert_eq!(one.url_key_use(UnixMillis(0)).unwrap(), file.url_key_use(UnixMillis(0)).unwrap());
    let some = Retention { keep_millis: i64::MAX, keep_max: 9 };
    assert_eq!(other.forget(some, UnixMillis(DAY)).unwrap(), file.forget(some, UnixMillis(DAY)).unwrap());
    assert_eq!(numbers(&one, &Filter::default()), numbers(&file, &Filter::default()));
    assert_eq!(append(&one, &events[..1]), 61);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let node = open();
                for _ in 0..10 {
                    append(&node, &events[..7]);
                }
            });
        }
    });
    assert_eq!(one.last_seq().unwrap(), 61 + 4 * 10 * 7, "no number is lost between nodes");
}
