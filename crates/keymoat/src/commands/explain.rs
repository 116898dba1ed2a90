//! `keymoat explain`: names the mistake in what fails, and what to send instead.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use keymoat_core::mistake::{Client, Remedy};
use keymoat_core::refusal;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Found, print, remark, to_json};
use crate::explain::{Explained, Seen, explain};

/// The most that is read: a HAR file of a few connections.
const PASTED_BYTES_MAX: u64 = 1 << 20;

const PASTED: &str = "what fails is not taken as an argument, which stays in the shell's history and is seen by everybody \
                      on this machine: paste it to standard input (`keymoat explain`, then Ctrl-D), or name one file";

/// Names the mistake in what fails, and prints what to send instead.
///
/// Paste a URL, headers, subprotocols, an error, a close code with its reason, code, a curl command or an excerpt of a HAR
/// file: on standard input or in a file, never as an argument, which would stay in the shell's history. Nothing of it
/// is repeated or sent anywhere. Exit codes: 0 something was explained, 1 nothing was recognised, 2 could not run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file; `-` is standard input [default: -].
    file: Option<PathBuf>,
    /// What was pasted unquoted, to be refused without repeating it.
    #[arg(hide = true)]
    more: Vec<OsString>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Reads, and tells.
///
/// # Errors
/// It cannot be read, or nothing in it is known.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.more.is_empty(), "{PASTED}");
    let text = read(arguments.file.as_deref().unwrap_or(Path::new("-")))?;
    let explained = explain(&text);
    if arguments.json {
        print(&to_json(&in_json(&explained))?)?;
    }
    if explained.is_empty() {
        return Err(Found(
            "nothing here is known as a mistake: paste the code that connects, the URL, the headers, the text of the \
             error, or the close code with its reason; `keymoat ws URL` shows the last two"
                .to_owned(),
        )
        .into());
    }
    if arguments.json { Ok(()) } else { print(&in_words(&explained)) }
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if path.as_os_str() == "-" {
        if io::IsTerminal::is_terminal(&io::stdin()) {
            remark("Paste what fails, then press Ctrl-D:");
        }
        io::stdin().lock().take(PASTED_BYTES_MAX + 1).read_to_end(&mut bytes).context("standard input")?;
    } else {
        if !path.exists() {
            refuse_pasted(path)?;
        }
        let place = || format!("cannot read {}", path.display());
        File::open(path).with_context(place)?.take(PASTED_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(place)?;
    }
    anyhow::ensure!(bytes.len() as u64 <= PASTED_BYTES_MAX, "this is more than 1 MiB: paste the part that fails");
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// An argument that is no file's name is likely what should have been pasted.
fn refuse_pasted(path: &Path) -> anyhow::Result<()> {
    let text = path.to_string_lossy();
    let is_pasted = text.contains(['?', '=', ' ', '{', '\n', ':'])
        || keymoat_core::format::is_in(text.as_bytes())
        || text.bytes().all(|byte| byte.is_ascii_digit())
        || text.len() > 100
        || !explain(&text).is_empty();
    anyhow::ensure!(!is_pasted, "{PASTED}");
    // What may be a credential without a sign is not repeated either.
    anyhow::bail!("there is no file of that name: name a file, or paste what fails to standard input")
}

fn in_json(explained: &Explained) -> Value {
    let mistakes = explained.mistakes.iter().map(|(mistake, seen)| {
        json!({"kind": "mistake", "id": mistake.id(), "text": mistake.text(), "lines": seen.lines, "places": seen.places})
    });
    let refusals = explained.refusals.iter().map(|(code, seen)| {
        let (meaning, remedy) = refusal::text(*code);
        json!({
            "kind": "refusal", "id": code.word(), "text": one_line(meaning), "what_to_do": one_line(remedy),
            "lines": seen.lines, "places": seen.places,
        })
    });
    let instead = explained.remedies.iter().map(|remedy| {
        let mut shown = json!({"id": remedy.id(), "for": remedy.title()});
        for client in Client::ALL {
            shown[client.word()] = remedy.code(client).into();
        }
        shown
    });
    json!({"found": mistakes.chain(refusals).collect::<Vec<_>>(), "instead": instead.collect::<Vec<_>>()})
}

fn in_words(explained: &Explained) -> String {
    let mut text = String::new();
    for (mistake, seen) in &explained.mistakes {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} ({})\n  {}\n", mistake.id(), places(seen), mistake.text());
    }
    for (code, seen) in &explained.refusals {
        let (meaning, remedy) = refusal::text(*code);
        let _ = writeln!(
            text,
            "{code} ({}), a refusal of Keymoat\n  {}\n  {}\n",
            places(seen),
            one_line(meaning),
            one_line(remedy)
        );
    }
    explained.remedies.iter().for_each(|remedy| instead(*remedy, &mut text));
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn instead(remedy: Remedy, text: &mut String) {
    let _ = writeln!(text, "Send {}, like this:", remedy.title());
    for client in Client::ALL {
        let code = remedy.code(client).replace('\n', "\n    ");
        let _ = writeln!(text, "\n  {}\n    {code}", client.title());
    }
    text.push('\n');
}

/// Such as ``line 3, 9: query parameter `key` ``.
fn places(seen: &Seen) -> String {
    let lines: Vec<String> = seen.lines.iter().map(ToString::to_string).collect();
    let places: Vec<&str> = seen.places.iter().map(String::as_str).collect();
    let word = if lines.len() == 1 { "line" } else { "lines" };
    match places.is_empty() {
        true => format!("{word} {}", lines.join(", ")),
        false => format!("{word} {}: {}", lines.join(", "), places.join(", ")),
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}
