//! Keys as they are shown: in JSON, in a table, and one by one. No secret is in any of it.

use keymoat_core::{Key, KeyLimits, KeySecret, RotateAfter, Scopes, UnixMillis};
use keymoat_store::events::LastSeen;
use serde::Serialize;

use super::limits;
use crate::commands::table;
use crate::output::time::rfc3339;

/// A key in JSON; there is no secret in it.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    owner: Option<&'a str>,
    scopes: Vec<String>,
    state: &'static str,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    secrets: Vec<ShownSecret<'a>>,
    rotation_due_at: Option<String>,
    rotation_is_due: bool,
    limits: ShownLimits<'a>,
}

/// What is known of a secret.
#[derive(Debug, Serialize)]
struct ShownSecret<'a> {
    id: &'a str,
    state: &'static str,
    created_at: String,
    ends_at: Option<String>,
    /// Absent where nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    uses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<String>,
}

/// How much a secret has been used, as far as events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    secret_id: String,
    allowed: u64,
    last_at: UnixMillis,
}

impl Use {
    /// Of each secret, over all places in which it was seen.
    pub(super) fn gathered(seen: &[LastSeen]) -> Vec<Self> {
        let mut uses: Vec<Self> = Vec::new();
        for seen in seen.iter().filter(|seen| !seen.secret_id.is_empty()) {
            match uses.iter_mut().find(|one| *one.secret_id == *seen.secret_id) {
                Some(one) => {
                    one.allowed += seen.allowed;
                    one.last_at = one.last_at.max(seen.last_at);
                }
                None => uses.push(Self {
                    secret_id: seen.secret_id.to_string(),
                    allowed: seen.allowed,
                    last_at: seen.last_at,
                }),
            }
        }
        uses
    }
}

#[derive(Debug, Serialize)]
struct ShownLimits<'a> {
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    requests_per_day: Option<u64>,
    bytes_per_day: Option<u64>,
    sessions: Option<u32>,
    session_duration_secs: Option<u64>,
    session_bytes: Option<u64>,
    models: Option<Vec<&'a str>>,
}

impl<'a> Shown<'a> {
    pub(super) fn of(key: &'a Key, now: UnixMillis) -> Self {
        Self {
            id: &key.id,
            name: &key.name,
            owner: key.owner.as_deref(),
            scopes: key.scopes.words().iter().map(ToString::to_string).collect(),
            state: state(key, now),
            created_at: rfc3339(key.created_at),
            expires_at: key.expires_at.map(rfc3339),
            revoked_at: key.revoked_at.map(rfc3339),
            secrets: key.secrets.iter().map(|secret| ShownSecret::of(key, secret, now)).collect(),
            rotation_due_at: key.rotation_due().map(rfc3339),
            rotation_is_due: is_due(key, now),
            limits: ShownLimits::of(&key.limits),
        }
    }
}

impl Shown<'_> {
    /// The same with how much each secret is used.
    pub(super) fn with(mut self, uses: &[Use]) -> Self {
        for secret in &mut self.secrets {
            let Some(one) = uses.iter().find(|one| one.secret_id == secret.id) else { continue };
            (secret.uses, secret.last_used_at) = (Some(one.allowed), Some(rfc3339(one.last_at)));
        }
        self
    }
}

impl<'a> ShownSecret<'a> {
    fn of(key: &Key, secret: &'a KeySecret, now: UnixMillis) -> Self {
        Self {
            id: &secret.id,
            state: state_of_secret(key, secret, now),
            created_at: rfc3339(secret.created_at),
            ends_at: secret.ends_at.map(rfc3339),
            uses: None,
            last_used_at: None,
        }
    }
}

impl<'a> ShownLimits<'a> {
    fn of(limits: &'a KeyLimits) -> Self {
        Self {
            requests_per_second: limits.requests_per_second.map(|pace| pace.per_second),
            burst: limits.requests_per_second.map(|pace| pace.burst),
            requests_per_day: limits.requests_per_day,
            bytes_per_day: limits.bytes_per_day,
            sessions: limits.sessions,
            session_duration_secs: limits.session_duration_secs,
            session_bytes: limits.session_bytes,
            models: (!limits.models.is_empty()).then(|| limits.models.iter().map(|model| &**model).collect()),
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

fn state_of_secret(key: &Key, secret: &KeySecret, now: UnixMillis) -> &'static str {
    match secret.ends_at {
        Some(at) if at <= now => "ended",
        _ if !key.is_live(now) => "ended",
        Some(_) => "ending",
        None => "in use",
    }
}

fn is_due(key: &Key, now: UnixMillis) -> bool {
    key.is_live(now) && key.rotation_due().is_some_and(|due| due <= now)
}

pub(super) fn scopes_text(scopes: &Scopes) -> String {
    match scopes {
        Scopes::All => "* (every route, and minting)".to_owned(),
        Scopes::Only(words) => words.join(", "),
    }
}

pub(super) fn listed(keys: &[Key], now: UnixMillis) -> String {
    if keys.is_empty() {
        return "no keys yet: make one with `keymoat key create NAME`\n".to_owned();
    }
    let day = |at: UnixMillis| rfc3339(at).chars().take(10).collect::<String>();
    let rows = keys.iter().map(|key| {
        let due = key.rotation_due().map_or_else(|| "never".to_owned(), day);
        [
            key.id.to_string(),
            state(key, now).to_owned(),
            day(key.created_at),
            key.expires_at.map_or_else(|| "never".to_owned(), day),
            if is_due(key, now) { format!("{due} (due)") } else { due },
            key.name.to_string(),
            key.scopes.words().join(","),
        ]
    });
    table(["ID", "STATE", "CREATED", "EXPIRES", "ROTATE", "NAME", "SCOPES"], rows)
}

pub(super) fn details(key: &Key, uses: &[Use], now: UnixMillis) -> String {
    let time = |at: Option<UnixMillis>| at.map_or_else(|| "never".to_owned(), rfc3339);
    let limits = limits::texts(&key.limits);
    let mut text = format!(
        "id       {}\nname     {}\nowner    {}\nstate    {}\nscopes   {}\ncreated  {}\nexpires  {}\nrevoked  {}\nrotate   {}\nlimits   {}\n",
        key.id,
        key.name,
        key.owner.as_deref().unwrap_or("-"),
        state(key, now),
        scopes_text(&key.scopes),
        rfc3339(key.created_at),
        time(key.expires_at),
        time(key.revoked_at),
        rotation(key, now),
        if limits.is_empty() { "none".to_owned() } else { limits.join(" ") },
    );
    for (secret, head) in key.secrets.iter().rev().zip(std::iter::once("secrets").chain(std::iter::repeat(""))) {
        let (created, state) = (rfc3339(secret.created_at), state_of_secret(key, secret, now));
        let end = secret.ends_at.map_or_else(String::new, |at| format!(", ends {}", rfc3339(at)));
        let used = |one: &Use| format!(", used {} times, last {}", one.allowed, rfc3339(one.last_at));
        let used = uses.iter().find(|one| *one.secret_id == *secret.id).map_or_else(String::new, used);
        text.push_str(format!("{head:<7}  {}  {state}, made {created}{end}{used}\n", secret.id).as_str());
    }
    text
}

/// When a rotation is due, and by which rule.
fn rotation(key: &Key, now: UnixMillis) -> String {
    let Some(due) = key.rotation_due() else { return "never".to_owned() };
    let rule = match key.rotate_after {
        Some(RotateAfter::Age(millis)) if millis % 86_400_000 == 0 => format!(", every {} days", millis / 86_400_000),
        Some(RotateAfter::Age(millis)) => format!(", every {} s", millis / 1000),
        Some(RotateAfter::Moment(_)) | None => String::new(),
    };
    format!("{}{rule}{}", rfc3339(due), if is_due(key, now) { ": due, run `keymoat key rotate`" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;
    const MADE: UnixMillis = UnixMillis(1_763_771_332_005);

    fn key(id: &str, name: &str, scopes: Scopes) -> Key {
        Key { scopes, ..Key::new(id, name, MADE) }.with_secret("sec_a", MADE)
    }

    #[test]
    fn keys_are_listed_in_columns_with_their_state() {
        let now = MADE.plus_millis(2 * DAY);
        let mut expired = key("key_b", "münchen backend", Scopes::Only(vec!["voice".into(), "mint".into()]));
        expired.expires_at = Some(now);
        let mut revoked = key("key_cc", "c", Scopes::Only(vec!["events".into()]));
        revoked.revoked_at = Some(now);
        let due = Key { rotate_after: Some(RotateAfter::Age(DAY)), ..key("key_d", "d", Scopes::All) };
        insta::assert_snapshot!(listed(&[key("key_a", "demo", Scopes::All), expired, revoked, due], now));
    }

    #[test]
    fn one_key_is_shown_with_its_secrets_dates_and_limits() {
        let mut rotated = key("key_a", "demo", Scopes::All).with_secret("sec_b", MADE.plus_millis(DAY));
        rotated.secrets[0].ends_at = Some(MADE.plus_millis(3 * DAY));
        rotated.rotate_after = Some(RotateAfter::Age(DAY));
        rotated.limits.sessions = Some(3);
        rotated.owner = Some("Payments".into());
        rotated.limits.requests_per_second = Some(keymoat_core::Pace { per_second: 5, burst: 20 });
        let uses = [Use { secret_id: "sec_a".into(), allowed: 12, last_at: MADE.plus_millis(DAY) }];
        insta::assert_snapshot!(details(&rotated, &uses, MADE.plus_millis(2 * DAY)));
    }
}
