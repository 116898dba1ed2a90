//! Those who may administer, and the link by which the first one is made.

use keymoat_core::{Digest, Role, Secret, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{Sqlite, held};
use crate::admin::{Admin, AdminChange, AdminKind, NewAdmin, Proof};
use crate::error::StoreError;
use crate::id;
use crate::new_key::name_is_valid;

/// What is digested of a claim link starts with these words, so that it can never pass for an admin key.
pub(crate) const CLAIM: &[u8] = b"keymoat admin claim v1\0";

const COLUMNS: &str = "id, name, role, digest IS NULL, created_at, expires_at, version";

impl Sqlite {
    pub(crate) fn create_admin(&self, new: NewAdmin<'_>, now: UnixMillis) -> Result<Admin, StoreError> {
        self.write(|change| insert(self, change, new, now))
    }

    pub(crate) fn claim_admins(
        &self,
        claim: &Secret,
        new: Vec<NewAdmin<'_>>,
        now: UnixMillis,
    ) -> Result<Vec<Admin>, StoreError> {
        let Digest(digest) = self.claim_digest(claim);
        self.write(|change| {
            let used = change
                .execute("DELETE FROM admin_claim WHERE digest = ?1 AND expires_at > ?2", params![digest, now.0])?;
            if used == 0 {
                return Err(StoreError::ClaimInvalid);
            }
            new.into_iter().map(|new| insert(self, change, new, now)).collect()
        })
    }

    pub(crate) fn offer_claim(&self, claim: &Secret, expires_at: UnixMillis) -> Result<(), StoreError> {
        let Digest(digest) = self.claim_digest(claim);
        self.write(|change| {
            change.execute("DELETE FROM admin_claim", [])?;
            change.execute(
                "INSERT INTO admin_claim (only_row, digest, expires_at) VALUES (1, ?1, ?2)",
                params![digest, expires_at.0],
            )?;
            Ok(())
        })
    }

    fn claim_digest(&self, claim: &Secret) -> Digest {
        // Only the digest goes further.
        self.pepper().digest(&[CLAIM, claim.expose()].concat())
    }

    pub(crate) fn is_claimed(&self, now: UnixMillis) -> Result<bool, StoreError> {
        let reader = held(&self.reader);
        Ok(owners(&reader, now)? > 0)
    }

    pub(crate) fn admins(&self) -> Result<Vec<Admin>, StoreError> {
        let reader = held(&self.reader);
        let mut statement = reader
            .prepare_cached(&format!("SELECT {COLUMNS} FROM admin WHERE removed_at IS NULL ORDER BY created_at, id"))?;
        let admins = statement.query_map([], read)?.collect::<Result<_, _>>()?;
        Ok(admins)
    }

    pub(crate) fn admin(&self, id_or_name: &str) -> Result<Admin, StoreError> {
        find(&held(&self.reader), id_or_name)
    }

    pub(crate) fn admin_of_key(&self, secret: &Secret) -> Result<Option<Admin>, StoreError> {
        // Only the digest is looked up.
        let Digest(digest) = self.pepper().digest(secret.expose());
        let reader = held(&self.reader);
        let mut statement =
            reader.prepare_cached(&format!("SELECT {COLUMNS} FROM admin WHERE digest = ?1 AND removed_at IS NULL"))?;
        Ok(statement.query_row([digest], read).optional()?)
    }

    pub(crate) fn person(&self, name: &str) -> Result<Option<(Admin, String)>, StoreError> {
        let reader = held(&self.reader);
        let mut statement = reader.prepare_cached(&format!(
            "SELECT {COLUMNS}, password FROM admin WHERE name = ?1 AND password IS NOT NULL AND removed_at IS NULL"
        ))?;
        Ok(statement.query_row([name], |row| Ok((read(row)?, row.get(7)?))).optional()?)
    }

    pub(crate) fn change_admin(
        &self,
        id: &str,
        version: u32,
        change: AdminChange,
        now: UnixMillis,
    ) -> Result<Admin, StoreError> {
        let AdminChange { name, role, expires_at, password } = change;
        self.write(|transaction| {
            let mut admin = find(transaction, id)?;
            if admin.version != version {
                return Err(StoreError::AdminChanged);
            }
            if let Some(name) = name.filter(|name| **name != *admin.name) {
                check_name(transaction, &name)?;
                admin.name = name.into();
            }
            admin.role = role.unwrap_or(admin.role);
            if let Some(expires_at) = expires_at {
                check_expiry(expires_at, now)?;
                admin.expires_at = expires_at;
            }
            admin.version = admin.version.saturating_add(1);
            transaction.execute(
                "UPDATE admin SET name = ?2, role = ?3, expires_at = ?4, version = ?5 WHERE id = ?1",
                params![admin.id, admin.name, admin.role.word(), admin.expires_at.map(|at| at.0), admin.version],
            )?;
            if let Some(password) = &password {
                transaction.execute(
                    "UPDATE admin SET password = ?2 WHERE id = ?1 AND password IS NOT NULL",
                    params![admin.id, password],
                )?;
            }
            keep_an_owner(transaction, now)?;
            Ok(admin)
        })
    }

    pub(crate) fn remove_admin(&self, id: &str, version: Option<u32>, now: UnixMillis) -> Result<Admin, StoreError> {
        self.write(|change| {
            let admin = find(change, id)?;
            if version.is_some_and(|version| version != admin.version) {
                return Err(StoreError::AdminChanged);
            }
            change.execute("UPDATE admin SET removed_at = ?2 WHERE id = ?1", params![admin.id, now.0])?;
            keep_an_owner(change, now)?;
            Ok(admin)
        })
    }

    /// Runs `work` in a transaction, which is undone when it fails.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&change)?;
        change.commit()?;
        Ok(done)
    }
}

fn insert(store: &Sqlite, connection: &Connection, new: NewAdmin<'_>, now: UnixMillis) -> Result<Admin, StoreError> {
    let NewAdmin { name, role, expires_at, proof } = new;
    check_name(connection, &name)?;
    check_expiry(expires_at, now)?;
    let (kind, digest, password) = match proof {
        Proof::Password(hash) => (AdminKind::Person, None, Some(hash)),
        Proof::Key(secret) => {
            // Only the digest is kept.
            let Digest(digest) = store.pepper().digest(secret.expose());
            (AdminKind::Key, Some(digest), None)
        }
    };
    let id = id::draw(id::ADMIN)?.into();
    let admin = Admin { id, name: name.into(), kind, role, created_at: now, expires_at, version: 1 };
    connection.execute(
        "INSERT INTO admin (id, name, role, digest, password, created_at, expires_at, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
        params![admin.id, admin.name, role.word(), digest, password, now.0, expires_at.map(|at| at.0)],
    )?;
    Ok(admin)
}

fn check_name(connection: &Connection, name: &str) -> Result<(), StoreError> {
    if !name_is_valid(name) {
        return Err(StoreError::NameInvalid);
    }
    if connection.prepare_cached("SELECT 1 FROM admin WHERE name = ?1 AND removed_at IS NULL")?.exists([name])? {
        return Err(StoreError::AdminNameTaken { name: name.to_owned() });
    }
    Ok(())
}

fn check_expiry(expires_at: Option<UnixMillis>, now: UnixMillis) -> Result<(), StoreError> {
    match expires_at.filter(|expires_at| *expires_at <= now) {
        Some(expires_at) => Err(StoreError::ExpiryPassed { expires_at, now }),
        None => Ok(()),
    }
}

fn find(connection: &Connection, id_or_name: &str) -> Result<Admin, StoreError> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM admin WHERE (id = ?1 OR name = ?1) AND removed_at IS NULL"))?;
    statement.query_row([id_or_name], read).optional()?.ok_or(StoreError::AdminUnknown)
}

/// How many may administer everything.
fn owners(connection: &Connection, now: UnixMillis) -> Result<i64, StoreError> {
    let count = "SELECT COUNT(*) FROM admin
                 WHERE role = 'admin' AND removed_at IS NULL AND (expires_at IS NULL OR expires_at > ?1)";
    Ok(connection.prepare_cached(count)?.query_row([now.0], |row| row.get(0))?)
}

fn keep_an_owner(connection: &Connection, now: UnixMillis) -> Result<(), StoreError> {
    if owners(connection, now)? == 0 { Err(StoreError::LastAdmin) } else { Ok(()) }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Admin> {
    let role: String = row.get(2)?;
    let is_person: bool = row.get(3)?;
    Ok(Admin {
        id: row.get(0)?,
        name: row.get(1)?,
        kind: if is_person { AdminKind::Person } else { AdminKind::Key },
        // The schema allows no other word; the least is what an unknown one would mean.
        role: Role::from_word(&role).unwrap_or(Role::Viewer),
        created_at: UnixMillis(row.get(4)?),
        expires_at: row.get::<_, Option<i64>>(5)?.map(UnixMillis),
        version: row.get(6)?,
    })
}
