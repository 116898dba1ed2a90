//! The keys in force: those of the store and those of the configuration, joined into the one snapshot that decides.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use keymoat_core::{Digest, Held, Key, Pepper, Snapshot};

/// Keys by their digests.
type ByDigest = HashMap<Digest, Held>;

/// Joins both sources whenever one of them changes. Keys of the configuration are never written anywhere.
#[derive(Debug)]
pub(crate) struct Keys {
    pepper: Arc<Pepper>,
    sources: Mutex<Sources>,
    snapshots: Arc<ArcSwap<Snapshot>>,
}

#[derive(Debug)]
struct Sources {
    stored: ByDigest,
    configured: ByDigest,
    revoked_tokens: Vec<Arc<str>>,
}

impl Keys {
    /// Starts with what both sources hold.
    pub(crate) fn new(stored: Snapshot, configured: ByDigest) -> Self {
        let pepper = Arc::clone(&stored.pepper);
        let revoked_tokens = stored.revoked_tokens().cloned().collect();
        let sources = Sources { stored: stored.keys, configured, revoked_tokens };
        let snapshots = Arc::new(ArcSwap::from_pointee(sources.snapshot(&pepper)));
        Self { pepper, sources: Mutex::new(sources), snapshots }
    }

    /// What keys are digested with.
    pub(crate) fn pepper(&self) -> &Pepper {
        &self.pepper
    }

    /// What the gateway decides by.
    pub(crate) fn snapshots(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.snapshots
    }

    /// Whether there is any key that a client could come with.
    pub(crate) fn any_live(&self) -> bool {
        self.snapshots.load().each_key().any(|key| key.revoked_at.is_none())
    }

    /// Takes over the store's view; `lost` gets the id of each key that is not good any more.
    pub(crate) fn take_stored(&self, stored: Snapshot, lost: impl FnMut(&str)) {
        let take = |sources: &mut Sources| {
            sources.revoked_tokens = stored.revoked_tokens().cloned().collect();
            sources.stored = stored.keys;
        };
        self.replace(take, lost);
    }

    /// Takes over the configuration's keys; `lost` gets the id of each key that is not good any more.
    pub(crate) fn take_configured(&self, configured: ByDigest, lost: impl FnMut(&str)) {
        self.replace(|sources| sources.configured = configured, lost);
    }

    fn replace(&self, change: impl FnOnce(&mut Sources), lost: impl FnMut(&str)) {
        // Held to the end: two changes at once must not undo each other.
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources);
        let joined = sources.snapshot(&self.pepper);
        let gone = newly_lost(self.snapshots.load().each_key(), joined.each_key());
        // First the view, then the sessions: a session that is opened in between is decided by the new view.
        self.snapshots.store(Arc::new(joined));
        gone.iter().map(|id| &**id).for_each(lost);
    }
}

impl Sources {
    /// A key that stands in both is the store's: a revocation there holds.
    fn snapshot(&self, pepper: &Arc<Pepper>) -> Snapshot {
        let mut joined = self.configured.clone();
        joined.extend(self.stored.iter().map(|(digest, held)| (*digest, held.clone())));
        Snapshot::new(Arc::clone(pepper), joined).with_revoked_tokens(self.revoked_tokens.iter().cloned())
    }
}

/// The ids of keys that were good before and are revoked, or gone, now.
fn newly_lost<'a>(
    before: impl Iterator<Item = &'a Arc<Key>>,
    now: impl Iterator<Item = &'a Arc<Key>>,
) -> Vec<Arc<str>> {
    let good = |key: &&Arc<Key>| key.revoked_at.is_none();
    let now: HashSet<&Arc<str>> = now.filter(good).map(|key| &key.id).collect();
    before.filter(good).map(|key| &key.id).filter(|id| !now.contains(id)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use keymoat_core::{Secret, UnixMillis};

    use super::*;

    fn key(id: &str, revoked_at: Option<UnixMillis>) -> Arc<Key> {
        Arc::new(Key { revoked_at, ..Key::new(id, id, UnixMillis(0)).with_secret("sec_1", UnixMillis(0)) })
    }

    fn stored(pepper: &Arc<Pepper>, keys: &[(u8, Arc<Key>)]) -> Snapshot {
        Snapshot::new(Arc::clone(pepper), by_digest(keys))
    }

    fn by_digest(keys: &[(u8, Arc<Key>)]) -> ByDigest {
        keys.iter().map(|(digest, key)| (Digest([*digest; 32]), Held::newest(Arc::clone(key)))).collect()
    }

    #[test]
    fn sessions_end_of_keys_that_were_good_and_are_not_any_more() {
        let revoked = Some(UnixMillis(1));
        let before = [key("stays", None), key("goes", None), key("gone", None), key("old", revoked)];
        let now = [key("stays", None), key("goes", revoked), key("old", revoked), key("new", revoked)];
        let mut ended = newly_lost(before.iter(), now.iter());
        ended.sort();
        assert_eq!(ended, ["goes".into(), "gone".into()]);
    }

    #[test]
    fn neither_source_undoes_the_other_and_a_revocation_in_the_store_wins() {
        let pepper = Arc::new(Pepper::derive(&Secret::from("a master key of thirty-two bytes")));
        let keys = Keys::new(stored(&pepper, &[(1, key("key_1", None))]), by_digest(&[(2, key("file_a", None))]));
        assert!(keys.any_live());
        let mut lost = Vec::new();
        let revoked = Some(UnixMillis(1));
        keys.take_stored(stored(&pepper, &[(1, key("key_1", revoked)), (2, key("key_2", revoked))]), |id| {
            lost.push(id.to_owned());
        });
        lost.sort();
        assert_eq!(lost, ["file_a", "key_1"]);
        keys.take_configured(by_digest(&[(3, key("file_b", None))]), |id| panic!("{id} was not good"));
        assert_eq!(keys.snapshots().load().keys.len(), 3);
        keys.take_configured(ByDigest::new(), |id| assert_eq!(id, "file_b"));
        assert!(!keys.any_live());
    }
}
