//! The named sections: upstreams, keys and routes.

use std::path::Path;
use std::time::Duration;

use keymoat_core::origin::Origins;
use keymoat_core::route::{LoneSubprotocol, Paths, Pattern};
use keymoat_core::{KeyLimits, QueryPolicy, Route};
use keymoat_gateway::settings::{Inject, Upstream, UpstreamHttp};
use toml::{Table, Value};

use super::super::backend;
use super::super::file::{self, At, File};
use super::super::key::ConfiguredKey;
use super::super::limits;
use super::super::preset::Preset;
use super::super::route::Defaults;
use super::limits::{size, text_of_duration};
use super::{Sheet, number, text, texts};

impl Sheet<'_> {
    pub(super) fn upstream(&mut self, upstream: &Upstream, written: &file::Upstream) {
        self.begin(format!("upstream.{}", upstream.name));
        let file::Upstream { preset, url, secret, inject, ca, http, allow_private } = written;
        let otherwise = of_preset(written);
        self.written("preset", preset.as_ref(), |word| text(word), "default: none");
        self.row("url", text(url_of(upstream)), url.as_ref(), &otherwise);
        match (secret, self.origin.preset.and_then(|preset| preset.secret_file)) {
            // What stands there is a reference: a secret itself is refused.
            (Some(reference), _) => self.row("secret", text(reference.get_ref()), Some(reference), "default"),
            (None, Some(file)) if file == Path::new("-") => self.unset("secret", "flag --secret-file: standard input"),
            (None, Some(file)) => {
                self.given("secret", text(format!("${{file:{}}}", file.display())), "flag --secret-file");
            }
            (None, None) => self.unset("secret", "default: the sealed one in the store, if any"),
        }
        let place = match &upstream.inject {
            Inject::Header(name) => format!("header:{name}"),
            Inject::Query(name) => format!("query:{name}"),
        };
        self.row("inject", text(place), inject.as_ref(), &otherwise);
        match &upstream.ca_file {
            Some(file) => self.row("ca", self.path(file), ca.as_ref(), "default"),
            None => self.unset("ca", "default: the machine's authorities alone"),
        }
        let version = match upstream.http {
            UpstreamHttp::Auto => "auto",
            UpstreamHttp::Http1 => "1.1",
            UpstreamHttp::Http2 => "2",
        };
        self.row("http", text(version), http.as_ref(), "default");
        let otherwise = "by its name";
        self.row("allow_private", Value::Boolean(upstream.allow_private), allow_private.as_ref(), otherwise);
    }

    /// A key of `API_KEYS` is in force, and cannot stand in a file.
    pub(super) fn key(&mut self, key: &ConfiguredKey, written: Option<&file::Key>) {
        self.begin(format!("key.{}", key.name));
        let Some(file::Key { secret, scopes, previous_secret, previous_until, rotate_after, limits }) = written else {
            let source = format!("environment variable {}", backend::KEYS);
            self.unset("secret", format!("{source}: not shown"));
            self.unset("scopes", format!("{source}: every route"));
            for name in ["previous_secret", "previous_until", "rotate_after", "limits"] {
                self.unset(name, format!("{source}: none"));
            }
            return;
        };
        self.written("secret", secret.as_ref(), |reference| text(reference), "default: none");
        self.listed("scopes", texts(key.scopes.words()), scopes.as_deref(), "default");
        // What stands there is a reference: a secret itself is refused.
        self.written("previous_secret", previous_secret.as_ref(), |reference| text(reference), "default: none");
        self.written("previous_until", previous_until.as_ref(), |day| Value::Datetime(*day), "default: none");
        self.written("rotate_after", rotate_after.as_ref(), |day| Value::Datetime(*day), "default: none");
        self.written("limits", limits.as_ref(), |_| limits_of(&key.limits), "default: none");
    }

    pub(super) fn route(&mut self, route: &Route, written: &file::Route, file: &File, defaults: &Defaults) {
        self.begin(format!("route.{}", route.name));
        let file::Route {
            upstream,
            dialect,
            paths,
            prefix,
            carriers,
            query,
            lone_subprotocol,
            public,
            origins,
            tokens,
            sunset,
        } = written;
        let behind = file.upstream.iter().find(|(name, _)| *name.get_ref() == *route.upstream);
        let preset = behind.and_then(|(_, behind)| behind.preset.as_ref());
        let preset = preset.and_then(|word| Preset::named(word.get_ref())).filter(|one| one.dialect == route.dialect);
        let otherwise = preset.map_or_else(|| "default".to_owned(), |preset| format!("preset {}", preset.word));
        self.row("upstream", text(&*route.upstream), upstream.as_ref(), "default");
        self.row("dialect", text(route.dialect.word()), dialect.as_ref(), &otherwise);
        match &route.paths {
            Paths::Dialect { prefix: before } => {
                self.unset("paths", "default: the dialect's own");
                self.row("prefix", text(before), prefix.as_ref(), "default");
            }
            Paths::Patterns(patterns) => {
                self.row("paths", patterns_of(patterns), paths.as_ref(), &otherwise);
                self.unset("prefix", "not used beside `paths`");
            }
        }
        self.listed("carriers", carriers_of(route), carriers.as_deref(), &otherwise);
        let policy = match route.query {
            QueryPolicy::Refuse => "refuse",
            QueryPolicy::Tokens => "tokens",
            QueryPolicy::Warn => "warn",
            QueryPolicy::Allow => "allow",
        };
        let by_variable = |name: &str| format!("environment variable {name}");
        let source = match defaults.query {
            Some(_) if self.origin.environment.contains_key(backend::QUERY) => by_variable(backend::QUERY),
            Some(_) => by_variable(backend::KEYS),
            None => "default".to_owned(),
        };
        self.row("query", text(policy), query.as_ref(), &source);
        let lone = match route.lone_subprotocol {
            LoneSubprotocol::Refuse => "refuse",
            LoneSubprotocol::Echo => "echo",
        };
        let source = defaults.lone_subprotocol.map_or_else(|| otherwise.clone(), |_| by_variable(backend::KEYS));
        self.row("lone_subprotocol", text(lone), lone_subprotocol.as_ref(), &source);
        self.listed("public", patterns_of(&route.public), public.as_deref(), &otherwise);
        match &route.origins {
            Origins::List(list) => {
                let list = texts(list.iter().map(|origin| origin.as_str()));
                self.row("origins", list, origins.as_ref(), &by_variable(backend::ORIGINS));
            }
            Origins::Unchecked => self.unset("origins", "default: no origin is checked"),
        }
        self.written("tokens", tokens.as_ref(), bounds_of, "default: none");
        self.written("sunset", sunset.as_ref(), |day| Value::Datetime(*day), "default: none");
    }

    /// A list whose items have places, but not the list itself.
    fn listed(&mut self, name: &'static str, value: Value, written: Option<&[At<String>]>, otherwise: &str) {
        match written {
            Some([]) => self.given(name, value, "written as an empty list"),
            Some([first, ..]) => self.row(name, value, Some(first), otherwise),
            None => self.given(name, value, otherwise),
        }
    }
}

/// What an upstream's values come from that are not written.
fn of_preset(written: &file::Upstream) -> String {
    written.preset.as_ref().map_or_else(|| "default".to_owned(), |preset| format!("preset {}", preset.get_ref()))
}

fn url_of(upstream: &Upstream) -> String {
    let origin = &upstream.origin;
    let scheme = if origin.tls { "https" } else { "http" };
    let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
    let port = match (origin.tls, origin.port) {
        (true, 443) | (false, 80) => String::new(),
        (_, port) => format!(":{port}"),
    };
    format!("{scheme}://{host}{port}{}", upstream.path_prefix)
}

fn carriers_of(route: &Route) -> Value {
    let carriers = &route.carriers;
    let headers = carriers.headers.iter().map(|name| format!("header:{name}"));
    let subprotocol = carriers.subprotocol.then(|| "subprotocol".to_owned());
    let query = carriers.query.iter().map(|name| format!("query:{name}"));
    texts(headers.chain(subprotocol).chain(query))
}

fn patterns_of(patterns: &[Pattern]) -> Value {
    texts(patterns)
}

fn limits_of(limits: &KeyLimits) -> Value {
    let pace = limits.requests_per_second;
    let duration = limits.session_duration_secs.map(Duration::from_secs);
    let rows = [
        ("requests_per_second", pace.map(|pace| number(pace.per_second))),
        ("burst", pace.map(|pace| number(pace.burst))),
        ("requests_per_day", limits.requests_per_day.map(number)),
        ("bytes_per_day", limits.bytes_per_day.map(size)),
        ("sessions", limits.sessions.map(number)),
        ("session_duration", duration.map(|duration| text(text_of_duration(duration)))),
        ("session_bytes", limits.session_bytes.map(size)),
        ("models", (!limits.models.is_empty()).then(|| texts(&limits.models))),
    ];
    Value::Table(rows.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn bounds_of(file::Tokens { uses_max, live_max, per_key_max }: &file::Tokens) -> Value {
    let uses = uses_max.as_ref().map(|uses| ("uses_max".to_owned(), number(*uses.get_ref())));
    let live = live_max.as_ref().and_then(|live| limits::duration(live.get_ref()).ok());
    let live = live.map(|live| ("live_max".to_owned(), text(text_of_duration(live))));
    let per_key = per_key_max.as_ref().map(|most| ("per_key_max".to_owned(), number(*most.get_ref())));
    Value::Table(uses.into_iter().chain(live).chain(per_key).collect::<Table>())
}
