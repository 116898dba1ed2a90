//! A report for people.

use std::io::{self, Write};

use keymoat_redact::Checksum;
use keymoat_redact::scan::{At, CodeFinding, Credential, Place, Report};

use super::Summary;
use super::shown::{confidence, further, time};

/// How many further places are named.
const PLACES: usize = 3;

/// Writes it.
///
/// # Errors
/// What `out` says.
pub(super) fn write(report: &Report, summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    for credential in &report.credentials {
        write_credential(credential, out)?;
    }
    for finding in &report.code {
        write_code(finding, out)?;
    }
    for unread in &report.unread {
        writeln!(out, "{}: not read: {}\n", unread.file, unread.reason)?;
    }
    writeln!(out, "{summary}")
}

fn write_credential(credential: &Credential, out: &mut impl Write) -> io::Result<()> {
    let mut places = credential.places.iter();
    let first = places.next().map(place).unwrap_or_default();
    let kind = credential.word().replace('_', " ");
    let vendor = credential.vendor.map(|vendor| format!(" of {}", vendor.name())).unwrap_or_default();
    let carrier = credential.carrier.word();
    let checksum = match credential.checksum {
        Checksum::None => "",
        Checksum::Holds => ", checksum holds",
        Checksum::Fails => ", checksum fails",
    };
    let sure = confidence(credential.confidence);
    writeln!(out, "{first}: {kind}{vendor} in {carrier}, {sure}{checksum}, fingerprint {}", credential.id)?;
    if let Some(line) = &credential.line {
        writeln!(out, "    {line}")?;
    }
    let times = if credential.count == 1 { "once".to_owned() } else { format!("{} times", credential.count) };
    let seen = match (credential.first_seen.map(time), credential.last_seen.map(time)) {
        (Some(first), Some(last)) if first == last => format!(", {first}"),
        (Some(first), Some(last)) => format!(", {first} to {last}"),
        _ => String::new(),
    };
    let also: Vec<String> = places.by_ref().take(PLACES).map(place).collect();
    let rest = places.len() as u64 + further(credential);
    let also = match (also.is_empty(), rest) {
        (true, _) => String::new(),
        (false, 0) => format!("; also {}", also.join(", ")),
        (false, rest) => format!("; also {} and {rest} more", also.join(", ")),
    };
    writeln!(out, "    found {times}{seen}{also}")?;
    writeln!(out, "    → {}; {}\n", credential.rotation(), credential.cleaning())
}

fn write_code(finding: &CodeFinding, out: &mut impl Write) -> io::Result<()> {
    let CodeFinding { rule, parameter, .. } = finding;
    writeln!(out, "{}: {}, parameter `{parameter}` [{}]", place(&finding.place), rule.meaning(), rule.id())?;
    writeln!(out, "    {}", finding.line)?;
    writeln!(out, "    → {}\n", finding.remedy())
}

/// `access.log:17:34`, `trace.har:1:90 /log/entries/0/request/url`, `History urls row 3 url`.
pub(super) fn place(place: &Place) -> String {
    let file = &place.file;
    match &place.at {
        At::FileName => format!("{file} (its name)"),
        At::Text { line, column, pointer: None, .. } => format!("{file}:{line}:{column}"),
        At::Text { line, column, pointer: Some(pointer), .. } => format!("{file}:{line}:{column} {pointer}"),
        At::Binary { offset } => format!("{file} byte {offset}"),
        At::Cell { table, row, column } => format!("{file} {table} row {row} {column}"),
    }
}
