//! One `[route.NAME]`: which requests it takes, and under which policy.

use std::collections::BTreeMap;
use std::str::FromStr;

use keymoat_core::carrier::Carriers;
use keymoat_core::route::{LoneSubprotocol, Paths, Pattern, UnknownWord};
use keymoat_core::{Dialect, QueryPolicy, Route};
use toml::Spanned;

use super::Reader;
use super::file::{self, At};
use super::limits::{count, duration};
use super::preset::default_carriers;
use super::problem::unknown;

/// Reads one route; problems are noted in `read`, and then there is none.
///
/// `upstreams` are the names in the file with the dialects that their presets bring.
pub(crate) fn route(
    read: &mut Reader<'_>,
    name: &Spanned<String>,
    file: &file::Route,
    upstreams: &BTreeMap<&str, Dialect>,
) -> Option<Route> {
    read.name("route", name);
    read.not_yet(file.origins.as_ref(), "origins", "a list of origins");
    tokens(read, name, file.tokens.as_ref());
    read.not_yet(file.sunset.as_ref(), "sunset", "a date for the end of keys in URLs");
    let Some(upstream_name) = &file.upstream else {
        read.report(name.span(), format!("route `{}` leads nowhere: write upstream = \"NAME\"", name.get_ref()));
        return None;
    };
    let known: Vec<&str> = upstreams.keys().copied().collect();
    let upstream_dialect = read.judge(Some(upstream_name), |word| match upstreams.get(word.as_str()) {
        Some(dialect) => Ok(*dialect),
        None if known.is_empty() => Err(format!("unknown upstream `{word}`: there is no [upstream.{word}]")),
        None => Err(unknown("upstream", word, &known)),
    })?;
    let dialect = match &file.dialect {
        Some(word) => read.judge(Some(word), |word| parse_dialect(word))?,
        None => upstream_dialect,
    };
    // Everything is read before giving up, so that every mistake is told at once.
    let paths = paths(read, name, file, dialect);
    let carriers = carriers(read, file.carriers.as_deref(), dialect);
    let query = word_or_default::<QueryPolicy>(read, file.query.as_ref());
    let lone_subprotocol = word_or_default::<LoneSubprotocol>(read, file.lone_subprotocol.as_ref());
    Some(Route {
        query: query?,
        lone_subprotocol: lone_subprotocol?,
        ..Route::new(name.get_ref(), upstream_name.get_ref(), dialect, paths?, carriers?)
    })
}

/// The value that a word names, or the default where none is written.
fn word_or_default<T>(read: &mut Reader<'_>, written: Option<&At<String>>) -> Option<T>
where
    T: Default + FromStr<Err = UnknownWord>,
{
    match written {
        Some(word) => read.judge(Some(word), |word| word.parse().map_err(|error: UnknownWord| error.to_string())),
        None => Some(T::default()),
    }
}

/// Whether some request would be taken by both, with nothing that tells which is the closer.
pub(crate) fn same_requests(one: &Paths, two: &Paths) -> bool {
    match (one, two) {
        (Paths::Dialect { prefix: one }, Paths::Dialect { prefix: two }) => one == two,
        (Paths::Patterns(one), Paths::Patterns(two)) => one.iter().any(|pattern| two.contains(pattern)),
        _ => false,
    }
}

/// Checks the bounds of tokens. They are for minting, which this version does not do: no token can exceed them.
fn tokens(read: &mut Reader<'_>, name: &Spanned<String>, written: Option<&At<file::Tokens>>) {
    let Some(written) = written else { return };
    let tokens = written.get_ref();
    read.judge(tokens.uses_max.as_ref(), |number| count(*number, 1_000_000));
    read.judge(tokens.live_max.as_ref(), duration);
    read.warn(format!(
        "route `{}`: `tokens` is checked and takes effect with minting, which this version does not do: there are no tokens yet",
        name.get_ref()
    ));
}

fn paths(read: &mut Reader<'_>, name: &Spanned<String>, file: &file::Route, dialect: Dialect) -> Option<Paths> {
    match (&file.paths, &file.prefix) {
        (Some(paths), Some(_)) => {
            let message = "`paths` and `prefix` exclude each other: a prefix stands before the dialect's own paths";
            read.report(paths.span(), message.to_owned());
            None
        }
        (Some(paths), None) if paths.get_ref().is_empty() => {
            read.report(paths.span(), "an empty list takes no request: write paths = [\"/api/*\"]".to_owned());
            None
        }
        (Some(paths), None) => {
            let patterns = paths
                .get_ref()
                .iter()
                .map(|text| read.judge(Some(text), |text| Pattern::parse(text).map_err(|error| error.to_string())));
            let patterns: Vec<Option<Pattern>> = patterns.collect();
            patterns.into_iter().collect::<Option<Vec<Pattern>>>().map(Paths::Patterns)
        }
        (None, prefix) if dialect == Dialect::Generic => {
            let span = prefix.as_ref().map_or_else(|| name.span(), Spanned::span);
            let message = format!(
                "route `{}` names no paths, and the generic dialect has none of its own: write paths = [\"/api/*\"]",
                name.get_ref()
            );
            read.report(span, message);
            None
        }
        (None, Some(prefix)) => {
            read.judge(Some(prefix), |text| parse_prefix(text)).map(|prefix| Paths::Dialect { prefix })
        }
        (None, None) => Some(Paths::Dialect { prefix: String::new() }),
    }
}

fn carriers(read: &mut Reader<'_>, listed: Option<&[At<String>]>, dialect: Dialect) -> Option<Carriers> {
    let Some(listed) = listed else {
        let carriers = Carriers::parse(default_carriers(dialect).iter().copied());
        return Some(carriers.expect("the defaults are well formed"));
    };
    let mut well_formed = true;
    for entry in listed {
        let parsed = |entry: &String| Carriers::parse([entry.as_str()]).map_err(|error| error.to_string());
        well_formed &= read.judge(Some(entry), parsed).is_some();
    }
    if !well_formed {
        return None;
    }
    Carriers::parse(listed.iter().map(|entry| entry.get_ref().as_str())).ok()
}

fn parse_dialect(word: &str) -> Result<Dialect, String> {
    let known = [Dialect::Generic, Dialect::Gemini];
    let words = known.map(Dialect::word);
    known.into_iter().find(|dialect| dialect.word() == word).ok_or_else(|| unknown("dialect", word, &words))
}

fn parse_prefix(text: &str) -> Result<String, String> {
    let prefix = text.trim_end_matches('/');
    if !prefix.is_empty()
        && (!prefix.starts_with('/') || prefix.contains(['*', '?', '#', '%']) || prefix.contains("//"))
    {
        return Err(format!("`{text}` is no prefix: write a plain path such as \"/gw/gemini\""));
    }
    Ok(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_plain_path_without_its_last_slash() {
        assert_eq!(parse_prefix("/gw/gemini/"), Ok("/gw/gemini".into()));
        assert_eq!(parse_prefix(""), Ok(String::new()));
        for bad in ["gw", "/gw/*", "/a//b", "/a?b"] {
            assert!(parse_prefix(bad).is_err(), "{bad}");
        }
    }
}
