//! From a configuration to what the gateway takes, at the start and on every reload.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use keymoat_core::{Digest, Held, Key, KeySecret, Pepper, RotateAfter, Secret, UnixMillis};
use keymoat_gateway::settings::{Listener, Settings};
use keymoat_gateway::tls;
use keymoat_redact::Rules;
use rustls::ServerConfig;

use crate::admin;
use crate::config::{self, Config, ConfiguredKey, Tls};

/// What an error about the provided certificate starts with.
pub(crate) const CERTIFICATE: &str = "[tls] cert, key and client_ca";

/// The keys of the configuration by their digests under the store's pepper.
pub(crate) fn keys(configured: Vec<ConfiguredKey>, pepper: &Pepper, now: UnixMillis) -> HashMap<Digest, Held> {
    let mut digested = HashMap::new();
    for key in configured {
        let ConfiguredKey { id, name, scopes, secret, previous, rotate_after, limits } = key;
        // When a secret was made is not known: what is due stays so until another date is written.
        let digest = |secret: &Secret, ends_at| {
            // Only the digest goes further.
            let digest = pepper.digest(secret.expose());
            let (id, prefix) = (secret_id(pepper, &digest).into(), keymoat_core::format::public_prefix(secret));
            (digest, KeySecret { id, created_at: UnixMillis(0), ends_at, prefix: prefix.map(Arc::from) })
        };
        let previous = previous.map(|(secret, until)| digest(&secret, until));
        let secrets: Vec<_> = previous.into_iter().chain([digest(&secret, None)]).collect();
        let key = Arc::new(Key {
            scopes,
            rotate_after: rotate_after.map(RotateAfter::Moment),
            secrets: secrets.iter().map(|(_, secret)| secret.clone()).collect(),
            limits,
            ..Key::new(&id, &name, now)
        });
        let held = |secret: KeySecret| Held { key: Arc::clone(&key), secret_id: secret.id };
        digested.extend(secrets.into_iter().map(|(digest, secret)| (digest, held(secret))));
    }
    digested
}

/// The id of a configured secret: the same one wherever it stands in the file, and nothing that leads back to it.
fn secret_id(pepper: &Pepper, digest: &Digest) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let Digest(drawn) = pepper.digest(&[b"keymoat secret id v1\0", digest.0.as_slice()].concat());
    let digits = drawn.iter().take(12).filter_map(|byte| DIGITS.get(usize::from(byte % 32)));
    "sec_".chars().chain(digits.map(|digit| char::from(*digit))).collect()
}

/// The secrets of a configuration that must stand in no line that is written: the real keys, and the clients' keys that
/// it names. The store's keys are known as digests only.
pub(crate) fn secrets(config: &Config) -> Vec<Secret> {
    let upstreams = config.upstreams.iter().filter_map(|upstream| upstream.secret.as_ref());
    let keys = config.keys.iter().flat_map(ConfiguredKey::secrets);
    let of_collector = config.telemetry.iter().flat_map(|telemetry| telemetry.headers.iter().map(|(_, secret)| secret));
    // They are copied for the one place that every written line is compared with.
    let copied = |secret: &Secret| Secret::new(secret.expose().to_vec());
    let mut secrets: Vec<Secret> = upstreams.chain(keys).chain(of_collector).map(copied).collect();
    secrets.extend(config.database.as_ref().and_then(config::password_of_database));
    secrets
}

/// The rules that every line is masked by.
///
/// # Errors
/// None that the reader of the configuration has not told.
pub(crate) fn rules(config: &Config) -> anyhow::Result<Rules> {
    Rules::new(&config.redact).context("[redact]")
}

/// What the gateway takes, the certificate of the admin listener, and the authority to trust, if it is our own. Reads the
/// certificate files.
///
/// # Errors
/// A certificate or key that cannot be read or used.
pub(crate) fn settings(
    config: Config,
    store_dir: &Path,
    now: UnixMillis,
) -> anyhow::Result<(Settings, Option<Arc<ServerConfig>>, Option<PathBuf>)> {
    let (listeners, ca_file) = listeners(&config, store_dir, now)?;
    let of_admin = match &config.admin {
        Some(admin) => admin::certificate(admin, &config, &listeners)?,
        None => None,
    };
    let settings = Settings {
        listeners,
        threads: config.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        routes: config.routes,
        upstreams: config.upstreams,
        limits: config.limits,
        trusted_proxies: config.trusted_proxies,
    };
    Ok((settings, of_admin, ca_file))
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
