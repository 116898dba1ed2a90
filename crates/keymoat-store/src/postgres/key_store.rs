//! What the store does with keys: the statements, each in a transaction of its own, one change at a time on all nodes.

use std::sync::Arc;

use keymoat_core::{Digest, Key, KeySecret, Secret, UnixMillis};

use super::error::failed;
use super::{Postgres, Transaction, commit, keys};
use crate::error::StoreError;
use crate::id;
use crate::key_life::{
    DayUse, Import, ImportMode, Imported, KeyChange, OVERLAP_MILLIS_MAX, Rotated, Rotation, WhileRotating,
};
use crate::key_query::KeyQuery;
use crate::new_key::{NewKey, public_prefix};
use crate::sqlite::{DAYS_REMEMBERED, live};

impl Postgres {
    pub(crate) fn create_key(&self, new: NewKey, secret: &Secret, now: UnixMillis) -> Result<Key, StoreError> {
        let key = new.into_key(public_prefix(secret), now)?;
        let digest = self.digest(secret);
        self.ask(move |shared| async move {
            shared
                .holding(async move |change| {
                    keys::insert(change, &key, &digest).await?;
                    keys::count_change(change).await?;
                    Ok(key)
                })
                .await
        })
    }

    pub(crate) fn import_keys(
        &self,
        imports: Vec<Import<'_>>,
        mode: ImportMode,
        now: UnixMillis,
    ) -> Result<Vec<Imported>, StoreError> {
        let digested = |import: Import<'_>| (import.new, self.digest(import.secret), public_prefix(import.secret));
        let imports: Vec<_> = imports.into_iter().map(digested).collect();
        self.ask(move |shared| async move {
            let mut client = shared.client().await?;
            let mut change = client.begin().await?;
            keys::hold(&change).await?;
            let mut done = Vec::with_capacity(imports.len());
            for (new, digest, prefix) in imports {
                // One that is refused half-way leaves nothing behind, and takes no other along.
                let own = change.transaction().await.map_err(|error| failed(&error))?;
                match import(&own, (new, prefix), &digest, now).await {
                    Err(error) if error.is_of_the_database() => return Err(error),
                    Err(error) => {
                        own.rollback().await.map_err(|error| failed(&error))?;
                        done.push(Imported::Refused(error));
                    }
                    Ok(imported) => {
                        own.commit().await.map_err(|error| failed(&error))?;
                        done.push(imported);
                    }
                }
            }
            if mode == ImportMode::Commit && done.iter().any(|imported| matches!(imported, Imported::Made(_))) {
                keys::count_change(&change).await?;
                commit(change, &shared.link).await?;
            } else {
                change.rollback().await.map_err(|error| failed(&error))?;
            }
            client.done();
            Ok(done)
        })
    }

    pub(crate) fn keys(&self) -> Result<Vec<Key>, StoreError> {
        self.ask(|shared| async move { shared.at_one_moment(async |moment| keys::all(moment).await).await })
    }

    pub(crate) fn key_page(&self, asked: &KeyQuery) -> Result<Vec<Key>, StoreError> {
        let asked = asked.clone();
        self.ask(
            move |shared| async move { shared.at_one_moment(async |moment| keys::page(moment, &asked).await).await },
        )
    }

    pub(crate) fn key(&self, id_or_name: &str) -> Result<Key, StoreError> {
        let name = id_or_name.to_owned();
        self.ask(
            move |shared| async move { shared.at_one_moment(async |moment| keys::find(moment, &name).await).await },
        )
    }

    pub(crate) fn change_key(&self, id_or_name: &str, asked: &KeyChange, now: UnixMillis) -> Result<Key, StoreError> {
        let (name, asked) = (id_or_name.to_owned(), asked.clone());
        self.ask(move |shared| async move {
            shared
                .holding(async move |change| {
                    let key = keys::find(change, &name).await?;
                    if key.revoked_at.is_some() {
                        return Err(StoreError::KeyRevoked { name: key.name.to_string() });
                    }
                    let changed = asked.applied_to(&key, now)?;
                    keys::update(change, &changed).await?;
                    keys::count_change(change).await?;
                    Ok(changed)
                })
                .await
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
        let (name, digest) = (id_or_name.to_owned(), self.digest(secret));
        let new = KeySecret {
            id: id::draw(id::SECRET)?.into(),
            created_at: now,
            ends_at: None,
            prefix: public_prefix(secret),
        };
        self.ask(move |shared| async move {
            shared
                .holding(async move |change| {
                    let key = live(keys::find(change, &name).await?, now)?;
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
                        keys::end_secret(change, &ending.id, now).await?;
                    }
                    if let Some(newest) = newest {
                        keys::end_secret(change, &newest.id, now.plus_millis(rotation.overlap_millis)).await?;
                    }
                    keys::add_secret(change, &key.id, &new, &digest).await?;
                    keys::count_change(change).await?;
                    Ok(Rotated::Done(keys::find(change, &key.id).await?))
                })
                .await
        })
    }

    pub(crate) fn end_old_secret(&self, id_or_name: &str, now: UnixMillis) -> Result<Key, StoreError> {
        let name = id_or_name.to_owned();
        self.ask(move |shared| async move {
            shared
                .holding(async move |change| {
                    let key = live(keys::find(change, &name).await?, now)?;
                    let Some(ending) = key.ending_secret(now) else {
                        return Err(StoreError::NotRotating { name: key.name.to_string() });
                    };
                    keys::end_secret(change, &ending.id, now).await?;
                    keys::count_change(change).await?;
                    keys::find(change, &key.id).await
                })
                .await
        })
    }

    pub(crate) fn revoke_key(&self, id_or_name: &str, now: UnixMillis) -> Result<Key, StoreError> {
        let name = id_or_name.to_owned();
        self.ask(move |shared| async move {
            shared
                .holding(async move |change| {
                    let mut key = keys::find(change, &name).await?;
                    if key.revoked_at.is_none() {
                        keys::revoke(change, &key.id, now).await?;
                        keys::count_change(change).await?;
                        key.revoked_at = Some(now);
                    }
                    Ok(key)
                })
                .await
        })
    }

    pub(crate) fn day_use(&self, day: i64) -> Result<Vec<DayUse>, StoreError> {
        self.ask(move |shared| async move { shared.at_one_moment(async |moment| day_use(moment, day).await).await })
    }

    pub(crate) fn give_back(&self, unused: &[DayUse], today: i64) -> Result<(), StoreError> {
        let mut unused = unused.to_vec();
        // All nodes lock the rows in one order.
        unused.sort_by(|one, other| (&one.key_id, one.day).cmp(&(&other.key_id, other.day)));
        self.ask(move |shared| async move {
            let give = async |change: &mut Transaction<'_>| {
                let sql = "UPDATE limit_use SET requests = greatest(requests - $3, 0), bytes = greatest(bytes - $4, 0)
                           WHERE key_id = $1 AND day = $2";
                let statement = change.prepare_cached(sql).await.map_err(|error| failed(&error))?;
                for DayUse { key_id, day, requests, bytes } in &unused {
                    let done =
                        change.execute(&statement, &[&&**key_id, day, &signed(*requests), &signed(*bytes)]).await;
                    done.map_err(|error| failed(&error))?;
                }
                forget_days(change, today).await
            };
            shared.in_one(give).await
        })
    }

    fn digest(&self, secret: &Secret) -> Digest {
        // Only the digest of the secret goes further.
        self.shared.pepper.digest(secret.expose())
    }
}

async fn import(
    own: &Transaction<'_>,
    (new, prefix): (NewKey, Option<Arc<str>>),
    digest: &Digest,
    now: UnixMillis,
) -> Result<Imported, StoreError> {
    if let Some(owner) = keys::owner(own, digest).await? {
        return Ok(Imported::Known(keys::find(own, &owner).await?));
    }
    let key = new.into_key(prefix, now)?;
    keys::insert(own, &key, digest).await?;
    Ok(Imported::Made(key))
}

async fn forget_days(change: &Transaction<'_>, today: i64) -> Result<(), StoreError> {
    let old = today.saturating_sub(DAYS_REMEMBERED);
    let done = change.execute("DELETE FROM limit_use WHERE day < $1", &[&old]).await;
    done.map(drop).map_err(|error| failed(&error))
}

async fn day_use(moment: &Transaction<'_>, day: i64) -> Result<Vec<DayUse>, StoreError> {
    let sql = "SELECT key_id, requests, bytes FROM limit_use WHERE day = $1 ORDER BY key_id COLLATE \"C\"";
    let rows = moment.query(sql, &[&day]).await.map_err(|error| failed(&error))?;
    let read = |row: &tokio_postgres::Row| {
        let number = |column| row.try_get::<_, i64>(column).map(i64::unsigned_abs);
        let key_id = row.try_get::<_, &str>(0)?.into();
        Ok(DayUse { key_id, day, requests: number(1)?, bytes: number(2)? })
    };
    rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| failed(&error))
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
