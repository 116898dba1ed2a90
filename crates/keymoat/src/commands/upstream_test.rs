//! `keymoat upstream test`: asks an upstream once with its secret, as the gateway would, and says what was seen.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use http::{Method, Uri};
use keymoat_admin::{GEMINI_TARGET, OPENAI_TARGET, Verdict, verdict};
use keymoat_core::{Action, Dialect};
use keymoat_gateway::settings::Upstream;
use keymoat_gateway::{Certificate, probe};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::session::path_segment;
use super::store_choice::{StoreChoice, is_there, open};
use super::{Found, print, to_json};
use crate::config::{self, StoreConfig};
use crate::observed::tell_of_command;
use crate::output::time::now;
use crate::sealed::{self, Sealed, Taken};
use crate::socket::Socket;

/// Asks an upstream once with its secret, and says what it saw: address, TLS, certificate, answer.
///
/// It goes the way that requests go: the same addresses are refused and the same certificates. The secret is sent to
/// the upstream and shown nowhere. Exit codes: 0 well, 1 it answered, but not well, 2 it could not be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The NAME of [upstream.NAME].
    name: String,
    /// What is asked for with GET; it must change nothing [default: /v1beta/models?pageSize=1 for Gemini, /v1/models for OpenAI, otherwise /].
    #[arg(long, value_name = "PATH", value_parser = target)]
    path: Option<Uri>,
}

/// Asks, and tells.
///
/// # Errors
/// A configuration or store that cannot be used, an upstream that cannot be reached or trusted, and an answer that is not
/// well.
pub(crate) fn run(
    arguments: &Arguments,
    choice: &StoreChoice,
    place: &StoreConfig,
    as_json: bool,
) -> anyhow::Result<()> {
    if let Some(server) = Socket::of_store(&place.dir) {
        return by_server(server, &place.dir, arguments, as_json);
    }
    let mut config = config::load(choice.file(), &config::environment())?;
    let store = match is_there(&place.dir, place.database.as_ref()) {
        true => Some(open(place)?),
        false => None,
    };
    let taken = match &store {
        Some(store) => sealed::take(&mut config, store)?,
        None => Taken::new(),
    };
    let names: Vec<String> = config.upstreams.iter().map(|upstream| format!("`{}`", upstream.name)).collect();
    let upstream = config.upstreams.into_iter().find(|upstream| *upstream.name == *arguments.name);
    let upstream = upstream.with_context(|| {
        format!("{} has no upstream of that name, but {}", choice.file().display(), names.join(" and "))
    })?;
    if let Some(why) = upstream.withheld {
        anyhow::bail!("{why}");
    }
    let dialect = config.dialects.get(&arguments.name).copied().unwrap_or(Dialect::Generic);
    let target = match (&arguments.path, dialect) {
        (Some(path), _) => path.clone(),
        (None, Dialect::Gemini) => Uri::from_static(GEMINI_TARGET),
        (None, Dialect::OpenAi) => Uri::from_static(OPENAI_TARGET),
        (None, Dialect::Generic) => Uri::from_static("/"),
    };
    let secret = match (config.secret_references.get(&arguments.name), taken.get(&upstream.name)) {
        (Some(reference), _) => format!("from {reference}"),
        (None, Some(Sealed::Version(version))) => format!("sealed in the store, version {version}"),
        (None, _) => "none".to_owned(),
    };
    let own_call = dialect != Dialect::Generic && arguments.path.is_none();
    let has_secret = upstream.secret.is_some();
    let url = url(&upstream);
    let seen = probe(upstream, &target, &config.limits)?;
    let days_left = |one: &Certificate| one.not_after_secs.saturating_sub(now().0 / 1000) / 86_400;
    let told = Told {
        upstream: arguments.name.clone(),
        url,
        secret,
        path: target.path().to_owned(),
        address: seen.address.map(|address| address.to_string()),
        certificate_days_left: seen.certificate.as_ref().map(days_left),
        certificate_names: seen.certificate.as_ref().map(|certificate| certificate.names.clone()),
        status: seen.answer.as_ref().map(|answer| answer.status),
        verdict: match verdict(&seen, own_call, has_secret) {
            Verdict::Well(text) => Outcome::Well(text.to_owned()),
            Verdict::NotWell(text) => Outcome::NotWell(text.to_owned()),
            Verdict::NotAsked(text) => Outcome::NotAsked(text),
        },
        tls_version: seen.tls_version,
    };
    if let Some(store) = &store {
        tell_of_command(store, Action::UpstreamTested, &arguments.name, Some(told.verdict.text().to_owned()));
    }
    told.show(as_json)
}

/// Has the server ask that runs on the store: from where it runs, with the secret that it uses.
fn by_server(server: Socket, dir: &Path, arguments: &Arguments, as_json: bool) -> anyhow::Result<()> {
    let name = &arguments.name;
    let list = server.get("/api/v1/upstreams?limit=500")?;
    let list = list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name_of = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    let Some(upstream) = list.iter().find(|item| name_of(item).as_deref() == Some(name)) else {
        let names: Vec<String> = list.iter().filter_map(name_of).map(|name| format!("`{name}`")).collect();
        anyhow::bail!("the server on this store has no upstream of that name, but {}", names.join(" and "));
    };
    if let Some(why) = upstream.get("withheld").and_then(Value::as_str) {
        anyhow::bail!("{why}");
    }
    let server = Socket::of_store(dir).context("the server on this store has gone")?;
    let target = format!("/api/v1/upstreams/{}/test", path_segment(name));
    let body = json!({"path": arguments.path.as_ref().map(ToString::to_string)});
    let seen: Seen = serde_json::from_value(server.ask(Method::POST, &target, Some(&body))?)?;
    let (certificate_names, certificate_days_left) = seen.certificate.map(|one| (one.names, one.days_left)).unzip();
    let told = Told {
        upstream: name.clone(),
        url: seen.url,
        secret: match (seen.secret.reference, seen.secret.version) {
            (Some(reference), _) => format!("from {reference}"),
            (None, Some(version)) => format!("sealed in the store, version {version}"),
            (None, None) => seen.secret.source.replace('_', " "),
        },
        path: seen.path,
        address: seen.address,
        tls_version: seen.tls_version,
        certificate_names,
        certificate_days_left,
        status: seen.status,
        verdict: match (seen.ok, seen.status) {
            (true, _) => Outcome::Well(seen.detail),
            (false, Some(_)) => Outcome::NotWell(seen.detail),
            (false, None) => Outcome::NotAsked(seen.detail),
        },
    };
    told.show(as_json)
}

/// What the server has seen.
#[derive(Debug, Deserialize)]
struct Seen {
    ok: bool,
    detail: String,
    url: String,
    path: String,
    secret: SeenSecret,
    address: Option<String>,
    tls_version: Option<String>,
    certificate: Option<SeenCertificate>,
    status: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct SeenSecret {
    source: String,
    reference: Option<String>,
    version: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct SeenCertificate {
    names: Vec<String>,
    days_left: i64,
}

/// What was asked for and what was seen.
#[derive(Debug, Serialize)]
struct Told {
    upstream: String,
    url: String,
    secret: String,
    path: String,
    address: Option<String>,
    tls_version: Option<String>,
    certificate_names: Option<Vec<String>>,
    certificate_days_left: Option<i64>,
    status: Option<u16>,
    #[serde(skip)]
    verdict: Outcome,
}

/// The JSON form.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    told: &'a Told,
    is_well: bool,
    verdict: &'a str,
}

/// What that means.
#[derive(Debug)]
enum Outcome {
    Well(String),
    NotWell(String),
    NotAsked(String),
}

impl Outcome {
    fn text(&self) -> &str {
        let (Self::Well(text) | Self::NotWell(text) | Self::NotAsked(text)) = self;
        text
    }
}

impl Told {
    fn show(self, as_json: bool) -> anyhow::Result<()> {
        print(&if as_json { self.json()? } else { self.text() })?;
        match self.verdict {
            Outcome::Well(_) if as_json => Ok(()),
            Outcome::Well(text) => print(&format!("{text}\n")),
            Outcome::NotWell(text) => Err(Found(text).into()),
            Outcome::NotAsked(text) => Err(anyhow::anyhow!(text)),
        }
    }

    fn json(&self) -> anyhow::Result<String> {
        let (is_well, verdict) = (matches!(self.verdict, Outcome::Well(_)), self.verdict.text());
        to_json(&Printed { told: self, is_well, verdict })
    }

    /// One line for each step that was taken.
    fn text(&self) -> String {
        let mut text = format!("upstream {}: {}, secret {}\n", self.upstream, self.url, self.secret);
        if let Some(address) = &self.address {
            let _ = writeln!(text, "connected to {address}");
        }
        if let Some(version) = &self.tls_version {
            let _ = write!(text, "{version}, trusted certificate");
            if let (Some(certificate_names), Some(days)) = (&self.certificate_names, self.certificate_days_left) {
                let _ = write!(text, " of {}, {days} days left", names(certificate_names));
            }
            text.push('\n');
        }
        if let Some(status) = self.status {
            let _ = writeln!(text, "GET {} was answered with {status}", self.path);
        }
        text
    }
}

/// The first names of a certificate. They come from outside, and a terminal would obey some characters.
fn names(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let first: Vec<String> = names.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn url(upstream: &Upstream) -> String {
    let origin = &upstream.origin;
    let scheme = if origin.tls { "https" } else { "http" };
    let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
    format!("{scheme}://{host}:{}{}", origin.port, upstream.path_prefix)
}

/// Reads a path, with a query or without.
fn target(text: &str) -> Result<Uri, String> {
    let uri: Option<Uri> = text.starts_with('/').then(|| text.parse().ok()).flatten();
    uri.filter(|uri| uri.authority().is_none()).ok_or_else(|| "a path begins with `/`".to_owned())
}
