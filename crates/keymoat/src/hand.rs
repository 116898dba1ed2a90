//! By whose hand a command changes the store: that of the server which runs on it, so that the change is in force when
//! the command ends and is told among the server's own, or else the command's own.

use std::path::{Path, PathBuf};

use anyhow::Context;
use http::Method;
use keymoat_core::{Action, Key, RotateAfter, Secret, UnixMillis};
use keymoat_store::{NewKey, Rotated, Rotation, Store, TokenState, WhileRotating};
use serde_json::{Value, json};
use zeroize::Zeroize;

use crate::observed::tell_of_command;
use crate::process::new_key_secret;
use crate::socket::Socket;

/// Changes the store of one folder.
#[derive(Debug)]
pub(crate) struct Hand<'a> {
    store: &'a Store,
    dir: PathBuf,
}

impl<'a> Hand<'a> {
    /// For the store in the folder `dir`.
    pub(crate) fn on(store: &'a Store, dir: &Path) -> Self {
        Self { store, dir: dir.to_owned() }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn create_key(&self, new: NewKey, now: UnixMillis) -> anyhow::Result<(Key, Secret)> {
        let Some(server) = self.server().filter(|_| !matches!(new.rotate_after, Some(RotateAfter::Moment(_)))) else {
            let secret = new_key_secret()?;
            let key = self.store.create_key(new, &secret, now)?;
            self.tell(Action::KeyCreated, &key.id, format!("`{}`", key.name));
            return Ok((key, secret));
        };
        let limits = &new.limits;
        let body = json!({
            "name": new.name,
            "owner": new.owner,
            "scopes": new.scopes.words().iter().map(|word| &**word).collect::<Vec<_>>(),
            "expires_at": new.expires_at.map(|at| at.to_string()),
            "rotate_after_secs": match new.rotate_after {
                Some(RotateAfter::Age(millis)) => Some((millis / 1000).max(1)),
                _ => None,
            },
            "limits": {
                "requests_per_second": limits.requests_per_second.map(|pace| pace.per_second),
                "burst": limits.requests_per_second.map(|pace| pace.burst),
                "requests_per_day": limits.requests_per_day,
                "bytes_per_day": limits.bytes_per_day,
                "sessions": limits.sessions,
                "session_secs": limits.session_duration_secs,
                "session_bytes": limits.session_bytes,
                "models": limits.models.iter().map(|model| &**model).collect::<Vec<_>>(),
            },
        });
        self.made(server.ask(Method::POST, "/api/v1/keys", Some(&body))?)
    }

    /// Gives a key another secret, if it is due.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn rotate_key(
        &self,
        key: &str,
        rotation: Rotation,
        now: UnixMillis,
    ) -> anyhow::Result<(Rotated, Option<Secret>)> {
        let Some(server) = self.server() else {
            let secret = new_key_secret()?;
            return Ok(match self.store.rotate_key(key, &secret, rotation, now)? {
                Rotated::Done(key) => {
                    self.tell(Action::KeyRotated, &key.id, format!("`{}`", key.name));
                    (Rotated::Done(key), Some(secret))
                }
                not_due @ Rotated::NotDue(_) => (not_due, None),
            });
        };
        let id = self.store.key(key)?.id;
        let body = json!({
            "overlap_secs": rotation.overlap_millis / 1000,
            "end_oldest": rotation.while_rotating == WhileRotating::EndOldest,
            "unless_younger_than_secs": rotation.unless_younger_than_millis.map(|millis| millis / 1000),
        });
        let answer = server.ask(Method::POST, &format!("/api/v1/keys/{id}/rotate"), Some(&body))?;
        if answer.get("secret").is_none() {
            return Ok((Rotated::NotDue(self.store.key(&id)?), None));
        }
        let (key, secret) = self.made(answer)?;
        Ok((Rotated::Done(key), Some(secret)))
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn revoke_key(&self, key: &str, now: UnixMillis) -> anyhow::Result<Key> {
        let Some(server) = self.server() else {
            let key = self.store.revoke_key(key, now)?;
            self.tell(Action::KeyRevoked, &key.id, format!("`{}`", key.name));
            return Ok(key);
        };
        let id = self.store.key(key)?.id;
        server.ask(Method::POST, &format!("/api/v1/keys/{id}/revoke"), None)?;
        Ok(self.store.key(&id)?)
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

    fn tell(&self, action: Action, target: &str, detail: String) {
        tell_of_command(self.store, action, target, Some(detail));
    }

    fn server(&self) -> Option<Socket> {
        Socket::of_store(&self.dir)
    }

    /// The key and the secret of an answer, which is not kept.
    fn made(&self, mut answer: Value) -> anyhow::Result<(Key, Secret)> {
        let id = answer.pointer("/key/id").and_then(Value::as_str).context("the server's answer names no key")?;
        let key = self.store.key(id)?;
        let Some(Value::String(secret)) = answer.get_mut("secret") else {
            anyhow::bail!("the server's answer has no secret")
        };
        let kept = Secret::from(secret.as_str());
        secret.zeroize();
        Ok((key, kept))
    }
}
