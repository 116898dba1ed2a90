//! The rules: which mistake a credential is, given its place, what it is, and what stands around it.

use std::collections::HashSet;

use base64::prelude::*;
use keymoat_core::format::NearMiss;
use keymoat_core::{Dialect, Mistake};

use super::Explained;
use super::header::{Header, headers};
use super::parameter::{Address, Parameter, addresses, parameters};
use super::pasted::Pasted;
use super::provider;
use super::socket::{Offered, offered, with_headers};
use super::value::What;

/// What the whole text tells about each of its parts.
pub(super) struct Facts<'p> {
    pub(super) dialect: Dialect,
    /// Whether a token is spoken of.
    pub(super) has_token: bool,
    /// Whether it goes to a provider's own address, or may.
    direct: bool,
    /// Whether it shows one connection only, so that its parts belong together.
    single: bool,
    /// Whether an address is a provider's own.
    at_provider: bool,
    has_music: bool,
    /// Whether a header carries a token behind `Token`.
    has_token_scheme: bool,
    addresses: Vec<Address<'p>>,
    parameters: Vec<Parameter<'p>>,
    headers: Vec<Header<'p>>,
}

const OPENINGS: [&str; 8] =
    ["new websocket(", "fetch(", "curl ", "connect(", "get /", "post /", "requests.get(", "eventsource("];

impl<'p> Facts<'p> {
    pub(super) fn of(pasted: &'p Pasted) -> Self {
        let (addresses, parameters, headers) = (addresses(pasted), parameters(pasted), headers(pasted));
        let speaks_of_tokens = pasted.has_any(&["auth_tokens/", "authtokens/", "auth_tokens.create", "auth_tokens%2f"]);
        let carried = parameters.iter().map(|one| one.what).chain(headers.iter().map(|one| credential_of(one)));
        let has_token = speaks_of_tokens || carried.into_iter().any(What::is_token);
        Self {
            dialect: dialect(pasted),
            has_token,
            at_provider: addresses.iter().any(Address::is_provider),
            has_music: pasted.has_any(&["bidigeneratemusic"]),
            has_token_scheme: headers.iter().filter_map(scheme).any(|(word, _)| word.eq_ignore_ascii_case("token")),
            direct: addresses.iter().any(Address::is_provider)
                || !addresses.iter().any(|one| one.scheme.starts_with("ws")),
            single: OPENINGS.iter().map(|opening| pasted.places(opening).count()).sum::<usize>() <= 1,
            addresses,
            parameters,
            headers,
        }
    }

    fn is_google(&self) -> bool {
        self.dialect == Dialect::Gemini && self.direct
    }
}

fn dialect(pasted: &Pasted) -> Dialect {
    let gemini = [
        "generativelanguage",
        "bidigenerate",
        "auth_tokens",
        "authtokens",
        "x-goog-api-key",
        "google.genai",
        "@google/genai",
        "unregistered callers",
        "api key not valid",
        "aiza",
    ];
    let openai = ["openai", "/v1/realtime", "sk-proj-", "invalid_api_key"];
    match (pasted.has_any(&gemini), pasted.has_any(&openai)) {
        (true, _) => Dialect::Gemini,
        (false, true) => Dialect::OpenAi,
        (false, false) => Dialect::Generic,
    }
}

/// What a header carries, without its scheme.
fn credential_of(header: &Header<'_>) -> What {
    if matches!(header.name, "sec-websocket-protocol" | "openai-beta") {
        return What::Other;
    }
    What::of(scheme(header).map_or(&*header.value, |(_, credential)| credential))
}

/// Scheme word and credential of an `Authorization` header.
fn scheme<'h>(header: &'h Header<'_>) -> Option<(&'h str, &'h str)> {
    let value = header.value.trim_start();
    (header.name == "authorization").then(|| value.split_once([' ', '\t']).unwrap_or(("", value)))
}

/// Applies all rules.
pub(super) fn judge(pasted: &Pasted, facts: &Facts<'_>, explained: &mut Explained) {
    facts.parameters.iter().for_each(|parameter| judge_parameter(facts, parameter, explained));
    facts.headers.iter().for_each(|header| judge_header(facts, header, explained));
    offered(pasted, &facts.headers).iter().for_each(|offer| judge_offer(facts, offer, explained));
    let carrying =
        facts.parameters.iter().map(|one| one.line).chain(facts.headers.iter().map(|one| one.line)).collect();
    facts.addresses.iter().for_each(|address| judge_address(address, &carrying, explained));
    for at in pasted.places("authtokens/") {
        explained.add(Mistake::TokenSpelling, pasted.line(at), "");
    }
    judge_calls(pasted, explained);
    judge_methods(pasted, facts, explained);
    provider::judge(pasted, &facts.addresses, &facts.headers, facts.single, explained);
    if facts.single {
        judge_together(facts, explained);
    }
}

fn judge_parameter(facts: &Facts<'_>, parameter: &Parameter<'_>, explained: &mut Explained) {
    let place = format!("query parameter `{}`", parameter.name);
    let mut add = |mistake| explained.add(mistake, parameter.line, &place);
    let is_name = matches!(parameter.name, "key" | "token");
    match parameter.what {
        What::Nothing => return add(Mistake::Undefined),
        What::NearMiss(miss) => add(miss.mistake()),
        // `?key=photo.jpg` names an object.
        What::Other if is_name && facts.dialect == Dialect::Generic && !looks_random(parameter.value) => return,
        _ => {}
    }
    if facts.is_google() && parameter.what.is_token() {
        if parameter.name != "access_token" {
            add(Mistake::TokenAsKey);
        }
        return;
    }
    if parameter.what.is_token() && parameter.what != What::OpenAiToken && parameter.name != "api_key" {
        return;
    }
    if facts.dialect == Dialect::Gemini && facts.has_music && parameter.name == "key" {
        add(Mistake::MusicKeyInUrl);
    }
    add(Mistake::KeyInUrl);
}

fn looks_random(value: &str) -> bool {
    // `photo.jpg`, but not `app.id:secret`.
    let is_file = value.rsplit_once('.').is_some_and(|(_, extension)| extension.len() <= 5);
    value.len() >= 16 && value.bytes().any(|byte| byte.is_ascii_digit()) && !is_file
}

fn judge_header(facts: &Facts<'_>, header: &Header<'_>, explained: &mut Explained) {
    if header.name == "sec-websocket-protocol" {
        return;
    }
    let place = format!("header `{}`", header.name);
    let mut add = |mistake| explained.add(mistake, header.line, &place);
    if header.name == "openai-beta" {
        if header.value.contains("realtime") {
            add(Mistake::RealtimeBeta);
        }
        return;
    }
    let what = credential_of(header);
    if let Some((word, credential)) = scheme(header) {
        let lower = word.to_ascii_lowercase();
        match &*lower {
            "" if credential.starts_with("${") => return,
            "" if matches!(&*credential.to_ascii_lowercase(), "bearer" | "token" | "") => {
                return add(Mistake::Undefined);
            }
            "" if provider::takes_no_scheme(&facts.addresses) => {}
            "" => add(Mistake::SchemeMissing),
            "bearer" if facts.is_google() && what != What::OAuth && what != What::Nothing => {
                add(Mistake::BearerAtGoogle);
            }
            "bearer" | "token" => {}
            "basic" => add(Mistake::SchemeBasic),
            // A sentence about the header has more words.
            _ if credential.contains(' ') => return,
            _ => add(Mistake::SchemeOther),
        }
    }
    match what {
        What::Nothing => add(Mistake::Undefined),
        What::NearMiss(miss) => add(miss.mistake()),
        What::Named { encoded: true, .. } => add(Mistake::Encoded),
        _ => {}
    }
    if header.name == "x-goog-api-key" && what.is_token() && facts.is_google() && !facts.has_token_scheme {
        add(Mistake::TokenAsKey);
    }
}

/// Entries that begin so carry a credential.
const CREDENTIAL_PREFIXES: [&str; 10] = [
    "api-key.",
    "keymoat.token.",
    "openai-insecure-api-key.",
    "base64url.bearer.",
    "xai-client-secret.",
    "ai-gateway-auth.",
    "cf-aig-authorization.",
    "v1.token.websocket.jupyter.org.",
    "bearer.",
    "token.",
];

fn judge_offer(facts: &Facts<'_>, offer: &Offered<'_>, explained: &mut Explained) {
    let mut credentials = 0;
    for entry in &offer.entries {
        let prefix = CREDENTIAL_PREFIXES.iter().find(|prefix| entry.starts_with(**prefix));
        let value = prefix.and_then(|prefix| entry.strip_prefix(prefix)).unwrap_or(entry);
        let what = What::of(value);
        let names_one = matches!(what, What::Named { token: true, .. })
            || entry.starts_with("${") && entry.to_ascii_lowercase().contains("key");
        if prefix.is_none() && !what.is_certain() && !names_one {
            continue;
        }
        credentials += 1;
        let mut add = |mistake| explained.add(mistake, offer.line, "subprotocol");
        let is_literal = !matches!(what, What::Named { .. });
        if is_literal && value.contains(|c: char| c.is_whitespace() || "/=@,;:\"".contains(c)) {
            add(Mistake::SubprotocolCharacters);
        }
        let is_garbled = || is_literal && BASE64_URL_SAFE_NO_PAD.decode(value).is_err();
        match (prefix, what) {
            (Some(&"keymoat.token."), _) if is_garbled() => add(Mistake::SubprotocolNotBase64),
            (Some(&"openai-insecure-api-key."), What::OpenAiKey | What::Named { token: false, .. }) => {
                add(Mistake::InsecureApiKey);
            }
            (_, What::Nothing) => add(Mistake::Undefined),
            (_, What::NearMiss(NearMiss::TokenSpelling)) => add(Mistake::TokenSpelling),
            (_, What::NearMiss(miss)) if prefix != Some(&"keymoat.token.") => add(miss.mistake()),
            _ => {}
        }
        if what.is_of_keymoat() && facts.at_provider {
            add(Mistake::KeymoatAtProvider);
        }
    }
    if credentials > 0 && credentials == offer.entries.len() {
        explained.add(Mistake::LoneSubprotocol, offer.line, "subprotocol");
    }
}

fn judge_address(address: &Address<'_>, carrying: &HashSet<usize>, explained: &mut Explained) {
    let carries = carrying.contains(&address.line);
    if !address.is_here() && (address.scheme == "ws://" || address.scheme == "http://" && carries) {
        explained.add(Mistake::PlainText, address.line, address.scheme);
    }
    if address.has_userinfo {
        explained.add(Mistake::KeyInUserinfo, address.line, "URL");
    }
}

/// Constructors that cannot take headers where this code seems to run.
fn judge_calls(pasted: &Pasted, explained: &mut Explained) {
    let elsewhere = pasted.has_any(&[
        "react native",
        "react-native",
        "reactnative",
        "expo",
        "'ws'",
        "\"ws\"",
        "undici",
        "deno",
        "bun ",
    ]);
    let browser =
        pasted.has_any(&["document.", "window.", "localstorage", "<script", "navigator.", "browser", "chrome"]);
    for call in with_headers(pasted) {
        if call.event_source && !elsewhere {
            explained.add(Mistake::EventSourceHeaders, call.line, "");
        } else if !call.event_source && !elsewhere && (browser || !call.third) {
            explained.add(Mistake::BrowserHeaders, call.line, "");
        }
    }
}

const SERVICE: &str = "google.ai.generativelanguage.";
const CONSTRAINED: &str = "bidigeneratecontentconstrained";

/// Gemini's method and version against what is carried.
fn judge_methods(pasted: &Pasted, facts: &Facts<'_>, explained: &mut Explained) {
    if !facts.is_google() {
        return;
    }
    let minted = minted_in(pasted);
    let has_key = facts.headers.iter().any(|header| credential_of(header) == What::GoogleKey)
        || facts.parameters.iter().any(|parameter| parameter.what == What::GoogleKey);
    for at in pasted.places(SERVICE) {
        let rest = pasted.lower().get(at + SERVICE.len()..).unwrap_or_default();
        let Some((version, rest)) = rest.split_once(".generativeservice.").filter(|(word, _)| word.len() < 10) else {
            continue;
        };
        let line = pasted.line(at);
        let constrained = rest.starts_with(CONSTRAINED);
        if constrained && has_key && !facts.has_token {
            explained.add(Mistake::ConstrainedMethod, line, "method");
        }
        if !facts.has_token {
            continue;
        }
        if !constrained && rest.starts_with("bidigeneratecontent") {
            explained.add(Mistake::PlainMethod, line, "method");
        }
        if version == "v1" || minted.map_or(version != "v1alpha", |minted| minted != version) {
            explained.add(Mistake::TokenVersion, line, "version");
        }
    }
}

/// The version that tokens are minted with, where the text says it.
fn minted_in(pasted: &Pasted) -> Option<&'static str> {
    const VERSIONS: [&str; 3] = ["v1alpha", "v1beta", "v1"];
    for option in ["api_version", "apiversion"] {
        for at in pasted.places(option) {
            let rest = pasted.lower().get(at + option.len()..).unwrap_or_default();
            let rest = rest.trim_start_matches(['"', '\'', ':', '=', ' ']);
            if let Some(version) = VERSIONS.into_iter().find(|version| rest.starts_with(version)) {
                return Some(version);
            }
        }
    }
    VERSIONS.into_iter().find(|version| pasted.has_any(&[&format!("/{version}/auth_tokens")]))
}

/// What the parts of one request say together.
fn judge_together(facts: &Facts<'_>, explained: &mut Explained) {
    let in_headers = || facts.headers.iter().filter(|one| !matches!(credential_of(one), What::Other | What::Nothing));
    let in_query = || facts.parameters.iter().filter(|one| one.what != What::Nothing);
    if in_headers().next().is_some() {
        for parameter in in_query().filter(|one| one.name != "token" || one.what.is_certain()) {
            explained.add(Mistake::KeyInUrlAndHeader, parameter.line, "");
        }
    }
    let headers = in_headers().filter(|one| credential_of(one).is_certain());
    let mut values = headers.map(|one| (scheme(one).map_or(&*one.value, |(_, value)| value).trim(), one.line));
    let others = in_query().filter(|one| one.what.is_certain()).map(|one| (one.value, one.line));
    let Some((first, _)) = values.next() else { return };
    for (_, line) in values.chain(others).filter(|(value, _)| *value != first) {
        explained.add(Mistake::TwoCredentials, line, "");
    }
    if facts.at_provider
        && let Some(header) = facts.headers.iter().find(|one| credential_of(one).is_of_keymoat())
    {
        explained.add(Mistake::KeymoatAtProvider, header.line, &format!("header `{}`", header.name));
    }
}
