//! What the store does for those who may administer: they themselves, the link by which the first one is made, and what was
//! asked of the API under an idempotency key.

use keymoat_core::{Secret, UnixMillis};

use crate::Store;
use crate::admin::{Admin, AdminChange, NewAdmin, Order, OrderAnswer};
use crate::error::StoreError;

impl Store {
    /// Makes an admin; `now` is when.
    ///
    /// # Errors
    /// A name that is taken or malformed, an expiry that has passed, and whatever the disk refuses.
    pub fn create_admin(&self, new: NewAdmin<'_>, now: UnixMillis) -> Result<Admin, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.create_admin(new, now),
            Self::Postgres(postgres) => postgres.create_admin(new, now),
        }
    }

    /// Makes the admins that a claim link is for, and uses it up.
    ///
    /// # Errors
    /// [`StoreError::ClaimInvalid`], and as of [`Store::create_admin`]; the link is not used up then.
    pub fn claim_admins(
        &self,
        claim: &Secret,
        new: Vec<NewAdmin<'_>>,
        now: UnixMillis,
    ) -> Result<Vec<Admin>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.claim_admins(claim, new, now),
            Self::Postgres(postgres) => postgres.claim_admins(claim, new, now),
        }
    }

    /// Keeps the digest of a claim link's secret in place of any before it.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn offer_claim(&self, claim: &Secret, expires_at: UnixMillis) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.offer_claim(claim, expires_at),
            Self::Postgres(postgres) => postgres.offer_claim(claim, expires_at),
        }
    }

    /// Whether somebody may administer everything, so that the listener has an owner.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn is_claimed(&self, now: UnixMillis) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.is_claimed(now),
            Self::Postgres(postgres) => postgres.is_claimed(now),
        }
    }

    /// All admins that were not removed, oldest first.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn admins(&self) -> Result<Vec<Admin>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.admins(),
            Self::Postgres(postgres) => postgres.admins(),
        }
    }

    /// The admin with this id or name, who was not removed.
    ///
    /// # Errors
    /// [`StoreError::AdminUnknown`], and whatever the disk refuses.
    pub fn admin(&self, id_or_name: &str) -> Result<Admin, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.admin(id_or_name),
            Self::Postgres(postgres) => postgres.admin(id_or_name),
        }
    }

    /// Whose admin key this is, if it is anybody's.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn admin_of_key(&self, secret: &Secret) -> Result<Option<Admin>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.admin_of_key(secret),
            Self::Postgres(postgres) => postgres.admin_of_key(secret),
        }
    }

    /// The person with this name and the hash of the password.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn person(&self, name: &str) -> Result<Option<(Admin, String)>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.person(name),
            Self::Postgres(postgres) => postgres.person(name),
        }
    }

    /// Changes an admin that is still the one of `version`.
    ///
    /// # Errors
    /// [`StoreError::AdminUnknown`], [`StoreError::AdminChanged`], [`StoreError::LastAdmin`], a name or expiry that
    /// cannot be, and whatever the disk refuses.
    pub fn change_admin(
        &self,
        id: &str,
        version: u32,
        change: AdminChange,
        now: UnixMillis,
    ) -> Result<Admin, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.change_admin(id, version, change, now),
            Self::Postgres(postgres) => postgres.change_admin(id, version, change, now),
        }
    }

    /// Removes an admin for good; one that is still of `version`, if it is given.
    ///
    /// # Errors
    /// [`StoreError::AdminUnknown`], [`StoreError::AdminChanged`], [`StoreError::LastAdmin`], and whatever the disk refuses.
    pub fn remove_admin(&self, id: &str, version: Option<u32>, now: UnixMillis) -> Result<Admin, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.remove_admin(id, version, now),
            Self::Postgres(postgres) => postgres.remove_admin(id, version, now),
        }
    }

    /// Begins what is asked for under an idempotency key, or says what became of it before. `order` is digested with who
    /// asks, `content` is all that was asked.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn begin_order(&self, order: &[u8], content: &[u8], now: UnixMillis) -> Result<Order, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.begin_order(order, content, now),
            Self::Postgres(postgres) => postgres.begin_order(order, content, now),
        }
    }

    /// Keeps what was answered, or forgets the order when nothing was done, so that it may be repeated.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn end_order(&self, order: &[u8], answer: Option<OrderAnswer>) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.end_order(order, answer),
            Self::Postgres(postgres) => postgres.end_order(order, answer),
        }
    }
}
