//! Tokens from their minting to the end of their sessions: a gateway with a store, a feed and an emulator behind it.

mod carriers;
mod constraints;
mod lifetimes;
mod minting;
mod openai;
mod uses;

use std::sync::Arc;
use std::time::Duration;

use keymoat_core::format::{Kind, generate};
use keymoat_core::token::{Calls, Constraint, NewToken, TokenLimits, Uses};
use keymoat_core::{Scopes, Secret, Token, UnixMillis};
use keymoat_gateway::settings::{Limits, Settings};
use keymoat_store::{Change, Feed, MintOrder, Minting, NewKey, Store, TokenDesk};
use tempfile::TempDir;

use crate::stand::{Stand, frame, read_frame};

/// The path of Gemini Live as its newest SDKs ask for it with a token.
pub(crate) const LIVE: &str =
    "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained";
/// The plainest setup.
pub(crate) const SETUP: &[u8] = br#"{"setup":{"model":"models/gemini-2.5-flash-native-audio"}}"#;

/// A stand whose tokens are kept.
pub(crate) struct TokenStand {
    pub(crate) stand: Stand,
    pub(crate) store: Arc<Store>,
    pub(crate) key_id: Arc<str>,
    pub(crate) desk: TokenDesk,
    _feed: Feed,
    _dir: TempDir,
}

/// A token as its holder has it.
pub(crate) struct Held {
    pub(crate) token: Arc<Token>,
    pub(crate) text: String,
}

impl TokenStand {
    pub(crate) fn start() -> Self {
        Self::with(Limits::default(), |_| {})
    }

    pub(crate) fn with(limits: Limits, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(&dir.path().join("store")).expect("a store"));
        let stand = Stand::of_pepper(store.pepper().clone(), limits, change);
        let new = NewKey::named("backend");
        let key = store.create_key(new, &Secret::from(stand.key.as_str()), now()).expect("a key");
        let running = stand.running.as_ref().expect("running");
        let desk = TokenDesk::start(store.clone()).expect("a desk");
        running.take_tokens_from(desk.clone());
        let (snapshots, running) = (stand.snapshots.clone(), Arc::downgrade(running));
        let feed = Feed::start(store.clone(), Duration::from_millis(50), move |Change { snapshot, .. }| {
            snapshots.store(Arc::new(snapshot));
            if let Some(running) = running.upgrade() {
                running.end_sessions_of_revoked_tokens();
            }
        });
        Self { stand, store, key_id: key.id, desk, _feed: feed.expect("a feed"), _dir: dir }
    }

    /// A token of the stand's key.
    pub(crate) fn minted(&self, change: impl FnOnce(&mut NewToken)) -> Held {
        let now = now();
        let mut token = NewToken {
            key_id: self.key_id.clone(),
            scopes: Scopes::All,
            calls: Calls::Any,
            uses: Uses::Unlimited,
            start_by: now.plus_millis(60_000),
            live_until: now.plus_millis(1_800_000),
            origins: Vec::new(),
            limits: TokenLimits::default(),
            constraint: Constraint::None,
            idempotency_key: None,
        };
        change(&mut token);
        let secret = generate(Kind::Token, &mut |bytes| aws_lc_rs::rand::fill(bytes).expect("random bytes"));
        let order = MintOrder { token, secret, live_tokens_max: 10_000, now };
        match self.store.mint_token(order).expect("the store answers") {
            Minting::Made(minted) => {
                // The tests play the holder.
                let text = String::from_utf8(minted.secret.expose().to_vec()).expect("base62");
                Held { token: minted.token, text }
            }
            Minting::Denied(denial) => panic!("{denial:?}"),
        }
    }

    pub(crate) fn uses_left(&self, token: &Token) -> Option<u32> {
        self.store.token(&token.id, now()).expect("it is kept").uses_left
    }

    /// Sends a request with `method` and a JSON body, on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        self.stand.exchange(&format!(
            "{method} {path} HTTP/1.1\r\nHost: keymoat.test\r\nConnection: close\r\nContent-Type: application/json\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// A key of its own, with these scopes.
    pub(crate) fn key(&self, name: &str, scopes: &[&str]) -> String {
        let secret = generate(Kind::Key, &mut |bytes| aws_lc_rs::rand::fill(bytes).expect("random bytes"));
        let scopes = Scopes::from_words(scopes.iter().copied());
        let new = NewKey { scopes, ..NewKey::named(name) };
        let key = self.store.create_key(new, &secret, now()).expect("a key");
        crate::stand::wait_until(|| self.stand.snapshots.load().key_by_id(&key.id).is_some());
        // The tests play the holder.
        String::from_utf8(secret.expose().to_vec()).expect("base62")
    }

    /// Opens Gemini Live with `token` in a header, sends `first`, and gives what is answered.
    pub(crate) fn live(&self, token: &str, first: &[u8]) -> (std::net::TcpStream, (u8, Vec<u8>)) {
        use std::io::Write as _;
        let (head, mut stream) = self.stand.open_websocket(LIVE, &format!("Authorization: Token {token}\r\n"));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream.write_all(&frame(1, first)).expect("sent");
        let answer = read_frame(&mut stream);
        (stream, answer)
    }
}

pub(crate) fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    UnixMillis(i64::try_from(since.as_millis()).expect("before the year 292 million"))
}

/// The body of an answer, as JSON.
pub(crate) fn json_of(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {answer}"))
}

/// Whether an answer of the emulator says that the session is set up.
pub(crate) fn is_set_up((opcode, payload): &(u8, Vec<u8>)) -> bool {
    *opcode == 2 && String::from_utf8_lossy(payload).contains("setupComplete")
}
