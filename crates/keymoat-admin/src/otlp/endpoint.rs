//! Where a collector is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::Uri;

/// The address of a collector that takes OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Without a slash at its end.
    pub(super) path: String,
}

impl Endpoint {
    /// Reads `http://127.0.0.1:4318` or `https://collector.example/otlp`.
    ///
    /// # Errors
    /// What to write. The address is not repeated: it may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong =
            || "write the collector's address as http://HOST:4318 or https://HOST, without `?` and `@`".to_owned();
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        if uri.query().is_some() || authority.host().is_empty() {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { tls, host: authority.host().to_owned(), port, path })
    }

    /// Whether nobody else can read what goes there.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        self.tls || host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// The address on which somebody on this machine can take its place; none with TLS, or where it is elsewhere.
    #[must_use]
    pub fn on_this_machine(&self) -> Option<SocketAddr> {
        let host = self.host.trim_matches(['[', ']']);
        let ip = if host == "localhost" { Ok(Ipv4Addr::LOCALHOST.into()) } else { host.parse() };
        ip.ok().filter(|ip: &IpAddr| !self.tls && ip.is_loopback()).map(|ip| SocketAddr::new(ip, self.port))
    }

    /// What stands in `Host`.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_so_that_it_reads_the_same() {
        for (url, shown, private) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318", true),
            ("http://[::1]:4318/", "http://[::1]:4318", true),
            ("https://collector.example/otlp/", "https://collector.example:443/otlp", true),
            ("http://collector", "http://collector:80", false),
        ] {
            let endpoint = Endpoint::parse(url).expect("an address");
            assert_eq!((endpoint.to_string().as_str(), endpoint.is_private()), (shown, private));
            assert_eq!(Endpoint::parse(shown), Ok(endpoint));
        }
    }

    #[test]
    fn one_in_plain_text_on_this_machine_can_be_stood_in_for() {
        let address = |url| Endpoint::parse(url).expect("an address").on_this_machine().map(|it| it.to_string());
        assert_eq!(address("http://localhost:4318/otlp").as_deref(), Some("127.0.0.1:4318"));
        assert_eq!(address("http://[::1]:4318").as_deref(), Some("[::1]:4318"));
        for elsewhere in ["https://127.0.0.1:4318", "http://10.0.0.3:4318", "http://collector:4318"] {
            assert_eq!(address(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn what_is_no_address_is_not_repeated() {
        for bad in ["", "collector:4318", "grpc://x", "http://user:canary@x", "http://x/?key=canary", "http://"] {
            let said = Endpoint::parse(bad).expect_err("no address");
            assert!(!said.contains("canary"), "{said}");
        }
    }
}
