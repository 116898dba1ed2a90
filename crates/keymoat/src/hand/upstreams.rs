//! The secrets of upstreams are sealed, replaced and removed.

use anyhow::Context;
use http::Method;
use keymoat_core::{Action, Secret, UnixMillis};
use keymoat_store::{SealedSecret, StoreError};
use serde::Serialize;
use serde_json::Value;

use super::{Hand, entrusted, text_at};
use crate::commands::session::path_segment;

/// What has to be there before a secret is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Expected {
    /// No sealed secret.
    None,
    /// One, which is replaced.
    Sealed,
}

/// A secret as the API reads it.
#[derive(Serialize)]
struct Entrusted<'a> {
    secret: &'a str,
    expects: Expected,
    /// An upstream may be written into the configuration later than its secret is sealed.
    ahead: bool,
}

impl Hand<'_> {
    /// Seals the secret of an upstream.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn seal_secret(
        &self,
        upstream: &str,
        secret: &Secret,
        expects: Expected,
        now: UnixMillis,
    ) -> anyhow::Result<SealedSecret> {
        let Some(server) = self.server() else {
            let sealed = match expects {
                Expected::None => self.store.seal_secret(upstream, secret, now)?,
                Expected::Sealed => self.store.rotate_secret(upstream, secret, now)?,
            };
            self.tell(Action::UpstreamSecretSealed, upstream, format!("version {}", sealed.version));
            return Ok(sealed);
        };
        if expects == Expected::Sealed {
            self.demand_sealed(upstream)?;
        }
        let body = Entrusted { secret: entrusted(secret)?, expects, ahead: true };
        server.entrust(Method::PUT, &path_of(upstream), &body)?;
        self.newest(upstream)
    }

    /// Removes the sealed secret of an upstream.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn remove_secret(&self, upstream: &str, now: UnixMillis) -> anyhow::Result<SealedSecret> {
        let Some(server) = self.server() else {
            let removed = self.store.remove_secret(upstream, now)?;
            self.tell(Action::UpstreamSecretRemoved, upstream, format!("version {}", removed.version));
            return Ok(removed);
        };
        self.demand_sealed(upstream)?;
        server.ask(Method::DELETE, &path_of(upstream), None)?;
        self.newest(upstream)
    }

    /// All versions of all sealed secrets, by upstream.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn sealed_secrets(&self) -> anyhow::Result<Vec<SealedSecret>> {
        let Some(mut server) = self.server() else { return Ok(self.store.sealed_secrets()?) };
        let (mut secrets, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("/api/v1/upstream-secrets?limit=500{cursor}"))?;
            for item in page.get("items").and_then(Value::as_array).into_iter().flatten() {
                secrets.push(read(item)?);
            }
            let Some(next) = page.get("next_cursor").and_then(Value::as_str) else { return Ok(secrets) };
            cursor = format!("&cursor={next}");
            server = self.server_again()?;
        }
    }

    /// Says what a command says of an upstream without a sealed secret.
    fn demand_sealed(&self, upstream: &str) -> Result<(), StoreError> {
        let secrets = self.store.sealed_secrets()?;
        let is_sealed = secrets.iter().any(|secret| *secret.upstream == *upstream && secret.retired_at.is_none());
        if is_sealed { Ok(()) } else { Err(StoreError::SecretUnknown) }
    }

    fn newest(&self, upstream: &str) -> anyhow::Result<SealedSecret> {
        let of_upstream = self.store.sealed_secrets()?.into_iter().filter(|secret| *secret.upstream == *upstream);
        of_upstream.max_by_key(|secret| secret.version).context("the store has no secret of this upstream")
    }
}

fn path_of(upstream: &str) -> String {
    format!("/api/v1/upstreams/{}/secret", path_segment(upstream))
}

fn read(item: &Value) -> anyhow::Result<SealedSecret> {
    let moment = |place| item.get(place).and_then(Value::as_str).and_then(UnixMillis::from_rfc3339);
    let version = item.get("version").and_then(Value::as_u64).and_then(|version| u32::try_from(version).ok());
    Ok(SealedSecret {
        upstream: text_at(item, "/upstream")?.into(),
        version: version.context("the server's answer has no `version`")?,
        created_at: moment("created_at").context("the server's answer has no `created_at`")?,
        retired_at: moment("retired_at"),
    })
}
