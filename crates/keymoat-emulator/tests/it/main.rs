//! Drives the emulator over real sockets, as a client would.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod credentials;
mod demo;
mod events;
mod live;
mod music;
mod openai;
mod record;
mod rest;
mod support;
mod tokens;
mod transport;
mod upload;
