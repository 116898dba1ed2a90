//! `keymoat upstream test`: asks an upstream once with its secret, as the gateway would, and says what was seen.

use std::fmt::Write;

use anyhow::Context;
use http::Uri;
use keymoat_admin::{GEMINI_TARGET, OPENAI_TARGET, Verdict, verdict};
use keymoat_core::Dialect;
use keymoat_gateway::settings::Upstream;
use keymoat_gateway::{Certificate, Probe, probe};
use serde::Serialize;

use super::store_choice::{StoreChoice, is_there, open};
use super::{Found, print, to_json};
use crate::config::{self, StoreConfig};
use crate::output::time::now;
use crate::sealed::{self, Sealed, Taken};

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
    let mut config = config::load(choice.file(), &config::environment())?;
    let taken = match is_there(&place.dir, place.database.as_ref()) {
        true => sealed::take(&mut config, &open(place)?)?,
        false => Taken::new(),
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
    let asked = Asked {
        own_call: dialect != Dialect::Generic && arguments.path.is_none(),
        has_secret: upstream.secret.is_some(),
        shown: Shown { upstream: &arguments.name, url: url(&upstream), secret, path: target.path().to_owned() },
    };
    let seen = probe(upstream, &target, &config.limits)?;
    let days_left = seen.certificate.as_ref().map(|one| one.not_after_secs.saturating_sub(now().0 / 1000) / 86_400);
    let verdict = asked.verdict(&seen);
    print(&if as_json { asked.json(&seen, days_left, &verdict)? } else { asked.text(&seen, days_left) })?;
    match verdict {
        Ok(_) if as_json => Ok(()),
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => Err(error),
    }
}

/// What was asked for.
struct Asked<'a> {
    shown: Shown<'a>,
    /// Whether it is a call that is known to need a key.
    own_call: bool,
    has_secret: bool,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    upstream: &'a str,
    url: String,
    secret: String,
    path: String,
}

/// The JSON form.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    asked: &'a Shown<'a>,
    address: Option<String>,
    tls_version: Option<&'a str>,
    certificate_names: Option<&'a [String]>,
    certificate_days_left: Option<i64>,
    status: Option<u16>,
    is_well: bool,
    verdict: String,
}

impl Asked<'_> {
    fn json(&self, seen: &Probe, days_left: Option<i64>, verdict: &anyhow::Result<String>) -> anyhow::Result<String> {
        to_json(&Told {
            asked: &self.shown,
            address: seen.address.map(|address| address.to_string()),
            tls_version: seen.tls_version.as_deref(),
            certificate_names: seen.certificate.as_ref().map(|certificate| certificate.names.as_slice()),
            certificate_days_left: days_left,
            status: seen.answer.as_ref().map(|answer| answer.status),
            is_well: verdict.is_ok(),
            verdict: verdict.as_ref().map_or_else(ToString::to_string, Clone::clone),
        })
    }

    /// One line for each step that was taken.
    fn text(&self, seen: &Probe, days_left: Option<i64>) -> String {
        let Shown { upstream, url, secret, path } = &self.shown;
        let mut text = format!("upstream {upstream}: {url}, secret {secret}\n");
        if let Some(address) = seen.address {
            let _ = writeln!(text, "connected to {address}");
        }
        if let Some(version) = &seen.tls_version {
            let _ = write!(text, "{version}, trusted certificate");
            if let (Some(certificate), Some(days)) = (&seen.certificate, days_left) {
                let _ = write!(text, " of {}, {days} days left", names(certificate));
            }
            text.push('\n');
        }
        if let Some(answer) = &seen.answer {
            let _ = writeln!(text, "GET {path} was answered with {}", answer.status);
        }
        text
    }

    fn verdict(&self, seen: &Probe) -> anyhow::Result<String> {
        match verdict(seen, self.own_call, self.has_secret) {
            Verdict::Well(text) => Ok(text.to_owned()),
            Verdict::NotWell(text) => Err(Found(text.to_owned()).into()),
            Verdict::NotAsked(text) => Err(anyhow::anyhow!(text)),
        }
    }
}

/// The first names of a certificate. They come from outside, and a terminal would obey some characters.
fn names(certificate: &Certificate) -> String {
    const SHOWN: usize = 3;
    let first: Vec<String> = certificate.names.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
    let first = first.join(", ");
    match certificate.names.len().saturating_sub(SHOWN) {
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
