//! Quantities: durations and sizes as people write them, and the `[limits]` section.

use std::time::Duration;

use keymoat_gateway::settings::Limits;
use keymoat_gateway::throttle::Patience;

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
    let counts = [
        (&file.sessions_max, 10_000_000, &mut limits.sessions_max),
        (&file.head_fields_max, 1000, &mut limits.head_fields_max),
    ];
    for (written, max, limit) in counts {
        if let Some(number) = read.judge(written.as_ref(), |number| count(*number, max)) {
            *limit = number;
        }
    }
    if let Some(number) = read.judge(file.connections_per_address_max.as_ref(), |number| count(*number, 1_000_000)) {
        limits.connections_per_address_max = Some(number);
    }
    let patience = |number: &i64| match number {
        0 => Ok(None),
        number => count(*number, 1_000_000)
            .map(|number| Some(Patience { failures_per_minute: u32::try_from(number).unwrap_or(u32::MAX) })),
    };
    if let Some(patience) = read.judge(file.failed_credentials_per_minute.as_ref(), patience) {
        limits.failed_credentials = patience;
    }
    if let Some(number) = read.judge(file.http2_streams_max.as_ref(), |number| count(*number, 10_000)) {
        limits.http2_streams_max = u32::try_from(number).unwrap_or(u32::MAX);
    }
    let durations = [
        (&file.tls_handshake, &mut limits.tls_handshake),
        (&file.head, &mut limits.head),
        (&file.keep_alive, &mut limits.keep_alive),
        (&file.connect, &mut limits.connect),
        (&file.response_head, &mut limits.response_head),
        (&file.body_idle, &mut limits.body_idle),
        (&file.first_message, &mut limits.first_message),
        (&file.websocket_idle, &mut limits.websocket_idle),
        (&file.ping_every, &mut limits.ping_every),
        (&file.write_stall, &mut limits.write_stall),
        (&file.close_wait, &mut limits.close_wait),
        (&file.drain_after, &mut limits.drain_after),
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
    // The largest that the core looks into.
    let watched = |size: &Quantity| bytes_within(size, 1 << 10, 16 << 20);
    set(read, file.watched_bytes_max.as_ref(), watched, &mut limits.watched_bytes_max);
    set(read, file.memory_bytes_max.as_ref(), |size| memory_bytes(size).map(Some), &mut limits.memory_bytes_max);
    set(read, file.head_bytes_max.as_ref(), |size| bytes_within(size, 1 << 10, 1 << 20), &mut limits.head_bytes_max);
    // The type of URLs has no room for more.
    set(read, file.url_bytes_max.as_ref(), |size| bytes_within(size, 256, 60_000), &mut limits.url_bytes_max);
    let windows = [
        (&file.http2_stream_window, &mut limits.http2_stream_window),
        (&file.http2_connection_window, &mut limits.http2_connection_window),
    ];
    for (written, limit) in windows {
        set(read, written.as_ref(), |size| bytes_within(size, 16 << 10, 1 << 30), limit);
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
    amount(quantity).filter(|number| (1..=BYTES_MAX).contains(number)).ok_or_else(|| {
        "this is no size: write bytes, or a text such as \"64KiB\", \"16MiB\", up to \"1GiB\"".to_owned()
    })
}

/// A size between two others, as whatever number the limit is.
pub(crate) fn bytes_within<T: TryFrom<u64>>(quantity: &Quantity, min: u64, max: u64) -> Result<T, String> {
    amount(quantity)
        .filter(|number| (min..=max).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("this size is out of bounds: write from {min} to {max} bytes"))
}

/// A budget below what the process needs for itself would refuse everything.
fn memory_bytes(quantity: &Quantity) -> Result<u64, String> {
    bytes_within(quantity, 64 << 20, 1 << 44)
}

/// Reads bytes, or a text such as `64KiB`, `16MiB`, `10GiB`.
pub(crate) fn size_text(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| amount(&Quantity::Text(text.to_owned())))
}

fn amount(quantity: &Quantity) -> Option<u64> {
    match quantity {
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
    }
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
    fn a_size_has_its_bounds() {
        assert_eq!(memory_bytes(&Quantity::Text("2GiB".into())), Ok(2 << 30));
        assert!(memory_bytes(&Quantity::Text("63MiB".into())).is_err());
        let window = |text: &str| bytes_within::<u32>(&Quantity::Text(text.into()), 16 << 10, 1 << 30);
        assert_eq!((window("16KiB"), window("1GiB")), (Ok(16 << 10), Ok(1 << 30)));
        assert!(window("16383B").is_err() && window("2GiB").is_err());
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
