//! `keymoat token`: mints, shows and revokes the short-lived tokens that clients come with.

mod create;
mod inspect;
mod limits;
mod words;

use std::path::PathBuf;

use clap::Subcommand;
use keymoat_core::UnixMillis;
use keymoat_core::format::is_in;
use keymoat_store::{Store, StoreError, TokenState};
use serde::Serialize;

use super::store_choice::{StoreChoice, open_existing};
use super::{Found, print, remark, table, to_json};
use crate::hand::Hand;
use crate::output::time::{now, rfc3339};
use crate::process;

/// Mints, lists, explains and revokes short-lived tokens.
///
/// Clients mint them from a gateway; here an operator does, and looks after all of them. A running gateway on the same
/// store takes a token at once, and ends its sessions within a second when it is revoked.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    store: StoreChoice,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Box<create::Arguments>),
    /// Lists all tokens that have not ended hours ago, without the tokens themselves.
    List {
        /// Only those of the key with this id or name.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// Shows what a token may do, and why a session of it would be refused.
    ///
    /// The token itself is read from standard input, never from the command line.
    Inspect {
        /// The token's id, `tok_…`; `-` reads the token itself from standard input.
        #[arg(default_value = "-")]
        id: String,
        /// A file with the setup of a Gemini session: shows what becomes of each field under the token's lock.
        #[arg(long, value_name = "FILE")]
        setup: Option<PathBuf>,
    },
    /// Revokes a token for good; its live sessions are ended.
    Revoke {
        /// Its id, `tok_…`.
        id: String,
    },
}

/// Does what is asked.
///
/// # Errors
/// What the store refuses, and what cannot be read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for warning in process::keep_memory_private() {
        remark(&format!("keymoat: warning: {warning}"));
    }
    let config = arguments.store.configured()?;
    let store = open_existing(&config, "tokens are minted from keys: make one with `keymoat key create NAME`")?;
    let json = arguments.store.json;
    let now = now();
    match &arguments.action {
        Action::Create(create) => create::run(&Hand::on(&store, &config.dir), create, (config.delivery, json), now),
        Action::List { key } => {
            let key_id = key.as_deref().map(|key| create::parent_id(&store, key)).transpose()?;
            let tokens = store.tokens(key_id.as_deref(), now)?;
            let shown = || to_json(&tokens.iter().map(|state| Shown::of(state, now)).collect::<Vec<_>>());
            print(&if json { shown()? } else { listed(&tokens, now) })
        }
        Action::Inspect { id, setup } => {
            let state = found(&store, id, now)?;
            inspect::run(&state, setup.as_deref(), json, now)
        }
        Action::Revoke { id } => {
            refuse_token(id)?;
            let state = Hand::on(&store, &config.dir).revoke_token(id, now)?;
            let text = format!("{} is revoked: running gateways end its sessions within a second\n", state.token.id);
            print(&if json { to_json(&Shown::of(&state, now))? } else { text })
        }
    }
}

/// The token with this id, or the one that standard input holds.
fn found(store: &Store, id: &str, now: UnixMillis) -> anyhow::Result<TokenState> {
    if id == "-" {
        return inspect::from_stdin(store, now);
    }
    refuse_token(id)?;
    Ok(store.token(id, now)?)
}

/// Whoever lists processes, or reads a shell's history, sees arguments.
fn refuse_token(argument: &str) -> anyhow::Result<()> {
    if is_in(argument.as_bytes()) {
        let what = "a credential is not an argument, where others can see it: name the token's id, or give the token to \
                    `keymoat token inspect` on standard input (and revoke this one)";
        return Err(Found(what.to_owned()).into());
    }
    if !argument.starts_with("tok_") {
        return Err(StoreError::TokenUnknown.into());
    }
    Ok(())
}

/// A token in JSON, without the token itself.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    key_id: &'a str,
    state: &'static str,
    refused: Option<String>,
    uses_max: Option<u32>,
    uses_left: Option<u32>,
    created_at: String,
    start_by: String,
    live_until: String,
    revoked_at: Option<String>,
    routes: Vec<String>,
    calls: &'static str,
    origins: Vec<&'a str>,
    duration_secs_max: Option<u64>,
    bytes_max: Option<u64>,
    messages_max: Option<u64>,
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    sessions_max: Option<u32>,
    total_bytes_max: Option<u64>,
    /// Absent where nobody counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_used: Option<u64>,
    models: Vec<&'a str>,
    constraint: serde_json::Value,
}

impl<'a> Shown<'a> {
    fn of(state: &'a TokenState, now: UnixMillis) -> Self {
        let token = &state.token;
        Self {
            id: &token.id,
            key_id: &token.key_id,
            state: words::state(state.denial),
            refused: state.denial.map(|denial| words::why(denial, state, now)),
            uses_max: words::uses_max(token.uses),
            uses_left: state.uses_left,
            created_at: rfc3339(token.created_at),
            start_by: rfc3339(token.start_by),
            live_until: rfc3339(token.live_until),
            revoked_at: token.revoked_at.map(rfc3339),
            routes: token.scopes.words().iter().map(ToString::to_string).collect(),
            calls: token.calls.word(),
            origins: token.origins.iter().map(keymoat_core::Origin::as_str).collect(),
            duration_secs_max: token.limits.duration_secs_max,
            bytes_max: token.limits.bytes_max,
            messages_max: token.limits.messages_max,
            requests_per_second: token.limits.requests_per_second.map(|pace| pace.per_second),
            burst: token.limits.requests_per_second.map(|pace| pace.burst),
            sessions_max: token.limits.sessions_max,
            total_bytes_max: token.limits.total_bytes_max,
            bytes_used: token.limits.total_bytes_max.map(|_| token.bytes_used),
            models: token.limits.models.iter().map(|model| &**model).collect(),
            // It was rendered by us; if it were not JSON, it would be shown as text.
            constraint: serde_json::from_str(&token.constraint.to_json()).unwrap_or_default(),
        }
    }
}

fn listed(tokens: &[TokenState], now: UnixMillis) -> String {
    if tokens.is_empty() {
        return "no tokens: mint one with `keymoat token create --key KEY`\n".to_owned();
    }
    let rows = tokens.iter().map(|state| {
        let token = &state.token;
        [
            token.id.to_string(),
            words::state(state.denial).to_owned(),
            token.key_id.to_string(),
            words::uses(state),
            words::when(token.start_by, now),
            words::when(token.live_until, now),
            words::constraint(&token.constraint),
        ]
    });
    table(["ID", "STATE", "KEY", "USES", "START BY", "LIVE UNTIL", "CONSTRAINT"], rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keymoat_core::token::{Calls, Constraint, Token, TokenLimits, Uses};
    use keymoat_core::{Scopes, gemini};
    use keymoat_store::Denial;

    use super::*;

    pub(super) const NOW: UnixMillis = UnixMillis(1_763_771_332_005);

    pub(super) fn state(id: &str, uses: Uses, left: Option<u32>, denial: Option<Denial>) -> TokenState {
        let token = Token {
            id: id.into(),
            key_id: "key_a".into(),
            scopes: Scopes::All,
            calls: Calls::Any,
            uses,
            created_at: NOW.plus_millis(-15_000),
            start_by: NOW.plus_millis(45_000),
            live_until: NOW.plus_millis(29 * 60_000 + 45_000),
            revoked_at: None,
            origins: Vec::new(),
            limits: TokenLimits::default(),
            bytes_used: 0,
            constraint: Constraint::None,
        };
        TokenState { token: Arc::new(token), uses_left: left, denial }
    }

    #[test]
    fn tokens_are_listed_in_columns_with_their_state() {
        let live = state("tok_a", Uses::AtMost(10), Some(3), None);
        let spent = state("tok_bb", Uses::AtMost(1), Some(0), Some(Denial::UsedUp));
        let mut old = state("tok_c", Uses::Unlimited, None, Some(Denial::Expired));
        let token = Arc::make_mut(&mut old.token);
        token.start_by = NOW.plus_millis(-3_600_000);
        token.live_until = NOW.plus_millis(-60_000);
        let mask = gemini::FieldMask::parse("model,tools").expect("known fields");
        let lock = gemini::Lock::new(None, mask).expect("a lock");
        token.constraint = Constraint::Gemini(lock);
        insta::assert_snapshot!(listed(&[live, spent, old], NOW), @r"
        ID      STATE    KEY    USES          START BY    LIVE UNTIL  CONSTRAINT
        tok_a   live     key_a  3 of 10 left  in 45 s     in 29 min   none
        tok_bb  used up  key_a  0 of 1 left   in 45 s     in 29 min   none
        tok_c   expired  key_a  unlimited     60 min ago  60 s ago    gemini: model,tools
        ");
    }

    #[test]
    fn a_token_is_no_argument_and_is_not_repeated() {
        let token = "kmt_TestVector0TestVector0TestVector0TestVector02cu8n";
        for argument in [token.to_owned(), format!("auth_tokens/{token}"), format!("ek_{token}")] {
            let refused = refuse_token(&argument).expect_err("it is a token").to_string();
            assert!(refused.contains("standard input") && !refused.contains("TestVector"), "{refused}");
        }
        assert!(refuse_token("tok_0123").is_ok());
    }
}
