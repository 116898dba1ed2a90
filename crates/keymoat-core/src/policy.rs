//! Whether somebody may use a route, and what then holds for the request as values.

use crate::carrier::Carrier;
use crate::format::Shape;
use crate::identity::Identity;
use crate::record::Record;
use crate::refusal::{Code, Refusal};
use crate::route::{QueryPolicy, Route};

/// A yes. Nothing below this stage asks "may I?".
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who it was given to.
    pub identity: Identity,
    /// A long-lived key came in the URL of a route that warns of that: the answer says so in `Deprecation` and its kin.
    pub query_warned: bool,
}

/// Decides whether `identity` may use `route`: the route's name must be in the key's scopes.
///
/// # Errors
/// `forbidden`, naming the scope that is missing.
pub fn decide(identity: Identity, route: &Route, record: &mut Record) -> Result<Grant, Refusal> {
    if !identity.key.scopes.allow(&route.name) {
        record.cause = Some(format!("key `{}` lacks the scope `{}`", identity.key.id, route.name));
        return Err(Refusal::new(Code::Forbidden, format!("the key lacks the scope `{}`", route.name)));
    }
    let is_token = matches!(identity.shape, Shape::Token { .. });
    let query_warned = route.query == QueryPolicy::Warn && matches!(identity.carrier, Carrier::Query(_)) && !is_token;
    Ok(Grant { identity, query_warned })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::carrier::Carriers;
    use crate::format::Spelling;
    use crate::key::{Key, Scopes};
    use crate::record::Protocol;
    use crate::route::{Dialect, LoneSubprotocol, Paths};
    use crate::time::UnixMillis;

    fn decided(query: QueryPolicy, carrier: Carrier, shape: Shape, scope: &str) -> Result<Grant, Refusal> {
        let key = Key {
            id: "key_1".into(),
            name: "one".into(),
            scopes: Scopes::from_words([scope]),
            created_at: UnixMillis(0),
            expires_at: None,
            revoked_at: None,
        };
        let route = Route {
            name: "voice".into(),
            upstream: "gemini".into(),
            dialect: Dialect::Gemini,
            paths: Paths::Dialect { prefix: String::new() },
            carriers: Carriers::default(),
            query,
            lone_subprotocol: LoneSubprotocol::Refuse,
        };
        let mut record = Record::begin(UnixMillis(0), Ipv4Addr::LOCALHOST.into(), Protocol::Http1);
        decide(Identity { key: Arc::new(key), carrier, shape }, &route, &mut record)
    }

    #[test]
    fn a_warning_is_for_long_lived_keys_in_urls_of_routes_that_warn() {
        let url = || Carrier::Query("api_key".into());
        let token = Shape::Token { spelling: Spelling::Plain };
        for (query, carrier, shape, warned) in [
            (QueryPolicy::Warn, url(), Shape::Key, true),
            (QueryPolicy::Warn, url(), Shape::Foreign, true),
            (QueryPolicy::Warn, url(), token, false),
            (QueryPolicy::Warn, Carrier::Subprotocol, Shape::Key, false),
            (QueryPolicy::Allow, url(), Shape::Key, false),
        ] {
            let grant = decided(query, carrier, shape, "voice").expect("allowed");
            assert_eq!(grant.query_warned, warned);
        }
    }

    #[test]
    fn a_missing_scope_is_named() {
        let refusal = decided(QueryPolicy::Tokens, Carrier::Subprotocol, Shape::Key, "mint").expect_err("forbidden");
        assert_eq!((refusal.code, &*refusal.detail), (Code::Forbidden, "the key lacks the scope `voice`"));
    }
}
