//! By whose hand a command changes the store: that of the server which runs on it, so that the change is in force when
//! the command ends and is told among the server's own, or else the command's own.

mod admins;
mod keys;
mod tokens;
mod upstreams;

use std::path::{Path, PathBuf};

use anyhow::Context;
use keymoat_core::{Action, Secret, UnixMillis};
use keymoat_store::Store;
use serde_json::Value;
use zeroize::Zeroize;

use crate::observed::tell_of_command;
use crate::socket::Socket;

pub(crate) use self::admins::AdminOrder;
pub(crate) use self::keys::{ImportOrder, Taken};
pub(crate) use self::tokens::NotMinted;
pub(crate) use self::upstreams::Expected;

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

    /// The store, for whoever only looks.
    pub(crate) const fn store(&self) -> &'a Store {
        self.store
    }

    fn tell(&self, action: Action, target: &str, detail: String) {
        tell_of_command(self.store, action, target, Some(detail));
    }

    fn server(&self) -> Option<Socket> {
        Socket::of_store(&self.dir)
    }

    /// The same, once more, for a command that asks several times.
    fn server_again(&self) -> anyhow::Result<Socket> {
        self.server().context("the server on this store has gone: look at what was done, and repeat the command")
    }
}

/// The secret that stands in an answer under `name`. It is not kept there.
fn take_secret(answer: &mut Value, name: &str) -> anyhow::Result<Secret> {
    let Some(Value::String(secret)) = answer.get_mut(name) else { anyhow::bail!("the server's answer has no {name}") };
    let kept = Secret::from(secret.as_str());
    secret.zeroize();
    Ok(kept)
}

/// A secret as it is sent to the server on this machine.
fn entrusted(secret: &Secret) -> anyhow::Result<&str> {
    // Over a socket that only the store's owner opens, in a body that is wiped.
    std::str::from_utf8(secret.expose()).context("the secret is no text")
}

/// The text that stands in an answer at a place.
fn text_at<'v>(answer: &'v Value, place: &str) -> anyhow::Result<&'v str> {
    answer.pointer(place).and_then(Value::as_str).with_context(|| format!("the server's answer has no `{place}`"))
}

/// A moment as the API reads it.
fn moment(at: UnixMillis) -> Value {
    Value::from(at.to_string())
}
