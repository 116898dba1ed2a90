//! A real PostgreSQL for tests and measurements: each starts its own, in a folder that goes away with it.
//!
//! The server's programs are found in the `PATH` or in Debian's folders, or where `KEYMOAT_POSTGRES_BIN` says. As root
//! it runs as the user `postgres`, because PostgreSQL refuses root. A shell stands between the test and the server: it
//! ends the server and removes the folder also when the test is killed.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that has no PostgreSQL fails by panicking")]

mod machine;
mod proxy;
mod server;

pub use machine::programs;
pub use proxy::Proxy;
pub use server::{Durability, Postgres};
