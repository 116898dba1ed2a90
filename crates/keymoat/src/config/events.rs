//! How events are kept, and what a collector is told.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use keymoat_admin::events::Delivery;
use keymoat_admin::otlp::{Endpoint, Signal};
use keymoat_core::Secret;

use super::file::{self, Quantity};
use super::limits;
use super::problem::unknown;
use super::reader::Reader;

/// What `delivery` of `[events]` takes.
pub(super) const DELIVERIES: [&str; 2] = ["best_effort", "required"];

/// What `signals` of `[telemetry]` takes.
pub(super) const SIGNALS: [&str; 3] = ["traces", "metrics", "logs"];

const HOUR_SECS: u64 = 3_600;
const DAY_SECS: u64 = 24 * HOUR_SECS;

/// How events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Events {
    /// What comes of those that cannot be kept.
    pub(crate) delivery: Delivery,
    /// How long they are kept.
    pub(crate) keep: Duration,
    /// How many are kept.
    pub(crate) keep_max: u64,
    /// The file that gets a line for each.
    pub(crate) file: Option<PathBuf>,
    /// Whether standard output gets a line for each.
    pub(crate) stdout: bool,
}

impl Default for Events {
    fn default() -> Self {
        let keep = Duration::from_secs(30 * DAY_SECS);
        Self { delivery: Delivery::BestEffort, keep, keep_max: 1_000_000, file: None, stdout: false }
    }
}

/// The collector, and what it is told.
#[derive(Debug)]
pub(crate) struct Telemetry {
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// What is sent along.
    pub(crate) headers: Vec<(HeaderName, Secret)>,
    /// What it is told.
    pub(crate) signals: Vec<Signal>,
}

pub(super) fn events(read: &mut Reader<'_>, file: &file::Events) -> Events {
    let default = Events::default();
    let delivery = read.judge(file.delivery.as_ref(), |word| match word.as_str() {
        "best_effort" => Ok(Delivery::BestEffort),
        "required" => Ok(Delivery::Required),
        other => Err(unknown("delivery", other, &DELIVERIES)),
    });
    let count = |number: &i64| limits::count(*number, 100_000_000).map(|count| count as u64);
    Events {
        delivery: delivery.unwrap_or(default.delivery),
        keep: read.judge(file.keep.as_ref(), keep).unwrap_or(default.keep),
        keep_max: read.judge(file.keep_max.as_ref(), count).unwrap_or(default.keep_max),
        file: file.file.as_ref().map(|path| read.path(path)),
        stdout: file.stdout.as_ref().is_some_and(|stdout| *stdout.get_ref()),
    }
}

pub(super) fn telemetry(read: &mut Reader<'_>, file: &file::Telemetry) -> Option<Telemetry> {
    let endpoint = read.judge(file.otlp.as_ref(), |url| Endpoint::parse(url));
    let mut headers = Vec::new();
    for (name, reference) in &file.headers {
        let known = HeaderName::from_bytes(name.get_ref().as_bytes());
        let Ok(known) = known else {
            read.report(name.span(), format!("`{}` is no header's name", name.get_ref()));
            continue;
        };
        headers.extend(read.fetch(reference).map(|(secret, _)| (known, secret)));
    }
    let written = file.signals.iter().flat_map(file::At::get_ref);
    let signals: Vec<_> = written
        .filter_map(|word| {
            read.judge(Some(word), |word| Signal::from_word(word).ok_or_else(|| unknown("signal", word, &SIGNALS)))
        })
        .collect();
    let signals = if file.signals.is_none() { Signal::ALL.to_vec() } else { signals };
    let Some(endpoint) = endpoint else {
        if file.otlp.is_none()
            && let Some((name, _)) = file.headers.iter().next()
        {
            read.report(name.span(), "headers are for a collector: name it with `otlp`".to_owned());
        }
        return None;
    };
    if !headers.is_empty() && !endpoint.is_private() {
        read.warn("the headers for the collector travel in clear text: write an https:// address".to_owned());
    }
    Some(Telemetry { endpoint, headers, signals })
}

/// Reads how long events are kept.
fn keep(quantity: &Quantity) -> Result<Duration, String> {
    let duration = match quantity {
        Quantity::Number(secs) => u64::try_from(*secs).map(Duration::from_secs).map_err(|_| String::new()),
        Quantity::Text(text) => limits::duration_text(text),
    };
    let bounds = HOUR_SECS..=3650 * DAY_SECS;
    let within = duration.ok().filter(|duration| bounds.contains(&duration.as_secs()));
    within.ok_or_else(|| "write how long events are kept, from \"1h\" to \"3650d\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_between_an_hour_and_ten_years() {
        let text = |text: &str| keep(&Quantity::Text(text.into()));
        assert_eq!(text("30d"), Ok(Events::default().keep));
        assert_eq!((text("1h"), text("3650d").is_ok()), (Ok(Duration::from_secs(3600)), true));
        for bad in ["59m", "3651d", "30", "soon", ""] {
            assert!(text(bad).is_err(), "{bad}");
        }
        assert_eq!(keep(&Quantity::Number(7200)), Ok(Duration::from_secs(7200)));
        assert!(keep(&Quantity::Number(-1)).is_err());
    }

    #[test]
    fn every_signal_has_its_word() {
        assert_eq!(SIGNALS.map(Signal::from_word), Signal::ALL.map(Some));
    }
}
