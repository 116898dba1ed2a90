//! Where a request goes: an absolute URL without a credential in it, encrypted unless it stays on this machine.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use keymoat_core::format;
use keymoat_redact::Finder;
use percent_encoding::percent_decode;

/// So long may an endpoint be, in bytes.
const BYTES_MAX: usize = 8 << 10;
/// How many layers of percent-encoding are looked through.
const LAYERS: usize = 3;

/// Names of parameters that hold a credential, in lower case without `-`, `_` and `.`.
const CREDENTIAL_NAMES: [&str; 30] = [
    "key",
    "apikey",
    "xapikey",
    "xiapikey",
    "xgoogapikey",
    "xhumeapikey",
    "xgladiakey",
    "accesskey",
    "subscriptionkey",
    "token",
    "accesstoken",
    "authtoken",
    "bearertoken",
    "ephemeraltoken",
    "idtoken",
    "refreshtoken",
    "singleusetoken",
    "subscriptiontoken",
    "websockettoken",
    "jwt",
    "auth",
    "authorization",
    "bearer",
    "secret",
    "clientsecret",
    "credential",
    "credentials",
    "password",
    "passwd",
    "signature",
];

/// A base URL or the URL of one request. It cannot be made from a text with a credential in it.
///
/// `http` and `ws`, and `https` and `wss`, mean the same here: what is asked for decides. Plain text is taken for this machine only.
/// `Display` and `Debug` leave the query out.
///
/// ```
/// use keymoat_client::Endpoint;
/// let gateway: Endpoint = "https://gateway.example".parse()?;
/// let events = gateway.at("/ws/events?camera=3")?;
/// assert_eq!(events.to_string(), "https://gateway.example/ws/events?…");
/// assert!(gateway.at("/ws/events?api_key=anything").is_err());
/// # Ok::<(), keymoat_client::EndpointError>(())
/// ```
///
/// A [`crate::Secret`] fits nowhere:
///
/// ```compile_fail,E0308
/// # let gateway: keymoat_client::Endpoint = "https://gateway.example".parse().unwrap();
/// gateway.at(&keymoat_client::Secret::from("km_…"));
/// ```
///
/// ```compile_fail,E0277
/// let url = format!("https://gateway.example/?k={}", keymoat_client::Secret::from("km_…"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    secure: bool,
    host: String,
    port: u16,
    target: String,
    harmless: Vec<String>,
}

/// Why a text is no endpoint. The text itself is never repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is no absolute URL, or no path where one is expected.
    #[error("an endpoint is an absolute http(s) or ws(s) URL: {0}")]
    Invalid(&'static str),
    /// It would send a credential in plain text over a network.
    #[error("plain `http` and `ws` are for this machine only: use `https` or `wss`")]
    Insecure,
    /// It has a user or a password in front of the host.
    #[error(
        "user or password in front of the URL's host: give the credential as a `Credential`, which goes into a header"
    )]
    Userinfo,
    /// It has a query parameter that is named like a credential.
    #[error(
        "query parameter `{0}` is named like a credential: give that as a `Credential`, which goes into a header; a harmless one is named in `Endpoint::with_harmless_parameters`"
    )]
    CredentialParameter(String),
    /// Something in it has the shape of a credential.
    #[error("the URL holds a text with the shape of a credential: give it as a `Credential`, which goes into a header")]
    CredentialShape,
}

impl Endpoint {
    /// Parses a URL some of whose parameters are only called like credentials, such as `key` in `/objects?key=photo.jpg`.
    ///
    /// What has the shape of a credential is refused under any name.
    ///
    /// # Errors
    /// [`EndpointError`], for everything else that [`str::parse`] refuses.
    pub fn with_harmless_parameters(text: &str, names: &[&str]) -> Result<Self, EndpointError> {
        Self::parse(text, names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// The endpoint of a path below this one, which may bring a query.
    ///
    /// # Errors
    /// [`EndpointError`], as for the whole URL; also if this endpoint has a query of its own.
    pub fn at(&self, path: &str) -> Result<Self, EndpointError> {
        if path.is_empty() {
            return Ok(self.clone());
        }
        if self.target.contains('?') {
            return Err(EndpointError::Invalid("the base URL has a query"));
        }
        if path.split('?').next().unwrap_or_default().contains("://") {
            return Err(EndpointError::Invalid("a path was expected behind the base URL"));
        }
        let (base, path) = (self.target.trim_end_matches('/'), path.trim_start_matches('/'));
        Self::parse(&format!("{}{base}/{path}", self.origin()), self.harmless.clone())
    }

    /// The host as in the URL, IPv6 addresses without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, of the scheme if the URL has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Path and query as they go into the request line.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// The value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }

    fn parse(text: &str, harmless: Vec<String>) -> Result<Self, EndpointError> {
        if text.len() > BYTES_MAX {
            return Err(EndpointError::Invalid("it is longer than 8 KiB"));
        }
        refuse_credentials(text, &harmless)?;
        if text.contains('#') {
            return Err(EndpointError::Invalid("it has a fragment"));
        }
        let uri = Uri::from_str(text).map_err(|_| EndpointError::Invalid("it cannot be read"))?;
        let secure = match uri.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            Some(_) => return Err(EndpointError::Invalid("its scheme is another one")),
            None => return Err(EndpointError::Invalid("it has no scheme")),
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return Err(EndpointError::Invalid("it has no host"));
        }
        if !secure && !is_loopback(&host) {
            return Err(EndpointError::Insecure);
        }
        let has_port = uri.authority().is_some_and(|authority| authority.as_str().ends_with(':'));
        if has_port || uri.port_u16() == Some(0) {
            return Err(EndpointError::Invalid("its port is none"));
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { secure, host, port, target, harmless })
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::parse(text, Vec::new())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let split = self.target.split_once('?');
        let (path, query) = split.map_or((self.target.as_str(), ""), |(path, _)| (path, "?…"));
        write!(f, "{}{path}{query}", self.origin())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// Whether a host's name can only mean this machine.
fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn refuse_credentials(text: &str, harmless: &[String]) -> Result<(), EndpointError> {
    readings(text).iter().try_for_each(|reading| refuse_in_reading(reading, harmless))
}

/// A text as it stands, and with its layers of percent-encoding taken off one after another.
pub(crate) fn readings(text: &str) -> Vec<Vec<u8>> {
    let mut readings = vec![text.as_bytes().to_vec()];
    while let Some(last) = readings.last().filter(|_| readings.len() <= LAYERS) {
        let decoded: Vec<u8> = percent_decode(last).collect();
        if decoded == *last {
            break;
        }
        readings.push(decoded);
    }
    readings
}

/// Refuses what can be read at one layer of encoding.
fn refuse_in_reading(reading: &[u8], harmless: &[String]) -> Result<(), EndpointError> {
    let text = String::from_utf8_lossy(reading);
    let behind_scheme = text.split_once("//").map_or(&*text, |(_, rest)| rest);
    let authority = behind_scheme.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(EndpointError::Userinfo);
    }
    for pair in text.split(['?', '&', ';', '#']).skip(1) {
        let name = pair.split('=').next().unwrap_or_default();
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        let known = CREDENTIAL_NAMES.into_iter().find(|known| *known == letters);
        if known.is_some() && !harmless.iter().any(|harmless| harmless == name) {
            // Its name says no more than the table.
            return Err(EndpointError::CredentialParameter(name.chars().take(40).collect()));
        }
    }
    // Each part by itself, so that only shapes count and not the names before them.
    let parts: Vec<u8> = reading.iter().map(|byte| if b"/?&;=#".contains(byte) { b'\n' } else { *byte }).collect();
    let mut has_shape = format::is_in(reading);
    Finder::default().find(&parts, &mut |_| has_shape = true);
    if has_shape { Err(EndpointError::CredentialShape) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        text.parse()
    }

    #[test]
    fn takes_urls_without_a_credential() {
        for (text, shown) in [
            ("https://gateway.example", "https://gateway.example/"),
            ("wss://gateway.example:8443/gw/", "https://gateway.example:8443/gw/"),
            ("ws://127.0.0.1:8787", "http://127.0.0.1:8787/"),
            ("http://localhost:80/x?camera=3", "http://localhost/x?…"),
            ("http://[::1]:8787/x", "http://[::1]:8787/x"),
            ("https://h.example/v1/realtime?model=gpt-realtime", "https://h.example/v1/realtime?…"),
            (
                "https://h.example/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
                "https://h.example/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
            ),
        ] {
            let endpoint = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(format!("{endpoint:?}"), format!("Endpoint({shown})"));
        }
    }

    #[test]
    fn refuses_parameters_that_are_named_like_credentials() {
        for query in [
            "key=x",
            "api_key=x",
            "API-Key=x",
            "apiKey",
            "a=b&access_token=x",
            "a=b;token=x",
            "%61pi_key=x",
            "%2561pi_key=x",
            "x=1%26key=2",
            "auth=x",
            "client_secret=",
            "password=x",
            "x-goog-api-key=x",
        ] {
            let refused = parse(&format!("https://h.example/x?{query}"));
            assert!(matches!(refused, Err(EndpointError::CredentialParameter(_))), "{query}: {refused:?}");
        }
        assert!(parse("https://h.example/x#access_token=x").is_err());
        assert!(parse("https://h.example/x?keyboard=qwerty&tokens=3&page_token_size=1").is_ok());
    }

    #[test]
    fn refuses_the_shape_of_a_credential_anywhere() {
        let own = "km_TestVector0TestVector0TestVector0TestVector02cu8n";
        let google = concat!("AIza", "SyA1234567890abcdefghijklmnopqrstuvw");
        for text in [
            format!("https://h.example/{own}"),
            format!("https://h.example/x?page={own}"),
            format!("https://h.example/x?page=%6bm_{}", &own[3..]),
            format!("https://h.example/x?page={google}"),
            format!("https://h.example/{google}/x"),
        ] {
            assert_eq!(parse(&text), Err(EndpointError::CredentialShape), "{text}");
        }
        let refused = Endpoint::with_harmless_parameters(&format!("https://h.example/?key={own}"), &["key"]);
        assert_eq!(refused, Err(EndpointError::CredentialShape));
    }

    #[test]
    fn a_harmless_parameter_is_named_at_the_call() {
        let endpoint = Endpoint::with_harmless_parameters("https://h.example/objects?key=photo.jpg", &["key"]);
        assert_eq!(endpoint.expect("it was named").target(), "/objects?key=photo.jpg");
        let base = Endpoint::with_harmless_parameters("https://h.example", &["key"]).expect("a base");
        assert!(base.at("/objects?key=photo.jpg").is_ok());
        assert!(base.at("/objects?token=photo.jpg").is_err());
    }

    #[test]
    fn refuses_a_user_and_plain_text_over_a_network() {
        for text in ["https://me:secret@h.example/", "https://secret@h.example", "https://h%40x@y.example/"] {
            assert_eq!(parse(text), Err(EndpointError::Userinfo), "{text}");
        }
        for text in
            ["http://h.example", "ws://192.168.1.7:8787/", "http://127.0.0.1.example/", "http://localhost.example"]
        {
            assert_eq!(parse(text), Err(EndpointError::Insecure), "{text}");
        }
        for text in ["http://127.9.9.9", "http://LOCALHOST:1", "ws://app.localhost/"] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_absolute_url() {
        for text in [
            "",
            "gateway.example",
            "/ws",
            "ftp://h.example",
            "https://",
            "https://h.example:0/",
            "https://h.example:/",
            "https://h .example",
        ] {
            assert!(matches!(parse(text), Err(EndpointError::Invalid(_))), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn joins_paths_and_keeps_the_prefix() {
        let base = parse("https://h.example/gw/").expect("a base");
        assert_eq!(base.at("/v1/x?a=b").expect("a path").target(), "/gw/v1/x?a=b");
        assert_eq!(base.at("").expect("itself").target(), "/gw/");
        assert!(base.at("https://elsewhere.example/").is_err());
        assert!(base.at("/x?page=https://elsewhere.example/").is_ok());
        assert!(parse("https://h.example/?a=b").expect("a query").at("x").is_err());
        // `@` and `//` in a path lead nowhere else.
        assert_eq!(
            parse("https://h.example").expect("a base").at("//evil.example/x").expect("a path").host(),
            "h.example"
        );
    }

    #[test]
    fn errors_repeat_nothing_but_a_known_name() {
        let canary = "canary-5f1b";
        for text in [
            format!("https://h.example/?api_key={canary}"),
            format!("https://{canary}@h.example/"),
            format!("http://{canary}.example/"),
            format!("ftp://{canary}"),
        ] {
            let error = parse(&text).expect_err("refused");
            assert!(!format!("{error} {error:?}").contains(canary), "{error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_what_is_shown_has_no_query(text in "(https?|wss?)://[a-z.@:0-9/?&=%;#]{0,40}") {
            if let Ok(endpoint) = parse(&text) {
                let shown = endpoint.to_string();
                prop_assert!(!shown.contains('=') || !text.contains('?') || shown.split('?').nth(1).is_none_or(|query| query == "…"));
                prop_assert_eq!(endpoint.secure, text.starts_with("https") || text.starts_with("wss"));
            }
        }
    }
}
