//! `keymoat token create`: from what the command line says to a token in the store.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use keymoat_admin::events::Delivery;
use keymoat_core::format::{Kind, Spelling};
use keymoat_core::json::{self, Caps, Object, Value};
use keymoat_core::token::{self, Calls, Constraint, MintRules, NewToken, TokenLimits, Uses};
use keymoat_core::{Key, Origin, Scopes, Secret, UnixMillis, gemini, openai};
use keymoat_store::private_file::{self, Created, Readers};
use keymoat_store::{MintDenial, MintOrder, Store, StoreError, TokenState};
use serde::Serialize;

use super::super::{Found, print, remark, to_json};
use super::limits::{self, NewLimit};
use super::{Shown, words};
use crate::config;
use crate::hand::{Hand, NotMinted};
use crate::process::new_secret;

/// What the ids of the configuration's keys start with.
const CONFIGURED: [&str; 2] = ["file_", "env_"];

/// Mints a token and prints it, once: it is kept as a digest only.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The id or name of the key that it is minted from; it ends with this key.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// How many sessions or requests it may begin, or `unlimited`.
    #[arg(long, default_value = "1", value_parser = uses)]
    uses: Uses,
    /// How long it begins new sessions, such as 60s.
    #[arg(long, default_value = "60s", value_name = "SPAN")]
    start_within: String,
    /// How long it lives, and its sessions with it, such as 30m; less than 20h.
    #[arg(long, default_value = "30m", value_name = "SPAN")]
    live_for: String,
    /// A route that it may use; repeatable [default: all of its key].
    #[arg(long = "route", value_name = "ROUTE")]
    routes: Vec<String>,
    /// The origin of pages that may use it, such as `https://app.example`; repeatable [default: those of the route].
    #[arg(long = "origin", value_name = "ORIGIN", value_parser = Origin::parse)]
    origins: Vec<Origin>,
    /// A file with the setup of Gemini sessions, in JSON: all of it is locked, or the fields that --field-mask names.
    #[arg(long, value_name = "FILE")]
    gemini_setup: Option<PathBuf>,
    /// The fields of a Gemini setup that are locked, such as model,generationConfig.temperature,tools.
    #[arg(long, value_name = "PATHS", value_parser = gemini::FieldMask::parse)]
    field_mask: Option<gemini::FieldMask>,
    /// A file with the session object of OpenAI Realtime, in JSON: the fields that it names are locked.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["gemini_setup", "field_mask"])]
    openai_session: Option<PathBuf>,
    /// How long one session may be, such as 10m [default: what the route says].
    #[arg(long, value_name = "SPAN")]
    max_duration: Option<String>,
    /// How many bytes one session may take in both directions together.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    max_bytes: Option<u64>,
    /// How many messages one session may take in both directions together.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    max_messages: Option<u64>,
    /// A limit of all that it does, such as sessions=1, total-bytes=50MiB or models=gemini-x,gemini-y; repeatable.
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = limits::parse)]
    limits: Vec<NewLimit>,
    /// How it is written: as it is, or with what a provider's SDK looks for in front of it. All are the same token.
    #[arg(long, value_enum, default_value = "plain")]
    spelling: Written,
    /// Writes it to this new file (mode 0600) and not to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Written {
    /// kmt_…
    Plain,
    /// auth_tokens/kmt_…
    Gemini,
    /// ek_kmt_…
    Openai,
}

/// Mints the token and shows it.
///
/// # Errors
/// What does not make sense, what cannot be read, and what the store refuses.
pub(super) fn run(
    hand: &Hand<'_>,
    arguments: &Arguments,
    (delivery, json): (Delivery, bool),
    now: UnixMillis,
) -> anyhow::Result<()> {
    let token = arguments.token(hand.store(), now)?;
    let key_id = Arc::clone(&token.key_id);
    refuse_existing(arguments.out.as_deref())?;
    let live_tokens_max = MintRules::default().live_tokens_max;
    let order = MintOrder { token, secret: new_secret(Kind::Token)?, live_tokens_max, now };
    let minted = hand.mint_token(order, delivery).map_err(|error| match error.downcast_ref::<NotMinted>() {
        Some(NotMinted(denial)) => Found(told(*denial, &key_id)).into(),
        None => error,
    });
    let (secret, state) = minted?;
    let spelled = token::spelled(&secret, arguments.spelling.spelling());
    show(&spelled, &state, arguments.out.as_deref(), json, now)
}

/// The id of the key with this id or name. Keys of the configuration are named by their ids: only gateways know them.
pub(super) fn parent_id(store: &Store, key: &str) -> Result<Arc<str>, StoreError> {
    Ok(parent(store, key)?.map_or_else(|| key.into(), |key| key.id))
}

fn parent(store: &Store, key: &str) -> Result<Option<Key>, StoreError> {
    match store.key(key) {
        Err(StoreError::KeyUnknown) if CONFIGURED.iter().any(|prefix| key.starts_with(prefix)) => Ok(None),
        found => found.map(Some),
    }
}

impl Arguments {
    /// What is asked for, checked.
    fn token(&self, store: &Store, now: UnixMillis) -> anyhow::Result<NewToken> {
        let key = parent(store, &self.key)?;
        if let Some(key) = &key {
            self.check_key(key)?;
        }
        let live_millis = millis(&self.live_for).context("--live-for")?;
        let live_millis_max = MintRules::default().live_millis_max;
        if live_millis >= live_millis_max {
            bail!(
                "--live-for: tokens live less than 20h: give a longer time to a key, with `keymoat key create NAME --expires`"
            );
        }
        let start_millis = millis(&self.start_within).context("--start-within")?.min(live_millis);
        let constraint = self.constraint()?;
        let limits = self.token_limits()?;
        if let Some(key) = &key {
            limits.check_within(&key.limits).map_err(|refusal| Found(refusal.detail.into_owned()))?;
        }
        let is_locked = matches!(constraint, Constraint::Gemini(_) | Constraint::OpenAi(_));
        Ok(NewToken {
            key_id: key.map_or_else(|| self.key.as_str().into(), |key| key.id),
            scopes: self.scopes(),
            calls: if is_locked { Calls::LiveOnly } else { Calls::Any },
            uses: self.uses,
            start_by: now.plus_millis(start_millis),
            live_until: now.plus_millis(live_millis),
            origins: self.origins.clone(),
            limits,
            constraint,
            idempotency_key: None,
        })
    }

    /// A token cannot do more than its key: what would never work is refused here, where it is noticed.
    fn check_key(&self, key: &Key) -> anyhow::Result<()> {
        let Some(route) = self.routes.iter().find(|route| !key.scopes.allow(route)) else { return Ok(()) };
        let found = format!("--route: key {} ({}) may not use `{route}`, and so no token of it may", key.id, key.name);
        Err(Found(found).into())
    }

    fn token_limits(&self) -> anyhow::Result<TokenLimits> {
        let of_session = TokenLimits {
            duration_secs_max: self.duration_secs_max()?,
            bytes_max: self.max_bytes,
            messages_max: self.max_messages,
            ..TokenLimits::default()
        };
        limits::applied(of_session, &self.limits).map_err(anyhow::Error::msg).context("--limit")
    }

    fn scopes(&self) -> Scopes {
        if self.routes.is_empty() { Scopes::All } else { Scopes::from_words(self.routes.iter().map(String::as_str)) }
    }

    fn duration_secs_max(&self) -> anyhow::Result<Option<u64>> {
        let Some(text) = &self.max_duration else { return Ok(None) };
        let millis = millis(text).context("--max-duration")?;
        if millis < 1000 {
            bail!("--max-duration: give at least one second");
        }
        Ok(u64::try_from(millis / 1000).ok())
    }

    fn constraint(&self) -> anyhow::Result<Constraint> {
        if let Some(path) = &self.openai_session {
            let session = object_in(path, "session").context("--openai-session")?;
            return Ok(Constraint::OpenAi(openai::Lock::new(session).context("--openai-session")?));
        }
        if self.gemini_setup.is_none() && self.field_mask.is_none() {
            return Ok(Constraint::None);
        }
        let setup = self.gemini_setup.as_deref().map(|path| object_in(path, "setup")).transpose();
        let setup = setup.context("--gemini-setup")?;
        let lock = gemini::Lock::new(setup, self.field_mask.clone().unwrap_or_default()).context("--gemini-setup")?;
        Ok(if lock.is_open() { Constraint::None } else { Constraint::Gemini(lock) })
    }
}

impl Written {
    const fn spelling(self) -> Spelling {
        match self {
            Self::Plain => Spelling::Plain,
            Self::Gemini => Spelling::AuthTokens,
            Self::Openai => Spelling::Ek,
        }
    }
}

/// The object in a file, or on standard input; one that stands under `name`, as in a message, is taken out.
pub(super) fn object_in(path: &Path, name: &str) -> anyhow::Result<Object> {
    let caps = Caps::default();
    let most = u64::try_from(caps.bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(most).read_to_end(&mut text),
        false => fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut text)),
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    let value = json::parse(&text, &caps).with_context(|| path.display().to_string())?;
    let Value::Object(mut object) = value else { bail!("{}: this is no JSON object", path.display()) };
    match object.remove(name) {
        Some(Value::Object(inner)) if object.is_empty() => return Ok(inner),
        Some(inner) => object.set(name, inner),
        None => {}
    }
    Ok(object)
}

/// A token that nobody could read would be lost.
fn refuse_existing(out: Option<&Path>) -> anyhow::Result<()> {
    match out.filter(|out| out.exists()) {
        Some(out) => Err(exists(out)),
        None => Ok(()),
    }
}

fn exists(out: &Path) -> anyhow::Error {
    Found(format!("--out: `{}` exists: name a new file, so that nothing is overwritten", out.display())).into()
}

/// A new token in JSON, the only place that shows one.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(flatten)]
    about: Shown<'a>,
}

fn show(secret: &Secret, state: &TokenState, out: Option<&Path>, json: bool, now: UnixMillis) -> anyhow::Result<()> {
    // The one time that the token is shown: whoever asked for it must get it.
    let plain = std::str::from_utf8(secret.expose())?;
    if let Some(out) = out {
        let line = zeroize::Zeroizing::new(format!("{plain}\n"));
        match private_file::create(out, line.as_bytes(), Readers::Owner)? {
            Created::Now => {}
            Created::Before => return Err(exists(out)),
        }
    }
    let printed = if out.is_none() { Some(plain) } else { None };
    if json {
        return print(&to_json(&Made { token: printed, about: Shown::of(state, now) })?);
    }
    if let Some(plain) = printed {
        print(&format!("{plain}\n"))?;
    }
    let token = &state.token;
    let place = out.map_or_else(|| "It".to_owned(), |out| format!("It is in `{}` and", out.display()));
    remark(&format!(
        "{} of {}: {}, starts sessions until {}, lives until {}. {place} is not shown again.",
        token.id,
        token.key_id,
        words::uses(state),
        words::moment(token.start_by, now),
        words::moment(token.live_until, now),
    ));
    Ok(())
}

fn told(denial: MintDenial, key_id: &str) -> String {
    match denial {
        MintDenial::Senseless => "such a token could not be used: its routes or times mean nothing".to_owned(),
        MintDenial::KeyRevoked => format!("key {key_id} is revoked or has expired: mint with another key"),
        MintDenial::TooManyLive { live_tokens_max } => {
            format!(
                "key {key_id} has {live_tokens_max} tokens that may still open sessions: let some end, or revoke them"
            )
        }
        MintDenial::Conflict => "the same was asked for before, in another form".to_owned(),
    }
}

fn uses(text: &str) -> Result<Uses, String> {
    if text == "unlimited" {
        return Ok(Uses::Unlimited);
    }
    let uses = text.parse().ok().filter(|uses| (1..=i32::MAX as u32).contains(uses));
    uses.map(Uses::AtMost).ok_or_else(|| "give a whole number from 1 on, or `unlimited`".to_owned())
}

fn millis(text: &str) -> anyhow::Result<i64> {
    let duration = config::duration_text(text).map_err(anyhow::Error::msg)?;
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    if millis == 0 {
        bail!("this is no time at all: give a span such as 60s or 30m");
    }
    Ok(millis)
}
