//! Those who may administer, and the link by which the first one is made.

use deadpool_postgres::Transaction;
use keymoat_core::{Digest, Role, Secret, UnixMillis};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::failed;
use super::{Postgres, Shared};
use crate::admin::{Admin, AdminChange, AdminKind, NewAdmin, Proof};
use crate::error::StoreError;
use crate::id;
use crate::new_key::{check_expiry, name_is_valid};
use crate::sqlite::admins::CLAIM;

/// Starts every statement that reads admins with [`read`].
macro_rules! select {
    ($($rest:literal)*) => {
        concat!(
            "SELECT id, name, role, digest IS NULL, created_at, expires_at, version, password
             FROM admin WHERE removed_at IS NULL ",
            $($rest),*
        )
    };
}

/// An admin to be made, of whose key only the digest is left.
struct Digested {
    name: String,
    role: Role,
    expires_at: Option<UnixMillis>,
    digest: Option<Digest>,
    password: Option<String>,
}

impl Postgres {
    pub(crate) fn create_admin(&self, new: NewAdmin<'_>, now: UnixMillis) -> Result<Admin, StoreError> {
        let new = self.digested(new);
        self.ask(move |shared| async move {
            let insert = async |change: &mut Transaction<'_>| {
                hold(change).await?;
                insert(change, &new, now).await
            };
            shared.in_one(insert).await
        })
    }

    pub(crate) fn claim_admins(
        &self,
        claim: &Secret,
        new: Vec<NewAdmin<'_>>,
        now: UnixMillis,
    ) -> Result<Vec<Admin>, StoreError> {
        let Digest(claim) = self.claim_digest(claim);
        let new: Vec<Digested> = new.into_iter().map(|new| self.digested(new)).collect();
        self.ask(move |shared| async move {
            let claim = async |change: &mut Transaction<'_>| {
                hold(change).await?;
                let sql = "DELETE FROM admin_claim WHERE digest = $1 AND expires_at > $2";
                if change.execute(sql, &[&&claim[..], &now.0]).await.map_err(|error| failed(&error))? == 0 {
                    return Err(StoreError::ClaimInvalid);
                }
                let mut made = Vec::with_capacity(new.len());
                for new in &new {
                    made.push(insert(change, new, now).await?);
                }
                Ok(made)
            };
            shared.in_one(claim).await
        })
    }

    pub(crate) fn offer_claim(&self, claim: &Secret, expires_at: UnixMillis) -> Result<(), StoreError> {
        let Digest(digest) = self.claim_digest(claim);
        self.ask(move |shared| async move {
            let offer = async |change: &mut Transaction<'_>| {
                let sql = "INSERT INTO admin_claim (only_row, digest, expires_at) VALUES (1, $1, $2)
                           ON CONFLICT (only_row) DO UPDATE SET (digest, expires_at) = ($1, $2)";
                let done = change.execute(sql, &[&&digest[..], &expires_at.0]).await;
                done.map(drop).map_err(|error| failed(&error))
            };
            shared.in_one(offer).await
        })
    }

    pub(crate) fn is_claimed(&self, now: UnixMillis) -> Result<bool, StoreError> {
        self.ask(
            move |shared| async move { shared.at_one_moment(async |moment| Ok(owners(moment, now).await? > 0)).await },
        )
    }

    pub(crate) fn admins(&self) -> Result<Vec<Admin>, StoreError> {
        let all =
            self.ask(|shared| async move { shared.read_admins(select!("ORDER BY created_at, id"), &[]).await })?;
        Ok(all.into_iter().map(|(admin, _)| admin).collect())
    }

    pub(crate) fn admin(&self, id_or_name: &str) -> Result<Admin, StoreError> {
        let name = id_or_name.to_owned();
        let found = self.ask(move |shared| async move {
            shared.read_admins(select!("AND (id = $1 OR name = $1)"), &[&name]).await
        })?;
        found.into_iter().next().map(|(admin, _)| admin).ok_or(StoreError::AdminUnknown)
    }

    pub(crate) fn admin_of_key(&self, secret: &Secret) -> Result<Option<Admin>, StoreError> {
        // Only the digest is looked up.
        let Digest(digest) = self.shared.pepper.digest(secret.expose());
        let found = self
            .ask(move |shared| async move { shared.read_admins(select!("AND digest = $1"), &[&&digest[..]]).await })?;
        Ok(found.into_iter().next().map(|(admin, _)| admin))
    }

    pub(crate) fn person(&self, name: &str) -> Result<Option<(Admin, String)>, StoreError> {
        let name = name.to_owned();
        let found = self.ask(move |shared| async move {
            shared.read_admins(select!("AND name = $1 AND password IS NOT NULL"), &[&name]).await
        })?;
        Ok(found.into_iter().next().and_then(|(admin, password)| Some((admin, password?))))
    }

    pub(crate) fn change_admin(
        &self,
        id: &str,
        version: u32,
        change: AdminChange,
        now: UnixMillis,
    ) -> Result<Admin, StoreError> {
        let id = id.to_owned();
        let AdminChange { name, role, expires_at, password } = change;
        self.ask(move |shared| async move {
            let change = async |change: &mut Transaction<'_>| {
                hold(change).await?;
                let mut admin = find(change, &id).await?;
                if admin.version != version {
                    return Err(StoreError::AdminChanged);
                }
                if let Some(name) = name.filter(|name| **name != *admin.name) {
                    check_name(change, &name).await?;
                    admin.name = name.into();
                }
                admin.role = role.unwrap_or(admin.role);
                if let Some(expires_at) = expires_at {
                    check_expiry(expires_at, now)?;
                    admin.expires_at = expires_at;
                }
                admin.version = admin.version.saturating_add(1);
                let sql = "UPDATE admin SET name = $2, role = $3, expires_at = $4, version = $5,
                               password = CASE WHEN password IS NULL THEN NULL ELSE coalesce($6, password) END
                           WHERE id = $1";
                let (id, name, role) = (&*admin.id, &*admin.name, admin.role.word());
                let (expires_at, version) = (admin.expires_at.map(|at| at.0), i64::from(admin.version));
                let done = change.execute(sql, &[&id, &name, &role, &expires_at, &version, &password]).await;
                done.map_err(|error| failed(&error))?;
                keep_an_owner(change, now).await?;
                Ok(admin)
            };
            shared.in_one(change).await
        })
    }

    pub(crate) fn remove_admin(&self, id: &str, version: Option<u32>, now: UnixMillis) -> Result<Admin, StoreError> {
        let id = id.to_owned();
        self.ask(move |shared| async move {
            let remove = async |change: &mut Transaction<'_>| {
                hold(change).await?;
                let admin = find(change, &id).await?;
                if version.is_some_and(|version| version != admin.version) {
                    return Err(StoreError::AdminChanged);
                }
                let sql = "UPDATE admin SET removed_at = $2 WHERE id = $1";
                change.execute(sql, &[&&*admin.id, &now.0]).await.map_err(|error| failed(&error))?;
                keep_an_owner(change, now).await?;
                Ok(admin)
            };
            shared.in_one(remove).await
        })
    }

    fn claim_digest(&self, claim: &Secret) -> Digest {
        // Only the digest goes further.
        self.shared.pepper.digest(&[CLAIM, claim.expose()].concat())
    }

    fn digested(&self, new: NewAdmin<'_>) -> Digested {
        let NewAdmin { name, role, expires_at, proof } = new;
        let (digest, password) = match proof {
            Proof::Password(hash) => (None, Some(hash)),
            // Only the digest is kept.
            Proof::Key(secret) => (Some(self.shared.pepper.digest(secret.expose())), None),
        };
        Digested { name, role, expires_at, digest, password }
    }
}

impl Shared {
    async fn read_admins(
        &self,
        sql: &str,
        what: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<(Admin, Option<String>)>, StoreError> {
        let client = self.client().await?;
        let rows = client.query(sql, what).await.map_err(|error| failed(&error))?;
        client.done();
        rows.iter().map(|row| Ok((read(row)?, row.try_get(7).map_err(|error| failed(&error))?))).collect()
    }
}

/// One change of admins at a time, on all nodes, so that the last one stays.
async fn hold(change: &Transaction<'_>) -> Result<(), StoreError> {
    let held = change.batch_execute("LOCK TABLE admin IN SHARE ROW EXCLUSIVE MODE").await;
    held.map_err(|error| failed(&error))
}

async fn insert(change: &Transaction<'_>, new: &Digested, now: UnixMillis) -> Result<Admin, StoreError> {
    check_name(change, &new.name).await?;
    check_expiry(new.expires_at, now)?;
    let kind = if new.digest.is_some() { AdminKind::Key } else { AdminKind::Person };
    let admin = Admin {
        id: id::draw(id::ADMIN)?.into(),
        name: new.name.as_str().into(),
        kind,
        role: new.role,
        created_at: now,
        expires_at: new.expires_at,
        version: 1,
    };
    let sql = "INSERT INTO admin (id, name, role, digest, password, created_at, expires_at, version)
               VALUES ($1, $2, $3, $4, $5, $6, $7, 1)";
    let digest = new.digest.as_ref().map(|digest| &digest.0[..]);
    let expires_at = new.expires_at.map(|at| at.0);
    let (id, role) = (&*admin.id, new.role.word());
    let done = change.execute(sql, &[&id, &new.name, &role, &digest, &new.password, &now.0, &expires_at]).await;
    done.map_err(|error| failed(&error))?;
    Ok(admin)
}

async fn check_name(change: &Transaction<'_>, name: &str) -> Result<(), StoreError> {
    if !name_is_valid(name) {
        return Err(StoreError::NameInvalid);
    }
    let sql = "SELECT FROM admin WHERE name = $1 AND removed_at IS NULL";
    match change.query_opt(sql, &[&name]).await.map_err(|error| failed(&error))? {
        Some(_) => Err(StoreError::AdminNameTaken { name: name.to_owned() }),
        None => Ok(()),
    }
}

async fn find(change: &Transaction<'_>, id_or_name: &str) -> Result<Admin, StoreError> {
    let row = change.query_opt(select!("AND (id = $1 OR name = $1)"), &[&id_or_name]).await;
    read(&row.map_err(|error| failed(&error))?.ok_or(StoreError::AdminUnknown)?)
}

/// How many may administer everything.
async fn owners(moment: &Transaction<'_>, now: UnixMillis) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) FROM admin
               WHERE role = 'admin' AND removed_at IS NULL AND (expires_at IS NULL OR expires_at > $1)";
    let row = moment.query_one(sql, &[&now.0]).await;
    row.and_then(|row| row.try_get(0)).map_err(|error| failed(&error))
}

async fn keep_an_owner(change: &Transaction<'_>, now: UnixMillis) -> Result<(), StoreError> {
    if owners(change, now).await? == 0 { Err(StoreError::LastAdmin) } else { Ok(()) }
}

fn read(row: &Row) -> Result<Admin, StoreError> {
    let columns = || -> Result<Admin, tokio_postgres::Error> {
        Ok(Admin {
            id: row.try_get::<_, &str>(0)?.into(),
            name: row.try_get::<_, &str>(1)?.into(),
            kind: if row.try_get(3)? { AdminKind::Person } else { AdminKind::Key },
            // The schema allows no other word; the least is what an unknown one would mean.
            role: Role::from_word(row.try_get(2)?).unwrap_or(Role::Viewer),
            created_at: UnixMillis(row.try_get(4)?),
            expires_at: row.try_get::<_, Option<i64>>(5)?.map(UnixMillis),
            version: u32::try_from(row.try_get::<_, i64>(6)?).unwrap_or(u32::MAX),
        })
    };
    columns().map_err(|error| failed(&error))
}
