//! A report as it is written in JSON, whole or in lines. What is not here is not shown, and no value is here.

use keymoat_core::UnixMillis;
use keymoat_redact::scan::{At, CodeFinding, Credential, Place, Report, Unread, Vendor};
use keymoat_redact::{Checksum, Confidence};
use serde::{Serialize, Serializer};

use super::Summary;
use crate::output::time::rfc3339;

/// The version of the format; it changes when a field goes or means something else.
pub(super) const SCHEMA: &str = "keymoat.scan/1";

/// Everything.
#[derive(Serialize)]
pub(super) struct Whole<'a> {
    schema: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(serialize_with = "credentials")]
    credentials: &'a [Credential],
    code: Vec<Code<'a>>,
    errors: Vec<Failed<'a>>,
}

impl<'a> Whole<'a> {
    pub(super) fn of(report: &'a Report, summary: &'a Summary) -> Self {
        Self {
            schema: SCHEMA,
            summary,
            credentials: &report.credentials,
            code: report.code.iter().map(Code::of).collect(),
            errors: report.unread.iter().map(Failed::of).collect(),
        }
    }
}

fn credentials<S: Serializer>(credentials: &[Credential], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(credentials.iter().map(Shown::of))
}

/// One line of the report in lines.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Credential(Shown<'a>),
    Code(Code<'a>),
    Error(Failed<'a>),
    Summary(&'a Summary),
}

/// A credential.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    fingerprint: String,
    fingerprint_of: &'static str,
    kind: &'a str,
    carrier: &'static str,
    name: Option<&'a str>,
    confidence: &'static str,
    checksum: &'static str,
    vendor: Option<&'static str>,
    count: u64,
    first_seen: Option<String>,
    last_seen: Option<String>,
    places: Vec<Where<'a>>,
    places_further: u64,
    line: Option<&'a str>,
    rotation: &'static str,
    cleaning: &'static str,
}

impl<'a> Shown<'a> {
    pub(super) fn of(credential: &'a Credential) -> Self {
        Self {
            fingerprint: credential.id.to_string(),
            fingerprint_of: if credential.by_value { "value" } else { "place" },
            kind: credential.word(),
            carrier: credential.carrier.word(),
            name: credential.name.as_deref(),
            confidence: confidence(credential.confidence),
            checksum: checksum(credential.checksum),
            vendor: credential.vendor.map(Vendor::name),
            count: credential.count,
            first_seen: credential.first_seen.map(time),
            last_seen: credential.last_seen.map(time),
            places: credential.places.iter().map(Where::of).collect(),
            places_further: further(credential),
            line: credential.line.as_deref(),
            rotation: credential.rotation(),
            cleaning: credential.cleaning(),
        }
    }
}

/// A line of code.
#[derive(Serialize)]
pub(super) struct Code<'a> {
    fingerprint: String,
    rule: &'static str,
    meaning: &'static str,
    parameter: &'a str,
    redundant: bool,
    place: Where<'a>,
    line: &'a str,
    remedy: &'static str,
}

impl<'a> Code<'a> {
    pub(super) fn of(finding: &'a CodeFinding) -> Self {
        Self {
            fingerprint: finding.id.to_string(),
            rule: finding.rule.id(),
            meaning: finding.rule.meaning(),
            parameter: &finding.parameter,
            redundant: finding.redundant,
            place: Where::of(&finding.place),
            line: &finding.line,
            remedy: finding.remedy(),
        }
    }
}

/// Something that could not be read.
#[derive(Serialize)]
pub(super) struct Failed<'a> {
    file: &'a str,
    reason: &'a str,
}

impl<'a> Failed<'a> {
    pub(super) fn of(unread: &'a Unread) -> Self {
        Self { file: &unread.file, reason: &unread.reason }
    }
}

/// A place; of the fields only those that it has.
#[derive(Serialize, Default)]
pub(super) struct Where<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table_column: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    in_file_name: bool,
}

impl<'a> Where<'a> {
    fn of(place: &'a Place) -> Self {
        let there = Self { file: &place.file, ..Self::default() };
        match &place.at {
            At::FileName => Self { in_file_name: true, ..there },
            At::Text { offset, line, column, pointer } => Self {
                line: Some(*line),
                column: Some(*column),
                pointer: pointer.as_deref(),
                offset: Some(*offset),
                ..there
            },
            At::Binary { offset } => Self { offset: Some(*offset), ..there },
            At::Cell { table, row, column } => {
                Self { table: Some(table), row: Some(*row), table_column: Some(column), ..there }
            }
        }
    }
}

/// How many places there are beside those that are kept.
pub(super) fn further(credential: &Credential) -> u64 {
    credential.count.saturating_sub(credential.places.len() as u64)
}

/// A time of a log.
pub(super) fn time(millis: i64) -> String {
    rfc3339(UnixMillis(millis))
}

pub(super) const fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Shape => "shape",
        Confidence::Named => "named",
        Confidence::Proven => "proven",
    }
}

pub(super) const fn checksum(checksum: Checksum) -> &'static str {
    match checksum {
        Checksum::None => "none",
        Checksum::Holds => "holds",
        Checksum::Fails => "fails",
    }
}
