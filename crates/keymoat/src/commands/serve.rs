//! `keymoat serve`: puts configuration, store, certificates and gateway together, and runs until it is asked to end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use keymoat_core::{Key, Snapshot, UnixMillis};
use keymoat_gateway::settings::{Listener, Settings};
use keymoat_gateway::tls;
use keymoat_gateway::{Gateway, Running, StartError};
use keymoat_store::{Change, Feed, Store};
use tracing::Level;

use super::print;
use super::ready::Ready;
use crate::config::{self, Config, DEFAULT_FILE, LogFormat, Tls};
use crate::demo::{self, Emulators};
use crate::output::{Output, diagnostics, time};
use crate::process::{self, Asked};
use crate::sealed::{self, Taken};

/// How often the store is looked at for keys that other processes made or revoked.
const STORE_LOOK: Duration = Duration::from_millis(250);

/// Runs the gateway.
///
/// Without a configuration it runs offline on loopback: emulated APIs, a demo key, and lines to try. With a
/// `keymoat.toml` in this folder, or `--config FILE`, it runs what the file says.
///
/// Ctrl-C or SIGTERM lets requests and sessions come to their end; a second one ends at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration [default: keymoat.toml, if there is one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A provider to serve without a configuration file, such as `gemini`; needs --secret-file.
    #[arg(long, value_name = "NAME", conflicts_with = "config", requires = "secret_file")]
    preset: Option<String>,
    /// The file with the provider's real API key; `-` reads standard input.
    #[arg(long, value_name = "PATH", requires = "preset")]
    secret_file: Option<PathBuf>,
    /// Where to listen; TLS listens two ports further, or on a free port beside a free port (127.0.0.1:0).
    #[arg(long, value_name = "IP:PORT", value_parser = config::address)]
    listen: Option<SocketAddr>,
    /// Prints one JSON object with the addresses when ready.
    #[arg(long)]
    json: bool,
    /// How lines are written to standard error [default: human on a terminal, json otherwise].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// How much Keymoat tells of its own doings: error, warn, info, debug, trace [default: info].
    #[arg(long = "log", value_name = "LEVEL", env = "KEYMOAT_LOG")]
    log_level: Option<Level>,
}

/// Runs until a signal asks for the end.
///
/// # Errors
/// Whatever keeps the gateway from starting.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut warnings = process::keep_memory_private();
    let mut config = configuration(arguments)?;
    warnings.append(&mut config.warnings);
    let output = Output::start(arguments.log_format.or(config.log.format))?;
    diagnostics::install(&output, arguments.log_level.or(config.log.level).unwrap_or(Level::INFO));
    warn(&mut warnings);
    let served = serve(arguments.json, config, &output);
    output.flush();
    served
}

/// Writes what works, but should not stay so.
fn warn(warnings: &mut Vec<String>) {
    for warning in warnings.drain(..) {
        tracing::warn!("{warning}");
    }
}

/// What to serve. A configuration without any upstream is the first run.
fn configuration(arguments: &Arguments) -> anyhow::Result<Config> {
    let environment = config::environment();
    let default = Path::new(DEFAULT_FILE);
    let mut config = match (&arguments.config, &arguments.preset, &arguments.secret_file) {
        (Some(file), ..) => config::load(file, &environment)?,
        (None, Some(preset), Some(secret_file)) => config::of_preset(preset, secret_file, &environment)?,
        (None, ..) if default.exists() => config::load(default, &environment)?,
        (None, ..) => config::without_file(&environment)?,
    };
    if let Some(listen) = arguments.listen {
        config.listen_on(listen)?;
    }
    Ok(config)
}

fn serve(json: bool, mut config: Config, output: &Output) -> anyhow::Result<()> {
    let now = time::now();
    let store = Arc::new(Store::open_with(&config.store_dir, &config.master_key)?);
    let taken = sealed::take(&mut config, &store)?;
    warn(&mut config.warnings);
    let store_dir = std::path::absolute(&config.store_dir)?;
    let first_run = config.upstreams.is_empty() && config.routes.is_empty();
    let mut demo_key_file = None;
    // Kept to the end of this function: the emulators stop when it is dropped.
    let mut emulators = None;
    if first_run {
        let (running, upstreams) = Emulators::start()?;
        config.upstreams = upstreams;
        config.routes = demo::routes();
        demo_key_file = Some(demo::key_file(&store, &store_dir, now)?);
        emulators = Some(running);
    }
    let (listeners, ca_file) = listeners(&config, &store_dir, now)?;
    let snapshots = Arc::new(ArcSwap::from_pointee(store.snapshot()?));
    let has_keys = snapshots.load().keys.values().any(|key| key.revoked_at.is_none());
    let has_tls = listeners.len() > 1;
    let settings = Settings {
        listeners,
        threads: config.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        routes: config.routes,
        upstreams: config.upstreams,
        limits: config.limits,
    };
    let records = output.clone();
    // Signals are caught before anything is promised, so that none is lost in between.
    let signals = process::signals()?;
    let running = Gateway::start(settings, Arc::clone(&snapshots), Arc::new(move |record| records.record(record)));
    let running = Arc::new(running.map_err(advised)?);
    let feed = watch_store(store, snapshots, Arc::clone(&running), taken)?;
    let ready = Ready::new(running.addresses(), has_tls, ca_file, demo_key_file);
    print(&if json { ready.json()? } else { ready.text(emulators.as_ref().map(Emulators::address), has_keys) })?;
    tracing::info!(gateway = ready.gateway, gateway_tls = ready.gateway_tls, "serving");
    until_asked_to_end(signals, &running, output)?;
    running.join();
    feed.stop();
    tracing::info!("ended");
    drop(emulators);
    Ok(())
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

/// An error of starting, with what to do about it.
fn advised(error: StartError) -> anyhow::Error {
    match &error {
        StartError::Listen(address, cause) if cause.kind() == std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is taken, perhaps by another keymoat: stop it, or choose other ports with `--listen 127.0.0.1:PORT` \
             (or `--listen 127.0.0.1:0` for free ones)"
        ),
        _ => error.into(),
    }
}

/// Takes over what changes in the store; sessions of a key that was revoked are ended.
fn watch_store(
    store: Arc<Store>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    running: Arc<Running>,
    taken: Taken,
) -> anyhow::Result<Feed> {
    let feed = Feed::start(store, STORE_LOOK, move |Change { snapshot, secrets }| {
        let revoked = newly_revoked(&snapshots.load().keys, &snapshot.keys);
        // First the view, then the sessions: a session that is opened in between is decided by the new view.
        snapshots.store(Arc::new(snapshot));
        for key_id in revoked {
            let sessions = running.end_sessions_of_key(&key_id);
            tracing::info!(key_id = &*key_id, sessions, "the key is revoked");
        }
        secrets.iter().for_each(|change| sealed::tell(&taken, change));
    })?;
    Ok(feed)
}

/// The ids of keys that were good before and are revoked, or gone, now.
fn newly_revoked<D: Eq + std::hash::Hash>(before: &HashMap<D, Arc<Key>>, now: &HashMap<D, Arc<Key>>) -> Vec<Arc<str>> {
    let good = |key: &Key| key.revoked_at.is_none();
    let lost = before.iter().filter(|(digest, key)| good(key) && !now.get(digest).is_some_and(|key| good(key)));
    lost.map(|(_, key)| Arc::clone(&key.id)).collect()
}

/// Waits for the first signal, begins the drain, and leaves a thread behind that a second one ends everything by.
fn until_asked_to_end(
    mut signals: impl Iterator<Item = Asked> + Send + 'static,
    running: &Arc<Running>,
    output: &Output,
) -> anyhow::Result<()> {
    for asked in signals.by_ref() {
        match asked {
            Asked::End => break,
            Asked::Reload => {
                tracing::warn!("SIGHUP does nothing in this version: restart to read the configuration anew");
            }
        }
    }
    tracing::info!(sessions = running.live_sessions(), "draining: a second signal ends at once");
    running.drain();
    let (running, output) = (Arc::clone(running), output.clone());
    std::thread::Builder::new().name("second-signal".into()).spawn(move || {
        if signals.any(|asked| asked == Asked::End) {
            tracing::warn!("ending at once");
            running.stop_now();
            output.flush();
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use keymoat_core::Scopes;

    use super::*;

    fn key(id: &str, revoked_at: Option<UnixMillis>) -> Arc<Key> {
        let created_at = UnixMillis(0);
        Arc::new(Key { id: id.into(), name: id.into(), scopes: Scopes::All, created_at, expires_at: None, revoked_at })
    }

    #[test]
    fn sessions_end_of_keys_that_were_good_and_are_not_any_more() {
        let revoked = Some(UnixMillis(1));
        let before = HashMap::from([
            (1, key("stays", None)),
            (2, key("goes", None)),
            (3, key("gone", None)),
            (4, key("old", revoked)),
        ]);
        let now = HashMap::from([
            (1, key("stays", None)),
            (2, key("goes", revoked)),
            (4, key("old", revoked)),
            (5, key("new", revoked)),
        ]);
        let mut ended = newly_revoked(&before, &now);
        ended.sort();
        assert_eq!(ended, ["goes".into(), "gone".into()]);
    }
}
