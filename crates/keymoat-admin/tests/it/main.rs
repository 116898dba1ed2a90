//! The crate as the binary uses it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod events;
mod metrics;
mod otlp;
