//! Which hosts the listener answers to. A page whose name was pointed here (DNS rebinding) names another host.

use std::net::IpAddr;

/// The names that are answered to beside `localhost` and addresses. An address in `Host` was not looked up, so nobody
/// can have pointed it here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// These names, in lower case, and `localhost` and every address.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Whether `host`, with or without a port, is one of them.
    pub(crate) fn take(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok()
            || self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The name or address without port and brackets.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (address, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("")),
        },
    };
    let port = port?;
    (!name.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i106_only_addresses_localhost_and_configured_names_are_answered_to() {
        let hosts = Hosts::new(["Admin.Example".to_owned()]);
        for own in
            ["127.0.0.1:8788", "localhost", "LOCALHOST:1", "[::1]:8788", "[::1]", "admin.example:8788", "10.0.0.3"]
        {
            assert!(hosts.take(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:8788",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":8788",
            "a:b:c",
            "[::1",
            "localhost:8788:1",
            "localhost:x",
        ] {
            assert!(!hosts.take(foreign), "{foreign}");
        }
    }
}
