//! Events on their way: kept, numbered, told in order; lost ones are counted and told of too.

use std::sync::Arc;
use std::time::Duration;

use keymoat_admin::events::{Delivery, Events, Losses, Next, NotKept, Options, QUEUE_MAX};
use keymoat_core::UnixMillis;
use keymoat_core::act::{Act, Action, Actor};
use keymoat_core::event::{Event, Kind, Sink};
use keymoat_core::record::{Outcome, Protocol, Record};
use keymoat_redact::{Known, KnownSecrets};
use keymoat_store::EventStore;
use keymoat_store::events::{Durability, Entry, FILE_NAME, Filter, Retention};
use tempfile::TempDir;

const CANARY: &str = "kq7Vx2-canary-Zt9Lw";

struct Stand {
    dir: TempDir,
    events: Events,
    store: Arc<EventStore>,
}

fn options(delivery: Delivery) -> Options {
    let known = KnownSecrets::default();
    known.replace(Known::new([CANARY.as_bytes()]));
    Options {
        delivery,
        retention: Retention { keep_millis: i64::MAX, keep_max: 1_000_000 },
        known,
        rules: Arc::default(),
        file: None,
        stdout: false,
        others: Vec::new(),
        lost: Arc::<Losses>::default(),
        clock: || UnixMillis(1_000),
    }
}

impl Stand {
    fn start(delivery: Delivery) -> Self {
        Self::start_with(|_, _| {}, delivery)
    }

    fn start_with(change: impl FnOnce(&TempDir, &mut Options), delivery: Delivery) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let durability = match delivery {
            Delivery::BestEffort => Durability::Process,
            Delivery::Required => Durability::Power,
        };
        let store = Arc::new(EventStore::open(dir.path(), durability).unwrap());
        let mut options = options(delivery);
        change(&dir, &mut options);
        let events = Events::start(Arc::clone(&store), options).unwrap();
        Self { dir, events, store }
    }

    fn lock(&self) -> rusqlite::Connection {
        let raw = rusqlite::Connection::open(self.dir.path().join(FILE_NAME)).unwrap();
        raw.execute_batch("BEGIN IMMEDIATE").unwrap();
        raw
    }
}

fn record(path: &str) -> Record {
    let mut record = Record::begin(UnixMillis(500), [127, 0, 0, 1].into(), Protocol::Http1);
    (record.outcome, record.path) = (Outcome::Allowed, path.to_owned());
    record
}

fn act(detail: &str) -> Act {
    let (actor, target) = (Actor::Command, Some("key_1".into()));
    Act { at: UnixMillis(600), actor, action: Action::KeyCreated, target, detail: Some(detail.to_owned()) }
}

async fn next(subscription: &mut keymoat_admin::events::Subscription) -> (u64, String) {
    match tokio::time::timeout(Duration::from_secs(10), subscription.next()).await.unwrap().unwrap() {
        Next::Event(kept) => (kept.seq, kept.word.to_string()),
        Next::Missed(missed) => panic!("missed {missed}"),
    }
}

#[tokio::test]
async fn what_happens_is_kept_and_told_in_the_order_of_its_number() {
    let stand = Stand::start(Delivery::BestEffort);
    let mut live = stand.events.subscribe();
    stand.events.record(Arc::new(record("/one")));
    (stand.events.acts())(act("made"));
    stand.events.flush();
    assert_eq!(next(&mut live).await, (1, "request.allowed".to_owned()));
    assert_eq!(next(&mut live).await, (2, "key.created".to_owned()));
    let kept = stand.store.since(0, 10).unwrap();
    assert_eq!(kept.iter().map(|kept| kept.kind).collect::<Vec<_>>(), [Kind::Decision, Kind::Act]);
    assert_eq!(kept[0].at, UnixMillis(1_000));
    assert!(kept[0].json().contains(r#""path":"/one""#));
}

#[tokio::test]
async fn what_another_process_keeps_is_told_in_its_place() {
    let stand = Stand::start(Delivery::BestEffort);
    let mut live = stand.events.subscribe();
    let other = EventStore::open(stand.dir.path(), Durability::Process).unwrap();
    let event = Event::Act(Box::new(act("by a command")));
    let body = event.to_string();
    let entry = Entry { at: UnixMillis(1), event: &event, body: &body };
    stand.events.record(Arc::new(record("/one")));
    assert_eq!(next(&mut live).await.0, 1);
    other.append(&[entry, entry]).unwrap();
    assert_eq!(next(&mut live).await, (2, "key.created".to_owned()));
    assert_eq!(next(&mut live).await.0, 3);
    other.append(&[entry]).unwrap();
    stand.events.record(Arc::new(record("/two")));
    assert_eq!(next(&mut live).await, (4, "key.created".to_owned()));
    assert_eq!(next(&mut live).await, (5, "request.allowed".to_owned()));
}

#[tokio::test]
async fn a_beginning_is_kept_before_anybody_goes_on_or_refused_in_time() {
    let stand = Stand::start(Delivery::Required);
    stand.events.begin(record("/one")).await.unwrap();
    let kept = stand.store.since(0, 10).unwrap();
    assert_eq!((kept.len(), kept[0].kind, &*kept[0].word), (1, Kind::Begun, "request.begun"));
    let lock = stand.lock();
    let began = std::time::Instant::now();
    assert_eq!(stand.events.begin(record("/two")).await, Err(NotKept));
    assert!(began.elapsed() < Duration::from_secs(5));
    lock.execute_batch("ROLLBACK").unwrap();
    // The store answers again within the time that one attempt waits.
    let mut tries = 0;
    while stand.events.begin(record("/three")).await.is_err() {
        tries += 1;
        assert!(tries < 10);
    }
}

#[tokio::test]
async fn what_the_store_does_not_take_is_counted_and_told_of_when_it_does() {
    let file = |dir: &TempDir, options: &mut Options| options.file = Some(dir.path().join("events.jsonl"));
    let stand = Stand::start_with(file, Delivery::BestEffort);
    let lock = stand.lock();
    stand.events.record(Arc::new(record("/lost")));
    let lost = stand.events.lost();
    while lost.of(Sink::Store) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lock.execute_batch("ROLLBACK").unwrap();
    let is_told = |kept: &keymoat_store::events::Kept| &*kept.word == "events.lost";
    while !stand.store.since(0, 10).unwrap().iter().any(is_told) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = stand.store.since(0, 10).unwrap();
    assert_eq!((told[0].seq, lost.of(Sink::Store)), (1, 1));
    assert!(told[0].body.contains(r#""sink":"store","count":1"#), "{}", told[0].body);
    stand.events.flush();
    let lines = std::fs::read_to_string(stand.dir.path().join("events.jsonl")).unwrap();
    assert!(lines.contains(r#""path":"/lost""#), "the file had it nevertheless: {lines}");
}

#[test]
fn a_full_queue_never_blocks_and_every_event_is_kept_or_counted() {
    let stand = Stand::start(Delivery::BestEffort);
    let lock = stand.lock();
    let sent = (QUEUE_MAX + 500) as u64;
    let one = Arc::new(record("/x"));
    let began = std::time::Instant::now();
    (0..sent).for_each(|_| stand.events.record(Arc::clone(&one)));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    lock.execute_batch("ROLLBACK").unwrap();
    stand.events.flush();
    let lost = stand.events.lost();
    while stand.store.last_seq().unwrap() < 1 || stand.events.waiting() > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let filter = Filter { kind: Some(Kind::Decision), ..Filter::default() };
    let (mut kept, mut before) = (0, None);
    loop {
        let page = stand.store.events(&filter, before, 10_000).unwrap();
        kept += page.items.len() as u64;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert!(lost.of(Sink::Queue) >= 500);
    assert_eq!(kept + lost.of(Sink::Queue) + lost.of(Sink::Store), sent);
}

#[test]
fn no_credential_gets_into_the_database_or_a_file() {
    let file = |dir: &TempDir, options: &mut Options| options.file = Some(dir.path().join("events.jsonl"));
    let stand = Stand::start_with(file, Delivery::BestEffort);
    for leak in [CANARY, "api_key=Zk7Qw2Lr9TnXb4Vm"] {
        let mut leaking = record(&format!("/x/{leak}"));
        (leaking.outcome, leaking.cause) = (Outcome::Failed, Some(format!("the answer was {leak}")));
        stand.events.record(Arc::new(leaking));
        stand.events.act(act(leak));
    }
    stand.events.flush();
    let mut searched = 0;
    for entry in std::fs::read_dir(stand.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        searched += bytes.len();
        for leak in [CANARY, "Zk7Qw2Lr9TnXb4Vm"] {
            let found = bytes.windows(leak.len()).any(|window| window == leak.as_bytes());
            assert!(!found, "{} holds `{leak}`", path.display());
        }
    }
    assert!(searched > 4_000);
    assert_eq!(stand.store.last_seq().unwrap(), 4);
}
