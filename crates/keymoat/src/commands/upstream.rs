//! `keymoat upstream`: keeps the real API keys of upstreams, sealed, in the store, and tries them.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use keymoat_core::{Secret, UnixMillis};
use keymoat_store::SealedSecret;
use serde::Serialize;

use super::store_choice::{StoreChoice, open, open_existing};
use super::{print, remark, table, to_json, upstream_test};
use crate::config::{self, StoreConfig};
use crate::hand::{Expected, Hand};
use crate::output::time::{now, rfc3339};
use crate::process;

/// Seals, lists, replaces, removes and tries the real API keys of upstreams.
///
/// A sealed secret is encrypted in the store and can be opened with the master key only; no command shows it. An
/// `[upstream.NAME]` without `secret` uses the one of its name.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    store: StoreChoice,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Seals the secret of an upstream that has none.
    Add(Entry),
    /// Lists all versions of all sealed secrets, without the secrets.
    List,
    /// Seals another secret in place of the one that an upstream has; nobody can open that one any more.
    Rotate(Entry),
    /// Removes the sealed secret of an upstream.
    Remove {
        /// The NAME of [upstream.NAME].
        name: String,
    },
    Test(upstream_test::Arguments),
}

#[derive(Debug, clap::Args)]
struct Entry {
    /// The NAME of [upstream.NAME].
    name: String,
    /// The file with the secret; `-` reads standard input.
    #[arg(long, value_name = "PATH")]
    secret_file: PathBuf,
}

/// Does what is asked.
///
/// # Errors
/// What the store refuses, and a secret that cannot be read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for warning in process::keep_memory_private() {
        remark(&format!("keymoat: warning: {warning}"));
    }
    let config = arguments.store.configured()?;
    let first = "seal a first secret with `keymoat upstream add NAME --secret-file PATH`";
    let (secret, done) = match &arguments.action {
        Action::Add(Entry { name, secret_file }) => {
            let secret = read_secret(name, secret_file)?;
            let store = open(&config)?;
            let sealed = Hand::on(&store, &config.dir).seal_secret(name, &secret, Expected::None, now())?;
            warn_of_configuration(&config, name);
            (sealed, "sealed: running gateways use it within a moment")
        }
        Action::Rotate(Entry { name, secret_file }) => {
            let store = open_existing(&config, first)?;
            let secret = read_secret(name, secret_file)?;
            let sealed = Hand::on(&store, &config.dir).seal_secret(name, &secret, Expected::Sealed, now())?;
            (sealed, "sealed: running gateways use it within a moment. Revoke the one before at its provider")
        }
        Action::Remove { name } => {
            let store = open_existing(&config, first)?;
            let removed = Hand::on(&store, &config.dir).remove_secret(name, now())?;
            (removed, "removed. Revoke it at its provider, if nobody needs it any more")
        }
        Action::Test(test) => return upstream_test::run(test, &arguments.store, &config, arguments.store.json),
        Action::List => {
            let store = open_existing(&config, first)?;
            let secrets = Hand::on(&store, &config.dir).sealed_secrets()?;
            let json = || to_json(&secrets.iter().map(Shown::of).collect::<Vec<_>>());
            return print(&if arguments.store.json { json()? } else { listed(&secrets) });
        }
    };
    if arguments.store.json {
        return print(&to_json(&Shown::of(&secret))?);
    }
    print(&format!("the secret of upstream {}, version {}, is {done}\n", secret.upstream, secret.version))
}

fn read_secret(upstream: &str, secret_file: &Path) -> anyhow::Result<Secret> {
    let (secret, warning) = config::secret_from(secret_file)?;
    config::check_secret(upstream, &secret).map_err(anyhow::Error::msg)?;
    if let Some(warning) = warning {
        remark(&format!("keymoat: warning: {warning}"));
    }
    Ok(secret)
}

/// A secret that the configuration does not ask for, or has already, is sealed in vain.
fn warn_of_configuration(config: &StoreConfig, name: &str) {
    let Some(upstreams) = &config.upstreams else { return };
    match upstreams.get(name) {
        Some(false) => {}
        Some(true) => remark(&format!(
            "keymoat: warning: the configuration names a secret of upstream `{name}` too: take `secret` out of \
             [upstream.{name}], or `keymoat serve` will refuse to choose"
        )),
        None => remark(&format!("keymoat: warning: the configuration has no [upstream.{name}] that would use it")),
    }
}

/// A sealed secret in JSON, without the secret.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    upstream: &'a str,
    version: u32,
    state: &'static str,
    created_at: String,
    retired_at: Option<String>,
}

impl<'a> Shown<'a> {
    fn of(secret: &'a SealedSecret) -> Self {
        Self {
            upstream: &secret.upstream,
            version: secret.version,
            state: state(secret),
            created_at: rfc3339(secret.created_at),
            retired_at: secret.retired_at.map(rfc3339),
        }
    }
}

fn state(secret: &SealedSecret) -> &'static str {
    if secret.retired_at.is_none() { "sealed" } else { "retired" }
}

fn listed(secrets: &[SealedSecret]) -> String {
    if secrets.is_empty() {
        return "no sealed secrets yet: seal one with `keymoat upstream add NAME --secret-file PATH`\n".to_owned();
    }
    let day = |at: UnixMillis| rfc3339(at).chars().take(10).collect::<String>();
    let rows = secrets.iter().map(|secret| {
        let retired = secret.retired_at.map_or_else(|| "-".to_owned(), day);
        [
            secret.upstream.to_string(),
            secret.version.to_string(),
            state(secret).to_owned(),
            day(secret.created_at),
            retired,
        ]
    });
    table(["UPSTREAM", "VERSION", "STATE", "CREATED", "RETIRED"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_listed_in_columns_with_their_state() {
        let created_at = UnixMillis(1_763_771_332_005);
        let live = SealedSecret { upstream: "openai".into(), version: 12, created_at, retired_at: None };
        let retired =
            SealedSecret { upstream: "gemini".into(), version: 1, retired_at: Some(created_at), ..live.clone() };
        insta::assert_snapshot!(listed(&[retired, live]), @r"
        UPSTREAM  VERSION  STATE    CREATED     RETIRED
        gemini    1        retired  2025-11-22  2025-11-22
        openai    12       sealed   2025-11-22  -
        ");
        assert!(listed(&[]).contains("keymoat upstream add"));
    }
}
