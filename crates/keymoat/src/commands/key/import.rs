//! `keymoat key import`: takes over the keys that clients have already. None of them is printed, in any case.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use keymoat_core::Secret;
use keymoat_store::{ImportMode, NewKey};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::commands::{Found, print, to_json};
use crate::config;
use crate::hand::{Hand, ImportOrder, Taken};
use crate::output::time::now;

/// A file with keys may be this large.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// So many keys are taken over at once.
const KEYS_MAX: usize = 100_000;

/// How a file of keys is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Whatever each line looks like.
    Auto,
    /// Each line is a key, whatever it has in it.
    Lines,
    /// Each line is `NAME,KEY`; a first line `name,key` is skipped.
    Csv,
}

/// One key of the file, with its place.
struct Entry {
    place: Place,
    name: Option<String>,
    /// The key, or why it cannot be one.
    secret: Result<(Secret, Option<String>), String>,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Place {
    line: usize,
    /// Counted from 1, where a line holds several.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<usize>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.line)?;
        self.number.map_or(Ok(()), |number| write!(f, ", key {number}"))
    }
}

/// What became of one key.
#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    place: Place,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
}

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    imported: usize,
    known: usize,
    refused: usize,
    keys: Vec<Outcome>,
}

/// Takes over what `file` holds, under the terms of `template`, and reports each key by its place.
///
/// # Errors
/// The file cannot be read or holds no keys, and what the store refuses as a whole. Keys that were refused are an error at
/// the end, when the others were taken over.
pub(super) fn import(
    hand: &Hand<'_>,
    file: &Path,
    (format, name_prefix, dry_run): (Format, &str, bool),
    template: &NewKey,
    json: bool,
) -> anyhow::Result<()> {
    let text = read(file)?;
    let entries = entries(&text, format);
    anyhow::ensure!(!entries.is_empty(), "there is no key in {}", shown(file));
    anyhow::ensure!(entries.len() <= KEYS_MAX, "there are more than {KEYS_MAX} keys: import them in parts");
    let taken: HashSet<String> = hand.store().keys()?.iter().map(|key| key.name.to_string()).collect();
    let named: HashSet<String> = entries.iter().filter_map(|entry| entry.name.clone()).collect();
    let mut free = (1..).map(|number| format!("{name_prefix}-{number}"));
    let mut free = free.by_ref().filter(|name| !taken.contains(name) && !named.contains(name));
    let mut orders = Vec::new();
    for entry in &entries {
        let Ok((secret, _)) = &entry.secret else { continue };
        let name = entry.name.clone().or_else(|| free.next()).unwrap_or_default();
        orders.push(ImportOrder { name, secret });
    }
    let mode = if dry_run { ImportMode::DryRun } else { ImportMode::Commit };
    let mut done = hand.import_keys(&orders, template, mode, now())?.into_iter();
    let keys: Vec<_> = entries.iter().map(|entry| outcome(entry, &mut done)).collect();
    report(keys, dry_run, json)
}

fn outcome(entry: &Entry, done: &mut impl Iterator<Item = Taken>) -> Outcome {
    let place = entry.place;
    let refused = |why: String| Outcome { place, result: "refused", id: None, name: None, remark: Some(why) };
    let remark = match &entry.secret {
        Ok((_, remark)) => remark.clone(),
        Err(why) => return refused(why.clone()),
    };
    let about = |result, (id, name), remark| Outcome { place, result, id: Some(id), name: Some(name), remark };
    match done.next() {
        Some(Taken::Made { id, name }) => about("imported", (id, name), remark),
        Some(Taken::Known { id, name }) => about("known", (id, name), None),
        Some(Taken::Refused(why)) => refused(why),
        None => refused("it was not looked at".to_owned()),
    }
}

fn report(keys: Vec<Outcome>, dry_run: bool, json: bool) -> anyhow::Result<()> {
    let count = |result: &str| keys.iter().filter(|key| key.result == result).count();
    let (imported, known, refused) = (count("imported"), count("known"), count("refused"));
    if json {
        print(&to_json(&Report { dry_run, imported, known, refused, keys })?)?;
    } else {
        let lines = keys.iter().map(|key| {
            let named = key.id.iter().zip(&key.name).map(|(id, name)| match (dry_run, key.result) {
                (true, "imported") => format!(" as {name}"),
                _ => format!(" as {id} ({name})"),
            });
            let remark = key.remark.iter().map(|remark| format!(": {remark}"));
            format!("{}  {}{}\n", key.place, key.result, named.chain(remark).collect::<String>())
        });
        let end = if dry_run { "; nothing was changed" } else { "" };
        print(&format!(
            "{}{imported} imported, {known} known already, {refused} refused{end}\n",
            lines.collect::<String>()
        ))?;
    }
    if refused > 0 {
        return Err(Found(format!("{refused} keys were refused: see above")).into());
    }
    Ok(())
}

/// The whole file, which goes out of memory with what is returned.
fn read(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let all = |from: &mut dyn Read, into: &mut Vec<u8>| from.take(FILE_BYTES_MAX + 1).read_to_end(into);
    let read = if file == Path::new("-") {
        all(&mut io::stdin().lock(), &mut bytes)
    } else {
        File::open(file).and_then(|mut open| all(&mut open, &mut bytes))
    };
    read.with_context(|| format!("cannot read {}", shown(file)))?;
    anyhow::ensure!(bytes.len() as u64 <= FILE_BYTES_MAX, "{} is larger than 16 MiB: import it in parts", shown(file));
    let text = std::str::from_utf8(&bytes).ok().with_context(|| format!("{} is not UTF-8 text", shown(file)))?;
    Ok(Zeroizing::new(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()))
}

/// What is read. A path is not shown: it may be a key that was written in its place.
fn shown(file: &Path) -> &'static str {
    if file == Path::new("-") { "standard input" } else { "the file that is named" }
}

/// The keys of a text, in their order.
fn entries(text: &str, format: Format) -> Vec<Entry> {
    // A JSON list may go over several lines.
    if format == Format::Auto
        && let Some(keys) = json_list(text)
    {
        return listed(1, keys.iter().map(|key| &***key));
    }
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut entries = Vec::new();
    for (line, text) in lines {
        let is_head = text.eq_ignore_ascii_case("name,key") && entries.is_empty();
        match format {
            Format::Lines => entries.push(entry(Place { line, number: None }, None, text)),
            Format::Csv | Format::Auto if is_head => {}
            Format::Csv => {
                let (name, key) = text.split_once(',').unwrap_or(("", text));
                let name = Some(unquoted(name).to_owned()).filter(|name| !name.is_empty());
                entries.push(entry(Place { line, number: None }, name, unquoted(key)));
            }
            Format::Auto => entries.extend(of_line(line, text)),
        }
    }
    entries
}

/// The keys of a line whose form is not said.
fn of_line(line: usize, text: &str) -> Vec<Entry> {
    let one = Place { line, number: None };
    let assigned = text.strip_prefix("export ").unwrap_or(text).trim_start();
    if let Some((name, value)) = assigned.split_once('=') {
        let (name, value) = (name.trim(), unquoted(value.trim()));
        if name.ends_with("API_KEYS") {
            return match json_list(value) {
                Some(keys) => listed(line, keys.iter().map(|key| &***key)),
                None => listed(line, value.split(',').map(|key| unquoted(key.trim()))),
            };
        }
        // What ends in `=` is a key in base64.
        if is_name(name) && !value.is_empty() && !value.starts_with('=') {
            return vec![entry(one, Some(name.to_owned()), value)];
        }
    }
    if let Some(keys) = json_list(text) {
        return listed(line, keys.iter().map(|key| &***key));
    }
    match text.split_once(',') {
        Some((name, key)) if !key.contains(',') && is_name(unquoted(name.trim())) => {
            vec![entry(one, Some(unquoted(name.trim()).to_owned()), unquoted(key.trim()))]
        }
        Some(_) => listed(line, text.split(',').map(|key| unquoted(key.trim()))),
        None => vec![entry(one, None, unquoted(text))],
    }
}

/// The keys of a list; one that is left empty is none.
fn listed<'a>(line: usize, keys: impl Iterator<Item = &'a str>) -> Vec<Entry> {
    let keys = keys.filter(|key| !key.is_empty()).zip(1..);
    keys.map(|(key, number)| entry(Place { line, number: Some(number) }, None, key)).collect()
}

fn entry(place: Place, name: Option<String>, key: &str) -> Entry {
    Entry { place, name, secret: config::check_key(Secret::from(key), "it") }
}

/// A JSON list of texts, as the variable `API_KEYS` has it.
fn json_list(text: &str) -> Option<Vec<Zeroizing<String>>> {
    let keys: Vec<String> = serde_json::from_str(text.trim()).ok()?;
    Some(keys.into_iter().map(Zeroizing::new).collect())
}

/// Whether a text can be a key's name, and is not likely to be a key: short, and of the characters of names.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b' ');
    let shortest_key = keymoat_core::credential::UNGUESSABLE_BYTES_MIN;
    (1..=64).contains(&text.len())
        && text.bytes().all(fits)
        && !text.starts_with("km_")
        && (text.len() < shortest_key || text.contains(['-', '_', ' ', '.']))
}

/// A text without the quotes around it.
fn unquoted(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names and keys that are read, with their places.
    fn found(text: &str, format: Format) -> Vec<String> {
        let one = |entry: &Entry| {
            let name = entry.name.as_deref().unwrap_or("-");
            let key = match &entry.secret {
                Ok((secret, _)) => String::from_utf8_lossy(secret.expose()).into_owned(),
                Err(_) => "no key".to_owned(),
            };
            format!("{}: {name} {key}", entry.place)
        };
        entries(text, format).iter().map(one).collect()
    }

    #[test]
    fn every_form_of_a_list_is_read() {
        for text in [
            "[\"first-key-of-another\",\n \"second\"]\n",
            "API_KEYS=[\"first-key-of-another\", \"second\"]",
            "export API_KEYS='[\"first-key-of-another\",\"second\"]'",
            "API_KEYS=first-key-of-another,second",
            "BACKEND_API_KEYS=\"first-key-of-another, second,\"",
        ] {
            assert_eq!(
                found(text, Format::Auto),
                ["line 1, key 1: - first-key-of-another", "line 1, key 2: - second"],
                "{text}"
            );
        }
        assert_eq!(found("[\"a\",\"b\"]", Format::Lines), ["line 1: - [\"a\",\"b\"]"], "a line is a key");
    }

    #[test]
    fn lines_have_names_or_none() {
        let text = "# keys of the old gateway\n\nname,key\nfront door,secret-one-of-the-door\nback=secret two\ngarage=secret-three=\n\
                    plain-secret-four\nbase64+secret/five==\n\"quoted-secret\"\n";
        assert_eq!(
            found(text, Format::Auto),
            [
                "line 4: front door secret-one-of-the-door",
                "line 5: back no key",
                "line 6: garage secret-three=",
                "line 7: - plain-secret-four",
                "line 8: - base64+secret/five==",
                "line 9: - quoted-secret",
            ]
        );
        assert_eq!(found("name,key\na,x,y\n,z\n", Format::Csv), ["line 2: a x,y", "line 3: - z"]);
        let long = "abcdefghijabcdefghijabcdefghij,1234567890";
        assert_eq!(found(long, Format::Auto).len(), 2, "a list: nobody is called that");
    }

    #[test]
    fn nothing_that_says_what_is_wrong_shows_a_key() {
        for text in ["can ary", "kma_canarycanarycanarycanary", "undefined", "name=canary canary"] {
            for entry in entries(text, Format::Auto) {
                let why = entry.secret.expect_err(text);
                assert!(!why.contains("anary"), "{why}");
            }
        }
    }
}
