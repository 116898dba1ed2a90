//! Those who may administer are made and removed.

use anyhow::Context;
use http::Method;
use keymoat_admin::{hash_password, new_secret};
use keymoat_core::format::Kind;
use keymoat_core::{Action, Role, Secret, UnixMillis};
use keymoat_store::{Admin, NewAdmin, Proof};
use serde::Serialize;

use super::{Hand, entrusted, moment, take_secret, text_at};
use crate::commands::session::path_segment;

/// An admin to be made: a person with a password, or a key.
#[derive(Debug)]
pub(crate) struct AdminOrder<'a> {
    /// The name.
    pub(crate) name: &'a str,
    /// How much it may do.
    pub(crate) role: Role,
    /// When it ends.
    pub(crate) expires_at: Option<UnixMillis>,
    /// A person's password.
    pub(crate) password: Option<Secret>,
}

/// The same as the API reads it.
#[derive(Serialize)]
struct Entrusted<'a> {
    name: &'a str,
    role: &'static str,
    kind: &'static str,
    password: Option<&'a str>,
    expires_at: Option<serde_json::Value>,
}

impl Hand<'_> {
    /// Makes an admin, and gives the key of one that has no password.
    ///
    /// # Errors
    /// A password that is none, and what the store refuses.
    pub(crate) fn create_admin(
        &self,
        order: AdminOrder<'_>,
        now: UnixMillis,
    ) -> anyhow::Result<(Admin, Option<Secret>)> {
        let AdminOrder { name, role, expires_at, password } = order;
        let Some(server) = self.server() else {
            let of = |proof| NewAdmin { name: name.to_owned(), role, expires_at, proof };
            let (admin, key) = match password {
                Some(password) => {
                    let hash = hash_password(&password).context("--password-file")?;
                    (self.store.create_admin(of(Proof::Password(hash)), now)?, None)
                }
                None => {
                    let key = new_secret(Kind::Admin)?;
                    (self.store.create_admin(of(Proof::Key(&key)), now)?, Some(key))
                }
            };
            let detail = format!("{} `{}`, {}", admin.kind.word(), admin.name, role.word());
            self.tell(Action::AdminCreated, &admin.id, detail);
            return Ok((admin, key));
        };
        let password = password.as_ref().map(entrusted).transpose().context("--password-file")?;
        let kind = if password.is_some() { "person" } else { "key" };
        let body = Entrusted { name, role: role.word(), kind, password, expires_at: expires_at.map(moment) };
        let mut answer = server.entrust(Method::POST, "/api/v1/admins", &body)?;
        let admin = self.store.admin(text_at(&answer, "/id")?)?;
        let key = if kind == "key" { Some(take_secret(&mut answer, "secret")?) } else { None };
        Ok((admin, key))
    }

    /// Removes an admin for good.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn remove_admin(&self, id_or_name: &str, now: UnixMillis) -> anyhow::Result<Admin> {
        let admin = self.store.admin(id_or_name)?;
        let Some(server) = self.server() else {
            let removed = self.store.remove_admin(&admin.id, None, now)?;
            let detail = format!("{} `{}`", removed.kind.word(), removed.name);
            self.tell(Action::AdminRemoved, &removed.id, detail);
            return Ok(removed);
        };
        server.ask(Method::DELETE, &format!("/api/v1/admins/{}", path_segment(&admin.id)), None)?;
        Ok(admin)
    }
}
