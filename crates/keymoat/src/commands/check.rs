//! `keymoat check`: says whether `keymoat serve` would take a configuration.

use std::path::{Path, PathBuf};

use anyhow::Context;
use keymoat_core::{Route, RouteOverride};
use keymoat_gateway::settings::Upstream;
use keymoat_gateway::tls;
use serde::Serialize;

use super::store_choice::{is_there, open_at};
use super::{print, remark, to_json};
use crate::config::{self, Config, DEFAULT_FILE, Tls};
use crate::output::time::rfc3339;
use crate::sealed::{self, Sealed, Taken};
use crate::wiring;

/// Checks a configuration as `keymoat serve` would read it, secrets included.
///
/// Every mistake is told with file, line and column, and of each upstream where its secret comes from. Nothing is
/// started and no secret is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file.
    #[arg(default_value = DEFAULT_FILE)]
    file: PathBuf,
    /// Prints JSON; what is wrong is told in words, with exit code 2.
    #[arg(long)]
    json: bool,
}

/// Reads the configuration and the files that it names.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut config = config::load(&arguments.file, &config::environment())?;
    check_certificates(&config)?;
    let database = config.database.as_ref();
    let store = match is_there(&config.store_dir, database) {
        true => Some(open_at(&config.store_dir, database, &config.master_key)?),
        false => None,
    };
    let taken = store.as_ref().map_or_else(|| Ok(Taken::new()), |store| sealed::take(&mut config, store))?;
    sealed::demand_all_open(&config)?;
    if let Some(store) = &store {
        for idle in sealed::live(store)?.iter().filter(|name| !taken.contains_key(*name)) {
            config.warnings.push(format!("the store has a sealed secret of `{idle}`, which is no upstream here"));
        }
    }
    if let Some(store) = &store {
        config.warnings.extend(of_overrides(&store.route_overrides()?, &config.routes));
    }
    if arguments.json {
        return print(&to_json(&Well::of(&arguments.file, &config, &taken, store.is_some()))?);
    }
    for warning in &config.warnings {
        remark(&format!("keymoat: warning: {warning}"));
    }
    let file = arguments.file.display();
    let store = store_line(&config, store.is_some());
    print(&format!("{file} is well: {}\n{store}{}", inventory(&config), secrets(&config, &taken)))
}

/// A configuration that is well, in JSON.
#[derive(Debug, Serialize)]
struct Well<'a> {
    file: &'a Path,
    routes: Vec<WellRoute<'a>>,
    upstreams: Vec<WellUpstream<'a>>,
    store: &'a Path,
    store_exists: bool,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct WellRoute<'a> {
    name: &'a str,
    upstream: &'a str,
}

#[derive(Debug, Serialize)]
struct WellUpstream<'a> {
    name: &'a str,
    /// Where its secret comes from.
    secret: String,
}

impl<'a> Well<'a> {
    fn of(file: &'a Path, config: &'a Config, taken: &Taken, store_exists: bool) -> Self {
        let routes = config.routes.iter().map(|route| WellRoute { name: &route.name, upstream: &route.upstream });
        let upstreams = config.upstreams.iter();
        let upstreams = upstreams.map(|one| WellUpstream { name: &one.name, secret: secret(one, config, taken) });
        Self {
            file,
            routes: routes.collect(),
            upstreams: upstreams.collect(),
            store: &config.store_dir,
            store_exists,
            warnings: &config.warnings,
        }
    }
}

/// What is said of overrides: each that holds, each that says what the file says too, and each of a route that is gone.
fn of_overrides(overrides: &[RouteOverride], routes: &[Route]) -> Vec<String> {
    let said = overrides.iter().map(|over| {
        let name = &over.route;
        let undo = format!("remove it with `keymoat sunset enforce --undo --route {name}`");
        match routes.iter().find(|route| route.name == *name) {
            None => format!("the store overrides route `{name}`, which is no route here"),
            Some(route) if over.is_void(route) => {
                format!("the override of route `{name}` in the store is void, because the file says the same: {undo}")
            }
            Some(_) => {
                let lines = over.toml(rfc3339).lines().skip(1).collect::<Vec<_>>().join(", ");
                format!(
                    "the store overrides route `{name}` since {} ({}): to make it permanent write {lines} there, or {undo}",
                    rfc3339(over.made_at),
                    over.made_by
                )
            }
        }
    });
    said.collect()
}

/// Reads every certificate file that the configuration names.
fn check_certificates(config: &Config) -> anyhow::Result<()> {
    if let Tls::Provided { cert, key, .. } = &config.tls {
        tls::server::from_files(cert, key, &config.tls_demands).context(wiring::CERTIFICATE)?;
    }
    tls::server::check(&config.tls_demands).context("[tls] client_ca")?;
    for upstream in &config.upstreams {
        tls::client::config(upstream.ca_file.as_deref(), tls::client::Alpn::Http1)
            .with_context(|| format!("[upstream.{}] ca", upstream.name))?;
    }
    Ok(())
}

fn inventory(config: &Config) -> String {
    let routes: Vec<String> =
        config.routes.iter().map(|route| format!("{} → {}", route.name, route.upstream)).collect();
    format!("{} ({})", if routes.len() == 1 { "1 route" } else { "routes" }, routes.join(", "))
}

fn store_line(config: &Config, is_there: bool) -> String {
    let (dir, place) = (config.store_dir.display(), config.master_key.place(&config.store_dir));
    if config.database.is_some() {
        return format!("store in a PostgreSQL database, this node's own folder `{dir}`, master key at {place}\n");
    }
    if is_there { format!("store `{dir}`, master key at {place}\n") } else { format!("store `{dir}`, not made yet\n") }
}

/// Of each upstream where its secret comes from.
fn secrets(config: &Config, taken: &Taken) -> String {
    let line = |upstream: &Upstream| format!("upstream {}: {}\n", upstream.name, secret(upstream, config, taken));
    config.upstreams.iter().map(line).collect()
}

fn secret(upstream: &Upstream, config: &Config, taken: &Taken) -> String {
    let name = &upstream.name;
    match (config.secret_references.get(&**name), taken.get(name)) {
        (Some(reference), _) => format!("secret from {reference}"),
        (None, Some(Sealed::Version(version))) => format!("secret sealed in the store, version {version}"),
        (None, _) => "no secret".to_owned(),
    }
}
