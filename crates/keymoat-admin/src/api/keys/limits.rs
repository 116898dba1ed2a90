//! The limits of a key, as the API reads and writes them.

use keymoat_core::KeyLimits;
use keymoat_core::limits::Pace;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::problem::{Code, Problem};

/// How much may be done with a key and its tokens; what is null or left out is not limited.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = Limits)]
pub(in crate::api) struct LimitsBody {
    /// Requests per second; the opening of a WebSocket is one.
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_second: Option<u32>,
    /// So many at once after a pause; as many as per second where nothing is said.
    #[schema(minimum = 1, maximum = 1_000_000)]
    burst: Option<u32>,
    /// Requests in one day of UTC.
    #[schema(minimum = 1, maximum = 281_474_976_710_655_i64)]
    requests_per_day: Option<u64>,
    /// Payload bytes of both directions in one day of UTC.
    #[schema(minimum = 1, maximum = 281_474_976_710_655_i64)]
    bytes_per_day: Option<u64>,
    /// WebSockets and event streams at once.
    #[schema(minimum = 1, maximum = 1_000_000)]
    sessions: Option<u32>,
    /// How long one of them may last.
    #[schema(minimum = 1, maximum = 31_622_400)]
    session_secs: Option<u64>,
    /// Payload bytes of both directions of one of them, or of one request with its answer.
    #[schema(minimum = 1, maximum = 281_474_976_710_655_i64)]
    session_bytes: Option<u64>,
    /// The models that may be asked for.
    #[schema(max_items = 64)]
    models: Option<Vec<String>>,
}

impl LimitsBody {
    /// What is limited; `None` where nothing is.
    pub(super) fn of(limits: &KeyLimits) -> Option<Self> {
        if limits.are_none() {
            return None;
        }
        let models: Vec<String> = limits.models.iter().map(ToString::to_string).collect();
        Some(Self {
            requests_per_second: limits.requests_per_second.map(|pace| pace.per_second),
            burst: limits.requests_per_second.map(|pace| pace.burst),
            requests_per_day: limits.requests_per_day,
            bytes_per_day: limits.bytes_per_day,
            sessions: limits.sessions,
            session_secs: limits.session_duration_secs,
            session_bytes: limits.session_bytes,
            models: Some(models).filter(|models| !models.is_empty()),
        })
    }

    /// The limits that it means.
    ///
    /// # Errors
    /// The limit that cannot be kept.
    pub(super) fn limits(self) -> Result<KeyLimits, Problem> {
        let requests_per_second = match (self.requests_per_second, self.burst) {
            (Some(per_second), burst) => Some(Pace { per_second, burst: burst.unwrap_or(per_second) }),
            (None, None) => None,
            (None, Some(_)) => {
                let detail = "`burst` belongs to `requests_per_second`";
                return Err(Problem::with(Code::FieldInvalid, detail).field("limits.burst"));
            }
        };
        let limits = KeyLimits {
            requests_per_second,
            requests_per_day: self.requests_per_day,
            bytes_per_day: self.bytes_per_day,
            sessions: self.sessions,
            session_duration_secs: self.session_secs,
            session_bytes: self.session_bytes,
            models: self.models.unwrap_or_default().into_iter().map(Into::into).collect(),
        };
        limits.check().map_err(|error| Problem::with(Code::FieldInvalid, error.to_string()).field("limits"))?;
        Ok(limits)
    }
}
