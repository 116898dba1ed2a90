//! Reads counts: how much of what there was, by hour or day; and when each secret was last seen.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use keymoat_core::UnixMillis;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::unsigned;
use crate::error::StoreError;

const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// For so long counts of single keys are kept by the hour; afterwards by the day.
pub(crate) const KEY_HOURS_KEPT_MILLIS: i64 = 35 * DAY_MILLIS;

/// How many rows one question may have.
pub(crate) const ROWS_MAX: usize = 20_000;

/// The length of what is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// An hour of UTC.
    Hour,
    /// A day of UTC.
    Day,
}

impl Span {
    /// The beginning of the hour or day that `at` is in.
    #[must_use]
    pub const fn start_of(self, at: UnixMillis) -> UnixMillis {
        let millis = self.millis();
        UnixMillis(at.0.div_euclid(millis) * millis)
    }

    /// Its length.
    #[must_use]
    pub const fn millis(self) -> i64 {
        match self {
            Self::Hour => HOUR_MILLIS,
            Self::Day => DAY_MILLIS,
        }
    }

    pub(crate) const fn totals(self) -> &'static str {
        match self {
            Self::Hour => "usage_hour",
            Self::Day => "usage_day",
        }
    }

    pub(crate) const fn of_keys(self) -> &'static str {
        match self {
            Self::Hour => "usage_key_hour",
            Self::Day => "usage_key_day",
        }
    }
}

/// By what counts are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// The key.
    Key,
    /// The secret of the key.
    Secret,
    /// The route.
    Route,
    /// The carrier.
    Carrier,
    /// What it came with: `key`, `token`, or nothing that is known.
    Credential,
    /// What stood in the URL.
    InUrl,
    /// How it ended.
    Outcome,
    /// Why it was refused or failed.
    Code,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Key, Self::Secret, Self::Route, Self::Carrier, Self::Credential, Self::InUrl, Self::Outcome, Self::Code];

    /// The word in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "key_id",
            Self::Secret => "secret_id",
            Self::Route => "route",
            Self::Carrier => "carrier",
            Self::Credential => "credential",
            Self::InUrl => "in_url",
            Self::Outcome => "outcome",
            Self::Code => "code",
        }
    }

    /// The dimension with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.word() == word)
    }

    /// Whether only the counts of single keys tell it.
    pub(crate) const fn is_of_keys(self) -> bool {
        matches!(self, Self::Key | Self::Secret)
    }
}

/// What is to be counted: the decisions about requests that came in between two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// From the beginning of the hour or day that this is in.
    pub from: UnixMillis,
    /// To the end of the one that this is in, unless it is the first moment of one.
    pub to: UnixMillis,
    /// How the counts are kept that are read. Those of single keys are kept by the hour for 35 days.
    pub span: Span,
    /// One row for each span; otherwise one for the whole time.
    pub by_span: bool,
    /// One row for each value of these.
    pub group: Vec<Dimension>,
    /// Only what has these values.
    pub only: Vec<(Dimension, String)>,
}

impl UsageQuery {
    /// Everything between two moments, in one row.
    #[must_use]
    pub const fn between(from: UnixMillis, to: UnixMillis, span: Span) -> Self {
        Self { from, to, span, by_span: false, group: Vec::new(), only: Vec::new() }
    }
}

/// Counts of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The beginning of its hour or day, if each has a row.
    pub start: Option<UnixMillis>,
    /// Its values, in the order that was asked for; an absent one is empty.
    pub group: Vec<String>,
    /// How much.
    pub counts: Counts,
}

/// How much of something there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests over HTTP.
    pub requests: u64,
    /// WebSockets.
    pub sessions: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Requests and sessions that were let in only because long-lived keys are taken in URLs.
    pub let_in_by_url: u64,
    /// Further copies of credentials that were removed.
    pub copies_stripped: u64,
    /// Credentials that were echoed as lone subprotocols.
    pub echoes: u64,
    /// The first of them.
    pub first_at: UnixMillis,
    /// The last of them.
    pub last_at: UnixMillis,
}

/// A secret in a carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSeen {
    /// The key.
    pub key_id: Arc<str>,
    /// Which secret of it; empty where that is not known.
    pub secret_id: Arc<str>,
    /// The carrier.
    pub carrier: String,
    /// The route; empty where none was found.
    pub route: Arc<str>,
    /// What came: `key` itself, or a `token` that was minted from it.
    pub credential: String,
    /// When it was first seen there.
    pub first_at: UnixMillis,
    /// When it was last seen there.
    pub last_at: UnixMillis,
    /// How many went upstream.
    pub allowed: u64,
    /// How many were refused.
    pub refused: u64,
    /// The last client's own name for itself, if it came by a URL.
    pub user_agent: Option<String>,
}

/// When and where a key was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub at: UnixMillis,
    /// In which carrier.
    pub carrier: String,
}

/// A long-lived key that was let in by a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlKeyUse {
    /// The route.
    pub route: Arc<str>,
    /// The key.
    pub key_id: Arc<str>,
    /// The carrier.
    pub carrier: String,
    /// How many requests and sessions.
    pub uses: u64,
    /// The first one.
    pub first_at: UnixMillis,
    /// The last one.
    pub last_at: UnixMillis,
    /// The last client's own name for itself.
    pub user_agent: Option<String>,
}

/// Who came by URLs within a time: all of them, and in full those who did it most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlClients {
    /// The route and the key of each, once.
    pub all: BTreeSet<(Arc<str>, Arc<str>)>,
    /// The busiest first, each with the number of its last event where that is known.
    pub busiest: Vec<(UrlKeyUse, Option<u64>)>,
}

/// So many times as many as are wanted are counted exactly: of those who were busy once not all are so now.
const COUNTED: usize = 4;

impl UrlClients {
    /// Of all `clients` that were seen since a moment, with the numbers of their last events; `uses_since` counts how much
    /// of what some of them did ever falls into the time.
    pub(crate) fn of(mut clients: Vec<(UrlKeyUse, Option<u64>)>, most: usize) -> (Self, Vec<(UrlKeyUse, Option<u64>)>) {
        let all = clients.iter().map(|(used, _)| (Arc::clone(&used.route), Arc::clone(&used.key_id))).collect();
        clients.sort_by(busiest_first);
        clients.truncate(most.saturating_mul(COUNTED));
        (Self { all, busiest: Vec::new() }, clients)
    }

    /// The same with those that were counted exactly, which are no longer in order.
    pub(crate) fn with(mut self, mut counted: Vec<(UrlKeyUse, Option<u64>)>, most: usize) -> Self {
        counted.sort_by(busiest_first);
        counted.truncate(most);
        self.busiest = counted;
        self
    }
}

fn busiest_first((one, _): &(UrlKeyUse, Option<u64>), (other, _): &(UrlKeyUse, Option<u64>)) -> Ordering {
    let by_name = || (&*one.route, &*one.key_id, &*one.carrier).cmp(&(&*other.route, &*other.key_id, &*other.carrier));
    other.uses.cmp(&one.uses).then_with(by_name)
}

pub(super) fn url_clients(
    connection: &mut Connection,
    since: UnixMillis,
    most: usize,
) -> Result<UrlClients, StoreError> {
    let moment = connection.transaction()?;
    let since = Span::Day.start_of(since);
    let sql = "SELECT route, key_id, carrier, uses, first_at, last_at, nullif(user_agent, ''), last_seq FROM url_client \
               WHERE last_at >= ?1";
    let mut statement = moment.prepare_cached(sql)?;
    let clients = statement.query_map([since.0], |row| {
        let used = UrlKeyUse {
            route: row.get(0)?,
            key_id: row.get(1)?,
            carrier: row.get(2)?,
            uses: unsigned(row, 3)?,
            first_at: UnixMillis(row.get(4)?),
            last_at: UnixMillis(row.get(5)?),
            user_agent: row.get(6)?,
        };
        Ok((used, Some(unsigned(row, 7)?).filter(|seq| *seq > 0)))
    })?;
    let (found, mut counted) = UrlClients::of(clients.collect::<Result<_, _>>()?, most);
    let sql = "SELECT sum(let_in_by_url), min(first_at) FROM usage_key_day WHERE key_id = ?1 AND start >= ?2 \
               AND route = ?3 AND carrier = ?4 AND let_in_by_url > 0";
    let mut of_client = moment.prepare_cached(sql)?;
    for (used, _) in counted.iter_mut().filter(|(used, _)| used.first_at < since) {
        let values = params![used.key_id, since.0, used.route, used.carrier];
        let (uses, first_at): (Option<i64>, Option<i64>) =
            of_client.query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        used.uses = uses.unwrap_or_default().unsigned_abs();
        used.first_at = first_at.map_or(used.last_at, UnixMillis);
    }
    Ok(found.with(counted, most))
}

pub(super) fn last_use(
    connection: &Connection,
    key_ids: &[Arc<str>],
) -> Result<HashMap<Arc<str>, LastUse>, StoreError> {
    let sql = "SELECT last_at, carrier FROM last_seen WHERE key_id = ?1 ORDER BY last_at DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut uses = HashMap::new();
    for key_id in key_ids {
        let read = |row: &Row<'_>| Ok(LastUse { at: UnixMillis(row.get(0)?), carrier: row.get(1)? });
        if let Some(last) = statement.query_row([key_id], read).optional()? {
            uses.insert(Arc::clone(key_id), last);
        }
    }
    Ok(uses)
}

pub(super) fn usage(connection: &Connection, query: &UsageQuery) -> Result<Vec<Usage>, StoreError> {
    let all = query.group.iter().chain(query.only.iter().map(|(dimension, _)| dimension));
    let of_keys = all.into_iter().any(|dimension| dimension.is_of_keys());
    let table = if of_keys { query.span.of_keys() } else { query.span.totals() };
    let mut sql = String::from("SELECT ");
    let groups: Vec<&str> =
        query.by_span.then_some("start").into_iter().chain(query.group.iter().map(|by| by.word())).collect();
    for group in &groups {
        sql.push_str(group);
        sql.push_str(", ");
    }
    sql.push_str(
        "sum(requests), sum(sessions), sum(bytes_in), sum(bytes_out), sum(let_in_by_url), sum(copies), sum(echoes), \
         min(first_at), max(last_at) FROM ",
    );
    sql.push_str(table);
    sql.push_str(" WHERE start >= ? AND start < ?");
    let mut values: Vec<Value> = vec![query.span.start_of(query.from).0.into(), query.to.0.into()];
    for (dimension, value) in &query.only {
        match (dimension, value.strip_suffix('*')) {
            (Dimension::Carrier, Some(start)) => {
                // A carrier's kind: what begins with it and comes before all that begins with a later letter.
                sql.push_str(" AND carrier >= ? AND carrier < ?");
                values.extend([start.to_owned().into(), format!("{start}\u{10ffff}").into()]);
            }
            _ => {
                sql.push_str(&format!(" AND {} = ?", dimension.word()));
                values.push(value.clone().into());
            }
        }
    }
    if groups.is_empty() {
        // Without a group there is a row even of nothing.
        sql.push_str(" HAVING count(*) > 0");
    } else {
        let groups = groups.join(", ");
        sql.push_str(&format!(" GROUP BY {groups} ORDER BY {groups} LIMIT {ROWS_MAX}"));
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| {
        let start = if query.by_span { Some(UnixMillis(row.get(0)?)) } else { None };
        let first = usize::from(query.by_span);
        let group = (first..groups.len()).map(|at| row.get(at)).collect::<rusqlite::Result<_>>()?;
        Ok(Usage { start, group, counts: counts(row, groups.len())? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn counts(row: &Row<'_>, at: usize) -> rusqlite::Result<Counts> {
    Ok(Counts {
        requests: unsigned(row, at)?,
        sessions: unsigned(row, at + 1)?,
        bytes_in: unsigned(row, at + 2)?,
        bytes_out: unsigned(row, at + 3)?,
        let_in_by_url: unsigned(row, at + 4)?,
        copies_stripped: unsigned(row, at + 5)?,
        echoes: unsigned(row, at + 6)?,
        first_at: UnixMillis(row.get(at + 7)?),
        last_at: UnixMillis(row.get(at + 8)?),
    })
}

pub(super) fn last_seen(connection: &Connection, key_id: Option<&str>) -> Result<Vec<LastSeen>, StoreError> {
    let only = if key_id.is_some() { " WHERE key_id = ?1" } else { "" };
    let sql = format!(
        "SELECT key_id, secret_id, carrier, route, credential, first_at, last_at, allowed, refused, user_agent \
         FROM last_seen{only} ORDER BY key_id, last_at DESC"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(key_id), |row| {
        Ok(LastSeen {
            key_id: row.get(0)?,
            secret_id: row.get(1)?,
            carrier: row.get(2)?,
            route: row.get(3)?,
            credential: row.get(4)?,
            first_at: UnixMillis(row.get(5)?),
            last_at: UnixMillis(row.get(6)?),
            allowed: unsigned(row, 7)?,
            refused: unsigned(row, 8)?,
            user_agent: present(row.get(9)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn url_key_use(connection: &Connection, since: UnixMillis) -> Result<Vec<UrlKeyUse>, StoreError> {
    let newest: Option<i64> =
        connection.prepare_cached("SELECT max(start) FROM usage_key_hour")?.query_row([], |row| row.get(0))?;
    let by_hours = newest.is_none_or(|newest| since.0 >= newest - KEY_HOURS_KEPT_MILLIS);
    let span = if by_hours { Span::Hour } else { Span::Day };
    let sql = format!(
        "SELECT route, key_id, carrier, sum(let_in_by_url), min(first_at), max(last_at), \
         (SELECT nullif(client.user_agent, '') FROM url_client AS client WHERE client.route = used.route \
          AND client.key_id = used.key_id AND client.carrier = used.carrier) \
         FROM {} AS used WHERE start >= ?1 AND let_in_by_url > 0 \
         GROUP BY route, key_id, carrier ORDER BY route, sum(let_in_by_url) DESC, key_id, carrier",
        span.of_keys()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([span.start_of(since).0], |row| {
        Ok(UrlKeyUse {
            route: row.get(0)?,
            key_id: row.get(1)?,
            carrier: row.get(2)?,
            uses: unsigned(row, 3)?,
            first_at: UnixMillis(row.get(4)?),
            last_at: UnixMillis(row.get(5)?),
            user_agent: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn present(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}
