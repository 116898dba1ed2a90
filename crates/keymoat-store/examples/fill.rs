//! Fills a store for measurements: so many keys, and so many events about them, spread over the last thirty days.
//!
//! `cargo run --example fill -- DIR KEYS EVENTS`

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use keymoat_core::record::{InUrl, Outcome, Protocol, Record, RecordId};
use keymoat_core::refusal::Code;
use keymoat_core::{Carrier, Event, Key, Secret, UnixMillis};
use keymoat_store::events::{Durability, Entry, EventStore};
use keymoat_store::{Import, ImportMode, Imported, NewKey, Store};

/// What the first keys are called.
const NAMES: [&str; 12] = [
    "voice-app",
    "security-dashboard",
    "doorbell-firmware",
    "nightly-export",
    "ios-app",
    "android-app",
    "partner-feed",
    "grafana",
    "support-desk",
    "batch-import",
    "kiosk",
    "load-test",
];
const DAYS: i64 = 30;
const DAY_MILLIS: i64 = 86_400_000;
/// So many at once: a transaction each.
const BATCH: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("DIR KEYS EVENTS are wanted");
    let (dir, keys, events) = (PathBuf::from(next()?), next()?.parse::<usize>()?, next()?.parse::<usize>()?);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let keys = fill_keys(&dir, keys, UnixMillis(now))?;
    let store = EventStore::open(&dir, Durability::Process)?;
    let mut written = 0;
    while written < events {
        let batch: Vec<Event> = (written..events.min(written + BATCH))
            .map(|number| Event::Decision(Arc::new(record(number, events, &keys, now))))
            .collect();
        let bodies: Vec<String> = batch.iter().map(ToString::to_string).collect();
        let entries: Vec<Entry<'_>> = batch
            .iter()
            .zip(&bodies)
            .filter_map(|(event, body)| Some(Entry { at: event.record()?.at, event, body }))
            .collect();
        store.append(&entries)?;
        written += entries.len();
    }
    Ok(())
}

fn fill_keys(dir: &std::path::Path, count: usize, now: UnixMillis) -> Result<Vec<Key>, Box<dyn Error>> {
    let store = Store::open(dir)?;
    let mut keys = Vec::with_capacity(count);
    for start in (0..count).step_by(BATCH) {
        let numbers: Vec<usize> = (start..count.min(start + BATCH)).collect();
        let secrets: Vec<Secret> =
            numbers.iter().map(|number| Secret::from(format!("measured-key-number-{number}"))).collect();
        let imports =
            numbers.iter().zip(&secrets).map(|(number, secret)| Import { new: NewKey::named(&name(*number)), secret });
        for imported in store.import_keys(imports.collect(), ImportMode::Commit, now)? {
            if let Imported::Made(key) | Imported::Known(key) = imported {
                keys.push(key);
            }
        }
    }
    Ok(keys)
}

fn name(number: usize) -> String {
    NAMES.get(number).map_or_else(|| format!("client-{number}"), ToString::to_string)
}

/// Request `number` of `count`: the later, the more clients have moved out of the URL.
fn record(number: usize, count: usize, keys: &[Key], now: i64) -> Record {
    // A linear congruence: the same each time, and without a pattern that a database could profit from.
    let draw = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33;
    let share = i64::try_from(number * 1000 / count.max(1)).unwrap_or_default();
    let at = UnixMillis(
        now - DAYS * DAY_MILLIS + share * DAYS * DAY_MILLIS / 1000 + i64::try_from(number % 1000).unwrap_or_default(),
    );
    let client = [10, 0, (draw >> 8 & 255) as u8, (draw & 255) as u8].into();
    let mut record =
        Record::begin(at, client, if draw.is_multiple_of(5) { Protocol::WebSocket } else { Protocol::Http1 });
    let key = keys.get(draw % keys.len().max(1));
    record.id = RecordId::new(at, number as u128);
    record.method = "GET";
    record.path = if draw.is_multiple_of(5) { "/ws/events".to_owned() } else { "/api/events".to_owned() };
    record.route = Some(Arc::from(if draw.is_multiple_of(3) { "gemini" } else { "events" }));
    record.upstream = record.route.clone();
    record.key_id = key.map(|key| Arc::clone(&key.id));
    record.secret_id = key.and_then(|key| Some(Arc::clone(&key.newest_secret()?.id)));
    record.status = Some(200);
    record.outcome = Outcome::Allowed;
    record.duration_millis = (draw % 400) as u64;
    let is_by_url = i64::try_from(draw % 1000).unwrap_or_default() > share;
    record.carrier = Some(if is_by_url { Carrier::Query("api_key".into()) } else { Carrier::Subprotocol });
    if is_by_url {
        record.in_url = InUrl::Key;
        record.let_in_by_url = true;
        record.user_agent = Some("python-requests/2.32".to_owned());
    }
    if draw.is_multiple_of(17) {
        (record.outcome, record.code, record.status) = (Outcome::Refused, Some(Code::Forbidden), Some(403));
        record.let_in_by_url = false;
    }
    record
}
