//! Relays: what moves bytes between a client and an upstream once the road has said yes.

pub mod websocket;
