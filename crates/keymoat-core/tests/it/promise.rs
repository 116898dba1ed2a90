//! The promise: after `take` the credential is nowhere in the head, in no form, wherever it had been put.

use base64::prelude::*;
use http::HeaderName;
use keymoat_core::{Ask, Head, QueryPolicy};
use proptest::prelude::*;

use crate::scenario::{KEY, Scenario, TOKEN};

/// Every character escaped, `times` over.
fn percent(text: &str, times: usize) -> String {
    let mut text = text.to_owned();
    for level in 0..times {
        let escape = |c: char| if level == 0 || c == '%' { format!("%{:02X}", c as u32) } else { c.to_string() };
        text = text.chars().map(escape).collect();
    }
    text
}

fn disguised(credential: &str, disguise: usize) -> String {
    match disguise {
        0 => credential.to_owned(),
        1..=3 => percent(credential, disguise),
        4 => BASE64_STANDARD.encode(credential).replace('=', ""),
        5 => BASE64_URL_SAFE_NO_PAD.encode(credential),
        6 => BASE64_URL_SAFE_NO_PAD.encode(format!("user:{credential}")),
        _ => percent(&BASE64_STANDARD.encode(credential), 1),
    }
}

/// All text that would go upstream.
fn texts(head: &Head) -> Vec<String> {
    let mut texts: Vec<String> =
        head.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    texts.push(head.query.as_str().to_owned());
    if let Ask::WebSocket(opening) = &head.ask {
        texts.extend(opening.offer.labels().map(str::to_owned));
        texts.extend(opening.offer.select(None));
    }
    texts
}

fn assert_clean(head: &Head, credential: &str) -> Result<(), TestCaseError> {
    for text in texts(head) {
        for disguise in 0..8 {
            let form = disguised(credential, disguise);
            prop_assert!(!text.to_lowercase().contains(&form.to_lowercase()), "disguise {disguise} is left");
        }
    }
    Ok(())
}

fn credentials() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(KEY.to_owned()),
        Just(TOKEN.to_owned()),
        "[!-~]{16,60}".prop_filter("a header value of its own", |text| !text.starts_with(' ')),
    ]
}

/// Where a further copy goes: a header, a cookie, a query value, a query name, a subprotocol.
fn copies() -> impl Strategy<Value = Vec<(usize, usize)>> {
    proptest::collection::vec((0..5usize, 0..8usize), 0..5)
}

/// A token's characters only, or nothing: what a subprotocol can be.
fn as_token(text: &str) -> Option<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.chars().all(fits).then_some(text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn after_take_the_head_holds_the_credential_in_no_form(
        credential in credentials(), copies in copies(), policy in 0..4usize, in_header in any::<bool>(), gemini in any::<bool>(),
    ) {
        let mut target = format!("/a?x=1&api_key={}", percent(&credential, 1));
        let mut cookie = String::from("theme=dark");
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut protocols = vec![String::from("app")];
        for (index, (place, disguise)) in copies.iter().enumerate() {
            let text = disguised(&credential, *disguise);
            match place {
                0 => headers.push((format!("x-copy-{index}"), format!("a {text} b"))),
                1 if !credential.contains([';', '"']) => cookie.push_str(&format!("; c{index}={text}")),
                2 => target.push_str(&format!("&q{index}={}", percent(&text, 1))),
                3 => target.push_str(&format!("&{}", percent(&text, 1))),
                _ => protocols.extend(as_token(&text).map(|text| format!("p{index}.{text}"))),
            }
        }
        if target.len() > 8000 {
            return Ok(());
        }
        let mut scenario = Scenario::websocket(&target).query(
            [QueryPolicy::Refuse, QueryPolicy::Tokens, QueryPolicy::Warn, QueryPolicy::Allow][policy],
        );
        for (name, value) in &headers {
            let name: HeaderName = name.parse().expect("well formed");
            scenario = scenario.header(name.as_str(), value);
        }
        scenario = scenario.header("cookie", &cookie).header("sec-websocket-protocol", protocols.join(", "));
        if gemini {
            scenario = scenario.gemini().carriers(&["header:x-goog-api-key", "subprotocol", "query:api_key"]);
        }
        if in_header {
            scenario = scenario.header(if gemini { "x-goog-api-key" } else { "x-api-key" }, &credential);
        }
        let (_, head, record) = scenario.take();
        assert_clean(&head, &credential)?;
        prop_assert!(head.query.as_str().split('&').any(|pair| pair == "x=1"));
        prop_assert!(!record.path.contains(&credential));
    }
}
