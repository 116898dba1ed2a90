//! Starts the serving threads and ends them again.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::token::told;
use keymoat_core::{RouteOverride, Snapshot};
use keymoat_store::TokenDesk;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::accept;
use crate::admission;
use crate::clock;
use crate::ledger::{Beginnings, Records};
use crate::memory::{self, Memory};
use crate::meter::Meters;
use crate::permits::{Permit, Permits};
use crate::plan::{Plan, PlanError};
use crate::session::{SessionInfo, Sessions, expiry};
use crate::settings::Settings;
use crate::throttle::Throttle;
use crate::worker::{Phase, Shared, Worker};

/// How long refused and closing connections may take after the sessions were told to end.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How often a draining thread looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// The gateway, before it runs.
#[derive(Debug)]
pub struct Gateway;

/// A gateway could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket that was handed over is of no use for the address that is configured.
    #[error("cannot take the socket that was handed over for {0}: {1}")]
    Handed(SocketAddr, #[source] io::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The routes and upstreams do not fit together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A thread or its runtime could not be made.
    #[error("cannot start a serving thread: {0}")]
    Thread(#[source] io::Error),
}

/// A running gateway. Dropping it does not stop it: call [`Running::drain`] or [`Running::stop_now`], then
/// [`Running::join`].
pub struct Running {
    asked: Vec<SocketAddr>,
    /// Further descriptors of the listening sockets, until they are closed: for the process that comes after this one.
    sockets: Mutex<Vec<Vec<std::net::TcpListener>>>,
    addresses: Vec<SocketAddr>,
    serving_threads: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    phase: watch::Sender<Phase>,
    pub(crate) shared: Arc<Shared>,
    /// Held by whoever makes a plan out of the one in force.
    planning: Mutex<()>,
}

impl Gateway {
    /// Opens the listeners, starts one thread with one runtime per `settings.threads`, and serves.
    ///
    /// # Errors
    /// As of [`Gateway::prepare`].
    pub fn start(
        settings: Settings,
        snapshots: Arc<ArcSwap<Snapshot>>,
        records: Records,
    ) -> Result<Running, StartError> {
        let running = Self::prepare(settings, Vec::new(), snapshots, records)?;
        running.serve();
        Ok(running)
    }

    /// Opens the listeners and starts the threads; connections wait until [`Running::serve`].
    ///
    /// `handed` are sockets that another process has opened, in the order of `settings.listeners`. An address that has
    /// none there is opened here, with one socket per thread. `snapshots` is read for every decision; whoever owns the store
    /// replaces it. `records` gets one record per request or session, on the serving threads.
    ///
    /// # Errors
    /// [`StartError`] when an address is taken or a socket is of no use for it, an upstream cannot work, or a route leads
    /// nowhere.
    pub fn prepare(
        settings: Settings,
        handed: Vec<Vec<std::net::TcpListener>>,
        snapshots: Arc<ArcSwap<Snapshot>>,
        records: Records,
    ) -> Result<Running, StartError> {
        let threads = settings.threads.max(1);
        let plan =
            Plan::new(settings.routes, settings.upstreams, settings.limits, None)?.trusting(settings.trusted_proxies);
        let tls = settings.listeners.iter().map(|listener| listener.tls.clone().map(ArcSwap::from)).collect();
        let shared = Arc::new(Shared {
            plan: ArcSwap::from_pointee(plan),
            tls,
            snapshots,
            records,
            permits: Permits::new(settings.limits.connections_max),
            turned_away: Permits::new(accept::TURNED_AWAY_MAX),
            turned_away_tls: Permits::new(accept::TURNED_AWAY_TLS_MAX),
            sessions: Sessions::new(settings.limits.sessions_max),
            meters: Meters::default(),
            throttle: Throttle::default(),
            awaiting_news: Permits::new(admission::AWAITING_NEWS_MAX),
            connections: Arc::default(),
            memory: Memory::default(),
            started_at: clock::now(),
            ready: OnceLock::new(),
            traces: AtomicBool::new(false),
            beginnings: OnceLock::new(),
            desk: OnceLock::new(),
            handed_over: AtomicBool::new(false),
            ends_soon: AtomicBool::new(false),
            accepting: Permits::new(usize::MAX),
        });
        let mut bound = Vec::new();
        let mut handed = handed.into_iter();
        for listener in &settings.listeners {
            let address = listener.address;
            bound.push(match handed.next().filter(|sockets| !sockets.is_empty()) {
                Some(sockets) => accept::adopt(address, sockets).map_err(|error| StartError::Handed(address, error))?,
                None => accept::bind(address, threads).map_err(|error| StartError::Listen(address, error))?,
            });
        }
        let mut taken: Vec<Vec<(usize, std::net::TcpListener)>> = (0..threads).map(|_| Vec::new()).collect();
        for (number, bound) in bound.iter().enumerate() {
            let spread = bound.spread(threads).map_err(StartError::Thread)?;
            for (thread, sockets) in taken.iter_mut().zip(spread) {
                thread.extend(sockets.into_iter().map(|socket| (number, socket)));
            }
        }
        let asked = settings.listeners.iter().map(|listener| listener.address).collect();
        let addresses = bound.iter().map(|bound| bound.address).collect();
        let sockets = Mutex::new(bound.into_iter().map(|bound| bound.sockets).collect());
        let phase = watch::Sender::new(Phase::Preparing);
        let handles = taken
            .into_iter()
            .enumerate()
            .map(|(number, sockets)| spawn(number, shared.clone(), phase.clone(), sockets))
            .collect::<io::Result<_>>()
            .map_err(StartError::Thread)?;
        let threads_running = Mutex::new(handles);
        Ok(Running {
            asked,
            sockets,
            addresses,
            serving_threads: threads,
            threads: threads_running,
            phase,
            shared,
            planning: Mutex::default(),
        })
    }
}

fn spawn(
    number: usize,
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    sockets: Vec<(usize, std::net::TcpListener)>,
) -> io::Result<JoinHandle<()>> {
    let (tell, made) = mpsc::sync_channel(1);
    let sockets = sockets.into_iter().map(|(number, socket)| (number, socket, shared.accepting.take())).collect();
    let thread = std::thread::Builder::new().name(format!("keymoat-serve-{number}")).spawn(move || {
        // Not a `LocalSet` on a runtime: every turn of its reactor would cost a system call to wake itself.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()) {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(Err(error))),
        };
        drop(tell.send(Ok(())));
        runtime.block_on(serve(number, shared, phase, sockets));
        // Tasks that are still there belong to clients that did not take their leave in time.
        runtime.shutdown_timeout(Duration::from_millis(100));
    })?;
    made.recv().map_err(io::Error::other)??;
    Ok(thread)
}

async fn serve(
    number: usize,
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    sockets: Vec<(usize, std::net::TcpListener, Option<Permit>)>,
) {
    if number == 0 {
        tokio::task::spawn_local(memory::watch(shared.clone()));
        tokio::task::spawn_local(expiry::watch(shared.clone()));
    }
    let worker = Rc::new(Worker::new(shared, phase.subscribe()));
    for (number, socket, accepting) in sockets {
        match TcpListener::from_std(socket) {
            Ok(listener) => {
                tokio::task::spawn_local(accept::run(worker.clone(), listener, number, accepting));
            }
            Err(error) => tracing::error!(%error, "cannot listen"),
        }
    }
    worker.leaving().await;
    let shared = &worker.shared;
    let deadline = Instant::now() + shared.plan.load().limits.drain;
    // No thread ends the others' accepting: whoever was accepted last is served as ever, too.
    // What is accepted from is looked at first, as a connection is counted before its socket is given up.
    while (shared.accepting.open() > 0 || shared.permits.open() > 0) && Instant::now() < deadline {
        tokio::select! {
            () = worker.stopping() => break,
            () = tokio::time::sleep(DRAIN_LOOK) => {}
        }
    }
    // After a hand-over, too, nothing is begun any more, and connections that wait for a request are closed.
    advance(&phase, Phase::Draining);
    let refusal = Refusal::new(Code::Draining, "this server is restarting, connect again");
    shared.sessions.end_where(|_, _| true, &refusal);
    let deadline = Instant::now() + LAST_WORDS;
    while shared.permits.open() > 0 && Instant::now() < deadline {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

fn advance(phase: &watch::Sender<Phase>, to: Phase) {
    phase.send_if_modified(|now| {
        let later = to > *now;
        *now = to.max(*now);
        later
    });
}

impl Running {
    /// Accepts whoever has connected since [`Gateway::prepare`], and whoever comes.
    pub fn serve(&self) {
        self.advance(Phase::Serving);
    }

    /// Further descriptors of all listening sockets, in the order of `Settings::listeners`, for a process that is to
    /// accept from them. It has to accept from each of them: the kernel queues connections in all.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn sockets(&self) -> io::Result<Vec<Vec<std::net::TcpListener>>> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().map(|sockets| sockets.iter().map(std::net::TcpListener::try_clone).collect()).collect()
    }

    /// Where it listens, in the order of `Settings::listeners`, with the ports that were free.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Has the routes that are named held to these overrides, and no others, from the next request on. Sessions go on.
    /// Says whether anything changed.
    pub fn override_routes(&self, overrides: Vec<RouteOverride>) -> bool {
        let _alone = self.planning.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = self.shared.plan.load().overridden(overrides);
        let is_new = plan.is_some();
        if let Some(plan) = plan {
            self.shared.plan.store(Arc::new(plan));
        }
        is_new
    }

    /// Takes over new routes, upstreams, limits and certificates. Connections and sessions go on; a request that has
    /// begun ends under the old plan.
    ///
    /// Gives what needs a restart to change, as texts for the operator.
    ///
    /// # Errors
    /// Nothing has changed then: the routes and upstreams do not fit together, or an upstream cannot work.
    pub fn reload(&self, settings: Settings) -> Result<Vec<String>, PlanError> {
        let _alone = self.planning.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.shared.plan.load_full();
        let plan = Plan::new(settings.routes, settings.upstreams, settings.limits, Some(&before))?;
        let plan = plan.trusting(settings.trusted_proxies);
        let mut notes = Vec::new();
        let listeners: Vec<_> = settings.listeners.iter().map(|listener| listener.address).collect();
        let same_tls = settings.listeners.iter().map(|listener| listener.tls.is_some());
        if listeners != self.asked || !same_tls.eq(self.shared.tls.iter().map(Option::is_some)) {
            notes.push("the listening addresses stay as they are until a restart".to_owned());
        } else {
            for (held, listener) in self.shared.tls.iter().zip(settings.listeners) {
                if let (Some(held), Some(new)) = (held, listener.tls) {
                    held.store(new);
                }
            }
        }
        if settings.threads.max(1) != self.serving_threads {
            notes.push("the number of threads stays as it is until a restart".to_owned());
        }
        self.shared.permits.allow(plan.limits.connections_max);
        self.shared.sessions.allow(plan.limits.sessions_max);
        self.shared.plan.store(Arc::new(plan));
        Ok(notes)
    }

    /// Makes `/keymoat/readyz` answer 503 while `ready` says no, such as when the view of the store is too old. It is
    /// asked on the serving threads and must not wait. The first one that is given stays.
    pub fn ready_while(&self, ready: impl Fn() -> bool + Send + Sync + 'static) {
        // A second one would be a mistake of whoever starts the gateway.
        let first = self.shared.ready.set(Box::new(ready)).is_ok();
        debug_assert!(first, "readiness is decided in one place");
    }

    /// Gives every request from now on its place in a trace: the client's, or one of its own.
    pub fn trace(&self) {
        self.shared.traces.store(true, Ordering::Relaxed);
    }

    /// Has every beginning kept before anything goes upstream. The first one that is given stays.
    pub fn keep_beginnings_by(&self, beginnings: Beginnings) {
        let first = self.shared.beginnings.set(beginnings).is_ok();
        debug_assert!(first, "beginnings are kept in one place");
    }

    /// How many sessions are live on each route that has any.
    #[must_use]
    pub fn live_sessions_by_route(&self) -> HashMap<Arc<str>, usize> {
        self.shared.sessions.count_by_route()
    }

    /// Whether it takes new work, as `/keymoat/readyz` says.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let ends_soon = self.shared.ends_soon.load(Ordering::Acquire);
        *self.phase.borrow() == Phase::Serving && !ends_soon && self.shared.is_ready()
    }

    /// The live sessions of this process: to be listed, and to be ended one by one.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    /// How many sessions are live: WebSockets and event streams.
    #[must_use]
    pub fn live_sessions(&self) -> usize {
        self.shared.sessions.count()
    }

    /// Leaves the listening sockets to another process that has them, with whoever waits there. Connections that are open
    /// are served as ever, but each answer over HTTP/1 is its connection's last, and an HTTP/2 client is told to open
    /// another. After [`crate::settings::Limits::drain`], WebSockets are closed with 1012.
    pub fn hand_over(&self) {
        // Before the phase, which is past it as soon as one of the threads has nothing left to do.
        if *self.phase.borrow() < Phase::HandedOver {
            self.shared.handed_over.store(true, Ordering::Release);
        }
        self.advance(Phase::HandedOver);
    }

    /// Says no at `/keymoat/readyz` from now on and serves everything as ever, so that a load balancer takes this process
    /// out first; each answer over HTTP/1 is its connection's last. Gives how long to wait until [`Running::drain`]
    /// ([`crate::settings::Limits::drain_after`]).
    #[must_use]
    pub fn announce_end(&self) -> Duration {
        let drain_after = self.shared.plan.load().limits.drain_after;
        if !drain_after.is_zero() {
            self.shared.ends_soon.store(true, Ordering::Release);
        }
        drain_after
    }

    /// Begins the shutdown: no new connections; requests and sessions may end by themselves until
    /// [`crate::settings::Limits::drain`] has passed, then sessions are closed with 1012.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends everything at once; sessions are told 1012.
    pub fn stop_now(&self) {
        self.advance(Phase::Stopping);
    }

    /// Ends the live sessions of a revoked key and tells how many there were.
    pub fn end_sessions_of_key(&self, key_id: &str) -> usize {
        let refusal = Refusal::new(Code::CredentialRevoked, "this key was revoked, ask for a new one");
        self.shared.sessions.end_where(|_, info| info.key_id.as_deref() == Some(key_id), &refusal)
    }

    /// Ends the live sessions of all tokens that the current snapshot knows to be revoked, and tells how many there were.
    pub fn end_sessions_of_revoked_tokens(&self) -> usize {
        let snapshot = self.shared.snapshots.load();
        let is_revoked = |id: &Arc<str>| snapshot.is_token_revoked(id);
        self.shared.sessions.end_where(|_, info| info.token_id.as_ref().is_some_and(is_revoked), &told::revoked())
    }

    /// Ends the live sessions that `is_revocable` says can be revoked, because it is not known any more whether they were,
    /// and tells how many there were.
    pub fn end_sessions_that_may_be_revoked(&self, is_revocable: impl Fn(&SessionInfo) -> bool) -> usize {
        let text = "the store cannot be read, and a revocation may have been missed: connect again";
        let refusal = Refusal::new(Code::Unavailable, text);
        self.shared.sessions.end_where(|_, info| is_revocable(info), &refusal)
    }

    /// Has tokens minted, found and claimed at `desk`. Before that there are none. The first one that is given stays.
    pub fn take_tokens_from(&self, desk: TokenDesk) {
        let first = self.shared.desk.set(desk).is_ok();
        debug_assert!(first, "there is one store");
    }

    /// Waits until all threads have ended. Others may go on using this value meanwhile; a second call returns at once.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a serving thread panicked");
            }
        }
    }

    /// How far it has come, whenever that is asked.
    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    fn advance(&self, phase: Phase) {
        if phase > Phase::Serving {
            // A socket is closed with its last descriptor.
            self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        advance(&self.phase, phase);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
