//! Keys that nobody issued, sent to the gateway in every place where a client may put one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keymoat_core::Secret;
use keymoat_core::format::{self, Kind};

use crate::doctor::Address;

/// So much of a key's beginning, or of its end, is a leak.
const PART: usize = 16;

/// A made-up key, and where it was planted.
struct Planted {
    place: &'static str,
    /// Whether something in front that logs addresses may have it.
    is_in_url: bool,
    text: String,
    /// What shows it: its beginning and its end, plain and in base64url.
    shown_by: Vec<String>,
}

/// All of them, and the word in the path of each request, which shows where a log speaks of them.
pub(super) struct Canaries {
    planted: [Planted; 4],
    pub(super) marker: String,
}

impl Canaries {
    /// Makes them.
    pub(super) fn new() -> Self {
        let planted = [
            plant("a header", false),
            plant("a subprotocol", false),
            plant("an encoded subprotocol", false),
            plant("a URL", true),
        ];
        let marker = random().map(|byte| char::from(b'a' + byte % 26)).iter().collect();
        Self { planted, marker }
    }

    /// Sends them to the gateway at `address`, one request for each.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn send(&self, address: &Address, ca: Option<&std::path::Path>) -> anyhow::Result<()> {
        let [header, subprotocol, encoded, url] = &self.planted;
        let path = format!("/keymoat/v1/canary/{}", self.marker);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let trace = hex(&random());
        // Continued where requests are traced, so that their spans are looked at, too.
        let headers = format!(
            "Connection: close\r\nAuthorization: Bearer {0}\r\nX-API-Key: {0}\r\ntraceparent: 00-{trace}-{1}-01\r\n",
            header.text,
            trace.get(..16).unwrap_or_default()
        );
        let socket = |protocol: &str| {
            format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: keymoat.v1, {protocol}\r\n"
            )
        };
        for (target, lines) in [
            (path.clone(), headers),
            (path.clone(), socket(&format!("api-key.{}", subprotocol.text))),
            (path.clone(), socket(&format!("keymoat.token.{}", URL_SAFE_NO_PAD.encode(&encoded.text)))),
            (format!("{path}?api_key={}", url.text), "Connection: close\r\n".to_owned()),
        ] {
            address.ask(&target, &lines, ca, |bytes| contains(bytes, "\r\n\r\n"))?;
        }
        Ok(())
    }

    /// Whether `bytes` speak of the requests.
    pub(super) fn are_told_of_in(&self, bytes: &[u8]) -> bool {
        contains(bytes, &self.marker)
    }

    /// Where those were planted that stand in `bytes`, and whether it was a URL.
    pub(super) fn found_in(&self, bytes: &[u8]) -> impl Iterator<Item = (&'static str, bool)> {
        let stands = |planted: &&Planted| planted.shown_by.iter().any(|part| contains(bytes, part));
        self.planted.iter().filter(stands).map(|planted| (planted.place, planted.is_in_url))
    }
}

fn plant(place: &'static str, is_in_url: bool) -> Planted {
    let made: Secret = format::generate(Kind::Key, &mut fill);
    // It opens nothing: it is sent once, and looked for.
    let text = String::from_utf8_lossy(made.expose()).into_owned();
    let encoded = URL_SAFE_NO_PAD.encode(&text);
    let ends = |text: &str| {
        [text.get(..PART), text.len().checked_sub(PART).and_then(|start| text.get(start..))]
            .map(Option::unwrap_or_default)
            .map(str::to_owned)
    };
    let shown_by = [ends(&text), ends(&encoded)].concat();
    Planted { place, is_in_url, text, shown_by }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    bytes
}

fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
}

fn contains(bytes: &[u8], part: &str) -> bool {
    !part.is_empty() && memchr::memmem::find(bytes, part.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Canaries {
        /// `text` with all keys in the place of `KEYS`.
        pub(in crate::doctor::canary) fn shown_in(&self, text: &str) -> String {
            text.replace("KEYS", &self.planted.each_ref().map(|planted| planted.text.as_str()).join(" "))
        }

        /// The one of the URL.
        pub(in crate::doctor::canary) fn in_url(&self) -> &str {
            &self.planted[3].text
        }
    }

    #[test]
    fn a_key_is_found_whole_cut_off_or_encoded_and_another_one_is_not() {
        let canaries = Canaries::new();
        let places = |text: &str| canaries.found_in(text.as_bytes()).map(|(place, _)| place).collect::<Vec<_>>();
        for planted in &canaries.planted {
            let (text, encoded) = (planted.text.as_str(), URL_SAFE_NO_PAD.encode(&planted.text));
            for shown in [text, &text[..20], &text[20..], encoded.as_str(), &encoded[..30]] {
                assert_eq!(places(&format!("GET /x?api_key={shown} HTTP/1.1")), [planted.place], "{shown}");
            }
        }
        assert!(places("km_TestVector0TestVector0TestVector0TestVector02cu8n").is_empty() && places("").is_empty());
        assert!(!canaries.are_told_of_in(b"GET /keymoat/v1/canary HTTP/1.1"));
        assert!(canaries.are_told_of_in(format!("GET /keymoat/v1/canary/{}", canaries.marker).as_bytes()));
    }
}
