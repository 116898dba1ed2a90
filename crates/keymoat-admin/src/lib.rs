//! Sees and steers: keeps the events of a gateway, counts them, and serves the admin API on a listener of its own.
//!
//! Nothing here stands on the road of a request: the gateway hands over what happened and goes on.

pub mod sunset;

use std::sync::Arc;

use keymoat_core::Act;

/// Where the acts of people and commands go. Must not block.
pub type Acts = Arc<dyn Fn(Act) + Send + Sync>;
