//! One `[key.NAME]`: a key that is kept in the file, for platforms without a disk.

use std::sync::Arc;

use keymoat_core::credential::UNGUESSABLE_BYTES_MIN;
use keymoat_core::format::{NearMiss, Shape, canonical};
use keymoat_core::limits::{PACE_MAX, PER_DAY_MAX};
use keymoat_core::{Dialect, KeyLimits, Pace, Route, Scopes, Secret, UnixMillis};

use super::Reader;
use super::file::{self, At};
use super::limits::{bytes_within, count, duration};
use super::problem::unknown;
use super::route::day;

/// A longer one is refused wherever it is presented.
const BYTES_MAX: usize = 1 << 10;

/// A key of the configuration. It is digested like one of the store, and never written there.
#[derive(Debug)]
pub(crate) struct ConfiguredKey {
    /// `file_NAME`, or `env_1` and on.
    pub(crate) id: Arc<str>,
    /// What people call it.
    pub(crate) name: Arc<str>,
    /// Where it may be used.
    pub(crate) scopes: Scopes,
    /// The key itself, in its canonical form.
    pub(crate) secret: Secret,
    /// The one that it replaces, and when that ends.
    pub(crate) previous: Option<(Secret, Option<UnixMillis>)>,
    /// When it should be replaced.
    pub(crate) rotate_after: Option<UnixMillis>,
    /// How much may be done with it.
    pub(crate) limits: KeyLimits,
}

impl ConfiguredKey {
    /// Its secrets, the one in use first.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.secret).chain(self.previous.iter().map(|(secret, _)| secret))
    }

    /// A key without anything but its secret, which may be used everywhere.
    pub(crate) fn plain(id: &str, secret: Secret) -> Self {
        Self {
            id: id.into(),
            name: id.into(),
            scopes: Scopes::All,
            secret,
            previous: None,
            rotate_after: None,
            limits: KeyLimits::default(),
        }
    }
}

/// Reads one key; problems are noted in `read`, and then there is none. `routes` are the names in the
/// file, `served` those that are in order.
pub(crate) fn key(
    read: &mut Reader<'_>,
    name: &At<String>,
    file: &file::Key,
    routes: &[&str],
    served: &[Route],
) -> Option<ConfiguredKey> {
    read.name("key", name);
    let scopes = file.scopes.as_ref().map_or(Some(Scopes::All), |written| scopes(read, name, written, routes));
    let Some(written) = &file.secret else {
        let message = format!("key `{}` has no secret: write secret = \"${{file:/path/to/key}}\"", name.get_ref());
        read.report(name.span(), message);
        return None;
    };
    let secret = fetched(read, name, written);
    let previous = file.previous_secret.as_ref().map(|written| fetched(read, name, written));
    let until = file.previous_until.as_ref();
    if let (Some(until), None) = (until, &previous) {
        read.report(
            until.span(),
            "`previous_until` ends `previous_secret`, and there is none: leave it out".to_owned(),
        );
    }
    let until = read.judge(until, day);
    let rotate_after = read.judge(file.rotate_after.as_ref(), day);
    let limits = file.limits.as_ref().map_or(Some(KeyLimits::default()), |written| limits(read, written));
    let previous = match previous {
        None => None,
        Some(secret) => Some((secret?, until)),
    };
    let (secret, scopes, limits) = (secret?, scopes?, limits?);
    if let Some((old, _)) = &previous
        && old.matches(&secret)
    {
        let message = format!("`secret` and `previous_secret` of key `{}` are the same one", name.get_ref());
        read.report(name.span(), message);
    }
    if let Some(written) = &file.limits {
        refuse_unheld(read, written, &limits, &scopes, served);
    }
    let id = format!("file_{}", name.get_ref()).into();
    let name = name.get_ref().as_str().into();
    Some(ConfiguredKey { id, name, scopes, secret, previous, rotate_after, limits })
}

/// The secret that a value refers to, in its canonical form.
fn fetched(read: &mut Reader<'_>, name: &At<String>, written: &At<String>) -> Option<Secret> {
    let (secret, _) = read.fetch(written)?;
    let what = format!("key `{}`", name.get_ref());
    let (secret, remark) = checked(secret, &what).map_err(|message| read.report(written.span(), message)).ok()?;
    if let Some(remark) = remark {
        read.warn(remark);
    }
    Some(secret)
}

/// A list of models holds only where a model can be read.
fn refuse_unheld(
    read: &mut Reader<'_>,
    written: &At<file::KeyLimits>,
    limits: &KeyLimits,
    scopes: &Scopes,
    served: &[Route],
) {
    let span = || written.get_ref().models.as_ref().map_or_else(|| written.span(), At::span);
    if limits.models.is_empty() {
        return;
    }
    for route in served.iter().filter(|route| route.dialect == Dialect::Generic && scopes.allow(&route.name)) {
        let message = format!(
            "route `{}` is generic, where no model can be read and the key is refused: leave the route out of its `scopes`",
            route.name
        );
        read.report(span(), message);
    }
}

/// Reads the limits of a key.
fn limits(read: &mut Reader<'_>, written: &At<file::KeyLimits>) -> Option<KeyLimits> {
    let file::KeyLimits {
        requests_per_second,
        burst,
        requests_per_day,
        bytes_per_day,
        sessions,
        session_duration,
        session_bytes,
        models,
    } = written.get_ref();
    let pace_max = usize::try_from(PACE_MAX).unwrap_or(usize::MAX);
    let few = |number: &i64| count(*number, pace_max).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let many = |number: &i64| {
        u64::try_from(*number)
            .ok()
            .filter(|number| (1..=PER_DAY_MAX).contains(number))
            .ok_or_else(|| format!("this is out of bounds: write a number from 1 to {PER_DAY_MAX}"))
    };
    let size = |size: &file::Quantity| bytes_within::<u64>(size, 1, PER_DAY_MAX);
    let mut is_sound = true;
    // What is written and cannot be read is no limit, and so there must be no key.
    macro_rules! read_limit {
        ($written:expr, $parse:expr) => {{
            let value = read.judge($written.as_ref(), $parse);
            is_sound &= value.is_some() || $written.is_none();
            value
        }};
    }
    let per_second = read_limit!(requests_per_second, few);
    let at_once = read_limit!(burst, few);
    if let (Some(burst), None) = (burst, requests_per_second) {
        read.report(burst.span(), "`burst` goes with `requests_per_second`: write that, too".to_owned());
    }
    let secs = |quantity: &file::Quantity| duration(quantity).map(|duration| duration.as_secs().max(1));
    let limits = KeyLimits {
        requests_per_second: per_second.map(|per_second| Pace { per_second, burst: at_once.unwrap_or(per_second) }),
        requests_per_day: read_limit!(requests_per_day, many),
        bytes_per_day: read_limit!(bytes_per_day, size),
        sessions: read_limit!(sessions, few),
        session_duration_secs: read_limit!(session_duration, secs),
        session_bytes: read_limit!(session_bytes, size),
        models: models.iter().flat_map(At::get_ref).map(|model| model.get_ref().as_str().into()).collect(),
    };
    if models.as_ref().is_some_and(|models| models.get_ref().is_empty()) {
        read.report(written.span(), "an empty list of models allows none: name some, or leave it out".to_owned());
    }
    let span = models.as_ref().map_or_else(|| written.span(), At::span);
    let checked = limits.check().map_err(|error| read.report(span, error.to_string()));
    (is_sound && checked.is_ok()).then_some(limits)
}

/// The canonical form of a key that clients are to come with, and what should be known of it.
///
/// # Errors
/// It is nothing that a client could present, or not a key at all.
pub(crate) fn checked(secret: Secret, what: &str) -> Result<(Secret, Option<String>), String> {
    if secret.len() > BYTES_MAX {
        return Err(format!("{what} is longer than 1 KiB, and no request may bring such a one"));
    }
    // Looked at and forgotten.
    let text = secret.expose();
    if !text.iter().all(u8::is_ascii_graphic) || text.is_empty() {
        return Err(format!("{what} is empty or has a space in it, and no request could bring it"));
    }
    if text == b"undefined" || text == b"null" {
        return Err(format!("{what} is what a script writes for want of a key"));
    }
    let (secret, shape) = canonical(secret);
    let remark = match shape {
        Shape::Key => None,
        Shape::Token { .. } => return Err(format!("{what} is a token: keys start with `km_`")),
        Shape::NearMiss(NearMiss::Admin) => return Err(format!("{what} is an admin credential")),
        Shape::NearMiss(miss) => Some(format!("{what} is almost one of Keymoat's: {}", miss.hint())),
        Shape::Foreign if secret.len() < UNGUESSABLE_BYTES_MIN => {
            Some(format!("{what} has {} characters and can be guessed: replace it", secret.len()))
        }
        Shape::Foreign => Some(format!(
            "{what} has no checksum, so that scanners cannot find it where it leaked: replace it with one of `keymoat key create`"
        )),
    };
    Ok((secret, remark))
}

fn scopes(read: &mut Reader<'_>, name: &At<String>, written: &[At<String>], routes: &[&str]) -> Option<Scopes> {
    if written.is_empty() {
        read.report(name.span(), format!("key `{}` may be used nowhere: write scopes = [\"ROUTE\"]", name.get_ref()));
        return None;
    }
    let known: Vec<&str> = routes.iter().copied().chain(["mint", "*"]).collect();
    let mut well_formed = true;
    for word in written {
        let judged = |word: &String| match known.contains(&word.as_str()) {
            true => Ok(()),
            false => Err(unknown("scope", word, &known)),
        };
        well_formed &= read.judge(Some(word), judged).is_some();
    }
    well_formed.then(|| Scopes::from_words(written.iter().map(|word| word.get_ref().as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_client_could_present_is_refused_and_never_repeated() {
        for bad in ["", "can ary", "undefined", &"canary".repeat(200), "kma_canarycanarycanarycanary"] {
            let error = checked(Secret::from(bad), "key `x`").expect_err(bad);
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_key_of_another_shape_is_taken_with_a_remark() {
        let remark = |text: &str| checked(Secret::from(text), "key `x`").expect("taken").1.expect("a remark");
        assert!(remark("k1").contains("can be guessed"));
        assert!(remark("a-key-of-some-other-maker").contains("no checksum"));
    }
}
