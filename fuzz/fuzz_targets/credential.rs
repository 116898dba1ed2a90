//! Wherever a credential is put, `take` answers without a panic and leaves nothing of it in the head.
#![no_main]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use keymoat_core::carrier::Carriers;
use keymoat_core::record::Protocol;
use keymoat_core::route::{LoneSubprotocol, Paths};
use keymoat_core::{
    Dialect, Head, Pepper, QueryPolicy, Record, Route, Secret, Snapshot, Transport, UnixMillis, credential, format,
};
use libfuzzer_sys::fuzz_target;

/// Where the input wants the credential to be.
const MARK: &str = "KK";
const KEY: &str = "km_TestVector0TestVector0TestVector0TestVector02cu8n";

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest).replace(MARK, KEY);
    let mut lines = text.split('\n');
    let mut builder = http::Request::builder().uri(lines.next().unwrap_or_default()).header("host", "gw.example");
    for line in lines.take(90) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        builder = builder.header(name, value);
    }
    let Ok(request) = builder.body(()) else { return };
    let Ok(mut head) = Head::read(request.into_parts().0, Transport::Http1, None) else { return };
    let (route, snapshot) = (route(*choice), snapshot());
    let mut record = Record::begin(UnixMillis(0), Ipv4Addr::LOCALHOST.into(), Protocol::Http1);
    let _ = credential::take(&mut head, &route, &snapshot, &mut record);
    assert!(!format::is_in(head.query.as_str().as_bytes()));
    assert!(head.headers.values().all(|value| !format::is_in(value.as_bytes())));
});

fn route(choice: u8) -> Route {
    let queries = [QueryPolicy::Refuse, QueryPolicy::Tokens, QueryPolicy::Warn, QueryPolicy::Allow];
    let list = ["header:x-api-key", "header:authorization", "subprotocol", "query:api_key"];
    Route {
        name: "fuzz".into(),
        upstream: "fuzz".into(),
        dialect: if choice & 4 == 0 { Dialect::Generic } else { Dialect::Gemini },
        paths: Paths::Dialect { prefix: String::new() },
        carriers: Carriers::parse(list).expect("well formed"),
        query: queries[usize::from(choice & 3)],
        lone_subprotocol: if choice & 8 == 0 { LoneSubprotocol::Refuse } else { LoneSubprotocol::Echo },
    }
}

fn snapshot() -> Snapshot {
    let master = Secret::from("a master key of thirty-two bytes");
    Snapshot { pepper: Arc::new(Pepper::derive(&master)), keys: HashMap::new() }
}
