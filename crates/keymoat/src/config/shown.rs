//! The configuration in force, setting by setting, each with where its value comes from. No secret is in it.

use std::time::Duration;

use keymoat_core::origin::Origins;
use keymoat_core::route::{LoneSubprotocol, Paths, Pattern};
use keymoat_core::{QueryPolicy, Route};
use keymoat_gateway::settings::{Inject, Limits, Upstream, UpstreamHttp};
use keymoat_gateway::tls::server::MinVersion;
use serde::Serialize;
use serde_json::{Value, json};

use super::file::{self, At, File};
use super::source::Source;
use super::{Config, LogFormat, Tls};
use crate::output::time::rfc3339;

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    /// Such as `route.voice`.
    pub(crate) section: String,
    /// Such as `query`.
    pub(crate) name: &'static str,
    /// As the file would have it; a secret is `[set, from ${file:…}]`.
    pub(crate) value: Value,
    /// `default`, a place in the file, a variable, or a preset.
    pub(crate) source: String,
}

/// All settings of a configuration that was read from `source`.
pub(super) fn all(source: &Source, file: &File, config: &Config) -> Vec<Shown> {
    let mut sheet = Sheet { source, section: String::new(), rows: Vec::new() };
    sheet.listen(file, config);
    sheet.tls(file, config);
    sheet.begin("store".to_owned());
    let named = file.store.dir.as_ref().or(file.store.url.as_ref());
    sheet.row("dir", json!(config.store_dir), named, "default");
    sheet.begin("admin".to_owned());
    sheet.row("enabled", json!(false), file.admin.enabled.as_ref(), "default");
    for upstream in &config.upstreams {
        if let Some((_, written)) = file.upstream.iter().find(|(name, _)| *name.get_ref() == *upstream.name) {
            sheet.upstream(upstream, written, config);
        }
    }
    for key in &config.keys {
        let written = file.key.iter().find(|(name, _)| format!("file_{}", name.get_ref()) == *key.id);
        let written = written.map(|(_, written)| written);
        sheet.begin(format!("key.{}", key.name));
        let reference = written.and_then(|written| written.secret.as_ref());
        let value = reference.map_or_else(|| "[set]".to_owned(), |text| format!("[set, from {}]", text.get_ref()));
        sheet.row("secret", json!(value), reference, "environment variable API_KEYS");
        let words = written.and_then(|written| written.scopes.as_ref()).and_then(|words| words.first());
        sheet.row("scopes", json!(key.scopes.words().iter().map(|word| &**word).collect::<Vec<_>>()), words, "default");
    }
    for route in &config.routes {
        if let Some((_, written)) = file.route.iter().find(|(name, _)| *name.get_ref() == *route.name) {
            sheet.route(route, written, file);
        }
    }
    sheet.limits(&file.limits, &config.limits);
    sheet.begin("log".to_owned());
    let format = config.log.format.map(|format| match format {
        LogFormat::Json => "json",
        LogFormat::Human => "human",
    });
    sheet.row("format", json!(format.unwrap_or("human on a terminal, else json")), file.log.format.as_ref(), "default");
    let level = config.log.level.unwrap_or(tracing::Level::INFO).to_string().to_lowercase();
    sheet.row("level", json!(level), file.log.level.as_ref(), "default");
    sheet.rows
}

struct Sheet<'a> {
    source: &'a Source,
    section: String,
    rows: Vec<Shown>,
}

impl Sheet<'_> {
    fn begin(&mut self, section: String) {
        self.section = section;
    }

    /// A setting from where it is written, or else from `otherwise`.
    fn row<T>(&mut self, name: &'static str, value: Value, written: Option<&At<T>>, otherwise: &str) {
        let source =
            written.map_or_else(|| otherwise.to_owned(), |written| self.source.place(&written.span()).to_string());
        self.rows.push(Shown { section: self.section.clone(), name, value, source });
    }

    fn listen(&mut self, file: &File, config: &Config) {
        self.begin("listen".to_owned());
        self.row("data", json!(config.data), file.listen.data.as_ref(), "default");
        if let Tls::SelfSigned { listen } | Tls::Provided { listen, .. } = &config.tls {
            self.row("data_tls", json!(listen), file.listen.data_tls.as_ref(), "default: two ports further");
        }
        let threads = config.threads.map_or_else(|| json!("one per processor"), |threads| json!(threads));
        self.row("threads", threads, file.listen.threads.as_ref(), "default");
        let proxies: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
        self.row("trusted_proxies", json!(proxies), file.listen.trusted_proxies.as_ref(), "default");
    }

    fn tls(&mut self, file: &File, config: &Config) {
        self.begin("tls".to_owned());
        let mode = match &config.tls {
            Tls::Disabled => "disabled",
            Tls::BehindProxy => "behind_proxy",
            Tls::SelfSigned { .. } => "self_signed",
            Tls::Provided { .. } => "provided",
        };
        self.row("mode", json!(mode), file.tls.mode.as_ref(), "default");
        if let Tls::Provided { cert, key, .. } = &config.tls {
            self.row("cert", json!(cert), file.tls.cert.as_ref(), "default");
            self.row("key", json!(key), file.tls.key.as_ref(), "default");
        }
        if !matches!(config.tls, Tls::Disabled | Tls::BehindProxy) {
            let min_version = match config.tls_demands.min_version {
                MinVersion::Tls12 => "1.2",
                MinVersion::Tls13 => "1.3",
            };
            self.row("min_version", json!(min_version), file.tls.min_version.as_ref(), "default");
        }
        if let Some(client_ca) = &config.tls_demands.client_ca {
            self.row("client_ca", json!(client_ca), file.tls.client_ca.as_ref(), "default");
        }
    }

    fn upstream(&mut self, upstream: &Upstream, written: &file::Upstream, config: &Config) {
        self.begin(format!("upstream.{}", upstream.name));
        let otherwise = of_preset(written);
        let origin = &upstream.origin;
        let scheme = if origin.tls { "https" } else { "http" };
        let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
        let port = match (origin.tls, origin.port) {
            (true, 443) | (false, 80) => String::new(),
            (_, port) => format!(":{port}"),
        };
        let url = format!("{scheme}://{host}{port}{}", upstream.path_prefix);
        self.row("url", json!(url), written.url.as_ref(), &otherwise);
        let secret = config.secret_references.get(&*upstream.name);
        let secret = secret.map_or_else(
            || "[not here: perhaps sealed in the store]".to_owned(),
            |reference| format!("[set, from {reference}]"),
        );
        self.row("secret", json!(secret), written.secret.as_ref(), "default");
        let inject = match &upstream.inject {
            Inject::Header(name) => format!("header:{name}"),
            Inject::Query(name) => format!("query:{name}"),
        };
        self.row("inject", json!(inject), written.inject.as_ref(), &otherwise);
        if let Some(ca_file) = &upstream.ca_file {
            self.row("ca", json!(ca_file), written.ca.as_ref(), "default");
        }
        let http = match upstream.http {
            UpstreamHttp::Auto => "auto",
            UpstreamHttp::Http1 => "1.1",
            UpstreamHttp::Http2 => "2",
        };
        self.row("http", json!(http), written.http.as_ref(), "default");
    }

    fn route(&mut self, route: &Route, written: &file::Route, file: &File) {
        self.begin(format!("route.{}", route.name));
        let upstream = file.upstream.iter().find(|(name, _)| *name.get_ref() == *route.upstream);
        let otherwise = upstream.map_or_else(|| "default".to_owned(), |(_, upstream)| of_preset(upstream));
        let of_backend = |is_default: bool, other: &str| match is_default {
            true => other.to_owned(),
            false => "environment variables of the backend".to_owned(),
        };
        self.row("upstream", json!(&*route.upstream), written.upstream.as_ref(), "default");
        self.row("dialect", json!(route.dialect.word()), written.dialect.as_ref(), &otherwise);
        match &route.paths {
            Paths::Dialect { prefix } => self.row("prefix", json!(prefix), written.prefix.as_ref(), "default"),
            Paths::Patterns(patterns) => {
                self.row("paths", json!(texts(patterns)), written.paths.as_ref(), &otherwise);
            }
        }
        let carriers = &route.carriers;
        let headers = carriers.headers.iter().map(|name| format!("header:{name}"));
        let subprotocol = carriers.subprotocol.then(|| "subprotocol".to_owned());
        let query = carriers.query.iter().map(|name| format!("query:{name}"));
        let listed: Vec<String> = headers.chain(subprotocol).chain(query).collect();
        let first = written.carriers.as_ref().and_then(|carriers| carriers.first());
        self.row("carriers", json!(listed), first, &otherwise);
        let query = match route.query {
            QueryPolicy::Refuse => "refuse",
            QueryPolicy::Tokens => "tokens",
            QueryPolicy::Warn => "warn",
            QueryPolicy::Allow => "allow",
        };
        let source = of_backend(route.query == QueryPolicy::Tokens, "default");
        self.row("query", json!(query), written.query.as_ref(), &source);
        if let Some(sunset) = route.sunset {
            self.row("sunset", json!(rfc3339(sunset)), written.sunset.as_ref(), "default");
        }
        let lone = match route.lone_subprotocol {
            LoneSubprotocol::Refuse => "refuse",
            LoneSubprotocol::Echo => "echo",
        };
        self.row("lone_subprotocol", json!(lone), written.lone_subprotocol.as_ref(), &otherwise);
        if let Origins::List(list) = &route.origins {
            let list: Vec<&str> = list.iter().map(|origin| origin.as_str()).collect();
            self.row("origins", json!(list), written.origins.as_ref(), "environment variable CORS_ORIGINS");
        }
        let first = written.public.as_ref().and_then(|public| public.first());
        self.row("public", json!(texts(&route.public)), first, &otherwise);
    }

    fn limits(&mut self, written: &file::Limits, limits: &Limits) {
        self.begin("limits".to_owned());
        // Taken apart, so that a new limit cannot be left out.
        let file::Limits {
            connections_max,
            sessions_max,
            head_fields_max,
            http2_streams_max,
            memory_bytes_max,
            head_bytes_max,
            url_bytes_max,
            http2_stream_window,
            http2_connection_window,
            frame_bytes_max,
            message_bytes_max,
            tls_handshake,
            head,
            keep_alive,
            connect,
            response_head,
            body_idle,
            websocket_idle,
            ping_every,
            write_stall,
            close_wait,
            drain,
        } = written;
        for (name, number, written) in [
            ("connections_max", json!(limits.connections_max), connections_max),
            ("sessions_max", json!(limits.sessions_max), sessions_max),
            ("head_fields_max", json!(limits.head_fields_max), head_fields_max),
            ("http2_streams_max", json!(limits.http2_streams_max), http2_streams_max),
        ] {
            self.row(name, number, written.as_ref(), "default");
        }
        let memory = limits.memory_bytes_max.map_or_else(|| json!("none"), |bytes| json!(bytes));
        self.row("memory_bytes_max", memory, memory_bytes_max.as_ref(), "default");
        for (name, size, written) in [
            ("head_bytes_max", json!(limits.head_bytes_max), head_bytes_max),
            ("url_bytes_max", json!(limits.url_bytes_max), url_bytes_max),
            ("http2_stream_window", json!(limits.http2_stream_window), http2_stream_window),
            ("http2_connection_window", json!(limits.http2_connection_window), http2_connection_window),
            ("frame_bytes_max", json!(limits.frame_bytes_max), frame_bytes_max),
            ("message_bytes_max", json!(limits.message_bytes_max), message_bytes_max),
        ] {
            self.row(name, size, written.as_ref(), "default");
        }
        for (name, duration, written) in [
            ("tls_handshake", limits.tls_handshake, tls_handshake),
            ("head", limits.head, head),
            ("keep_alive", limits.keep_alive, keep_alive),
            ("connect", limits.connect, connect),
            ("response_head", limits.response_head, response_head),
            ("body_idle", limits.body_idle, body_idle),
            ("websocket_idle", limits.websocket_idle, websocket_idle),
            ("ping_every", limits.ping_every, ping_every),
            ("write_stall", limits.write_stall, write_stall),
            ("close_wait", limits.close_wait, close_wait),
            ("drain", limits.drain, drain),
        ] {
            self.row(name, json!(text_of_duration(duration)), written.as_ref(), "default");
        }
    }
}

/// What an upstream's values come from that are not written.
fn of_preset(written: &file::Upstream) -> String {
    written.preset.as_ref().map_or_else(|| "default".to_owned(), |preset| format!("preset {}", preset.get_ref()))
}

fn texts(patterns: &[Pattern]) -> Vec<String> {
    let text = |pattern: &Pattern| match pattern {
        Pattern::Exact(path) => path.clone(),
        Pattern::Below(prefix) => format!("{prefix}*"),
    };
    patterns.iter().map(text).collect()
}

/// As the file takes it.
fn text_of_duration(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}
