//! What a key has of a day, or a token altogether. With a store it is taken from there in parts, so that all processes together
//! use no more; alone it is counted here.
//!
//! ```text
//! take ──▶ enough is left of the parts ──────────────────────────────▶ taken (one exchange of an atomic)
//!      └─▶ wait ─▶ one question at a time: as much as all want, and some in advance ─▶ the store ─▶ taken, or refused
//! ```
//! INVARIANT: nothing is used that the store has not granted, durably, under the limit that is in force. A question without
//! an answer grants nothing; what the store has granted to it is lost for the day.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keymoat_core::limits::PER_DAY_MAX;
use keymoat_store::{Budget as Of, PartAsked};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::commons::Commons;

/// How long somebody waits for a part, with all who want some of it.
const WAIT: Duration = Duration::from_secs(1);

/// For how long an answer stands that there is no more, or none at all.
const SHORT_FOR: Duration = Duration::from_secs(1);

/// What is taken in advance at most, and lost if the process is killed.
const REQUESTS_AHEAD: u64 = 256;
const BYTES_AHEAD: u64 = 1 << 20;

/// The rest of one limit of one key or token.
#[derive(Debug)]
pub(super) struct Budget {
    of: Of,
    /// The day in the upper 16 bits, what is left of the parts in the lower 48.
    left: AtomicU64,
    /// The limit under which they were granted.
    most: AtomicU64,
    /// From which rest on more is asked for in advance.
    low: AtomicU64,
    is_asked: AtomicBool,
    /// Something was taken since somebody looked.
    is_touched: AtomicBool,
    asking: Mutex<Asking>,
}

#[derive(Debug, Default)]
struct Asking {
    /// What all want who wait.
    wanted: u64,
    waiting: Vec<oneshot::Sender<()>>,
    short: Option<(Instant, Short)>,
    /// Nothing is asked for in advance until then.
    quiet_until: Option<Instant>,
    /// What was granted under another limit, and is to be given back.
    returned: u64,
    /// What was used without a store, and of which day.
    alone: (i64, u64),
}

/// Why nothing is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// The day has no more.
    UsedUp,
    /// The store does not say.
    NoAnswer,
}

/// What is asked for, and of whom.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// The id of the key or token.
    pub(super) key_id: &'a Arc<str>,
    /// What it has for the whole day; a token altogether.
    pub(super) most: u64,
    pub(super) day: i64,
    pub(super) commons: Option<&'a Arc<Commons>>,
}

/// What becomes of something that is to be taken.
pub enum Taking<E> {
    /// It is decided.
    Now(Result<(), E>),
    /// The store is asked.
    Later(Pin<Box<dyn Future<Output = Result<(), E>> + Send>>),
}

impl<E> Taking<E> {
    /// Waits for it.
    ///
    /// # Errors
    /// Why it is not granted.
    pub async fn done(self) -> Result<(), E> {
        match self {
            Self::Now(done) => done,
            Self::Later(later) => later.await,
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for Taking<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(done) => f.debug_tuple("Now").field(done).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

impl Budget {
    pub(super) fn new(of: Of) -> Self {
        Self {
            of,
            left: AtomicU64::new(0),
            most: AtomicU64::new(0),
            low: AtomicU64::new(0),
            is_asked: AtomicBool::new(false),
            is_touched: AtomicBool::new(false),
            asking: Mutex::default(),
        }
    }

    /// Takes `amount`, all of it or nothing.
    pub(super) fn take(self: &Arc<Self>, amount: u64, terms: Terms<'_>) -> Taking<Short> {
        let Some(commons) = terms.commons else { return Taking::Now(self.take_alone(amount, terms)) };
        if self.try_take(amount, terms.most, terms.day) {
            if self.left(terms.day) < self.low.load(Ordering::Relaxed) {
                self.ask_ahead(commons, terms);
            }
            return Taking::Now(Ok(()));
        }
        let (budget, commons, key_id) = (Arc::clone(self), Arc::clone(commons), Arc::clone(terms.key_id));
        let (most, day) = (terms.most, terms.day);
        Taking::Later(Box::pin(async move {
            let taken = budget.wait_for(amount, &commons, &key_id, most, day);
            timeout(WAIT, taken).await.unwrap_or(Err(Short::NoAnswer))
        }))
    }

    /// Says whether there is anything left, and takes nothing.
    pub(super) fn look(self: &Arc<Self>, terms: Terms<'_>) -> Taking<Short> {
        if terms.commons.is_none() {
            let asking = self.lock();
            let used = if asking.alone.0 == terms.day { asking.alone.1 } else { 0 };
            return Taking::Now(if used < terms.most { Ok(()) } else { Err(Short::UsedUp) });
        }
        if self.most.load(Ordering::Relaxed) == terms.most && self.left(terms.day) > 0 {
            return Taking::Now(Ok(()));
        }
        match self.take(1, terms) {
            Taking::Now(done) => {
                if done.is_ok() {
                    self.add(1, terms.day);
                }
                Taking::Now(done)
            }
            Taking::Later(later) => {
                let (budget, day) = (Arc::clone(self), terms.day);
                Taking::Later(Box::pin(async move {
                    later.await?;
                    budget.add(1, day);
                    Ok(())
                }))
            }
        }
    }

    /// What is left of the parts of `day` and was not touched since the last call: it is given back. `all` takes also what
    /// was.
    pub(super) fn give_up(&self, day: i64, all: bool) -> u64 {
        let mut asking = self.lock();
        let returned = std::mem::take(&mut asking.returned);
        if self.is_touched.swap(false, Ordering::Relaxed) && !all {
            return returned;
        }
        returned + count_of(self.left.swap(tagged(day), Ordering::Relaxed), day)
    }

    /// Whether nothing of the parts of `day` is left here, nor to be given back.
    pub(super) fn is_given_up(&self, day: i64) -> bool {
        self.lock().returned == 0 && self.left(day) == 0
    }

    async fn wait_for(
        self: &Arc<Self>,
        amount: u64,
        commons: &Arc<Commons>,
        key_id: &Arc<str>,
        most: u64,
        day: i64,
    ) -> Result<(), Short> {
        loop {
            let told = {
                let mut asking = self.lock();
                self.heed_limit(&mut asking, most, day);
                if self.try_take(amount, most, day) {
                    return Ok(());
                }
                if let Some((until, short)) = asking.short
                    && Instant::now() < until
                {
                    return Err(short);
                }
                let (tell, told) = oneshot::channel();
                asking.waiting.push(tell);
                asking.wanted = asking.wanted.saturating_add(amount).min(PER_DAY_MAX);
                if !self.is_asked.swap(true, Ordering::Relaxed) {
                    tokio::spawn(Arc::clone(self).ask(Arc::clone(commons), Arc::clone(key_id), most, day));
                }
                told
            };
            // Whoever asks for all tells all, also when it comes to nothing.
            let _ = told.await;
        }
    }

    fn ask_ahead(self: &Arc<Self>, commons: &Arc<Commons>, terms: Terms<'_>) {
        if self.is_asked.load(Ordering::Relaxed) {
            return;
        }
        let asking = self.lock();
        if asking.quiet_until.is_none_or(|until| Instant::now() >= until)
            && !self.is_asked.swap(true, Ordering::Relaxed)
        {
            tokio::spawn(Arc::clone(self).ask(Arc::clone(commons), Arc::clone(terms.key_id), terms.most, terms.day));
        }
    }

    /// Asks the store until all who wait have what they want, or there is no more.
    async fn ask(self: Arc<Self>, commons: Arc<Commons>, key_id: Arc<str>, most: u64, day: i64) {
        // Also when the runtime ends before the answer.
        let mut asked = Asked { budget: &self, is_told: false };
        let plenty = match self.of {
            Of::Requests => REQUESTS_AHEAD,
            Of::Bytes => BYTES_AHEAD,
        };
        loop {
            let least = self.lock().wanted.saturating_sub(self.left(day));
            let part = PartAsked { key_id: Arc::clone(&key_id), day, of: self.of, most, least, plenty };
            let granted = commons.desk.take_part(part).await;
            let mut asking = self.lock();
            let until = Instant::now() + SHORT_FOR;
            match granted {
                Ok(granted) => {
                    if self.most.load(Ordering::Relaxed) == most {
                        self.add(granted, day);
                        self.low.store(granted / 4, Ordering::Relaxed);
                    } else {
                        asking.returned += granted;
                    }
                    asking.short = (granted < least).then_some((until, Short::UsedUp));
                    asking.quiet_until = (granted == 0).then_some(until);
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot ask for a part of a budget");
                    asking.short = Some((until, Short::NoAnswer));
                    asking.quiet_until = Some(until);
                }
            }
            if asking.short.is_none() && self.left(day) < asking.wanted {
                continue;
            }
            return asked.tell(&mut asking);
        }
    }

    fn take_alone(&self, amount: u64, terms: Terms<'_>) -> Result<(), Short> {
        let mut asking = self.lock();
        let used = if asking.alone.0 == terms.day { asking.alone.1 } else { 0 };
        match used.checked_add(amount).filter(|used| *used <= terms.most) {
            Some(used) => {
                asking.alone = (terms.day, used);
                Ok(())
            }
            None => Err(Short::UsedUp),
        }
    }

    fn try_take(&self, amount: u64, most: u64, day: i64) -> bool {
        if self.most.load(Ordering::Relaxed) != most {
            return false;
        }
        let less = |held| count_of(held, day).checked_sub(amount).map(|left| tagged(day) | left);
        let is_taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if is_taken {
            self.is_touched.store(true, Ordering::Relaxed);
        }
        is_taken
    }

    /// What was granted under another limit is not used under this one.
    fn heed_limit(&self, asking: &mut Asking, most: u64, day: i64) {
        if self.most.swap(most, Ordering::Relaxed) != most {
            asking.returned += count_of(self.left.swap(tagged(day), Ordering::Relaxed), day);
            asking.short = None;
        }
    }

    fn left(&self, day: i64) -> u64 {
        count_of(self.left.load(Ordering::Relaxed), day)
    }

    fn add(&self, more: u64, day: i64) {
        let added = |held| Some(tagged(day) | count_of(held, day).saturating_add(more).min(PER_DAY_MAX));
        // It never says no.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
    }

    fn lock(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is on its way.
struct Asked<'a> {
    budget: &'a Budget,
    is_told: bool,
}

impl Asked<'_> {
    fn tell(&mut self, asking: &mut Asking) {
        self.is_told = true;
        asking.wanted = 0;
        self.budget.is_asked.store(false, Ordering::Relaxed);
        for waiting in asking.waiting.drain(..) {
            // It may have given up.
            let _ = waiting.send(());
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            let budget = self.budget;
            self.tell(&mut budget.lock());
        }
    }
}

const COUNT_BITS: u32 = 48;

/// The day, where a count has it. 16 bits tell days of 179 years apart.
fn tagged(day: i64) -> u64 {
    (day.rem_euclid(1 << 16) as u64) << COUNT_BITS
}

fn count_of(held: u64, day: i64) -> u64 {
    if held & !PER_DAY_MAX == tagged(day) { held & PER_DAY_MAX } else { 0 }
}
