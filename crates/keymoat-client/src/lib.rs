//! A Rust client that keeps credentials out of URLs.
//!
#![doc = include_str!("../README.md")]

/// The page of the book, whose code is compiled as this crate's own documentation is.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/rust-client.md")]
struct Book;

mod backoff;
mod client;
mod close;
mod credential;
mod endpoint;
mod error;
mod events;
mod exchange;
pub mod gemini;
mod limits;
mod sse;
mod transport;
mod websocket;

pub use backoff::Reconnect;
pub use client::{Client, ClientBuilder};
pub use close::{Close, Meaning};
pub use credential::{Credential, CredentialError, Subprotocol};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Error, Refused};
pub use events::{EventStream, events};
pub use keymoat_core::Secret;
pub use limits::Limits;
pub use sse::ServerEvent;
pub use websocket::{Message, WebSocket};
