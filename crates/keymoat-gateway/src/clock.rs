//! The wall clock, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use keymoat_core::UnixMillis;

/// The time at this moment. A clock before 1970 counts as 1970.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since.as_millis().try_into().unwrap_or(i64::MAX))
}
