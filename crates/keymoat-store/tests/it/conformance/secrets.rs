//! Sealed secrets: kept, replaced and removed.

use keymoat_core::{Secret, UnixMillis};
use keymoat_store::{Change, SealedSecret, SecretState, Store, StoreError, Watch};

use super::Scenario;
use crate::{NOW, named, secret};

const LATER: UnixMillis = UnixMillis(NOW.0 + 1);

/// What an upstream's secret is, in the words of a test.
fn opened(store: &Store, upstream: &str) -> Option<(u32, String)> {
    let (version, secret) = store.open_secret(upstream).unwrap()?;
    // The test sealed it itself.
    let text = secret.expose();
    Some((version, String::from_utf8(text.to_vec()).unwrap()))
}

fn told(change: Option<Change>) -> Option<Vec<String>> {
    let tell = |state| match state {
        SecretState::Opened { version, secret } => {
            // The test sealed it itself.
            let text = secret.expose();
            format!("{version} {}", String::from_utf8_lossy(text))
        }
        SecretState::Removed => "removed".to_owned(),
        SecretState::Unopenable(error) => error.to_string(),
    };
    let tell = |change: keymoat_store::SecretChange| format!("{}: {}", change.upstream, tell(change.becomes));
    change.map(|change| change.secrets.into_iter().map(tell).collect())
}

#[test]
fn a_secret_is_sealed_rotated_and_removed() {
    let scenario = Scenario::new();
    let store = &scenario.store;
    assert_eq!(opened(store, "gemini"), None);
    let first = store.seal_secret("gemini", &Secret::from("one"), NOW).unwrap();
    let expected = SealedSecret { upstream: "gemini".into(), version: 1, created_at: NOW, retired_at: None };
    assert_eq!(first, expected);
    assert_eq!(opened(store, "gemini"), Some((1, "one".into())));
    assert_eq!(opened(&scenario.again(), "gemini"), Some((1, "one".into())), "another process opens it too");

    store.rotate_secret("gemini", &Secret::from("two"), LATER).unwrap();
    assert_eq!(opened(store, "gemini"), Some((2, "two".into())));
    let retired = SealedSecret { retired_at: Some(LATER), ..expected };
    assert_eq!(store.sealed_secrets().unwrap()[0], retired);

    store.remove_secret("gemini", LATER).unwrap();
    assert_eq!(opened(store, "gemini"), None);
    let again = store.seal_secret("gemini", &Secret::from("three"), LATER).unwrap();
    assert_eq!(again.version, 3, "a version is never used twice");
    let listed = store.sealed_secrets().unwrap();
    assert_eq!(listed.iter().map(|one| one.retired_at.is_some()).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let Scenario { store, .. } = &Scenario::new();
    let canary = Secret::from("canary");
    assert!(matches!(store.rotate_secret("a", &canary, NOW), Err(StoreError::SecretUnknown)));
    assert!(matches!(store.remove_secret("a", NOW), Err(StoreError::SecretUnknown)));
    store.seal_secret("a", &Secret::from("one"), NOW).unwrap();
    let mut watch = Watch::default();
    assert!(store.changed_since(&mut watch).unwrap().is_some());

    let refused = store.seal_secret("a", &canary, LATER).unwrap_err();
    assert!(refused.to_string().contains("`keymoat upstream rotate a`"), "{refused}");
    assert!(matches!(store.seal_secret("km_pasted", &canary, NOW), Err(StoreError::UpstreamNameInvalid)));
    assert!(matches!(store.rotate_secret("a", &Secret::from(""), NOW), Err(StoreError::SecretLength)));
    assert_eq!(opened(store, "a"), Some((1, "one".into())));
    assert!(store.changed_since(&mut watch).unwrap().is_none());
}

#[test]
fn a_watch_is_given_each_secret_once_and_again_when_it_changes() {
    let scenario = Scenario::new();
    let other = scenario.again();
    other.seal_secret("a", &Secret::from("one"), NOW).unwrap();
    other.seal_secret("b", &Secret::from("bee"), NOW).unwrap();
    let mut watch = Watch::default();
    let mut look = || told(scenario.store.changed_since(&mut watch).unwrap());
    assert_eq!(look(), Some(vec!["a: 1 one".into(), "b: 1 bee".into()]));
    assert_eq!(look(), None);
    other.rotate_secret("a", &Secret::from("two"), NOW).unwrap();
    assert_eq!(look(), Some(vec!["a: 2 two".into()]));
    other.create_key(named("key"), &secret("key"), NOW).unwrap();
    assert_eq!(look(), Some(vec![]), "a key changed, no secret");
    other.remove_secret("b", NOW).unwrap();
    scenario.store.rotate_secret("a", &Secret::from("three"), NOW).unwrap();
    assert_eq!(look(), Some(vec!["a: 3 three".into(), "b: removed".into()]));
    assert_eq!(look(), None);
}
