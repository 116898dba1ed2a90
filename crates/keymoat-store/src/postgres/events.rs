//! Events of all nodes in one place. Numbers are given inside the transaction that writes, under the lock of their row, so
//! that they are in the order of commits on all nodes, without gaps.

use std::collections::HashMap;
use std::sync::Arc;

use deadpool_postgres::{Pool, Transaction};
use keymoat_core::event::{Event, Kind, Severity};
use keymoat_core::refusal::Code;
use keymoat_core::{Secret, UnixMillis};
use rusqlite::types::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::error::{failed, pooled};
use super::link::Link;
use super::{ANSWER_WAIT, Lent, OPEN_WAIT, commit, schema, start_runtime, wait_for};
use crate::error::StoreError;
use crate::events::count::Tally;
use crate::events::forget::{COUNTS_KEPT_MILLIS, SLICE};
use crate::events::usage::{KEY_HOURS_KEPT_MILLIS, ROWS_MAX};
use crate::events::write::key_id;
use crate::events::{
    Counts, Dimension, Entry, Filter, Kept, LastSeen, LastUse, Page, Retention, SCAN_MAX, Span, UrlClients, UrlKeyUse,
    Usage, UsageQuery,
};

const COLUMNS: &str = "seq, at, kind, type, severity, body";

/// Runs a piece of work in one transaction on the runtime, and waits for it.
macro_rules! in_one {
    ($self:ident, |$change:ident| $work:expr) => {{
        let inner = Arc::clone(&$self.inner);
        let work = async move { inner.in_one(async move |$change: &mut Transaction<'_>| $work).await };
        wait_for(&$self.handle, ANSWER_WAIT, work)
    }};
}

/// Events in PostgreSQL, with connections of their own, so that they never delay a claim.
#[derive(Debug)]
pub(crate) struct EventsDatabase {
    inner: Arc<Inner>,
    handle: Handle,
    /// The number of the newest event as of the last look.
    seen: std::sync::Mutex<Option<u64>>,
    /// Ends the runtime when it is dropped.
    _end: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    link: Link,
    pool: Pool,
}

/// A row to be written.
struct Written {
    at: i64,
    words: [Option<String>; 9],
    severity: i64,
}

/// A parameter of a statement that SQLite takes, too.
#[derive(Debug)]
struct Parameter(Value);

impl EventsDatabase {
    pub(crate) fn open(url: &Secret) -> Result<Self, StoreError> {
        Self::of(&Link::parse(url)?)
    }

    pub(crate) fn of(link: &Link) -> Result<Self, StoreError> {
        let link = link.clone();
        let (end, ended) = oneshot::channel();
        let handle = start_runtime(ended)?;
        let of_task = link.clone();
        let pool = wait_for(&handle, OPEN_WAIT, async move {
            let pool = of_task.pool()?;
            let mut client = pool.get().await.map_err(|error| pooled(of_task.shown(), &error))?;
            schema::migrate(&mut client).await?;
            drop(client);
            Ok(pool)
        })?;
        Ok(Self { inner: Arc::new(Inner { link, pool }), handle, seen: std::sync::Mutex::default(), _end: end })
    }

    pub(crate) fn append(&self, entries: &[Entry<'_>]) -> Result<u64, StoreError> {
        let mut tally = Tally::default();
        for (place, entry) in entries.iter().enumerate() {
            if let Event::Decision(record) = entry.event {
                tally.count(place, record);
            }
        }
        let rows: Vec<Written> = entries.iter().map(Written::of).collect();
        in_one!(self, |change| append(change, &rows, tally).await)
    }

    pub(crate) fn events(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        let filter = filter.clone();
        in_one!(self, |moment| page(moment, &filter, before, limit).await)
    }

    pub(crate) fn event(&self, seq: u64) -> Result<Option<Kept>, StoreError> {
        in_one!(self, |moment| {
            let sql = format!("SELECT {COLUMNS} FROM event WHERE seq = ?");
            query(moment, &sql, vec![signed(seq).into()]).await?.first().map(kept).transpose()
        })
    }

    pub(crate) fn since(&self, after: u64, limit: usize) -> Result<Vec<Kept>, StoreError> {
        in_one!(self, |moment| {
            let sql = format!("SELECT {COLUMNS} FROM event WHERE seq > ? ORDER BY seq LIMIT {limit}");
            query(moment, &sql, vec![signed(after).into()]).await?.iter().map(kept).collect()
        })
    }

    pub(crate) fn last_seq(&self) -> Result<u64, StoreError> {
        in_one!(self, |moment| {
            let rows = query(moment, "SELECT seq FROM next_event WHERE id = 1", Vec::new()).await?;
            Ok(rows.first().map(|row| unsigned(row, 0)).transpose()?.unwrap_or(1).saturating_sub(1))
        })
    }

    pub(crate) fn has_grown(&self) -> Result<bool, StoreError> {
        let last = self.last_seq()?;
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(seen.replace(last) != Some(last))
    }

    pub(crate) fn usage(&self, asked: &UsageQuery) -> Result<Vec<Usage>, StoreError> {
        let asked = asked.clone();
        in_one!(self, |moment| usage(moment, &asked).await)
    }

    pub(crate) fn last_seen(&self, key_id: Option<&str>) -> Result<Vec<LastSeen>, StoreError> {
        let key_id = key_id.map(str::to_owned);
        in_one!(self, |moment| {
            let only = if key_id.is_some() { "WHERE key_id = ?" } else { "" };
            let sql = format!(
                "SELECT key_id, secret_id, carrier, route, credential, first_at, last_at, allowed, refused, user_agent
                 FROM last_seen {only} ORDER BY key_id COLLATE \"C\", last_at DESC"
            );
            let rows = query(moment, &sql, key_id.into_iter().map(Into::into).collect()).await?;
            let read = |row: &Row| {
                Ok(LastSeen {
                    key_id: text(row, 0)?.into(),
                    secret_id: text(row, 1)?.into(),
                    carrier: text(row, 2)?,
                    route: text(row, 3)?.into(),
                    credential: text(row, 4)?,
                    first_at: time(row, 5)?,
                    last_at: time(row, 6)?,
                    allowed: unsigned(row, 7)?,
                    refused: unsigned(row, 8)?,
                    user_agent: Some(text(row, 9)?).filter(|text| !text.is_empty()),
                })
            };
            rows.iter().map(read).collect()
        })
    }

    pub(crate) fn events_of(&self, seqs: &[u64]) -> Result<Vec<Kept>, StoreError> {
        let seqs: Vec<i64> = seqs.iter().copied().map(signed).collect();
        in_one!(self, |moment| {
            let sql = format!("SELECT {COLUMNS} FROM event WHERE seq = ANY ($1) ORDER BY seq");
            moment.query(&sql, &[&seqs]).await.map_err(|error| failed(&error))?.iter().map(kept).collect()
        })
    }

    pub(crate) fn last_use(&self, key_ids: &[Arc<str>]) -> Result<HashMap<Arc<str>, LastUse>, StoreError> {
        let key_ids: Vec<String> = key_ids.iter().map(ToString::to_string).collect();
        in_one!(self, |moment| {
            let sql = "SELECT DISTINCT ON (key_id) key_id, last_at, carrier FROM last_seen WHERE key_id = ANY ($1)
                       ORDER BY key_id, last_at DESC";
            let rows = moment.query(sql, &[&key_ids]).await.map_err(|error| failed(&error))?;
            let read = |row: &Row| Ok((text(row, 0)?.into(), LastUse { at: time(row, 1)?, carrier: text(row, 2)? }));
            rows.iter().map(read).collect()
        })
    }

    pub(crate) fn url_clients(&self, since: UnixMillis, most: usize) -> Result<UrlClients, StoreError> {
        in_one!(self, |moment| url_clients(moment, Span::Day.start_of(since), most).await)
    }

    pub(crate) fn url_key_use(&self, since: UnixMillis) -> Result<Vec<UrlKeyUse>, StoreError> {
        in_one!(self, |moment| url_key_use(moment, since).await)
    }

    pub(crate) fn forget(&self, retention: Retention, now: UnixMillis) -> Result<bool, StoreError> {
        in_one!(self, |change| forget(change, retention, now).await)
    }
}

impl Inner {
    async fn in_one<T>(
        &self,
        work: impl AsyncFnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let client = self.pool.get().await.map_err(|error| pooled(self.link.shown(), &error))?;
        let mut client = Lent { client: Some(client), link: &self.link, is_done: false };
        let mut transaction = client.begin().await?;
        let done = work(&mut transaction).await?;
        commit(transaction, &self.link).await?;
        client.done();
        Ok(done)
    }
}

impl Written {
    fn of(entry: &Entry<'_>) -> Self {
        let Entry { at, event, body } = entry;
        let record = event.record();
        let decided = match event {
            Event::Decision(record) => Some(record),
            Event::Begun(_) | Event::Act(_) | Event::Lost(_) => None,
        };
        let words = [
            Some(event.kind().word().to_owned()),
            Some(event.word().to_owned()),
            decided.map(|record| record.outcome.word().to_owned()),
            decided.and_then(|record| record.code).map(|code| Code::word(code).to_owned()),
            record.and_then(|record| record.route.as_deref()).map(str::to_owned),
            record.and_then(|record| record.carrier.as_ref()).map(ToString::to_string),
            key_id(event).map(str::to_owned),
            record.and_then(|record| record.token_id.as_deref()).map(str::to_owned),
            Some((*body).to_owned()),
        ];
        Self { at: at.0, words, severity: event.severity() as i64 }
    }
}

async fn append(change: &Transaction<'_>, rows: &[Written], tally: Tally) -> Result<u64, StoreError> {
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let next = "UPDATE next_event SET seq = seq + ? WHERE id = 1 RETURNING seq";
    let next = query(change, next, vec![count.into()]).await?;
    let next: i64 = next.first().ok_or(StoreError::DatabaseDamaged)?.try_get(0).map_err(|error| failed(&error))?;
    let first = next.saturating_sub(count);
    let (times, severities): (Vec<i64>, Vec<i64>) = rows.iter().map(|row| (row.at, row.severity)).unzip();
    let column = |place: usize| rows.iter().map(|row| row.words[place].as_deref()).collect::<Vec<Option<&str>>>();
    let words: [Vec<Option<&str>>; 9] = std::array::from_fn(column);
    let [kind, word, outcome, code, route, carrier, key_id, token_id, body] = &words;
    let sql = "INSERT INTO event (seq, at, severity, kind, type, outcome, code, route, carrier, key_id, token_id, body)
               SELECT $1 + place - 1, at, severity, kind, type, outcome, code, route, carrier, key_id, token_id, body
               FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                           $9::text[], $10::text[], $11::text[], $12::text[]) WITH ORDINALITY
                   AS new (at, severity, kind, type, outcome, code, route, carrier, key_id, token_id, body, place)";
    let statement = change.prepare_cached(sql).await.map_err(|error| failed(&error))?;
    let values: [&(dyn ToSql + Sync); 12] =
        [&first, &times, &severities, kind, word, outcome, code, route, carrier, key_id, token_id, body];
    change.execute(&statement, &values).await.map_err(|error| failed(&error))?;
    let mut counts = tally.statements(first);
    // All nodes lock the rows in one order.
    counts.sort_by_cached_key(|(sql, values)| format!("{sql}{values:?}"));
    for (sql, values) in counts {
        query(change, &sql, values).await?;
    }
    Ok(first.unsigned_abs())
}

async fn page(
    moment: &Transaction<'_>,
    filter: &Filter,
    before: Option<u64>,
    limit: usize,
) -> Result<Page, StoreError> {
    let limit = limit.clamp(1, SCAN_MAX);
    let mut below = before.map_or(i64::MAX, signed);
    if let Some(to) = filter.to {
        below = below.min(first_at_or_after(moment, to).await?);
    }
    let least = match filter.from {
        Some(from) => first_at_or_after(moment, from).await?,
        None => 0,
    };
    let (driving, whole) = (filter.driving(), filter.whole());
    // The inner part reads an index only, and a bounded part of it.
    let looked_at =
        format!("SELECT seq FROM event WHERE seq < ? AND seq >= ?{} ORDER BY seq DESC LIMIT {SCAN_MAX}", driving.sql);
    let bounds = || [Value::from(below), Value::from(least)].into_iter().chain(driving.values.iter().cloned());
    // ASCII letters match in either case, as in SQLite.
    let where_whole = whole.sql.replace("body LIKE", "body ILIKE");
    let sql = format!(
        "SELECT {COLUMNS} FROM event WHERE seq IN ({looked_at}){where_whole} ORDER BY seq DESC LIMIT {}",
        limit + 1
    );
    let rows = query(moment, &sql, bounds().chain(whole.values.iter().cloned()).collect()).await?;
    let mut items: Vec<Kept> = rows.iter().map(kept).collect::<Result<_, _>>()?;
    if items.len() > limit {
        items.truncate(limit);
        let next = items.last().map(|last| last.seq);
        return Ok(Page { items, next });
    }
    let sql = format!("SELECT count(*), min(seq) FROM ({looked_at}) AS looked_at");
    let rows = query(moment, &sql, bounds().collect()).await?;
    let row = rows.first().ok_or(StoreError::DatabaseDamaged)?;
    let count: i64 = row.try_get(0).map_err(|error| failed(&error))?;
    let lowest: Option<i64> = row.try_get(1).map_err(|error| failed(&error))?;
    Ok(Page { items, next: lowest.filter(|_| count == SCAN_MAX as i64).map(i64::unsigned_abs) })
}

async fn usage(moment: &Transaction<'_>, asked: &UsageQuery) -> Result<Vec<Usage>, StoreError> {
    let all = asked.group.iter().chain(asked.only.iter().map(|(dimension, _)| dimension));
    let of_keys = all.into_iter().any(|dimension| dimension.is_of_keys());
    let table = if of_keys { asked.span.of_keys() } else { asked.span.totals() };
    let groups: Vec<&str> =
        asked.by_span.then_some("start").into_iter().chain(asked.group.iter().map(|by| by.word())).collect();
    let list: String = groups.iter().map(|group| format!("{group}, ")).collect();
    let sums = ["requests", "sessions", "bytes_in", "bytes_out", "let_in_by_url", "copies", "echoes"];
    let sums: String = sums.iter().map(|name| format!("sum({name})::bigint, ")).collect();
    let mut sql = format!("SELECT {list}{sums}min(first_at), max(last_at) FROM {table} WHERE start >= ? AND start < ?");
    let mut values: Vec<Value> = vec![asked.span.start_of(asked.from).0.into(), asked.to.0.into()];
    for (dimension, value) in &asked.only {
        match (dimension, value.strip_suffix('*')) {
            (Dimension::Carrier, Some(start)) => {
                sql.push_str(" AND starts_with(carrier, ?)");
                values.push(start.to_owned().into());
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
        let order: Vec<String> = groups
            .iter()
            .map(|group| if *group == "start" { "start".to_owned() } else { format!("{group} COLLATE \"C\"") })
            .collect();
        sql.push_str(&format!(" GROUP BY {} ORDER BY {} LIMIT {ROWS_MAX}", groups.join(", "), order.join(", ")));
    }
    let read = |row: &Row| {
        let first = usize::from(asked.by_span);
        let start = if asked.by_span { Some(time(row, 0)?) } else { None };
        let group = (first..groups.len()).map(|at| text(row, at)).collect::<Result<_, _>>()?;
        let at = groups.len();
        let counts = Counts {
            requests: unsigned(row, at)?,
            sessions: unsigned(row, at + 1)?,
            bytes_in: unsigned(row, at + 2)?,
            bytes_out: unsigned(row, at + 3)?,
            let_in_by_url: unsigned(row, at + 4)?,
            copies_stripped: unsigned(row, at + 5)?,
            echoes: unsigned(row, at + 6)?,
            first_at: time(row, at + 7)?,
            last_at: time(row, at + 8)?,
        };
        Ok(Usage { start, group, counts })
    };
    query(moment, &sql, values).await?.iter().map(read).collect()
}

async fn url_key_use(moment: &Transaction<'_>, since: UnixMillis) -> Result<Vec<UrlKeyUse>, StoreError> {
    let newest = query(moment, "SELECT max(start) FROM usage_key_hour", Vec::new()).await?;
    let newest: Option<i64> = match newest.first() {
        Some(row) => row.try_get(0).map_err(|error| failed(&error))?,
        None => None,
    };
    let by_hours = newest.is_none_or(|newest| since.0 >= newest - KEY_HOURS_KEPT_MILLIS);
    let span = if by_hours { Span::Hour } else { Span::Day };
    let sql = format!(
        "SELECT route, key_id, carrier, sum(let_in_by_url)::bigint, min(first_at), max(last_at),
             (SELECT nullif(client.user_agent, '') FROM url_client AS client WHERE client.route = used.route
              AND client.key_id = used.key_id AND client.carrier = used.carrier)
         FROM {} AS used WHERE start >= ? AND let_in_by_url > 0 GROUP BY route, key_id, carrier
         ORDER BY route COLLATE \"C\", sum(let_in_by_url) DESC, key_id COLLATE \"C\", carrier COLLATE \"C\"",
        span.of_keys()
    );
    query(moment, &sql, vec![span.start_of(since).0.into()]).await?.iter().map(url_key).collect()
}

fn url_key(row: &Row) -> Result<UrlKeyUse, StoreError> {
    Ok(UrlKeyUse {
        route: text(row, 0)?.into(),
        key_id: text(row, 1)?.into(),
        carrier: text(row, 2)?,
        uses: unsigned(row, 3)?,
        first_at: time(row, 4)?,
        last_at: time(row, 5)?,
        user_agent: row.try_get(6).map_err(|error| failed(&error))?,
    })
}

/// `since` is the beginning of a day.
async fn url_clients(moment: &Transaction<'_>, since: UnixMillis, most: usize) -> Result<UrlClients, StoreError> {
    let sql = "SELECT route, key_id, carrier, uses, first_at, last_at, nullif(user_agent, ''), last_seq FROM url_client
               WHERE last_at >= ?";
    let rows = query(moment, sql, vec![since.0.into()]).await?;
    let read = |row: &Row| Ok((url_key(row)?, Some(unsigned(row, 7)?).filter(|seq| *seq > 0)));
    let (found, mut counted) = UrlClients::of(rows.iter().map(read).collect::<Result<_, StoreError>>()?, most);
    let before: Vec<&mut UrlKeyUse> =
        counted.iter_mut().map(|(used, _)| used).filter(|used| used.first_at < since).collect();
    if before.is_empty() {
        return Ok(found.with(counted, most));
    }
    let column = |of: fn(&UrlKeyUse) -> &str| before.iter().map(|used| of(used).to_owned()).collect::<Vec<String>>();
    let (routes, keys) = (column(|used| &used.route), column(|used| &used.key_id));
    let carriers = column(|used| &used.carrier);
    let sql = "SELECT coalesce(sum(used.let_in_by_url), 0)::bigint, coalesce(min(used.first_at), 0)
               FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS client (route, key_id, carrier, place)
               LEFT JOIN usage_key_day AS used ON used.key_id = client.key_id AND used.start >= $4
                   AND used.route = client.route AND used.carrier = client.carrier AND used.let_in_by_url > 0
               GROUP BY client.place ORDER BY client.place";
    let rows = moment.query(sql, &[&routes, &keys, &carriers, &since.0]).await.map_err(|error| failed(&error))?;
    for (used, row) in before.into_iter().zip(&rows) {
        used.uses = unsigned(row, 0)?;
        used.first_at = Some(time(row, 1)?).filter(|at| at.0 > 0).unwrap_or(used.last_at);
    }
    Ok(found.with(counted, most))
}

async fn forget(change: &Transaction<'_>, retention: Retention, now: UnixMillis) -> Result<bool, StoreError> {
    let Retention { keep_millis, keep_max } = retention;
    let old = first_at_or_after(change, now.plus_millis(keep_millis.saturating_neg())).await?;
    let sql = "SELECT (SELECT seq FROM next_event), (SELECT min(seq) FROM event)";
    let rows = query(change, sql, Vec::new()).await?;
    let row = rows.first().ok_or(StoreError::DatabaseDamaged)?;
    let next: i64 = row.try_get(0).map_err(|error| failed(&error))?;
    let first: Option<i64> = row.try_get(1).map_err(|error| failed(&error))?;
    let beyond = next.saturating_sub(i64::try_from(keep_max).unwrap_or(i64::MAX));
    let end = old.min(next).max(beyond);
    let mut more = false;
    if let Some(first) = first.filter(|first| *first < end) {
        let slice_end = end.min(first.saturating_add(SLICE));
        query(change, "DELETE FROM event WHERE seq < ?", vec![slice_end.into()]).await?;
        more = slice_end < end;
    }
    let counts_from = now.plus_millis(-COUNTS_KEPT_MILLIS);
    let key_hours_from = now.plus_millis(-KEY_HOURS_KEPT_MILLIS);
    for (table, column, from) in [
        ("usage_hour", "start", counts_from),
        ("usage_day", "start", counts_from),
        ("usage_key_hour", "start", key_hours_from),
        ("usage_key_day", "start", counts_from),
        ("last_seen", "last_at", counts_from),
        ("url_client", "last_at", counts_from),
    ] {
        // Nodes that do it at once do not wait for each other.
        let sql = format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT {SLICE} FOR UPDATE SKIP LOCKED))
             RETURNING 1"
        );
        more |= query(change, &sql, vec![from.0.into()]).await?.len() as i64 == SLICE;
    }
    Ok(more)
}

/// The number of the first event that was written down at `at` or later, or the number that the next one will have.
/// Times follow the numbers and numbers have no gaps, so that halving finds it without an index.
async fn first_at_or_after(moment: &Transaction<'_>, at: UnixMillis) -> Result<i64, StoreError> {
    let rows = query(moment, "SELECT min(seq), max(seq) FROM event", Vec::new()).await?;
    let row = rows.first().ok_or(StoreError::DatabaseDamaged)?;
    let bound = |column| row.try_get::<_, Option<i64>>(column).map_err(|error| failed(&error));
    let (Some(mut low), Some(high)) = (bound(0)?, bound(1)?) else { return Ok(i64::MAX) };
    let mut high = high + 1;
    while low < high {
        let middle = low + (high - low) / 2;
        let rows = query(moment, "SELECT at FROM event WHERE seq = ?", vec![middle.into()]).await?;
        let then = rows.first().map(|row| time(row, 0)).transpose()?;
        if then.is_some_and(|then| then >= at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

/// Runs a statement whose parameters are written as SQLite takes them.
pub(super) async fn query(change: &Transaction<'_>, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
    let sql = translated(sql);
    let values: Vec<Parameter> = values.into_iter().map(Parameter).collect();
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let run = async {
        let statement = change.prepare_cached(&sql).await?;
        change.query(&statement, &values).await
    };
    run.await.map_err(|error: tokio_postgres::Error| failed(&error))
}

/// `?` and `?1` become `$1`, and the smaller and larger of two numbers get their names of here.
fn translated(sql: &str) -> String {
    let (mut text, mut count) = (String::with_capacity(sql.len()), 0);
    let mut letters = sql.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '?' {
            text.push(letter);
            continue;
        }
        while letters.next_if(char::is_ascii_digit).is_some() {}
        count += 1;
        text.push_str(&format!("${count}"));
    }
    for (ours, theirs) in [("= min(", "= least("), ("= max(", "= greatest(")] {
        text = text.replace(ours, theirs);
    }
    text
}

impl ToSql for Parameter {
    fn to_sql(
        &self,
        wanted: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            Value::Integer(number) => number.to_sql(&Type::INT8, out),
            Value::Text(text) => text.to_sql(wanted, out),
            Value::Null | Value::Real(_) | Value::Blob(_) => Ok(IsNull::Yes),
        }
    }

    fn accepts(wanted: &Type) -> bool {
        matches!(*wanted, Type::INT8 | Type::TEXT | Type::VARCHAR)
    }

    to_sql_checked!();
}

fn kept(row: &Row) -> Result<Kept, StoreError> {
    let severity: i64 = row.try_get(4).map_err(|error| failed(&error))?;
    Ok(Kept {
        seq: unsigned(row, 0)?,
        at: time(row, 1)?,
        // What a later version may have added is an act to this one.
        kind: Kind::from_word(&text(row, 2)?).unwrap_or(Kind::Act),
        word: text(row, 3)?.into(),
        severity: usize::try_from(severity)
            .ok()
            .and_then(|at| Severity::ALL.get(at))
            .copied()
            .unwrap_or(Severity::Critical),
        body: text(row, 5)?.into(),
    })
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn text(row: &Row, column: usize) -> Result<String, StoreError> {
    row.try_get(column).map_err(|error| failed(&error))
}

fn time(row: &Row, column: usize) -> Result<UnixMillis, StoreError> {
    row.try_get(column).map(UnixMillis).map_err(|error| failed(&error))
}

fn unsigned(row: &Row, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(|error| failed(&error))?;
    u64::try_from(number).map_err(|_| StoreError::DatabaseDamaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_names_are_those_of_postgresql() {
        assert_eq!(translated("a = ?1 AND b = ?2 AND c = ?"), "a = $1 AND b = $2 AND c = $3");
        assert_eq!(translated("x = min(t.x, e.x), max(y)"), "x = least(t.x, e.x), max(y)");
    }
}
