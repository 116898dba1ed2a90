//! What is changed in a route without its file: dated, by somebody, and removable.

use std::fmt::Write;
use std::sync::Arc;

use crate::carrier::{Carriers, UnknownCarrier};
use crate::route::{QueryPolicy, Route};
use crate::time::UnixMillis;

/// An override of one route. It replaces the fields that it names and leaves the others to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOverride {
    /// The name of the route.
    pub route: Arc<str>,
    /// Which fields it replaces.
    pub fields: OverrideFields,
    /// When it was made.
    pub made_at: UnixMillis,
    /// Who made it: a command or an admin, by id.
    pub made_by: Arc<str>,
    /// Why, in words of whoever made it.
    pub note: Option<Arc<str>>,
}

/// The fields of a route that can be overridden; `None` leaves one to the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverrideFields {
    /// What is done with a credential in the query.
    pub query: Option<QueryPolicy>,
    /// Where credentials may sit, in the configuration's spelling, in order.
    pub carriers: Option<Vec<Arc<str>>>,
    /// When keys in URLs end.
    pub sunset: Option<UnixMillis>,
}

impl OverrideFields {
    /// Whether it replaces nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.query.is_none() && self.carriers.is_none() && self.sunset.is_none()
    }

    /// The carriers, read.
    ///
    /// # Errors
    /// [`UnknownCarrier`] names the first that is of no known form.
    pub fn read_carriers(&self) -> Result<Option<Carriers>, UnknownCarrier> {
        self.carriers.as_ref().map(|entries| Carriers::parse(entries.iter().map(AsRef::as_ref))).transpose()
    }
}

impl RouteOverride {
    /// Puts its fields in the place of the route's own. Carriers that cannot be read leave the route's own.
    pub fn apply(&self, route: &mut Route) {
        let fields = &self.fields;
        route.query = fields.query.unwrap_or(route.query);
        route.sunset = fields.sunset.or(route.sunset);
        if let Ok(Some(carriers)) = fields.read_carriers() {
            route.carriers = carriers;
        }
    }

    /// Whether the file says the same in every field that it replaces: then it does nothing, and can be removed.
    #[must_use]
    pub fn is_void(&self, route: &Route) -> bool {
        let fields = &self.fields;
        let same_carriers = match fields.read_carriers() {
            Ok(Some(carriers)) => carriers.words() == route.carriers.words(),
            Ok(None) => true,
            Err(_) => false,
        };
        fields.query.is_none_or(|query| query == route.query)
            && fields.sunset.is_none_or(|sunset| route.sunset == Some(sunset))
            && same_carriers
    }

    /// The lines that make it permanent in a configuration. `day` writes a moment as TOML has it.
    #[must_use]
    pub fn toml(&self, day: impl Fn(UnixMillis) -> String) -> String {
        let mut text = format!("[route.{}]\n", self.route);
        let fields = &self.fields;
        // Writing to a string does not fail.
        if let Some(query) = fields.query {
            let _ = writeln!(text, "query = \"{}\"", query.word());
        }
        if let Some(sunset) = fields.sunset {
            let _ = writeln!(text, "sunset = {}", day(sunset));
        }
        if let Some(carriers) = &fields.carriers {
            // The words were read as carriers, and none of those has a quote.
            let words: Vec<_> = carriers.iter().map(|word| format!("\"{word}\"")).collect();
            let _ = writeln!(text, "carriers = [{}]", words.join(", "));
        }
        text
    }
}

/// The routes as they are in force: each with its override, if it has one.
#[must_use]
pub fn in_force(routes: &[Route], overrides: &[RouteOverride]) -> Vec<Route> {
    let mut routes = routes.to_vec();
    for route in &mut routes {
        for over in overrides {
            if over.route == route.name {
                over.apply(route);
            }
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Dialect, Paths};

    fn route() -> Route {
        let carriers = Carriers::parse(["header:x-api-key", "query:api_key"]).expect("well formed");
        let paths = Paths::Dialect { prefix: String::new() };
        Route { query: QueryPolicy::Warn, ..Route::new("events", "events", Dialect::Generic, paths, carriers) }
    }

    fn over(fields: OverrideFields) -> RouteOverride {
        RouteOverride { route: "events".into(), fields, made_at: UnixMillis(1), made_by: "command".into(), note: None }
    }

    #[test]
    fn replaces_what_it_names_and_leaves_the_rest() {
        let sunset = over(OverrideFields { sunset: Some(UnixMillis(9)), ..OverrideFields::default() });
        let query = over(OverrideFields { query: Some(QueryPolicy::Tokens), ..OverrideFields::default() });
        let elsewhere = RouteOverride { route: "other".into(), ..query.clone() };
        let [only_sunset] = &in_force(&[route()], std::slice::from_ref(&sunset))[..] else { panic!("one route") };
        assert_eq!((only_sunset.query, only_sunset.sunset), (QueryPolicy::Warn, Some(UnixMillis(9))));
        let [both] = &in_force(&[route()], &[sunset, query, elsewhere])[..] else { panic!("one route") };
        assert_eq!((both.query, both.sunset), (QueryPolicy::Tokens, Some(UnixMillis(9))));
        assert_eq!(both.carriers.words(), route().carriers.words());
    }

    #[test]
    fn is_void_where_the_file_says_the_same() {
        let of = |query, carriers: &[&str]| {
            let carriers = (!carriers.is_empty()).then(|| carriers.iter().map(|word| (*word).into()).collect());
            over(OverrideFields { query, carriers, sunset: None }).is_void(&route())
        };
        assert!(of(Some(QueryPolicy::Warn), &[]) && of(None, &["header:X-API-Key", "query:api_key"]));
        assert!(!of(Some(QueryPolicy::Tokens), &[]) && !of(None, &["header:x-api-key"]) && !of(None, &["cookie:a"]));
    }

    #[test]
    fn says_what_to_write_into_the_file() {
        let fields = OverrideFields {
            query: Some(QueryPolicy::Tokens),
            carriers: Some(vec!["subprotocol".into(), "query:key".into()]),
            sunset: Some(UnixMillis(0)),
        };
        let text = over(fields).toml(|_| "1970-01-01".to_owned());
        let lines = "query = \"tokens\"\nsunset = 1970-01-01\ncarriers = [\"subprotocol\", \"query:key\"]\n";
        assert_eq!(text, format!("[route.events]\n{lines}"));
    }
}
