//! One record as one line: JSON for machines, columns for people.

use std::fmt::Write;

use keymoat_core::Record;
use keymoat_core::event::{Written, record_line};
use keymoat_core::record::{Outcome, Protocol};

use super::time::rfc3339;
use crate::config::LogFormat;

/// The line, with its line end.
pub(crate) fn line(record: &Record, format: LogFormat) -> Written {
    match format {
        LogFormat::Json => {
            let mut written = record_line(record);
            written.text.push('\n');
            written
        }
        LogFormat::Human => Written { text: human(record), outside: None },
    }
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
    if let Some(token_id) = &record.token_id {
        add(format_args!("token {}", printable(token_id)));
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

/// A text from outside must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
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
        insta::assert_snapshot!(line(&refused(), LogFormat::Json).text.trim_end(), @r#"{"timestamp":"2025-11-22T00:28:52.005Z","level":"INFO","event":"session","id":"evt_00000000000000000000000000","client":"127.0.0.1","protocol":"websocket","method":"GET","path":"/ws/events\u001b[2J","route":"events","dialect":"generic","carrier":"query:api_key","copies_stripped":0,"lone_subprotocol_echoed":false,"outcome":"refused","code":"credential_in_query","status":101,"close_code":4001,"closed_by":"keymoat","duration_millis":0,"bytes_in":0,"bytes_out":0,"messages_in":0,"messages_out":0}"#);
    }

    #[test]
    fn every_field_is_explained_in_the_book() {
        let page = include_str!("../../../../docs/src/record.md");
        let mut record = refused();
        record.upstream = Some("events".into());
        record.key_id = Some("key_1".into());
        record.secret_id = Some("sec_1".into());
        record.token_id = Some("token_1".into());
        record.cause = Some("why".to_owned());
        record.upstream_millis = Some(1);
        record.in_url = keymoat_core::record::InUrl::Key;
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&line(&record, LogFormat::Json).text).expect("an object");
        assert_eq!(fields.len(), 31, "a new field is left out above");
        for field in fields.keys() {
            assert!(page.contains(&format!("`{field}`")), "docs/src/record.md does not explain `{field}`");
        }
    }

    #[test]
    fn a_record_is_readable_and_cannot_steer_the_terminal() {
        let line = line(&refused(), LogFormat::Human).text;
        let plain = anstream::adapter::strip_str(&line).to_string();
        insta::assert_snapshot!(plain.trim_end(), @r"2025-11-22T00:28:52.005Z  refused 101 GET    /ws/events\u{1b}[2J  websocket 4001 by keymoat messages 0/0  credential_in_query  route events by query:api_key  0 ms 127.0.0.1");
    }
}
