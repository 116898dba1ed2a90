//! What the API looks at and steers: the store, the gateway, and what the configuration came to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use keymoat_core::{Act, Action, Actor, Dialect, Snapshot, UnixMillis};
use keymoat_gateway::Running;
use keymoat_redact::{KnownSecrets, Rules};
use keymoat_store::Store;

use crate::Acts;
use crate::events::{Delivery, Events, NotKept};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// Everything that the API is about. The binary puts it together.
#[derive(Clone)]
pub struct House {
    /// Where keys, tokens, admins and sealed secrets are.
    pub store: Arc<Store>,
    /// The gateway.
    pub running: Arc<Running>,
    /// What the gateway decides by, the configuration's keys among it.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    /// What of the configuration is shown; replaced when it is read again.
    pub configured: Arc<ArcSwap<Configured>>,
    /// Where what somebody does is told.
    pub acts: Acts,
    /// Where it is told when it is kept already: it is counted and logged.
    pub kept_acts: Acts,
    /// The clock.
    pub clock: Clock,
    /// By what text is masked on request.
    pub rules: Arc<ArcSwap<Rules>>,
    /// Where events are kept and told.
    pub events: Events,
    /// The secrets in use, which are masked everywhere.
    pub known: KnownSecrets,
    /// This program's version.
    pub version: &'static str,
    /// When it started.
    pub started_at: UnixMillis,
    /// This process among the nodes of the store.
    pub node_id: Arc<str>,
}

/// What of the configuration the API shows.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// Every setting in force, as `keymoat config show` has them.
    pub settings: Vec<Setting>,
    /// What is known of each upstream beside what the gateway knows.
    pub upstreams: BTreeMap<String, ConfiguredUpstream>,
    /// The ids of the keys that the configuration names.
    pub keys: Vec<Arc<str>>,
}

/// One setting.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Such as `route.voice`.
    pub section: String,
    /// Such as `query`.
    pub name: String,
    /// Its value; null where it is not set or not shown.
    pub value: serde_json::Value,
    /// Where it comes from.
    pub source: String,
}

/// What the configuration says of an upstream.
#[derive(Clone, Debug)]
pub struct ConfiguredUpstream {
    /// What its clients speak.
    pub dialect: Dialect,
    /// Where its secret comes from, in words, when the configuration names one; then the store has none for it.
    pub secret: Option<String>,
}

impl House {
    /// The time.
    pub(crate) fn now(&self) -> UnixMillis {
        (self.clock)()
    }

    /// Tells what somebody did.
    pub(crate) fn tell(&self, actor: Actor, action: Action, target: Option<&str>, detail: Option<String>) {
        (self.acts)(Act { at: self.now(), actor, action, target: target.map(Arc::from), detail });
    }

    /// Tells what somebody did, and where every event is required waits until that is kept.
    ///
    /// # Errors
    /// It is required, and was not kept in time. It may have been kept later.
    pub(crate) async fn tell_durably(
        &self,
        actor: Actor,
        action: Action,
        target: &str,
        detail: String,
    ) -> Result<(), NotKept> {
        let act = Act { at: self.now(), actor, action, target: Some(target.into()), detail: Some(detail) };
        if self.events.delivery() == Delivery::BestEffort {
            (self.acts)(act);
            return Ok(());
        }
        self.events.keep_act(act.clone()).await?;
        (self.kept_acts)(act);
        Ok(())
    }
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("version", &self.version).finish_non_exhaustive()
    }
}
