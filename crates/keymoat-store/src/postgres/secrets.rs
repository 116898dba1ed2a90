//! The upstreams' sealed secrets: statements, and what the store does with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use deadpool_postgres::{GenericClient, Transaction};
use keymoat_core::{Secret, UnixMillis};
use tokio_postgres::Row;

use super::error::failed;
use super::{Postgres, commit, keys};
use crate::error::StoreError;
use crate::seal::{self, Kek, KekId, Sealed};
use crate::sqlite::Before;
use crate::upstream_secret::{SealedSecret, SecretChange, SecretState, check_name, check_secret};

impl Postgres {
    pub(crate) fn seal_secret(
        &self,
        upstream: &str,
        before: Before,
        secret: &Secret,
        now: UnixMillis,
    ) -> Result<SealedSecret, StoreError> {
        check_name(upstream)?;
        check_secret(secret)?;
        // It is sealed for its version before it leaves this thread; should another node take that version meanwhile, it
        // is sealed again for the next one.
        loop {
            let version = self.next_version(upstream)?;
            let sealed = self.shared.kek.seal(seal::Row { upstream, version }, secret)?;
            if let Some(kept) = self.keep_sealed(upstream, version, before, sealed, now)? {
                return Ok(kept);
            }
        }
    }

    pub(crate) fn remove_secret(&self, upstream: &str, now: UnixMillis) -> Result<SealedSecret, StoreError> {
        let upstream = upstream.to_owned();
        self.ask(move |shared| async move {
            let mut client = shared.client().await?;
            let change = client.begin().await?;
            let removed = retire(&change, &upstream, now).await?.ok_or(StoreError::SecretUnknown)?;
            keys::count_change(&change).await?;
            commit(change, &shared.link).await?;
            client.done();
            Ok(removed)
        })
    }

    pub(crate) fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, StoreError> {
        self.ask(|shared| async move {
            let client = shared.client().await?;
            let sql = "SELECT upstream, version, created_at, retired_at FROM upstream_secret
                       ORDER BY upstream COLLATE \"C\", version";
            let rows = client.query(sql, &[]).await.map_err(|error| failed(&error))?;
            client.done();
            rows.iter().map(read_dates).collect()
        })
    }

    pub(crate) fn open_secret(&self, upstream: &str) -> Result<Option<(u32, Secret)>, StoreError> {
        let upstream = upstream.to_owned();
        self.ask(move |shared| async move {
            let mut client = shared.client().await?;
            let moment = client.begin().await?;
            let found = live(&moment, &upstream).await?;
            drop(moment);
            client.done();
            let Some((version, sealed)) = found else { return Ok(None) };
            Ok(Some((version, shared.kek.open(seal::Row { upstream: &upstream, version }, &sealed)?)))
        })
    }

    fn next_version(&self, upstream: &str) -> Result<u32, StoreError> {
        let upstream = upstream.to_owned();
        self.ask(move |shared| async move {
            let client = shared.client().await?;
            let sql = "SELECT coalesce(max(version), 0) + 1 FROM upstream_secret WHERE upstream = $1";
            let row = client.query_one(sql, &[&upstream]).await.map_err(|error| failed(&error))?;
            client.done();
            version(&row, 0)
        })
    }

    /// None when another node has taken the version meanwhile.
    fn keep_sealed(
        &self,
        upstream: &str,
        version: u32,
        before: Before,
        sealed: Sealed,
        now: UnixMillis,
    ) -> Result<Option<SealedSecret>, StoreError> {
        let upstream = upstream.to_owned();
        self.ask(move |shared| async move {
            let mut client = shared.client().await?;
            let change = client.begin().await?;
            // The lock of the count comes first: one at a time.
            keys::count_change(&change).await?;
            let retired = retire(&change, &upstream, now).await?;
            match (before, retired.is_some()) {
                (Before::Nothing, true) => return Err(StoreError::SecretExists { upstream }),
                (Before::Secret, false) => return Err(StoreError::SecretUnknown),
                _ => {}
            }
            let sql = "INSERT INTO upstream_secret (upstream, version, kek_id, wrapped_dek, sealed, created_at)
                       VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
            let Sealed { kek_id: KekId(kek_id), wrapped_dek, sealed } = &sealed;
            let number = i64::from(version);
            let done = change.execute(sql, &[&upstream, &number, &&kek_id[..], wrapped_dek, sealed, &now.0]).await;
            if done.map_err(|error| failed(&error))? == 0 {
                return Ok(None);
            }
            commit(change, &shared.link).await?;
            client.done();
            Ok(Some(SealedSecret { upstream: upstream.into(), version, created_at: now, retired_at: None }))
        })
    }
}

/// The upstreams whose version is another one than `seen` has, opened; `seen` follows only when all could be read.
pub(super) async fn changes(
    moment: &Transaction<'_>,
    kek: &Kek,
    seen: &mut BTreeMap<Arc<str>, u32>,
) -> Result<Vec<SecretChange>, StoreError> {
    let sql = "SELECT upstream, version FROM upstream_secret WHERE retired_at IS NULL";
    let rows = moment.query(sql, &[]).await.map_err(|error| failed(&error))?;
    let mut now: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    for row in &rows {
        now.insert(upstream(row, 0)?, version(row, 1)?);
    }
    let mut changes = Vec::new();
    for (upstream, version) in now.iter().filter(|(upstream, version)| seen.get(*upstream) != Some(version)) {
        let Some((_, sealed)) = live(moment, upstream).await? else { continue };
        let becomes = match kek.open(seal::Row { upstream, version: *version }, &sealed) {
            Ok(secret) => SecretState::Opened { version: *version, secret },
            Err(error) => SecretState::Unopenable(error),
        };
        changes.push(SecretChange { upstream: Arc::clone(upstream), becomes });
    }
    let removed = seen.keys().filter(|upstream| !now.contains_key(*upstream));
    changes
        .extend(removed.map(|upstream| SecretChange { upstream: Arc::clone(upstream), becomes: SecretState::Removed }));
    *seen = now;
    Ok(changes)
}

async fn live(moment: &impl GenericClient, upstream: &str) -> Result<Option<(u32, Sealed)>, StoreError> {
    let sql = "SELECT version, kek_id, wrapped_dek, sealed FROM upstream_secret
               WHERE upstream = $1 AND retired_at IS NULL";
    let Some(row) = moment.query_opt(sql, &[&upstream]).await.map_err(|error| failed(&error))? else {
        return Ok(None);
    };
    let bytes = |column| row.try_get::<_, &[u8]>(column).map_err(|error| failed(&error));
    let kek_id = KekId(bytes(1)?.try_into().map_err(|_| StoreError::DatabaseDamaged)?);
    let sealed = Sealed { kek_id, wrapped_dek: bytes(2)?.to_vec(), sealed: bytes(3)?.to_vec() };
    Ok(Some((version(&row, 0)?, sealed)))
}

/// Leaves the dates of the live version, if there is one, and nothing to open.
async fn retire(change: &Transaction<'_>, upstream: &str, now: UnixMillis) -> Result<Option<SealedSecret>, StoreError> {
    let sql = "UPDATE upstream_secret SET retired_at = $2, wrapped_dek = NULL, sealed = NULL
               WHERE upstream = $1 AND retired_at IS NULL RETURNING upstream, version, created_at, retired_at";
    let row = change.query_opt(sql, &[&upstream, &now.0]).await.map_err(|error| failed(&error))?;
    row.as_ref().map(read_dates).transpose()
}

fn read_dates(row: &Row) -> Result<SealedSecret, StoreError> {
    let time = |column| row.try_get::<_, Option<i64>>(column).map_err(|error| failed(&error));
    Ok(SealedSecret {
        upstream: upstream(row, 0)?,
        version: version(row, 1)?,
        created_at: UnixMillis(time(2)?.ok_or(StoreError::DatabaseDamaged)?),
        retired_at: time(3)?.map(UnixMillis),
    })
}

fn upstream(row: &Row, column: usize) -> Result<Arc<str>, StoreError> {
    row.try_get::<_, &str>(column).map(Into::into).map_err(|error| failed(&error))
}

fn version(row: &Row, column: usize) -> Result<u32, StoreError> {
    let version: i64 = row.try_get(column).map_err(|error| failed(&error))?;
    version.try_into().map_err(|_| StoreError::DatabaseDamaged)
}
