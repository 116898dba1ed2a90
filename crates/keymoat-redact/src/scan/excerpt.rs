//! Shows a line of somebody's file: everything that was found in it masked first, then cut, then made harmless to print.

use std::ops::Range;

use crate::finding::Finding;
use crate::redactor::Redactor;

/// How much of the line is shown before and behind what was found.
const BEFORE: usize = 120;
const BEHIND: usize = 80;

/// The part of the line around `span`. Every one of `findings` that reaches into it is masked as a whole, and what comes
/// of that goes through `redactor` once more.
pub(super) fn excerpt(text: &[u8], span: &Range<usize>, findings: &[Finding], redactor: &mut Redactor) -> String {
    let line_start = text.get(..span.start).and_then(|before| memchr::memrchr(b'\n', before)).map_or(0, |end| end + 1);
    let behind = text.get(span.end..).unwrap_or_default();
    let line_end = memchr::memchr(b'\n', behind).map_or(text.len(), |end| span.end + end);
    let start = line_start.max(span.start.saturating_sub(BEFORE));
    let end = line_end.min(span.end.saturating_add(BEHIND));

    let mut shown = Vec::new();
    let mut at = start;
    if start > line_start {
        shown.extend_from_slice("…".as_bytes());
    }
    for finding in findings.iter().filter(|finding| finding.span.end > start && finding.span.start < end) {
        shown.extend_from_slice(text.get(at..finding.span.start.max(at)).unwrap_or_default());
        shown.extend_from_slice(b"[REDACTED:");
        shown.extend_from_slice(finding.kind.word().unwrap_or("rule").as_bytes());
        shown.push(b']');
        at = at.max(finding.span.end);
    }
    shown.extend_from_slice(text.get(at..end).unwrap_or_default());
    if end < line_end {
        shown.extend_from_slice("…".as_bytes());
    }
    printable(&redactor.redact(shown.trim_ascii()))
}

/// A name out of somebody's file or of the file itself, masked and harmless to print.
pub(super) fn shown(name: &[u8], redactor: &mut Redactor) -> String {
    printable(&redactor.redact(name))
}

/// Text without characters that steer a terminal or turn the direction of reading.
fn printable(text: &[u8]) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text = String::from_utf8_lossy(text);
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if steers(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finder::Finder;

    const KEY: &str = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";

    fn shown_of(text: &str, which: usize) -> String {
        let mut findings = Vec::new();
        Finder::default().find(text.as_bytes(), &mut |finding| findings.push(finding));
        let span = findings[which].span.clone();
        excerpt(text.as_bytes(), &span, &findings, &mut Redactor::default())
    }

    #[test]
    fn every_credential_of_the_line_is_masked_before_it_is_cut() {
        let text = format!("first\nGET /?api_key={KEY}&x=1 token={KEY}2\nlast");
        assert_eq!(shown_of(&text, 0), "GET /?api_key=[REDACTED:api_key]&x=1 token=[REDACTED:token]");
        for padding in 0..200 {
            let text =
                format!("token={KEY}{}&api_key={KEY}3{}&access_token={KEY}4", "a".repeat(padding), "b".repeat(padding));
            for which in 0..3 {
                let shown = shown_of(&text, which);
                assert!(!(0..KEY.len() - 8).any(|at| shown.contains(&KEY[at..at + 8])), "{shown}");
            }
        }
    }

    #[test]
    fn a_terminal_is_not_steered() {
        let text = format!("\u{1b}[2J\u{202e}GET\t/?api_key={KEY}\u{7}");
        let shown = shown_of(&text, 0);
        assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{shown:?}");
        assert!(shown.contains("GET /?api_key=[REDACTED:api_key]"), "{shown:?}");
    }
}
