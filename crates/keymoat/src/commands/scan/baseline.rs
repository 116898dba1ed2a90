//! What is known already: a file of fingerprints, from which nobody without the key can tell what they belong to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use keymoat_redact::scan::{Id, Report};

/// How the first line begins; the id of the fingerprint key follows.
const HEAD: &str = "# keymoat scan baseline 1, fingerprint key ";

/// Reads the fingerprints.
///
/// # Errors
/// The file cannot be read, is no baseline, or was made with another key.
pub(super) fn read(file: &Path, key_id: u32) -> anyhow::Result<BTreeSet<Id>> {
    let shown = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read the baseline {shown}"))?;
    let mut lines = text.lines();
    let Some(made_with) = lines.next().and_then(|line| line.strip_prefix(HEAD)) else {
        bail!("{shown} is no baseline: make one with --write-baseline");
    };
    if made_with != format!("{key_id:08x}") {
        bail!(
            "the baseline {shown} was made with another fingerprint key, so nothing in it would be recognised: \
             name its key with --fingerprint-key, or make the baseline anew"
        );
    }
    let ids = lines.enumerate().filter(|(_, line)| !line.is_empty());
    ids.map(|(at, line)| Id::parse(line).with_context(|| format!("{shown}:{}: this is no fingerprint", at + 2)))
        .collect()
}

/// Writes the fingerprints of everything that was found, sorted.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(file: &Path, key_id: u32, report: &Report) -> anyhow::Result<()> {
    let credentials = report.credentials.iter().map(|credential| credential.id);
    let ids: BTreeSet<Id> = credentials.chain(report.code.iter().map(|finding| finding.id)).collect();
    let mut text = format!("{HEAD}{key_id:08x}\n");
    for id in &ids {
        text.push_str(&format!("{id}\n"));
    }
    fs::write(file, text).with_context(|| format!("cannot write the baseline {}", file.display()))
}

/// Takes what is known out of a report, and counts it.
pub(super) fn apply(known: &BTreeSet<Id>, report: &mut Report) -> usize {
    let before = report.credentials.len() + report.code.len();
    report.credentials.retain(|credential| !known.contains(&credential.id));
    report.code.retain(|finding| !known.contains(&finding.id));
    before - report.credentials.len() - report.code.len()
}
