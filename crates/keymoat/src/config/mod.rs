//! What the crates accept: a configuration that was read, checked and filled up with defaults.
//!
//! `file.rs` is what people write; [`load`] turns it into a [`Config`], or into everything that is wrong with it.

mod admin;
mod backend;
mod chosen;
mod events;
mod file;
mod flags;
mod key;
mod limits;
mod preset;
mod problem;
mod reader;
mod redact;
mod route;
mod schema;
mod secret;
mod shown;
mod source;
mod store;
mod tls;
mod upstream;
mod watched;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use keymoat_core::network::{Network, UnknownNetwork};
use keymoat_core::{Dialect, Route, Secret};
use keymoat_gateway::settings::{Limits, Upstream};
use keymoat_gateway::tls::server::Demands;
use keymoat_redact::Custom;
use keymoat_store::MasterKey;

use self::file::{At, File};
use self::preset::Preset;
use self::problem::unknown;
use self::reader::Reader;
use self::route::Defaults;
use self::source::Source;

pub(crate) use self::admin::{Admin, Certificate};
pub(crate) use self::chosen::Chosen;
pub(crate) use self::events::{Events, Telemetry};
pub(crate) use self::flags::Flags;
pub(crate) use self::key::{ConfiguredKey, checked as check_key};
pub(crate) use self::limits::{duration_text, size_text};
pub(crate) use self::preset::EVERY_CARRIER;
pub(crate) use self::problem::{Problem, Problems};
pub(crate) use self::redact::of_file as redact_of_file;
pub(crate) use self::schema::schema;
pub(crate) use self::secret::{Reference, from as secret_from};
pub(crate) use self::shown::{Shown, show, show_overrides, show_preset, toml_text};
pub(crate) use self::store::{
    DEFAULT_DIR as DEFAULT_STORE_DIR, Named as NamedStore, Staleness, StoreConfig, in_folder as store_in_folder,
    of_configuration as store_of_configuration, password as password_of_database,
};
pub(crate) use self::tls::Tls;
pub(crate) use self::upstream::{check_secret, secret_in_plain_text};
pub(crate) use self::watched::Watched;

/// The file that is read when none is named.
pub(crate) const DEFAULT_FILE: &str = "keymoat.toml";

/// Where plain text is served when nothing else is said.
const DEFAULT_DATA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);

/// What `format` of `[log]` takes.
const LOG_FORMATS: [&str; 2] = ["json", "human"];

/// What `level` of `[log]` takes.
const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Everything that `keymoat serve` needs to know.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where plain text is served.
    pub(crate) data: SocketAddr,
    /// Where TLS is served, and with which certificate.
    pub(crate) tls: Tls,
    /// The admin listener, if there is to be one.
    pub(crate) admin: Option<Admin>,
    /// What TLS listeners ask of their clients.
    pub(crate) tls_demands: Demands,
    /// Proxies whose word is taken for who their clients are.
    pub(crate) trusted_proxies: Vec<Network>,
    /// How many threads serve; `None` is one per processor.
    pub(crate) threads: Option<usize>,
    /// The folder of the embedded store, and of what belongs to this node.
    pub(crate) store_dir: PathBuf,
    /// The URL of the database, if the store is not the embedded one.
    pub(crate) database: Option<Secret>,
    /// How old this node's view of the store may become.
    pub(crate) staleness: Staleness,
    /// The keys that are kept in the configuration.
    pub(crate) keys: Vec<ConfiguredKey>,
    /// What routes follow that say nothing themselves.
    pub(crate) defaults: Defaults,
    /// Where the store's master key comes from.
    pub(crate) master_key: MasterKey,
    /// The APIs behind.
    pub(crate) upstreams: Vec<Upstream>,
    /// Where the secrets that the configuration names come from, by upstream.
    pub(crate) secret_references: BTreeMap<String, Reference>,
    /// What each of them speaks, by its preset.
    pub(crate) dialects: BTreeMap<String, Dialect>,
    /// Which requests go to which of them.
    pub(crate) routes: Vec<Route>,
    /// Limits and deadlines.
    pub(crate) limits: Limits,
    /// How lines are written.
    pub(crate) log: Log,
    /// How events are kept.
    pub(crate) events: Events,
    /// The collector that is told, if there is one.
    pub(crate) telemetry: Option<Telemetry>,
    /// What is a credential in a line beside what Keymoat knows, and what is none.
    pub(crate) redact: Custom,
    /// What works, but should not stay so.
    pub(crate) warnings: Vec<String>,
    /// The files that it was read from.
    pub(crate) watched: Watched,
}

/// How lines are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// JSON or human; `None` decides by whether the output is a terminal.
    pub(crate) format: Option<LogFormat>,
    /// How much is told of Keymoat's own doings.
    pub(crate) level: Option<tracing::Level>,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Aligned columns, coloured on a terminal.
    Human,
}

/// The environment, as far as a configuration reads it.
pub(crate) type Environment = BTreeMap<String, String>;

/// The process's own environment; names and values that are not UTF-8 are left out.
pub(crate) fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads and checks the file at `path`, with the variables that lie over it.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub(crate) fn load(path: &Path, environment: &Environment) -> Result<Config, Problems> {
    let mut watched = Watched::default();
    watched.note(path);
    let read = text_of(path).and_then(|text| read(path.display().to_string(), text, folder_of(path), environment));
    let mut config = read.map_err(|mut problems| {
        problems.watched.join(&watched);
        problems
    })?;
    config.watched.join(&watched);
    if config.routes.is_empty() {
        let message = format!(
            "{}: no route, so nothing can be served: write an [upstream.NAME] and a [route.NAME]",
            path.display()
        );
        return Err(Problems { watched: config.watched, ..Problem::overall(message).into() });
    }
    Ok(config)
}

/// The configuration without a file: defaults, and what `KEYMOAT__…` variables say. It may have no route.
///
/// # Errors
/// Everything that is wrong with the variables.
pub(crate) fn without_file(environment: &Environment) -> Result<Config, Problems> {
    read(DEFAULT_FILE.to_owned(), String::new(), Path::new("."), environment)
}

/// A provider with the real key from a file, or from standard input when it is `-`; no configuration file is read.
///
/// # Errors
/// An unknown preset, or a secret that cannot be read.
pub(crate) fn of_preset(word: &str, secret_file: &Path, environment: &Environment) -> anyhow::Result<Config> {
    let text = text_of_preset(word)?;
    let mut config = read(format!("preset {word}"), text, Path::new("."), environment)?;
    config.watched.note(secret_file);
    let (secret, warning) = secret_from(secret_file)?;
    check_secret(word, &secret).map_err(anyhow::Error::msg)?;
    config.warnings.extend(warning);
    if let Some(upstream) = config.upstreams.iter_mut().find(|upstream| &*upstream.name == word) {
        upstream.secret = Some(secret);
    }
    Ok(config)
}

/// What the preset is as a file.
fn text_of_preset(word: &str) -> anyhow::Result<String> {
    anyhow::ensure!(preset::WORDS.contains(&word), "--preset: {}", unknown("preset", word, &preset::WORDS));
    Ok(format!("[upstream.{word}]\npreset = \"{word}\"\n[route.{word}]\nupstream = \"{word}\"\n"))
}

fn text_of(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                ": name another one with `--config FILE`, or leave it out to try Keymoat offline"
            }
            _ => "",
        };
        Problem::overall(format!("cannot read {}: {error}{hint}", path.display())).into()
    })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What an upstream speaks by its preset.
fn dialect_of(preset: Option<Preset>) -> Dialect {
    preset.map_or(Dialect::Generic, |preset| preset.dialect)
}

fn read(name: String, text: String, base: &Path, environment: &Environment) -> Result<Config, Problems> {
    let source = Source::new(name, text, environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    let file = source.read()?;
    let mut read = Reader::new(&source, base, environment);
    let config = lower(&mut read, &file);
    let (problems, warnings, watched) = read.finish();
    if problems.is_empty() { Ok(Config { warnings, watched, ..config }) } else { Err(Problems { problems, watched }) }
}

fn lower(read: &mut Reader<'_>, file: &File) -> Config {
    let data = read.judge(file.listen.data.as_ref(), |text| address(text)).unwrap_or(DEFAULT_DATA);
    let (tls, tls_demands) = tls::tls(read, file, data);
    if let Err(message) = may_listen(data, &tls) {
        read.report(file.listen.data.as_ref().map_or(0..0, At::span), message);
    }
    let admin = admin::admin(read, file, data, &tls);
    let backend = backend::read(read, file);
    let mut upstreams = Vec::new();
    let mut secret_references = BTreeMap::new();
    let mut presets: BTreeMap<&str, Option<Preset>> = BTreeMap::new();
    for (name, written) in &file.upstream {
        // A name counts as known even when its section is wrong, so that no second problem comes of it.
        presets.insert(name.get_ref(), None);
        if let Some(named) = upstream::upstream(read, name, written) {
            presets.insert(name.get_ref(), named.preset);
            secret_references.extend(named.reference.map(|reference| (name.get_ref().clone(), reference)));
            upstreams.push(named.upstream);
        }
    }
    let mut routes: Vec<Route> = Vec::new();
    for (name, written) in &file.route {
        let Some(route) = route::route(read, name, written, &presets, &backend.defaults) else { continue };
        if let Some(other) = routes.iter().find(|other| route::same_requests(other, &route)) {
            let message = format!("route `{}` takes requests that route `{}` takes already", route.name, other.name);
            read.report(name.span(), message);
        }
        for warning in routes.iter().filter_map(|other| route::shared_paths(other, &route)) {
            read.warn(warning);
        }
        routes.push(route);
    }
    for idle in upstreams.iter().filter(|upstream| !routes.iter().any(|route| route.upstream == upstream.name)) {
        read.warn(format!("no route leads to upstream `{}`", idle.name));
    }
    let store::Located { dir: store_dir, database } = store::locate(read, &file.store);
    Config {
        data,
        tls,
        admin,
        tls_demands,
        trusted_proxies: trusted_proxies(read, file),
        keys: keys(read, file, backend.keys, &routes),
        defaults: backend.defaults,
        threads: read.judge(file.listen.threads.as_ref(), |number| limits::count(*number, 1024)),
        master_key: store::master_key(read, &file.store, &store_dir),
        store_dir,
        database,
        staleness: store::staleness(read, &file.store),
        upstreams,
        secret_references,
        dialects: presets.iter().map(|(name, preset)| ((*name).to_owned(), dialect_of(*preset))).collect(),
        routes,
        limits: limits::limits(read, &file.limits),
        log: log(read, &file.log),
        events: events::events(read, &file.events),
        telemetry: events::telemetry(read, &file.telemetry),
        redact: redact::custom(read, &file.redact),
        warnings: Vec::new(),
        watched: Watched::default(),
    }
}

fn log(read: &mut Reader<'_>, file: &file::Log) -> Log {
    let format = read.judge(file.format.as_ref(), |word| match word.as_str() {
        "json" => Ok(LogFormat::Json),
        "human" => Ok(LogFormat::Human),
        other => Err(unknown("format", other, &LOG_FORMATS)),
    });
    let level = read.judge(file.level.as_ref(), |word| word.parse().map_err(|_| unknown("level", word, &LOG_LEVELS)));
    Log { format, level }
}

fn trusted_proxies(read: &mut Reader<'_>, file: &File) -> Vec<Network> {
    let written = file.listen.trusted_proxies.iter().flat_map(At::get_ref);
    let networks: Vec<_> = written
        .map(|text| read.judge(Some(text), |text| text.parse().map_err(|error: UnknownNetwork| error.to_string())))
        .collect();
    networks.into_iter().flatten().collect()
}

/// The keys of the file, and those of the backend's own variable.
fn keys(read: &mut Reader<'_>, file: &File, of_backend: Vec<ConfiguredKey>, served: &[Route]) -> Vec<ConfiguredKey> {
    let routes: Vec<&str> = file.route.keys().map(|name| name.get_ref().as_str()).collect();
    let mut keys: Vec<ConfiguredKey> = Vec::new();
    for (name, written) in &file.key {
        let Some(key) = key::key(read, name, written, &routes, served) else { continue };
        let shares =
            |other: &&ConfiguredKey| other.secrets().any(|own| key.secrets().any(|secret| secret.matches(own)));
        if let Some(other) = keys.iter().find(shares) {
            read.report(name.span(), format!("key `{}` is the same as key `{}`", key.name, other.name));
        }
        keys.push(key);
    }
    // What the file says of a key is more than that it is in the list.
    let further: Vec<_> = of_backend
        .into_iter()
        .filter(|key| !keys.iter().any(|other| other.secrets().any(|secret| secret.matches(&key.secret))))
        .collect();
    keys.extend(further);
    keys
}

/// Where TLS is served when only the plain address is known: two ports further, as 8787 and 8789; a free port beside a
/// free port.
fn tls_address_beside(data: SocketAddr) -> SocketAddr {
    let port = if data.port() == 0 { 0 } else { data.port().checked_add(2).unwrap_or(0) };
    SocketAddr::new(data.ip(), port)
}

impl Config {
    /// Listens on `data` in plain text and, if TLS is served, beside it with TLS.
    ///
    /// # Errors
    /// The address is not on loopback.
    pub(crate) fn listen_on(&mut self, data: SocketAddr) -> anyhow::Result<()> {
        may_listen(data, &self.tls).map_err(|message| anyhow::anyhow!("--listen: {message}"))?;
        self.data = data;
        match &mut self.tls {
            Tls::Disabled | Tls::BehindProxy => {}
            Tls::SelfSigned { listen } | Tls::Provided { listen, .. } => *listen = tls_address_beside(data),
        }
        if let Some(admin) = self.admin.as_mut().filter(|admin| !admin.is_chosen) {
            admin.listen = admin::beside_flag(data);
        }
        Ok(())
    }
}

/// Whether plain text may be served at an address.
fn may_listen(data: SocketAddr, tls: &Tls) -> Result<(), String> {
    if data.ip().is_loopback() || tls.allows_plain_text() {
        return Ok(());
    }
    Err("plain text beyond loopback would show every credential to the network: write 127.0.0.1 here, and serve others \
         with `data_tls` in [listen] and a mode in [tls]; behind a proxy that serves TLS write mode = \"behind_proxy\""
        .to_owned())
}

/// Reads `127.0.0.1:8787`.
///
/// # Errors
/// What to write.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| format!("`{text}` is no address: write IP:PORT, such as 127.0.0.1:8787 or [::1]:8787"))
}

#[cfg(test)]
mod tests;
