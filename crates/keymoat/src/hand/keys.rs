//! Keys are made, changed, rotated, taken over and revoked.

use std::collections::HashMap;

use anyhow::Context;
use http::Method;
use keymoat_core::{Action, Key, KeyLimits, RotateAfter, Secret, UnixMillis};
use keymoat_store::{Import, ImportMode, Imported, KeyChange, NewKey, Rotated, Rotation, WhileRotating};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Hand, entrusted, moment, take_secret, text_at};
use crate::observed::tell_of_commands;
use crate::output::time::rfc3339;
use crate::process::new_key_secret;
use crate::socket::{ENTRUSTED_BYTES_MAX, Socket};

/// So many keys are taken over with one request: as many as the API takes.
const IMPORT_KEYS_MAX: usize = 1000;

/// What stands around the keys of an import: their terms, and the form of JSON.
const IMPORT_TERMS_BYTES_MAX: usize = 64 << 10;

/// A key to be taken over.
#[derive(Debug)]
pub(crate) struct ImportOrder<'a> {
    /// Its name.
    pub(crate) name: String,
    /// The secret in its canonical form.
    pub(crate) secret: &'a Secret,
}

/// What became of one key of an import.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It was taken over, or would be.
    Made { id: String, name: String },
    /// It is known already.
    Known { id: String, name: String },
    /// It cannot be taken over, and why.
    Refused(String),
}

impl Hand<'_> {
    /// Makes a key.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn create_key(&self, new: NewKey, now: UnixMillis) -> anyhow::Result<(Key, Secret)> {
        let Some(server) = self.server() else {
            let secret = new_key_secret()?;
            let key = self.store.create_key(new, &secret, now)?;
            self.tell(Action::KeyCreated, &key.id, format!("`{}`", key.name));
            return Ok((key, secret));
        };
        let mut body = terms(&new);
        body.insert("name".to_owned(), new.name.into());
        self.made(server.ask(Method::POST, "/api/v1/keys", Some(&body.into()))?)
    }

    /// Changes a key; `change` says what, of the key as it is.
    ///
    /// # Errors
    /// What the store refuses, what `change` says, and that somebody else has changed it meanwhile.
    pub(crate) fn change_key(
        &self,
        key: &str,
        change: impl FnOnce(&Key) -> anyhow::Result<KeyChange>,
        now: UnixMillis,
    ) -> anyhow::Result<Key> {
        let Some(server) = self.server() else {
            let before = self.store.key(key)?;
            let change = change(&before)?;
            let key = self.store.change_key(&before.id, &change, now)?;
            self.tell(Action::KeyChanged, &key.id, format!("`{}`: {}", key.name, change.words()));
            return Ok(key);
        };
        let id = self.store.key(key)?.id;
        let path = format!("/api/v1/keys/{id}");
        // The key is read after its tag: what somebody changes in between makes the tag an old one.
        let (_, tag) = server.get_tagged(&path)?;
        let change = change(&self.store.key(&id)?)?;
        self.server_again()?.change(&path, &tag, &changes(&change))?;
        Ok(self.store.key(&id)?)
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
                    let end = match key.ending_secret(now).and_then(|secret| secret.ends_at) {
                        Some(at) => format!("at {}", rfc3339(at)),
                        None => "at once".to_owned(),
                    };
                    self.tell(Action::KeyRotated, &key.id, format!("`{}`, the old secret ends {end}", key.name));
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

    /// Ends the old secret of a key that is being rotated.
    ///
    /// # Errors
    /// What the store refuses.
    pub(crate) fn retire_key(&self, key: &str, now: UnixMillis) -> anyhow::Result<Key> {
        let Some(server) = self.server() else {
            let key = self.store.end_old_secret(key, now)?;
            self.tell(Action::KeyChanged, &key.id, format!("`{}`: the old secret was ended", key.name));
            return Ok(key);
        };
        self.post_to_key(server, key, "retire")
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
        self.post_to_key(server, key, "revoke")
    }

    /// Takes keys over under the terms of `template`, and says of each what became of it, in their order. What is only
    /// tried changes nothing, and is tried in the store itself.
    ///
    /// # Errors
    /// What the store refuses as a whole. By a server, thousands of keys are taken over in parts: those before stay.
    pub(crate) fn import_keys(
        &self,
        orders: &[ImportOrder<'_>],
        template: &NewKey,
        mode: ImportMode,
        now: UnixMillis,
    ) -> anyhow::Result<Vec<Taken>> {
        match self.server().filter(|_| mode == ImportMode::Commit) {
            Some(_) => self.import_by_server(orders, template),
            None => self.import_here(orders, template, mode, now),
        }
    }

    fn import_here(
        &self,
        orders: &[ImportOrder<'_>],
        template: &NewKey,
        mode: ImportMode,
        now: UnixMillis,
    ) -> anyhow::Result<Vec<Taken>> {
        let import = |order: &ImportOrder<'_>| NewKey { name: order.name.clone(), ..template.clone() };
        let imports = orders.iter().map(|order| Import { new: import(order), secret: order.secret });
        let done = self.store.import_keys(imports.collect(), mode, now)?;
        let made = done.iter().filter_map(|one| match one {
            Imported::Made(key) if mode == ImportMode::Commit => Some((&*key.id, Some(format!("`{}`", key.name)))),
            _ => None,
        });
        let mut made = made.peekable();
        if made.peek().is_some() {
            tell_of_commands(self.store, Action::KeyImported, made);
        }
        Ok(done.into_iter().map(Taken::of).collect())
    }

    fn import_by_server(&self, orders: &[ImportOrder<'_>], template: &NewKey) -> anyhow::Result<Vec<Taken>> {
        let mut taken = Vec::with_capacity(orders.len());
        let mut rest = orders;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(fitting(rest));
            let context = || format!("{} keys were looked at before this: repeat the import for the rest", taken.len());
            let done = self.import_part(part, template).with_context(context)?;
            taken.extend(done);
            rest = after;
        }
        Ok(taken)
    }

    fn import_part(&self, part: &[ImportOrder<'_>], template: &NewKey) -> anyhow::Result<Vec<Taken>> {
        let keys = part.iter().map(Entrusted::of).collect::<anyhow::Result<Vec<_>>>()?;
        // What the command takes over is told, with a remark, and not refused.
        let body = EntrustedKeys { keys, any_form: true, terms: terms(template) };
        let answer = self.server_again()?.entrust(Method::POST, "/api/v1/keys/import", &body)?;
        let mut by_line = HashMap::new();
        for (list, is_made) in [("imported", true), ("known", false)] {
            for key in answer.get(list).and_then(Value::as_array).into_iter().flatten() {
                let (id, name) = (text_at(key, "/id")?.to_owned(), text_at(key, "/name")?.to_owned());
                let taken = if is_made { Taken::Made { id, name } } else { Taken::Known { id, name } };
                by_line.insert(key.get("line").and_then(Value::as_u64), taken);
            }
        }
        for line in answer.get("refused").and_then(Value::as_array).into_iter().flatten() {
            let why = text_at(line, "/detail")?.to_owned();
            by_line.insert(line.get("line").and_then(Value::as_u64), Taken::Refused(why));
        }
        let unknown = || Taken::Refused("it was not looked at".to_owned());
        Ok((1..).zip(part).map(|(line, _)| by_line.remove(&Some(line)).unwrap_or_else(unknown)).collect())
    }

    /// Does by the server what takes no further word, and gives the key as it is afterwards.
    fn post_to_key(&self, server: Socket, key: &str, verb: &str) -> anyhow::Result<Key> {
        let id = self.store.key(key)?.id;
        server.ask(Method::POST, &format!("/api/v1/keys/{id}/{verb}"), None)?;
        Ok(self.store.key(&id)?)
    }

    /// The key and the secret of an answer, which is not kept.
    fn made(&self, mut answer: Value) -> anyhow::Result<(Key, Secret)> {
        let key = self.store.key(text_at(&answer, "/key/id")?)?;
        Ok((key, take_secret(&mut answer, "secret")?))
    }
}

impl Taken {
    fn of(one: Imported) -> Self {
        let about = |key: &Key| (key.id.to_string(), key.name.to_string());
        match one {
            Imported::Made(key) => {
                let (id, name) = about(&key);
                Self::Made { id, name }
            }
            Imported::Known(key) => {
                let (id, name) = about(&key);
                Self::Known { id, name }
            }
            Imported::Refused(error) => Self::Refused(error.to_string()),
        }
    }
}

/// A key of an import as the API reads it.
#[derive(Serialize)]
struct Entrusted<'a> {
    name: &'a str,
    secret: &'a str,
}

#[derive(Serialize)]
struct EntrustedKeys<'a> {
    keys: Vec<Entrusted<'a>>,
    any_form: bool,
    #[serde(flatten)]
    terms: Map<String, Value>,
}

impl<'a> Entrusted<'a> {
    fn of(order: &'a ImportOrder<'_>) -> anyhow::Result<Self> {
        Ok(Self { name: &order.name, secret: entrusted(order.secret)? })
    }
}

/// How many of the first orders go into one request, at least one. Escaped, a byte has six at most.
fn fitting(orders: &[ImportOrder<'_>]) -> usize {
    const AROUND_ONE: usize = 32;
    let mut left = ENTRUSTED_BYTES_MAX - IMPORT_TERMS_BYTES_MAX;
    let fits = |order: &&ImportOrder<'_>| {
        let bytes = (order.name.len() + order.secret.len()) * 6 + AROUND_ONE;
        left.checked_sub(bytes).inspect(|rest| left = *rest).is_some()
    };
    orders.iter().take(IMPORT_KEYS_MAX).take_while(fits).count().max(1)
}

/// What new keys are to be, but for the name, as the API reads it.
fn terms(new: &NewKey) -> Map<String, Value> {
    let scopes: Value = new.scopes.words().iter().map(|word| &**word).collect();
    let (age, at) = rotation(new.rotate_after);
    let fields = [
        ("owner", new.owner.as_deref().map_or(Value::Null, Value::from)),
        ("scopes", scopes),
        ("expires_at", new.expires_at.map_or(Value::Null, moment)),
        ("rotate_after_secs", age),
        ("rotate_at", at),
        ("limits", limits(&new.limits)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is to be different about a key, as the API reads it.
fn changes(change: &KeyChange) -> Value {
    let rotate = change.rotate_after.map(|rotate_after| match rotation(rotate_after) {
        (age, Value::Null) => ("rotate_after_secs", age),
        (_, at) => ("rotate_at", at),
    });
    let fields = [
        ("name", change.name.as_deref().map(Value::from)),
        ("owner", change.owner.as_ref().map(|owner| owner.as_deref().map_or(Value::Null, Value::from))),
        ("scopes", change.scopes.as_ref().map(|scopes| scopes.words().iter().map(|word| &**word).collect())),
        ("expires_at", change.expires_at.map(|at| at.map_or(Value::Null, moment))),
        ("limits", change.limits.as_ref().map(limits)),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(rotate);
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// An age in seconds, and a moment: one of them is null.
fn rotation(rotate_after: Option<RotateAfter>) -> (Value, Value) {
    match rotate_after {
        None => (Value::Null, Value::Null),
        // Less than a second is a second.
        Some(RotateAfter::Age(millis)) => ((millis / 1000).max(1).into(), Value::Null),
        Some(RotateAfter::Moment(at)) => (Value::Null, moment(at)),
    }
}

fn limits(limits: &KeyLimits) -> Value {
    let models: Vec<&str> = limits.models.iter().map(|model| &**model).collect();
    json!({
        "requests_per_second": limits.requests_per_second.map(|pace| pace.per_second),
        "burst": limits.requests_per_second.map(|pace| pace.burst),
        "requests_per_day": limits.requests_per_day,
        "bytes_per_day": limits.bytes_per_day,
        "sessions": limits.sessions,
        "session_secs": limits.session_duration_secs,
        "session_bytes": limits.session_bytes,
        "models": models,
    })
}

#[cfg(test)]
mod tests {
    use keymoat_core::{Pace, Scopes};

    use super::*;

    #[test]
    fn a_change_says_what_is_different_and_nothing_else() {
        assert_eq!(changes(&KeyChange::default()), json!({}));
        let change = KeyChange {
            name: Some("other".to_owned()),
            scopes: Some(Scopes::from_words(["voice", "mint"])),
            owner: Some(Some("the app team".to_owned())),
            expires_at: Some(None),
            rotate_after: Some(Some(RotateAfter::Moment(UnixMillis(0)))),
            ..KeyChange::default()
        };
        assert_eq!(
            changes(&change),
            json!({"name": "other", "owner": "the app team", "scopes": ["voice", "mint"], "expires_at": null, "rotate_at": "1970-01-01T00:00:00Z"})
        );
        let of = |rotate_after| changes(&KeyChange { rotate_after: Some(rotate_after), ..KeyChange::default() });
        assert_eq!(of(None), json!({"rotate_after_secs": null}));
        assert_eq!(of(Some(RotateAfter::Age(86_400_000))), json!({"rotate_after_secs": 86_400}));
        let pace = KeyLimits { requests_per_second: Some(Pace::new(5)), ..KeyLimits::default() };
        let limited = changes(&KeyChange { limits: Some(pace), ..KeyChange::default() });
        assert_eq!(
            (&limited["limits"]["requests_per_second"], &limited["limits"]["sessions"]),
            (&json!(5), &Value::Null)
        );
    }

    #[test]
    fn a_request_holds_as_many_keys_as_fit() {
        let (short, long) = (Secret::from("a-short-secret"), Secret::new(vec![b'x'; 1024]));
        let orders = |count, secret| -> Vec<ImportOrder<'_>> {
            (0..count).map(|number| ImportOrder { name: format!("key-{number}"), secret }).collect()
        };
        assert_eq!(fitting(&orders(3, &short)), 3);
        assert_eq!(fitting(&orders(2000, &short)), IMPORT_KEYS_MAX);
        let some = fitting(&orders(2000, &long));
        assert!((100..IMPORT_KEYS_MAX).contains(&some), "{some}");
    }
}
