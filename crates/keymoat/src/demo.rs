//! The first run: emulated APIs in this process, routes to them, and a key to try them with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use anyhow::Context;
use http::HeaderName;
use keymoat_core::carrier::Carriers;
use keymoat_core::format::canonical;
use keymoat_core::route::{LoneSubprotocol, Paths, Pattern};
use keymoat_core::{Dialect, Route, Secret, UnixMillis};
use keymoat_emulator::Options;
use keymoat_gateway::settings::{Inject, Origin, Upstream};
use keymoat_store::private_file::{self, Readers};
use keymoat_store::{NewKey, Store, StoreError};

use crate::config::EVERY_CARRIER;
use crate::process::new_key_secret;

/// The name of the demo key in the store.
const KEY_NAME: &str = "demo key of keymoat serve";

/// The file of the demo key in the store's folder.
const KEY_FILE: &str = "demo.key";

/// Emulated APIs that run for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Emulators {
    address: SocketAddr,
    /// The emulator stops when this is dropped.
    _running: tokio::sync::oneshot::Sender<()>,
}

/// One built-in upstream: its route's name, and where its key is put on.
struct BuiltIn {
    name: &'static str,
    header: &'static str,
    dialect: Dialect,
    lone_subprotocol: LoneSubprotocol,
    /// Empty for a dialect's own paths.
    paths: &'static [&'static str],
}

const BUILT_IN: [BuiltIn; 4] = [
    BuiltIn {
        name: "gemini",
        header: "x-goog-api-key",
        dialect: Dialect::Gemini,
        lone_subprotocol: LoneSubprotocol::Refuse,
        paths: &[],
    },
    BuiltIn {
        name: "openai",
        header: "authorization",
        dialect: Dialect::OpenAi,
        lone_subprotocol: LoneSubprotocol::Refuse,
        paths: &[],
    },
    BuiltIn {
        name: "events",
        header: "x-api-key",
        dialect: Dialect::Generic,
        lone_subprotocol: LoneSubprotocol::Echo,
        paths: &["/api/events", "/ws/events"],
    },
    BuiltIn {
        name: "demo",
        header: "authorization",
        dialect: Dialect::Generic,
        lone_subprotocol: LoneSubprotocol::Refuse,
        paths: &["/demo/*"],
    },
];

impl Emulators {
    /// Starts the emulated APIs on a free loopback port, and gives the upstreams that lead there.
    ///
    /// Their real key is random and exists in this process's memory only.
    ///
    /// # Errors
    /// No port, no thread or no randomness.
    pub(crate) fn start() -> anyhow::Result<(Self, Vec<Upstream>)> {
        let text = random_text()?;
        let upstream_secret = || {
            // The emulator and every upstream each hold the key; nobody else ever sees it.
            Secret::new(text.expose().to_vec())
        };
        let (started, address) = mpsc::channel();
        let (running, ended) = tokio::sync::oneshot::channel::<()>();
        let options = Options::new(upstream_secret());
        thread::Builder::new().name("emulators".into()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(async {
                match keymoat_emulator::start(options).await {
                    Ok(emulator) => {
                        let _ = started.send(Ok(emulator.address()));
                        let _ = ended.await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        })?;
        let address = address.recv().context("the emulators did not start")?.context("starting the emulators")?;
        let upstreams = BUILT_IN.iter().map(|built_in| upstream(built_in, address, upstream_secret())).collect();
        Ok((Self { address, _running: running }, upstreams))
    }

    /// Where they listen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn upstream(built_in: &BuiltIn, address: SocketAddr, secret: Secret) -> Upstream {
    let origin = Origin { tls: false, host: address.ip().to_string(), port: address.port() };
    let inject = Inject::Header(HeaderName::from_static(built_in.header));
    Upstream { secret: Some(secret), inject, ..Upstream::new(built_in.name, origin) }
}

/// The routes to the emulated APIs, each to the upstream of the same name.
pub(crate) fn routes() -> Vec<Route> {
    let carriers = Carriers::parse(EVERY_CARRIER).expect("the list is well formed");
    let route = |built_in: &BuiltIn| {
        let paths = match built_in.paths {
            [] => Paths::Dialect { prefix: String::new() },
            patterns => {
                let pattern = |text: &&str| Pattern::parse(text).expect("the patterns are well formed");
                Paths::Patterns(patterns.iter().map(pattern).collect())
            }
        };
        Route {
            lone_subprotocol: built_in.lone_subprotocol,
            ..Route::new(built_in.name, built_in.name, built_in.dialect, paths, carriers.clone())
        }
    };
    BUILT_IN.iter().map(route).collect()
}

/// The file with a key that works now: the one that is there, or a new one when it is missing, unknown or revoked.
///
/// # Errors
/// A key file that others can read, and whatever the store or the disk refuses.
pub(crate) fn key_file(store: &Store, dir: &Path, now: UnixMillis) -> anyhow::Result<PathBuf> {
    let path = dir.join(KEY_FILE);
    if let Some(content) = private_file::read(&path)?
        && is_live(store, content, now)?
    {
        return Ok(path);
    }
    // Its secret is lost, so nobody is to use the old one any more.
    match store.revoke_key(KEY_NAME, now) {
        Ok(_) | Err(StoreError::KeyUnknown) => {}
        Err(error) => return Err(error.into()),
    }
    let secret = new_key_secret()?;
    let new = NewKey::named(KEY_NAME);
    store.create_key(new, &secret, now)?;
    // The file is where the user's own shell reads the key from.
    let line = secret.expose();
    private_file::replace(&path, line, Readers::Owner)?;
    Ok(path)
}

fn is_live(store: &Store, content: Secret, now: UnixMillis) -> anyhow::Result<bool> {
    let (secret, _) = canonical(trimmed(&content));
    let snapshot = store.snapshot()?;
    // The file's key is digested, as a client's would be, and looked up.
    let digest = snapshot.pepper.digest(secret.expose());
    let Some(held) = snapshot.keys.get(&digest) else { return Ok(false) };
    Ok(held.key.is_live(now) && held.key.secret(&held.secret_id).is_some_and(|secret| secret.is_live(now)))
}

fn trimmed(content: &Secret) -> Secret {
    // An editor may have left a line end behind the key.
    Secret::new(content.expose().trim_ascii().to_vec())
}

/// 256 random bits that no format of ours has, so that the gateway takes them for nothing but an API's key.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn random_text() -> anyhow::Result<Secret> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system's random number generator failed"))?;
    let mut text = String::from("emulator-");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).expect("four bits are one digit"));
        }
    }
    Ok(Secret::from(text))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_763_771_332_005);

    #[test]
    fn the_demo_key_is_kept_while_it_works_and_made_anew_when_it_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let file = key_file(&store, dir.path(), NOW).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let first = std::fs::read(&file).unwrap();
        key_file(&store, dir.path(), NOW).unwrap();
        assert!(std::fs::read(&file).unwrap() == first, "a working key is kept");

        store.revoke_key(KEY_NAME, NOW).unwrap();
        key_file(&store, dir.path(), NOW).unwrap();
        let second = std::fs::read(&file).unwrap();
        assert!(second != first, "a revoked key is replaced");

        std::fs::remove_file(&file).unwrap();
        key_file(&store, dir.path(), NOW).unwrap();
        assert!(std::fs::read(&file).unwrap() != second, "a lost key is replaced");
        let live = store.keys().unwrap().iter().filter(|key| key.revoked_at.is_none()).count();
        assert_eq!(live, 1, "a lost key is revoked");
    }

    #[test]
    fn every_built_in_route_has_an_upstream_and_every_carrier() {
        let names: Vec<_> = BUILT_IN.iter().map(|built_in| built_in.name).collect();
        for route in routes() {
            assert!(names.contains(&&*route.upstream));
            assert_eq!(route.carriers.headers.len() + route.carriers.query.len(), EVERY_CARRIER.len() - 1);
            assert!(route.carriers.subprotocol);
        }
    }
}
