//! The process's clock, and times as text.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use keymoat_core::UnixMillis;

/// Now. Only the binary reads a clock; the crates are told the time.
pub(crate) fn now() -> UnixMillis {
    UnixMillis(Timestamp::now().as_millisecond())
}

/// `2026-11-22T00:28:52.123Z` (RFC 3339), or `-` for a time that no calendar has.
pub(crate) fn rfc3339(at: UnixMillis) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    let mut text = String::with_capacity("2026-11-22T00:28:52.123Z".len());
    let printed = Timestamp::from_millisecond(at.0).and_then(|time| PRINTER.print_timestamp(&time, &mut text));
    printed.map_or_else(|_| "-".to_owned(), |()| text)
}

/// Reads `2027-03-01T00:00:00Z`, with any offset.
///
/// # Errors
/// What to write.
pub(crate) fn parse_rfc3339(text: &str) -> Result<UnixMillis, String> {
    text.parse::<Timestamp>()
        .map(|time| UnixMillis(time.as_millisecond()))
        .map_err(|_| "this is no time: write 90d, 12h, or RFC 3339 such as 2027-03-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_come_back() {
        assert_eq!(rfc3339(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UnixMillis(1_763_771_332_005)), "2025-11-22T00:28:52.005Z");
        assert_eq!(parse_rfc3339("2025-11-22T01:28:52.005+01:00"), Ok(UnixMillis(1_763_771_332_005)));
        assert_eq!(rfc3339(UnixMillis(i64::MAX)), "-");
        assert!(parse_rfc3339("tomorrow").is_err());
    }
}
