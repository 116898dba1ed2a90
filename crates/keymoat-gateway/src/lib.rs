//! Moves bytes: accepts connections, takes each request along the road, opens the upstream, relays, and writes the record.

mod accept;
mod answer;
mod body;
mod claim;
mod clock;
mod connection;
mod cors;
mod dialect;
mod executor;
mod forwarded;
pub mod gated;
mod gateway;
mod ledger;
mod masked;
mod memory;
mod opening;
mod outflow;
mod own;
mod passage;
mod peer;
mod permits;
mod plan;
pub mod relay;
mod serve;
pub mod session;
pub mod settings;
mod stream;
pub mod tls;
mod upstream;
mod worker;

pub use gateway::{Gateway, Running, StartError};
pub use ledger::Records;
pub use plan::PlanError;
pub use upstream::TargetError;
pub use upstream::probe::{Answer, Certificate, Missed, Probe, probe};
