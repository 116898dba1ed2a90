//! `keymoat serve`: puts configuration, store, certificates and gateway together, and runs until it is asked to end.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use keymoat_admin::listener::Listening;
use keymoat_admin::{House, metrics};
use keymoat_core::Action;
use keymoat_gateway::{Gateway, Running, StartError, node};
use keymoat_store::{Change, Feed, NodeAbout, Store, TokenDesk};
use tracing::Level;

use super::ready::Ready;
use super::store_choice::open_at;
use super::{print, print_bytes};
use crate::admin::{self, Claim, Offer};
use crate::config::{self, Chosen, Config, Flags};
use crate::demo::{self, Emulators};
use crate::handed::Handed;
use crate::keys::Keys;
use crate::observed::{self, Observed};
use crate::output::{Output, diagnostics, time};
use crate::process::{self, Asked};
use crate::reload::{Held, Over, Reloader, end_sessions};
use crate::sealed::{self, Taken};
use crate::store_age::StoreAge;
use crate::sunsets::Sunsets;
use crate::upgrade::Program;
use crate::wiring;

/// How often the store is looked at for keys that other processes made or revoked.
const STORE_LOOK: Duration = Duration::from_millis(250);

/// Runs the gateway.
///
/// Without a configuration it runs offline on loopback: emulated APIs, a demo key, and lines to try. With a
/// `keymoat.toml` in this folder, or `--config FILE`, it runs what the file says.
///
/// SIGHUP, or a change of the configuration, of a secret or of a certificate, takes the new one over without ending a
/// session; one that is wrong is told of and not taken.
///
/// SIGUSR2 starts the program anew with the sockets that listen: the new process takes over when it is ready, and this one
/// lets its sessions come to their end. Nobody is refused. If it does not become ready, nothing changes.
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
    #[command(flatten)]
    flags: Flags,
    /// Prints one JSON object with the addresses when ready.
    #[arg(long)]
    json: bool,
}

/// How this process came to be.
struct Start {
    program: Program,
    handed: Handed,
}

/// Runs until a signal asks for the end.
///
/// # Errors
/// Whatever keeps the gateway from starting.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let start = Start { program: Program::of_this_process()?, handed: Handed::take()? };
    let mut warnings = process::keep_memory_private();
    let preset = arguments.preset.as_deref().zip(arguments.secret_file.as_deref());
    let chosen = Chosen::new(arguments.config.as_deref(), preset, arguments.flags.listen);
    let mut config = chosen.read(&config::environment())?;
    warnings.append(&mut config.warnings);
    let output = Output::start(arguments.flags.log_format.or(config.log.format))?;
    diagnostics::install(&output, arguments.flags.log_level.or(config.log.level).unwrap_or(Level::INFO));
    warn(&mut warnings);
    let served = serve(arguments, chosen, config, start, &output);
    output.flush();
    served
}

/// Writes what works, but should not stay so.
fn warn(warnings: &mut Vec<String>) {
    for warning in warnings.drain(..) {
        tracing::warn!("{warning}");
    }
}

fn serve(
    arguments: &Arguments,
    chosen: Chosen,
    mut config: Config,
    start: Start,
    output: &Output,
) -> anyhow::Result<()> {
    let Start { program, mut handed } = start;
    let now = time::now();
    let store = Arc::new(open_at(&config.store_dir, config.database.as_ref(), &config.master_key)?);
    let taken = sealed::take(&mut config, &store)?;
    warn(&mut config.warnings);
    sealed::tell_withheld(&config);
    let store_dir = std::path::absolute(&config.store_dir)?;
    let first_run = config.upstreams.is_empty() && config.routes.is_empty();
    let mut demo_key_file = None;
    // Kept to the end of this function: the emulators stop when it is dropped.
    let mut emulators = None;
    if first_run {
        let (running, upstreams) = Emulators::start()?;
        config.upstreams = upstreams;
        config.routes = demo::routes();
        if let Some(query) = config.defaults.query {
            config.routes.iter_mut().for_each(|route| route.query = query);
        }
        demo_key_file = Some(demo::key_file(&store, &store_dir, now)?);
        emulators = Some(running);
    }
    let held = Held::of(&config, first_run);
    let staleness = config.staleness;
    let of_admin = config.admin.clone();
    let shown = chosen.shown(&arguments.flags, &config::environment())?;
    let face = Arc::new(ArcSwap::from_pointee(admin::configured(&config, shown)));
    output.keep_out(wiring::secrets(&config));
    output.mask_by(wiring::rules(&config)?);
    let observed = Observed::start(&store, &config.events, config.telemetry.take(), output)?;
    observed.watch_certificate(observed::certificate_file(&config.tls, &store_dir));
    let watched = std::mem::take(&mut config.watched);
    let configured = wiring::keys(std::mem::take(&mut config.keys), store.pepper(), now);
    let keys = Arc::new(Keys::new(store.snapshot()?, configured));
    let (settings, certificate, ca_file) = wiring::settings(config, &store_dir, now)?;
    let has_tls = settings.listeners.len() > 1;
    // Signals are caught before anything is promised, so that none is lost in between.
    let signals = process::signals()?;
    let records = observed.records(output);
    let running = Gateway::prepare(settings, handed.listeners(has_tls)?, Arc::clone(keys.snapshots()), records);
    let running = Arc::new(running.map_err(advised)?);
    let desk = TokenDesk::start(Arc::clone(&store))?;
    running.take_tokens_from(desk.clone());
    let (ask, asked) = mpsc::channel();
    let taken = Arc::new(Mutex::new(taken));
    let feed =
        watch_store(Arc::clone(&store), Arc::clone(&keys), Arc::clone(&running), Arc::clone(&taken), ask.clone())?;
    observed.watch(&running, Arc::clone(keys.snapshots()), feed.freshness());
    let about = NodeAbout {
        name: node::host_name(),
        version: super::version().to_owned(),
        address: running.addresses().first().map(ToString::to_string).unwrap_or_default(),
        started_at: now,
        closes_after: staleness.close_after,
    };
    // Gives back what is left when it is dropped, after everything has ended.
    let membership = running.take_part(Arc::clone(&store), desk, about, feed.freshness())?;
    let store_age = StoreAge::watch(&running, feed.freshness(), staleness)?;
    let from_older = handed.admin(of_admin.as_ref().map(|admin| admin.listen))?;
    let admin = match &of_admin {
        Some(settings) => {
            let house = House {
                store: Arc::clone(&store),
                running: Arc::clone(&running),
                snapshots: Arc::clone(keys.snapshots()),
                configured: Arc::clone(&face),
                acts: Arc::clone(&observed.acts),
                kept_acts: Arc::clone(&observed.kept_acts),
                clock: Arc::new(time::now),
                rules: output.rules(),
                events: observed.events.clone(),
                known: output.known(),
                version: super::version(),
                started_at: now,
                node_id: Arc::clone(membership.node_id()),
            };
            let more = metrics::page(Arc::clone(&observed.metrics));
            Some(admin::start(house, (settings, more), certificate, &store_dir, from_older)?)
        }
        None => None,
    };
    let offer = Offer::for_person(arguments.json);
    let claim = admin.as_ref().map(|admin| admin::first_claim(&store, admin, offer, now)).transpose()?;
    let ready =
        Ready::new(running.addresses(), has_tls, ca_file, demo_key_file, admin.as_ref().map(|admin| admin.url()));
    let emulated = emulators.as_ref().map(Emulators::address);
    if arguments.json {
        print(&ready.json()?)?;
    } else {
        let text = ready.text(emulated, keys.any_live(), &claim.unwrap_or(Claim::Done));
        // The text may hold the claim link, which is printed here and nowhere else.
        print_bytes(text.expose())?;
    }
    observed.act(Action::Started, None);
    running.serve();
    handed.tell_ready();
    tracing::info!(gateway = ready.gateway, gateway_tls = ready.gateway_tls, admin = ready.admin, "serving");
    let reloader = Reloader {
        program,
        chosen,
        running: Arc::clone(&running),
        keys,
        store,
        taken,
        acts: Arc::clone(&observed.acts),
        sunsets: Sunsets::default(),
        held,
        watched,
        admin: admin.clone(),
        face,
        flags: arguments.flags.clone(),
        output: output.clone(),
        observed: observed.clone(),
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let _ = signals.map(|asked| ask.send(asked)).find(Result::is_err);
    })?;
    until_asked_to_end(asked, reloader, &running, admin.as_deref(), output)?;
    running.join();
    if let Some(admin) = admin {
        admin.end();
    }
    drop(membership);
    drop(store_age);
    feed.stop();
    observed.act(Action::Stopped, None);
    observed.events.flush();
    tracing::info!("ended");
    drop(emulators);
    Ok(())
}

/// An error of starting, with what to do about it.
fn advised(error: StartError) -> anyhow::Error {
    match &error {
        StartError::Listen(address, cause) if cause.kind() == std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is taken, perhaps by another keymoat: stop it, or choose other ports with `--listen 127.0.0.1:PORT` \
             (or `--listen 127.0.0.1:0` for free ones)"
        ),
        StartError::Handed(..) => anyhow::anyhow!(
            "{error}: write the same address into [listen] and where the socket comes from; an upgrade keeps the addresses, \
             a restart changes them"
        ),
        _ => error.into(),
    }
}

/// Takes over what changes in the store; sessions of a key that was revoked are ended.
fn watch_store(
    store: Arc<Store>,
    keys: Arc<Keys>,
    running: Arc<Running>,
    taken: Arc<Mutex<Taken>>,
    ask: Sender<Asked>,
) -> anyhow::Result<Feed> {
    let feed = Feed::start(store, STORE_LOOK, move |Change { snapshot, secrets, overrides }| {
        if running.override_routes(overrides) {
            tracing::info!("routes are held to what the store overrides");
        }
        keys.take_stored(snapshot, |key_id| end_sessions(&running, key_id));
        let sessions = running.end_sessions_of_revoked_tokens();
        if sessions > 0 {
            tracing::info!(sessions, "sessions end whose token is revoked");
        }
        let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if secrets.iter().any(|change| sealed::is_news(&taken, change)) {
            // Whoever listens has gone when the process ends.
            let _ = ask.send(Asked::Reload);
        }
    })?;
    Ok(feed)
}

/// Reloads until the first signal that asks for the end, or until a new process has taken over; begins the drain, and
/// leaves a thread behind that a second signal ends everything by.
fn until_asked_to_end(
    asked: Receiver<Asked>,
    reloader: Reloader,
    running: &Arc<Running>,
    admin: Option<&Listening>,
    output: &Output,
) -> anyhow::Result<()> {
    let over = reloader.run(&asked);
    match over {
        Over::HandedOver => {
            running.hand_over();
            if let Some(admin) = admin {
                admin.end();
            }
        }
        Over::End => {
            leave_the_balancer(running, &asked);
            drain(running);
        }
    }
    let (running, output) = (Arc::clone(running), output.clone());
    std::thread::Builder::new().name("second-signal".into()).spawn(move || {
        let mut ends = asked.iter().filter(|asked| *asked == Asked::End);
        if over == Over::HandedOver {
            // The new process may have been asked by the same signal, to the whole group.
            ends.next().inspect(|_| drain(&running));
        }
        if ends.next().is_some() {
            tracing::warn!("ending at once");
            running.stop_now();
            output.flush();
        }
    })?;
    Ok(())
}

/// Waits until a load balancer has noticed that this process is about to end. A second signal says that there is no need.
fn leave_the_balancer(running: &Running, asked: &Receiver<Asked>) {
    let wait = running.announce_end();
    if wait.is_zero() {
        return;
    }
    tracing::info!(?wait, "not ready any more, and going on as ever: a second signal begins the shutdown");
    let until = Instant::now() + wait;
    while let Ok(also) = asked.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if also == Asked::End {
            return;
        }
    }
}

fn drain(running: &Running) {
    tracing::info!(sessions = running.live_sessions(), "draining: a second signal ends at once");
    running.drain();
}
