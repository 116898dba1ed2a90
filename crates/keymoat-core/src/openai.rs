//! OpenAI's Realtime API: what a token locks of a session, and the bodies that mint tokens.

mod field;
mod lock;
pub mod mint;

pub use lock::{EVENT_BYTES_MAX, Later, Lock, LockError, refuses_lock};
