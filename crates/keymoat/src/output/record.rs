//! One record as one line: JSON for machines, columns for people.

use std::fmt::Write;

use keymoat_core::Record;
use keymoat_core::record::{Outcome, Protocol};
use serde::Serialize;

use super::time::rfc3339;
use crate::config::LogFormat;

/// The fields of a record in their stable spelling; those that do not apply are left out.
#[derive(Debug, Serialize)]
struct Fields<'a> {
    timestamp: String,
    level: &'static str,
    event: &'static str,
    id: String,
    client: String,
    protocol: &'static str,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier: Option<String>,
    copies_stripped: u16,
    lone_subprotocol_echoed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<&'a str>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_by: Option<&'static str>,
    duration_millis: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_millis: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    messages_in: u64,
    messages_out: u64,
}

/// The line, with its line end.
pub(crate) fn line(record: &Record, format: LogFormat) -> String {
    match format {
        LogFormat::Json => json(record),
        LogFormat::Human => human(record),
    }
}

fn json(record: &Record) -> String {
    let fields = Fields {
        timestamp: rfc3339(record.at),
        level: level(record.outcome),
        event: if record.protocol == Protocol::WebSocket { "session" } else { "request" },
        id: record.id.to_string(),
        client: record.client.to_string(),
        protocol: record.protocol.word(),
        method: record.method,
        path: &record.path,
        route: record.route.as_deref(),
        upstream: record.upstream.as_deref(),
        dialect: record.dialect.map(keymoat_core::Dialect::word),
        carrier: record.carrier.as_ref().map(ToString::to_string),
        copies_stripped: record.copies_stripped,
        lone_subprotocol_echoed: record.lone_subprotocol_echoed,
        key_id: record.key_id.as_deref(),
        token_id: record.token_id.as_deref(),
        outcome: record.outcome.word(),
        code: record.code.map(keymoat_core::Code::word),
        cause: record.cause.as_deref(),
        status: record.status,
        close_code: record.close_code,
        closed_by: record.closed_by.map(keymoat_core::record::Side::word),
        duration_millis: record.duration_millis,
        upstream_millis: record.upstream_millis,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        messages_in: record.messages_in,
        messages_out: record.messages_out,
    };
    let mut line = serde_json::to_string(&fields).expect("text and numbers are always JSON");
    line.push('\n');
    line
}

fn human(record: &Record) -> String {
    let colour = match record.outcome {
        Outcome::Allowed => "\x1b[32m",
        Outcome::Refused => "\x1b[33m",
        Outcome::Failed => "\x1b[31m",
        Outcome::Aborted => "\x1b[2m",
    };
    let number = |number: Option<u16>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let mut line = format!(
        "{time}  {colour}{outcome:<7}\x1b[0m {status:>3} {method:<6} {path}",
        time = rfc3339(record.at),
        outcome = record.outcome.word(),
        status = number(record.status),
        method = record.method,
        path = printable(&record.path),
    );
    let mut add = |text: std::fmt::Arguments<'_>| {
        line.push(' ');
        // Writing to a string does not fail.
        let _ = line.write_fmt(text);
    };
    if record.protocol == Protocol::WebSocket {
        add(format_args!(" websocket {}", number(record.close_code)));
        if let Some(side) = record.closed_by {
            add(format_args!("by {}", side.word()));
        }
        add(format_args!("messages {}/{}", record.messages_in, record.messages_out));
    }
    if let Some(code) = record.code {
        add(format_args!(" \x1b[1m{code}\x1b[0m"));
    }
    if let Some(cause) = &record.cause {
        add(format_args!("({})", printable(cause)));
    }
    if let Some(route) = &record.route {
        add(format_args!(" route {}", printable(route)));
    }
    if let Some(key_id) = &record.key_id {
        add(format_args!("key {}", printable(key_id)));
    }
    if let Some(carrier) = &record.carrier {
        add(format_args!("by {}", printable(&carrier.to_string())));
    }
    if record.copies_stripped > 0 {
        add(format_args!("stripped {}", record.copies_stripped));
    }
    if record.lone_subprotocol_echoed {
        add(format_args!("secret echoed as lone subprotocol"));
    }
    add(format_args!(" {} ms \x1b[2m{}\x1b[0m\n", record.duration_millis, record.client));
    line
}

const fn level(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed | Outcome::Aborted | Outcome::Refused => "INFO",
        Outcome::Failed => "WARN",
    }
}

/// A text from outside must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|letter| if letter.is_control() { letter.escape_unicode().collect() } else { vec![letter] })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keymoat_core::record::Side;
    use keymoat_core::{Carrier, Code, Dialect, UnixMillis};

    use super::*;

    fn refused() -> Record {
        let mut record = Record::begin(UnixMillis(1_763_771_332_005), [127, 0, 0, 1].into(), Protocol::WebSocket);
        record.method = "GET";
        record.path = "/ws/events\u{1b}[2J".to_owned();
        record.route = Some("events".into());
        record.dialect = Some(Dialect::Generic);
        record.carrier = Some(Carrier::Query(Arc::from("api_key")));
        record.outcome = Outcome::Refused;
        record.code = Some(Code::CredentialInQuery);
        record.status = Some(101);
        record.close_code = Some(4001);
        record.closed_by = Some(Side::Keymoat);
        record
    }

    #[test]
    fn a_record_is_one_json_object_a_line() {
        insta::assert_snapshot!(line(&refused(), LogFormat::Json).trim_end(), @r#"{"timestamp":"2025-11-22T00:28:52.005Z","level":"INFO","event":"session","id":"evt_00000000000000000000000000","client":"127.0.0.1","protocol":"websocket","method":"GET","path":"/ws/events\u001b[2J","route":"events","dialect":"generic","carrier":"query:api_key","copies_stripped":0,"lone_subprotocol_echoed":false,"outcome":"refused","code":"credential_in_query","status":101,"close_code":4001,"closed_by":"keymoat","duration_millis":0,"bytes_in":0,"bytes_out":0,"messages_in":0,"messages_out":0}"#);
    }

    #[test]
    fn every_field_is_explained_in_the_book() {
        let page = include_str!("../../../../docs/src/record.md");
        let mut record = refused();
        record.upstream = Some("events".into());
        record.key_id = Some("key_1".into());
        record.token_id = Some("token_1".into());
        record.cause = Some("why".to_owned());
        record.upstream_millis = Some(1);
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&line(&record, LogFormat::Json)).expect("an object");
        assert_eq!(fields.len(), 28, "a new field is left out above");
        for field in fields.keys() {
            assert!(page.contains(&format!("`{field}`")), "docs/src/record.md does not explain `{field}`");
        }
    }

    #[test]
    fn a_record_is_readable_and_cannot_steer_the_terminal() {
        let line = line(&refused(), LogFormat::Human);
        let plain = anstream::adapter::strip_str(&line).to_string();
        insta::assert_snapshot!(plain.trim_end(), @r"2025-11-22T00:28:52.005Z  refused 101 GET    /ws/events\u{1b}[2J  websocket 4001 by keymoat messages 0/0  credential_in_query  route events by query:api_key  0 ms 127.0.0.1");
    }
}
