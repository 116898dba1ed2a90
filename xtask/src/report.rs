//! What a person reads: one line per suite, one per check below it, details only of what failed.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

/// So much of a failed suite's log is shown; the whole of it stays in the file.
const TAIL_LINES: usize = 60;

/// What a suite found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// One short line each, shown below the suite.
    pub(crate) checks: Vec<Check>,
    /// Why the suite failed, for what is not a check.
    pub(crate) failure: Option<String>,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What should hold, and where.
    pub(crate) name: String,
    /// What was seen instead, if it does not.
    pub(crate) failure: Option<String>,
}

impl Findings {
    /// A suite without checks of its own that found nothing wrong.
    pub(crate) fn clean() -> Self {
        Self::default()
    }

    /// A suite that failed as a whole.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self { checks: Vec::new(), failure: Some(why.into()) }
    }

    /// Whether everything held.
    pub(crate) fn passed(&self) -> bool {
        self.failure.is_none() && self.checks.iter().all(|check| check.failure.is_none())
    }
}

/// Reads the lines `ok NAME` and `FAIL NAME: DETAIL` that a suite's script printed; `place` is put before every name.
pub(crate) fn checks(output: &str, place: &str) -> Vec<Check> {
    let read = |line: &str| {
        if let Some(name) = line.strip_prefix("ok ") {
            return Some(Check { name: format!("{place}: {}", name.trim()), failure: None });
        }
        let (name, detail) = line.strip_prefix("FAIL ")?.split_once(": ")?;
        Some(Check { name: format!("{place}: {name}"), failure: Some(detail.trim().to_owned()) })
    };
    output.lines().filter_map(read).collect()
}

/// Says on a terminal which suite is running; elsewhere nothing.
pub(crate) fn running(name: &str) {
    if std::io::stdout().is_terminal() {
        print!("      {name} …\r");
        let _ = std::io::stdout().flush();
    }
}

/// Prints the lines of a suite that has ended.
pub(crate) fn ended(name: &str, findings: &Findings, took: Duration, log: &Path) {
    let word = if findings.passed() { "ok  " } else { "FAIL" };
    let count = match findings.checks.len() {
        0 => String::new(),
        count => format!("  {count} checks"),
    };
    println!("{word}  {name:<10} {:>7.1} s{count}", took.as_secs_f64());
    for check in &findings.checks {
        match &check.failure {
            None => println!("        ok    {}", check.name),
            Some(detail) => println!("        FAIL  {}: {detail}", check.name),
        }
    }
    if let Some(why) = &findings.failure {
        println!("        {why}");
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
            println!("        | {line}");
        }
    }
    if !findings.passed() {
        println!("        the whole log: {}", log.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_checks_and_skips_what_else_a_script_prints() {
        let found = checks("warning: x\nok live text\nFAIL music: closed: 1006\nokay\n", "python 3.4.0");
        let good = Check { name: "python 3.4.0: live text".to_owned(), failure: None };
        let bad = Check { name: "python 3.4.0: music".to_owned(), failure: Some("closed: 1006".to_owned()) };
        assert_eq!(found, [good, bad]);
    }

    #[test]
    fn one_failed_check_fails_the_suite() {
        let mut findings = Findings { checks: checks("ok a", "x"), failure: None };
        assert!(findings.passed());
        findings.checks.extend(checks("FAIL b: c", "x"));
        assert!(!findings.passed());
    }
}
