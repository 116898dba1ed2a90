//! Gives each upstream the secret that is sealed for it in the store, unless the configuration names another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keymoat_store::{SecretChange, SecretState, Store, StoreError};

use crate::config::{Config, Problem, Problems, check_secret, secret_in_plain_text};

/// The upstreams that take their secret from the store, each with what is there for it.
pub(crate) type Taken = BTreeMap<Arc<str>, Sealed>;

/// What the store has for an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// No secret.
    None,
    /// A secret of this version, which is in use.
    Version(u32),
    /// A secret that does not open.
    Unopenable,
}

/// Opens the sealed secrets of the upstreams that name none themselves. Nothing will be sent to an upstream whose secret
/// does not open, and the others are served.
///
/// # Errors
/// Every upstream that has two secrets, and whatever the store refuses.
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
            Err(error @ StoreError::SecretUnopenable { .. }) => {
                taken.insert(Arc::clone(name), Sealed::Unopenable);
                upstream.withheld = Some(error.to_string().into());
                continue;
            }
            Err(error) => return Err(error.into()),
            Ok(opened) => opened,
        };
        if let Some((_, secret)) = &opened
            && let Err(message) = check_secret(name, secret)
        {
            problems.push(Problem::overall(message));
            continue;
        }
        taken.insert(Arc::clone(name), opened.as_ref().map_or(Sealed::None, |(version, _)| Sealed::Version(*version)));
        upstream.secret = opened.map(|(_, secret)| secret);
        config.warnings.extend(secret_in_plain_text(upstream));
    }
    if problems.is_empty() { Ok(taken) } else { Err(Problems { problems, watched: config.watched.clone() }.into()) }
}

/// Tells the log of every upstream that nothing is sent to.
pub(crate) fn tell_withheld(config: &Config) {
    for upstream in &config.upstreams {
        if let Some(why) = &upstream.withheld {
            tracing::error!(upstream = %upstream.name, "{why}; until then its requests are answered 503");
        }
    }
}

/// Refuses what a gateway would start with all the same: an upstream whose secret does not open.
///
/// # Errors
/// Every such upstream, with what to do.
pub(crate) fn demand_all_open(config: &Config) -> Result<(), Problems> {
    demand(config, |_| true)
}

/// Refuses to lose a secret that is in use, because the one in the store does not open any more.
///
/// # Errors
/// Every such upstream, with what to do.
pub(crate) fn demand_none_lost(config: &Config, in_use: &Taken) -> Result<(), Problems> {
    demand(config, |upstream| matches!(in_use.get(upstream), Some(Sealed::Version(_))))
}

/// Every upstream of these that nothing may be sent to is a problem.
fn demand(config: &Config, is_meant: impl Fn(&str) -> bool) -> Result<(), Problems> {
    let meant = config.upstreams.iter().filter(|upstream| is_meant(&upstream.name));
    let withheld = meant.filter_map(|upstream| upstream.withheld.as_ref());
    let problems: Vec<_> = withheld.map(|why| Problem::overall(why.to_string())).collect();
    if problems.is_empty() { Ok(()) } else { Err(Problems { problems, watched: config.watched.clone() }) }
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
        SecretState::Opened { version, .. } => *in_use != Sealed::Version(*version),
        SecretState::Removed => *in_use != Sealed::None,
        SecretState::Unopenable(error) => {
            if let Sealed::Version(_) = in_use {
                tracing::error!(%upstream, %error, "a sealed secret does not open: the one in use stays");
            }
            // Without one in use it must not be asked without any.
            *in_use == Sealed::None
        }
    }
}
