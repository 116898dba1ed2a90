//! What is wrong with a connection, read from what somebody pastes: code, requests, errors, close codes.
//!
//! ```text
//! text ─▶ Pasted ─▶ parameter, header, socket: credentials with their places ─▶ judge ─▶ mistakes by line
//!                └▶ words: errors, close codes, refusals ───────────────────────────────┘
//! ```
//! INVARIANT: nothing of the pasted text leaves this module but numbers of lines; what is said comes from fixed tables.

mod header;
mod judge;
mod parameter;
mod pasted;
mod provider;
mod socket;
mod value;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use keymoat_core::mistake::Remedy;
use keymoat_core::{Code, Dialect, Mistake};

use pasted::Pasted;

/// What was recognised.
#[derive(Debug, Default)]
pub(crate) struct Explained {
    /// Mistakes, with the lines that they show in and the places that they are in.
    pub(crate) mistakes: BTreeMap<Mistake, Seen>,
    /// Keymoat's own refusals, in the order of the documentation.
    pub(crate) refusals: Vec<(Code, Seen)>,
    /// What to send instead.
    pub(crate) remedies: BTreeSet<Remedy>,
}

/// Where something was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Numbers of lines, from 1 on.
    pub(crate) lines: BTreeSet<usize>,
    /// Such as ``query parameter `key` ``, from a fixed list.
    pub(crate) places: BTreeSet<String>,
}

impl Explained {
    /// Whether anything was recognised.
    pub(crate) fn is_empty(&self) -> bool {
        self.mistakes.is_empty() && self.refusals.is_empty()
    }

    fn add(&mut self, mistake: Mistake, line: usize, place: &str) {
        self.mistakes.entry(mistake).or_default().add(line, place);
    }
}

impl Seen {
    fn add(&mut self, line: usize, place: &str) {
        self.lines.insert(line);
        if !place.is_empty() {
            self.places.insert(place.to_owned());
        }
    }
}

/// Explains `text`.
pub(crate) fn explain(text: &str) -> Explained {
    let pasted = Pasted::new(text);
    let mut explained = Explained::default();
    let facts = judge::Facts::of(&pasted);
    words::read(&pasted, &facts, &mut explained);
    judge::judge(&pasted, &facts, &mut explained);
    let remedies = explained.mistakes.keys().filter_map(|mistake| mistake.remedy(facts.dialect));
    explained.remedies = remedies
        .map(|remedy| if remedy == Remedy::GeminiKey && facts.has_token { Remedy::GeminiToken } else { remedy })
        .collect();
    for (code, _) in &explained.refusals {
        if matches!(code.status(), 400 | 401) && facts.dialect != Dialect::Gemini {
            explained.remedies.insert(Remedy::of(facts.dialect));
        }
    }
    explained
}
