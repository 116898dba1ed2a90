//! From a configuration to what the gateway takes, at the start and on every reload.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use keymoat_core::{Digest, Key, Pepper, Secret, UnixMillis};
use keymoat_gateway::settings::{Listener, Settings};
use keymoat_gateway::tls;
use keymoat_redact::Rules;

use crate::config::{Config, ConfiguredKey, Tls};

/// What an error about the provided certificate starts with.
pub(crate) const CERTIFICATE: &str = "[tls] cert, key and client_ca";

/// The keys of the configuration by their digests under the store's pepper.
pub(crate) fn keys(configured: Vec<ConfiguredKey>, pepper: &Pepper, now: UnixMillis) -> HashMap<Digest, Arc<Key>> {
    let digested = configured.into_iter().map(|key| {
        let ConfiguredKey { id, name, scopes, secret } = key;
        // Only the digest goes further.
        let digest = pepper.digest(secret.expose());
        (digest, Arc::new(Key { id, name, scopes, created_at: now, expires_at: None, revoked_at: None }))
    });
    digested.collect()
}

/// The secrets of a configuration that must stand in no line that is written: the real keys, and the clients' keys that
/// it names. The store's keys are known as digests only.
pub(crate) fn secrets(config: &Config) -> Vec<Secret> {
    let upstreams = config.upstreams.iter().filter_map(|upstream| upstream.secret.as_ref());
    let keys = config.keys.iter().map(|key| &key.secret);
    // They are copied for the one place that every written line is compared with.
    upstreams.chain(keys).map(|secret| Secret::new(secret.expose().to_vec())).collect()
}

/// The rules that every line is masked by.
///
/// # Errors
/// None that the reader of the configuration has not told.
pub(crate) fn rules(config: &Config) -> anyhow::Result<Rules> {
    Rules::new(&config.redact).context("[redact]")
}

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
        trusted_proxies: config.trusted_proxies,
    };
    Ok((settings, ca_file))
}

/// The plain listener, then the TLS one if there is one; and the authority to trust, if it is our own.
fn listeners(config: &Config, store_dir: &Path, now: UnixMillis) -> anyhow::Result<(Vec<Listener>, Option<PathBuf>)> {
    let plain = Listener { address: config.data, tls: None };
    match &config.tls {
        Tls::Disabled | Tls::BehindProxy => Ok((vec![plain], None)),
        Tls::SelfSigned { listen } => {
            let own = tls::self_signed::prepare_demanding(&store_dir.join("tls"), &config.tls_demands, now)
                .context("preparing the certificate")?;
            Ok((vec![plain, Listener { address: *listen, tls: Some(own.config) }], Some(own.ca_file)))
        }
        Tls::Provided { listen, cert, key } => {
            let server = tls::server::from_files(cert, key, &config.tls_demands).context(CERTIFICATE)?;
            Ok((vec![plain, Listener { address: *listen, tls: Some(Arc::new(server)) }], None))
        }
    }
}
