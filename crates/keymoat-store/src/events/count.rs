//! Counts decisions: what a group of them comes to is added up in memory, then once to each row.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use keymoat_core::record::{Outcome, Protocol, Record};
use keymoat_core::refusal::Code;
use keymoat_core::{Carrier, UnixMillis};
use rusqlite::types::Value;
use rusqlite::{Transaction, params_from_iter};

use super::usage::Span;
use crate::error::StoreError;

/// How much of a client's own name is kept.
const USER_AGENT_CHARS_MAX: usize = 128;

/// What a group of decisions comes to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    totals: HashMap<Bucket, Sum>,
    keyed: HashMap<(Holder, Bucket), Sum>,
    seen: HashMap<(Holder, Sighting), Seen>,
    by_url: HashMap<UrlClient, UrlUse>,
}

/// A route, a key that came by it, and the carrier.
type UrlClient = (Arc<str>, Arc<str>, Option<Carrier>);

/// Whose it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Holder {
    key_id: Arc<str>,
    secret_id: Arc<str>,
}

/// One hour of one sort of decision. The day is that of the hour.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bucket {
    hour: i64,
    route: Arc<str>,
    carrier: Option<Carrier>,
    credential: &'static str,
    in_url: &'static str,
    outcome: &'static str,
    code: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    requests: i64,
    sessions: i64,
    bytes_in: i64,
    bytes_out: i64,
    let_in_by_url: i64,
    copies: i64,
    echoes: i64,
    first_at: i64,
    last_at: i64,
}

/// Where a secret was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sighting {
    carrier: Option<Carrier>,
    route: Arc<str>,
    credential: &'static str,
}

#[derive(Clone, Debug)]
struct Seen {
    first_at: i64,
    last_at: i64,
    allowed: i64,
    refused: i64,
    user_agent: String,
}

/// A key that was let in by a URL.
#[derive(Clone, Debug)]
struct UrlUse {
    uses: i64,
    first_at: i64,
    last_at: i64,
    /// Its place in the group.
    last_place: i64,
    user_agent: String,
}

impl Tally {
    /// Counts a decision that has the `place` in its group, from 0 on.
    pub(crate) fn count(&mut self, place: usize, record: &Record) {
        let nothing = || Arc::from("");
        let route = record.route.clone().unwrap_or_else(nothing);
        let bucket = Bucket {
            hour: Span::Hour.start_of(record.at).0,
            route: route.clone(),
            carrier: record.carrier.clone(),
            credential: credential(record),
            in_url: record.in_url.word().unwrap_or_default(),
            outcome: record.outcome.word(),
            code: record.code.map_or("", Code::word),
        };
        let sum = Sum::of(record);
        self.totals.entry(bucket.clone()).and_modify(|before| before.add(&sum)).or_insert(sum);
        let Some(key_id) = record.key_id.clone() else { return };
        let holder = Holder { key_id, secret_id: record.secret_id.clone().unwrap_or_else(nothing) };
        if is_let_in_by_url(record) {
            let client = (route.clone(), holder.key_id.clone(), record.carrier.clone());
            let used = UrlUse::of(i64::try_from(place).unwrap_or(i64::MAX), record);
            match self.by_url.entry(client) {
                Entry::Occupied(mut before) => before.get_mut().add(used),
                Entry::Vacant(place) => drop(place.insert(used)),
            }
        }
        let sighting = Sighting { carrier: record.carrier.clone(), route, credential: bucket.credential };
        self.keyed.entry((holder.clone(), bucket)).and_modify(|before| before.add(&sum)).or_insert(sum);
        let seen = Seen::of(record);
        match self.seen.entry((holder, sighting)) {
            Entry::Occupied(mut before) => before.get_mut().add(seen),
            Entry::Vacant(place) => drop(place.insert(seen)),
        }
    }

    /// Adds it to what is kept; `first` is the number of the group's first event.
    pub(super) fn write(self, first: i64, change: &Transaction<'_>) -> Result<(), StoreError> {
        for (sql, values) in self.statements(first) {
            change.prepare_cached(&sql)?.execute(params_from_iter(values))?;
        }
        Ok(())
    }

    /// What adds it to what is kept; `first` is the number of the group's first event.
    pub(crate) fn statements(self, first: i64) -> Vec<(String, Vec<Value>)> {
        let mut all = Vec::new();
        for (bucket, sum) in &self.totals {
            for span in [Span::Hour, Span::Day] {
                let key = [span.start_of(UnixMillis(bucket.hour)).0.into()].into_iter().chain(bucket.words());
                all.push((add_to_total(span), key.chain(sum.numbers().map(Into::into)).collect()));
            }
        }
        for ((holder, bucket), sum) in &self.keyed {
            for span in [Span::Hour, Span::Day] {
                let key = [
                    Value::from(holder.key_id.to_string()),
                    span.start_of(UnixMillis(bucket.hour)).0.into(),
                    holder.secret_id.to_string().into(),
                ];
                let values = key.into_iter().chain(bucket.words()).chain(sum.numbers().map(Into::into));
                all.push((add_to_key(span), values.collect()));
            }
        }
        for ((holder, Sighting { carrier, route, credential }), seen) in self.seen {
            let sql = "INSERT INTO last_seen (key_id, secret_id, carrier, route, credential, first_at, last_at, allowed, \
                       refused, user_agent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                       ON CONFLICT (key_id, secret_id, carrier, route, credential) DO UPDATE SET \
                       first_at = min(last_seen.first_at, excluded.first_at), \
                       last_at = max(last_seen.last_at, excluded.last_at), \
                       allowed = last_seen.allowed + excluded.allowed, \
                       refused = last_seen.refused + excluded.refused, \
                       user_agent = CASE excluded.user_agent WHEN '' THEN last_seen.user_agent \
                                    ELSE excluded.user_agent END";
            let values = vec![
                holder.key_id.to_string().into(),
                holder.secret_id.to_string().into(),
                carrier_word(carrier.as_ref()).into(),
                route.to_string().into(),
                credential.to_owned().into(),
                seen.first_at.into(),
                seen.last_at.into(),
                seen.allowed.into(),
                seen.refused.into(),
                seen.user_agent.into(),
            ];
            all.push((sql.to_owned(), values));
        }
        all.extend(self.by_url.into_iter().map(|((route, key_id, carrier), used)| {
            let key = [route.to_string(), key_id.to_string(), carrier_word(carrier.as_ref())].map(Value::from);
            let last_seq = first.saturating_add(used.last_place);
            let numbers = [used.uses, used.first_at, used.last_at, last_seq].map(Value::from);
            (ADD_TO_URL_CLIENT.to_owned(), key.into_iter().chain(numbers).chain([used.user_agent.into()]).collect())
        }));
        all
    }
}

impl Bucket {
    fn words(&self) -> [Value; 6] {
        [
            self.route.to_string().into(),
            carrier_word(self.carrier.as_ref()).into(),
            self.credential.to_owned().into(),
            self.in_url.to_owned().into(),
            self.outcome.to_owned().into(),
            self.code.to_owned().into(),
        ]
    }
}

impl Sum {
    fn of(record: &Record) -> Self {
        let is_session = record.protocol == Protocol::WebSocket;
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Self {
            requests: i64::from(!is_session),
            sessions: i64::from(is_session),
            bytes_in: bytes(record.bytes_in),
            bytes_out: bytes(record.bytes_out),
            let_in_by_url: i64::from(is_let_in_by_url(record)),
            copies: i64::from(record.copies_stripped),
            echoes: i64::from(record.lone_subprotocol_echoed),
            first_at: record.at.0,
            last_at: record.at.0,
        }
    }

    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.sessions += more.sessions;
        self.bytes_in = self.bytes_in.saturating_add(more.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(more.bytes_out);
        self.let_in_by_url += more.let_in_by_url;
        self.copies += more.copies;
        self.echoes += more.echoes;
        self.first_at = self.first_at.min(more.first_at);
        self.last_at = self.last_at.max(more.last_at);
    }

    const fn numbers(&self) -> [i64; 9] {
        [
            self.requests,
            self.sessions,
            self.bytes_in,
            self.bytes_out,
            self.let_in_by_url,
            self.copies,
            self.echoes,
            self.first_at,
            self.last_at,
        ]
    }
}

impl Seen {
    fn of(record: &Record) -> Self {
        let refused = record.outcome == Outcome::Refused;
        let user_agent = user_agent(record);
        let (at, allowed) = (record.at.0, i64::from(!refused));
        Self { first_at: at, last_at: at, allowed, refused: i64::from(refused), user_agent }
    }

    fn add(&mut self, more: Self) {
        self.first_at = self.first_at.min(more.first_at);
        self.last_at = self.last_at.max(more.last_at);
        self.allowed += more.allowed;
        self.refused += more.refused;
        if !more.user_agent.is_empty() {
            self.user_agent = more.user_agent;
        }
    }
}

impl UrlUse {
    fn of(last_place: i64, record: &Record) -> Self {
        let at = record.at.0;
        Self { uses: 1, first_at: at, last_at: at, last_place, user_agent: user_agent(record) }
    }

    fn add(&mut self, more: Self) {
        self.uses += more.uses;
        self.first_at = self.first_at.min(more.first_at);
        self.last_at = self.last_at.max(more.last_at);
        self.last_place = self.last_place.max(more.last_place);
        if !more.user_agent.is_empty() {
            self.user_agent = more.user_agent;
        }
    }
}

const ADD_TO_URL_CLIENT: &str = "INSERT INTO url_client (route, key_id, carrier, uses, first_at, last_at, last_seq, user_agent) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
     ON CONFLICT (route, key_id, carrier) DO UPDATE SET \
     uses = url_client.uses + excluded.uses, \
     first_at = min(url_client.first_at, excluded.first_at), \
     last_at = max(url_client.last_at, excluded.last_at), \
     last_seq = max(url_client.last_seq, excluded.last_seq), \
     user_agent = CASE excluded.user_agent WHEN '' THEN url_client.user_agent ELSE excluded.user_agent END";

fn add_to_total(span: Span) -> String {
    let table = span.totals();
    format!(
        "INSERT INTO {table} (start, route, carrier, credential, in_url, outcome, code, {COUNTS}) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
         ON CONFLICT (start, route, carrier, credential, in_url, outcome, code) DO UPDATE SET {}",
        added(table)
    )
}

fn add_to_key(span: Span) -> String {
    let table = span.of_keys();
    format!(
        "INSERT INTO {table} (key_id, start, secret_id, route, carrier, credential, in_url, outcome, code, {COUNTS}) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) \
         ON CONFLICT (key_id, start, secret_id, route, carrier, credential, in_url, outcome, code) DO UPDATE SET {}",
        added(table)
    )
}

const COUNTS: &str = "requests, sessions, bytes_in, bytes_out, let_in_by_url, copies, echoes, first_at, last_at";

fn added(table: &str) -> String {
    let sums = ["requests", "sessions", "bytes_in", "bytes_out", "let_in_by_url", "copies", "echoes"];
    let mut sql: Vec<String> = sums.iter().map(|name| format!("{name} = {table}.{name} + excluded.{name}")).collect();
    sql.push(format!("first_at = min({table}.first_at, excluded.first_at)"));
    sql.push(format!("last_at = max({table}.last_at, excluded.last_at)"));
    sql.join(", ")
}

fn carrier_word(carrier: Option<&Carrier>) -> String {
    carrier.map(ToString::to_string).unwrap_or_default()
}

/// What it came with: a `key`, a `token`, or nothing that is known.
fn credential(record: &Record) -> &'static str {
    match (&record.token_id, &record.key_id) {
        (Some(_), _) => "token",
        (None, Some(_)) => "key",
        (None, None) => "",
    }
}

/// Whether it would be refused if long-lived keys in URLs were.
fn is_let_in_by_url(record: &Record) -> bool {
    record.let_in_by_url && record.outcome != Outcome::Refused
}

/// The client's own name for itself, without the letters that steer terminals.
fn user_agent(record: &Record) -> String {
    let name = record.user_agent.as_deref().unwrap_or_default().chars();
    name.filter(|letter| !letter.is_control()).take(USER_AGENT_CHARS_MAX).collect()
}
