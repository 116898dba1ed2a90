//! Where to connect and with what: an address without a credential, and a handshake with one in its place.

use std::net::IpAddr;

use anyhow::Context;
use base64::prelude::*;
use http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderName, HeaderValue, Request, Uri};
use keymoat_core::carrier::KNOWN_QUERY;
use keymoat_core::{Mistake, Secret, subprotocol};
use keymoat_redact::Redactor;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use zeroize::Zeroizing;

/// What stands before a key in OpenAI's subprotocols, whose marker is `realtime`.
const OPENAI: &str = "openai-insecure-api-key.";
/// Prefixes that begin so are followed by base64url without padding, as Kubernetes has it.
const BASE64URL: &str = "base64url.bearer.";
/// No prefix is longer; what is may be a credential in the wrong place.
const PREFIX_BYTES_MAX: usize = 48;

/// How the credential is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Carrying {
    /// `Authorization: Bearer`
    Bearer,
    /// `Authorization: Token`
    Token,
    /// A subprotocol as Keymoat reads it, beside one that can be selected.
    Subprotocol,
    /// A subprotocol as a provider or framework reads it: what stands before the credential.
    SubprotocolOf(String),
    /// A header of its own.
    Header(HeaderName),
}

/// Reads `--carrier`.
pub(super) fn carrying(word: &str) -> Result<Carrying, String> {
    Ok(match word {
        "bearer" => Carrying::Bearer,
        "token" => Carrying::Token,
        "subprotocol" => Carrying::Subprotocol,
        _ if word.starts_with("subprotocol:") => {
            let prefix = word.strip_prefix("subprotocol:").unwrap_or_default();
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if !prefix.ends_with('.') || prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(is_token) {
                return Err(
                    "write what stands before the credential, such as subprotocol:openai-insecure-api-key.".into()
                );
            }
            Carrying::SubprotocolOf(prefix.to_owned())
        }
        _ => {
            let name = word.strip_prefix("header:").and_then(|name| name.parse::<HeaderName>().ok());
            let name =
                name.ok_or("write bearer, token, subprotocol, subprotocol:PREFIX. or header:NAME; never the URL")?;
            // It would be the handshake's own, and wrong.
            if name == HOST || name.as_str().starts_with("sec-websocket-") || name == "connection" || name == "upgrade"
            {
                return Err(format!("header `{name}` belongs to the handshake"));
            }
            Carrying::Header(name)
        }
    })
}

/// An address.
pub(super) struct Target {
    uri: Uri,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

impl Target {
    /// Reads an address. Errors do not repeat it.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        refuse_credential(text)?;
        let uri: Uri = text.parse().ok().context("the address cannot be read: write wss://HOST/PATH")?;
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            Some("https" | "http") => anyhow::bail!("write `wss://` for `https://` and `ws://` for `http://`"),
            _ => anyhow::bail!("the address begins with `wss://`"),
        };
        let host = uri.host().context("the address has no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        anyhow::ensure!(tls || is_here, "{}", Mistake::PlainText.text());
        Ok(Self { uri, host, port, tls })
    }

    /// Host and port.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The handshake.
    pub(super) fn request(
        &self,
        secret: Option<&Secret>,
        carrying: &Carrying,
        protocols: &[String],
        origin: Option<&str>,
    ) -> anyhow::Result<Request<()>> {
        for protocol in protocols {
            refuse_credential(protocol).context("--protocol")?;
        }
        let mut request = self.uri.clone().into_client_request().ok().context("the address cannot be used")?;
        let headers = request.headers_mut();
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().ok().context("--origin cannot be read")?);
        }
        let mut offer = Zeroizing::new(protocols.join(", "));
        if let Some(secret) = secret {
            // The one place where the credential is written into the handshake.
            let text = secret.expose();
            match carrying {
                Carrying::Bearer => drop(headers.insert(AUTHORIZATION, sensitive(b"Bearer ", text)?)),
                Carrying::Token => drop(headers.insert(AUTHORIZATION, sensitive(b"Token ", text)?)),
                Carrying::Header(name) => drop(headers.insert(name, sensitive(b"", text)?)),
                Carrying::Subprotocol => offer = Zeroizing::new(offer_with(text, protocols)),
                Carrying::SubprotocolOf(prefix) => offer = Zeroizing::new(offer_of(prefix, text, protocols)?),
            }
        }
        if !offer.is_empty() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, sensitive(b"", offer.as_bytes()).context("--protocol")?);
        }
        Ok(request)
    }
}

/// What is offered: the caller's own or Keymoat's marker, and the credential in a form that a subprotocol can have.
fn offer_with(credential: &[u8], protocols: &[String]) -> String {
    let is_plain = credential.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
    let carrier = match is_plain {
        true => format!("api-key.{}", String::from_utf8_lossy(credential)),
        false => format!("keymoat.token.{}", BASE64_URL_SAFE_NO_PAD.encode(credential)),
    };
    let marker = [subprotocol::MARKER.to_owned()];
    let beside = if protocols.is_empty() { &marker } else { protocols };
    format!("{}, {carrier}", beside.join(", "))
}

/// The same with what a provider reads: the credential as it is, or as base64url where the prefix says so. A provider's own marker is
/// offered beside it, if one is known.
fn offer_of(prefix: &str, credential: &[u8], protocols: &[String]) -> anyhow::Result<String> {
    let entry = if prefix.starts_with(BASE64URL) {
        format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(credential))
    } else {
        let is_plain = credential.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
        let advice = "the credential has characters that no subprotocol has: send it by another carrier";
        anyhow::ensure!(is_plain, advice);
        format!("{prefix}{}", String::from_utf8_lossy(credential))
    };
    let marker = if prefix == OPENAI { "realtime" } else { subprotocol::MARKER };
    let beside = if protocols.is_empty() { marker.to_owned() } else { protocols.join(", ") };
    Ok(format!("{beside}, {entry}"))
}

fn sensitive(before: &[u8], text: &[u8]) -> anyhow::Result<HeaderValue> {
    let bytes = Zeroizing::new([before, text].concat());
    let mut value = HeaderValue::from_bytes(&bytes).ok().context("the credential fits into no header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Refuses an address or a subprotocol that holds a credential, in words that do not hold it.
fn refuse_credential(text: &str) -> anyhow::Result<()> {
    const INSTEAD: &str = "name its file with `--secret-file PATH`, and where it goes with `--carrier`";
    let query = text.split_once('?').map_or("", |(_, query)| query);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let known = KNOWN_QUERY.into_iter().find(|known| decoded.eq_ignore_ascii_case(known));
        if let Some(known) = known.filter(|_| !value.is_empty()) {
            anyhow::bail!("query parameter `{known}`: {}: {INSTEAD}", Mistake::KeyInUrl.text());
        }
    }
    let authority =
        text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    anyhow::ensure!(!authority.contains('@'), "{}: {INSTEAD}", Mistake::KeyInUserinfo.text());
    let is_clean = *Redactor::default().redact(text.as_bytes()) == *text.as_bytes()
        && !keymoat_core::format::is_in(text.as_bytes());
    anyhow::ensure!(is_clean, "it holds a credential: {INSTEAD}");
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const CANARY: &str = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";

    #[test]
    fn an_address_with_a_credential_is_refused_without_repeating_it() {
        for text in [
            format!("wss://h.example/ws?api_key={CANARY}"),
            format!("wss://h.example/ws?a=1&api%5Fkey={CANARY}"),
            format!("wss://user:{CANARY}@h.example/ws"),
            format!("wss://h.example/ws?session_token={CANARY}"),
            format!("wss://h.example/km_{CANARY}"),
            format!("ws://h.example/{CANARY}"),
            CANARY.to_owned(),
        ] {
            let error = format!("{:#}", Target::read(&text).err().unwrap());
            assert!(!error.contains(CANARY), "{error}");
        }
        assert!(Target::read("wss://h.example/v1/realtime?model=a-model").is_ok());
        assert!(Target::read("wss://h.example/ws?access_token=").is_ok());
    }

    #[test]
    fn plain_text_goes_to_this_machine_only() {
        for text in ["ws://localhost:1/", "ws://127.0.0.1/", "ws://[::1]:8080/ws", "wss://h.example/"] {
            assert!(Target::read(text).is_ok(), "{text}");
        }
        for text in
            ["ws://h.example/", "ws://192.168.0.1/", "ws://localhost.example/", "https://h.example/", "h.example"]
        {
            assert!(Target::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_credential_goes_where_it_is_told() {
        let target = Target::read("wss://h.example/ws").unwrap();
        let secret = || Secret::new(b"auth_tokens/0123".to_vec());
        let value = |carrying: &str, name: &str, protocols: &[String]| {
            let request =
                target.request(Some(&secret()), &super::carrying(carrying).unwrap(), protocols, None).unwrap();
            assert_eq!(request.uri(), "wss://h.example/ws");
            request.headers()[name].to_str().unwrap().to_owned()
        };
        assert_eq!(value("bearer", "authorization", &[]), "Bearer auth_tokens/0123");
        assert_eq!(value("token", "authorization", &[]), "Token auth_tokens/0123");
        assert_eq!(value("header:X-Goog-Api-Key", "x-goog-api-key", &[]), "auth_tokens/0123");
        let encoded = BASE64_URL_SAFE_NO_PAD.encode("auth_tokens/0123");
        assert_eq!(value("subprotocol", "sec-websocket-protocol", &[]), format!("keymoat.v1, keymoat.token.{encoded}"));
        let own = ["realtime".to_owned()];
        assert_eq!(value("subprotocol", "sec-websocket-protocol", &own), format!("realtime, keymoat.token.{encoded}"));
        let of_kubernetes = "subprotocol:base64url.bearer.authorization.k8s.io.";
        assert_eq!(
            value(of_kubernetes, "sec-websocket-protocol", &["v4.channel.k8s.io".to_owned()]),
            format!("v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{encoded}")
        );
        let plain = Secret::from("sk-0123456789");
        let of_openai = carrying("subprotocol:openai-insecure-api-key.").unwrap();
        let request = target.request(Some(&plain), &of_openai, &[], None).unwrap();
        assert_eq!(request.headers()["sec-websocket-protocol"], "realtime, openai-insecure-api-key.sk-0123456789");
        assert!(target.request(Some(&secret()), &of_openai, &[], None).is_err(), "a slash fits into no subprotocol");
        for wrong in ["subprotocol:", "subprotocol:x", "subprotocol:a b.", "subprotocol:a,b."] {
            assert!(carrying(wrong).is_err(), "{wrong}");
        }
        for wrong in ["query", "query:key", "header:", "header:a b", "header:host", "header:Sec-WebSocket-Key"] {
            assert!(carrying(wrong).is_err(), "{wrong}");
        }
    }
}
