//! What the crates accept: a configuration that was read, checked and filled up with defaults.
//!
//! `file.rs` is what people write; [`load`] turns it into a [`Config`], or into everything that is wrong with it.

mod file;
mod limits;
mod preset;
mod problem;
mod reader;
mod route;
mod secret;
mod source;
mod store;
mod upstream;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use keymoat_core::{Dialect, Route};
use keymoat_gateway::settings::{Limits, Upstream};
use keymoat_store::MasterKey;
use toml::Spanned;

use self::file::File;
use self::problem::unknown;
use self::reader::Reader;
use self::source::Source;

pub(crate) use self::limits::duration_text;
pub(crate) use self::preset::EVERY_CARRIER;
pub(crate) use self::problem::{Problem, Problems};
pub(crate) use self::secret::{Reference, from as secret_from};
pub(crate) use self::store::{
    DEFAULT_DIR as DEFAULT_STORE_DIR, StoreConfig, in_folder as store_in_folder,
    of_configuration as store_of_configuration,
};
pub(crate) use self::upstream::secret_in_plain_text;

/// The file that is read when none is named.
pub(crate) const DEFAULT_FILE: &str = "keymoat.toml";

/// Where plain text is served when nothing else is said.
const DEFAULT_DATA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);

/// Everything that `keymoat serve` needs to know.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where plain text is served.
    pub(crate) data: SocketAddr,
    /// Where TLS is served, and with which certificate.
    pub(crate) tls: Tls,
    /// How many threads serve; `None` is one per processor.
    pub(crate) threads: Option<usize>,
    /// The folder of the embedded store.
    pub(crate) store_dir: PathBuf,
    /// Where the store's master key comes from.
    pub(crate) master_key: MasterKey,
    /// The APIs behind.
    pub(crate) upstreams: Vec<Upstream>,
    /// Where the secrets that the configuration names come from, by upstream.
    pub(crate) secret_references: BTreeMap<String, Reference>,
    /// Which requests go to which of them.
    pub(crate) routes: Vec<Route>,
    /// Limits and deadlines.
    pub(crate) limits: Limits,
    /// How lines are written.
    pub(crate) log: Log,
    /// What works, but should not stay so.
    pub(crate) warnings: Vec<String>,
}

/// Whether and how TLS is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not at all.
    Disabled,
    /// With a certificate of Keymoat's own authority.
    SelfSigned { listen: SocketAddr },
    /// With a certificate chain and its key, both PEM files.
    Provided { listen: SocketAddr, cert: PathBuf, key: PathBuf },
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
    let config = read(path.display().to_string(), text_of(path)?, folder_of(path), environment)?;
    if config.routes.is_empty() {
        let message = format!(
            "{}: no route, so nothing can be served: write an [upstream.NAME] and a [route.NAME]",
            path.display()
        );
        return Err(Problems(vec![Problem::overall(message)]));
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
    let words: Vec<&str> = preset::PRESETS.iter().map(|preset| preset.word).collect();
    anyhow::ensure!(words.contains(&word), "--preset: {}", unknown("preset", word, &words));
    let text = format!("[upstream.{word}]\npreset = \"{word}\"\n[route.{word}]\nupstream = \"{word}\"\n");
    let mut config = read(format!("preset {word}"), text, Path::new("."), environment)?;
    let (secret, warning) = secret_from(secret_file)?;
    config.warnings.extend(warning);
    if let Some(upstream) = config.upstreams.iter_mut().find(|upstream| &*upstream.name == word) {
        upstream.secret = Some(secret);
    }
    Ok(config)
}

fn text_of(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                ": name another one with `--config FILE`, or leave it out to try Keymoat offline"
            }
            _ => "",
        };
        Problems(vec![Problem::overall(format!("cannot read {}: {error}{hint}", path.display()))])
    })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read(name: String, text: String, base: &Path, environment: &Environment) -> Result<Config, Problems> {
    let source = Source::new(name, text, environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    let file = source.read().map_err(|problem| Problems(vec![problem]))?;
    let mut read = Reader::new(&source, base, environment);
    let config = lower(&mut read, &file);
    let (problems, warnings) = read.finish();
    if problems.is_empty() { Ok(Config { warnings, ..config }) } else { Err(Problems(problems)) }
}

fn lower(read: &mut Reader<'_>, file: &File) -> Config {
    refuse_what_comes_later(read, file);
    let data =
        read.judge(file.listen.data.as_ref(), |text| address(text).and_then(in_plain_text)).unwrap_or(DEFAULT_DATA);
    let mut upstreams = Vec::new();
    let mut secret_references = BTreeMap::new();
    let mut dialects: BTreeMap<&str, Dialect> = BTreeMap::new();
    for (name, written) in &file.upstream {
        // A name counts as known even when its section is wrong, so that no second problem comes of it.
        dialects.insert(name.get_ref(), Dialect::Generic);
        if let Some(named) = upstream::upstream(read, name, written) {
            dialects.insert(name.get_ref(), named.dialect);
            secret_references.extend(named.reference.map(|reference| (name.get_ref().clone(), reference)));
            upstreams.push(named.upstream);
        }
    }
    let mut routes: Vec<Route> = Vec::new();
    for (name, written) in &file.route {
        let Some(route) = route::route(read, name, written, &dialects) else { continue };
        if let Some(other) = routes.iter().find(|other| route::same_requests(&other.paths, &route.paths)) {
            let message = format!("route `{}` takes requests that route `{}` takes already", route.name, other.name);
            read.report(name.span(), message);
        }
        routes.push(route);
    }
    for idle in upstreams.iter().filter(|upstream| !routes.iter().any(|route| route.upstream == upstream.name)) {
        read.warn(format!("no route leads to upstream `{}`", idle.name));
    }
    let store_dir = store::dir(read, &file.store);
    Config {
        data,
        tls: tls(read, file, data),
        threads: read.judge(file.listen.threads.as_ref(), |number| limits::count(*number, 1024)),
        master_key: store::master_key(read, &file.store, &store_dir),
        store_dir,
        upstreams,
        secret_references,
        routes,
        limits: limits::limits(read, &file.limits),
        log: log(read, &file.log),
        warnings: Vec::new(),
    }
}

fn tls(read: &mut Reader<'_>, file: &File, data: SocketAddr) -> Tls {
    let listen = read.judge(file.listen.data_tls.as_ref(), |text| address(text)).unwrap_or(tls_address_beside(data));
    let mode = file.tls.mode.as_ref().map_or("self_signed", |mode| mode.get_ref().as_str());
    let files = [("cert", &file.tls.cert), ("key", &file.tls.key)];
    if mode != "provided" {
        for (name, written) in files {
            if let Some(written) = written {
                read.report(written.span(), format!("`{name}` belongs to mode = \"provided\""));
            }
        }
    }
    match mode {
        "disabled" => {
            if let Some(written) = &file.listen.data_tls {
                let message = "there is no TLS with [tls] mode = \"disabled\": leave one of both out";
                read.report(written.span(), message.to_owned());
            }
            Tls::Disabled
        }
        "self_signed" => Tls::SelfSigned { listen },
        "provided" => match (&file.tls.cert, &file.tls.key) {
            (Some(cert), Some(key)) => Tls::Provided { listen, cert: read.path(cert), key: read.path(key) },
            _ => {
                let message =
                    "mode = \"provided\" needs both cert = \"/path/to/chain.pem\" and key = \"/path/to/key.pem\"";
                read.report(span_of_mode(file), message.to_owned());
                Tls::Disabled
            }
        },
        "behind_proxy" => {
            let message = "`behind_proxy` does not work in this version: terminate TLS here with \"self_signed\" or \
                           \"provided\", or let the proxy reach Keymoat on loopback with \"disabled\"";
            read.report(span_of_mode(file), message.to_owned());
            Tls::Disabled
        }
        other => {
            let known = ["disabled", "self_signed", "provided"];
            read.report(span_of_mode(file), unknown("mode", other, &known));
            Tls::Disabled
        }
    }
}

fn span_of_mode(file: &File) -> std::ops::Range<usize> {
    file.tls.mode.as_ref().map_or(0..0, Spanned::span)
}

fn log(read: &mut Reader<'_>, file: &file::Log) -> Log {
    let format = read.judge(file.format.as_ref(), |word| match word.as_str() {
        "json" => Ok(LogFormat::Json),
        "human" => Ok(LogFormat::Human),
        other => Err(unknown("format", other, &["json", "human"])),
    });
    let level = read.judge(file.level.as_ref(), |word| {
        word.parse().map_err(|_| unknown("level", word, &["error", "warn", "info", "debug", "trace"]))
    });
    Log { format, level }
}

/// Settings of the plan that this version does not know how to keep are refused: silence would be a false promise.
fn refuse_what_comes_later(read: &mut Reader<'_>, file: &File) {
    read.not_yet(file.listen.trusted_proxies.as_ref(), "trusted_proxies", "trusting a proxy");
    read.not_yet(file.store.url.as_ref(), "url", "a shared store");
    if file.admin.enabled.as_ref().is_some_and(|enabled| *enabled.get_ref()) {
        read.not_yet(file.admin.enabled.as_ref(), "enabled", "the admin listener");
    }
    for name in file.key.keys() {
        let message = "keys in the file do not work in this version: make one with `keymoat key create NAME`";
        read.report(name.span(), message.to_owned());
    }
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
        self.data = in_plain_text(data).map_err(|message| anyhow::anyhow!("--listen: {message}"))?;
        match &mut self.tls {
            Tls::Disabled => {}
            Tls::SelfSigned { listen } | Tls::Provided { listen, .. } => *listen = tls_address_beside(data),
        }
        Ok(())
    }
}

/// Lets an address pass where plain text may be served.
fn in_plain_text(address: SocketAddr) -> Result<SocketAddr, String> {
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("plain text beyond loopback would show every credential to the network: write 127.0.0.1 here, and serve others \
         with `data_tls` in [listen] and a mode in [tls]"
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
