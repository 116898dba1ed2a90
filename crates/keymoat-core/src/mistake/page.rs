//! The page of the documentation that lists the mistakes, written from the table.

use std::fmt::Write;

use super::{Client, Mistake, Remedy};
use crate::route::Dialect;

/// The table of mistakes and what to send instead, in Markdown, without a head.
#[must_use]
pub fn page() -> String {
    let mut page = String::from("## The mistakes\n\n| id | what is wrong | send instead |\n|---|---|---|\n");
    for mistake in Mistake::ALL {
        // Writing to a string does not fail.
        let _ = writeln!(page, "| `{}` | {} | {} |", mistake.id(), mistake.text(), remedies(mistake));
    }
    page.push_str("\n## What to send instead\n");
    for remedy in Remedy::ALL {
        let _ = write!(page, "\n### {}\n\nFor {}.\n", remedy.id(), remedy.title());
        for client in Client::ALL {
            let fence = match client {
                Client::Browser | Client::ReactNative => "js",
                Client::Python => "python",
                Client::Curl => "sh",
            };
            let _ = write!(page, "\n{}:\n\n```{fence}\n{}\n```\n", client.title(), remedy.code(client));
        }
    }
    page
}

fn remedies(mistake: Mistake) -> String {
    let all = Dialect::ALL.map(|dialect| mistake.remedy(dialect));
    let mut distinct: Vec<Remedy> = all.into_iter().flatten().collect();
    distinct.dedup();
    distinct.iter().map(|remedy| format!("[{0}](#{0})", remedy.id())).collect::<Vec<_>>().join(", ")
}
