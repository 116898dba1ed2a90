//! What is shown is complete, holds no secret, and is a configuration that comes to the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own input fails")]

use super::super::schema::{LEAST, schema};
use super::super::{Config, Defaults, Log, Watched, read};
use super::*;

/// A reference leads here.
const KEY: (&str, &str) = ("KEY", "canary-canary-canary-canary");

const UPSTREAM: &str = "[upstream.x]\nurl = \"https://x\"\n";

const ROUTE: &str = "[route.r]\nupstream = \"x\"\npaths = [\"/api/*\", \"/health\"]\n";

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().chain([&KEY]).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn shown(text: &str, variables: &[(&str, &str)]) -> Vec<Shown> {
    let (base, flags) = (Path::new("/etc/keymoat"), Flags::default());
    show_text("keymoat.toml".to_owned(), text.to_owned(), base, (&flags, None), &environment(variables)).unwrap()
}

/// What `keymoat serve` makes of a text, in words, but for what says the same: defaults that routes have taken, a level
/// that goes without saying, and paths with `.` in them.
fn comes_to(text: &str, variables: &[(&str, &str)]) -> String {
    let read = read("x".to_owned(), text.to_owned(), Path::new("/etc/keymoat"), &environment(variables)).unwrap();
    let log = Log { level: read.log.level.or(Some(tracing::Level::INFO)), ..read.log };
    let (watched, defaults) = (Watched::default(), Defaults::default());
    let config = Config { warnings: Vec::new(), watched, defaults, log, ..read };
    format!("{config:#?}").replace("/./", "/")
}

#[test]
fn what_is_shown_is_a_configuration_that_comes_to_the_same() {
    let whole_limits = "[limits]\nconnections_max = 7\nmemory_bytes_max = \"2GiB\"\nurl_bytes_max = 300\nhead = \"250ms\"\n\
                        drain = 90\ndrain_after = \"3s\"\nkeep_alive = \"2h\"\nmessage_bytes_max = 1\n";
    let route = |more: &str| format!("{UPSTREAM}{ROUTE}{more}");
    let upstream = |more: &str| format!("{UPSTREAM}{more}{ROUTE}");
    for text in [
        String::new(),
        LEAST.replace("SECRET", "KEY"),
        whole_limits.to_owned(),
        "[listen]\ndata = \"127.0.0.1:0\"\ndata_tls = \"0.0.0.0:443\"\nthreads = 3\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
         [log]\nformat = \"json\"\nlevel = \"trace\"\n[admin]\nenabled = false\n"
            .to_owned(),
        "[tls]\nmode = \"disabled\"\n[store]\nurl = \"sqlite:kept\"\nmaster_key = \"./key of the \\\"store\\\"\"\n".to_owned(),
        "[listen]\ndata = \"0.0.0.0:80\"\n[tls]\nmode = \"behind_proxy\"\n[store]\ndir = \"/kept\"\n".to_owned(),
        "[tls]\nmode = \"provided\"\ncert = \"crt\"\nkey = \"/tls/key\"\nclient_ca = \"ca\"\nmin_version = \"1.3\"\n".to_owned(),
        "[tls]\nclient_ca = \"ca\"\nverify_client = false\n".to_owned(),
        upstream("secret = \"${env:KEY}\"\ninject = \"query:key\"\nca = \"ca.pem\"\nhttp = \"2\"\nallow_private = true\n"),
        upstream("").replace("https://x", "ws://[::1]:8000/v2/"),
        route("query = \"warn\"\nsunset = 2027-03-01T12:00:00+01:00\norigins = [\"https://app.example\"]\npublic = [\"/health\"]\n"),
        route("carriers = [\"query:a b\", \"header:X-Key\"]\nlone_subprotocol = \"echo\"\norigins = []\npublic = []\n"),
        route("tokens = { uses_max = 10, live_max = \"30m\", per_key_max = 5 }\n"),
        route("[key.one]\nsecret = \"${env:KEY}\"\nscopes = [\"r\", \"mint\"]\n"),
        format!("{UPSTREAM}[route.r]\nupstream = \"x\"\ndialect = \"gemini\"\nprefix = \"/gw\"\n"),
        "[upstream.g]\npreset = \"gemini\"\nsecret = \"${env:KEY}\"\n[route.g]\nupstream = \"g\"\n".to_owned(),
        "[upstream.o]\npreset = \"openai\"\n[route.o]\nupstream = \"o\"\n[route.mine]\nupstream = \"o\"\npaths = [\"/x\"]\n".to_owned(),
        "[events]\ndelivery = \"required\"\nkeep = \"2d\"\nkeep_max = 7\nfile = \"events.jsonl\"\nstdout = true\n".to_owned(),
        "[telemetry]\notlp = \"https://collector.example/x\"\nheaders = { x-key = \"${env:KEY}\" }\nsignals = [\"logs\"]\n".to_owned(),
        "[telemetry]\notlp = \"http://127.0.0.1:4318\"\n".to_owned(),
        "[upstream.e]\npreset = \"events\"\nurl = \"http://127.0.0.1:1\"\n[route.e]\nupstream = \"e\"\n".to_owned(),
    ] {
        let first = shown(&text, &[]);
        let printed = toml_text(&first);
        let values = |shown: Vec<Shown>| -> Vec<_> {
            shown.into_iter().map(|shown| (shown.section, shown.name, shown.value)).collect()
        };
        assert_eq!(values(shown(&printed, &[])), values(first), "{text}\n{printed}");
        assert_eq!(comes_to(&printed, &[]), comes_to(&text, &[]), "{text}\n{printed}");
    }
}

#[test]
fn what_variables_say_is_shown_as_what_a_file_would_say() {
    let text = format!("{UPSTREAM}{ROUTE}");
    let of_backend = ("API_KEYS", "[\"canary-of-a-client-1\"]");
    let variables = [
        of_backend,
        ("CORS_ORIGINS", "[\"https://app.example\"]"),
        ("TLS_MODE", "PROVIDED"),
        ("TLS_CERT_PATH", "/tls/crt"),
        ("TLS_KEY_PATH", "/tls/key"),
        ("TRUSTED_PROXY_IPS", "10.0.0.1, 10.1.0.0/16"),
        ("KEYMOAT_MASTER_KEY_FILE", "/run/key"),
        ("KEYMOAT__UPSTREAM__X__SECRET", "${env:KEY}"),
        ("KEYMOAT__LIMITS__DRAIN", "5s"),
    ];
    let printed = toml_text(&shown(&text, &variables));
    assert_eq!(comes_to(&printed, &[of_backend]), comes_to(&text, &variables), "{printed}");
    for (line, source) in [
        ("mode = \"provided\"", "environment variable TLS_MODE"),
        ("master_key = \"/run/key\"", "environment variable KEYMOAT_MASTER_KEY_FILE"),
        ("secret = \"${env:KEY}\"", "environment variable KEYMOAT__UPSTREAM__X__SECRET"),
        ("# [key.env_1]", ""),
        ("query = \"warn\"", "environment variable API_KEYS"),
        ("lone_subprotocol = \"echo\"", "environment variable API_KEYS"),
        ("origins = [\"https://app.example\"]", "environment variable CORS_ORIGINS"),
        ("drain = \"5s\"", "environment variable KEYMOAT__LIMITS__DRAIN"),
    ] {
        let is_it = |shown: &str| shown.starts_with(line) && shown.ends_with(source);
        assert!(printed.lines().any(is_it), "{line} {source} is not in\n{printed}");
    }
    assert!(!printed.contains("canary"), "{printed}");
}

#[test]
fn every_setting_of_the_schema_is_shown() {
    let schema = schema().unwrap();
    let shown = shown(&LEAST.replace("SECRET", "KEY"), &[]);
    let mut settings = 0;
    for (section, inner) in schema["properties"].as_object().unwrap() {
        let named = inner["additionalProperties"].get("properties");
        for name in named.unwrap_or(&inner["properties"]).as_object().unwrap().keys() {
            let section = if named.is_some() { format!("{section}.NAME") } else { section.clone() };
            assert!(
                shown.iter().any(|row| row.section == section && row.name == name),
                "{section} {name} is not shown"
            );
            settings += 1;
        }
    }
    assert_eq!(settings, shown.len(), "and nothing else is");
}

#[test]
fn a_master_key_of_the_environment_is_named_and_not_shown() {
    let digits = "5f".repeat(32);
    let printed = toml_text(&shown("", &[("KEYMOAT_MASTER_KEY", &digits)]));
    assert!(printed.contains("# environment variable KEYMOAT_MASTER_KEY: not shown"), "{printed}");
    assert!(!printed.contains(&digits));
}

#[test]
fn a_level_of_the_environment_and_a_nested_variable_are_told_from_others() {
    let flags = Flags { log_level: Some(tracing::Level::DEBUG), ..Flags::default() };
    let by_variable = environment(&[("KEYMOAT_LOG", "debug"), ("KEYMOAT__ROUTE__NAME__TOKENS__USES_MAX", "7")]);
    let shown = |environment: &Environment| {
        let text = LEAST.replace("SECRET", "KEY");
        toml_text(&show_text("x".to_owned(), text, Path::new("."), (&flags, None), environment).unwrap())
    };
    let source = |printed: &str, line: &str| {
        let found = printed.lines().find(|shown| shown.starts_with(line)).unwrap_or_default();
        found.rsplit("# ").next().unwrap_or_default().to_owned()
    };
    let printed = shown(&by_variable);
    assert_eq!(source(&printed, "level = \"debug\""), "environment variable KEYMOAT_LOG");
    let nested = "environment variable KEYMOAT__ROUTE__NAME__TOKENS__USES_MAX";
    assert_eq!(source(&printed, "tokens = { uses_max = 7 }"), nested);
    assert_eq!(source(&shown(&environment(&[])), "level = \"debug\""), "flag --log");
}

#[test]
fn the_secret_of_a_preset_is_shown_by_its_file_and_standard_input_by_its_name() {
    let shown = |file: &str| {
        let environment = environment(&[]);
        toml_text(&show_preset("openai", Some(Path::new(file)), &Flags::default(), &environment).unwrap())
    };
    assert!(shown("/run/key").contains("secret = \"${file:/run/key}\""));
    let line = shown("-").lines().find(|line| line.contains("secret")).map(str::to_owned);
    assert!(
        line.is_some_and(|line| line.starts_with("# secret =") && line.ends_with("flag --secret-file: standard input"))
    );
}
