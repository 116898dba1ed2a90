//! `keymoat audit tail`: the events of the store, as they were kept, and as they come.

use std::io::{self, Write};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use keymoat_core::UnixMillis;
use keymoat_core::event::Kind;
use keymoat_store::EventStore;
use keymoat_store::events::{Durability, FILE_NAME, Filter, Kept, SCAN_MAX};
use serde_json::Value;

use super::store_choice::StoreChoice;
use crate::config::StoreConfig;
use crate::config::duration_text;
use crate::output::record::printable;
use crate::output::time::{now, parse_rfc3339};

/// How often the store is looked at for more.
const LOOK: Duration = Duration::from_millis(250);

/// So many events are read at once.
const PAGE: usize = 1_000;

/// Shows what happened: requests, sessions and acts.
///
/// Every request and session that ended, and everything that somebody did to Keymoat, is one event in the store. A
/// gateway may run meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Tail(Tail),
}

/// Shows the last events, the newest at the end.
#[derive(Debug, Parser)]
struct Tail {
    /// Goes on with what comes, until it is interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Shows how many events before that.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    lines: u32,
    /// Shows all events since then, instead of the last ones: 90m, 2h, 7d, or RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "lines")]
    since: Option<String>,
    /// Chooses which events.
    #[arg(long, value_enum, default_value_t = Which::All)]
    kind: Which,
    /// Chooses one type, such as `key.revoked`, or all that begin like `request.*`.
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// Chooses what is about the key with this id.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Chooses what came by this route.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    #[command(flatten)]
    store: StoreChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// What people and commands did.
    Acts,
    /// How requests and sessions ended.
    Decisions,
    /// Everything.
    All,
}

/// Shows events.
///
/// # Errors
/// There is no store, or it cannot be read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Action::Tail(tail) = &arguments.action;
    let filter = tail.filter(now())?;
    let StoreConfig { dir, database, .. } = tail.store.configured()?;
    if database.is_none() && !dir.join(FILE_NAME).exists() {
        anyhow::bail!("there are no events in `{}` yet: `keymoat serve` keeps them there", dir.display());
    }
    let store = EventStore::open_beside(&dir, database.as_ref(), Durability::Process)?;
    let mut last = store.last_seq()?;
    let before = Some(last + 1);
    let count = if tail.since.is_some() { usize::MAX } else { tail.lines as usize };
    let mut out = Out { to: io::stdout(), json: tail.store.json };
    let goes_on = out.write(&newest(&store, &filter, before, 0, count)?)?;
    if !tail.follow || !goes_on {
        return Ok(());
    }
    loop {
        std::thread::sleep(LOOK);
        if !store.has_grown()? {
            continue;
        }
        let end = store.last_seq()?;
        if !out.write(&newest(&store, &filter, Some(end + 1), last, usize::MAX)?)? {
            return Ok(());
        }
        last = end;
    }
}

impl Tail {
    fn filter(&self, now: UnixMillis) -> anyhow::Result<Filter> {
        let kind = match self.kind {
            Which::Acts => Some(Kind::Act),
            Which::Decisions => Some(Kind::Decision),
            Which::All => None,
        };
        let from = self.since.as_deref().map(|since| moment(since, now)).transpose()?;
        let (word, key_id, route) = (self.r#type.clone(), self.key.clone(), self.route.clone());
        Ok(Filter { kind, word, key_id, route, from, ..Filter::default() })
    }
}

/// So long before now, or a moment.
fn moment(text: &str, now: UnixMillis) -> anyhow::Result<UnixMillis> {
    if let Ok(before) = duration_text(text) {
        return Ok(now.plus_millis(-i64::try_from(before.as_millis()).unwrap_or(i64::MAX)));
    }
    parse_rfc3339(text).map_err(|wrong| anyhow::anyhow!("--since: {wrong}"))
}

/// The newest events below `before` and above `after`, as many as `count` of them, the oldest first.
fn newest(
    store: &EventStore,
    filter: &Filter,
    mut before: Option<u64>,
    after: u64,
    count: usize,
) -> anyhow::Result<Vec<Kept>> {
    let mut found = Vec::new();
    while before.is_some_and(|before| before > after) && found.len() < count {
        let page = store.events(filter, before, PAGE.min(count - found.len()).min(SCAN_MAX))?;
        found.extend(page.items.into_iter().filter(|kept| kept.seq > after));
        before = page.next;
    }
    found.reverse();
    Ok(found)
}

struct Out<W> {
    to: W,
    json: bool,
}

impl<W: Write> Out<W> {
    /// Says whether somebody still reads.
    fn write(&mut self, events: &[Kept]) -> anyhow::Result<bool> {
        let mut text = String::new();
        for kept in events {
            text.push_str(&if self.json { kept.json() } else { human(kept) });
            text.push('\n');
        }
        match self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// One line: when, how much it matters, what, and then whatever is said of it.
fn human(kept: &Kept) -> String {
    // Said already, or only of use to programs.
    const LEFT_OUT: [&str; 9] = [
        "type",
        "severity",
        "timestamp",
        "level",
        "event",
        "id",
        "action",
        "copies_stripped",
        "lone_subprotocol_echoed",
    ];
    const FIRST: [&str; 12] = [
        "method", "path", "status", "code", "cause", "actor", "target", "detail", "route", "key_id", "token_id",
        "carrier",
    ];
    let fields: serde_json::Map<String, Value> = serde_json::from_str(&kept.body).unwrap_or_default();
    let when = fields.get("timestamp").and_then(Value::as_str).unwrap_or("-");
    let mut line = format!("{when}  {:<8} {:<16}", kept.severity.word(), kept.word);
    let first = FIRST.iter().filter_map(|name| fields.get_key_value(*name));
    let rest = fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()) && !LEFT_OUT.contains(&name.as_str()));
    for (name, value) in first.chain(rest) {
        let shown = value.as_str().map_or_else(|| value.to_string(), printable);
        let mark = if shown.contains(' ') { "\"" } else { "" };
        if shown != "0" {
            line.push_str(&format!(" {name}={mark}{shown}{mark}"));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use keymoat_core::event::Severity;

    use super::*;

    fn kept(body: &str) -> Kept {
        let (kind, severity) = (Kind::Act, Severity::Medium);
        Kept { seq: 7, at: UnixMillis(0), kind, word: "key.revoked".into(), severity, body: body.into() }
    }

    #[test]
    fn a_line_says_when_what_and_the_rest_and_cannot_steer_the_terminal() {
        let body = "{\"type\":\"key.revoked\",\"timestamp\":\"2026-11-22T00:00:00.000Z\",\"event\":\"act\",\"actor\":\"command\",\
                    \"target\":\"key_1\",\"detail\":\"a \\u001b[2J b\",\"bytes_in\":0}";
        let line = human(&kept(body));
        assert_eq!(
            line,
            "2026-11-22T00:00:00.000Z  medium   key.revoked      actor=command target=key_1 detail=\"a \\u{1b}[2J b\""
        );
    }

    #[test]
    fn json_lines_have_their_number() {
        let mut out = Out { to: Vec::new(), json: true };
        assert!(out.write(&[kept("{\"type\":\"key.revoked\"}")]).unwrap());
        let line: Value = serde_json::from_slice(&out.to).unwrap();
        assert_eq!((line["seq"].as_u64(), line["type"].as_str()), (Some(7), Some("key.revoked")));
    }

    #[test]
    fn since_is_an_age_or_a_moment() {
        let now = UnixMillis(7_200_000);
        assert_eq!(moment("2h", now).unwrap(), UnixMillis(0));
        assert_eq!(moment("1970-01-01T01:00:00Z", now).unwrap(), UnixMillis(3_600_000));
        assert!(moment("soon", now).is_err());
    }
}
