//! What happened: events, filtered and in pages, and counts of them.

#![expect(unused_qualifications, reason = "the macro that describes parameters writes them")]

use std::sync::Arc;

use axum::extract::State;
use keymoat_core::UnixMillis;
use keymoat_core::event::{Kind, Severity};
use keymoat_core::record::Outcome;
use keymoat_store::events::{Dimension, Filter, Span, UsageQuery};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Desk;
use super::answer::Json;
use super::moment::Moment;
use super::page::{self, Limit, Page};
use super::problem::{Code, Problem};
use super::query::Query;

/// Counts of this many days are told where nothing is said.
const DAYS: i64 = 30;

const DAY_MILLIS: i64 = 86_400_000;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// `begun`, `decision`, `act` or `lost`.
    #[param(inline)]
    kind: Option<KindWord>,
    /// A type such as `key.revoked`, or all that begin alike such as `key.*`.
    #[param(pattern = "^[a-z_.]+\\*?$")]
    action: Option<String>,
    /// Only those that matter at least so much.
    #[param(inline)]
    severity: Option<SeverityWord>,
    /// How it ended.
    #[param(inline)]
    outcome: Option<OutcomeWord>,
    /// Why it was refused or failed, such as `credential_in_query`.
    code: Option<String>,
    /// The route.
    route: Option<String>,
    /// The carrier, such as `header:x-api-key`; `query:*` is any query parameter.
    carrier: Option<String>,
    /// The id of the key, also of acts on it.
    key: Option<String>,
    /// The id of the token.
    token_id: Option<String>,
    /// A text that stands anywhere in it.
    text: Option<String>,
    /// From when on.
    from: Option<Moment>,
    /// Until when, without that moment.
    to: Option<Moment>,
    /// How many items.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
    /// Where to go on: `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident = $core:ident { $($variant:ident),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $name { $(#[doc = concat!("`", stringify!($variant), "`.")] $variant),+ }

        impl From<$name> for $core {
            fn from(word: $name) -> Self {
                match word { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

words! {
    /// What sort of event it is.
    KindWord = Kind { Begun, Decision, Act, Lost }
}
words! {
    /// How much it matters.
    SeverityWord = Severity { Low, Medium, High, Critical }
}
words! {
    /// How it ended.
    OutcomeWord = Outcome { Allowed, Refused, Failed, Aborted }
}

/// Lists events, the newest first. A page may be empty and still have a `next_cursor`: it looks at a bounded number of events.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(Asked), responses((status = 200, description = "A page; each item has `seq`, `type`, `severity`, `timestamp` and the fields of its type.", body = Page<Object>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Page<Value>>, Problem> {
    let before = match asked.cursor.as_deref().map(page::open).transpose()? {
        Some(place) => Some(place.parse().map_err(|_| {
            Problem::with(Code::FieldInvalid, "this is no cursor: take `next_cursor` of the page before")
                .field("cursor")
        })?),
        None => None,
    };
    if let Some(action) = &asked.action {
        let word = action.strip_suffix('*').unwrap_or(action);
        if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'.') {
            let detail = "this must be a type such as `key.revoked`, or `key.*`";
            return Err(Problem::with(Code::FieldInvalid, detail).field("action"));
        }
    }
    let filter = Filter {
        kind: asked.kind.map(Kind::from),
        word: asked.action,
        severity_min: asked.severity.map(Severity::from),
        outcome: asked.outcome.map(Outcome::from),
        code: asked.code,
        route: asked.route,
        carrier: asked.carrier,
        key_id: asked.key,
        token_id: asked.token_id,
        text: asked.text.filter(|text| !text.is_empty()),
        from: asked.from.map(|at| at.0),
        to: asked.to.map(|at| at.0),
    };
    let store = Arc::clone(desk.house.events.store());
    let found = desk.store(move |_| store.events(&filter, before, asked.limit.number())).await?;
    let items = found.items.iter().map(|event| serde_json::from_str(&event.json()).unwrap_or_default()).collect();
    Ok(Json(Page { items, next_cursor: found.next.map(|next| page::seal(&next.to_string())) }))
}

/// By what counts are told apart.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UsageGroup)]
pub(super) enum GroupWord {
    /// The key.
    Key,
    /// The secret of the key.
    Secret,
    /// The route.
    Route,
    /// The carrier.
    Carrier,
    /// `key`, `token`, or nothing.
    Credential,
    /// What stood in the URL.
    InUrl,
    /// How it ended.
    Outcome,
    /// Why it was refused or failed.
    Code,
}

impl From<GroupWord> for Dimension {
    fn from(word: GroupWord) -> Self {
        match word {
            GroupWord::Key => Self::Key,
            GroupWord::Secret => Self::Secret,
            GroupWord::Route => Self::Route,
            GroupWord::Carrier => Self::Carrier,
            GroupWord::Credential => Self::Credential,
            GroupWord::InUrl => Self::InUrl,
            GroupWord::Outcome => Self::Outcome,
            GroupWord::Code => Self::Code,
        }
    }
}

/// How long the spans are that are counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UsageSpan)]
pub(super) enum SpanWord {
    /// An hour of UTC. Those of single keys are kept for 35 days.
    Hour,
    /// A day of UTC.
    #[default]
    Day,
}

/// Which counts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskedUsage {
    /// How long the spans are that are counted.
    #[serde(default)]
    #[param(inline)]
    by: SpanWord,
    /// One row for each value of this.
    #[param(inline)]
    group: Option<GroupWord>,
    /// From when on; 30 days ago where nothing is said.
    from: Option<Moment>,
    /// Until when; now where nothing is said.
    to: Option<Moment>,
    /// Only what this key did.
    key: Option<String>,
    /// Only on this route.
    route: Option<String>,
    /// Only by this carrier; `query:*` is any query parameter.
    carrier: Option<String>,
    /// Only what ended so.
    #[param(inline)]
    outcome: Option<OutcomeWord>,
}

/// Counts of one hour or day, and one value of the group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageRow {
    /// The beginning of the hour or day.
    at: Moment,
    /// The value of the group; empty without one.
    group: String,
    /// Requests and sessions together.
    requests: u64,
    /// WebSockets among them.
    sessions: u64,
    /// Bytes from clients.
    bytes_in: u64,
    /// Bytes to clients.
    bytes_out: u64,
    /// Those that were let in only because long-lived keys are taken in URLs.
    let_in_by_url: u64,
}

/// Counts decisions by hour or day, from counts that are kept, so that it does not matter how many events there were.
#[utoipa::path(get, path = "/api/v1/usage", tag = "events", params(AskedUsage), responses((status = 200, description = "All rows, the oldest first.", body = Page<UsageRow>)))]
pub(super) async fn usage(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<AskedUsage>,
) -> Result<Json<Page<UsageRow>>, Problem> {
    let now = desk.house.now();
    let to = asked.to.map_or(now, |at| at.0);
    let from = asked.from.map_or(UnixMillis(to.0.saturating_sub(DAYS * DAY_MILLIS)), |at| at.0);
    let outcome = asked.outcome.map(|word| Outcome::from(word).word().to_owned());
    let only = [
        (Dimension::Key, asked.key),
        (Dimension::Route, asked.route),
        (Dimension::Carrier, asked.carrier),
        (Dimension::Outcome, outcome),
    ];
    let query = UsageQuery {
        from,
        to,
        span: match asked.by {
            SpanWord::Hour => Span::Hour,
            SpanWord::Day => Span::Day,
        },
        by_span: true,
        group: asked.group.map(Dimension::from).into_iter().collect(),
        only: only.into_iter().filter_map(|(dimension, value)| Some((dimension, value?))).collect(),
    };
    let store = Arc::clone(desk.house.events.store());
    let rows = desk.store(move |_| store.usage(&query)).await?;
    let items = rows.into_iter().map(|row| UsageRow {
        at: Moment(row.start.unwrap_or(from)),
        group: row.group.into_iter().next().unwrap_or_default(),
        requests: row.counts.requests.saturating_add(row.counts.sessions),
        sessions: row.counts.sessions,
        bytes_in: row.counts.bytes_in,
        bytes_out: row.counts.bytes_out,
        let_in_by_url: row.counts.let_in_by_url,
    });
    Ok(Json(Page { items: items.collect(), next_cursor: None }))
}
