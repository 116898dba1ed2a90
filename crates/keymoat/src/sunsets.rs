//! Tells of the days on which keys in URLs end: the routes refuse them by themselves, and once for each day it is said so.

use std::collections::HashSet;
use std::sync::Arc;

use keymoat_admin::Acts;
use keymoat_core::{Act, Action, Actor, Route, UnixMillis};
use keymoat_store::Store;

/// The days that were told of by this process, so that the store is not asked again.
#[derive(Debug, Default)]
pub(crate) struct Sunsets(HashSet<(Arc<str>, UnixMillis)>);

impl Sunsets {
    /// Tells of every day that has come for a route that took keys in URLs until then. The first process of a store to
    /// notice tells, also after a restart.
    pub(crate) fn tell(&mut self, routes: &[Route], store: &Store, acts: &Acts, now: UnixMillis) {
        for route in routes {
            let Some(day) = route.sunset.filter(|day| *day <= now && route.query.takes_keys()) else { continue };
            if self.0.contains(&(Arc::clone(&route.name), day)) {
                continue;
            }
            match store.note_sunset(&route.name, day, now) {
                Ok(is_first) => {
                    self.0.insert((Arc::clone(&route.name), day));
                    if is_first {
                        tracing::info!(route = %route.name, "keys in URLs have come to their end on this route");
                        acts(act(route, now));
                    }
                }
                // It is looked again in a second.
                Err(error) => tracing::debug!(%error, "cannot note that the day has come"),
            }
        }
    }
}

fn act(route: &Route, now: UnixMillis) -> Act {
    let detail = Some("the day has come: keys in URLs are refused from now on".to_owned());
    let target = Some(Arc::clone(&route.name));
    Act { at: now, actor: Actor::Keymoat, action: Action::SunsetEnforced, target, detail }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use keymoat_core::carrier::Carriers;
    use keymoat_core::route::Paths;
    use keymoat_core::{Dialect, QueryPolicy};

    use super::*;

    #[test]
    fn a_day_is_told_of_once_by_whoever_notices_first_and_not_before_it_comes() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let acts: Acts = Arc::new(move |act: Act| heard.lock().expect("no panic").push(act.target));
        let route = |name: &str, query| {
            let paths = Paths::Dialect { prefix: String::new() };
            let sunset = Some(UnixMillis(100));
            Route { query, sunset, ..Route::new(name, "x", Dialect::Generic, paths, Carriers::default()) }
        };
        let routes = [route("old", QueryPolicy::Warn), route("strict", QueryPolicy::Tokens)];
        let mut first = Sunsets::default();
        first.tell(&routes, &store, &acts, UnixMillis(99));
        assert!(told.lock().expect("no panic").is_empty());
        first.tell(&routes, &store, &acts, UnixMillis(100));
        first.tell(&routes, &store, &acts, UnixMillis(101));
        Sunsets::default().tell(&routes, &store, &acts, UnixMillis(102));
        assert_eq!(*told.lock().expect("no panic"), [Some("old".into())]);
    }
}
