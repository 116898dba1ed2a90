//! Diagnostics: what Keymoat says about its own doings, beside the records.
//!
//! Only Keymoat's own crates can be made talkative. hyper, h2, rustls and tungstenite print header values and frames at
//! `debug` and `trace`, credentials included, so they stay at `warn` whatever the user asks for. The setting is a level
//! and no filter expression for that reason.

use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Item, Now, Output};
use crate::config::LogFormat;

/// One diagnostic line may be this long; the rest is cut off.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Sends diagnostics of `level` and above to `output`.
pub(crate) fn install(output: &Output, level: Level) {
    let filter = filter(level);
    let layer = tracing_subscriber::fmt::layer().with_writer(output.clone()).with_timer(Now);
    // A second subscriber can only be set in a test, and then the first one stays.
    let _ = match output.format() {
        LogFormat::Json => {
            tracing_subscriber::registry().with(filter).with(layer.json().flatten_event(true)).try_init()
        }
        LogFormat::Human => tracing_subscriber::registry().with(filter).with(layer.with_target(false)).try_init(),
    };
}

/// Keymoat's own crates at `level`, everyone else's at `warn` at most.
fn filter(level: Level) -> Targets {
    let others = LevelFilter::from_level(level).min(LevelFilter::WARN);
    Targets::new().with_default(others).with_target("keymoat", level)
}

/// Gathers one line, and sends it when it is complete.
#[derive(Debug)]
pub(crate) struct LineWriter<'a> {
    output: &'a Output,
    line: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { output: self, line: Vec::new() }
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        if self.line.is_empty() {
            return;
        }
        if self.line.last() != Some(&b'\n') {
            self.line.push(b'\n');
        }
        self.output.send(Item::Line(std::mem::take(&mut self.line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_stay_at_warn_whatever_is_asked_for() {
        for level in [Level::TRACE, Level::DEBUG, Level::INFO] {
            let filter = filter(level);
            assert!(filter.would_enable("keymoat_gateway::accept", &level));
            assert!(filter.would_enable("h2", &Level::WARN));
            for talkative in ["hyper::proto", "h2::codec", "rustls::client", "tungstenite"] {
                assert!(!filter.would_enable(talkative, &Level::INFO), "{talkative}");
            }
        }
        assert!(!filter(Level::ERROR).would_enable("h2", &Level::WARN));
    }
}
