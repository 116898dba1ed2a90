//! Relays: what moves bytes between a client and an upstream once the road has said yes.

mod http;
mod start;
mod switch;
pub mod websocket;

pub(crate) use http::http;
pub(crate) use start::{open_session, refuse_websocket, websocket};
pub(crate) use switch::Switch;
