//! What Keymoat decides, without doing anything: no I/O, no clock, no randomness, no async.
//!
//! Every function here is given all it needs (the head of a request, a snapshot of what is known, the time) and
//! answers with a value. The crates above move the bytes and keep the state.

pub mod act;
pub mod address;
pub mod carrier;
pub mod credential;
pub mod digest;
mod disguise;
pub mod event;
mod foreign;
pub mod format;
pub mod gate;
pub mod gemini;
pub mod head;
pub mod identity;
pub mod json;
pub mod key;
pub mod limits;
pub mod mask;
pub mod mistake;
pub mod models;
pub mod network;
pub mod openai;
pub mod origin;
pub mod path;
pub mod policy;
pub mod query;
pub mod record;
pub mod refusal;
pub mod role;
pub mod route;
pub mod route_override;
pub mod secret;
pub mod snapshot;
pub mod subprotocol;
pub mod time;
pub mod token;
pub mod trace;
pub mod websocket;

pub use act::{Act, Action, Actor};
pub use carrier::Carrier;
pub use credential::Presented;
pub use digest::{Digest, Pepper};
pub use event::Event;
pub use head::{Ask, Head, Opening, Transport};
pub use identity::{Holder, Identity};
pub use key::{Key, KeySecret, RotateAfter, Scopes};
pub use limits::{KeyLimits, Pace};
pub use mask::{Mask, Masking};
pub use mistake::Mistake;
pub use origin::{Origin, Origins};
pub use policy::{Access, Grant};
pub use query::Query;
pub use record::Record;
pub use refusal::{Code, Refusal};
pub use role::Role;
pub use route::{Dialect, QueryPolicy, Route};
pub use route_override::{OverrideFields, RouteOverride};
pub use secret::Secret;
pub use snapshot::{Held, Snapshot};
pub use subprotocol::Offer;
pub use time::UnixMillis;
pub use token::{Constraint, NewToken, Token};
pub use trace::Trace;
