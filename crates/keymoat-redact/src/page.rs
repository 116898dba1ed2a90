//! The page of the documentation that lists the rules, written from the table.

use std::fmt::Write;

use crate::table::{COOKIE_WORDS, Check, HEADERS, HeaderRule, LABELS, MARKERS, NAMES, PREFIXES, SCHEMES, Scope};

/// The tables of names, headers, prefixes and subprotocols in Markdown.
#[must_use]
pub fn tables() -> String {
    let mut page = String::new();
    // Writing to memory does not fail.
    let _ = write(&mut page);
    page
}

fn write(page: &mut String) -> std::fmt::Result {
    writeln!(page, "### Names\n\n| name | where | mark |\n|---|---|---|")?;
    for rule in NAMES {
        let before = if rule.suffix { "…" } else { "" };
        let place = match rule.scope {
            Scope::Anywhere => "anywhere",
            Scope::Shaped => "query, fragment, matrix, form; elsewhere with a value of secret shape",
            Scope::Query => "query, fragment, matrix, form",
        };
        let mark = rule.kind.word().unwrap_or_default();
        writeln!(page, "| `{before}{}` | {place} | `[REDACTED:{mark}]` |", rule.name)?;
    }
    writeln!(page, "\n### Headers\n\n| header, normalised | what is masked |\n|---|---|")?;
    for (name, rule) in HEADERS {
        let masked = match rule {
            HeaderRule::Authorization => "what follows the scheme word; of parameters, those that prove something",
            HeaderRule::Cookie => "pairs that hold a session or a credential, and long random values",
            HeaderRule::SetCookie => "the value; attributes stay",
            HeaderRule::Subprotocol => "entries that hold a credential",
        };
        writeln!(page, "| `…{name}` | {masked} |")?;
    }
    writeln!(page, "\nScheme words: {}.", words(&SCHEMES))?;
    writeln!(page, "\nA cookie holds a session if its name has one of: {}.", words(&COOKIE_WORDS))?;
    writeln!(page, "\nMarkers of subprotocols: {}.", words(&MARKERS))?;
    writeln!(page, "\nLong subprotocols that are no credentials: {}.", words(&LABELS))?;
    writeln!(page, "\n### Prefixes\n\n| prefix | at least | checksum | mark | source |\n|---|---|---|---|---|")?;
    for rule in PREFIXES {
        let check = match rule.check {
            Check::None => "",
            Check::CrcWithPrefix | Check::CrcWithoutPrefix => "CRC-32",
        };
        let mark = rule.kind.word().unwrap_or_default();
        writeln!(page, "| `{}` | {} | {check} | `[REDACTED:{mark}]` | {} |", rule.prefix, rule.least, rule.source)?;
    }
    Ok(())
}

fn words(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
