//! TLS on both sides: what listeners present, what upstreams must prove, and the certificate of a first start.
//!
//! Versions 1.2 and 1.3 only, aws-lc-rs for everything, and no way to turn verification off.

pub mod client;
mod error;
pub mod self_signed;
pub mod server;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use error::TlsError;

/// The versions that both sides speak.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The one crypto provider, named at every use, so that no process-wide default matters.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
