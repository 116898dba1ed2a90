//! The limits of a token, as the API reads and writes them.

use keymoat_core::token::TokenLimits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What a token may take beside what its key may; what is null or left out is not limited further.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = TokenLimits)]
pub(in crate::api) struct TokenLimitsBody {
    /// The length of one session.
    #[schema(minimum = 1)]
    duration_secs: Option<u64>,
    /// Payload bytes of one session in both directions together.
    #[schema(minimum = 1, maximum = 281_474_976_710_655_i64)]
    bytes: Option<u64>,
    /// Messages of one session in both directions together.
    #[schema(minimum = 1, maximum = 281_474_976_710_655_i64)]
    messages: Option<u64>,
    /// Requests per second; the opening of a WebSocket is one.
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_second: Option<u32>,
    /// So many at once after a pause; as many as per second where nothing is said.
    #[schema(minimum = 1, maximum = 1_000_000)]
    burst: Option<u32>,
    /// WebSockets and event streams at once.
    #[schema(minimum = 1, maximum = 1_000_000)]
    sessions: Option<u32>,
    /// Payload bytes of all its sessions and requests, for as long as it lives.
    #[schema(minimum = 1, maximum = 281_474_976_710_655_i64)]
    total_bytes: Option<u64>,
    /// The models that may be asked for.
    #[schema(min_items = 1, max_items = 64)]
    models: Option<Vec<String>>,
}

impl TokenLimitsBody {
    /// What is limited; `None` where nothing is.
    pub(super) fn of(limits: &TokenLimits) -> Option<Self> {
        if *limits == TokenLimits::default() {
            return None;
        }
        let models: Vec<String> = limits.models.iter().map(ToString::to_string).collect();
        Some(Self {
            duration_secs: limits.duration_secs_max,
            bytes: limits.bytes_max,
            messages: limits.messages_max,
            requests_per_second: limits.requests_per_second.map(|pace| pace.per_second),
            burst: limits.requests_per_second.map(|pace| pace.burst),
            sessions: limits.sessions_max,
            total_bytes: limits.total_bytes_max,
            models: Some(models).filter(|models| !models.is_empty()),
        })
    }

    /// The same as clients ask a gateway for it.
    pub(super) fn as_own(&self) -> Value {
        let fields = [
            ("duration", self.duration_secs.map(|secs| Value::from(format!("{secs}s")))),
            ("bytes", self.bytes.map(Value::from)),
            ("messages", self.messages.map(Value::from)),
            ("requests_per_second", self.requests_per_second.map(Value::from)),
            ("burst", self.burst.map(Value::from)),
            ("sessions", self.sessions.map(Value::from)),
            ("total_bytes", self.total_bytes.map(Value::from)),
            ("models", self.models.clone().map(Value::from)),
        ];
        Value::from(Map::from_iter(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))))
    }
}
