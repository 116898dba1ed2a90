//! Wherever a credential is put and however it is disguised, `take` leaves nothing of it in the head, whatever it
//! answers, and what it answers says nothing of it.
//!
//! The first bytes choose the route, the carrier and the credential; then a line with the target, and one per header,
//! in which `@0` to `@8` stand for the credential in its disguises and `@9` for a secret that the snapshot knows.
#![no_main]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use base64::prelude::*;
use keymoat_core::carrier::Carriers;
use keymoat_core::record::Protocol;
use keymoat_core::route::{LoneSubprotocol, Paths};
use keymoat_core::{
    Ask, Dialect, Head, Held, Key, Pepper, QueryPolicy, Record, Refusal, Route, Secret, Snapshot, Transport,
    UnixMillis, credential, format, path,
};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use percent_encoding::percent_decode;

const KEY: &str = "km_TestVector0TestVector0TestVector0TestVector02cu8n";
const TOKEN: &str = "kmt_TestVector0TestVector0TestVector0TestVector13nLa6";
/// A key of foreign shape that the snapshot knows.
const IMPORTED: &str = "c2VjcmV0/LWtl+eXM=";
/// What other credentials are made of: no run of it is in a text of ours, and all separators are in it.
const ALPHABET: &[u8] = b"QXZ0123456789%&;=+/,-_~!#?:@\"'*()|^";
/// Shorter runs of a credential in an answer are chance.
const PART_BYTES: usize = 8;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let pepper = Pepper::derive(&Secret::from("a master key of thirty-two bytes"));
    let key = Key::new("imported", "imported", UnixMillis(0)).with_secret("sec_1", UnixMillis(0));
    let keys = HashMap::from([(pepper.digest(IMPORTED.as_bytes()), Held::newest(Arc::new(key)))]);
    Snapshot::new(Arc::new(pepper), keys)
});

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, carrier, which], rest)) = data.split_first_chunk::<3>() else { return };
    let (credential, rest) = credential(which, rest);
    let Some(mut head) = head(carrier, &credential, &String::from_utf8_lossy(rest)) else { return };
    let route = route(choice);
    let mut record = Record::begin(UnixMillis(0), Ipv4Addr::LOCALHOST.into(), Protocol::Http1);
    let taken = credential::take(&mut head, &route, &SNAPSHOT, &mut record);
    assert!(texts(&head).iter().all(|text| !format::is_in(text)));
    check_known(&head);
    check_silent(&format!("{record:?} {head:?} {taken:?}"), &credential);
    match &taken {
        // More than eight copies are refused unseen, but for those of our own shape.
        Err(Refusal { detail, .. }) if detail.starts_with("more than 8") => {}
        Err(refusal) => {
            check_absent(&head, &credential);
            check_silent(&format!("{refusal} {} {}", refusal.detail, refusal.reason()), &credential);
        }
        Ok(presented) => {
            // Compared with what is left and forgotten.
            let used = String::from_utf8(presented.credential().expose().to_vec()).expect("checked to be ASCII");
            check_absent(&head, &credential);
            check_absent(&head, &used);
            assert!(used.len() < 8 || !head.path.contains(&used));
            assert!(!path::shown(&head.path, Some(presented.credential())).contains(&credential));
        }
    }
});

/// The credential that `which` stands for, perhaps made of the first bytes of `rest`, and what is left of them.
fn credential(which: u8, rest: &[u8]) -> (String, &[u8]) {
    match which {
        b'K' => (KEY.to_owned(), rest),
        b'T' => (TOKEN.to_owned(), rest),
        b'A' => (format!("auth_tokens/{TOKEN}"), rest),
        b'I' => (IMPORTED.to_owned(), rest),
        _ => {
            let (made, rest) = rest.split_at(rest.len().min(8 + usize::from(which) % 56));
            let character = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
            (made.iter().map(character).collect(), rest)
        }
    }
}

/// A head with the credential in the `carrier`, and wherever else the text puts it.
fn head(carrier: u8, credential: &str, text: &str) -> Option<Head> {
    if credential.len() < PART_BYTES {
        return None;
    }
    let text = filled(text, credential);
    let mut lines = text.split('\n');
    let (path, query) = lines.next()?.split_once('?').unwrap_or(("/a", ""));
    let mut target = format!("{path}?{query}");
    let mut headers = vec![("host", String::from("gw.example"))];
    match carrier % 8 {
        0 => headers.push(("x-api-key", credential.to_owned())),
        1 => headers.push(("authorization", format!("Bearer {credential}"))),
        2 => headers.push(("authorization", format!("token  {credential}"))),
        3 => headers.push(("sec-websocket-protocol", format!("api-key.{credential}"))),
        4 => headers.push(("sec-websocket-protocol", format!("app, openai-insecure-api-key.{credential}"))),
        5 | 6 => {
            let encoded = BASE64_URL_SAFE_NO_PAD.encode(credential);
            headers.push(("sec-websocket-protocol", format!("keymoat.token.{encoded}")));
        }
        _ => target = format!("{path}?api_key={}&{query}", percent(credential, 1)),
    }
    if matches!(carrier % 8, 3..=6) || carrier & 8 != 0 {
        headers.push(("connection", String::from("Upgrade")));
        headers.push(("upgrade", String::from("websocket")));
        headers.push(("sec-websocket-version", String::from("13")));
        headers.push(("sec-websocket-key", String::from("dGhlIHNhbXBsZSBub25jZQ==")));
    }
    let mut builder = http::Request::builder().uri(target);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    for line in lines.take(90) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        builder = builder.header(name, value.trim());
    }
    Head::read(builder.body(()).ok()?.into_parts().0, Transport::Http1, None).ok()
}

fn filled(text: &str, credential: &str) -> String {
    let mut filled = String::new();
    let mut parts = text.split('@');
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let mut rest = part.chars();
        match rest.next().and_then(|mark| disguised(credential, mark)) {
            Some(disguised) => {
                filled.push_str(&disguised);
                filled.push_str(rest.as_str());
            }
            None => {
                filled.push('@');
                filled.push_str(part);
            }
        }
    }
    filled
}

fn disguised(credential: &str, mark: char) -> Option<String> {
    Some(match mark {
        '0' => credential.to_owned(),
        '1' => percent(credential, 1),
        '2' => percent(credential, 2),
        '3' => percent(credential, 3),
        '4' => BASE64_STANDARD.encode(credential),
        '5' => BASE64_URL_SAFE_NO_PAD.encode(credential),
        '6' => BASE64_STANDARD.encode(format!("user:{credential}")),
        '7' => percent(&BASE64_STANDARD.encode(credential), 1),
        '8' => credential.replace('%', "%25").replace(['&', ';', '=', '+'], "%26"),
        '9' => IMPORTED.to_owned(),
        _ => return None,
    })
}

/// Every character escaped, and then every `%` as often as it takes.
fn percent(text: &str, times: usize) -> String {
    let mut text: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for _ in 1..times {
        text = text.replace('%', "%25");
    }
    text
}

/// All text that would go upstream or back.
fn texts(head: &Head) -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = head.headers.values().map(|value| value.as_bytes().to_vec()).collect();
    texts.push(head.query.as_str().as_bytes().to_vec());
    if let Ask::WebSocket(opening) = &head.ask {
        texts.extend(opening.offer.labels().map(|label| label.as_bytes().to_vec()));
        texts.extend(opening.offer.select(None).map(String::into_bytes));
    }
    texts
}

/// Nothing in the head holds the credential, as it is, in base64 or in base64url, percent-encoded up to three times.
fn check_absent(head: &Head, credential: &str) {
    if credential.len() < PART_BYTES {
        return;
    }
    let mut forms = vec![credential.to_owned()];
    // Fewer than 20 characters of base64 are not looked at.
    if credential.len() >= 15 {
        forms.push(BASE64_STANDARD_NO_PAD.encode(credential));
        forms.push(BASE64_URL_SAFE_NO_PAD.encode(credential));
        forms.push(BASE64_STANDARD_NO_PAD.encode(format!("user:{credential}")));
    }
    for mut reading in texts(head) {
        for _ in 0..4 {
            for form in &forms {
                let held = memmem::find(&reading, form.as_bytes());
                assert!(held.is_none(), "{form} in {}", String::from_utf8_lossy(&reading));
            }
            reading = percent_decode(&reading).collect();
        }
    }
}

/// A secret that the snapshot knows is gone from where a name speaks of keys.
fn check_known(head: &Head) {
    let telling = |name: &str| ["key", "token", "secret"].iter().any(|word| name.to_ascii_lowercase().contains(word));
    let headers = head.headers.iter().filter(|(name, _)| telling(name.as_str()));
    assert!(headers.map(|(_, value)| value.as_bytes()).all(|value| value != IMPORTED.as_bytes()));
    let pairs = head.query.as_str().split('&').filter_map(|pair| pair.split_once('='));
    assert!(!pairs.filter(|(name, _)| telling(name)).any(|(_, value)| value == IMPORTED));
}

/// No part of the credential is in what is said.
fn check_silent(said: &str, credential: &str) {
    // A hint may name the spelling.
    let (said, secret) = (said.as_bytes(), credential.trim_start_matches("auth_tokens/").as_bytes());
    for part in secret.windows(PART_BYTES) {
        assert!(memmem::find(said, part).is_none(), "{}", String::from_utf8_lossy(said));
    }
}

fn route(choice: u8) -> Route {
    let queries = [QueryPolicy::Refuse, QueryPolicy::Tokens, QueryPolicy::Warn, QueryPolicy::Allow];
    let list = ["header:x-api-key", "header:authorization", "subprotocol", "query:api_key"];
    let dialect = Dialect::ALL[usize::from(choice >> 4) % Dialect::ALL.len()];
    let carriers = Carriers::parse(list).expect("well formed");
    Route {
        query: queries[usize::from(choice & 3)],
        lone_subprotocol: if choice & 8 == 0 { LoneSubprotocol::Refuse } else { LoneSubprotocol::Echo },
        ..Route::new("fuzz", "fuzz", dialect, Paths::Dialect { prefix: String::new() }, carriers)
    }
}
