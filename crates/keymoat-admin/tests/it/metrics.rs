//! The text of the metrics: what it counts, under which names, and what it never holds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keymoat_admin::events::Losses;
use keymoat_admin::metrics::{CATALOGUE, Metrics, Movement};
use keymoat_core::act::{Act, Action, Actor};
use keymoat_core::record::{Outcome, Protocol, Record};
use keymoat_core::{Carrier, Code, UnixMillis};

const CANARY: &str = "kq7Vx2-canary-Zt9Lw";

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("1.2.3", UnixMillis(1_500)))
}

fn record(route: Option<&str>, outcome: Outcome) -> Record {
    let mut record = Record::begin(UnixMillis(0), [203, 0, 113, 9].into(), Protocol::Http1);
    (record.outcome, record.route, record.duration_millis) = (outcome, route.map(Into::into), 30);
    record.carrier = Some(Carrier::Query("api_key".into()));
    record.key_id = Some("key_r3pk1shfmy30".into());
    record.let_in_by_url = true;
    record
}

fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn requests_are_counted_by_carrier_route_and_outcome() {
    let metrics = metrics();
    let allowed = record(Some("voice"), Outcome::Allowed);
    for _ in 0..3 {
        metrics.count(&allowed);
    }
    let refused = Record { code: Some(Code::CredentialInQuery), ..record(None, Outcome::Refused) };
    metrics.count(&refused);
    let (code, upstream) = (Some(Code::UpstreamTimeout), Some("gemini".into()));
    metrics.count(&Record { code, upstream, upstream_millis: Some(40), ..record(Some("voice"), Outcome::Failed) });
    let text = metrics.render();
    for (sample, count) in [
        (r#"keymoat_auth_requests_total{carrier="query",route="voice",outcome="allowed"}"#, 3.0),
        (r#"keymoat_auth_requests_total{carrier="query",route="-",outcome="refused"}"#, 1.0),
        (r#"keymoat_refusals_total{code="credential_in_query",route="-"}"#, 1.0),
        (r#"keymoat_upstream_failures_total{code="upstream_timeout",upstream="gemini"}"#, 1.0),
        (r#"keymoat_request_duration_seconds_count{route="voice"}"#, 4.0),
        (r#"keymoat_request_duration_seconds_bucket{le="0.05",route="voice"}"#, 4.0),
        (r#"keymoat_request_duration_seconds_bucket{le="0.025",route="voice"}"#, 0.0),
        (r#"keymoat_upstream_response_seconds_count{route="voice"}"#, 1.0),
        (r#"keymoat_url_keys_let_in_total{route="voice"}"#, 4.0),
        (r#"keymoat_build_info{version="1.2.3"}"#, 1.0),
        ("keymoat_start_time_seconds", 1.5),
    ] {
        assert_eq!(value(&text, sample), Some(count), "{sample}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn sessions_tokens_and_bytes_are_counted() {
    let metrics = metrics();
    let mut session = record(Some("voice"), Outcome::Allowed);
    (session.protocol, session.token_id, session.upstream_millis) =
        (Protocol::WebSocket, Some("tok_1".into()), Some(1));
    (session.bytes_in, session.bytes_out, session.messages_in, session.messages_out) = (10, 20, 3, 4);
    metrics.count(&session);
    metrics.count(&session);
    metrics.count(&Record { token_minted: true, ..session.clone() });
    let text = metrics.render();
    for (sample, count) in [
        (r#"keymoat_relayed_bytes_total{direction="in",route="voice"}"#, 30.0),
        (r#"keymoat_relayed_bytes_total{direction="out",route="voice"}"#, 60.0),
        (r#"keymoat_websocket_messages_total{direction="out",route="voice"}"#, 12.0),
        (r#"keymoat_session_duration_seconds_count{route="voice"}"#, 3.0),
        (r#"keymoat_token_uses_total{route="voice"}"#, 2.0),
        (r#"keymoat_tokens_minted_total{route="voice"}"#, 1.0),
    ] {
        assert_eq!(value(&text, sample), Some(count), "{sample}\n{text}");
    }
}

#[test]
fn every_metric_of_the_catalogue_is_rendered_and_no_other() {
    let metrics = metrics();
    metrics.look_at(|gauges| {
        gauges.events(3, &Losses::default());
        gauges.sessions([("voice".into(), 2)]);
        gauges.lines_dropped(7);
        gauges.snapshot_age(Duration::from_millis(250));
        gauges.changes_seen(41);
        gauges.certificate_expiry("data", Some(-5));
        gauges.rotations_due(1);
    });
    let acts = metrics.counted(Arc::new(drop));
    acts(Act { at: UnixMillis(0), actor: Actor::Command, action: Action::KeyRevoked, target: None, detail: None });
    metrics.count(&Record { code: Some(Code::Forbidden), ..record(Some("r"), Outcome::Refused) });
    let session = Record { protocol: Protocol::WebSocket, ..record(Some("r"), Outcome::Failed) };
    metrics.count(&session);
    let text = metrics.render();
    let word = |movement| match movement {
        Movement::Counter => "counter",
        Movement::Gauge => "gauge",
        Movement::Histogram => "histogram",
        Movement::Info => "info",
    };
    let described: BTreeSet<String> =
        CATALOGUE.iter().map(|known| format!("{} {}", known.name, word(known.movement))).collect();
    let rendered: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect();
    assert_eq!(described.difference(&rendered).count(), 0, "{rendered:?}");
    assert_eq!(rendered.difference(&described).count(), 0, "{rendered:?}");
    for known in CATALOGUE.iter().filter(|known| !known.labels.is_empty()) {
        let sample =
            known.samples().find_map(|sample| text.lines().find(|line| line.starts_with(&format!("{sample}{{"))));
        let sample = sample.unwrap_or_else(|| panic!("{known:?} has no labels\n{text}"));
        assert!(known.labels.iter().all(|label| sample.contains(&format!("{label}=\""))), "{sample}");
    }
    for (sample, seen) in [
        (r#"keymoat_sessions_active{route="voice"}"#, 2.0),
        (r#"keymoat_events_dropped_total{sink="otlp"}"#, 0.0),
        ("keymoat_events_waiting", 3.0),
        ("keymoat_log_lines_dropped_total", 7.0),
        ("keymoat_store_snapshot_age_seconds", 0.25),
        ("keymoat_store_changes_seen", 41.0),
        (r#"keymoat_certificate_expiry_seconds{listener="data"}"#, -5.0),
        (r#"keymoat_acts_total{action="key.revoked"}"#, 1.0),
    ] {
        assert_eq!(value(&text, sample), Some(seen), "{sample}\n{text}");
    }
    assert_eq!(
        value(&metrics.render(), "keymoat_log_lines_dropped_total"),
        Some(7.0),
        "a counter is not added to itself"
    );
}

#[test]
fn nothing_that_a_client_chooses_becomes_a_label() {
    let metrics = metrics();
    for number in 0..2_000 {
        let mut any = record(Some("voice"), Outcome::Refused);
        any.path = format!("/{CANARY}/{number}");
        any.carrier = Some(Carrier::Query(format!("{CANARY}{number}").into()));
        any.key_id = Some(format!("key_{number}").into());
        any.token_id = Some(format!("tok_{number}").into());
        any.cause = Some(CANARY.to_owned());
        any.user_agent = Some(CANARY.to_owned());
        metrics.count(&any);
    }
    let text = metrics.render();
    assert!(!text.contains(CANARY) && !text.contains("key_1") && !text.contains("203.0.113.9"), "{text}");
    assert!(text.lines().count() < 150, "{}", text.lines().count());
    let sample = r#"keymoat_auth_requests_total{carrier="query",route="voice",outcome="refused"}"#;
    assert_eq!(value(&text, sample), Some(2_000.0), "a route that is another text in memory is the same route");
}

#[test]
fn threads_count_in_the_same_counters_and_two_sets_apart() {
    let (one, other) = (metrics(), metrics());
    let allowed = record(Some("voice"), Outcome::Allowed);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|_| one.count(&allowed)));
        }
    });
    other.count(&allowed);
    let sample = r#"keymoat_auth_requests_total{carrier="query",route="voice",outcome="allowed"}"#;
    assert_eq!((value(&one.render(), sample), value(&other.render(), sample)), (Some(4_000.0), Some(1.0)));
}

const PAGE_HEAD: &str = "\
# Metrics

`GET /metrics` on the admin listener answers what Prometheus reads (OpenMetrics). It takes an admin key of at least the role `viewer`, as
`Authorization: Bearer kma_…`; in Prometheus' own configuration that is `authorization: { credentials_file: … }`. Whoever may open
`admin.sock` in the store's folder may read it there.

No label is a credential, a key's id, a path or an address. Routes and upstreams are those of the configuration, `-` is none; carriers go by
their kind (`header`, `subprotocol`, `query`, `none`).

A dashboard for Grafana is in `deploy/grafana/keymoat.json`.

## All metrics

| name | kind | labels | meaning |
|---|---|---|---|
";

const PAGE_END: &str = "
## OpenTelemetry

```toml
[telemetry]
otlp = \"http://127.0.0.1:4318\"
headers = { authorization = \"${file:/run/secrets/otlp}\" }   # if the collector asks for one
signals = [\"traces\", \"metrics\", \"logs\"]                # the default
```

Keymoat tells a collector by OTLP over HTTP with protobuf, at `/v1/traces`, `/v1/metrics` and `/v1/logs` below that address: a span for each
request, with its route, its outcome and when the upstream answered; the metrics above, every 30 seconds; and a log record for each
[event](events.md). What goes there is masked as everything is.

With traces, a client's `traceparent` is continued: its trace goes on in our span, and from there to a generic upstream. A provider's upstream
gets none. A collector that is away or slow makes nobody wait: what it does not take is counted in `keymoat_events_dropped_total{sink=\"otlp\"}`.
";

/// The page of the book, made from the catalogue.
fn page() -> String {
    let rows = CATALOGUE.iter().map(|known| {
        let names: Vec<_> = known.samples().map(|sample| format!("`{sample}`")).collect();
        let kind = match known.movement {
            Movement::Counter => "counter",
            Movement::Gauge => "gauge",
            Movement::Histogram => "histogram",
            Movement::Info => "info",
        };
        let labels: Vec<_> = known.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| {} | {kind} | {} | {} |\n", names.join(", "), labels.join(", "), known.help)
    });
    format!("{PAGE_HEAD}{}{PAGE_END}", rows.collect::<String>())
}

fn of_repository(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn the_page_of_metrics_says_what_there_is() {
    let path = of_repository("docs/src/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/src/metrics.md is old: UPDATE=1 cargo nextest run -p keymoat-admin page_of_metrics"
    );
}

#[test]
fn the_dashboard_asks_for_nothing_but_what_is_rendered() {
    let text = std::fs::read_to_string(of_repository("deploy/grafana/keymoat.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 15);
    let known: BTreeSet<String> = CATALOGUE.iter().flat_map(keymoat_admin::metrics::Described::samples).collect();
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut asked = BTreeSet::new();
    for (at, _) in text.match_indices("keymoat_") {
        let name: String = text.get(at..).unwrap().chars().take_while(|letter| is_of_name(*letter)).collect();
        assert!(known.contains(&name), "the dashboard asks for `{name}`");
        asked.insert(name);
    }
    for known in CATALOGUE {
        assert!(known.samples().any(|sample| asked.contains(&sample)), "the dashboard leaves out `{}`", known.name);
    }
}
