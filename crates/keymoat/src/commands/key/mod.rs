//! `keymoat key`: makes, shows, changes, rotates, takes over and revokes the keys that clients come with.

mod import;
mod limits;
mod rotate;
mod shown;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use keymoat_core::{Dialect, Key, KeyLimits, RotateAfter, Scopes, UnixMillis};
use keymoat_store::events::Durability;
use keymoat_store::{KeyChange, NewKey, Store};
use serde::Serialize;

use self::limits::NewLimit;
use self::shown::{Shown, Use, details, listed, scopes_text};
use super::store_choice::{StoreChoice, open, open_existing};
use super::{print, remark, to_json};
use crate::config;
use crate::hand::Hand;
use crate::output::time::{now, parse_rfc3339, rfc3339};

/// Makes, lists, shows, changes, rotates, imports and revokes keys.
///
/// A running gateway on the same store takes a change over within a second.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    store: StoreChoice,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Makes a key and prints it, once: it is kept as a digest only.
    Create {
        /// What people call it; unique among the keys that are not revoked.
        name: String,
        #[command(flatten)]
        terms: Terms,
    },
    /// Lists all keys, without their secrets.
    List,
    /// Shows one key, without its secrets.
    Show {
        /// Its id or name.
        key: String,
    },
    /// Changes what a key is called, where it may be used, its dates and its limits; the key itself stays.
    Change {
        /// Its id or name.
        key: String,
        /// Another name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Who answers for it from now on, or `none`.
        #[arg(long, value_name = "OWNER")]
        owner: Option<String>,
        /// A route that it may use from now on, `mint`, or `*` for all; repeatable, and replaces all that it has.
        #[arg(long = "scope", value_name = "ROUTE")]
        scopes: Vec<String>,
        /// When it ends: 90d, 12h, a time such as 2027-03-01T00:00:00Z, or `never`.
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        /// When to remind of a rotation: at an age of its secret (90d), a day or a time, or `never`.
        #[arg(long, value_name = "WHEN")]
        rotate_after: Option<String>,
        /// A limit to set, such as requests-per-second=5, or to lift, such as sessions=none; repeatable.
        #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = limits::parse)]
        limits: Vec<NewLimit>,
    },
    /// Gives a key another secret and prints it, once; the old one works on until the overlap has passed.
    ///
    /// Sessions that are open go on. A key has two secrets that work at most: while an old one still does, a further
    /// rotation is refused, so that a repeated command changes nothing.
    Rotate {
        /// Its id or name.
        key: String,
        /// How long the old secret goes on working: 24h, 7d; 0s ends it at once.
        #[arg(long, value_name = "TIME", default_value = "24h")]
        overlap: String,
        /// Does nothing, and succeeds, if the newest secret is younger than this, such as 30d: for timers.
        #[arg(long, value_name = "AGE")]
        if_older_than: Option<String>,
        /// Ends the older of two secrets that work, so that there is room for the new one.
        #[arg(long)]
        end_oldest: bool,
    },
    /// Ends the old secret of a key that is being rotated before its time; sessions that are open go on.
    Retire {
        /// Its id or name.
        key: String,
    },
    /// Takes over keys that clients have already, from a file or standard input: `API_KEYS=…`, JSON lists, lines.
    ///
    /// A line is a key, `NAME=KEY`, `NAME,KEY` or a list of keys with commas; what follows `#` at the start of a line is
    /// a comment. A key that is known already is skipped, so that an import may be repeated. No key is printed.
    Import {
        /// The file; `-` is standard input.
        file: PathBuf,
        /// How lines are read.
        #[arg(long, value_enum, default_value_t = import::Format::Auto)]
        format: import::Format,
        /// What the names of keys start with that have none: PREFIX-1, PREFIX-2.
        #[arg(long, value_name = "PREFIX", default_value = "imported")]
        name_prefix: String,
        /// Says what would become of each key, and changes nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        terms: Terms,
    },
    /// Revokes a key for good; its live sessions are ended.
    Revoke {
        /// Its id or name.
        key: String,
    },
}

/// What new keys are to be.
#[derive(Debug, clap::Args)]
struct Terms {
    /// Who answers for it: a person, a team, an address [default: nobody is named].
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// A route that it may use, or `mint` to make tokens; repeatable [default: all].
    #[arg(long = "scope", value_name = "ROUTE")]
    scopes: Vec<String>,
    /// When it ends: 90d, 12h, or a time such as 2027-03-01T00:00:00Z [default: never].
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// When to remind of a rotation: at an age of its secret (90d), or a day or a time [default: never].
    #[arg(long, value_name = "WHEN")]
    rotate_after: Option<String>,
    /// A limit, such as requests-per-second=5 or models=gemini-x,gemini-y; repeatable [default: none].
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = limits::parse)]
    limits: Vec<NewLimit>,
}

impl Terms {
    /// A key of this name under these terms.
    fn named(&self, name: &str, now: UnixMillis) -> anyhow::Result<NewKey> {
        let expires = |text: &str| expiry(text, now).map_err(anyhow::Error::msg).context("--expires");
        let rotation = |text: &str| rotate_after(text).map_err(anyhow::Error::msg).context("--rotate-after");
        Ok(NewKey {
            owner: self.owner.clone(),
            scopes: if self.scopes.is_empty() { Scopes::All } else { scopes_of(&self.scopes) },
            expires_at: self.expires.as_deref().map(expires).transpose()?,
            rotate_after: self.rotate_after.as_deref().map(rotation).transpose()?,
            limits: limits::applied(KeyLimits::default(), &self.limits)
                .map_err(anyhow::Error::msg)
                .context("--limit")?,
            ..NewKey::named(name)
        })
    }
}

/// Does what is asked.
///
/// # Errors
/// What the store refuses, and what cannot be read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = arguments.store.configured()?;
    let store = match arguments.action {
        Action::Create { .. } | Action::Import { .. } => open(&config)?,
        _ => open_existing(&config, "make a first key with `keymoat key create NAME`")?,
    };
    let (json, file) = (arguments.store.json, arguments.store.file());
    let hand = Hand::on(&store, &config.dir);
    match &arguments.action {
        Action::Create { name, terms } => create(&hand, name, terms, file, json),
        Action::List => {
            let (keys, now) = (store.keys()?, now());
            let shown = || keys.iter().map(|key| Shown::of(key, now)).collect::<Vec<_>>();
            print(&if json { to_json(&shown())? } else { listed(&keys, now) })
        }
        Action::Show { key } => {
            let (key, now) = (store.key(key)?, now());
            let uses = uses_of(&store, &key.id);
            print(&if json { to_json(&Shown::of(&key, now).with(&uses))? } else { details(&key, &uses, now) })
        }
        Action::Change { key, name, owner, scopes, expires, rotate_after, limits } => {
            let names = (name.as_deref(), owner.as_deref());
            let change = change(names, scopes, expires.as_deref(), rotate_after.as_deref())?;
            change_key(&hand, key, change, limits, file, json)
        }
        Action::Rotate { key, overlap, if_older_than, end_oldest } => {
            let asked = rotate::asked(overlap, if_older_than.as_deref(), *end_oldest)?;
            rotate::rotate(&hand, key, asked, json)
        }
        Action::Retire { key } => rotate::retire(&hand, key, json),
        Action::Import { file: keys, format, name_prefix, dry_run, terms } => {
            let template = terms.named("", now())?;
            refuse_unheld(file, &template.limits, &template.scopes)?;
            import::import(&hand, keys, (*format, name_prefix, *dry_run), &template, json)
        }
        Action::Revoke { key } => {
            let now = now();
            let key = hand.revoke_key(key, now)?;
            let text =
                format!("{} ({}) is revoked: running gateways end its sessions within a second\n", key.id, key.name);
            print(&if json { to_json(&Shown::of(&key, now))? } else { text })
        }
    }
}

fn create(hand: &Hand<'_>, name: &str, terms: &Terms, file: &Path, json: bool) -> anyhow::Result<()> {
    let now = now();
    let new = terms.named(name, now)?;
    refuse_unheld(file, &new.limits, &new.scopes)?;
    let (key, secret) = hand.create_key(new, now)?;
    // The one time that the key is shown: whoever asked for it must get it.
    let plain = std::str::from_utf8(secret.expose())?;
    if json {
        return print(&to_json(&Created { key: plain, about: Shown::of(&key, now) })?);
    }
    print(&format!("{plain}\n"))?;
    remark(&format!(
        "{} ({}), scopes: {}, expires: {}. Keep it safe: it is not shown again.",
        key.id,
        key.name,
        scopes_text(&key.scopes),
        key.expires_at.map_or_else(|| "never".to_owned(), rfc3339)
    ));
    Ok(())
}

fn change(
    (name, owner): (Option<&str>, Option<&str>),
    scopes: &[String],
    expires: Option<&str>,
    rotation: Option<&str>,
) -> anyhow::Result<KeyChange> {
    let now = now();
    let end = |text| if text == "never" { Ok(None) } else { expiry(text, now).map(Some) };
    let rotate = |text| if text == "never" { Ok(None) } else { rotate_after(text).map(Some) };
    Ok(KeyChange {
        name: name.map(str::to_owned),
        owner: owner.map(|owner| (owner != "none").then(|| owner.to_owned())),
        scopes: (!scopes.is_empty()).then(|| scopes_of(scopes)),
        expires_at: expires.map(end).transpose().map_err(anyhow::Error::msg).context("--expires")?,
        rotate_after: rotation.map(rotate).transpose().map_err(anyhow::Error::msg).context("--rotate-after")?,
        limits: None,
        only_if: None,
    })
}

fn change_key(
    hand: &Hand<'_>,
    key: &str,
    mut change: KeyChange,
    limits: &[NewLimit],
    file: &Path,
    json: bool,
) -> anyhow::Result<()> {
    let now = now();
    let change = |before: &Key| {
        if !limits.is_empty() {
            let limits =
                limits::applied(before.limits.clone(), limits).map_err(anyhow::Error::msg).context("--limit")?;
            // The limits are changed one by one, so nobody else may have changed them meanwhile.
            change.only_if = Some(before.clone());
            change.limits = Some(limits);
        }
        anyhow::ensure!(change != KeyChange::default(), "nothing to change: name what, such as `--limit sessions=3`");
        let limits = change.limits.as_ref().unwrap_or(&before.limits);
        refuse_unheld(file, limits, change.scopes.as_ref().unwrap_or(&before.scopes))?;
        Ok(change)
    };
    let key = hand.change_key(key, change, now)?;
    print(&if json { to_json(&Shown::of(&key, now))? } else { details(&key, &[], now) })
}

/// How often, and when last, each secret of a key was used, as the events tell; nothing where there are none.
fn uses_of(store: &Store, key_id: &str) -> Vec<Use> {
    match store.events(Durability::Process).and_then(|events| events.last_seen(Some(key_id))) {
        Ok(seen) => Use::gathered(&seen),
        Err(error) => {
            remark(&format!("keymoat: warning: cannot tell how much each secret is used: {error}"));
            Vec::new()
        }
    }
}

/// A list of models holds only where a model can be read. A configuration that cannot be read here says nothing of it; the
/// gateway refuses such a key on a generic route in any case.
fn refuse_unheld(file: &Path, limits: &KeyLimits, scopes: &Scopes) -> anyhow::Result<()> {
    if limits.models.is_empty() || !file.exists() {
        return Ok(());
    }
    let Ok(config) = config::load(file, &config::environment()) else { return Ok(()) };
    let is_open = |route: &&keymoat_core::Route| route.dialect == Dialect::Generic && scopes.allow(&route.name);
    match config.routes.iter().find(is_open) {
        Some(route) => anyhow::bail!(
            "--limit models: route `{}` is generic, where no model can be read and the key would be refused: name the \
             other routes with `--scope`",
            route.name
        ),
        None => Ok(()),
    }
}

fn scopes_of(words: &[String]) -> Scopes {
    Scopes::from_words(words.iter().map(String::as_str))
}

/// Reads `90d` from `now` on, or a time.
pub(super) fn expiry(text: &str, now: UnixMillis) -> Result<UnixMillis, String> {
    let expires_at = match config::duration_text(text) {
        Ok(duration) => now.plus_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        Err(_) => moment(text)?,
    };
    if expires_at <= now {
        return Err(format!("{} has passed: give a later time, or a duration such as `90d`", rfc3339(expires_at)));
    }
    Ok(expires_at)
}

/// Reads an age such as `90d`, or a moment.
fn rotate_after(text: &str) -> Result<RotateAfter, String> {
    match millis(text) {
        Some(0) => Err("an age is at least 1ms: write one such as 90d, or `never`".to_owned()),
        Some(age) => Ok(RotateAfter::Age(age)),
        None => moment(text).map(RotateAfter::Moment),
    }
}

/// Reads a duration in milliseconds.
fn millis(text: &str) -> Option<i64> {
    config::duration_text(text).ok().and_then(|duration| i64::try_from(duration.as_millis()).ok())
}

/// Reads a time, or the beginning of a day (UTC).
fn moment(text: &str) -> Result<UnixMillis, String> {
    let is_day = text.len() == "2027-03-01".len();
    parse_rfc3339(text).or_else(|error| if is_day { parse_rfc3339(&format!("{text}T00:00:00Z")) } else { Err(error) })
}

/// A new secret in JSON, the only place that shows one.
#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
    #[serde(flatten)]
    about: Shown<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;

    #[test]
    fn an_expiry_is_a_span_or_a_time() {
        let now = UnixMillis(1_000);
        assert_eq!(expiry("90d", now), Ok(UnixMillis(1_000 + 90 * DAY)));
        assert_eq!(expiry("1970-01-02T00:00:00Z", now), Ok(UnixMillis(DAY)));
        assert_eq!(expiry("1970-01-02", now), Ok(UnixMillis(DAY)));
        assert!(expiry("soon", now).is_err());
    }

    #[test]
    fn a_rotation_is_due_at_an_age_or_a_moment() {
        assert_eq!(rotate_after("90d"), Ok(RotateAfter::Age(90 * DAY)));
        assert_eq!(rotate_after("1970-01-02"), Ok(RotateAfter::Moment(UnixMillis(DAY))));
        assert!(rotate_after("0d").is_err() && rotate_after("some day").is_err());
    }
}
