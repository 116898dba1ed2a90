//! Tokens are minted and revoked.

use anyhow::Context;
use http::Method;
use keymoat_admin::events::Delivery;
use keymoat_core::token::{NewToken, TokenLimits, Uses};
use keymoat_core::{Action, Scopes, Secret, UnixMillis};
use keymoat_store::{MintDenial, MintOrder, Minted, Minting, TokenState};
use serde_json::{Value, json};

use super::{Hand, moment, take_secret, text_at};
use crate::observed::keep_act_of_command;

/// The store mints no such token.
#[derive(Debug, thiserror::Error)]
#[error("no token is minted")]
pub(crate) struct NotMinted(pub(crate) MintDenial);

impl Hand<'_> {
    /// Mints a token. Where every event is required, nobody is given it before that of its minting is kept.
    ///
    /// # Errors
    /// [`NotMinted`], what the server says, and what the store refuses.
    pub(crate) fn mint_token(&self, order: MintOrder, delivery: Delivery) -> anyhow::Result<(Secret, TokenState)> {
        let now = order.now;
        let (id, secret) = match self.server() {
            None => self.mint_here(order, delivery)?,
            Some(server) => {
                let mut answer = server.ask(Method::POST, "/api/v1/tokens", Some(&asked(&order.token)?))?;
                (text_at(&answer, "/id")?.to_owned(), take_secret(&mut answer, "token")?)
            }
        };
        Ok((secret, self.store.token(&id, now)?))
    }

    fn mint_here(&self, order: MintOrder, delivery: Delivery) -> anyhow::Result<(String, Secret)> {
        let now = order.now;
        let Minted { token, secret } = match self.store.mint_token(order)? {
            Minting::Made(minted) => minted,
            Minting::Denied(denial) => return Err(NotMinted(denial).into()),
        };
        if delivery == Delivery::BestEffort {
            self.tell(Action::TokenMinted, &token.id, format!("of {}", token.key_id));
            return Ok((token.id.to_string(), secret));
        }
        let kept = keep_act_of_command(self.store, Action::TokenMinted, &token.id, format!("of {}", token.key_id));
        if let Err(error) = kept {
            // Nobody has it. If this fails, too, it ends by itself.
            let _ = self.store.revoke_token(&token.id, now);
            return Err(error).context(
                "no token is minted: the configuration demands that every event is kept, and that of the minting was not",
            );
        }
        Ok((token.id.to_string(), secret))
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn revoke_token(&self, id: &str, now: UnixMillis) -> anyhow::Result<TokenState> {
        let Some(server) = self.server() else {
            let state = self.store.revoke_token(id, now)?;
            self.tell(Action::TokenRevoked, &state.token.id, format!("of {}", state.token.key_id));
            return Ok(state);
        };
        let id = self.store.token(id, now)?.token.id.clone();
        server.ask(Method::POST, &format!("/api/v1/tokens/{id}/revoke"), None)?;
        Ok(self.store.token(&id, now)?)
    }
}

/// A request for a token as the API reads it.
fn asked(token: &NewToken) -> anyhow::Result<Value> {
    let origins: Vec<&str> = token.origins.iter().map(keymoat_core::Origin::as_str).collect();
    let routes: Option<Vec<&str>> = match &token.scopes {
        Scopes::All => None,
        Scopes::Only(words) => Some(words.iter().map(|word| &**word).collect()),
    };
    Ok(json!({
        "key_id": &*token.key_id,
        "uses": match token.uses {
            Uses::Unlimited => None,
            Uses::AtMost(uses) => Some(uses),
        },
        "unlimited_uses": token.uses == Uses::Unlimited,
        "start_by": moment(token.start_by),
        "live_until": moment(token.live_until),
        "routes": routes,
        "origins": Some(origins).filter(|origins| !origins.is_empty()),
        "calls": token.calls.word(),
        "constraints": serde_json::from_str::<Value>(&token.constraint.to_json())?,
        "limits": limits(&token.limits),
    }))
}

fn limits(limits: &TokenLimits) -> Value {
    let models: Vec<&str> = limits.models.iter().map(|model| &**model).collect();
    json!({
        "duration_secs": limits.duration_secs_max,
        "bytes": limits.bytes_max,
        "messages": limits.messages_max,
        "requests_per_second": limits.requests_per_second.map(|pace| pace.per_second),
        "burst": limits.requests_per_second.map(|pace| pace.burst),
        "sessions": limits.sessions_max,
        "total_bytes": limits.total_bytes_max,
        "models": Some(models).filter(|models| !models.is_empty()),
    })
}
