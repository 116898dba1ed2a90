//! What the store does with keys: the statements, each in a transaction of its own.

use keymoat_core::{Key, KeySecret, Secret, UnixMillis};
use rusqlite::{Connection, TransactionBehavior, params};

use super::{Sqlite, held, keys};
use crate::error::StoreError;
use crate::id;
use crate::key_life::{
    DayUse, Import, ImportMode, Imported, KeyChange, OVERLAP_MILLIS_MAX, Rotated, Rotation, WhileRotating,
};
use crate::key_query::KeyQuery;
use crate::new_key::{NewKey, public_prefix};

/// What was counted is forgotten after so many days.
pub(crate) const DAYS_REMEMBERED: i64 = 2;

impl Sqlite {
    pub(crate) fn create_key(&self, new: NewKey, secret: &Secret, now: UnixMillis) -> Result<Key, StoreError> {
        let key = new.into_key(public_prefix(secret), now)?;
        // Only the digest of the secret goes further.
        let digest = self.pepper.digest(secret.expose());
        self.in_one(|change| {
            keys::insert(change, &key, &digest)?;
            keys::count_change(change)?;
            Ok(key)
        })
    }

    pub(crate) fn import_keys(
        &self,
        imports: Vec<Import<'_>>,
        mode: ImportMode,
        now: UnixMillis,
    ) -> Result<Vec<Imported>, StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let mut change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut done = Vec::with_capacity(imports.len());
        for import in imports {
            // One that is refused half-way leaves nothing behind, and takes no other along.
            let own = change.savepoint()?;
            let imported = self.import(&own, import, now);
            match imported {
                Err(error) if error.is_of_the_disk() => return Err(error),
                Err(error) => done.push(Imported::Refused(error)),
                Ok(imported) => {
                    own.commit()?;
                    done.push(imported);
                }
            }
        }
        if mode == ImportMode::Commit && done.iter().any(|imported| matches!(imported, Imported::Made(_))) {
            keys::count_change(&change)?;
            change.commit()?;
        }
        Ok(done)
    }

    fn import(&self, change: &Connection, import: Import<'_>, now: UnixMillis) -> Result<Imported, StoreError> {
        // Only the digest of the secret goes further.
        let digest = self.pepper.digest(import.secret.expose());
        if let Some(owner) = keys::owner(change, &digest)? {
            return Ok(Imported::Known(keys::find(change, &owner)?));
        }
        let key = import.new.into_key(public_prefix(import.secret), now)?;
        keys::insert(change, &key, &digest)?;
        Ok(Imported::Made(key))
    }

    pub(crate) fn keys(&self) -> Result<Vec<Key>, StoreError> {
        let mut reader = held(&self.reader);
        let moment = reader.transaction()?;
        keys::all(&moment)
    }

    pub(crate) fn key_page(&self, asked: &KeyQuery) -> Result<Vec<Key>, StoreError> {
        let mut reader = held(&self.reader);
        let moment = reader.transaction()?;
        keys::page(&moment, asked)
    }

    pub(crate) fn key(&self, id_or_name: &str) -> Result<Key, StoreError> {
        let mut reader = held(&self.reader);
        let moment = reader.transaction()?;
        keys::find(&moment, id_or_name)
    }

    pub(crate) fn change_key(&self, id_or_name: &str, asked: &KeyChange, now: UnixMillis) -> Result<Key, StoreError> {
        self.in_one(|change| {
            let key = keys::find(change, id_or_name)?;
            if key.revoked_at.is_some() {
                return Err(StoreError::KeyRevoked { name: key.name.to_string() });
            }
            let changed = asked.applied_to(&key, now)?;
            keys::update(change, &changed)?;
            keys::count_change(change)?;
            Ok(changed)
        })
    }

    pub(crate) fn rotate_key(
        &self,
        id_or_name: &str,
        secret: &Secret,
        rotation: Rotation,
        now: UnixMillis,
    ) -> Result<Rotated, StoreError> {
        if !(0..=OVERLAP_MILLIS_MAX).contains(&rotation.overlap_millis) {
            return Err(StoreError::OverlapInvalid);
        }
        // Only the digest of the secret goes further.
        let digest = self.pepper.digest(secret.expose());
        let new = KeySecret {
            id: id::draw(id::SECRET)?.into(),
            created_at: now,
            ends_at: None,
            prefix: public_prefix(secret),
        };
        self.in_one(|change| {
            let key = live(keys::find(change, id_or_name)?, now)?;
            let newest = key.newest_secret();
            let is_younger = |millis| newest.is_some_and(|newest| newest.created_at.plus_millis(millis) > now);
            if rotation.unless_younger_than_millis.is_some_and(is_younger) {
                return Ok(Rotated::NotDue(key));
            }
            if let (Some(ending), Some(newest)) = (key.ending_secret(now), newest) {
                if rotation.while_rotating == WhileRotating::Refuse {
                    let until = ending.ends_at.unwrap_or(now);
                    let (id, at) = (key.id.to_string(), newest.created_at);
                    return Err(StoreError::AlreadyRotated { id, at, until });
                }
                keys::end_secret(change, &ending.id, now)?;
            }
            if let Some(newest) = newest {
                keys::end_secret(change, &newest.id, now.plus_millis(rotation.overlap_millis))?;
            }
            keys::add_secret(change, &key.id, &new, &digest)?;
            keys::count_change(change)?;
            Ok(Rotated::Done(keys::find(change, &key.id)?))
        })
    }

    pub(crate) fn end_old_secret(&self, id_or_name: &str, now: UnixMillis) -> Result<Key, StoreError> {
        self.in_one(|change| {
            let key = live(keys::find(change, id_or_name)?, now)?;
            let Some(ending) = key.ending_secret(now) else {
                return Err(StoreError::NotRotating { name: key.name.to_string() });
            };
            keys::end_secret(change, &ending.id, now)?;
            keys::count_change(change)?;
            keys::find(change, &key.id)
        })
    }

    pub(crate) fn revoke_key(&self, id_or_name: &str, now: UnixMillis) -> Result<Key, StoreError> {
        self.in_one(|change| {
            let mut key = keys::find(change, id_or_name)?;
            if key.revoked_at.is_none() {
                keys::revoke(change, &key.id, now)?;
                keys::count_change(change)?;
                key.revoked_at = Some(now);
            }
            Ok(key)
        })
    }

    pub(crate) fn give_back(&self, unused: &[DayUse], today: i64) -> Result<(), StoreError> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.in_one(|change| {
            for DayUse { key_id, day, requests, bytes } in unused {
                change
                    .prepare_cached(
                        "UPDATE limit_use SET requests = max(requests - ?3, 0), bytes = max(bytes - ?4, 0)
                         WHERE key_id = ?1 AND day = ?2",
                    )?
                    .execute(params![key_id, day, signed(*requests), signed(*bytes)])?;
            }
            let old = today.saturating_sub(DAYS_REMEMBERED);
            change.prepare_cached("DELETE FROM limit_use WHERE day < ?1")?.execute([old])?;
            Ok(())
        })
    }

    pub(crate) fn day_use(&self, day: i64) -> Result<Vec<DayUse>, StoreError> {
        day_use(&held(&self.reader), day)
    }

    /// Runs `change` in one transaction.
    fn in_one<T>(&self, change: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// A key that is neither revoked nor expired.
pub(crate) fn live(key: Key, now: UnixMillis) -> Result<Key, StoreError> {
    let name = || key.name.to_string();
    if key.revoked_at.is_some() {
        return Err(StoreError::KeyRevoked { name: name() });
    }
    match key.expires_at {
        Some(at) if at <= now => Err(StoreError::KeyExpired { name: name(), at }),
        _ => Ok(key),
    }
}

fn day_use(connection: &Connection, day: i64) -> Result<Vec<DayUse>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT key_id, day, requests, bytes FROM limit_use WHERE day = ?1")?;
    let uses = statement.query_map([day], |row| {
        let number = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.unsigned_abs());
        Ok(DayUse { key_id: row.get(0)?, day: row.get(1)?, requests: number(2)?, bytes: number(3)? })
    })?;
    Ok(uses.collect::<Result<_, _>>()?)
}
