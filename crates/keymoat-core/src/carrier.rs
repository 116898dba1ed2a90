//! Where in a request a credential can sit.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

/// Header names that providers and gateways read credentials from, in lower case.
pub const KNOWN_HEADERS: [&str; 9] = [
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "xi-api-key",
    "x-hume-api-key",
    "x-gladia-key",
    "cf-aig-authorization",
    "apikey",
];

/// Query parameter names that providers and gateways read credentials from.
pub const KNOWN_QUERY: [&str; 12] = [
    "key",
    "api_key",
    "api-key",
    "apikey",
    "access_token",
    "accessToken",
    "oauth_token",
    "bearer_token",
    "token",
    "single_use_token",
    "jwt",
    "Authorization",
];

/// The place a credential came in by. The names come from the configuration, so the set is bounded: it is safe as a
/// log field and as a metric label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A header; `authorization` carries `Bearer` or `Token`, any other one the bare credential.
    Header(HeaderName),
    /// An entry of `Sec-WebSocket-Protocol` (RFC 6455 section 11.3.4).
    Subprotocol,
    /// A query parameter, by its decoded name.
    Query(Arc<str>),
}

impl fmt::Display for Carrier {
    /// Writes the configuration's own spelling: `header:x-api-key`, `subprotocol`, `query:api_key`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Subprotocol => f.write_str("subprotocol"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

/// The carriers that a route lists: what it reads from, and what it strips.
#[derive(Clone, Debug, Default)]
pub struct Carriers {
    /// Header names, in lower case.
    pub headers: Vec<HeaderName>,
    /// Whether entries of `Sec-WebSocket-Protocol` are read.
    pub subprotocol: bool,
    /// Query parameter names, decoded. They are stripped under every query policy.
    pub query: Vec<Arc<str>>,
}

/// A carrier in a configuration that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown carrier `{0}`: write `header:NAME`, `subprotocol` or `query:NAME`")]
pub struct UnknownCarrier(pub String);

impl Carriers {
    /// Reads the configuration's list, such as `["header:x-api-key", "subprotocol", "query:api_key"]`.
    ///
    /// # Errors
    /// [`UnknownCarrier`] names the first entry that is of no known form.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownCarrier> {
        let mut carriers = Self::default();
        for entry in entries {
            let unknown = || UnknownCarrier(entry.to_owned());
            match entry.split_once(':') {
                None if entry == "subprotocol" => carriers.subprotocol = true,
                Some(("header", name)) => {
                    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unknown())?;
                    carriers.headers.push(name);
                }
                Some(("query", name)) if !name.is_empty() => carriers.query.push(name.into()),
                _ => return Err(unknown()),
            }
        }
        Ok(carriers)
    }

    /// The list as [`Carriers::parse`] reads it: headers, subprotocol, query.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let headers = self.headers.iter().map(|name| format!("header:{name}"));
        let subprotocol = self.subprotocol.then(|| "subprotocol".to_owned());
        let query = self.query.iter().map(|name| format!("query:{name}"));
        headers.chain(subprotocol).chain(query).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_spelling_it_writes() {
        let carriers = Carriers::parse(["header:X-API-Key", "subprotocol", "query:api_key"]).expect("well formed");
        assert_eq!(Carrier::Header(carriers.headers[0].clone()).to_string(), "header:x-api-key");
        assert!(carriers.subprotocol);
        assert_eq!(Carrier::Query(carriers.query[0].clone()).to_string(), "query:api_key");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for bad in ["cookie:session", "header:", "header:a b", "query:", "subprotocol:x", ""] {
            assert_eq!(Carriers::parse([bad]).err(), Some(UnknownCarrier(bad.to_owned())));
        }
    }
}
