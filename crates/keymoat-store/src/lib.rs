//! Keeps: Keymoat's keys and the upstreams' sealed secrets behind one [`Store`], snapshots of it, and the feed that
//! notices changes of other processes.
//!
//! This is the only crate with SQL. No credential of a client is ever stored: a key is found by its keyed digest. An
//! upstream's secret, which must be had again, is stored encrypted only.
//! Every function here may wait for the disk (bounded by [`BUSY_WAIT`] for locks), so none is called from a thread
//! that serves connections.

mod admin;
mod administration;
mod copy;
pub mod desk;
mod error;
pub mod events;
pub mod feed;
mod file_system;
mod id;
mod key_life;
mod key_query;
mod master_key;
mod new_key;
mod node;
mod postgres;
pub mod private_file;
mod seal;
mod share;
mod sqlite;
mod token;
mod upstream_secret;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keymoat_core::{Digest, Key, Pepper, RouteOverride, Secret, Snapshot, UnixMillis};

use self::sqlite::Before;

pub use admin::{Admin, AdminChange, AdminKind, NewAdmin, Order, OrderAnswer, Proof};
pub use copy::Copied;
pub use desk::{DeskError, TokenDesk};
pub use error::{StoreError, Unopenable};
pub use events::EventStore;
pub use feed::{Feed, Freshness};
pub use key_life::{
    DayUse, Import, ImportMode, Imported, KeyChange, OVERLAP_MILLIS_MAX, Rotated, Rotation, WhileRotating,
};
pub use key_query::{KeyQuery, KeyState};
pub use master_key::{MasterKey, Place};
pub use new_key::{NAME_CHARS_MAX, NewKey, OWNER_CHARS_MAX};
pub use node::{BEAT_EVERY, Beat, FORGOTTEN_AFTER, FREED_GRACE, Node, NodeAbout, NodeSeen, NodeState, Pulse};
pub use postgres::{CONSUME, DatabaseState, Postgres};
pub use share::{Budget, PartAsked, PlaceAsked, PlaceKind, Placed};
pub use sqlite::{OPEN_SESSION, Sqlite, TAKE_USE, Watch};
pub use token::{Claim, Denial, MintDenial, MintOrder, Minted, Minting, SessionId, TokenBytes, TokenState, Verdict};
pub use upstream_secret::{Change, SECRET_BYTES_MAX, SealedSecret, SecretChange, SecretState, UPSTREAM_CHARS_MAX};

/// How long a reader or writer waits for another process's lock before it gives up with [`StoreError::Busy`].
pub const BUSY_WAIT: Duration = Duration::from_millis(250);

/// Where keys are kept. Several processes may have one store open at once.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one store, and it never moves")]
pub enum Store {
    /// One folder with a SQLite database.
    Sqlite(Sqlite),
    /// A PostgreSQL database, for any number of nodes.
    Postgres(Postgres),
}

impl Store {
    /// Opens the store in the folder `dir` with the master key in the same folder, and makes what is missing of both.
    ///
    /// # Errors
    /// As of [`Store::open_with`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, &MasterKey::InFolder)
    }

    /// Opens the store in the folder `dir` and makes folder and database where they are missing, and the master key if
    /// it belongs into the folder.
    ///
    /// The folder gets mode 0700, `keymoat.db` and `master.key` 0600; the schema is brought up to date.
    ///
    /// # Errors
    /// A master key or database that others can read, a missing or wrong master key, a schema that is newer than this
    /// program, a network file system, and whatever the disk or SQLite refuses.
    pub fn open_with(dir: &Path, master_key: &MasterKey) -> Result<Self, StoreError> {
        Sqlite::open(dir, master_key).map(Self::Sqlite)
    }

    /// Opens the store in the PostgreSQL database at `url`, and makes the schema where there is none. `dir` is this node's own
    /// folder, for a master key that belongs into it; every node needs the same one.
    ///
    /// TLS is used and verified unless the host is this machine or the URL says `sslmode=disable`.
    ///
    /// # Errors
    /// A URL that names no database, a missing or wrong master key, a schema that is newer than this program, and
    /// whatever the database refuses. The URL is never repeated.
    pub fn open_database(url: &Secret, dir: &Path, master_key: &MasterKey) -> Result<Self, StoreError> {
        Postgres::open(url, dir, master_key).map(Self::Postgres)
    }

    /// How the database at `url` is, without changing it, beside the clock `now` of this machine.
    ///
    /// # Errors
    /// As of [`Store::open_database`].
    pub fn database_state(
        url: &Secret,
        now: impl Fn() -> UnixMillis + Send + 'static,
    ) -> Result<DatabaseState, StoreError> {
        Postgres::state(url, now)
    }

    /// Makes the schema of the database at `url`, or brings it up to date, and gives the versions that there were before
    /// and are now. The master key is not needed for it, and the role may be another one than the gateways'.
    ///
    /// # Errors
    /// As of [`Store::open_database`].
    pub fn migrate_database(url: &Secret) -> Result<(i64, i64), StoreError> {
        Postgres::migrate(url)
    }

    /// The version of the schema in the folder `dir`, as it is on the disk, and the one that this program knows.
    ///
    /// # Errors
    /// Whatever the disk or SQLite refuses.
    pub fn folder_schema(dir: &Path) -> Result<(i64, i64), StoreError> {
        sqlite::schema::of_folder(dir)
    }

    /// Where it is, for people: a folder, or a database's host, port and name.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite(sqlite) => sqlite.folder().display().to_string(),
            Self::Postgres(postgres) => postgres.place().to_string(),
        }
    }

    /// What credentials are digested with before they are stored or looked up.
    #[must_use]
    pub fn pepper(&self) -> &Arc<Pepper> {
        match self {
            Self::Sqlite(sqlite) => sqlite.pepper(),
            Self::Postgres(postgres) => postgres.pepper(),
        }
    }

    /// Stores a new key with the digest of `secret`, which is its canonical form and is not kept. Draws the key's id.
    ///
    /// # Errors
    /// A name that is taken or malformed, scopes that mean nothing, an expiry that has passed, and whatever the disk refuses.
    pub fn create_key(&self, new: NewKey, secret: &Secret, now: UnixMillis) -> Result<Key, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.create_key(new, secret, now),
            Self::Postgres(postgres) => postgres.create_key(new, secret, now),
        }
    }

    /// All keys, oldest first, the expired and revoked ones too.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn keys(&self) -> Result<Vec<Key>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.keys(),
            Self::Postgres(postgres) => postgres.keys(),
        }
    }

    /// One page of the keys that are asked for, the newest first.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn key_page(&self, asked: &KeyQuery) -> Result<Vec<Key>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.key_page(asked),
            Self::Postgres(postgres) => postgres.key_page(asked),
        }
    }

    /// The key with this id or name. Of several keys with one name it is the live one, or else the one revoked last.
    ///
    /// # Errors
    /// [`StoreError::KeyUnknown`] when there is none, and whatever the disk refuses.
    pub fn key(&self, id_or_name: &str) -> Result<Key, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.key(id_or_name),
            Self::Postgres(postgres) => postgres.key(id_or_name),
        }
    }

    /// Revokes the key with this id or name, durably, and gives it back. A key that is revoked keeps its first time.
    ///
    /// # Errors
    /// [`StoreError::KeyUnknown`] when there is none, and whatever the disk refuses. After [`StoreError::Io`] the
    /// revocation may or may not have happened: repeat it.
    pub fn revoke_key(&self, id_or_name: &str, now: UnixMillis) -> Result<Key, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.revoke_key(id_or_name, now),
            Self::Postgres(postgres) => postgres.revoke_key(id_or_name, now),
        }
    }

    /// Changes what may change of the key with this id or name, durably, and gives it. An expiry that lies ahead brings an
    /// expired key back; nothing brings a revoked one back.
    ///
    /// # Errors
    /// As of [`Store::create_key`]; [`StoreError::KeyUnknown`], [`StoreError::KeyRevoked`],
    /// [`StoreError::KeyChangedMeanwhile`].
    pub fn change_key(&self, id_or_name: &str, change: &KeyChange, now: UnixMillis) -> Result<Key, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.change_key(id_or_name, change, now),
            Self::Postgres(postgres) => postgres.change_key(id_or_name, change, now),
        }
    }

    /// Gives the key with this id or name another secret, durably: `secret`, in its canonical form, works at once, and the
    /// one before until the overlap has passed.
    ///
    /// # Errors
    /// [`StoreError::AlreadyRotated`] while two secrets work, unless the oldest is to end; [`StoreError::KeyUnknown`],
    /// [`StoreError::KeyRevoked`], [`StoreError::KeyExpired`], [`StoreError::SecretTaken`],
    /// [`StoreError::OverlapInvalid`], and whatever the disk refuses. Nothing has changed then.
    pub fn rotate_key(
        &self,
        id_or_name: &str,
        secret: &Secret,
        rotation: Rotation,
        now: UnixMillis,
    ) -> Result<Rotated, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.rotate_key(id_or_name, secret, rotation, now),
            Self::Postgres(postgres) => postgres.rotate_key(id_or_name, secret, rotation, now),
        }
    }

    /// Ends the old secret of a key that is being rotated at once, durably. Sessions that were opened with it go on.
    ///
    /// # Errors
    /// [`StoreError::NotRotating`] when only one secret works; [`StoreError::KeyUnknown`], [`StoreError::KeyRevoked`],
    /// [`StoreError::KeyExpired`], and whatever the disk refuses.
    pub fn end_old_secret(&self, id_or_name: &str, now: UnixMillis) -> Result<Key, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.end_old_secret(id_or_name, now),
            Self::Postgres(postgres) => postgres.end_old_secret(id_or_name, now),
        }
    }

    /// Takes keys over with the secrets that their holders have, in one transaction, and says of each what became of it,
    /// in the order given.
    ///
    /// # Errors
    /// Whatever the disk refuses: then none was taken over.
    pub fn import_keys(
        &self,
        imports: Vec<Import<'_>>,
        mode: ImportMode,
        now: UnixMillis,
    ) -> Result<Vec<Imported>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.import_keys(imports, mode, now),
            Self::Postgres(postgres) => postgres.import_keys(imports, mode, now),
        }
    }

    /// Adds payload bytes that the sessions of tokens have carried, and gives what they have carried everywhere so far.
    /// A token that is forgotten is not among them.
    ///
    /// # Errors
    /// Whatever the disk refuses: then nothing was added, but for [`StoreError::Io`], after which that is not known.
    pub fn add_token_bytes(&self, carried: &[TokenBytes]) -> Result<Vec<TokenBytes>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.add_token_bytes(carried),
            Self::Postgres(postgres) => postgres.add_token_bytes(carried),
        }
    }

    /// What all processes have counted of a day so far.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn day_use(&self, day: i64) -> Result<Vec<DayUse>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.day_use(day),
            Self::Postgres(postgres) => postgres.day_use(day),
        }
    }

    /// Seals the first secret of an upstream: it is encrypted and can be opened with the master key only.
    ///
    /// # Errors
    /// [`StoreError::SecretExists`] when there is one, a name or secret that cannot be one, and whatever the disk refuses.
    pub fn seal_secret(&self, upstream: &str, secret: &Secret, now: UnixMillis) -> Result<SealedSecret, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.seal_secret(upstream, Before::Nothing, secret, now),
            Self::Postgres(postgres) => postgres.seal_secret(upstream, Before::Nothing, secret, now),
        }
    }

    /// Seals another secret in place of the one that an upstream has. Nobody can open that one any more.
    ///
    /// # Errors
    /// [`StoreError::SecretUnknown`] when there is none, and as of [`Store::seal_secret`].
    pub fn rotate_secret(&self, upstream: &str, secret: &Secret, now: UnixMillis) -> Result<SealedSecret, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.seal_secret(upstream, Before::Secret, secret, now),
            Self::Postgres(postgres) => postgres.seal_secret(upstream, Before::Secret, secret, now),
        }
    }

    /// Removes the secret of an upstream and gives its dates, which stay.
    ///
    /// # Errors
    /// [`StoreError::SecretUnknown`] when there is none, and whatever the disk refuses.
    pub fn remove_secret(&self, upstream: &str, now: UnixMillis) -> Result<SealedSecret, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.remove_secret(upstream, now),
            Self::Postgres(postgres) => postgres.remove_secret(upstream, now),
        }
    }

    /// All sealed secrets by upstream and version, the retired ones too, without the secrets.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn sealed_secrets(&self) -> Result<Vec<SealedSecret>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.sealed_secrets(),
            Self::Postgres(postgres) => postgres.sealed_secrets(),
        }
    }

    /// Opens the secret that an upstream has, if it has one, and gives it with its version.
    ///
    /// # Errors
    /// [`StoreError::SecretUnopenable`] when it was sealed under another master key, moved between rows or changed, and
    /// whatever the disk refuses.
    pub fn open_secret(&self, upstream: &str) -> Result<Option<(u32, Secret)>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.open_secret(upstream),
            Self::Postgres(postgres) => postgres.open_secret(upstream),
        }
    }

    /// Mints a token, durably; a gateway asks its [`TokenDesk`].
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn mint_token(&self, order: MintOrder) -> Result<Minting, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.mint_token(order),
            Self::Postgres(postgres) => postgres.mint_token(order),
        }
    }

    /// The token with this id.
    ///
    /// # Errors
    /// [`StoreError::TokenUnknown`] when there is none, and whatever the disk refuses.
    pub fn token(&self, id: &str, now: UnixMillis) -> Result<TokenState, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.token(id, now),
            Self::Postgres(postgres) => postgres.token(id),
        }
    }

    /// The token with this digest.
    ///
    /// # Errors
    /// [`StoreError::TokenNotFound`] when there is none, and whatever the disk refuses.
    pub fn token_of(&self, digest: &Digest, now: UnixMillis) -> Result<TokenState, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.token_of(digest, now),
            Self::Postgres(postgres) => postgres.token_of(digest),
        }
    }

    /// All tokens that are remembered, or those of one key, oldest first. A token is forgotten some hours after its end.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn tokens(&self, key_id: Option<&str>, now: UnixMillis) -> Result<Vec<TokenState>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.tokens(key_id, now),
            Self::Postgres(postgres) => postgres.tokens(key_id),
        }
    }

    /// Revokes the token with this id, durably, and gives it. A token that is revoked keeps its first time.
    ///
    /// # Errors
    /// [`StoreError::TokenUnknown`] when there is none, and whatever the disk refuses. After [`StoreError::Io`] the
    /// revocation may or may not have happened: repeat it.
    pub fn revoke_token(&self, id: &str, now: UnixMillis) -> Result<TokenState, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.revoke_token(id, now),
            Self::Postgres(postgres) => postgres.revoke_token(id),
        }
    }

    /// Forgets some of the tokens and sessions that ended long before `now`, and says whether there may be more of them.
    /// A [`TokenDesk`] does so by itself.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn forget_tokens(&self, now: UnixMillis) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.forget_tokens(now),
            Self::Postgres(postgres) => postgres.forget_tokens(),
        }
    }

    /// Overrides a route, durably; an override that it has is replaced as a whole.
    ///
    /// # Errors
    /// [`StoreError::OverrideSenseless`] when it changes nothing, and whatever the disk refuses.
    pub fn override_route(&self, over: &RouteOverride) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.override_route(over),
            Self::Postgres(postgres) => postgres.override_route(over),
        }
    }

    /// Removes the override of a route, durably, and gives it.
    ///
    /// # Errors
    /// [`StoreError::OverrideUnknown`] when there is none, and whatever the disk refuses.
    pub fn remove_override(&self, route: &str) -> Result<RouteOverride, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.remove_override(route),
            Self::Postgres(postgres) => postgres.remove_override(route),
        }
    }

    /// All overrides, by the name of the route.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn route_overrides(&self) -> Result<Vec<RouteOverride>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.route_overrides(),
            Self::Postgres(postgres) => postgres.route_overrides(),
        }
    }

    /// Looks whether the database is whole and can be written; nothing is changed. Reads all of it.
    ///
    /// # Errors
    /// [`StoreError::Unsound`] when something is wrong in it, and whatever the disk refuses.
    pub fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.check(),
            // The server looks after its files itself: that it answers is what is to be known here.
            Self::Postgres(postgres) => postgres.snapshot().map(drop),
        }
    }

    /// Notes that the sunset of a route has come, and says whether nobody had noted this one before: whoever is told yes
    /// tells the others.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn note_sunset(&self, route: &str, sunset: UnixMillis, now: UnixMillis) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.note_sunset(route, sunset, now),
            Self::Postgres(postgres) => postgres.note_sunset(route, sunset, now),
        }
    }

    /// Copies the database, as of one moment and without the master key, into the new folder `target` (0700, 0600).
    ///
    /// Others may go on reading and writing meanwhile. The copy is a store itself, once it has its master key. All tokens
    /// in it are revoked as of `now`: one that was used since would otherwise have its uses again.
    ///
    /// # Errors
    /// [`StoreError::BackupExists`] when there is anything of this name, and whatever the disk refuses; then there is
    /// no copy.
    pub fn back_up(&self, target: &Path, now: UnixMillis) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.back_up(target, now),
            Self::Postgres(_) => Err(StoreError::DatabaseBackup),
        }
    }

    /// Everything that decisions need, as of one moment.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.snapshot(),
            Self::Postgres(postgres) => postgres.snapshot(),
        }
    }

    /// What changed since `watch` looked, by this process or another; the first time always something.
    ///
    /// Keys come as a whole snapshot, the upstreams' secrets one by one: each that was sealed, replaced or removed since
    /// then, opened. Cheap when nothing changed. `watch` moves on only when something is returned, so a failure loses
    /// nothing.
    /// A watch belongs to the store it was first used with.
    ///
    /// # Errors
    /// [`StoreError::Replaced`] when the database file is another one than was opened, and whatever the disk refuses.
    pub fn changed_since(&self, watch: &mut Watch) -> Result<Option<Change>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.changed_since(watch),
            Self::Postgres(postgres) => postgres.changed_since(watch),
        }
    }

    /// Opens the events of this store: beside it in its folder, or in its database, where those of all nodes are.
    ///
    /// # Errors
    /// As of [`EventStore::open`] and [`EventStore::open_database`].
    pub fn events(&self, durability: events::Durability) -> Result<EventStore, StoreError> {
        match self {
            Self::Sqlite(sqlite) => EventStore::open(sqlite.folder(), durability),
            Self::Postgres(postgres) => EventStore::in_database_of(postgres),
        }
    }

    /// Has `hinted` called whenever the store announces a change, until it says no. Only PostgreSQL announces any.
    pub(crate) fn on_hint(&self, hinted: impl Fn() -> bool + Send + 'static) {
        match self {
            Self::Sqlite(_) => drop(hinted),
            Self::Postgres(postgres) => postgres.on_hint(hinted),
        }
    }
}
