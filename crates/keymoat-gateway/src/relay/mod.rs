//! Relays: what moves bytes between a client and an upstream once the road has said yes.

mod http;
pub(crate) mod hygiene;
mod switch;
pub mod websocket;

pub(crate) use http::http;
pub(crate) use switch::{ClientEnd, Switch};
