//! Limits of a token as they are written on the command line: `sessions=1`, `total-bytes=50MiB`, `models=a,b`.

use keymoat_core::Pace;
use keymoat_core::limits::{PACE_MAX, PER_DAY_MAX};
use keymoat_core::token::TokenLimits;

use crate::config;

/// All names, in the order in which they are shown.
const NAMES: [&str; 5] = ["requests-per-second", "burst", "sessions", "total-bytes", "models"];

/// One limit that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NewLimit {
    /// Requests per second.
    PerSecond(u32),
    /// Requests at once.
    Burst(u32),
    /// Sessions at once.
    Sessions(u32),
    /// Bytes of all sessions.
    TotalBytes(u64),
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
    let small = || {
        let number = value.parse().ok().filter(|number| (1..=PACE_MAX).contains(number));
        number.ok_or_else(|| format!("`{name}` takes a whole number from 1 to {PACE_MAX}"))
    };
    match name {
        "requests-per-second" => small().map(NewLimit::PerSecond),
        "burst" => small().map(NewLimit::Burst),
        "sessions" => small().map(NewLimit::Sessions),
        "total-bytes" => {
            let bytes = config::size_text(value).filter(|bytes| (1..=PER_DAY_MAX).contains(bytes));
            let told = || format!("`{name}` takes bytes, or a size such as 50MiB, from 1 to {PER_DAY_MAX}");
            bytes.map(NewLimit::TotalBytes).ok_or_else(told)
        }
        "models" if value.split(',').all(|model| !model.trim().is_empty()) => {
            Ok(NewLimit::Models(value.split(',').map(|model| model.trim().to_owned()).collect()))
        }
        "models" => Err("`models` takes names with commas between them".to_owned()),
        "session-duration" | "session-bytes" => {
            Err("what one session may take is said with `--max-duration`, `--max-bytes` and `--max-messages`"
                .to_owned())
        }
        "requests-per-day" | "bytes-per-day" => {
            Err("a token lives for less than a day: say how much in all, with `--uses` and `total-bytes`".to_owned())
        }
        _ => Err(format!("there is no such limit: there are {}", NAMES.join(", "))),
    }
}

/// The limits with those that are set; the last word counts.
///
/// # Errors
/// What cannot be kept.
pub(super) fn applied(mut limits: TokenLimits, new: &[NewLimit]) -> Result<TokenLimits, String> {
    let (mut per_second, mut burst) = (None, None);
    for limit in new {
        match limit {
            NewLimit::PerSecond(number) => per_second = Some(*number),
            NewLimit::Burst(number) => burst = Some(*number),
            NewLimit::Sessions(sessions) => limits.sessions_max = Some(*sessions),
            NewLimit::TotalBytes(bytes) => limits.total_bytes_max = Some(*bytes),
            NewLimit::Models(models) => limits.models = models.iter().map(|model| model.as_str().into()).collect(),
        }
    }
    limits.requests_per_second = match (per_second, burst) {
        (Some(per_second), burst) => Some(Pace { per_second, burst: burst.unwrap_or(per_second) }),
        (None, Some(_)) => return Err("`burst` goes with `requests-per-second`: set that, too".to_owned()),
        (None, None) => None,
    };
    limits.check().map_err(|error| error.to_string())?;
    Ok(limits)
}

/// The limits as they are written, in one text each.
pub(super) fn texts(limits: &TokenLimits) -> Vec<String> {
    let pace = limits.requests_per_second;
    let burst = pace.filter(|pace| pace.burst != pace.per_second).map(|pace| pace.burst);
    let values: [Option<String>; 5] = [
        pace.map(|pace| pace.per_second.to_string()),
        burst.map(|burst| burst.to_string()),
        limits.sessions_max.map(|sessions| sessions.to_string()),
        limits.total_bytes_max.map(|bytes| bytes.to_string()),
        (!limits.models.is_empty()).then(|| limits.models.join(",")),
    ];
    NAMES.into_iter().zip(values).filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(texts: &[&str]) -> Result<TokenLimits, String> {
        let new = texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
        applied(TokenLimits::default(), &new)
    }

    #[test]
    fn what_is_written_is_shown_as_it_was() {
        let written =
            ["requests-per-second=5", "burst=20", "sessions=3", "total-bytes=1073741824", "models=gemini-x,gpt-y"];
        assert_eq!(limits(&written).map(|limits| texts(&limits)), Ok(written.map(str::to_owned).to_vec()));
        assert_eq!(limits(&["total-bytes=1GiB"]).map(|limits| limits.total_bytes_max), Ok(Some(1 << 30)));
    }

    #[test]
    fn what_cannot_be_a_limit_is_told_with_what_can() {
        for (text, told) in [
            ("sessions", "write NAME=VALUE"),
            ("session=1", "there are requests-per-second, burst"),
            ("sessions=0", "a whole number from 1 to"),
            ("total-bytes=1XB", "a size such as 50MiB"),
            ("models=a,,b", "names with commas"),
            ("requests-per-day=5", "less than a day"),
            ("session-bytes=5", "--max-bytes"),
            ("burst=2", "goes with `requests-per-second`"),
        ] {
            let error = limits(&[text]).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
