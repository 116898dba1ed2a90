//! OpenAI's Realtime API: what a token locks of a session, and the bodies that mint tokens.

mod field;
mod lock;

pub use lock::{Lock, LockError};
