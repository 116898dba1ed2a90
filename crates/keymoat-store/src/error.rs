//! What can go wrong in the store, each with what to do about it. No text holds a credential.

use std::path::PathBuf;

use keymoat_core::UnixMillis;
use rusqlite::ErrorCode;

use crate::master_key::Place;
use crate::new_key::{NAME_CHARS_MAX, OWNER_CHARS_MAX};
use crate::private_file::PrivateFileError;
use crate::upstream_secret::{SECRET_BYTES_MAX, UPSTREAM_CHARS_MAX};

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the store cannot be made or read, or others can read it.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The folder is on a file system whose locks cannot be trusted.
    #[error("`{dir}` is on a network file system, where SQLite's locks do not hold: choose a folder on a local disk")]
    NetworkFileSystem {
        /// The store's folder.
        dir: PathBuf,
    },
    /// There is a database, but not the master key that its digests were made with.
    #[error(
        "there is no master key at {place}, and without it no key in the database is recognised and no sealed secret \
         opens: restore it from your backup, or say where it is with KEYMOAT_MASTER_KEY_FILE; if it is lost, move \
         `keymoat.db` away, make all keys anew and enter the upstreams' secrets again"
    )]
    MasterKeyMissing {
        /// Where it was looked for.
        place: Place,
    },
    /// The master key was to come from a place where there is none, and there is no store yet.
    #[error(
        "there is no master key at {place}: put 64 random hexadecimal digits there (`openssl rand -hex 32`), mode 0400"
    )]
    MasterKeyAbsent {
        /// Where it was looked for.
        place: Place,
    },
    /// What was given for a master key is something else.
    #[error("{place} is not a master key (64 hexadecimal digits, or 32 bytes in base64): restore it from your backup")]
    MasterKeyMalformed {
        /// Where it was read.
        place: Place,
    },
    /// The master key is another one than the database's digests were made with.
    #[error("{place} is not the master key of this database: restore the one that belongs to it")]
    MasterKeyWrong {
        /// Where it was read.
        place: Place,
    },
    /// An upstream's name cannot be one. It is not shown, because it may be a credential that was pasted there.
    #[error(
        "an upstream's name has letters, digits, `-` and `_`, {UPSTREAM_CHARS_MAX} at most, and does not start with \
         `km_`, `kmt_` or `kma_`"
    )]
    UpstreamNameInvalid,
    /// The secret is empty or far too long.
    #[error("an upstream's secret has 1 to {SECRET_BYTES_MAX} bytes")]
    SecretLength,
    /// The upstream has a sealed secret.
    #[error("upstream `{upstream}` has a sealed secret: replace it with `keymoat upstream rotate {upstream}`")]
    SecretExists {
        /// The upstream's name.
        upstream: String,
    },
    /// No upstream of this name has a sealed secret. The name is not shown, because it may be a credential.
    #[error(
        "no upstream of this name has a sealed secret: `keymoat upstream list` shows all, `keymoat upstream add` seals one"
    )]
    SecretUnknown,
    /// A sealed secret does not open. Nothing of it is known.
    #[error(
        "the sealed secret of upstream `{upstream}` does not open: {why}; enter it again with `keymoat upstream rotate \
         {upstream} --secret-file PATH`"
    )]
    SecretUnopenable {
        /// The upstream's name.
        upstream: String,
        /// What is wrong with it.
        why: Unopenable,
    },
    /// The target of a backup is there already.
    #[error("`{dir}` exists: name a folder that does not, so that no other backup is overwritten")]
    BackupExists {
        /// The target.
        dir: PathBuf,
    },
    /// A later version of Keymoat has changed the schema.
    #[error("the store has schema {found}, this version of keymoat knows up to {known}: use a newer keymoat")]
    SchemaTooNew {
        /// The file's version.
        found: i64,
        /// The highest version known here.
        known: i64,
    },
    /// The database was moved away or replaced while it was open.
    #[error("`{path}` was removed or replaced while it was open: restart keymoat to use the file that is there now")]
    Replaced {
        /// The database file.
        path: PathBuf,
    },
    /// A live key has this name.
    #[error("a key named `{name}` exists: choose another name, or revoke that key first")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name cannot be one. It is not shown, because it may be a credential that was pasted in the wrong place.
    #[error(
        "a key's name has 1 to {NAME_CHARS_MAX} characters, no control characters, no space at its ends, and does not \
         start with `km_`, `kmt_`, `kma_`, `key_`, `sec_`, `tok_` or `adm_`"
    )]
    NameInvalid,
    /// What is said of a key's owner cannot stand there. It is not shown, because it may be a credential.
    #[error(
        "a key's owner is one line of 1 to {OWNER_CHARS_MAX} characters, without control characters, space at its ends or \
         a credential"
    )]
    OwnerInvalid,
    /// The scopes are empty or hold a word that cannot be one.
    #[error("a key's scopes are `*`, or one or more words without spaces")]
    ScopesInvalid,
    /// The key would be expired from the beginning.
    #[error("the expiry lies in the past (`{}` is not later than `{}`)", expires_at.0, now.0)]
    ExpiryPassed {
        /// What was asked for.
        expires_at: UnixMillis,
        /// The time it was asked.
        now: UnixMillis,
    },
    /// The same credential is stored already.
    #[error("this secret belongs to a key already: generate another one")]
    SecretTaken,
    /// The limits cannot be kept.
    #[error("a key's limits: {0}")]
    Limits(#[source] keymoat_core::limits::LimitsError),
    /// The key was rotated, and its old secret still works.
    #[error(
        "the key was already rotated at {at}, and its old secret works until {until}: nothing was changed; `keymoat key \
         retire {id}` ends the old one now, `keymoat key rotate {id} --end-oldest` does so and makes a third"
    )]
    AlreadyRotated {
        /// The key's id.
        id: String,
        /// When its newest secret was made.
        at: UnixMillis,
        /// When the one before ends.
        until: UnixMillis,
    },
    /// No old secret works any more.
    #[error("key `{name}` has one secret that works, and no older one to end: to end the key, revoke it")]
    NotRotating {
        /// The key's name.
        name: String,
    },
    /// The overlap is no time, or too long.
    #[error("the overlap of a rotation is from 0 s to 366 days")]
    OverlapInvalid,
    /// The key is revoked for good.
    #[error("key `{name}` is revoked: make another one with `keymoat key create`")]
    KeyRevoked {
        /// The key's name.
        name: String,
    },
    /// The key has expired.
    #[error("key `{name}` expired at {at}: give it another end first with `keymoat key change {name} --expires WHEN`")]
    KeyExpired {
        /// The key's name.
        name: String,
        /// When.
        at: UnixMillis,
    },
    /// Somebody else has changed the key.
    #[error("the key was changed meanwhile: look at it again")]
    KeyChangedMeanwhile,
    /// No key has this id or name. What was looked for is not shown, because it may be a credential.
    #[error("no key has this id or name: `keymoat key list` shows all")]
    KeyUnknown,
    /// No token has this id. What was looked for is not shown, because it may be a credential.
    #[error("no token has this id: `keymoat token list` shows all that have not ended long ago")]
    TokenUnknown,
    /// No admin has this id or name. What was looked for is not shown, because it may be a credential.
    #[error("no admin has this id or name: `keymoat admin list` shows all")]
    AdminUnknown,
    /// An admin has this name.
    #[error("an admin named `{name}` exists: choose another name, or remove that one first")]
    AdminNameTaken {
        /// The name.
        name: String,
    },
    /// Nobody could administer any more.
    #[error("this is the last one who may administer everything: make another one first")]
    LastAdmin,
    /// The admin changed since it was looked at.
    #[error("the admin has changed meanwhile: look again, then change it")]
    AdminChanged,
    /// The claim link was used, has ended, or was replaced by a newer one.
    #[error("this claim link is used, has ended, or was replaced by a newer one: `keymoat admin claim` prints another")]
    ClaimInvalid,
    /// The credential is no token of this store.
    #[error("this is no token of this store: it was not minted here, or it ended long ago and is forgotten")]
    TokenNotFound,
    /// No route of this name is overridden. The name is not shown, because it may be a credential.
    #[error("no route of this name is overridden: `keymoat sunset status` shows those that are")]
    OverrideUnknown,
    /// An override that changes nothing, or names a carrier that is none.
    #[error("an override changes `query`, `sunset` or `carriers` of a route, each as the configuration has it")]
    OverrideSenseless,
    /// The system gave no random bytes.
    #[error("the system's random number generator failed")]
    Random,
    /// The background thread could not be started.
    #[error("cannot start the thread that watches the store: {0}")]
    Thread(#[source] std::io::Error),
    /// There is no room. Nothing was written.
    #[error("the disk of the store is full, nothing was written: make room ({source})")]
    Full {
        /// SQLite's own words.
        source: rusqlite::Error,
    },
    /// Another process held the lock for too long. Nothing was written.
    #[error("the store is locked by another process, nothing was written: try again ({source})")]
    Busy {
        /// SQLite's own words.
        source: rusqlite::Error,
    },
    /// Another process is opening the store and does not come to an end.
    #[error("another process has been opening `{dir}` for too long: look for a keymoat that hangs")]
    OpenBusy {
        /// The store's folder.
        dir: PathBuf,
    },
    /// The file is no database, or a damaged one.
    #[error("the store's database is damaged: restore `keymoat.db` from your backup ({source})")]
    Corrupt {
        /// SQLite's own words.
        source: rusqlite::Error,
    },
    /// The database was checked after a failure, and something in it is wrong.
    #[error("`{path}` is damaged: stop keymoat and restore it from your backup")]
    Unsound {
        /// The database file.
        path: PathBuf,
    },
    /// What should name a PostgreSQL database does not. It is not shown, because it may hold a password.
    #[error("the store's URL is not understood: {why}")]
    DatabaseUrl {
        /// What is wrong with it, without a part of it.
        why: &'static str,
    },
    /// The file of authorities for TLS to the database.
    #[error("`{path}` holds no certificates in PEM: `sslrootcert` names the authorities of the database's certificate")]
    DatabaseRoots {
        /// The file.
        path: PathBuf,
    },
    /// There is no connection to the database.
    #[error("cannot reach the database at {place}: {why}")]
    DatabaseUnreachable {
        /// Host, port and name.
        place: String,
        /// The driver's or the database's own words.
        why: String,
    },
    /// All connections are in use, or somebody else holds a lock.
    #[error("the database is busy: it did not come to it in time")]
    DatabaseBusy,
    /// The connection was lost. Whether the last change was kept is not known.
    #[error("the connection to the database was lost, the last change may or may not be kept")]
    DatabaseLost,
    /// There is no room on the database's disk.
    #[error("the disk of the database is full: nothing was changed")]
    DatabaseFull,
    /// A value in the database is not what the schema says.
    #[error("a row of the database is damaged: restore the database from your backup")]
    DatabaseDamaged,
    /// This role may not change the schema.
    #[error(
        "this role may not make or change the schema of the database: run `keymoat store migrate` once with the URL of a \
         role that may"
    )]
    DatabaseMigration,
    /// Copies of a database are the database's business.
    #[error("a PostgreSQL store is backed up with PostgreSQL's own tools, such as `pg_dump --schema=keymoat`")]
    DatabaseBackup,
    /// A store is copied into an empty one.
    #[error("there is something in the target already: a store is copied into an empty one")]
    CopyTargetUsed,
    /// The target has another master key.
    #[error("the target has another master key: in the copy no key would be recognised, and no secret would open")]
    CopyMasterKey,
    /// Something else that the database refused.
    #[error("the database refused ({code}: {message})")]
    Database {
        /// The SQLSTATE.
        code: String,
        /// The main message, without the details, which may hold the values of a row.
        message: String,
    },
    /// The store failed before and was not opened anew yet.
    #[error("the store failed and is not open again yet")]
    Unavailable,
    /// The database cannot be opened or written with this process's rights.
    #[error("the store's database cannot be opened or written: check the owner and mode of the files ({source})")]
    Access {
        /// SQLite's own words.
        source: rusqlite::Error,
    },
    /// The disk failed. Whether the last change was kept is not known.
    #[error("the disk of the store failed, the last change may or may not be kept ({source})")]
    Io {
        /// SQLite's own words.
        source: rusqlite::Error,
    },
    /// Something else that SQLite refused.
    #[error("the store failed ({source})")]
    Sqlite {
        /// SQLite's own words.
        source: rusqlite::Error,
    },
}

/// Why a sealed secret does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopenable {
    /// The row names a key that is not derived from this store's master key.
    #[error("it was sealed under another master key")]
    OtherMasterKey,
    /// A byte was changed, or the row belongs to another upstream, version or key.
    #[error("it is damaged, or was moved there from another row")]
    Damaged,
}

impl StoreError {
    /// Whether the database is at fault and not what was asked.
    pub(crate) fn is_of_the_database(&self) -> bool {
        matches!(
            self,
            Self::DatabaseUnreachable { .. }
                | Self::DatabaseBusy
                | Self::DatabaseLost
                | Self::DatabaseFull
                | Self::DatabaseDamaged
                | Self::Database { .. }
        )
    }

    /// Whether the disk, or what is on it, is at fault and not what was asked.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(
            self,
            Self::Full { .. }
                | Self::Busy { .. }
                | Self::Corrupt { .. }
                | Self::Access { .. }
                | Self::Io { .. }
                | Self::Unsound { .. }
        )
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        // A value that cannot be what the schema says is damage too.
        if matches!(source, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)) {
            return Self::Corrupt { source };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { source },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { source },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { source },
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::Access { source },
            Some(ErrorCode::SystemIoFailure) => Self::Io { source },
            _ => Self::Sqlite { source },
        }
    }
}
