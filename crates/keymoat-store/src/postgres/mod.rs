//! The store on PostgreSQL: any number of nodes over one database, and the master key in each node's own keeping.
//!
//! ```text
//! Store's functions ──▶ a thread with a runtime ──▶ pool ─────────────────────────────▶ database
//! desk              ──▶ the same runtime        ──▶ connections of its own, in groups ──▶
//! feed              ──▶ looks by the pool; a connection that listens says when to look earlier
//! ```
//! INVARIANT: nothing is told before the database has acknowledged its commit, and no statement that may have been
//! committed is sent twice.

mod admin_orders;
mod admins;
mod claims;
mod copy;
pub(crate) mod desk;
mod error;
mod events;
mod key_store;
mod keys;
mod link;
mod listen;
mod mint;
mod mint_group;
mod nodes;
mod overrides;
mod parts;
mod places;
mod schema;
mod secrets;
mod tokens;

pub use self::claims::CONSUME;
pub(crate) use self::events::EventsDatabase;
pub(crate) use self::keys::ChangeMark;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use deadpool_postgres::{Client, Object, Pool, Transaction};
use keymoat_core::{Pepper, Secret, Snapshot, UnixMillis};
use tokio::runtime::{self, Handle};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use self::error::{failed, pooled};
use self::link::Link;
use crate::error::StoreError;
use crate::master_key::{self, MasterKey};
use crate::private_file;
use crate::seal::Kek;
use crate::sqlite::Watch;
use crate::upstream_secret::Change;

/// How long an answer may take before its connection is given up. Longer than any statement may.
const ANSWER_WAIT: Duration = Duration::from_secs(8);

/// How long a look for changes may take: it must not hide its age.
const LOOK_WAIT: Duration = Duration::from_secs(2);

/// How long opening may take, with a migration and other nodes that do the same.
const OPEN_WAIT: Duration = Duration::from_secs(600);

/// A store on PostgreSQL; used through [`crate::Store`].
pub struct Postgres {
    shared: Arc<Shared>,
    handle: Handle,
    /// Ends the runtime when it is dropped.
    _end: oneshot::Sender<()>,
}

/// What the runtime's tasks share.
struct Shared {
    link: Link,
    pool: Pool,
    pepper: Arc<Pepper>,
    kek: Kek,
    /// Told when another node, or this one, has changed something.
    hint: Arc<Notify>,
}

/// How a database stands to this program, and what its commits are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseState {
    /// Host, port and name.
    pub place: String,
    /// The version of the schema that it has; 0 where there is nothing of Keymoat yet.
    pub found: i64,
    /// The version that this program knows.
    pub known: i64,
    /// The server's own version.
    pub server: String,
    /// Whether a commit is on its disk when it is acknowledged (`fsync`, `full_page_writes`).
    pub is_durable: bool,
    /// The standbys that a commit waits for (`synchronous_standby_names`); empty for none.
    pub standbys: String,
    /// How far its clock is ahead of this machine's, in milliseconds, give or take the question's own time.
    pub ahead_millis: i64,
}

impl Postgres {
    /// Opens the database and makes the schema where there is none; `dir` is where the master key may be.
    pub(crate) fn open(url: &Secret, dir: &Path, master_key: &MasterKey) -> Result<Self, StoreError> {
        let link = Link::parse(url)?;
        let (end, ended) = oneshot::channel();
        let handle = start_runtime(ended)?;
        let (of_task, dir) = (link.clone(), dir.to_owned());
        let (place, kept) = (master_key.place(&dir), master_key.read(&dir)?);
        let is_own = matches!(master_key, MasterKey::InFolder);
        let work = async move {
            let pool = of_task.pool()?;
            let mut client = pool.get().await.map_err(|error| pooled(of_task.shown(), &error))?;
            schema::migrate(&mut client).await?;
            let mut plain = client.transaction().await.map_err(|error| failed(&error))?;
            let change = &mut plain;
            schema::hold(change).await?;
            let master = match kept {
                Some(master) => master,
                None if schema::proof(tokio_postgres::GenericClient::client(&**change)).await?.is_some() => {
                    return Err(StoreError::MasterKeyMissing { place });
                }
                None if is_own => {
                    private_file::create_folder(&dir)?;
                    master_key::create(&dir)?
                }
                None => return Err(StoreError::MasterKeyAbsent { place }),
            };
            let pepper = Arc::new(Pepper::derive(&master));
            schema::prove_pepper(change, &pepper, place).await?;
            plain.commit().await.map_err(|error| failed(&error))?;
            drop(client);
            Ok((pool, pepper, Kek::derive(&master)))
        };
        let (pool, pepper, kek) = wait_for(&handle, OPEN_WAIT, work)?;
        let hint = Arc::new(Notify::new());
        handle.spawn(listen::run(link.clone(), Arc::clone(&hint)));
        Ok(Self { shared: Arc::new(Shared { link, pool, pepper, kek, hint }), handle, _end: end })
    }

    /// How the database at `url` is, without changing it.
    pub(crate) fn state(
        url: &Secret,
        now: impl Fn() -> UnixMillis + Send + 'static,
    ) -> Result<DatabaseState, StoreError> {
        let link = Link::parse(url)?;
        let (_end, ended) = oneshot::channel();
        let handle = start_runtime(ended)?;
        wait_for(&handle, ANSWER_WAIT, async move {
            let pool = link.pool()?;
            let client = pool.get().await.map_err(|error| pooled(link.shown(), &error))?;
            let place = link.shown().to_string();
            let sql = "SELECT current_setting('server_version'),
                           current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean,
                           current_setting('synchronous_standby_names'),
                           floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
            let statement = client.prepare(sql).await.map_err(|error| failed(&error))?;
            let asked = now();
            let row = client.query_one(&statement, &[]).await.map_err(|error| failed(&error))?;
            let answered = now();
            let column = || -> Result<_, tokio_postgres::Error> {
                Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get::<_, i64>(3)?))
            };
            let (server, is_durable, standbys, clock) = column().map_err(|error| failed(&error))?;
            let ahead_millis = clock - i64::midpoint(asked.0, answered.0);
            let found = schema::found(&client).await?;
            Ok(DatabaseState { place, found, known: schema::known(), server, is_durable, standbys, ahead_millis })
        })
    }

    /// Brings the schema at `url` up to date, and gives the versions that there were before and are now.
    pub(crate) fn migrate(url: &Secret) -> Result<(i64, i64), StoreError> {
        let link = Link::parse(url)?;
        let (_end, ended) = oneshot::channel();
        let handle = start_runtime(ended)?;
        wait_for(&handle, OPEN_WAIT, async move {
            let pool = link.pool()?;
            let mut client = pool.get().await.map_err(|error| pooled(link.shown(), &error))?;
            Ok((schema::migrate(&mut client).await?, schema::known()))
        })
    }

    pub(crate) fn pepper(&self) -> &Arc<Pepper> {
        &self.shared.pepper
    }

    /// How the database is reached.
    pub(crate) fn link(&self) -> &Link {
        &self.shared.link
    }

    /// The database for people: host, port and name.
    pub(crate) fn place(&self) -> &Arc<str> {
        self.shared.link.shown()
    }

    /// Called on the runtime's thread whenever a change was announced, until it says that nobody cares any more. An
    /// announcement may be lost, and several may be one.
    pub(crate) fn on_hint(&self, hinted: impl Fn() -> bool + Send + 'static) {
        let hint = Arc::clone(&self.shared.hint);
        self.handle.spawn(async move {
            loop {
                hint.notified().await;
                if !hinted() {
                    return;
                }
            }
        });
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.ask(|shared| async move { shared.at_one_moment(async |moment| shared.snapshot_of(moment).await).await })
    }

    pub(crate) fn changed_since(&self, watch: &mut Watch) -> Result<Option<Change>, StoreError> {
        let mut seen = watch.clone();
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let mut client = shared.client().await?;
            let mark = keys::change_mark(&client).await?;
            if seen.mark.as_ref() == Some(&mark) {
                client.done();
                return Ok(None);
            }
            let moment = client.moment().await?;
            let mark = keys::change_mark_in(&moment).await?;
            let snapshot = shared.snapshot_of(&moment).await?;
            let secrets = secrets::changes(&moment, &shared.kek, &mut seen.secrets).await?;
            let overrides = overrides::all(&moment).await?;
            drop(moment);
            client.done();
            seen.mark = Some(mark);
            Ok(Some((seen, Change { snapshot, secrets, overrides })))
        };
        let changed = wait_for(&self.handle, LOOK_WAIT, work)?;
        Ok(changed.map(|(seen, change)| {
            *watch = seen;
            change
        }))
    }

    /// Does a piece of work on the runtime and waits for it.
    fn ask<T, W>(&self, work: impl FnOnce(Arc<Shared>) -> W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        wait_for(&self.handle, ANSWER_WAIT, work(Arc::clone(&self.shared)))
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({})", self.place())
    }
}

impl Shared {
    async fn client(&self) -> Result<Lent<'_>, StoreError> {
        let client = self.pool.get().await.map_err(|error| pooled(self.link.shown(), &error))?;
        Ok(Lent { client: Some(client), link: &self.link, is_done: false })
    }

    /// Runs `change` in one transaction, which is rolled back when it fails.
    async fn in_one<T>(
        &self,
        change: impl AsyncFnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut client = self.client().await?;
        let mut transaction = client.begin().await?;
        let outcome = change(&mut transaction).await;
        match &outcome {
            Ok(_) => commit(transaction, &self.link).await?,
            Err(_) => transaction.rollback().await.map_err(|error| failed(&error))?,
        }
        client.done();
        outcome
    }

    /// The same while no other node changes anything of what a snapshot holds.
    async fn holding<T>(
        &self,
        change: impl AsyncFnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let held = async |transaction: &mut Transaction<'_>| {
            keys::hold(transaction).await?;
            change(transaction).await
        };
        self.in_one(held).await
    }

    /// Runs `read` on one moment of the whole database.
    async fn at_one_moment<T>(
        &self,
        read: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut client = self.client().await?;
        let moment = client.moment().await?;
        let outcome = read(&moment).await;
        drop(moment);
        client.done();
        outcome
    }

    async fn snapshot_of(&self, moment: &Transaction<'_>) -> Result<Snapshot, StoreError> {
        let keys = keys::by_digest(moment).await?;
        Ok(Snapshot::new(Arc::clone(&self.pepper), keys).with_revoked_tokens(tokens::revoked(moment).await?))
    }
}

/// A connection of the pool. It goes back only when its work is done: one that was given up may still be answered, or
/// never.
struct Lent<'a> {
    client: Option<Object>,
    link: &'a Link,
    is_done: bool,
}

impl Lent<'_> {
    async fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        self.inner().transaction().await.map_err(|error| failed(&error))
    }

    /// One moment of the whole database, to read.
    async fn moment(&mut self) -> Result<Transaction<'_>, StoreError> {
        let builder = self.inner().build_transaction().read_only(true);
        let level = tokio_postgres::IsolationLevel::RepeatableRead;
        builder.isolation_level(level).start().await.map_err(|error| failed(&error))
    }

    fn done(mut self) {
        self.is_done = true;
    }

    fn inner(&mut self) -> &mut Client {
        self.client.as_mut().expect("it is there until it is dropped")
    }
}

impl std::ops::Deref for Lent<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let (Some(client), false) = (self.client.take(), self.is_done) else { return };
        let client = Object::take(client);
        // When the store ends, there is nobody left to ask.
        if let (false, Ok(handle)) = (client.is_closed(), Handle::try_current()) {
            let (link, token) = (self.link.clone(), client.cancel_token());
            handle.spawn(async move { link.cancel(token).await });
        }
    }
}

/// After an error it is not known whether it happened. A commit whose wait for the standby was cancelled is told as a warning
/// and nothing else: a failover may forget it. It is not known whose warning it was, so that one too many is told to repeat.
async fn commit(change: Transaction<'_>, link: &Link) -> Result<(), StoreError> {
    let before = link.warnings();
    change.commit().await.map_err(|error| failed(&error))?;
    if link.warnings() == before { Ok(()) } else { Err(StoreError::DatabaseLost) }
}

/// A thread with a runtime, for as long as the other end of `ended` is there.
fn start_runtime(ended: oneshot::Receiver<()>) -> Result<Handle, StoreError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(StoreError::Thread)?;
    let handle = runtime.handle().clone();
    let run = move || {
        // Either way it ends: by a word or by silence.
        let _ = runtime.block_on(ended);
        runtime.shutdown_timeout(Duration::from_millis(100));
    };
    thread::Builder::new().name("store-postgres".into()).spawn(run).map_err(StoreError::Thread)?;
    Ok(handle)
}

/// Waits for work that runs elsewhere, whatever thread this is.
fn wait_for<T: Send + 'static>(
    handle: &Handle,
    within: Duration,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let (tell, told) = mpsc::sync_channel(1);
    handle.spawn(async move {
        let outcome = timeout(within, work).await.unwrap_or(Err(StoreError::DatabaseLost));
        // Whoever asked waits.
        let _ = tell.send(outcome);
    });
    told.recv().unwrap_or(Err(StoreError::Unavailable))
}
