//! Whether somebody may use a route, and what then holds for the request as values.

use std::sync::Arc;

use crate::carrier::Carrier;
use crate::credential::Presented;
use crate::format::Shape;
use crate::identity::Identity;
use crate::record::Record;
use crate::refusal::{Code, Refusal};
use crate::route::{QueryPolicy, Route};
use crate::token::Token;

/// A yes.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who it was given to.
    pub identity: Identity,
    /// A long-lived key came in the URL of a route that warns of that: the answer says so in `Deprecation` and its kin.
    pub query_warned: bool,
}

/// By what right a request goes on. Nothing below this stage asks "may I?".
#[derive(Clone, Debug)]
pub enum Access {
    /// A key's. The upstream's real key is put on.
    Keyed(Grant),
    /// Nobody's: the path is public. The real key stays out, because whoever comes without a key gets nothing that
    /// it pays for.
    Public,
}

impl Access {
    /// Whose key it is.
    #[must_use]
    pub fn key_id(&self) -> Option<&Arc<str>> {
        match self {
            Self::Keyed(grant) => Some(&grant.identity.key.id),
            Self::Public => None,
        }
    }

    /// The token that it is, if it is one.
    #[must_use]
    pub fn token(&self) -> Option<&Arc<Token>> {
        match self {
            Self::Keyed(grant) => grant.identity.holder.token(),
            Self::Public => None,
        }
    }

    /// Whether the answer warns of a key in the URL.
    #[must_use]
    pub fn is_query_warned(&self) -> bool {
        matches!(self, Self::Keyed(grant) if grant.query_warned)
    }
}

/// What becomes of a request to a public path: whatever credential it presented is dropped, a wrong one too.
///
/// # Errors
/// `request_invalid` for a credential in the path, the one place where it cannot be taken out.
pub fn pass_unasked(presented: Result<Presented, Refusal>, record: &mut Record) -> Result<Access, Refusal> {
    if let Err(refusal) = presented
        && refusal.code == Code::RequestInvalid
    {
        return Err(refusal);
    }
    let taken = u16::from(record.carrier.take().is_some());
    record.copies_stripped = record.copies_stripped.saturating_add(taken);
    Ok(Access::Public)
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
    use crate::identity::Holder;
    use crate::key::{Key, Scopes};
    use crate::record::Protocol;
    use crate::route::{Dialect, Paths};
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
        let paths = Paths::Dialect { prefix: String::new() };
        let route = Route { query, ..Route::new("voice", "gemini", Dialect::Gemini, paths, Carriers::default()) };
        let mut record = Record::begin(UnixMillis(0), Ipv4Addr::LOCALHOST.into(), Protocol::Http1);
        decide(Identity { key: Arc::new(key), holder: Holder::Key, carrier, shape }, &route, &mut record)
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
