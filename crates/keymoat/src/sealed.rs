//! Gives each upstream the secret that is sealed for it in the store, unless the configuration names another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keymoat_store::{SecretChange, SecretState, Store};

use crate::config::{Config, Problem, Problems, check_secret, secret_in_plain_text};

/// The upstreams that take their secret from the store, each with the version that it has, if it has one.
pub(crate) type Taken = BTreeMap<Arc<str>, Option<u32>>;

/// Opens the sealed secrets of the upstreams that name none themselves.
///
/// # Errors
/// Every upstream that has two secrets, or one that does not open, and whatever the store refuses.
pub(crate) fn take(config: &mut Config, store: &Store) -> anyhow::Result<Taken> {
    let sealed: BTreeSet<Arc<str>> = live(store)?;
    let (mut taken, mut problems) = (Taken::new(), Vec::new());
    for upstream in &mut config.upstreams {
        let name = &upstream.name;
        if let Some(reference) = config.secret_references.get(&**name) {
            if sealed.contains(name) {
                problems.push(Problem::overall(format!(
                    "upstream `{name}` has two secrets, {reference} by the configuration and a sealed one in the store, \
                     and neither wins: take `secret` out of [upstream.{name}], or run `keymoat upstream remove {name}`"
                )));
            }
            continue;
        }
        if upstream.secret.is_some() {
            continue;
        }
        let opened = match store.open_secret(name) {
            Err(error) => {
                problems.push(Problem::overall(error.to_string()));
                continue;
            }
            Ok(opened) => opened,
        };
        if let Some((_, secret)) = &opened
            && let Err(message) = check_secret(name, secret)
        {
            problems.push(Problem::overall(message));
            continue;
        }
        taken.insert(Arc::clone(name), opened.as_ref().map(|(version, _)| *version));
        upstream.secret = opened.map(|(_, secret)| secret);
        config.warnings.extend(secret_in_plain_text(upstream));
    }
    if problems.is_empty() { Ok(taken) } else { Err(Problems { problems, watched: config.watched.clone() }.into()) }
}

/// The upstreams that have a sealed secret.
///
/// # Errors
/// Whatever the store refuses.
pub(crate) fn live(store: &Store) -> anyhow::Result<BTreeSet<Arc<str>>> {
    let secrets = store.sealed_secrets()?.into_iter();
    Ok(secrets.filter(|secret| secret.retired_at.is_none()).map(|secret| secret.upstream).collect())
}

/// Whether a secret was sealed or removed that an upstream takes from the store, so that a reload takes it over.
pub(crate) fn is_news(taken: &Taken, SecretChange { upstream, becomes }: &SecretChange) -> bool {
    let Some(in_use) = taken.get(upstream) else { return false };
    match becomes {
        SecretState::Opened { version, .. } => *in_use != Some(*version),
        SecretState::Removed => in_use.is_some(),
        SecretState::Unopenable(error) => {
            tracing::error!(%upstream, %error, "a sealed secret does not open: the one in use stays");
            false
        }
    }
}
