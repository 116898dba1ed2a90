//! Plants keys that nobody issued, and looks for them wherever something is written about requests: the store, files and logs,
//! standard output, the metrics, and what a collector is told.
//!
//! Each place has to tell of the requests, too: a log that says nothing of them proves nothing.

mod log;
mod planted;
mod stand_in;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use keymoat_admin::otlp;
use keymoat_store::EventStore;
use keymoat_store::events::{Durability, FILE_NAME};

use self::log::Log;
use self::planted::Canaries;
use self::stand_in::StandIn;
use super::table::{CANARY, CANARY_OUTPUT, CANARY_TELEMETRY, Check};
use super::{Finding, Outcome, Patient};
use crate::socket::Socket;

/// How long writers get until what they had to say is there.
const SETTLE: Duration = Duration::from_millis(1500);
/// How long what comes from elsewhere is waited for: a pipe, or the running gateway's telemetry.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
/// So many events are read at once, and so often.
const PAGE: usize = 1_000;
const PAGES_MAX: usize = 20;

/// The canaries once they were sent, and what was listened to meanwhile.
pub(crate) struct Sent {
    canaries: Canaries,
    logs: Vec<Log>,
    outputs: Vec<Log>,
    stand_in: Option<Result<StandIn, String>>,
    /// The events of the requests, from the store; nothing where there is none.
    events: Option<Vec<String>>,
}

/// Why nothing was sent.
#[derive(Clone, Debug)]
pub(crate) struct NotSent(Outcome, String);

/// What was seen in one place after the other.
#[derive(Default)]
struct Search {
    worst: Option<Outcome>,
    seen: Vec<String>,
    files: usize,
}

impl Search {
    fn note(&mut self, outcome: Outcome, seen: String) {
        self.worst = self.worst.max(Some(outcome));
        self.seen.push(seen);
    }

    /// Looks for canaries in what Keymoat writes itself: there is no excuse for one.
    fn own(&mut self, canaries: &Canaries, name: &str, bytes: &[u8]) {
        for (place, _) in canaries.found_in(bytes) {
            self.note(Outcome::Fail, format!("the key of {place} stands in {name}"));
        }
    }

    /// Looks for canaries in the log of something in front, which gets URLs as they are.
    fn foreign(&mut self, canaries: &Canaries, name: &str, bytes: &[u8]) {
        for (place, is_in_url) in canaries.found_in(bytes) {
            let outcome = if is_in_url { Outcome::Warn } else { Outcome::Fail };
            self.note(outcome, format!("the key of {place} stands in {name}"));
        }
    }

    /// Reads each log that was named, which has to tell of the requests.
    fn logs(&mut self, canaries: &Canaries, logs: &[Log], look: fn(&mut Self, &Canaries, &str, &[u8])) {
        for log in logs {
            let bytes = match log.read() {
                Ok(bytes) => bytes,
                Err(why) => {
                    self.note(Outcome::Fail, format!("{} cannot be read: {why}", log.name));
                    continue;
                }
            };
            self.files += 1;
            look(self, canaries, &log.name, &bytes);
            if !canaries.are_told_of_in(&bytes) {
                self.note(Outcome::Warn, format!("{} tells of none of the requests, so it proves nothing", log.name));
            }
        }
    }

    /// The finding; `clean` where nothing was noted.
    fn ended(self, check: &Check, clean: impl FnOnce(usize) -> String) -> Finding {
        match self.worst {
            Some(worst) => Finding::new(check, worst, self.seen.join(", ")),
            None => Finding::new(check, Outcome::Ok, clean(self.files)),
        }
    }
}

/// D112: the store, its events, the metrics, files, and the logs of what stands in front.
pub(super) fn canary(patient: &mut Patient) -> Finding {
    let sent = match sent(patient) {
        Ok(sent) => sent,
        Err(NotSent(outcome, why)) => return Finding::new(CANARY, outcome, why),
    };
    let (canaries, mut search) = (&sent.canaries, Search::default());
    for file in store_files(patient) {
        // SQLite removes its own journal files while they are being listed.
        let Ok(bytes) = Log::open(&file).read() else { continue };
        search.files += 1;
        search.own(canaries, &format!("`{}`", file.display()), &bytes);
    }
    if let Some(events) = &sent.events {
        events.iter().for_each(|event| search.own(canaries, "the events", event.as_bytes()));
        if events.is_empty() {
            let seen = "the events of this store tell of none of the requests: is it the store of that gateway?";
            search.note(Outcome::Warn, seen.to_owned());
        }
    }
    let metrics = Socket::of_store(patient.store_dir()).and_then(|socket| socket.text("/metrics").ok());
    if let Some(metrics) = &metrics {
        search.own(canaries, "the metrics", metrics.as_bytes());
    }
    let own: Vec<_> = patient.config.events.file.iter().map(|file| Log::open(file)).collect();
    search.logs(canaries, &own, Search::own);
    search.logs(canaries, &sent.logs, Search::foreign);
    if search.files == 0 && search.worst.is_none() {
        return Finding::new(CANARY, Outcome::Skipped, "nothing is written that could be searched");
    }
    search.ended(CANARY, |files| {
        let events = sent.events.as_ref().map(|events| format!(", in none of their {} events", events.len()));
        let metrics = metrics.map(|_| ", not in the metrics");
        format!("in none of {files} files{}{}", events.unwrap_or_default(), metrics.unwrap_or_default())
    })
}

/// D114: standard output and standard error of the gateway, wherever they are caught.
pub(super) fn output(patient: &mut Patient) -> Finding {
    if patient.outputs.is_empty() {
        let how = "name where it is caught, such as --output <(journalctl -fu keymoat -n 0)";
        return Finding::new(CANARY_OUTPUT, Outcome::Skipped, how);
    }
    let sent = match sent(patient) {
        Ok(sent) => sent,
        Err(NotSent(outcome, why)) => return Finding::new(CANARY_OUTPUT, outcome, why),
    };
    let mut search = Search::default();
    search.logs(&sent.canaries, &sent.outputs, Search::own);
    search.ended(CANARY_OUTPUT, |_| "it tells of the requests, and of no key".to_owned())
}

/// D115: what a collector is told over OTLP.
pub(super) fn telemetry(patient: &mut Patient) -> Finding {
    let Some(signals) = patient.config.telemetry.as_ref().map(|telemetry| telemetry.signals.clone()) else {
        return Finding::new(
            CANARY_TELEMETRY,
            Outcome::Skipped,
            "no collector is told: there is no `[telemetry] otlp`",
        );
    };
    let sent = match sent(patient) {
        Ok(sent) => sent,
        Err(NotSent(outcome, why)) => return Finding::new(CANARY_TELEMETRY, outcome, why),
    };
    let (canaries, mut search) = (&sent.canaries, Search::default());
    match &sent.stand_in {
        Some(Err(why)) => Finding::new(CANARY_TELEMETRY, Outcome::Fail, why.clone()),
        Some(Ok(stand_in)) => {
            let taken = stand_in.taken();
            search.own(canaries, "what the collector is sent", &taken.bytes);
            if !canaries.are_told_of_in(&taken.bytes) {
                let seen =
                    format!("{} messages came in the collector's place, none of them of the requests", taken.messages);
                search.note(Outcome::Warn, seen);
            }
            search.ended(CANARY_TELEMETRY, |_| {
                format!("in none of {} messages that came in the collector's place", taken.messages)
            })
        }
        None => {
            let events = sent.events.as_deref().unwrap_or_default();
            let messages = otlp::messages(events.iter().map(String::as_str), &signals);
            for (path, message) in &messages {
                search.own(canaries, &format!("what `{path}` is sent"), message);
            }
            if messages.is_empty() {
                let seen = "the store has no events of the requests of which it could be told";
                return Finding::new(CANARY_TELEMETRY, Outcome::Skipped, seen);
            }
            search.ended(CANARY_TELEMETRY, |_| {
                let count = messages.len();
                format!("in none of the {count} messages that the events become; --collector takes the gateway's own")
            })
        }
    }
}

/// Sends the canaries, once for all checks, and gives everything time to write.
fn sent(patient: &mut Patient) -> Result<Rc<Sent>, NotSent> {
    if let Some(sent) = &patient.sent {
        return sent.clone();
    }
    let sent = send(patient).map(Rc::new);
    patient.sent.insert(sent).clone()
}

fn send(patient: &Patient) -> Result<Sent, NotSent> {
    let Some(address) = patient.through.as_ref().or(patient.gateway.as_ref()) else {
        let why = "nothing to send it to: name the gateway with --gateway URL";
        return Err(NotSent(Outcome::Skipped, why.to_owned()));
    };
    let canaries = Canaries::new();
    let open = |paths: &[PathBuf]| paths.iter().map(|path| Log::open(path)).collect::<Vec<_>>();
    let (logs, outputs) = (open(&patient.logs), open(&patient.outputs));
    let stand_in = patient.stands_in_for_collector.then(|| stand_in(patient)).flatten();
    let events = event_store(patient);
    let before = events.as_ref().and_then(|events| events.last_seq().ok()).unwrap_or_default();
    canaries.send(address, patient.ca.as_deref()).map_err(|error| NotSent(Outcome::Fail, format!("{error:#}")))?;
    let began = Instant::now();
    std::thread::sleep(SETTLE);
    let is_told = |log: &Log| !log.is_pipe() || log.read().is_ok_and(|bytes| canaries.are_told_of_in(&bytes));
    let is_taken = || match &stand_in {
        Some(Ok(stand_in)) => canaries.are_told_of_in(&stand_in.taken().bytes),
        Some(Err(_)) | None => true,
    };
    while !(logs.iter().chain(&outputs).all(is_told) && is_taken()) && began.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
    }
    let events = events.map(|events| behind(&events, before, &canaries));
    Ok(Sent { canaries, logs, outputs, stand_in, events })
}

/// Stands in for the collector of the configuration, if there is one.
fn stand_in(patient: &Patient) -> Option<Result<StandIn, String>> {
    let endpoint = &patient.config.telemetry.as_ref()?.endpoint;
    let Some(address) = endpoint.on_this_machine() else {
        return Some(Err(format!("nobody can stand in for {endpoint}: it is not in plain text on this machine")));
    };
    let listening = StandIn::listen(address);
    Some(
        listening
            .map_err(|error| format!("cannot stand in for the collector at {address}, stop it meanwhile: {error}")),
    )
}

fn event_store(patient: &Patient) -> Option<EventStore> {
    patient.store()?;
    let (dir, database) = (patient.store_dir(), patient.config.database.as_ref());
    if database.is_none() && !dir.join(FILE_NAME).exists() {
        return None;
    }
    EventStore::open_beside(dir, database, Durability::Process).ok()
}

/// The events of the requests, which came behind the number `after`.
fn behind(events: &EventStore, mut after: u64, canaries: &Canaries) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = events.since(after, PAGE).unwrap_or_default();
        let Some(last) = page.last() else { break };
        after = last.seq;
        let told = page.iter().map(keymoat_store::events::Kept::json);
        found.extend(told.filter(|event| canaries.are_told_of_in(event.as_bytes())));
    }
    found
}

/// Every file of the store's folder.
fn store_files(patient: &Patient) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(patient.store_dir());
    entries
        .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use keymoat_admin::otlp::Signal;

    use super::*;

    #[test]
    fn a_key_in_what_a_collector_is_sent_is_found_and_the_url_of_a_proxy_only_warns() {
        let canaries = Canaries::new();
        let event = canaries.shown_in(r#"{"type":"request.refused","severity":"low","cause":"KEYS"}"#);
        let messages = otlp::messages([event.as_str()], &Signal::ALL);
        let mut search = Search::default();
        messages.iter().for_each(|(path, message)| search.own(&canaries, path, message));
        assert_eq!((search.worst, search.seen.len()), (Some(Outcome::Fail), 4), "{:?}", search.seen);
        assert!(otlp::messages([], &Signal::ALL).is_empty());

        let mut search = Search::default();
        search.foreign(&canaries, "a log", canaries.in_url().as_bytes());
        assert_eq!((search.worst, search.seen.len()), (Some(Outcome::Warn), 1));
        search.foreign(&canaries, "a log", event.as_bytes());
        assert_eq!(search.ended(CANARY, |_| String::new()).outcome, Outcome::Fail);
    }
}
