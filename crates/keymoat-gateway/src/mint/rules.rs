//! What may be minted in our own form, where a token can be for several routes: what all of them allow.

use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::Route;
use keymoat_core::token::{MintRules, NewTokenParts, own};
use keymoat_core::{Key, Scopes, UnixMillis, key};

/// Reads a request for a token, and gives the rules that hold for it.
///
/// The routes that it names say by which rules the rest is read, so it is read twice.
pub(super) fn read_own(
    body: &[u8],
    now: UnixMillis,
    key: &Key,
    routes: &[Route],
) -> Result<(NewTokenParts, MintRules), Refusal> {
    let scopes = own::read(body, now, &MintRules::default()).map_err(own::TokenRequestError::refusal)?.scopes;
    if let Some(Scopes::Only(words)) = &scopes
        && !words.iter().all(|word| routes.iter().any(|route| route.name == *word))
    {
        return Err(Refusal::new(Code::RequestInvalid, "`routes` names a route that does not exist"));
    }
    let rules = of_all(scopes.as_ref().unwrap_or(&Scopes::All), key, routes);
    let parts = own::read(body, now, &rules).map_err(own::TokenRequestError::refusal)?;
    Ok((parts, rules))
}

/// Every route of `key`.
pub(super) fn all_of(key: &Key) -> Scopes {
    match &key.scopes {
        Scopes::All => Scopes::All,
        Scopes::Only(words) => Scopes::Only(words.iter().filter(|word| &***word != key::MINT).cloned().collect()),
    }
}

/// The strictest of the rules of those `routes` that `scopes` and the key allow.
fn of_all(scopes: &Scopes, key: &Key, routes: &[Route]) -> MintRules {
    let routes = routes.iter().filter(|route| scopes.allow(&route.name) && key.scopes.allow(&route.name));
    routes.map(|route| route.tokens).fold(MintRules::default(), |one, other| MintRules {
        uses_max: match (one.uses_max, other.uses_max) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        },
        unlimited_allowed: one.unlimited_allowed && other.unlimited_allowed,
        live_millis_max: one.live_millis_max.min(other.live_millis_max),
        live_tokens_max: one.live_tokens_max.min(other.live_tokens_max),
    })
}

#[cfg(test)]
mod tests {
    use keymoat_core::carrier::Carriers;
    use keymoat_core::route::{Dialect, Paths};

    use super::*;

    fn route(name: &str, uses_max: Option<u32>, live_millis_max: i64) -> Route {
        let tokens = MintRules { uses_max, live_millis_max, ..MintRules::default() };
        let paths = Paths::Patterns(Vec::new());
        Route { tokens, ..Route::new(name, "api", Dialect::Generic, paths, Carriers::default()) }
    }

    fn key(scopes: &[&str]) -> Key {
        let scopes = Scopes::from_words(scopes.iter().copied());
        Key { scopes, ..Key::new("key_1", "one", UnixMillis(0)) }
    }

    fn refused(body: &str, key: &Key, routes: &[Route]) -> String {
        read_own(body.as_bytes(), UnixMillis(0), key, routes).expect_err(body).to_string()
    }

    #[test]
    fn the_strictest_rule_of_the_token_s_routes_holds() {
        let routes = [route("a", Some(5), 60_000), route("b", Some(2), 600_000), route("c", None, 1_000)];
        let key = key(&["a", "b", "mint"]);
        let rules = of_all(&Scopes::All, &key, &routes);
        assert_eq!((rules.uses_max, rules.live_millis_max), (Some(2), 60_000));
        assert!(read_own(br#"{"uses":5,"routes":["a"]}"#, UnixMillis(0), &key, &routes).is_ok());
        assert!(refused(r#"{"uses":3}"#, &key, &routes).contains("at most 2"));
        assert!(refused(r#"{"uses":6,"routes":["a"]}"#, &key, &routes).contains("at most 5"));
        assert!(refused(r#"{"routes":["d"]}"#, &key, &routes).contains("does not exist"));
    }

    #[test]
    fn a_token_gets_every_route_of_its_key_and_never_the_right_to_mint() {
        assert_eq!(all_of(&key(&["*"])), Scopes::All);
        assert_eq!(all_of(&key(&["a", "mint"])), Scopes::from_words(["a"]));
    }
}
