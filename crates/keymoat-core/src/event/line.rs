//! Events as JSON: the one place where the names of their fields are.
//!
//! There is one for every request, and a general serializer costs three times as much as this.

use std::fmt::{Display, Write};
use std::net::IpAddr;

use super::{Event, Lost};
use crate::act::{Act, Actor};
use crate::json::Value;
use crate::record::{InUrl, Outcome, Protocol, Record, Side};
use crate::refusal::Code;
use crate::route::Dialect;
use crate::time::UnixMillis;

/// An event or a record as one JSON object, and what of it is not Keymoat's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The object.
    pub text: String,
    /// Each text in it that may come from outside, with a line feed behind it: what has to be looked through before the object
    /// leaves. The rest are names, words, numbers and times of Keymoat's own. `None` where such a text is not in the object
    /// as it is, so that all of it has to be looked through.
    pub outside: Option<String>,
}

/// The object of an event: its type and severity, then what it is about.
pub(super) fn event(event: &Event) -> Written {
    let mut line = Line::begin();
    line.word("type", event.word());
    line.word("severity", event.severity().word());
    match event {
        Event::Begun(record) => begun(&mut line, record),
        Event::Decision(record) => decision(&mut line, record),
        Event::Act(act) => done(&mut line, act),
        Event::Lost(lost) => count(&mut line, lost),
    }
    line.end()
}

/// The object of a record as the log has it: the fields of its event without type and severity. Those that do not apply
/// are left out.
#[must_use]
pub fn record_line(record: &Record) -> Written {
    let mut line = Line::begin();
    decision(&mut line, record);
    line.end()
}

fn decision(line: &mut Line, record: &Record) {
    subject(line, record, level(record.outcome));
    line.word("outcome", record.outcome.word());
    line.perhaps("code", record.code.map(Code::word));
    line.text("cause", record.cause.as_deref());
    line.number("status", record.status.map(u64::from));
    line.number("close_code", record.close_code.map(u64::from));
    line.text("close_reason", record.close_reason.as_deref());
    line.perhaps("closed_by", record.closed_by.map(Side::word));
    line.number("duration_millis", record.duration_millis);
    line.number("upstream_millis", record.upstream_millis);
    line.number("bytes_in", record.bytes_in);
    line.number("bytes_out", record.bytes_out);
    line.number("messages_in", record.messages_in);
    line.number("messages_out", record.messages_out);
}

fn begun(line: &mut Line, record: &Record) {
    subject(line, record, "INFO");
}

/// What is known of a request or session from its beginning.
fn subject(line: &mut Line, record: &Record, level: &'static str) {
    line.moment("timestamp", record.at);
    line.word("level", level);
    line.word("event", if record.protocol == Protocol::WebSocket { "session" } else { "request" });
    line.shown("id", record.id);
    line.address("client", record.client);
    line.word("protocol", record.protocol.word());
    line.word("method", record.method);
    line.text("path", Some(&record.path));
    line.text("route", record.route.as_deref());
    line.text("upstream", record.upstream.as_deref());
    line.perhaps("dialect", record.dialect.map(Dialect::word));
    line.text("carrier", record.carrier.as_ref().map(ToString::to_string).as_deref());
    line.number("copies_stripped", u64::from(record.copies_stripped));
    line.perhaps("in_url", record.in_url.word());
    if record.in_url != InUrl::Nothing {
        line.truth("let_in_by_url", record.let_in_by_url);
    }
    line.truth("lone_subprotocol_echoed", record.lone_subprotocol_echoed);
    line.list("protocols_offered", &record.subprotocols_offered);
    line.text("protocol_chosen", record.subprotocol_selected.as_deref());
    line.text("origin", record.origin.as_deref());
    line.text("key_id", record.key_id.as_deref());
    line.text("secret_id", record.secret_id.as_deref());
    line.text("token_id", record.token_id.as_deref());
    if record.token_minted {
        line.truth("token_minted", true);
    }
    line.text("user_agent", record.user_agent.as_deref());
    if let Some(trace) = record.trace {
        line.shown("trace_id", format_args!("{:032x}", trace.trace_id));
        line.shown("span_id", format_args!("{:016x}", trace.span_id));
        if let Some(parent) = trace.parent_id {
            line.shown("parent_span_id", format_args!("{parent:016x}"));
        }
    }
}

fn done(line: &mut Line, act: &Act) {
    line.moment("timestamp", act.at);
    line.word("level", "INFO");
    line.word("event", "act");
    line.word("action", act.action.word());
    match &act.actor {
        Actor::Keymoat => line.word("actor", "keymoat"),
        Actor::Command => line.word("actor", "command"),
        Actor::Admin(id) => line.text("actor", Some(id)),
    }
    line.text("target", act.target.as_deref());
    line.text("detail", act.detail.as_deref());
}

fn count(line: &mut Line, lost: &Lost) {
    line.moment("timestamp", lost.at);
    line.word("level", "WARN");
    line.word("event", "lost");
    line.word("sink", lost.sink.word());
    line.number("count", lost.count);
}

const fn level(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed | Outcome::Aborted | Outcome::Refused => "INFO",
        Outcome::Failed => "WARN",
    }
}

/// A JSON object while it is written.
struct Line(Written);

impl Line {
    fn begin() -> Self {
        let mut text = String::with_capacity(704);
        text.push('{');
        Self(Written { text, outside: Some(String::with_capacity(192)) })
    }

    fn name(&mut self, name: &'static str) {
        self.0.text.push_str(if self.0.text.len() > 1 { ",\"" } else { "\"" });
        self.0.text.push_str(name);
        self.0.text.push_str("\":");
    }

    fn truth(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.0.text.push_str(if value { "true" } else { "false" });
    }

    fn number(&mut self, name: &'static str, value: impl Into<Option<u64>>) {
        let Some(value) = value.into() else { return };
        self.name(name);
        self.0.text.push_str(itoa::Buffer::new().format(value));
    }

    /// An address: `127.0.0.1` is written in its four parts, which is what most clients have.
    fn address(&mut self, name: &'static str, address: IpAddr) {
        let IpAddr::V4(address) = address else { return self.shown(name, address) };
        self.name(name);
        for (at, octet) in address.octets().into_iter().enumerate() {
            self.0.text.push(if at == 0 { '"' } else { '.' });
            self.0.text.push_str(itoa::Buffer::new().format(octet));
        }
        self.0.text.push('"');
    }

    /// A time, always with milliseconds.
    fn moment(&mut self, name: &'static str, at: UnixMillis) {
        self.name(name);
        self.0.text.push('"');
        at.write_with_millis(&mut self.0.text);
        self.0.text.push('"');
    }

    /// A text that is ours, in which nothing has to be escaped.
    fn word(&mut self, name: &'static str, word: &'static str) {
        self.plain(name, word);
    }

    /// The same, if there is one.
    fn perhaps(&mut self, name: &'static str, word: Option<&'static str>) {
        if let Some(word) = word {
            self.word(name, word);
        }
    }

    fn plain(&mut self, name: &'static str, text: &str) {
        self.name(name);
        self.0.text.push('"');
        self.0.text.push_str(text);
        self.0.text.push('"');
    }

    /// A value whose text needs no escape.
    fn shown(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        let _ = write!(self.0.text, "\"{value}\"");
    }

    /// A text that may come from outside.
    fn text(&mut self, name: &'static str, value: Option<&str>) {
        let Some(value) = value else { return };
        if value.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            self.name(name);
            self.0.text.push_str(&Value::from(value).render());
            self.0.outside = None;
            return;
        }
        self.plain(name, value);
        if let Some(outside) = &mut self.0.outside {
            outside.push_str(value);
            outside.push('\n');
        }
    }

    /// Texts that may come from outside, left out where there are none.
    fn list(&mut self, name: &'static str, values: &[Box<str>]) {
        if values.is_empty() {
            return;
        }
        let rendered = Value::Array(values.iter().map(|value| Value::from(&**value)).collect()).render();
        self.name(name);
        self.0.text.push_str(&rendered);
        match &mut self.0.outside {
            Some(outside) if !rendered.contains('\\') => {
                for value in values {
                    outside.push_str(value);
                    outside.push('\n');
                }
            }
            outside => *outside = None,
        }
    }

    fn end(mut self) -> Written {
        self.0.text.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::act::Action;
    use crate::event::Sink;

    use super::*;

    fn read(text: &str) -> serde_json::Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn a_session_tells_what_was_offered_and_selected_and_why_it_closed() {
        let mut record = Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), Protocol::WebSocket);
        assert!(read(&record_line(&record).text).get("protocols_offered").is_none());
        record.subprotocols_offered = Box::new(["keymoat.v1".into(), "api-key.•".into()]);
        (record.subprotocol_selected, record.close_reason) = (Some("keymoat.v1".into()), Some("a \"b\"".into()));
        record.origin = Some("https://app.example".into());
        let shown = read(&record_line(&record).text);
        assert_eq!(shown["protocols_offered"], serde_json::json!(["keymoat.v1", "api-key.•"]));
        assert_eq!((&shown["protocol_chosen"], &shown["close_reason"]), (&"keymoat.v1".into(), &"a \"b\"".into()));
        assert_eq!(shown["origin"], "https://app.example");
    }

    #[test]
    fn what_comes_from_outside_cannot_leave_its_place_in_the_object() {
        for text in ["a\"b", "a\\b", "a\nb", "a\u{7f}\u{85}b", "plain"] {
            let mut record = Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), Protocol::Http1);
            (record.path, record.cause) = (text.to_owned(), Some(text.to_owned()));
            let shown = read(&record_line(&record).text);
            assert_eq!((shown["path"].as_str(), shown["cause"].as_str()), (Some(text), Some(text)));
            let (actor, target) = (Actor::Admin(text.into()), Some(text.into()));
            let act = Act { at: UnixMillis(0), actor, action: Action::KeyChanged, target, detail: Some(text.into()) };
            let shown = read(&Event::Act(Box::new(act)).to_string());
            assert_eq!([&shown["actor"], &shown["target"], &shown["detail"]], [text; 3]);
        }
    }

    #[test]
    fn an_event_is_its_record_with_type_and_severity() {
        let record = Record::begin(UnixMillis(1_763_771_332_005), [10, 0, 0, 1].into(), Protocol::WebSocket);
        let line = record_line(&record).text;
        let shown = Event::Decision(Arc::new(record.clone())).to_string();
        let start = r#"{"type":"session.aborted","severity":"low","#;
        assert_eq!(shown.strip_prefix(start), line.strip_prefix('{'));
        assert!(line.starts_with(r#"{"timestamp":"2025-11-22T00:28:52.005Z","level":"INFO","event":"session","#));
        let begun = read(&Event::Begun(Arc::new(record)).to_string());
        assert_eq!(begun["type"], "session.begun");
        assert!(begun.get("outcome").is_none());
    }

    #[test]
    fn what_may_come_from_outside_is_told_apart_unless_it_had_to_be_escaped() {
        let mut record = Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), Protocol::Http1);
        (record.path, record.route, record.cause) = ("/a".to_owned(), Some("b".into()), Some("c d".to_owned()));
        record.carrier = Some(crate::Carrier::Query("e".into()));
        record.code = Some(Code::Forbidden);
        assert_eq!(record_line(&record).outside.as_deref(), Some("/a\nb\nquery:e\nc d\n"));
        record.cause = Some("c\"d".to_owned());
        assert_eq!(record_line(&record).outside, None);
    }

    #[test]
    fn a_loss_says_how_many_and_where() {
        let lost = Event::Lost(Lost { at: UnixMillis(0), sink: Sink::File, count: 12 });
        let text = r#"{"type":"events.lost","severity":"high","timestamp":"1970-01-01T00:00:00.000Z","level":"WARN","event":"lost","sink":"file","count":12}"#;
        assert_eq!(lost.to_string(), text);
    }
}
