//! `keymoat key`: makes, shows and revokes the keys that clients come with.

use anyhow::Context;
use clap::Subcommand;
use keymoat_core::{Key, Scopes, UnixMillis};
use keymoat_store::{NewKey, Store};
use serde::Serialize;

use super::store_choice::{StoreChoice, open, open_existing};
use super::{print, remark, table, to_json};
use crate::config;
use crate::output::time::{now, parse_rfc3339, rfc3339};
use crate::process::new_key_secret;

/// Makes, lists, shows and revokes keys.
///
/// A running gateway on the same store takes a change over within a second.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    store: StoreChoice,
    /// Prints JSON.
    #[arg(long, global = true, display_order = 102)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Makes a key and prints it, once: it is kept as a digest only.
    Create {
        /// What people call it; unique among the keys that are not revoked.
        name: String,
        /// A route that it may use, or `mint` to make tokens; repeatable [default: all].
        #[arg(long = "scope", value_name = "ROUTE")]
        scopes: Vec<String>,
        /// When it ends: 90d, 12h, or a time such as 2027-03-01T00:00:00Z [default: never].
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
    },
    /// Lists all keys, without their secrets.
    List,
    /// Shows one key, without its secret.
    Show {
        /// Its id or name.
        key: String,
    },
    /// Revokes a key for good; its live sessions are ended.
    Revoke {
        /// Its id or name.
        key: String,
    },
}

/// Does what is asked.
///
/// # Errors
/// What the store refuses, and an unreadable expiry.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = arguments.store.configured()?;
    let store = match arguments.action {
        Action::Create { .. } => open(&config)?,
        _ => open_existing(&config, "make a first key with `keymoat key create NAME`")?,
    };
    let json = arguments.json;
    match &arguments.action {
        Action::Create { name, scopes, expires } => create(&store, name, scopes, expires.as_deref(), json),
        Action::List => {
            let keys = store.keys()?;
            print(&if json { to_json(&keys.iter().map(Shown::of).collect::<Vec<_>>())? } else { listed(&keys, now()) })
        }
        Action::Show { key } => {
            let key = store.key(key)?;
            print(&if json { to_json(&Shown::of(&key))? } else { details(&key, now()) })
        }
        Action::Revoke { key } => {
            let key = store.revoke_key(key, now())?;
            let text =
                format!("{} ({}) is revoked: running gateways end its sessions within a second\n", key.id, key.name);
            print(&if json { to_json(&Shown::of(&key))? } else { text })
        }
    }
}

fn create(store: &Store, name: &str, scopes: &[String], expires: Option<&str>, json: bool) -> anyhow::Result<()> {
    let now = now();
    let expires_at =
        expires.map(|text| expiry(text, now).map_err(anyhow::Error::msg)).transpose().context("--expires")?;
    let scopes = if scopes.is_empty() { Scopes::All } else { Scopes::from_words(scopes.iter().map(String::as_str)) };
    let secret = new_key_secret()?;
    let key = store.create_key(NewKey { scopes, expires_at, ..NewKey::named(name) }, &secret, now)?;
    // The one time that the key is shown: whoever asked for it must get it.
    let plain = std::str::from_utf8(secret.expose())?;
    if json {
        return print(&to_json(&Created { key: plain, about: Shown::of(&key) })?);
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

/// Reads `90d` from `now` on, or a time.
pub(super) fn expiry(text: &str, now: UnixMillis) -> Result<UnixMillis, String> {
    let expires_at = match config::duration_text(text) {
        Ok(duration) => now.plus_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        Err(_) => parse_rfc3339(text)?,
    };
    if expires_at <= now {
        return Err(format!("{} has passed: give a later time, or a duration such as `90d`", rfc3339(expires_at)));
    }
    Ok(expires_at)
}

/// A key in JSON; there is no secret in it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    scopes: Vec<String>,
    state: &'static str,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

/// A new key in JSON, the only place that shows one.
#[derive(Serialize)]
struct Created<'a> {
    key: &'a str,
    #[serde(flatten)]
    about: Shown<'a>,
}

impl<'a> Shown<'a> {
    fn of(key: &'a Key) -> Self {
        Self {
            id: &key.id,
            name: &key.name,
            scopes: key.scopes.words().iter().map(ToString::to_string).collect(),
            state: state(key, now()),
            created_at: rfc3339(key.created_at),
            expires_at: key.expires_at.map(rfc3339),
            revoked_at: key.revoked_at.map(rfc3339),
        }
    }
}

fn state(key: &Key, now: UnixMillis) -> &'static str {
    match key {
        Key { revoked_at: Some(_), .. } => "revoked",
        Key { expires_at: Some(expires_at), .. } if *expires_at <= now => "expired",
        _ => "live",
    }
}

fn scopes_text(scopes: &Scopes) -> String {
    match scopes {
        Scopes::All => "* (every route, and minting)".to_owned(),
        Scopes::Only(words) => words.join(", "),
    }
}

fn listed(keys: &[Key], now: UnixMillis) -> String {
    if keys.is_empty() {
        return "no keys yet: make one with `keymoat key create NAME`\n".to_owned();
    }
    let day = |at: UnixMillis| rfc3339(at).chars().take(10).collect::<String>();
    let rows = keys.iter().map(|key| {
        [
            key.id.to_string(),
            state(key, now).to_owned(),
            day(key.created_at),
            key.expires_at.map_or_else(|| "never".to_owned(), day),
            key.name.to_string(),
            key.scopes.words().join(","),
        ]
    });
    table(["ID", "STATE", "CREATED", "EXPIRES", "NAME", "SCOPES"], rows)
}

fn details(key: &Key, now: UnixMillis) -> String {
    let time = |at: Option<UnixMillis>| at.map_or_else(|| "never".to_owned(), rfc3339);
    format!(
        "id       {}\nname     {}\nstate    {}\nscopes   {}\ncreated  {}\nexpires  {}\nrevoked  {}\n",
        key.id,
        key.name,
        state(key, now),
        scopes_text(&key.scopes),
        rfc3339(key.created_at),
        time(key.expires_at),
        time(key.revoked_at),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;

    fn key(id: &str, name: &str, scopes: Scopes) -> Key {
        let created_at = UnixMillis(1_763_771_332_005);
        Key { scopes, ..Key::new(id, name, created_at) }
    }

    #[test]
    fn an_expiry_is_a_span_or_a_time() {
        let now = UnixMillis(1_000);
        assert_eq!(expiry("90d", now), Ok(UnixMillis(1_000 + 90 * DAY)));
        assert_eq!(expiry("1970-01-02T00:00:00Z", now), Ok(UnixMillis(DAY)));
        assert!(expiry("soon", now).is_err());
    }

    #[test]
    fn keys_are_listed_in_columns_with_their_state() {
        let now = UnixMillis(1_763_771_332_005 + 2 * DAY);
        let mut expired = key("key_b", "münchen backend", Scopes::Only(vec!["voice".into(), "mint".into()]));
        expired.expires_at = Some(now);
        let mut revoked = key("key_cc", "c", Scopes::Only(vec!["events".into()]));
        revoked.revoked_at = Some(now);
        insta::assert_snapshot!(listed(&[key("key_a", "demo", Scopes::All), expired.clone(), revoked], now), @r"
        ID      STATE    CREATED     EXPIRES     NAME             SCOPES
        key_a   live     2025-11-22  never       demo             *
        key_b   expired  2025-11-22  2025-11-24  münchen backend  voice,mint
        key_cc  revoked  2025-11-22  never       c                events
        ");
        insta::assert_snapshot!(details(&expired, now), @r"
        id       key_b
        name     münchen backend
        state    expired
        scopes   voice, mint
        created  2025-11-22T00:28:52.005Z
        expires  2025-11-24T00:28:52.005Z
        revoked  never
        ");
    }
}
