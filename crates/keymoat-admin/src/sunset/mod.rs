//! The way off keys in URLs: who still sends them, what refusing them would have refused, and the end itself.
//!
//! ```text
//! status ──▶ plan ──▶ enforce at a date ──▶ the date comes ──▶ refused
//!                        └── now ─────────────────────────────────┘
//! ```
//! Counts come from the events' rolled-up tables; what is in force from the routes with their overrides.

mod enforce;
mod plan;
mod status;

use std::collections::HashMap;
use std::sync::Arc;

use keymoat_core::{Key, Route, UnixMillis};

pub use self::enforce::{Change, EnforceError, When, enforce, undo};
pub use self::plan::{KeyPlan, Plan, RoutePlan, plan};
pub use self::status::{RouteStatus, Seen, Status, UrlClient, busiest, status};

/// What is known about keys and routes, apart from what they were used for.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The routes in force, with their overrides.
    pub routes: &'a [Route],
    /// All keys, those of the configuration too.
    pub keys: &'a [Arc<Key>],
    /// The time.
    pub now: UnixMillis,
}

impl Known<'_> {
    /// All keys, to be found by their ids: there may be ten thousand of them.
    fn by_id(&self) -> ById<'_> {
        ById { keys: self.keys.iter().map(|key| (&*key.id, &**key)).collect(), known: *self }
    }

    fn is_good(&self, key: &Key) -> bool {
        key.revoked_at.is_none() && key.expires_at.is_none_or(|end| end > self.now)
    }
}

/// Keys by their ids.
struct ById<'a> {
    keys: HashMap<&'a str, &'a Key>,
    known: Known<'a>,
}

impl ById<'_> {
    /// The name of a key, or its id if it is not known any more.
    fn name<'a>(&'a self, key_id: &'a str) -> &'a str {
        self.keys.get(key_id).map_or(key_id, |key| &key.name)
    }

    fn is_live(&self, key_id: &str) -> bool {
        self.keys.get(key_id).is_some_and(|key| self.known.is_good(key))
    }
}

/// A moment as RFC 3339 has it, in UTC with milliseconds.
fn moment(at: UnixMillis) -> String {
    let mut text = String::with_capacity(24);
    at.write_with_millis(&mut text);
    text
}

#[cfg(test)]
mod tests;
