//! Points in time, handed in by whoever owns a clock.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z. The core never reads a clock: `now` is always an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The moment `millis` milliseconds later, held at the largest representable time.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Whole seconds since 1970, as some APIs count.
    #[must_use]
    pub const fn unix_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Adds `2026-11-22T00:28:52.123Z` (RFC 3339), always with milliseconds, or `-` for a time that no calendar has.
    pub fn write_with_millis(self, text: &mut String) {
        let secs = self.unix_secs();
        let (year, month, day) = date(secs.div_euclid(86_400));
        if !(0..=9999).contains(&year) {
            text.push('-');
            return;
        }
        let of_day = secs.rem_euclid(86_400);
        let mut digits = |number: i64, places: u32, after: char| {
            for place in (0..places).rev() {
                let digit = number / 10_i64.pow(place) % 10;
                text.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
            }
            text.push(after);
        };
        digits(year, 4, '-');
        digits(month, 2, '-');
        digits(day, 2, 'T');
        digits(of_day / 3600, 2, ':');
        digits(of_day / 60 % 60, 2, ':');
        digits(of_day % 60, 2, '.');
        digits(self.0.rem_euclid(1000), 3, 'Z');
    }

    /// Reads a time as RFC 3339 section 5.6 writes it, with any offset. What is finer than a millisecond is cut off; a
    /// leap second is the first moment of the next minute.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = bytes.get(from..to)?;
            let add = |sum: i64, digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'));
            digits.iter().try_fold(0, add)
        };
        let stands = |at: usize, any_of: &[u8]| bytes.get(at).is_some_and(|byte| any_of.contains(byte));
        let separators =
            stands(4, b"-") && stands(7, b"-") && stands(10, b"Tt") && stands(13, b":") && stands(16, b":");
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let is_date = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        if !separators || !is_date || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (millis, zone) = read_fraction(bytes.get(19..)?)?;
        let secs = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Some(Self((secs - read_offset(zone)?) * 1000 + millis))
    }
}

/// As RFC 3339 writes it: in UTC, with milliseconds if there are any.
impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.unix_secs(), self.0.rem_euclid(1000));
        let (year, month, day) = date(secs.div_euclid(86_400));
        let of_day = secs.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if millis > 0 {
            write!(f, ".{millis:03}")?;
        }
        f.write_str("Z")
    }
}

/// The milliseconds of `.123…`, if it stands here, and what follows.
fn read_fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let (digits, zone) = rest.split_at(digits);
    let places = digits.iter().chain([b'0'; 3].iter()).take(3);
    Some((places.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')), zone))
}

/// The seconds that a zone is ahead of UTC: `Z`, or `+01:00`.
fn read_offset(zone: &[u8]) -> Option<i64> {
    let two = |tens: u8, ones: u8| {
        (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    };
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let ahead = hours * 3600 + minutes * 60;
            Some(if sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in March, so that the leap
/// day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468
}

/// The date that is so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (cycle, of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (cycle * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Option<i64> {
        UnixMillis::from_rfc3339(text).map(|at| at.0)
    }

    #[test]
    fn d54_reads_the_forms_of_rfc_3339_and_no_others() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2030-01-01T00:00:00+00:00", 1_893_456_000_000),
            ("2030-01-01T01:30:00+01:30", 1_893_456_000_000),
            ("2029-12-31T16:00:00.5-08:00", 1_893_456_000_500),
            ("2030-01-01t00:00:00.123999z", 1_893_456_000_123),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "soon",
            "2030-01-01",
            "2030-01-01T00:00:00",
            "2030-01-01 00:00:00Z",
            "2030-1-1T00:00:00Z",
            "2030-02-29T00:00:00Z",
            "2030-13-01T00:00:00Z",
            "2030-01-01T24:00:00Z",
            "2030-01-01T00:60:00Z",
            "2030-01-01T00:00:61Z",
            "10000-01-01T00:00:00Z",
            "-001-01-01T00:00:00Z",
            "2030-01-01T00:00:00.Z",
            "2030-01-01T00:00:00.1234567890Z",
            "2030-01-01T00:00:00+24:00",
            "2030-01-01T00:00:00+0100",
            "2030-01-01T00:00:00Z ",
            "+030-01-01T00:00:00Z",
            "2030-01-01T00:00:00[UTC]",
        ] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_read_as_it_was_written(millis in -62_167_219_200_000_i64..253_402_300_800_000) {
            let at = UnixMillis(millis);
            prop_assert_eq!(UnixMillis::from_rfc3339(&at.to_string()), Some(at));
        }

        #[test]
        fn a_time_with_milliseconds_is_read_as_it_was_written(millis in -62_167_219_200_000_i64..253_402_300_800_000) {
            let mut text = String::new();
            UnixMillis(millis).write_with_millis(&mut text);
            prop_assert_eq!(text.len(), "2026-11-22T00:28:52.123Z".len());
            prop_assert_eq!(UnixMillis::from_rfc3339(&text), Some(UnixMillis(millis)));
        }

        #[test]
        fn any_text_is_read_or_not(text in ".{0,40}") {
            let _ = UnixMillis::from_rfc3339(&text);
        }

        #[test]
        fn any_number_can_be_written(millis in any::<i64>()) {
            let _ = UnixMillis(millis).to_string();
            UnixMillis(millis).write_with_millis(&mut String::new());
        }
    }
}
