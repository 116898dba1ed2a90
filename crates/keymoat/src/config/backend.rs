//! The variables of the home-security backend, so that Keymoat can take its place with the environment as it is.
//!
//! `TLS_*` and `TRUSTED_PROXY_IPS` are settings under other names, and `source.rs` lays them over the file; the ones here
//! have no setting of their own.

use keymoat_core::origin::{Origin, Origins};
use keymoat_core::route::LoneSubprotocol;
use keymoat_core::{QueryPolicy, Secret};

use super::Reader;
use super::file::File;
use super::key::{ConfiguredKey, checked};
use super::route::Defaults;

/// The variable with keys.
pub(super) const KEYS: &str = "API_KEYS";
/// The variable that takes keys in URLs.
pub(super) const QUERY: &str = "API_KEY_QUERY_PARAM_ENABLED";
/// The variable with the origins of pages.
pub(super) const ORIGINS: &str = "CORS_ORIGINS";

/// More keys than this belong into the store.
const KEYS_MAX: usize = 10_000;

/// What the variables say.
#[derive(Debug, Default)]
pub(crate) struct Backend {
    /// The keys of `API_KEYS`, of all routes.
    pub(crate) keys: Vec<ConfiguredKey>,
    /// What routes follow that say nothing themselves.
    pub(crate) defaults: Defaults,
}

/// Reads the variables; problems are noted in `read`. No text here repeats a key.
pub(crate) fn read(read: &mut Reader<'_>, file: &File) -> Backend {
    let written = read.given(KEYS);
    let keys = written.map(|text| keys(read, text)).unwrap_or_default();
    let (with_keys, query) = (!keys.is_empty(), query(read));
    let query_default = query.or(with_keys.then_some(QueryPolicy::Warn));
    if query_default == Some(QueryPolicy::Warn) {
        warn_of_query(read, file, query.is_none());
    }
    if read.given("API_KEY_ENABLED").is_some_and(|text| parse_bool(&text) == Some(false)) {
        read.warn("API_KEY_ENABLED=false has no effect: Keymoat always asks for a key".to_owned());
    }
    let origins = read.given(ORIGINS).and_then(|text| origins(read, &text)).unwrap_or_default();
    let lone_subprotocol = with_keys.then_some(LoneSubprotocol::Echo);
    Backend { keys, defaults: Defaults { query: query_default, lone_subprotocol, origins } }
}

/// Reads a truth as the backend does.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

fn keys(read: &mut Reader<'_>, text: String) -> Vec<ConfiguredKey> {
    let refuse = |read: &mut Reader<'_>, message: &str| {
        read.report_overall(format!("environment variable {KEYS}: {message}"));
        Vec::new()
    };
    let Ok(texts) = serde_json::from_str::<Vec<String>>(&text) else {
        return refuse(read, "this is no JSON list of texts: write [\"KEY\", \"KEY\"]");
    };
    if texts.len() > KEYS_MAX {
        return refuse(read, "the list is too long: keep keys in the store");
    }
    let mut keys: Vec<ConfiguredKey> = Vec::new();
    let mut improvable = 0;
    for (index, text) in texts.into_iter().enumerate() {
        let number = index + 1;
        match checked(Secret::from(text), &format!("key {number} of {KEYS}")) {
            Ok((secret, _)) if keys.iter().any(|key| key.secret.matches(&secret)) => {}
            Ok((secret, remark)) => {
                improvable += usize::from(remark.is_some());
                let id = format!("env_{number}");
                keys.push(ConfiguredKey::plain(&id, secret));
            }
            Err(message) => read.report_overall(format!("environment variable {KEYS}: {message}")),
        }
    }
    if improvable > 0 {
        read.warn(format!(
            "{improvable} of the {count} keys in {KEYS} have no checksum, no expiry and every route: replace them one by one \
             with `keymoat key create NAME --scope ROUTE`",
            count = keys.len()
        ));
    }
    keys
}

fn query(read: &mut Reader<'_>) -> Option<QueryPolicy> {
    let text = read.given(QUERY)?;
    match parse_bool(&text) {
        Some(true) => Some(QueryPolicy::Warn),
        Some(false) => Some(QueryPolicy::Tokens),
        None => {
            read.report_overall(format!("environment variable {QUERY}: write true or false"));
            None
        }
    }
}

/// Names the routes on which long-lived keys in URLs go on working because of the variables.
fn warn_of_query(read: &mut Reader<'_>, file: &File, by_keys_alone: bool) {
    let routes: Vec<String> = file
        .route
        .iter()
        .filter(|(_, route)| route.query.is_none())
        .map(|(name, route)| match &route.sunset {
            Some(day) => format!("`{}` (until {})", name.get_ref(), day.get_ref()),
            None => format!("`{}`", name.get_ref()),
        })
        .collect();
    if routes.is_empty() {
        return;
    }
    let why = if by_keys_alone { format!("{KEYS} is set and {QUERY} is not") } else { format!("{QUERY} is true") };
    read.warn(format!(
        "keys in URLs still work on {}, because {why}: every answer to one says so; when no client needs it any more, set \
         {QUERY}=false",
        routes.join(", ")
    ));
}

fn origins(read: &mut Reader<'_>, text: &str) -> Option<Origins> {
    let listed = serde_json::from_str::<Vec<String>>(text)
        .unwrap_or_else(|_| text.split(',').map(|origin| origin.trim().to_owned()).collect());
    // "Every origin" is what no list means.
    if listed.iter().any(|origin| origin == "*") {
        read.warn(format!("{ORIGINS} allows every origin, so none is checked: name the origins of your pages"));
        return None;
    }
    let mut origins = Vec::new();
    for origin in &listed {
        match Origin::parse(origin.trim_end_matches('/')) {
            Ok(origin) => origins.push(origin),
            Err(error) => read.report_overall(format!("environment variable {ORIGINS}: {error}")),
        }
    }
    Some(Origins::List(origins))
}
