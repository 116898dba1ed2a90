//! A report in SARIF 2.1.0, for platforms that show findings beside code.
//!
//! The fingerprint is the keyed one, so a result is the same one when a log is rotated or lines move.

use keymoat_redact::Confidence;
use keymoat_redact::scan::code::Rule;
use keymoat_redact::scan::{At, CodeFinding, Credential, Place, Report};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::Summary;
use super::shown::{confidence, further, time};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// The rule of every credential that stands in a file.
const LEAK: &str = "credential-leak";
/// What a path may not have in a URI reference.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b':');

/// The log.
pub(super) fn log(report: &Report, summary: &Summary) -> Value {
    let credentials = report.credentials.iter().map(credential);
    let results: Vec<Value> = credentials.chain(report.code.iter().map(code)).collect();
    let notes: Vec<Value> = report
        .unread
        .iter()
        .map(|unread| {
            json!({
                "level": "error",
                "message": { "text": format!("not read: {}", unread.reason) },
                "locations": [{ "physicalLocation": { "artifactLocation": { "uri": uri(&unread.file) } } }],
            })
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "keymoat",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules(),
            } },
            "columnKind": "utf16CodeUnits",
            "invocations": [{ "executionSuccessful": report.unread.is_empty(), "toolExecutionNotifications": notes }],
            "properties": summary,
            "results": results,
        }],
    })
}

fn rules() -> Vec<Value> {
    let leak = json!({
        "id": LEAK,
        "shortDescription": { "text": "a credential stands in a file" },
        "defaultConfiguration": { "level": "error" },
    });
    let code = Rule::ALL.map(|rule| {
        json!({
            "id": rule.id(),
            "shortDescription": { "text": rule.meaning() },
            "defaultConfiguration": { "level": "warning" },
            "properties": { "tags": ["security", "external/cwe/cwe-598"] },
        })
    });
    std::iter::once(leak).chain(code).collect()
}

fn credential(credential: &Credential) -> Value {
    let kind = credential.word().replace('_', " ");
    let vendor = credential.vendor.map(|vendor| format!(" of {}", vendor.name())).unwrap_or_default();
    let text = format!(
        "{kind}{vendor} in {}, found {} times: {}; {}",
        credential.carrier.word(),
        credential.count,
        credential.rotation(),
        credential.cleaning()
    );
    let mut places = credential.places.iter();
    let first: Vec<Value> =
        places.next().map(|first| location(first, credential.line.as_deref())).into_iter().collect();
    let others: Vec<Value> = places.map(|other| location(other, None)).collect();
    json!({
        "ruleId": LEAK,
        "level": if credential.confidence == Confidence::Shape { "warning" } else { "error" },
        "message": { "text": text },
        "locations": first,
        "relatedLocations": others,
        "occurrenceCount": credential.count,
        "partialFingerprints": { "keymoatCredential/v1": credential.id.to_string() },
        "properties": {
            "confidence": confidence(credential.confidence),
            "firstSeen": credential.first_seen.map(time),
            "lastSeen": credential.last_seen.map(time),
            "placesFurther": further(credential),
        },
    })
}

fn code(finding: &CodeFinding) -> Value {
    let text = format!("{}, parameter `{}`: {}", finding.rule.meaning(), finding.parameter, finding.remedy());
    json!({
        "ruleId": finding.rule.id(),
        "level": "warning",
        "message": { "text": text },
        "locations": [location(&finding.place, Some(&finding.line))],
        "partialFingerprints": { "keymoatCode/v1": finding.id.to_string() },
        "properties": { "redundant": finding.redundant },
    })
}

fn location(place: &Place, line: Option<&str>) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(&place.file) } });
    let mut logical = None;
    let snippet = line.map(|line| json!({ "text": line }));
    match &place.at {
        At::FileName => logical = Some("file name".to_owned()),
        At::Text { line, column, pointer, .. } => {
            physical["region"] = json!({ "startLine": line, "startColumn": column });
            logical = pointer.as_deref().map(str::to_owned);
        }
        At::Binary { offset } => physical["region"] = json!({ "byteOffset": offset }),
        At::Cell { table, row, column } => logical = Some(format!("{table}/{row}/{column}")),
    }
    if let (Some(snippet), Some(region)) = (snippet, physical.get_mut("region")) {
        region["snippet"] = snippet;
    }
    let mut location = json!({ "physicalLocation": physical });
    if let Some(name) = logical {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": name }]);
    }
    location
}

fn uri(file: &str) -> String {
    let path = utf8_percent_encode(file, PATH).to_string();
    if path.starts_with('/') { format!("file://{path}") } else { path }
}
