//! Whole configurations, read and refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own input fails")]

use std::time::Duration;

use keymoat_core::origin::Origins;
use keymoat_core::route::{LoneSubprotocol, Paths, Pattern};
use keymoat_core::{Dialect, QueryPolicy, Secret};
use keymoat_gateway::settings::{Inject, UpstreamHttp};
use keymoat_gateway::tls::server::MinVersion;

use super::*;

fn read_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    read("keymoat.toml".to_owned(), text.to_owned(), Path::new("/etc/keymoat"), &environment)
}

fn problem(text: &str) -> String {
    read_with(text, &[]).expect_err("refused").to_string()
}

const EVENTS: &str = r#"
[upstream.events]
url = "https://events.internal/v2"
secret = "${env:EVENTS_KEY}"
inject = "header:X-API-Key"
http = "1.1"
[route.events]
upstream = "events"
paths = ["/api/*", "/ws/events"]
carriers = ["header:x-api-key", "subprotocol", "query:api_key"]
query = "warn"
lone_subprotocol = "echo"
[limits]
drain = "5s"
message_bytes_max = "1MiB"
connections_max = 20
"#;

#[test]
fn a_whole_file_becomes_what_the_gateway_accepts() {
    let config = read_with(EVENTS, &[("EVENTS_KEY", "abc-long-enough")]).unwrap();
    assert_eq!(config.data.to_string(), "127.0.0.1:8787");
    assert_eq!(config.tls, Tls::SelfSigned { listen: "127.0.0.1:8789".parse().unwrap() });
    assert_eq!(config.store_dir, Path::new("/etc/keymoat/.keymoat"));
    let upstream = &config.upstreams[0];
    assert_eq!(
        (upstream.origin.host.as_str(), upstream.origin.port, upstream.origin.tls),
        ("events.internal", 443, true)
    );
    assert_eq!((upstream.path_prefix.as_str(), upstream.http), ("/v2", UpstreamHttp::Http1));
    assert_eq!(upstream.inject, Inject::Header("x-api-key".parse().unwrap()));
    assert!(upstream.secret.as_ref().unwrap().matches(&Secret::from("abc-long-enough")));
    let route = &config.routes[0];
    assert_eq!((route.query, route.lone_subprotocol), (QueryPolicy::Warn, LoneSubprotocol::Echo));
    assert!(route.carriers.subprotocol && route.carriers.query == ["api_key".into()]);
    let Paths::Patterns(patterns) = &route.paths else { panic!("patterns") };
    assert_eq!(patterns[..], [Pattern::Below("/api/".into()), Pattern::Exact("/ws/events".into())]);
    assert_eq!((config.limits.drain, config.limits.message_bytes_max), (Duration::from_secs(5), 1 << 20));
    assert_eq!((config.limits.connections_max, config.limits.head), (20, Duration::from_secs(10)));
}

#[test]
fn a_preset_brings_url_dialect_paths_and_carriers() {
    let text = "[upstream.gemini]\npreset = \"gemini\"\nsecret = \"${env:G}\"\n[route.voice]\nupstream = \"gemini\"\n";
    let config = read_with(text, &[("G", "abc-long-enough")]).unwrap();
    assert_eq!(config.upstreams[0].origin.host, "generativelanguage.googleapis.com");
    assert_eq!(config.upstreams[0].inject, Inject::Header("x-goog-api-key".parse().unwrap()));
    assert_eq!(config.routes[0].dialect, Dialect::Gemini);
    assert!(matches!(&config.routes[0].paths, Paths::Dialect { prefix } if prefix.is_empty()));
    assert_eq!(config.routes[0].query, QueryPolicy::Tokens);
}

#[test]
fn an_error_names_its_place_and_what_was_meant() {
    let near = "[upstream.gemini]\npreset = \"gemni\"\n[route.voice]\nupstream = \"gemin\"\n";
    assert_eq!(
        problem(near),
        "keymoat.toml:2:10: unknown preset `gemni`: did you mean `gemini`?\n\
         keymoat.toml:4:12: unknown upstream `gemin`: did you mean `gemini`?"
    );
    assert_eq!(problem("[listen]\n  dta = \"x\"\n"), "keymoat.toml:2:3: unknown setting `dta`: did you mean `data`?");
    assert_eq!(problem("[listen]\ndata = 5\n"), "keymoat.toml:2:8: this is not a string, which is what belongs here");
    assert_eq!(problem("listen = 5\n"), "keymoat.toml:1:10: this is not a section, which is what belongs here");
    assert!(problem("[listen\n").starts_with("keymoat.toml:1:8: "), "{}", problem("[listen\n"));
    assert!(problem("[tls]\nmode = \"selfsigned\"\n").ends_with("did you mean `self_signed`?"));
}

#[test]
fn a_literal_secret_is_refused_and_never_repeated() {
    for line in
        ["secret = \"canary\"", "secret = [\"canary\"]", "secrt = \"canary\"", "url = \"https://x/?key=canary\""]
    {
        let text = format!("[upstream.x]\nurl = \"https://x\"\n{line}\n").replace("url = \"https://x\"\nurl", "url");
        let error = problem(&text);
        assert!(error.starts_with("keymoat.toml:"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
    assert!(problem("[upstream.x]\nurl = \"https://x\"\nsecret = \"canary\"\n").contains("${file:"));
    // A value of the wrong type that holds the words of an error itself.
    let error = problem("[limits]\ndrain = true\n[listen]\nthreads = \"canary, expected canary\"\n");
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn a_store_is_a_folder_or_a_url_of_one() {
    let dir = |text: &str| read_with(text, &[("X", "sqlite:/var/lib/keymoat")]).map(|config| config.store_dir);
    assert_eq!(dir("[store]\ndir = \"data\"\n").unwrap(), Path::new("/etc/keymoat/data"));
    assert_eq!(dir("[store]\nurl = \"sqlite:data\"\n").unwrap(), Path::new("/etc/keymoat/data"));
    assert_eq!(dir("[store]\nurl = \"${env:X}\"\n").unwrap(), Path::new("/var/lib/keymoat"));
    assert!(dir("[store]\ndir = \"a\"\nurl = \"sqlite:b\"\n").expect_err("refused").to_string().contains("twice"));
    let own = "[store]\ndir = \"a\"\nurl = \"postgres://host/db\"\n";
    assert_eq!(dir(own).unwrap(), Path::new("/etc/keymoat/a"), "a node has its own folder beside the database");
}

#[test]
fn keys_of_the_file_are_checked_and_keep_their_secrets() {
    let route = "[upstream.x]\nurl = \"https://x\"\n[route.r]\nupstream = \"x\"\npaths = [\"/*\"]\n";
    let read = |keys: &str| {
        let variables =
            [("ONE", "canary-canary-canary-1"), ("TWO", "canary canary"), ("THREE", "canary-canary-canary-1")];
        read_with(&format!("{route}{keys}"), &variables)
    };
    let config = read("[key.one]\nsecret = \"${env:ONE}\"\nscopes = [\"r\", \"mint\"]\n").unwrap();
    let key = &config.keys[0];
    assert_eq!((&*key.id, &*key.name, key.scopes.words().len()), ("file_one", "one", 2));
    assert!(
        config.warnings.iter().any(|warning| warning.contains("key `one` has no checksum")),
        "{:?}",
        config.warnings
    );
    assert!(!format!("{config:?}").contains("canary"));
    for (keys, message) in [
        ("[key.one]\n", "6:6: key `one` has no secret"),
        ("[key.one]\nsecret = \"canary\"\n", "7:10: a secret does not stand in the configuration itself"),
        ("[key.one]\nsecret = \"${env:TWO}\"\n", "7:10: key `one` is empty or has a space in it"),
        ("[key.one]\nsecret = \"${env:ONE}\"\nscopes = [\"q\"]\n", "8:11: unknown scope `q`"),
        ("[key.one]\nsecret = \"${env:ONE}\"\nscopes = []\n", "6:6: key `one` may be used nowhere"),
        (
            "[key.one]\nsecret = \"${env:ONE}\"\n[key.two]\nsecret = \"${env:THREE}\"\n",
            "8:6: key `two` is the same as key `one`",
        ),
    ] {
        let error = read(keys).expect_err(keys).to_string();
        assert!(error.contains(message) && !error.contains("canary"), "{error}");
    }
}

#[test]
fn behind_a_proxy_plain_text_may_leave_loopback() {
    let text = "[listen]\ndata = \"0.0.0.0:80\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n[tls]\nmode = \"behind_proxy\"\n";
    let config = read_with(text, &[]).unwrap();
    assert_eq!((config.data.port(), &config.tls, config.warnings.len()), (80, &Tls::BehindProxy, 0));
    assert!(config.trusted_proxies[0].contains("10.1.2.3".parse().unwrap()));
    let config = read_with("[tls]\nmode = \"behind_proxy\"\n", &[]).unwrap();
    assert!(config.warnings[0].contains("trusted_proxies"), "{:?}", config.warnings);
    assert!(problem("[listen]\ntrusted_proxies = [\"10.0.0.0/40\"]\n").starts_with("keymoat.toml:2:20: `10.0.0.0/40`"));
    assert!(problem(&format!("{text}[listen]\n")).contains("duplicate"));
    let both = "[listen]\ndata_tls = \"0.0.0.0:443\"\n[tls]\nmode = \"behind_proxy\"\n";
    assert!(problem(both).contains("there is no TLS with"));
}

#[test]
fn what_is_asked_of_tls_clients_is_read() {
    let read = |text: &str| read_with(&format!("[tls]\n{text}"), &[]);
    let demands = read("min_version = \"1.3\"\nclient_ca = \"ca\"\n").unwrap().tls_demands;
    assert_eq!(demands, Demands { min_version: MinVersion::Tls13, client_ca: Some("/etc/keymoat/ca".into()) });
    let config = read("client_ca = \"ca\"\nverify_client = false\n").unwrap();
    assert!(config.tls_demands.client_ca.is_none() && config.warnings[0].contains("are not asked"));
    assert!(problem("[tls]\nverify_client = true\n").contains("needs client_ca"));
    assert!(problem("[tls]\nmin_version = \"1.1\"\n").contains("unknown version"));
    assert!(problem("[tls]\nmode = \"disabled\"\nmin_version = \"1.3\"\n").contains("needs a mode that serves TLS"));
}

#[test]
fn plain_text_beyond_loopback_is_refused() {
    assert!(problem("[listen]\ndata = \"0.0.0.0:8787\"\n").contains("beyond loopback"));
    let config = read_with("[listen]\ndata_tls = \"0.0.0.0:8443\"\n", &[]).unwrap();
    assert_eq!(config.tls, Tls::SelfSigned { listen: "0.0.0.0:8443".parse().unwrap() });
}

#[test]
fn a_provided_certificate_needs_both_files() {
    let config = read_with("[tls]\nmode = \"provided\"\ncert = \"crt\"\nkey = \"/tls/key\"\n", &[]).unwrap();
    let listen = "127.0.0.1:8789".parse().unwrap();
    assert_eq!(config.tls, Tls::Provided { listen, cert: "/etc/keymoat/crt".into(), key: "/tls/key".into() });
    assert!(problem("[tls]\nmode = \"provided\"\ncert = \"crt\"\n").contains("needs both"));
    assert!(problem("[tls]\ncert = \"crt\"\n").contains("belongs to mode"));
}

#[test]
fn variables_lie_over_the_file_and_are_named_in_errors() {
    let variables = [
        ("EVENTS_KEY", "abc-long-enough"),
        ("KEYMOAT__LISTEN__DATA", "127.0.0.1:0"),
        ("KEYMOAT__LIMITS__CONNECTIONS_MAX", "7"),
        ("KEYMOAT__ROUTE__EVENTS__PATHS", "[\"/only\"]"),
        ("KEYMOAT__LOG__LEVEL", "debug"),
    ];
    let config = read_with(EVENTS, &variables).unwrap();
    assert_eq!((config.data.port(), config.limits.connections_max), (0, 7));
    assert_eq!(config.tls, Tls::SelfSigned { listen: "127.0.0.1:0".parse().unwrap() });
    assert!(
        matches!(&config.routes[0].paths, Paths::Patterns(patterns) if patterns[..] == [Pattern::Exact("/only".into())])
    );
    assert_eq!(config.log.level, Some(tracing::Level::DEBUG));
    let error = |name, value| read_with("", &[(name, value)]).expect_err("refused").to_string();
    assert!(error("KEYMOAT__LISTEN__DATA", "x").starts_with("environment variable KEYMOAT__LISTEN__DATA: `x` is no"));
    assert!(error("KEYMOAT__LISTN__DATA", "x").contains("did you mean `listen`?"));
    assert!(error("KEYMOAT__LISTEN", "x").contains("names no setting"));
    assert!(error("KEYMOAT__UPSTREAM__X__SECRET", "canary").contains("${file:"));
    assert!(!error("KEYMOAT__UPSTREAM__X__SECRET", "canary").contains("canary"));
}

#[test]
fn a_generic_route_needs_paths_and_a_prefix_a_dialect() {
    let upstream = "[upstream.x]\nurl = \"https://x\"\n[route.r]\nupstream = \"x\"\n";
    assert!(problem(upstream).contains("names no paths"));
    assert!(problem(&format!("{upstream}prefix = \"/gw\"\n")).contains("names no paths"));
    assert!(problem(&format!("{upstream}prefix = \"/gw\"\npaths = [\"/x\"]\n")).contains("exclude each other"));
    let gemini = format!("{upstream}dialect = \"gemini\"\nprefix = \"/gw/gemini/\"\n");
    let config = read_with(&gemini, &[]).unwrap();
    assert!(matches!(&config.routes[0].paths, Paths::Dialect { prefix } if prefix == "/gw/gemini"));
}

#[test]
fn two_routes_for_the_same_requests_are_refused() {
    let upstream = "[upstream.x]\nurl = \"https://x\"\n";
    let route = |name: &str, rest: &str| format!("[route.{name}]\nupstream = \"x\"\n{rest}\n");
    let text = [upstream, &route("a", "paths = [\"/a\", \"/b/*\"]"), &route("b", "paths = [\"/b/*\"]")].concat();
    assert_eq!(problem(&text), "keymoat.toml:6:8: route `b` takes requests that route `a` takes already");
    let text = [upstream, &route("a", "dialect = \"gemini\""), &route("b", "dialect = \"gemini\"")].concat();
    assert!(problem(&text).contains("already"));
    let text = [upstream, &route("a", "paths = [\"/b\"]"), &route("b", "paths = [\"/b/*\"]")].concat();
    assert!(read_with(&text, &[]).is_ok());
}

#[test]
fn what_two_dialects_share_is_warned_of() {
    let text = "[upstream.x]\nurl = \"https://x\"\n[route.a]\nupstream = \"x\"\ndialect = \"gemini\"\n\
                [route.b]\nupstream = \"x\"\ndialect = \"openai\"\n";
    let config = read_with(text, &[]).unwrap();
    assert!(config.warnings[0].contains("routes `a` and `b` both have `/v1/models`"), "{:?}", config.warnings);
    let config = read_with(&format!("{text}prefix = \"/gw/openai\"\n"), &[]).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn an_upstream_without_a_route_is_warned_of() {
    let config = read_with("[upstream.x]\nurl = \"https://x\"\n", &[]).unwrap();
    assert_eq!(config.warnings, ["no route leads to upstream `x`"]);
}

#[test]
fn a_sunset_origins_and_public_paths_become_the_routes() {
    let text = "[upstream.x]\nurl = \"https://x\"\n[route.r]\nupstream = \"x\"\npaths = [\"/api/*\", \"/health\"]\n";
    let read = |more: &str| read_with(&format!("{text}{more}"), &[]);
    let config =
        read("query = \"warn\"\nsunset = 2027-03-01\npublic = [\"/health\"]\norigins = [\"https://app.example\"]\n");
    let config = config.unwrap();
    let route = &config.routes[0];
    assert_eq!(route.sunset.unwrap().0, 1_803_859_200_000);
    assert!(route.is_public("/health") && !route.is_public("/api/x"));
    assert!(matches!(&route.origins, Origins::List(list) if list[0].as_str() == "https://app.example"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(read("sunset = 2027-03-01T12:00:00+01:00\n").unwrap().warnings[0].contains("nowhere else"));
    for (more, message) in [
        ("sunset = \"soon\"\n", "6:10: "),
        ("sunset = 12:00:00\n", "6:10: this is no day"),
        ("origins = [\"app.example\"]\n", "6:12: `app.example` is no origin"),
        ("public = [\"/other\"]\n", "6:11: the route does not take `/other`"),
        ("tokens = { uses = 10 }\n", "6:12: unknown setting `uses`"),
        ("tokens = { uses_max = 0 }\n", "6:23: `0` is out of bounds"),
    ] {
        let error = read(more).expect_err(more).to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn presets_bring_paths_carriers_and_what_needs_no_key() {
    let text = "[upstream.e]\npreset = \"events\"\nurl = \"http://127.0.0.1:8000\"\n[route.e]\nupstream = \"e\"\n\
                [upstream.o]\npreset = \"openai\"\n[route.o]\nupstream = \"o\"\n";
    let config = read_with(text, &[]).unwrap();
    let [events, openai] = &config.routes[..] else { panic!("two routes") };
    assert_eq!((events.lone_subprotocol, events.query), (LoneSubprotocol::Echo, QueryPolicy::Tokens));
    assert!(events.is_public("/api/auth/login") && !events.is_public("/api/events"));
    assert!(events.carriers.subprotocol && events.carriers.query == ["api_key".into()]);
    assert_eq!(openai.dialect, Dialect::OpenAi);
    assert!(openai.public.is_empty() && openai.paths.matches(openai.dialect, "/v1/realtime").is_some());
    assert!(openai.carriers.subprotocol && openai.carriers.headers == ["authorization", "api-key"]);
    assert_eq!(config.upstreams[1].origin.host, "api.openai.com");
    assert!(problem("[upstream.e]\npreset = \"events\"\n").contains("has no address"));
}

#[test]
fn variables_of_the_backend_lie_between_the_file_and_keymoats_own() {
    let text = "[tls]\nmode = \"self_signed\"\n[listen]\ntrusted_proxies = [\"10.0.0.1\"]\n";
    let backend = [
        ("TLS_MODE", "PROVIDED"),
        ("TLS_CERT_PATH", "/tls/crt"),
        ("TLS_KEY_PATH", "/tls/key"),
        ("TLS_CA_PATH", "/tls/ca"),
        ("TLS_VERIFY_CLIENT", "True"),
        ("TLS_MIN_VERSION", "TLSv1.3"),
        ("TRUSTED_PROXY_IPS", "127.0.0.1, 192.168.0.0/16"),
    ];
    let config = read_with(text, &backend).unwrap();
    let listen = "127.0.0.1:8789".parse().unwrap();
    assert_eq!(config.tls, Tls::Provided { listen, cert: "/tls/crt".into(), key: "/tls/key".into() });
    assert_eq!(config.tls_demands, Demands { min_version: MinVersion::Tls13, client_ca: Some("/tls/ca".into()) });
    assert_eq!(config.trusted_proxies.len(), 2);
    let over = [&backend[..], &[("KEYMOAT__TLS__MODE", "self_signed")]].concat();
    let config = read_with(text, &over).unwrap();
    assert_eq!(config.tls, Tls::SelfSigned { listen });
    assert!(
        config.warnings.iter().any(|warning| warning.contains("TLS_CERT_PATH is not used")),
        "{:?}",
        config.warnings
    );
    let list = read_with("", &[("TRUSTED_PROXY_IPS", "[\"127.0.0.1\"]"), ("TLS_CERT_PATH", "")]).unwrap();
    assert_eq!(list.trusted_proxies.len(), 1);
    let error = |name, value| read_with("", &[(name, value)]).expect_err("refused").to_string();
    assert!(error("TLS_MODE", "on").starts_with("environment variable TLS_MODE: unknown mode `on`"));
    assert!(error("TLS_VERIFY_CLIENT", "perhaps").starts_with("environment variable TLS_VERIFY_CLIENT: this is not"));
    assert!(
        error("TRUSTED_PROXY_IPS", "proxy")
            .starts_with("environment variable TRUSTED_PROXY_IPS: `proxy` is no network")
    );
}

#[test]
fn the_backends_keys_work_on_every_route_and_keep_old_clients_going() {
    let text = "[upstream.x]\nurl = \"https://x\"\n[route.a]\nupstream = \"x\"\npaths = [\"/a\"]\nsunset = 2027-03-01\n\
                [route.b]\nupstream = \"x\"\npaths = [\"/b\"]\nquery = \"refuse\"\nlone_subprotocol = \"refuse\"\n";
    let keys = ("API_KEYS", "[\"canary-one\", \"canary-two\", \"canary-one\"]");
    let config = read_with(text, &[keys]).unwrap();
    assert_eq!(config.keys.iter().map(|key| &*key.id).collect::<Vec<_>>(), ["env_1", "env_2"]);
    assert_eq!((config.routes[0].query, config.routes[1].query), (QueryPolicy::Warn, QueryPolicy::Refuse));
    assert_eq!(config.routes[0].lone_subprotocol, LoneSubprotocol::Echo);
    assert_eq!(config.routes[1].lone_subprotocol, LoneSubprotocol::Refuse);
    let told = config.warnings.join("\n");
    assert!(told.contains("keys in URLs still work on `a` (until 2027-03-01), because API_KEYS is set"), "{told}");
    assert!(told.contains("2 of the 2 keys in API_KEYS have no checksum") && !told.contains("canary"), "{told}");

    let enabled = |value: &'static str| {
        read_with(text, &[keys, ("API_KEY_QUERY_PARAM_ENABLED", value)]).map(|config| config.routes[0].query)
    };
    assert_eq!(enabled("false").unwrap(), QueryPolicy::Tokens);
    assert_eq!(enabled("True").unwrap(), QueryPolicy::Warn);
    assert!(enabled("perhaps").expect_err("refused").to_string().contains("write true or false"));
    for bad in ["canary", "{\"canary\": 1}", "[1]", "[\"can ary\"]", "[\"\"]"] {
        let error = read_with(text, &[("API_KEYS", bad)]).expect_err(bad).to_string();
        assert!(error.starts_with("environment variable API_KEYS: ") && !error.contains("canary"), "{error}");
    }
    let origins = |value: &'static str| {
        read_with(text, &[("CORS_ORIGINS", value)]).map(|config| config.routes[0].origins.clone())
    };
    assert!(matches!(origins("[\"http://localhost:5173\"]").unwrap(), Origins::List(list) if list.len() == 1));
    assert_eq!(origins("[\"*\"]").unwrap(), Origins::Unchecked);
    assert!(origins("[\"nowhere\"]").is_err());
}
