//! Quantities: durations and sizes as people write them, and the `[limits]` section.

use std::time::Duration;

use keymoat_gateway::settings::Limits;

use super::Reader;
use super::file::{self, At, Quantity};

/// The longest duration that a setting takes; more is a mistake.
const DURATION_SECS_MAX: u64 = 7 * 24 * 3600;

/// The largest message or frame that a setting takes.
const BYTES_MAX: u64 = 1 << 30;

/// Lays the file's limits over the defaults.
pub(crate) fn limits(read: &mut Reader<'_>, file: &file::Limits) -> Limits {
    let mut limits = Limits::default();
    if let Some(number) = read.judge(file.connections_max.as_ref(), |number| count(*number, 1_000_000)) {
        limits.connections_max = number;
    }
    let durations = [
        (&file.tls_handshake, &mut limits.tls_handshake),
        (&file.head, &mut limits.head),
        (&file.keep_alive, &mut limits.keep_alive),
        (&file.connect, &mut limits.connect),
        (&file.response_head, &mut limits.response_head),
        (&file.body_idle, &mut limits.body_idle),
        (&file.websocket_idle, &mut limits.websocket_idle),
        (&file.ping_every, &mut limits.ping_every),
        (&file.write_stall, &mut limits.write_stall),
        (&file.close_wait, &mut limits.close_wait),
        (&file.drain, &mut limits.drain),
    ];
    for (written, limit) in durations {
        set(read, written.as_ref(), duration, limit);
    }
    let sizes = [
        (&file.frame_bytes_max, &mut limits.frame_bytes_max),
        (&file.message_bytes_max, &mut limits.message_bytes_max),
    ];
    for (written, limit) in sizes {
        set(read, written.as_ref(), bytes, limit);
    }
    limits
}

/// Reads a whole number from 1 to `max`.
///
/// # Errors
/// The bounds.
pub(crate) fn count(number: i64, max: usize) -> Result<usize, String> {
    usize::try_from(number)
        .ok()
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| format!("`{number}` is out of bounds: write a number from 1 to {max}"))
}

/// Reads seconds, or a text such as `250ms`, `30s`, `5m`, `2h`, `90d`.
///
/// # Errors
/// What could have been written.
pub(crate) fn duration_text(text: &str) -> Result<Duration, String> {
    let unknown =
        || format!("`{text}` is no duration: write seconds, or a text such as \"250ms\", \"30s\", \"5m\", \"2h\"");
    let (number, unit) = split_unit(text).ok_or_else(unknown)?;
    let millis_of_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(unknown()),
    };
    number.checked_mul(millis_of_unit).map(Duration::from_millis).ok_or_else(unknown)
}

fn set<T>(
    read: &mut Reader<'_>,
    written: Option<&At<Quantity>>,
    parse: fn(&Quantity) -> Result<T, String>,
    limit: &mut T,
) {
    if let Some(value) = read.judge(written, parse) {
        *limit = value;
    }
}

/// Reads a duration of a setting.
///
/// # Errors
/// What could have been written, and the bounds.
pub(crate) fn duration(quantity: &Quantity) -> Result<Duration, String> {
    let duration = match quantity {
        Quantity::Number(secs) => {
            Duration::from_secs(u64::try_from(*secs).map_err(|_| format!("`{secs}` is no duration"))?)
        }
        Quantity::Text(text) => duration_text(text)?,
    };
    if duration.is_zero() || duration.as_secs() > DURATION_SECS_MAX {
        return Err("out of bounds: write a duration from \"1ms\" to \"7d\"".to_owned());
    }
    Ok(duration)
}

fn bytes(quantity: &Quantity) -> Result<u64, String> {
    let number = match quantity {
        Quantity::Number(number) => u64::try_from(*number).ok(),
        Quantity::Text(text) => split_unit(text).and_then(|(number, unit)| {
            let bytes_of_unit: u64 = match unit {
                "B" => 1,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            number.checked_mul(bytes_of_unit)
        }),
    };
    number.filter(|number| (1..=BYTES_MAX).contains(number)).ok_or_else(|| {
        "this is no size: write bytes, or a text such as \"64KiB\", \"16MiB\", up to \"1GiB\"".to_owned()
    })
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        assert_eq!(duration(&Quantity::Number(30)), Ok(Duration::from_secs(30)));
        assert_eq!(duration(&Quantity::Text("250ms".into())), Ok(Duration::from_millis(250)));
        assert_eq!(duration(&Quantity::Text("5m".into())), Ok(Duration::from_secs(300)));
        for bad in ["", "s", "5", "5y", "-5s", "99999999999999999999s", "8d", "0s"] {
            assert!(duration(&Quantity::Text(bad.into())).is_err(), "{bad}");
        }
        assert!(duration(&Quantity::Number(-1)).is_err());
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        assert_eq!(bytes(&Quantity::Number(1000)), Ok(1000));
        assert_eq!(bytes(&Quantity::Text("16MiB".into())), Ok(16 << 20));
        for bad in ["16MB", "1TiB", "MiB", "2GiB", "0B"] {
            assert!(bytes(&Quantity::Text(bad.into())).is_err(), "{bad}");
        }
    }
}
