//! Tokens for the tests: a key, its tokens, and a desk to spend them at.

use std::sync::Arc;
use std::time::Duration;

use keymoat_core::format::{Kind, generate};
use keymoat_core::token::{Calls, Constraint, NewToken, TokenLimits, Uses};
use keymoat_core::{Digest, Key, Scopes, Secret, Token, UnixMillis};
use keymoat_store::desk::WAIT;
use keymoat_store::{Claim, MintDenial, MintOrder, Minted, Minting, SessionId, Store, TokenDesk};
use tempfile::TempDir;

use crate::{NOW, named, secret};

/// How long a token of the tests may open sessions, and lives.
pub(crate) const START_MILLIS: i64 = 60_000;
pub(crate) const LIVE_MILLIS: i64 = 30 * 60_000;

/// Far longer than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A desk over a store with one key.
pub(crate) struct AnyStand<D> {
    pub(crate) dir: D,
    pub(crate) store: Arc<Store>,
    pub(crate) desk: TokenDesk,
    pub(crate) key: Key,
}

/// The same over SQLite.
pub(crate) type Stand = AnyStand<TempDir>;

impl Stand {
    /// At its desk one waits for as long as a busy machine takes.
    pub(crate) fn new() -> Self {
        Self::with(PATIENCE)
    }

    /// At its desk one waits as long as at a gateway's.
    pub(crate) fn impatient() -> Self {
        Self::with(WAIT)
    }

    fn with(wait: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("store")).unwrap());
        let key = store.create_key(named("parent"), &secret("parent"), NOW).unwrap();
        let desk = TokenDesk::start_with(Arc::clone(&store), wait).unwrap();
        Self { dir, store, desk, key }
    }

    /// A second opening of the same folder, as another process has it.
    pub(crate) fn again(&self) -> Store {
        Store::open(&self.dir.path().join("store")).unwrap()
    }

    /// The time goes with each question here.
    #[expect(clippy::unused_self, reason = "PostgreSQL has a clock of its own")]
    pub(crate) fn at(&self, _now: UnixMillis) {}
}

impl<D> AnyStand<D> {
    /// Such a token as the tests mostly want.
    pub(crate) fn new_token(&self, uses: Uses) -> NewToken {
        new_token(&self.key.id, uses)
    }

    /// Mints a token past the desk, and gives its digest too.
    pub(crate) fn minted(&self, uses: Uses) -> (Arc<Token>, Digest) {
        let Minted { token, secret } = made(self.store.mint_token(order(self.new_token(uses))).unwrap());
        (token, self.digest(&secret))
    }

    pub(crate) fn digest(&self, secret: &Secret) -> Digest {
        self.store.pepper().digest(secret.expose())
    }

    /// The digest of a resumption handle.
    pub(crate) fn handle(&self, text: &str) -> Digest {
        self.store.pepper().digest(text.as_bytes())
    }

    pub(crate) fn uses_left(&self, token: &Token) -> Option<u32> {
        self.store.token(&token.id, NOW).unwrap().uses_left
    }
}

pub(crate) fn new_token(key_id: &str, uses: Uses) -> NewToken {
    NewToken {
        key_id: key_id.into(),
        scopes: Scopes::All,
        calls: Calls::Any,
        uses,
        start_by: NOW.plus_millis(START_MILLIS),
        live_until: NOW.plus_millis(LIVE_MILLIS),
        origins: Vec::new(),
        limits: TokenLimits::default(),
        constraint: Constraint::None,
        idempotency_key: None,
    }
}

/// An order at [`NOW`] of a token with a new secret.
pub(crate) fn order(token: NewToken) -> MintOrder {
    let secret = generate(Kind::Token, &mut |bytes| aws_lc_rs::rand::fill(bytes).unwrap());
    MintOrder { token, secret, live_tokens_max: 10_000, now: NOW }
}

pub(crate) fn made(minting: Minting) -> Minted {
    match minting {
        Minting::Made(minted) => minted,
        Minting::Denied(denial) => panic!("{denial:?}"),
    }
}

pub(crate) fn denied(minting: Minting) -> MintDenial {
    match minting {
        Minting::Denied(denial) => denial,
        Minting::Made(minted) => panic!("{} was minted", minted.token.id),
    }
}

/// A session that nobody asked for before.
pub(crate) fn fresh_session() -> SessionId {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).unwrap();
    SessionId(id)
}

/// A claim for a new session at [`NOW`].
pub(crate) fn claim(token: Digest) -> Claim {
    claim_at(token, NOW)
}

pub(crate) fn claim_at(token: Digest, now: UnixMillis) -> Claim {
    Claim { session: fresh_session(), token, resumes: None, now }
}
