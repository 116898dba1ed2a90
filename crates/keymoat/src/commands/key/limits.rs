//! Limits as they are written on the command line: `requests-per-second=5`, `models=a,b`, `sessions=none`.

use keymoat_core::limits::PER_DAY_MAX;
use keymoat_core::{KeyLimits, Pace};

use crate::config;

/// All names, in the order in which they are shown.
pub(super) const NAMES: [&str; 8] = [
    "requests-per-second",
    "burst",
    "requests-per-day",
    "bytes-per-day",
    "sessions",
    "session-duration",
    "session-bytes",
    "models",
];

/// One limit that is set or lifted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NewLimit {
    /// Requests per second.
    PerSecond(Option<u32>),
    /// Requests at once.
    Burst(Option<u32>),
    /// Requests per day.
    PerDay(Option<u64>),
    /// Bytes per day.
    BytesPerDay(Option<u64>),
    /// Sessions at once.
    Sessions(Option<u32>),
    /// Seconds of a session.
    SessionSecs(Option<u64>),
    /// Bytes of a session.
    SessionBytes(Option<u64>),
    /// The models that may be asked for.
    Models(Vec<String>),
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// What to write.
pub(super) fn parse(text: &str) -> Result<NewLimit, String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("write NAME=VALUE, with one of {}", NAMES.join(", ")));
    };
    let number = |most: u64| parsed(name, value, |text| text.parse().ok(), most, "a whole number");
    let small =
        || number(keymoat_core::limits::PACE_MAX.into()).map(|number| number.and_then(|n| u32::try_from(n).ok()));
    let size = || parsed(name, value, config::size_text, PER_DAY_MAX, "bytes, or a size such as 10GiB");
    let secs = |text: &str| config::duration_text(text).ok().map(|duration| duration.as_secs());
    match name {
        "requests-per-second" => small().map(NewLimit::PerSecond),
        "burst" => small().map(NewLimit::Burst),
        "requests-per-day" => number(PER_DAY_MAX).map(NewLimit::PerDay),
        "bytes-per-day" => size().map(NewLimit::BytesPerDay),
        "sessions" => small().map(NewLimit::Sessions),
        "session-duration" => {
            parsed(name, value, secs, keymoat_core::limits::SESSION_SECS_MAX, "a duration of whole seconds such as 30m")
                .map(NewLimit::SessionSecs)
        }
        "session-bytes" => size().map(NewLimit::SessionBytes),
        "models" if value == "none" => Ok(NewLimit::Models(Vec::new())),
        "models" if value.split(',').all(|model| !model.trim().is_empty()) => {
            Ok(NewLimit::Models(value.split(',').map(|model| model.trim().to_owned()).collect()))
        }
        "models" => Err("`models` takes names with commas between them, or `none`".to_owned()),
        _ => Err(format!("there is no such limit: there are {}", NAMES.join(", "))),
    }
}

fn parsed(
    name: &str,
    value: &str,
    read: impl Fn(&str) -> Option<u64>,
    most: u64,
    what: &str,
) -> Result<Option<u64>, String> {
    if value == "none" {
        return Ok(None);
    }
    let number = read(value).filter(|number| (1..=most).contains(number));
    number.map(Some).ok_or_else(|| format!("`{name}` takes {what} from 1 to {most}, or `none`"))
}

/// The limits with what is set or lifted; the last word counts.
///
/// # Errors
/// What cannot be kept.
pub(super) fn applied(mut limits: KeyLimits, new: &[NewLimit]) -> Result<KeyLimits, String> {
    for limit in new {
        match limit {
            NewLimit::PerSecond(per_second) => {
                let burst = |pace: Pace| (pace.burst != pace.per_second).then_some(pace.burst);
                let kept = limits.requests_per_second.and_then(burst);
                let pace = |per_second| Pace { per_second, burst: kept.unwrap_or(per_second) };
                limits.requests_per_second = per_second.map(pace);
            }
            NewLimit::Burst(_) => {}
            NewLimit::PerDay(requests) => limits.requests_per_day = *requests,
            NewLimit::BytesPerDay(bytes) => limits.bytes_per_day = *bytes,
            NewLimit::Sessions(sessions) => limits.sessions = *sessions,
            NewLimit::SessionSecs(secs) => limits.session_duration_secs = *secs,
            NewLimit::SessionBytes(bytes) => limits.session_bytes = *bytes,
            NewLimit::Models(models) => limits.models = models.iter().map(|model| model.as_str().into()).collect(),
        }
    }
    // After all others, because it belongs to one of them.
    for limit in new {
        if let NewLimit::Burst(burst) = limit {
            let Some(pace) = &mut limits.requests_per_second else {
                return Err("`burst` goes with `requests-per-second`: set that, too".to_owned());
            };
            pace.burst = burst.unwrap_or(pace.per_second);
        }
    }
    limits.check().map_err(|error| error.to_string())?;
    Ok(limits)
}

/// The limits as they are written, in one text each.
pub(super) fn texts(limits: &KeyLimits) -> Vec<String> {
    let pace = limits.requests_per_second;
    let burst = pace.filter(|pace| pace.burst != pace.per_second).map(|pace| pace.burst);
    let models: Vec<&str> = limits.models.iter().map(|model| &**model).collect();
    let values: [Option<String>; 8] = [
        pace.map(|pace| pace.per_second.to_string()),
        burst.map(|burst| burst.to_string()),
        limits.requests_per_day.map(|requests| requests.to_string()),
        limits.bytes_per_day.map(|bytes| bytes.to_string()),
        limits.sessions.map(|sessions| sessions.to_string()),
        limits.session_duration_secs.map(|secs| format!("{secs}s")),
        limits.session_bytes.map(|bytes| bytes.to_string()),
        (!models.is_empty()).then(|| models.join(",")),
    ];
    NAMES.into_iter().zip(values).filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(texts: &[&str]) -> KeyLimits {
        let new: Vec<NewLimit> = texts.iter().map(|text| parse(text).expect(text)).collect();
        applied(KeyLimits::default(), &new).expect("they can be kept")
    }

    #[test]
    fn what_is_written_is_shown_as_it_was() {
        let written = [
            "requests-per-second=5",
            "burst=20",
            "requests-per-day=1000",
            "bytes-per-day=1073741824",
            "sessions=3",
            "session-duration=1800s",
            "session-bytes=100",
            "models=gemini-x,gpt-y",
        ];
        assert_eq!(texts(&limits(&written)), written);
        assert_eq!(limits(&["bytes-per-day=1GiB", "session-duration=30m"]).session_duration_secs, Some(1800));
    }

    #[test]
    fn limits_are_set_and_lifted_one_by_one() {
        let before = limits(&["requests-per-second=5", "burst=20", "sessions=3"]);
        let after = |texts: &[&str]| {
            let new: Vec<NewLimit> = texts.iter().map(|text| parse(text).expect(text)).collect();
            applied(before.clone(), &new).map(|limits| self::texts(&limits))
        };
        assert_eq!(after(&["sessions=none"]).unwrap_or_default(), ["requests-per-second=5", "burst=20"]);
        assert_eq!(
            after(&["requests-per-second=9", "sessions=none"]).unwrap_or_default(),
            ["requests-per-second=9", "burst=20"]
        );
        assert_eq!(after(&["burst=none"]).unwrap_or_default(), ["requests-per-second=5", "sessions=3"]);
        assert_eq!(after(&["requests-per-second=none"]).unwrap_or_default(), ["sessions=3"]);
        assert_eq!(
            after(&["burst=2", "requests-per-second=none"]),
            Err("`burst` goes with `requests-per-second`: set that, too".to_owned())
        );
    }

    #[test]
    fn what_cannot_be_a_limit_is_told_with_what_can() {
        for (text, told) in [
            ("sessions", "write NAME=VALUE"),
            ("session=1", "there are requests-per-second, burst"),
            ("sessions=0", "a whole number from 1 to"),
            ("sessions=-1", "a whole number from 1 to"),
            ("bytes-per-day=1XB", "a size such as 10GiB"),
            ("session-duration=100ms", "a duration of whole seconds"),
            ("models=", "names with commas"),
            ("models=a,,b", "names with commas"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
