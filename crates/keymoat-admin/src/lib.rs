//! Sees and steers: keeps the events of a gateway, counts them, and serves the admin API on a listener of its own.
//!
//! Nothing here stands on the road of a request: the gateway hands over what happened and goes on.
//!
//! ```text
//! socket ─▶ listener ─▶ guard: host, origin, who, role ─▶ api: one file per resource ─▶ store, gateway ─▶ act
//! ```

mod access;
mod api;
#[cfg(feature = "console")]
mod console;
mod house;
pub mod listener;
mod random;
mod verdict;

pub mod events;
pub mod metrics;
pub mod otlp;
pub mod queue;
pub mod sunset;

use std::sync::Arc;

use keymoat_core::Act;

pub use access::password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, PasswordError, hash_password};
pub use api::open_api;
pub use house::{Clock, Configured, ConfiguredUpstream, House, Setting};
pub use random::{RandomFailed, new_secret};
pub use verdict::{GEMINI_TARGET, OPENAI_TARGET, Verdict, verdict};

/// Where the acts of people and commands go. Must not block.
pub type Acts = Arc<dyn Fn(Act) + Send + Sync>;
