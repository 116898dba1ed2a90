//! One `[route.NAME]`: which requests it takes, and under which policy.

use std::collections::BTreeMap;
use std::str::FromStr;

use keymoat_core::carrier::Carriers;
use keymoat_core::origin::{Origin, Origins};
use keymoat_core::route::{LoneSubprotocol, Paths, Pattern, UnknownWord};
use keymoat_core::token::MintRules;
use keymoat_core::{Dialect, QueryPolicy, Route, UnixMillis};
use toml::value::Datetime;

use super::Reader;
use super::file::{self, At};
use super::limits::{count, duration};
use super::preset::{Preset, default_carriers};
use super::problem::unknown;
use crate::output::time::parse_rfc3339;

/// What `dialect` takes.
pub(crate) const DIALECTS: [&str; 3] = [Dialect::Generic.word(), Dialect::Gemini.word(), Dialect::OpenAi.word()];

/// The largest number of uses, and of tokens of one key, that a setting takes.
const TOKENS_MAX: usize = 1_000_000;

/// What `query` takes.
pub(crate) const QUERY_POLICIES: [&str; 4] = ["refuse", "tokens", "warn", "allow"];

/// What `lone_subprotocol` takes.
pub(crate) const LONE_SUBPROTOCOLS: [&str; 2] = ["refuse", "echo"];

/// What a route follows where its own section says nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults {
    /// What is done with a credential in the query.
    pub(crate) query: Option<QueryPolicy>,
    /// What is done with a lone credential in `Sec-WebSocket-Protocol`.
    pub(crate) lone_subprotocol: Option<LoneSubprotocol>,
    /// Which origins' pages may use it.
    pub(crate) origins: Origins,
}

/// Reads one route; problems are noted in `read`, and then there is none.
///
/// `upstreams` are the names in the file with the presets that they follow.
pub(crate) fn route(
    read: &mut Reader<'_>,
    name: &At<String>,
    file: &file::Route,
    upstreams: &BTreeMap<&str, Option<Preset>>,
    defaults: &Defaults,
) -> Option<Route> {
    read.name("route", name);
    let tokens = tokens(read, file.tokens.as_ref());
    let Some(upstream_name) = &file.upstream else {
        read.report(name.span(), format!("route `{}` leads nowhere: write upstream = \"NAME\"", name.get_ref()));
        return None;
    };
    let known: Vec<&str> = upstreams.keys().copied().collect();
    let preset = read.judge(Some(upstream_name), |word| match upstreams.get(word.as_str()) {
        Some(preset) => Ok(*preset),
        None if known.is_empty() => Err(format!("unknown upstream `{word}`: there is no [upstream.{word}]")),
        None => Err(unknown("upstream", word, &known)),
    })?;
    let dialect = match &file.dialect {
        Some(word) => read.judge(Some(word), |word| parse_dialect(word))?,
        None => preset.map_or(Dialect::Generic, |preset| preset.dialect),
    };
    // What a preset says holds for its own dialect only.
    let preset = preset.filter(|preset| preset.dialect == dialect);
    // Everything is read before giving up, so that every mistake is told at once.
    let paths = paths(read, name, file, dialect, preset);
    let carriers = carriers(read, file.carriers.as_deref(), dialect, preset);
    let query = word_or(read, file.query.as_ref(), defaults.query.unwrap_or_default());
    let lone_subprotocol = defaults.lone_subprotocol.or(preset.map(|preset| preset.lone_subprotocol));
    let lone_subprotocol = word_or(read, file.lone_subprotocol.as_ref(), lone_subprotocol.unwrap_or_default());
    let origins = match &file.origins {
        Some(list) => origins(read, list.get_ref())?,
        None => defaults.origins.clone(),
    };
    let sunset = file.sunset.as_ref().and_then(|written| sunset(read, name, written, query));
    let public = public(read, file.public.as_deref(), preset, dialect, paths.as_ref());
    Some(Route {
        query: query?,
        sunset,
        lone_subprotocol: lone_subprotocol?,
        origins,
        tokens,
        public: public?,
        ..Route::new(name.get_ref(), upstream_name.get_ref(), dialect, paths?, carriers?)
    })
}

/// The value that a word names, or the other one where none is written.
fn word_or<T: FromStr<Err = UnknownWord>>(read: &mut Reader<'_>, written: Option<&At<String>>, other: T) -> Option<T> {
    match written {
        Some(word) => read.judge(Some(word), |word| word.parse().map_err(|error: UnknownWord| error.to_string())),
        None => Some(other),
    }
}

fn origins(read: &mut Reader<'_>, written: &[At<String>]) -> Option<Origins> {
    let parsed: Vec<_> = written
        .iter()
        .map(|text| read.judge(Some(text), |text| Origin::parse(text).map_err(|error| error.to_string())))
        .collect();
    parsed.into_iter().collect::<Option<_>>().map(Origins::List)
}

/// The moment at which keys in URLs are to end: the beginning of a day (UTC), or a time.
fn sunset(
    read: &mut Reader<'_>,
    name: &At<String>,
    written: &At<Datetime>,
    query: Option<QueryPolicy>,
) -> Option<UnixMillis> {
    if query.is_some_and(|query| query != QueryPolicy::Warn) {
        read.warn(format!(
            "route `{}`: `sunset` is told to clients where query = \"warn\", and nowhere else; it ends \"allow\" too",
            name.get_ref()
        ));
    }
    read.judge(Some(written), day)
}

/// The beginning of a day (UTC), or a time.
///
/// # Errors
/// What to write.
pub(super) fn day(date: &Datetime) -> Result<UnixMillis, String> {
    let time = if date.time.is_none() { "T00:00:00" } else { "" };
    let offset = if date.offset.is_none() { "Z" } else { "" };
    parse_rfc3339(&format!("{date}{time}{offset}"))
        .map_err(|_| "this is no day: write one such as 2027-03-01".to_owned())
}

/// The paths that need no credential; each must be one that the route takes.
fn public(
    read: &mut Reader<'_>,
    written: Option<&[At<String>]>,
    preset: Option<Preset>,
    dialect: Dialect,
    paths: Option<&Paths>,
) -> Option<Vec<Pattern>> {
    let is_taken = |path: &str| paths.is_none_or(|paths| paths.matches(dialect, path).is_some());
    let Some(written) = written else {
        let patterns = preset.map_or(&[][..], |preset| preset.public).iter();
        let patterns = patterns.filter(|path| is_taken(path));
        return Some(patterns.map(|text| Pattern::parse(text).expect("presets are well formed")).collect());
    };
    let patterns: Vec<_> = written
        .iter()
        .map(|text| {
            read.judge(Some(text), |text| match Pattern::parse(text).map_err(|error| error.to_string())? {
                Pattern::Exact(path) if !is_taken(&path) => {
                    Err(format!("the route does not take `{path}`: add it to `paths`"))
                }
                pattern => Ok(pattern),
            })
        })
        .collect();
    patterns.into_iter().collect()
}

/// Whether some request would be taken by both, with nothing that tells which is the closer.
pub(crate) fn same_requests(one: &Route, two: &Route) -> bool {
    match (&one.paths, &two.paths) {
        // The paths of two dialects differ; what they share goes to the first, of which `shared_paths` warns.
        (Paths::Dialect { prefix: at }, Paths::Dialect { prefix: other }) => at == other && one.dialect == two.dialect,
        (Paths::Patterns(one), Paths::Patterns(two)) => one.iter().any(|pattern| two.contains(pattern)),
        _ => false,
    }
}

/// Paths that are the own ones of both dialects, so that only the first route gets them.
pub(crate) fn shared_paths(first: &Route, second: &Route) -> Option<String> {
    let (Paths::Dialect { prefix }, Paths::Dialect { prefix: other }) = (&first.paths, &second.paths) else {
        return None;
    };
    let both =
        |one, two| first.dialect == one && second.dialect == two || first.dialect == two && second.dialect == one;
    (prefix == other && both(Dialect::Gemini, Dialect::OpenAi)).then(|| {
        format!(
            "routes `{}` and `{}` both have `{prefix}/v1/models` and `{prefix}/v1/files`, which go to the first: give one \
             of them a prefix",
            first.name, second.name
        )
    })
}

/// The bounds of the tokens that are minted for a route.
fn tokens(read: &mut Reader<'_>, written: Option<&At<file::Tokens>>) -> MintRules {
    let mut rules = MintRules::default();
    let Some(written) = written else { return rules };
    let file::Tokens { uses_max, live_max, per_key_max } = written.get_ref();
    let most = |number: &i64| count(*number, TOKENS_MAX).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    rules.uses_max = read.judge(uses_max.as_ref(), most);
    if let Some(live) = read.judge(live_max.as_ref(), duration) {
        rules.live_millis_max = i64::try_from(live.as_millis()).unwrap_or(i64::MAX);
    }
    if let Some(number) = read.judge(per_key_max.as_ref(), most) {
        rules.live_tokens_max = number;
    }
    rules
}

fn paths(
    read: &mut Reader<'_>,
    name: &At<String>,
    file: &file::Route,
    dialect: Dialect,
    preset: Option<Preset>,
) -> Option<Paths> {
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
        (None, None) if preset.is_some_and(|preset| !preset.paths.is_empty()) => {
            let texts = preset.map_or(&[][..], |preset| preset.paths).iter();
            Some(Paths::Patterns(texts.map(|text| Pattern::parse(text).expect("presets are well formed")).collect()))
        }
        (None, prefix) if dialect == Dialect::Generic => {
            let span = prefix.as_ref().map_or_else(|| name.span(), At::span);
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

fn carriers(
    read: &mut Reader<'_>,
    listed: Option<&[At<String>]>,
    dialect: Dialect,
    preset: Option<Preset>,
) -> Option<Carriers> {
    let Some(listed) = listed else {
        let of_preset = preset.map(|preset| preset.carriers).filter(|carriers| !carriers.is_empty());
        let carriers = Carriers::parse(of_preset.unwrap_or(default_carriers(dialect)).iter().copied());
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
    let words = Dialect::ALL.map(Dialect::word);
    Dialect::ALL.into_iter().find(|dialect| dialect.word() == word).ok_or_else(|| unknown("dialect", word, &words))
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
