//! When a line was written, as it says itself: the times of access logs, ISO 8601, and numbers since 1970 in JSON.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How much of a line is searched.
const LINE: usize = 16 << 10;

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// The endings of members that hold a time.
const MEMBERS: [&[u8]; 7] = [b"ts", b"time", b"timestamp", b"date", b"_at", b"epoch", b"msec"];

/// The first time in a line, in milliseconds since 1970. A time without a zone is taken as UTC.
pub(super) fn in_line(line: &[u8]) -> Option<i64> {
    let line = line.get(..line.len().min(LINE)).unwrap_or_default();
    let mut at = 0;
    while let Some(digit) = line.get(at..)?.iter().position(u8::is_ascii_digit) {
        let start = at + digit;
        let digits = line.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let rest = line.get(start..)?;
        let before = line.get(..start)?;
        let found = match digits {
            1 | 2 if rest.get(digits) == Some(&b'/') => clf(rest, digits),
            1 | 2 => year_last(before, rest, digits),
            4 => iso(rest),
            9..=19 => epoch(before, rest, digits),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        at = start + digits;
    }
    None
}

/// The last `"startedDateTime"` of a HAR file in the text before an entry's request.
pub(super) fn before_in_har(text: &[u8]) -> Option<i64> {
    const MEMBER: &[u8] = b"\"startedDateTime\"";
    let at = memchr::memmem::rfind(text, MEMBER)?;
    let value = text.get(at + MEMBER.len()..)?;
    in_line(value.get(..value.len().min(48))?)
}

/// `2026-01-10T13:55:36.123Z` and `2026-01-10T13:55:36Z` of milliseconds since 1970.
#[must_use]
pub(super) fn of_number(number: i64) -> Option<i64> {
    let plausible = |millis: i64| (946_684_800_000..4_102_444_800_000).contains(&millis).then_some(millis);
    [number.checked_mul(1000), Some(number), Some(number / 1000), Some(number / 1_000_000)]
        .into_iter()
        .flatten()
        .find_map(plausible)
}

/// Chrome's microseconds since 1601.
pub(super) fn of_chrome(micros: i64) -> Option<i64> {
    (micros > 0).then(|| micros / 1000 - 11_644_473_600_000)
}

/// `10/Jan/2026:13:55:36 +0000`, as nginx, Apache and HAProxy write it.
fn clf(rest: &[u8], digits: usize) -> Option<i64> {
    let day = number(rest.get(..digits)?)?;
    let rest = rest.get(digits + 1..)?;
    let month = month(rest)?;
    let year = number(rest.get(4..8)?)?;
    if rest.get(3) != Some(&b'/') || rest.get(8) != Some(&b':') {
        return None;
    }
    let (time, behind) = clock(rest.get(9..)?)?;
    millis([year, month, day], time, behind)
}

/// `Sat Jan 10 13:55:36.123456 2026`, as in Apache's error log.
fn year_last(before: &[u8], rest: &[u8], digits: usize) -> Option<i64> {
    let word = before.len().checked_sub(4)?;
    let month = month(before.get(word..)?)?;
    let day = number(rest.get(..digits)?)?;
    let (time, behind) = clock(rest.get(digits + 1..)?)?;
    let year = behind.strip_prefix(b" ")?.get(..4)?;
    millis([number(year)?, month, day], time, b"")
}

/// `2026-01-10T13:55:36.123+01:00`, with `/` between the parts, or with a space, as in nginx's error log.
fn iso(rest: &[u8]) -> Option<i64> {
    let date = [number(rest.get(..4)?)?, number(rest.get(5..7)?)?, number(rest.get(8..10)?)?];
    let [first, second] = [*rest.get(4)?, *rest.get(7)?];
    if first != second || !matches!(first, b'-' | b'/') || !matches!(rest.get(10)?, b'T' | b't' | b' ' | b'_' | b':') {
        return None;
    }
    let (time, behind) = clock(rest.get(11..)?)?;
    millis(date, time, behind)
}

/// A number that a member of JSON calls a time, or that a line begins with, as Squid's do.
fn epoch(before: &[u8], rest: &[u8], digits: usize) -> Option<i64> {
    if !before.is_empty() {
        let name =
            before.strip_suffix(b" ").unwrap_or(before).strip_suffix(b":").or_else(|| before.strip_suffix(b"="))?;
        let name = name.strip_suffix(b"\"").unwrap_or(name).to_ascii_lowercase();
        MEMBERS.iter().find(|member| name.ends_with(member))?;
    } else if !matches!(rest.get(digits), Some(b'.' | b' ')) {
        return None;
    }
    let whole = of_number(rest.get(..digits).and_then(number)?)?;
    let fraction = rest.get(digits..).and_then(|rest| rest.strip_prefix(b".")).filter(|_| digits <= 10);
    Some(whole + fraction.map_or(0, milliseconds))
}

fn month(text: &[u8]) -> Option<i64> {
    let month = text.get(..3)?;
    let index = MONTHS.iter().position(|name| *name == month)?;
    i64::try_from(index + 1).ok()
}

/// `13:55:36.123` with what is behind it: the time in milliseconds of the day.
fn clock(text: &[u8]) -> Option<(i64, &[u8])> {
    let [hour, minute, second] = [number(text.get(..2)?)?, number(text.get(3..5)?)?, number(text.get(6..8)?)?];
    if text.get(2) != Some(&b':') || text.get(5) != Some(&b':') || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let behind = text.get(8..)?;
    let whole = ((hour * 60 + minute) * 60 + second.min(59)) * 1000;
    match behind {
        [b'.' | b',', fraction @ ..] => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            Some((whole + milliseconds(fraction), fraction.get(digits..)?))
        }
        _ => Some((whole, behind)),
    }
}

fn milliseconds(fraction: &[u8]) -> i64 {
    let digits = fraction.iter().take(3).take_while(|byte| byte.is_ascii_digit());
    let (value, scale) =
        digits.fold((0, 1000), |(value, scale), digit| (value * 10 + i64::from(digit - b'0'), scale / 10));
    value * scale
}

fn millis([year, month, day]: [i64; 3], time: i64, behind: &[u8]) -> Option<i64> {
    let [year, month, day] = [i16::try_from(year).ok()?, i16::try_from(month).ok()?, i16::try_from(day).ok()?];
    let date = DateTime::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?, 0, 0, 0, 0).ok()?;
    let midnight = date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(midnight + time - offset(behind))
}

/// `+0100`, `+01:00` or ` -0800` in milliseconds.
fn offset(behind: &[u8]) -> i64 {
    let behind = behind.strip_prefix(b" ").unwrap_or(behind);
    let (sign, rest) = match behind {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return 0,
    };
    let hours = rest.get(..2).and_then(number);
    let rest = rest.get(2..).unwrap_or_default();
    let minutes = rest.strip_prefix(b":").unwrap_or(rest).get(..2).and_then(number);
    match (hours, minutes) {
        (Some(hours), Some(minutes)) => sign * (hours * 60 + minutes) * 60_000,
        _ => 0,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_i64, |number, digit| number.checked_mul(10)?.checked_add(i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_768_053_336_000;

    #[test]
    fn the_times_of_every_log_are_read() {
        for line in [
            r#"1.2.3.4 - - [10/Jan/2026:13:55:36 +0000] "GET / HTTP/1.1" 200 2"#,
            r#"1.2.3.4 - - [10/Jan/2026:14:55:36 +0100] "GET / HTTP/1.1" 200 2"#,
            "2026/01/10 13:55:36 [error] 12#12: *1 upstream timed out",
            "[Sat Jan 10 13:55:36 2026] [core:error] [pid 1] x",
            r#"[2026-01-10T13:55:36Z] "GET / HTTP/1.1" 200 -"#,
            "http 2026-01-10T13:55:36Z app/lb/1 1.2.3.4:5 10.0.0.1:80",
            r#"{"level":"info","ts":1768053336.0,"msg":"handled"}"#,
            r#"{"time": 1768053336000}"#,
            r#"{"created_at":1768053336000000}"#,
            "1768053336.000    921 10.0.0.1 TCP_MISS/200",
            "haproxy[1]: 10.0.1.2:33317 [10/Jan/2026:13:55:36.000] http-in",
            "time=2026-01-10T05:55:36-08:00 level=info",
        ] {
            assert_eq!(in_line(line.as_bytes()), Some(AT), "{line}");
        }
        assert_eq!(in_line(b"2026-01-10 13:55:36,250 INFO x"), Some(AT + 250));
        assert_eq!(in_line(br#"{"ts":1768053336.25}"#), Some(AT + 250));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in ["GET /?id=1768053336", "10.0.0.1", "99/Jan/2026:13:55:36", "2026-13-10T13:55:36Z", "", "12:30:11"]
        {
            assert_eq!(in_line(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn browsers_count_from_their_own_year() {
        assert_eq!(of_chrome(13_412_526_936_000_000), Some(AT));
        assert_eq!(of_chrome(0), None);
        assert_eq!(of_number(1_768_053_336_000_000), Some(AT));
    }

    #[test]
    fn the_entry_of_a_har_file_has_its_start() {
        let text = br#"{"startedDateTime":"2020-01-01T00:00:00Z","time":1},{"startedDateTime": "2026-01-10T13:55:36.000Z","request":{"url":""#;
        assert_eq!(before_in_har(text), Some(AT));
    }
}
