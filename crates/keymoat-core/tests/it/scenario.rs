//! A request, a route and a snapshot, put together in one line per test.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::HeaderName;
use http::{HeaderValue, Method, Request};
use keymoat_core::carrier::Carriers;
use keymoat_core::record::Protocol;
use keymoat_core::route::{LoneSubprotocol, Paths, Pattern};
use keymoat_core::{
    Ask, Dialect, Grant, Head, Held, Key, Offer, Pepper, Presented, QueryPolicy, Record, Refusal, Route, Secret,
    Snapshot, Transport, UnixMillis, credential, identity, origin::Named, policy,
};

/// A well-formed key that is known, and another one.
pub(crate) const KEY: &str = "km_TestVector0TestVector0TestVector0TestVector02cu8n";
pub(crate) const OTHER: &str = "km_00000000000000000000000000000000000000000001NLtxW";
/// A well-formed token. The snapshot files it as a key, so that its carriers can be tested without a store.
pub(crate) const TOKEN: &str = "kmt_TestVector0TestVector0TestVector0TestVector13nLa6";
/// A key of foreign shape that was imported.
pub(crate) const IMPORTED: &str = "c2VjcmV0/LWtl+eXM=";
pub(crate) const NOW: UnixMillis = UnixMillis(1_000_000);

pub(crate) struct Scenario {
    request: Request<()>,
    pub(crate) route: Route,
    pub(crate) snapshot: Snapshot,
}

/// What came out, and what became of the head and the record.
pub(crate) struct Outcome {
    pub(crate) result: Result<Grant, Refusal>,
    pub(crate) head: Head,
    pub(crate) record: Record,
}

impl Scenario {
    pub(crate) fn http(target: &str) -> Self {
        let mut request = Request::builder().uri(target).body(()).expect("a test's target is well formed");
        request.headers_mut().insert("host", HeaderValue::from_static("gw.example"));
        let mut scenario = Self { request, route: route(), snapshot: snapshot() };
        scenario.knows("known", KEY);
        scenario.knows("token", TOKEN);
        scenario.knows("imported", IMPORTED);
        scenario
    }

    pub(crate) fn websocket(target: &str) -> Self {
        Self::http(target)
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name: HeaderName = name.parse().expect("a test's header is well formed");
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a test's value is well formed");
        self.request.headers_mut().append(name, value);
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        let host = HeaderValue::try_from(host).expect("a test's host is well formed");
        self.request.headers_mut().insert("host", host);
        self
    }

    pub(crate) fn method(mut self, method: Method) -> Self {
        *self.request.method_mut() = method;
        self
    }

    pub(crate) fn carriers(mut self, list: &[&str]) -> Self {
        self.route.carriers = Carriers::parse(list.iter().copied()).expect("a test's carriers are well formed");
        self
    }

    pub(crate) fn query(mut self, policy: QueryPolicy) -> Self {
        self.route.query = policy;
        self
    }

    pub(crate) fn gemini(mut self) -> Self {
        self.route.dialect = Dialect::Gemini;
        self.carriers(&[
            "header:x-goog-api-key",
            "header:authorization",
            "subprotocol",
            "query:key",
            "query:access_token",
        ])
    }

    pub(crate) fn openai(mut self) -> Self {
        self.route.dialect = Dialect::OpenAi;
        self.carriers(&["header:authorization", "header:api-key", "subprotocol", "query:api_key"])
    }

    pub(crate) fn echo(mut self) -> Self {
        self.route.lone_subprotocol = LoneSubprotocol::Echo;
        self
    }

    pub(crate) fn key(mut self, text: &str, change: impl FnOnce(&mut Key)) -> Self {
        let digest = self.snapshot.pepper.digest(text.as_bytes());
        let mut key = key("changed");
        change(&mut key);
        self.snapshot.keys.insert(digest, Held::newest(Arc::new(key)));
        self
    }

    pub(crate) fn knows(&mut self, id: &str, text: &str) {
        let digest = self.snapshot.pepper.digest(text.as_bytes());
        self.snapshot.keys.insert(digest, Held::newest(Arc::new(key(id))));
    }

    pub(crate) fn head(&mut self) -> Head {
        let request = std::mem::take(&mut self.request);
        Head::read(request.into_parts().0, Transport::Http1, None).expect("the head is well formed")
    }

    /// Only the stage that takes the credential.
    pub(crate) fn take(mut self) -> (Result<Presented, Refusal>, Head, Record) {
        let mut head = self.head();
        let mut record = record();
        let result = credential::take(&mut head, &self.route, &self.snapshot, &mut record);
        (result, head, record)
    }

    /// All stages that decide.
    pub(crate) fn run(mut self) -> Outcome {
        let mut head = self.head();
        let mut record = record();
        let page = Named::by(&head, true);
        let result = credential::take(&mut head, &self.route, &self.snapshot, &mut record)
            .and_then(|presented| identity::find(presented, &self.snapshot, NOW, &mut record))
            .and_then(|identity| policy::decide(identity, &self.route, &head.ask, &page, &mut record));
        Outcome { result, head, record }
    }
}

impl Outcome {
    /// The id of the key that was allowed, or the code word of the refusal.
    pub(crate) fn word(&self) -> String {
        match &self.result {
            Ok(grant) => grant.identity.key.id.to_string(),
            Err(refusal) => refusal.code.word().to_owned(),
        }
    }

    pub(crate) fn detail(&self) -> String {
        self.result.as_ref().err().map(|refusal| refusal.detail.to_string()).unwrap_or_default()
    }

    pub(crate) fn carrier(&self) -> String {
        self.record.carrier.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    pub(crate) fn offer(&self) -> &Offer {
        match &self.head.ask {
            Ask::WebSocket(opening) => &opening.offer,
            Ask::Http => panic!("not a WebSocket"),
        }
    }
}

fn record() -> Record {
    Record::begin(NOW, std::net::Ipv4Addr::LOCALHOST.into(), Protocol::Http1)
}

fn key(id: &str) -> Key {
    Key::new(id, id, UnixMillis(0)).with_secret("sec_1", UnixMillis(0))
}

fn snapshot() -> Snapshot {
    let master = Secret::from("a master key of thirty-two bytes");
    Snapshot::new(Arc::new(Pepper::derive(&master)), HashMap::new())
}

fn route() -> Route {
    let list = ["header:x-api-key", "header:authorization", "subprotocol", "query:api_key"];
    let paths = Paths::Patterns(vec![Pattern::parse("/*").expect("well formed")]);
    Route::new("events", "events", Dialect::Generic, paths, Carriers::parse(list).expect("well formed"))
}
