//! What is known of a token in words for people.

use keymoat_core::gemini;
use keymoat_core::token::{Calls, Constraint, Token, Uses};
use keymoat_core::{Origin, Scopes, UnixMillis};
use keymoat_store::{Denial, TokenState};

use crate::output::time::rfc3339;

/// One or two words for a list.
pub(super) const fn state(denial: Option<Denial>) -> &'static str {
    match denial {
        None => "live",
        Some(Denial::Unknown) => "unknown",
        Some(Denial::Revoked) => "revoked",
        Some(Denial::KeyRevoked) => "key revoked",
        Some(Denial::KeyExpired) => "key expired",
        Some(Denial::Expired) => "expired",
        Some(Denial::ForeignHandle) => "foreign handle",
        Some(Denial::StartPassed) => "start passed",
        Some(Denial::UsedUp) => "used up",
    }
}

/// Why a new session would be refused, and what to do.
pub(super) fn why(denial: Denial, state: &TokenState, now: UnixMillis) -> String {
    let token = &state.token;
    match denial {
        Denial::Unknown => "it is not in the store".to_owned(),
        Denial::Revoked => {
            let when = token.revoked_at.map_or_else(|| "at an unknown time".to_owned(), |at| moment(at, now));
            format!("it was revoked, {when}: mint another one")
        }
        Denial::KeyRevoked => format!("its key {} was revoked or is gone: mint one with another key", token.key_id),
        Denial::KeyExpired => format!("its key {} has expired: mint one with another key", token.key_id),
        Denial::Expired => format!("it has expired, {}: mint another one", moment(token.live_until, now)),
        Denial::ForeignHandle => "the resumption handle is not one that it was given".to_owned(),
        Denial::StartPassed => format!(
            "the time to open new sessions has passed, {}; a session that it opened may still be resumed",
            moment(token.start_by, now)
        ),
        Denial::UsedUp => "no use is left; a session that it opened may still be resumed".to_owned(),
    }
}

/// `3 of 10 left`.
pub(super) fn uses(state: &TokenState) -> String {
    match (state.token.uses, state.uses_left) {
        (Uses::AtMost(uses), Some(left)) => format!("{left} of {uses} left"),
        _ => "unlimited".to_owned(),
    }
}

pub(super) const fn uses_max(uses: Uses) -> Option<u32> {
    match uses {
        Uses::Unlimited => None,
        Uses::AtMost(uses) => Some(uses),
    }
}

/// `in 45 s` or `2 h ago`, rounded down to one unit.
pub(super) fn when(at: UnixMillis, now: UnixMillis) -> String {
    let span = span(at.0.saturating_sub(now.0).unsigned_abs());
    if at > now { format!("in {span}") } else { format!("{span} ago") }
}

/// The time and how far away it is.
pub(super) fn moment(at: UnixMillis, now: UnixMillis) -> String {
    format!("{} ({})", rfc3339(at), when(at, now))
}

pub(super) fn routes(token: &Token) -> String {
    match &token.scopes {
        Scopes::All => "* (every route of its key)".to_owned(),
        Scopes::Only(words) => words.join(", "),
    }
}

pub(super) const fn calls(calls: Calls) -> &'static str {
    match calls {
        Calls::Any => "requests and live sessions",
        Calls::LiveOnly => "live sessions only",
    }
}

pub(super) fn origins(origins: &[Origin]) -> String {
    let origins: Vec<&str> = origins.iter().map(Origin::as_str).collect();
    if origins.is_empty() { "those of the route".to_owned() } else { origins.join(", ") }
}

pub(super) fn limits(token: &Token) -> String {
    let limits = &token.limits;
    let of_session = [
        limits.duration_secs_max.map(|secs| span(secs.saturating_mul(1000))),
        limits.bytes_max.map(|bytes| format!("{bytes} bytes")),
        limits.messages_max.map(|messages| format!("{messages} messages")),
    ];
    let of_session: Vec<String> = of_session.into_iter().flatten().collect();
    let mut texts = Vec::new();
    if !of_session.is_empty() {
        texts.push(format!("{} in a session", of_session.join(", ")));
    }
    texts.extend(super::limits::texts(limits));
    if limits.total_bytes_max.is_some() {
        texts.push(format!("{} bytes used", token.bytes_used));
    }
    if texts.is_empty() { "those of the route".to_owned() } else { texts.join("; ") }
}

/// What is locked, without the values.
pub(super) fn constraint(constraint: &Constraint) -> String {
    match constraint {
        Constraint::None => "none".to_owned(),
        Constraint::Models(models) => format!("models: {}", models.join(", ")),
        Constraint::Gemini(lock) => gemini_lock(lock),
        Constraint::OpenAi(lock) => {
            let fields: Vec<&str> = lock.session().iter().map(|(name, _)| name).collect();
            format!("openai: {}", fields.join(", "))
        }
    }
}

fn gemini_lock(lock: &gemini::Lock) -> String {
    match (lock.setup(), lock.mask().is_empty()) {
        (_, false) => format!("gemini: {}", lock.mask()),
        (Some(_), true) => "gemini: the whole setup".to_owned(),
        (None, true) => "none".to_owned(),
    }
}

fn span(millis: u64) -> String {
    match millis / 1000 {
        0 => format!("{millis} ms"),
        secs @ 1..120 => format!("{secs} s"),
        secs @ 120..7200 => format!("{} min", secs / 60),
        secs @ 7200..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_by_how_far_away_it_is() {
        let now = UnixMillis(1_000_000_000_000);
        for (millis, told) in [
            (45_000, "in 45 s"),
            (1, "in 1 ms"),
            (0, "0 ms ago"),
            (-119_999, "119 s ago"),
            (120_000, "in 2 min"),
            (-7_200_000, "2 h ago"),
            (200_000_000, "in 2 days"),
        ] {
            assert_eq!(when(now.plus_millis(millis), now), told);
        }
        assert_eq!(when(UnixMillis(i64::MIN), now), "106751991167 days ago");
    }
}
