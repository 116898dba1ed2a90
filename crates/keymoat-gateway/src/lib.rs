//! Moves bytes: accepts connections, takes each request along the road, opens the upstream, relays, and writes the record.

pub mod relay;
pub mod session;
pub mod settings;
pub mod tls;
