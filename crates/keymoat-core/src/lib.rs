//! What Keymoat decides, without doing anything: no I/O, no clock, no randomness, no async.
//!
//! Every function here is given all it needs (the head of a request, a snapshot of what is known, the time) and
//! answers with a value. The crates above move the bytes and keep the state.

pub mod carrier;
pub mod digest;
pub mod gate;
pub mod key;
pub mod path;
pub mod record;
pub mod refusal;
pub mod route;
pub mod secret;
pub mod snapshot;
pub mod time;
pub mod websocket;

pub use carrier::Carrier;
pub use digest::{Digest, Pepper};
pub use key::{Key, Scopes};
pub use record::Record;
pub use refusal::{Code, Refusal};
pub use route::{Dialect, QueryPolicy, Route};
pub use secret::Secret;
pub use snapshot::Snapshot;
pub use time::UnixMillis;
