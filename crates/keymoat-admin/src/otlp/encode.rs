//! Events as OTLP: each is a log record, and each request that came to its end a span. Both are made from the event's
//! masked JSON, so that nothing can be told here that is not told elsewhere.

use keymoat_core::UnixMillis;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status};
use prost::Message;
use serde_json::{Map, Value};

/// The members of an event.
type Fields = Map<String, Value>;

/// The log records of some events.
pub(super) fn logs(events: &[Fields]) -> Vec<u8> {
    let log_records = events.iter().map(log_record).collect();
    let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: Some(resource()), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// The spans of some events; nothing where none of them has one.
pub(super) fn spans(events: &[Fields]) -> Option<Vec<u8>> {
    let spans: Vec<Span> = events.iter().filter_map(span).collect();
    if spans.is_empty() {
        return None;
    }
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource()), scope_spans, ..ResourceSpans::default() }];
    Some(ExportTraceServiceRequest { resource_spans }.encode_to_vec())
}

/// The members of an event; nothing of one that is no object.
pub(super) fn fields(event: &str) -> Option<Fields> {
    serde_json::from_str(event).ok()
}

pub(super) fn resource() -> Resource {
    let attributes = vec![
        attribute("service.name", &Value::from("keymoat")),
        attribute("service.version", &Value::from(env!("CARGO_PKG_VERSION"))),
    ];
    Resource { attributes, ..Resource::default() }
}

pub(super) fn scope() -> InstrumentationScope {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    InstrumentationScope { name: "keymoat".to_owned(), version, ..InstrumentationScope::default() }
}

fn log_record(event: &Fields) -> LogRecord {
    // The numbers of OpenTelemetry's data model for logs: INFO is 9, WARN 13, ERROR 17, FATAL 21.
    let severity_number = match text(event, "severity") {
        "medium" => 13,
        "high" => 17,
        "critical" => 21,
        _ => 9,
    };
    let word = text(event, "type");
    LogRecord {
        time_unix_nano: nanos(text(event, "timestamp"), 0),
        observed_time_unix_nano: nanos(text(event, "recorded_at"), 0),
        severity_number,
        severity_text: text(event, "severity").to_owned(),
        body: Some(value(&Value::from(word))),
        event_name: word.to_owned(),
        attributes: attributes(event),
        trace_id: bytes(text(event, "trace_id"), 16),
        span_id: bytes(text(event, "span_id"), 8),
        ..LogRecord::default()
    }
}

fn span(event: &Fields) -> Option<Span> {
    let trace_id = bytes(text(event, "trace_id"), 16);
    if trace_id.is_empty() || event.get("outcome").is_none() {
        return None;
    }
    let began = text(event, "timestamp");
    let code = match text(event, "outcome") {
        "failed" => status::StatusCode::Error,
        _ => status::StatusCode::Unset,
    };
    let route = Some(text(event, "route")).filter(|route| !route.is_empty()).unwrap_or("-");
    let upstream_head = event.get("upstream_millis").and_then(Value::as_u64).map(|millis| span::Event {
        time_unix_nano: nanos(began, millis),
        name: "upstream.answered".to_owned(),
        ..span::Event::default()
    });
    Some(Span {
        trace_id,
        span_id: bytes(text(event, "span_id"), 8),
        parent_span_id: bytes(text(event, "parent_span_id"), 8),
        name: format!("{} {route}", text(event, "method")),
        kind: span::SpanKind::Server as i32,
        start_time_unix_nano: nanos(began, 0),
        end_time_unix_nano: nanos(began, event.get("duration_millis").and_then(Value::as_u64).unwrap_or_default()),
        attributes: attributes(event),
        events: upstream_head.into_iter().collect(),
        status: Some(Status { message: text(event, "code").to_owned(), code: code as i32 }),
        ..Span::default()
    })
}

/// What is said of an event beside what has a place of its own.
fn attributes(event: &Fields) -> Vec<KeyValue> {
    const ELSEWHERE: [&str; 8] =
        ["type", "severity", "timestamp", "recorded_at", "level", "trace_id", "span_id", "parent_span_id"];
    let own = event.iter().filter(|(name, _)| !ELSEWHERE.contains(&name.as_str()));
    own.map(|(name, value)| attribute(conventional(name).unwrap_or(&format!("keymoat.{name}")), value)).collect()
}

/// The name that OpenTelemetry's conventions have for it.
fn conventional(name: &str) -> Option<&'static str> {
    Some(match name {
        "client" => "client.address",
        "method" => "http.request.method",
        "path" => "url.path",
        "status" => "http.response.status_code",
        "user_agent" => "user_agent.original",
        _ => return None,
    })
}

pub(super) fn attribute(name: &str, of: &Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(value(of)), ..KeyValue::default() }
}

fn value(of: &Value) -> AnyValue {
    let value = match of {
        Value::Bool(truth) => any_value::Value::BoolValue(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(number) => any_value::Value::IntValue(number),
            None => any_value::Value::DoubleValue(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => any_value::Value::StringValue(text.clone()),
        other => any_value::Value::StringValue(other.to_string()),
    };
    AnyValue { value: Some(value) }
}

fn text<'e>(event: &'e Fields, name: &str) -> &'e str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Nanoseconds since 1970 of a moment so many milliseconds later; 0 where there is none.
fn nanos(text: &str, later_millis: u64) -> u64 {
    let at = UnixMillis::from_rfc3339(text).and_then(|at| u64::try_from(at.0).ok());
    at.map_or(0, |at| at.saturating_add(later_millis).saturating_mul(1_000_000))
}

/// The bytes of an id in hexadecimal digits; none where it is no id.
fn bytes(text: &str, len: usize) -> Vec<u8> {
    let digits = text
        .as_bytes()
        .chunks(2)
        .map(|pair| str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
    let bytes: Option<Vec<u8>> = digits.collect();
    bytes.filter(|bytes| bytes.len() == len).unwrap_or_default()
}
