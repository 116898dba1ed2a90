//! Whether somebody may use a route, and what then holds for the request as values.

use crate::carrier::Carrier;
use crate::identity::Identity;
use crate::record::Record;
use crate::refusal::{Code, Refusal};
use crate::route::{QueryPolicy, Route};

/// A yes. Nothing below this stage asks "may I?".
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who it was given to.
    pub identity: Identity,
    /// The key came in the URL of a route that warns of that: the answer says so in `Deprecation` and its kin.
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
    let query_warned = route.query == QueryPolicy::Warn && matches!(identity.carrier, Carrier::Query(_));
    Ok(Grant { identity, query_warned })
}
