//! Whether somebody may use a route, and what then holds for the request as values.

use std::sync::Arc;

use crate::credential::Presented;
use crate::head::Ask;
use crate::identity::{Holder, Identity};
use crate::key::{Key, MINT, Scopes};
use crate::models;
use crate::origin::Named;
use crate::record::{InUrl, Record};
use crate::refusal::{Code, Refusal};
use crate::route::{Dialect, QueryPolicy, Route};
use crate::token::{Calls, Constraint, Token};

/// A yes.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who it was given to.
    pub identity: Identity,
    /// A long-lived key came in the URL of a route that warns of that, used or not: the answer says so in `Deprecation`
    /// and its kin.
    pub query_warned: bool,
}

/// By what right a request goes on. Nothing below this stage asks "may I?".
#[derive(Clone, Debug)]
pub enum Access {
    /// A key's, or that of a token that was minted from it. The upstream's real key is put on.
    Keyed(Grant),
    /// Nobody's: the path is public. The real key stays out, because whoever comes without a key gets nothing that
    /// it pays for.
    Public,
}

impl Access {
    /// Whose key it is, or of which key's token.
    #[must_use]
    pub fn key_id(&self) -> Option<&Arc<str>> {
        match self {
            Self::Keyed(grant) => Some(&grant.identity.key.id),
            Self::Public => None,
        }
    }

    /// The token that the right comes from, if it is one.
    #[must_use]
    pub const fn token(&self) -> Option<&Arc<Token>> {
        match self {
            Self::Keyed(grant) => grant.identity.holder.token(),
            Self::Public => None,
        }
    }

    /// The lists of models that it is held to, none of them empty: a model has to stand in each.
    pub fn model_lists(&self) -> impl Iterator<Item = &[Arc<str>]> {
        let grant = match self {
            Self::Keyed(grant) => Some(grant),
            Self::Public => None,
        };
        grant.into_iter().flat_map(|grant| grant.identity.model_lists())
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
    record.in_url = record.in_url.min(InUrl::Stray);
    record.copies_stripped = record.copies_stripped.saturating_add(taken);
    Ok(Access::Public)
}

/// Decides whether `identity` may use `route` for what is asked.
///
/// The route's name must be in the scopes of the key, and in those of the token if it is one. A token's further limits
/// are its calls, the origins of pages, and a constraint that the route's dialect can hold it to; its uses and its
/// time to start belong to the claim.
///
/// # Errors
/// `forbidden`, naming what is missing.
pub fn decide(
    identity: Identity,
    route: &Route,
    ask: &Ask,
    page: &Named,
    record: &mut Record,
) -> Result<Grant, Refusal> {
    let route_name = &route.name;
    if !identity.key.scopes.allow(route_name) {
        record.cause = Some(format!("key `{}` lacks the scope `{route_name}`", identity.key.id));
        return Err(Refusal::new(Code::Forbidden, format!("the key lacks the scope `{route_name}`")));
    }
    if route.dialect == Dialect::Generic && identity.model_lists().next().is_some() {
        record.cause = Some(format!(
            "key `{}`, or the token of it, has a list of models, and route `{route_name}` is generic",
            identity.key.id
        ));
        return Err(models::unheld());
    }
    if let Holder::Token(token) = &identity.holder {
        let checked = check_token(token, route, ask, page);
        checked.inspect_err(|_| record.cause = Some(format!("token `{}` is not for this", token.id)))?;
    }
    let query = route.query_at(record.at);
    record.let_in_by_url = query.takes_keys() && matches!(record.in_url, InUrl::Key | InUrl::Stale);
    let query_warned = query == QueryPolicy::Warn && record.in_url.is_long_lived();
    Ok(Grant { identity, query_warned })
}

fn check_token(token: &Token, route: &Route, ask: &Ask, page: &Named) -> Result<(), Refusal> {
    let forbidden = |detail: &'static str| Err(Refusal::new(Code::Forbidden, detail));
    if !token.scopes.allow(&route.name) {
        return Err(Refusal::new(Code::Forbidden, format!("the token is not for the route `{}`", route.name)));
    }
    if token.calls == Calls::LiveOnly && matches!(ask, Ask::Http) {
        return forbidden("this token opens WebSockets only: requests need a key, or a token that allows any call");
    }
    let is_kept_out = match page {
        Named::None | Named::Page { is_own: true, .. } => false,
        Named::Unreadable => true,
        Named::Page { origin, .. } => !token.origins.contains(origin),
    };
    if !token.origins.is_empty() && is_kept_out {
        return forbidden("this token is for pages of other origins");
    }
    check_constraint(&token.constraint, route.dialect)
}

/// A constraint that the dialect cannot hold a session to lets nobody in.
fn check_constraint(constraint: &Constraint, dialect: Dialect) -> Result<(), Refusal> {
    match dialect {
        Dialect::Gemini => constraint.for_gemini().map(|_| ()),
        Dialect::OpenAi => constraint.for_openai().map(|_| ()),
        Dialect::Generic if *constraint == Constraint::None => Ok(()),
        Dialect::Generic => {
            Err(Refusal::new(Code::Forbidden, "this token is locked in a way that this route cannot hold it to"))
        }
    }
}

/// Decides whether somebody may mint tokens, and gives the key that they are minted from.
///
/// # Errors
/// `forbidden` for a token, whatever its scopes, and for a key without the scope `mint`.
pub fn may_mint(identity: &Identity, record: &mut Record) -> Result<Arc<Key>, Refusal> {
    if let Holder::Token(token) = &identity.holder {
        record.cause = Some(format!("token `{}` was to mint a token", token.id));
        return Err(Refusal::new(Code::Forbidden, "a token mints no tokens: use a key with the scope `mint`"));
    }
    if !identity.key.scopes.allow(MINT) {
        record.cause = Some(format!("key `{}` lacks the scope `{MINT}`", identity.key.id));
        return Err(Refusal::new(Code::Forbidden, "the key lacks the scope `mint`"));
    }
    Ok(Arc::clone(&identity.key))
}

/// Decides whether a token with `scopes` may be minted from `key`: it gets no route that the key does not have.
///
/// # Errors
/// `forbidden`, naming what the key has.
pub fn may_give(key: &Key, scopes: &Scopes) -> Result<(), Refusal> {
    let Scopes::Only(words) = scopes else { return Ok(()) };
    if words.iter().any(|word| &**word == MINT) {
        return Err(Refusal::new(Code::Forbidden, "a token mints no tokens: leave out the scope `mint`"));
    }
    if words.iter().all(|word| key.scopes.allow(word)) {
        return Ok(());
    }
    let own = key.scopes.words().join(", ");
    Err(Refusal::new(Code::Forbidden, format!("a token gets no route that its key does not have: it has {own}")))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::carrier::{Carrier, Carriers};
    use crate::format::{Shape, Spelling};
    use crate::head::Opening;
    use crate::origin::Origin;
    use crate::record::Protocol;
    use crate::route::Paths;
    use crate::subprotocol::Offer;
    use crate::time::UnixMillis;
    use crate::token::{TokenLimits, Uses};

    fn key(scope: &str) -> Key {
        Key { scopes: Scopes::from_words([scope]), ..Key::new("key_1", "one", UnixMillis(0)) }
    }

    fn token() -> Token {
        Token {
            id: "tok_1".into(),
            key_id: "key_1".into(),
            scopes: Scopes::All,
            calls: Calls::Any,
            uses: Uses::Unlimited,
            created_at: UnixMillis(0),
            start_by: UnixMillis(0),
            live_until: UnixMillis(1),
            revoked_at: None,
            origins: Vec::new(),
            limits: TokenLimits::default(),
            bytes_used: 0,
            constraint: Constraint::None,
        }
    }

    fn record() -> Record {
        Record::begin(UnixMillis(0), Ipv4Addr::LOCALHOST.into(), Protocol::Http1)
    }

    fn route(dialect: Dialect) -> Route {
        Route::new("voice", "gemini", dialect, Paths::Dialect { prefix: String::new() }, Carriers::default())
    }

    fn websocket() -> Ask {
        Ask::WebSocket(Opening { key: None, offer: Offer::default() })
    }

    fn decided(query: QueryPolicy, in_url: InUrl, scope: &str, record: &mut Record) -> Result<Grant, Refusal> {
        let route = Route { query, ..route(Dialect::Gemini) };
        let carrier = Carrier::Query("api_key".into());
        let identity =
            Identity { key: Arc::new(key(scope)), secret_id: None, holder: Holder::Key, carrier, shape: Shape::Key };
        record.in_url = in_url;
        decide(identity, &route, &Ask::Http, &Named::None, record)
    }

    fn identity(token: Token) -> Identity {
        let shape = Shape::Token { spelling: Spelling::Plain };
        let holder = Holder::Token(Arc::new(token));
        Identity { key: Arc::new(key("*")), secret_id: None, holder, carrier: Carrier::Subprotocol, shape }
    }

    /// What is decided about a token, in one word or a text.
    fn of_token(token: Token, dialect: Dialect, ask: &Ask, page: &Named) -> String {
        match decide(identity(token), &route(dialect), ask, page, &mut record()) {
            Ok(_) => String::from("yes"),
            Err(refusal) => {
                assert_eq!(refusal.code, Code::Forbidden);
                refusal.detail.into_owned()
            }
        }
    }

    #[test]
    fn a_warning_is_for_long_lived_keys_in_urls_of_routes_that_warn() {
        for (query, in_url, warned, let_in_by_url) in [
            (QueryPolicy::Warn, InUrl::Key, true, true),
            (QueryPolicy::Warn, InUrl::Stale, true, true),
            // The same key stands in a header: once keys in URLs are refused, the header is still enough.
            (QueryPolicy::Warn, InUrl::Copy, true, false),
            (QueryPolicy::Warn, InUrl::Token, false, false),
            (QueryPolicy::Warn, InUrl::Nothing, false, false),
            (QueryPolicy::Allow, InUrl::Key, false, true),
            (QueryPolicy::Tokens, InUrl::Copy, false, false),
        ] {
            let mut record = record();
            let grant = decided(query, in_url, "voice", &mut record).expect("allowed");
            assert_eq!((grant.query_warned, record.let_in_by_url), (warned, let_in_by_url), "{query:?} {in_url:?}");
        }
    }

    #[test]
    fn a_missing_scope_is_named() {
        let refusal = decided(QueryPolicy::Tokens, InUrl::Nothing, "mint", &mut record()).expect_err("forbidden");
        assert_eq!((refusal.code, &*refusal.detail), (Code::Forbidden, "the key lacks the scope `voice`"));
    }

    #[test]
    fn c44_a_token_is_for_its_routes_and_no_further_than_its_key() {
        let only = Token { scopes: Scopes::from_words(["events"]), ..token() };
        assert_eq!(
            of_token(only, Dialect::Gemini, &websocket(), &Named::None),
            "the token is not for the route `voice`"
        );
        let Identity { holder, carrier, shape, .. } = identity(token());
        let narrow = Identity { key: Arc::new(key("events")), secret_id: None, holder, carrier, shape };
        let refusal = decide(narrow, &route(Dialect::Gemini), &websocket(), &Named::None, &mut record());
        assert_eq!(refusal.expect_err("forbidden").detail, "the key lacks the scope `voice`");
        assert_eq!(of_token(token(), Dialect::Gemini, &websocket(), &Named::None), "yes");
    }

    #[test]
    fn c45_a_token_for_live_sessions_makes_no_requests() {
        let live = || Token { calls: Calls::LiveOnly, ..token() };
        assert!(of_token(live(), Dialect::Gemini, &Ask::Http, &Named::None).starts_with("this token opens WebSockets"));
        assert_eq!(of_token(live(), Dialect::Gemini, &websocket(), &Named::None), "yes");
        assert_eq!(of_token(token(), Dialect::Gemini, &Ask::Http, &Named::None), "yes");
    }

    #[test]
    fn a_token_s_origins_keep_other_pages_out() {
        let origin = |text| Origin::parse(text).expect("an origin");
        let page = |text, is_own| Named::Page { origin: origin(text), is_own };
        let listed = || Token { origins: vec![origin("https://app.example")], ..token() };
        for (page, is_in) in [
            (page("https://app.example", false), true),
            (page("https://evil.example", false), false),
            (page("https://gw.example", true), true),
            (Named::None, true),
            (Named::Unreadable, false),
        ] {
            assert_eq!(of_token(listed(), Dialect::Generic, &websocket(), &page) == "yes", is_in, "{page:?}");
            assert_eq!(of_token(token(), Dialect::Generic, &websocket(), &page), "yes");
        }
    }

    #[test]
    fn a_lock_lets_nobody_in_where_it_cannot_be_held() {
        let locked = |text| Token { constraint: Constraint::from_json(text).expect("well formed"), ..token() };
        let (gemini, openai, models) =
            (r#"{"gemini":{}}"#, r#"{"openai":{"session":{}}}"#, r#"{"models":["models/a"]}"#);
        for (text, dialect, is_in) in [
            (gemini, Dialect::Gemini, true),
            (models, Dialect::Gemini, true),
            (openai, Dialect::Gemini, false),
            (openai, Dialect::OpenAi, true),
            (models, Dialect::OpenAi, true),
            (gemini, Dialect::OpenAi, false),
            (gemini, Dialect::Generic, false),
            (models, Dialect::Generic, false),
            (openai, Dialect::Generic, false),
        ] {
            assert_eq!(of_token(locked(text), dialect, &websocket(), &Named::None) == "yes", is_in, "{text}");
        }
    }

    #[test]
    fn a_key_with_a_list_of_models_is_kept_out_where_no_model_can_be_read() {
        let of = |dialect| {
            let limits = crate::limits::KeyLimits { models: vec!["m".into()], ..Default::default() };
            let held = Identity { key: Arc::new(Key { limits, ..key("*") }), ..identity(token()) };
            decide(held, &route(dialect), &websocket(), &Named::None, &mut record()).map(drop)
        };
        assert!(of(Dialect::Gemini).is_ok() && of(Dialect::OpenAi).is_ok());
        assert_eq!(of(Dialect::Generic).expect_err("it cannot be held to them").code, Code::Forbidden);
    }

    #[test]
    fn keys_with_the_scope_mint_tokens_for_their_own_routes() {
        let holds = |scope| Identity { key: Arc::new(key(scope)), holder: Holder::Key, ..identity(token()) };
        assert!(may_mint(&holds("mint"), &mut record()).is_ok());
        assert!(may_mint(&holds("voice"), &mut record()).is_err());
        assert!(may_mint(&identity(token()), &mut record()).is_err());
        assert!(may_give(&key("voice"), &Scopes::All).is_ok());
        assert!(may_give(&key("voice"), &Scopes::from_words(["voice"])).is_ok());
        assert!(may_give(&key("voice"), &Scopes::from_words(["voice", "events"])).is_err());
        assert!(may_give(&key("*"), &Scopes::from_words(["mint"])).is_err());
    }
}
