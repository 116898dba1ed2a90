//! Times as the API writes them: RFC 3339, UTC, with milliseconds.

use keymoat_core::UnixMillis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-22T00:28:52.123Z")]
pub(crate) struct Moment(pub(crate) UnixMillis);

impl Moment {
    /// The text.
    pub(crate) fn text(self) -> String {
        let text = self.0.to_string();
        match text.strip_suffix('Z') {
            Some(whole) if !whole.contains('.') => format!("{whole}.000Z"),
            _ => text,
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = UnixMillis::from_rfc3339(&text).map(Self);
        read.ok_or_else(|| {
            serde::de::Error::custom("this must be a time as RFC 3339 has it, such as 2027-03-01T00:00:00Z")
        })
    }
}

/// A field that is there, if only as null; with `#[serde(default)]` an absent one is `None`.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_always_have_milliseconds() {
        assert_eq!(Moment(UnixMillis(0)).text(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Moment(UnixMillis(1_763_771_332_005)).text(), "2025-11-22T00:28:52.005Z");
    }
}
