//! From a configuration to what the gateway takes, at the start and on every reload.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use keymoat_core::UnixMillis;
use keymoat_gateway::settings::{Listener, Settings};
use keymoat_gateway::tls;

use crate::config::{Config, Tls};

/// What the gateway takes, and the authority to trust, if it is our own. Reads the certificate files.
///
/// # Errors
/// A certificate or key that cannot be read or used.
pub(crate) fn settings(
    config: Config,
    store_dir: &Path,
    now: UnixMillis,
) -> anyhow::Result<(Settings, Option<PathBuf>)> {
    let (listeners, ca_file) = listeners(&config, store_dir, now)?;
    let settings = Settings {
        listeners,
        threads: config.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        routes: config.routes,
        upstreams: config.upstreams,
        limits: config.limits,
    };
    Ok((settings, ca_file))
}

/// The plain listener, then the TLS one if there is one; and the authority to trust, if it is our own.
fn listeners(config: &Config, store_dir: &Path, now: UnixMillis) -> anyhow::Result<(Vec<Listener>, Option<PathBuf>)> {
    let plain = Listener { address: config.data, tls: None };
    match &config.tls {
        Tls::Disabled => Ok((vec![plain], None)),
        Tls::SelfSigned { listen } => {
            let own = tls::self_signed::prepare(&store_dir.join("tls"), now).context("preparing the certificate")?;
            Ok((vec![plain, Listener { address: *listen, tls: Some(own.config) }], Some(own.ca_file)))
        }
        Tls::Provided { listen, cert, key } => {
            let config = tls::server::from_files(cert, key).context("[tls] cert and key")?;
            Ok((vec![plain, Listener { address: *listen, tls: Some(Arc::new(config)) }], None))
        }
    }
}
