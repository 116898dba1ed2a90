//! A collector is told of everything, in messages that OpenTelemetry's own types read; one that is away costs nobody
//! anything.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keymoat_admin::events::{Delivery, Events, Losses, Options};
use keymoat_admin::metrics::Metrics;
use keymoat_admin::otlp::{self, Endpoint, MetricsTeller, Signal, Target};
use keymoat_core::event::Sink;
use keymoat_core::record::{Outcome, Protocol, Record};
use keymoat_core::{Secret, Trace, UnixMillis};
use keymoat_redact::{Known, KnownSecrets};
use keymoat_store::EventStore;
use keymoat_store::events::{Durability, Retention};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message;
use tempfile::TempDir;

const CANARY: &str = "kq7Vx2-canary-Zt9Lw";
const NOW: UnixMillis = UnixMillis(1_763_771_332_005);

/// What a collector was sent: the path, the headers, the message.
type Sent = (String, BTreeMap<String, String>, Vec<u8>);

/// A collector: takes whatever is sent, and answers.
struct Receiver {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Receiver {
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, sent) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Sent>>>::default());
        let taken = sent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let taken = taken.clone();
                std::thread::spawn(move || serve(stream, status, &taken));
            }
        });
        Self { address, sent }
    }

    fn target(&self) -> Target {
        target(self.address)
    }

    fn messages(&self, path: &str) -> Vec<Vec<u8>> {
        let sent = self.sent.lock().unwrap();
        sent.iter().filter(|(to, ..)| to == path).map(|(.., message)| message.clone()).collect()
    }
}

fn target(address: SocketAddr) -> Target {
    let endpoint = Endpoint::parse(&format!("http://{address}/otlp")).unwrap();
    Target { endpoint, headers: [("x-collector-key".parse().unwrap(), Secret::from(CANARY))].into() }
}

fn serve(stream: TcpStream, status: &str, taken: &Mutex<Vec<Sent>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line);
        }
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        let header =
            |line: &String| line.trim().split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers: BTreeMap<_, _> = lines.iter().skip(1).filter_map(header).collect();
        let mut message = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut message).unwrap();
        taken.lock().unwrap().push((path, headers, message));
        let _ = (&stream).write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes());
    }
}

fn events(dir: &TempDir, target: &Target, signals: &[Signal]) -> Events {
    let lost = Arc::<Losses>::default();
    let known = KnownSecrets::default();
    known.replace(Known::new([CANARY.as_bytes()]));
    let store = Arc::new(EventStore::open(dir.path(), Durability::Process).unwrap());
    let options = Options {
        delivery: Delivery::BestEffort,
        retention: Retention { keep_millis: i64::MAX, keep_max: 1_000 },
        known,
        rules: Arc::default(),
        file: None,
        stdout: false,
        others: vec![otlp::sink(target, signals, lost.clone()).unwrap()],
        lost,
        clock: || NOW,
    };
    Events::start(store, options).unwrap()
}

fn record() -> Record {
    let mut record = Record::begin(UnixMillis(NOW.0 - 250), [127, 0, 0, 1].into(), Protocol::Http1);
    (record.outcome, record.method, record.route) = (Outcome::Failed, "GET", Some("voice".into()));
    (record.duration_millis, record.upstream_millis) = (250, Some(100));
    record.path = format!("/x/{CANARY}");
    record.cause = Some("the answer was api_key=Zk7Qw2Lr9TnXb4Vm".to_owned());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    record.trace = Some(Trace::continued(Some(parent), 1, 0xabc));
    record
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

#[test]
fn events_are_told_as_logs_and_requests_as_spans_without_any_credential() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start("200 OK"));
    let events = events(&dir, &receiver.target(), &Signal::ALL);
    events.record(Arc::new(record()));
    events.record(Arc::new(Record { trace: None, ..record() }));
    events.flush();
    let logs: Vec<_> = receiver.messages("/otlp/v1/logs");
    let logs: Vec<_> =
        logs.iter().map(|message| ExportLogsServiceRequest::decode(message.as_slice()).unwrap()).collect();
    let records: Vec<_> = logs.iter().flat_map(|logs| &logs.resource_logs[0].scope_logs[0].log_records).collect();
    assert_eq!(records.len(), 2);
    let first = records[0];
    assert_eq!((first.event_name.as_str(), first.severity_text.as_str()), ("request.failed", "medium"));
    assert_eq!(first.time_unix_nano, (NOW.0 as u64 - 250) * 1_000_000);
    assert_eq!(first.observed_time_unix_nano, NOW.0 as u64 * 1_000_000);
    assert_eq!(text(&first.attributes, "keymoat.seq").as_deref(), Some("1"));
    assert_eq!(text(&first.attributes, "keymoat.outcome").as_deref(), Some("failed"));
    assert_eq!(text(&first.attributes, "url.path").as_deref(), Some("/x/[REDACTED:known]"));
    let resource = logs[0].resource_logs[0].resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "service.name").as_deref(), Some("keymoat"));
    let spans = ExportTraceServiceRequest::decode(receiver.messages("/otlp/v1/traces")[0].as_slice()).unwrap();
    let spans = &spans.resource_spans[0].scope_spans[0].spans;
    let [span] = &spans[..] else { panic!("one of the two was traced: {spans:?}") };
    assert_eq!(span.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    assert_eq!(span.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!((span.span_id.clone(), span.name.as_str()), (0xabc_u64.to_be_bytes().to_vec(), "GET voice"));
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 250_000_000);
    assert_eq!(span.events[0].time_unix_nano - span.start_time_unix_nano, 100_000_000);
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    for (path, headers, message) in &*receiver.sent.lock().unwrap() {
        assert_eq!(headers["x-collector-key"], CANARY, "the collector's own credential comes in a header");
        for leak in [CANARY, "Zk7Qw2Lr9TnXb4Vm"] {
            let found = message.windows(leak.len()).any(|window| window == leak.as_bytes());
            assert!(!found && !path.contains(leak), "{path} holds `{leak}`");
        }
    }
}

#[test]
fn only_what_was_chosen_is_told() {
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start("200 OK"));
    let events = events(&dir, &receiver.target(), &[Signal::Logs]);
    events.record(Arc::new(record()));
    events.flush();
    assert_eq!((receiver.messages("/otlp/v1/logs").len(), receiver.messages("/otlp/v1/traces").len()), (1, 0));
}

#[test]
fn a_collector_that_says_no_or_is_away_loses_its_own_and_is_counted() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for target in [Receiver::start("503 Service Unavailable").target(), target(closed)] {
        let dir = tempfile::tempdir().unwrap();
        let events = events(&dir, &target, &[Signal::Logs]);
        events.record(Arc::new(record()));
        events.flush();
        assert!(!events.store().since(0, 10).unwrap().is_empty());
        assert_eq!((events.lost().of(Sink::Otlp), events.lost().of(Sink::Store)), (1, 0));
        let deadline = Instant::now() + Duration::from_secs(10);
        while events.store().last_seq().unwrap() < 2 {
            assert!(Instant::now() < deadline, "the loss is an event");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(events.store().event(2).unwrap().unwrap().body.contains(r#""sink":"otlp","count":1"#));
        // A loss of the word of a loss is not told of, or there would be no end of it.
        std::thread::sleep(Duration::from_millis(1_600));
        assert_eq!((events.store().last_seq().unwrap(), events.lost().of(Sink::Otlp)), (2, 1));
    }
}

#[test]
fn metrics_are_told_as_they_are_rendered_and_once_more_at_the_end() {
    let receiver = Receiver::start("200 OK");
    let metrics = Arc::new(Metrics::new("1.2.3", NOW));
    metrics.count(&record());
    let rendered = metrics.clone();
    let teller = MetricsTeller::start(&receiver.target(), Duration::from_secs(3600), move || rendered.render(), || NOW);
    drop(teller.unwrap());
    let sent = receiver.messages("/otlp/v1/metrics");
    assert_eq!(sent.len(), 1);
    let message = ExportMetricsServiceRequest::decode(sent[0].as_slice()).unwrap();
    let names: Vec<_> =
        message.resource_metrics[0].scope_metrics[0].metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert!(
        names.contains(&"keymoat_auth_requests") && names.contains(&"keymoat_request_duration_seconds"),
        "{names:?}"
    );
    let found = sent[0].windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    assert!(!found);
}
