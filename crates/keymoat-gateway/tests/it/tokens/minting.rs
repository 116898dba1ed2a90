//! How tokens are minted and revoked over HTTP, by whom, and what their answers say.

use keymoat_core::token::{MintRules, Uses};
use keymoat_core::{Code, Origin, Origins};
use keymoat_gateway::settings::Limits;
use serde_json::json;

use super::{SETUP, TokenStand, is_set_up, json_of};
use crate::stand::{close_of, read_frame};

const GEMINI: &str = "/v1alpha/auth_tokens";
const OWN: &str = "/keymoat/v1/tokens";

#[test]
fn google_s_sdks_mint_and_connect_with_what_they_get() {
    let stand = TokenStand::start();
    let key = &stand.stand.key;
    let bodies =
        ["", "{}", r#"{"uses":1,"bidiGenerateContentSetup":{"model":"models/gemini-2.5-flash-native-audio"}}"#];
    for (path, body) in ["/v1/auth_tokens", "/v1beta/auth_tokens", "//v1alpha/auth_tokens"].into_iter().zip(bodies) {
        let answer = stand.ask("POST", path, &format!("x-goog-api-key: {key}\r\nOrigin: https://a.example\r\n"), body);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let head = answer.to_ascii_lowercase();
        assert!(head.contains("cache-control: private, no-store") && !head.contains("access-control"), "{answer}");
        let answer = json_of(&answer);
        let name = answer["name"].as_str().expect("a name");
        assert!(name.starts_with("auth_tokens/kmt_") && answer.as_object().map(serde_json::Map::len) == Some(1));
        assert!(is_set_up(&stand.live(name, SETUP).1));
        assert_eq!(close_of(&stand.live(name, SETUP).1).0, 1008, "one use is the default");
        let rest = stand.stand.fetch("/v1beta/models", &format!("x-goog-api-key: {name}\r\n"));
        assert!(rest.starts_with("HTTP/1.1 403 "), "{rest}");
    }
    let minted = stand.stand.records(1);
    assert!(minted[0].token_id.is_some() && minted[0].key_id.is_some());
    let opened = stand.stand.recorder.requests();
    assert!(opened.iter().all(|request| request.path.starts_with("/ws/")), "minting asks nobody upstream: {opened:?}");
}

#[test]
fn only_a_key_with_the_scope_mint_mints_and_the_refusal_speaks_the_sdk_s_language() {
    let stand = TokenStand::start();
    let voice = stand.key("voice", &["gemini"]);
    let elsewhere = stand.key("elsewhere", &["demo", "mint"]);
    let token = stand.minted(|_| {}).text;
    let minting = stand.key("minting", &["mint"]);
    for (path, headers, status, word) in [
        (GEMINI, String::new(), 401, "credential_missing"),
        (GEMINI, format!("x-goog-api-key: {voice}\r\n"), 403, "forbidden"),
        (GEMINI, format!("x-goog-api-key: {elsewhere}\r\n"), 403, "forbidden"),
        (GEMINI, format!("x-goog-api-key: {token}\r\n"), 403, "forbidden"),
        (GEMINI, format!("x-goog-api-key: auth_tokens/{token}\r\n"), 403, "forbidden"),
        (OWN, String::new(), 401, "credential_missing"),
        (OWN, format!("X-API-Key: {voice}\r\n"), 403, "forbidden"),
        (OWN, format!("Authorization: Bearer {token}\r\n"), 403, "forbidden"),
        (OWN, "Authorization: Bearer unknown-key-0123456789abcdef\r\n".to_owned(), 401, "credential_invalid"),
    ] {
        let answer = stand.ask("POST", path, &headers, "{}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {answer}");
        let answer = json_of(&answer);
        assert_eq!(answer["code"], word);
        if path == GEMINI {
            assert_eq!(answer["error"]["code"], status);
            assert!(answer["error"]["message"].as_str().is_some_and(|text| text.starts_with(word)), "{answer}");
        }
    }
    for path in [GEMINI, OWN] {
        let answer = stand.ask("POST", &format!("{path}?key={}", stand.stand.key), "", "{}");
        assert!(answer.starts_with("HTTP/1.1 401 "), "a key in the URL mints nothing: {answer}");
    }
    let answer = stand.ask("POST", OWN, &format!("Authorization: Bearer {minting}\r\n"), "{}");
    assert!(answer.starts_with("HTTP/1.1 400 "), "a token for no route: {answer}");
    assert!(stand.stand.recorder.requests().is_empty());
}

#[test]
fn a_route_bounds_what_is_minted_for_it() {
    let rules =
        MintRules { uses_max: Some(10), live_millis_max: 1_800_000, live_tokens_max: 2, ..MintRules::default() };
    let stand = TokenStand::with(Limits::default(), |settings| {
        settings.routes.iter_mut().filter(|route| &*route.name == "gemini").for_each(|route| route.tokens = rules);
    });
    let headers = format!("Authorization: Bearer {}\r\n", stand.stand.key);
    for body in [
        r#"{"uses":11}"#,
        r#"{"uses":0}"#,
        r#"{"uses":-1}"#,
        r#"{"uses":1.5}"#,
        r#"{"uses":"1"}"#,
        r#"{"expireTime":"2030-01-01T00:00:00Z"}"#,
        r#"{"expireTime":"2020-01-01T00:00:00Z"}"#,
        r#"{"uses":1,"uses":2}"#,
        r#"{"fieldMask":"nothing"}"#,
        r#"[]"#,
        "{",
    ] {
        let answer = stand.ask("POST", GEMINI, &headers, body);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body}: {answer}");
        assert_eq!(json_of(&answer)["error"]["status"], "INVALID_ARGUMENT");
    }
    let own = stand.ask("POST", OWN, &headers, r#"{"uses":11,"routes":["gemini"]}"#);
    assert!(own.starts_with("HTTP/1.1 400 ") && own.contains("at most 10"), "{own}");
    for _ in 0..2 {
        assert!(stand.ask("POST", GEMINI, &headers, r#"{"uses":10}"#).starts_with("HTTP/1.1 200 "));
    }
    let answer = stand.ask("POST", GEMINI, &headers, "{}");
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert_eq!(json_of(&answer)["error"]["status"], "RESOURCE_EXHAUSTED");
}

#[test]
fn keymoat_s_own_form_mints_for_any_route_in_every_spelling_and_revokes() {
    let stand = TokenStand::start();
    let headers = format!("Authorization: Bearer {}\r\n", stand.stand.key);
    let answer = stand.ask("POST", OWN, &headers, r#"{"uses":3,"routes":["gemini","demo"]}"#);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let minted = json_of(&answer);
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let token = text(&minted["token"]);
    assert_eq!(minted["spellings"]["gemini"], format!("auth_tokens/{token}"));
    assert_eq!(minted["spellings"]["openai"], format!("ek_{token}"));
    assert_eq!(minted["uses"], json!(3));
    let (mut live, set_up) = stand.live(&text(&minted["spellings"]["gemini"]), SETUP);
    assert!(is_set_up(&set_up));
    let with_token = format!("X-API-Key: {token}\r\n");
    assert!(stand.stand.fetch("/demo/echo", &with_token).starts_with("HTTP/1.1 200 "));
    assert!(stand.stand.fetch("/api/events", &with_token).starts_with("HTTP/1.1 403 "));
    let one = format!("{OWN}/{}", text(&minted["id"]));
    let other = stand.key("other", &["*"]);
    let answer = stand.ask("DELETE", &one, &format!("X-API-Key: {other}\r\n"), "");
    assert!(answer.starts_with("HTTP/1.1 404 "), "another key's token is nobody's business: {answer}");
    assert!(stand.ask("DELETE", &one, &format!("X-API-Key: {token}\r\n"), "").starts_with("HTTP/1.1 403 "));
    assert!(stand.ask("DELETE", &one, &headers, "").starts_with("HTTP/1.1 204 "));
    assert_eq!(close_of(&read_frame(&mut live)).0, 1008);
    let answer = stand.stand.fetch("/demo/echo", &with_token);
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("credential_revoked"), "{answer}");
    for (method, path, taken) in
        [("GET", OWN, "POST"), ("PUT", OWN, "POST"), ("POST", one.as_str(), "DELETE"), ("GET", one.as_str(), "DELETE")]
    {
        let answer = stand.ask(method, path, &headers, "");
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}");
        assert!(answer.contains(&format!("\r\nallow: {taken}\r\n")), "{method} {path}: {answer}");
    }
}

#[test]
fn whoever_minted_a_token_is_told_what_becomes_of_a_setup_and_nobody_else() {
    const EXPLAIN: &str = "/keymoat/v1/tokens/explain";
    let stand = TokenStand::start();
    let headers = format!("Authorization: Bearer {}\r\n", stand.stand.key);
    let locked = r#"{"model":"models/x","systemInstruction":{"parts":[{"text":"Be brief."}]}}"#;
    let order = format!(r#"{{"constraints":{{"gemini":{{"setup":{locked}}}}}}}"#);
    let minted = json_of(&stand.ask("POST", OWN, &headers, &order));
    let token = minted["token"].as_str().expect("a token");
    let asked = |token: &str| {
        format!(r#"{{"token":"{token}","setup":{{"model":"models/y","generationConfig":{{"temperature":1}}}}}}"#)
    };
    let answer = stand.ask("POST", EXPLAIN, &headers, &asked(token));
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("cache-control: private, no-store"), "{answer}");
    assert!(!answer.contains(token), "the token is not repeated");
    let told = json_of(&answer);
    assert_eq!(told["id"], minted["id"]);
    assert_eq!(told["setup"], serde_json::from_str::<serde_json::Value>(locked).expect("JSON"));
    let fate = |path: &str| {
        let fields = told["fields"].as_array().expect("a list");
        fields.iter().find(|field| field["path"] == path).map(|field| field["fate"].clone())
    };
    assert_eq!(fate("model"), Some(json!("from the token")));
    assert_eq!(fate("generationConfig.temperature"), Some(json!("ignored")));

    let other = stand.key("other", &["*"]);
    let answer = stand.ask("POST", EXPLAIN, &format!("X-API-Key: {other}\r\n"), &asked(token));
    assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("brief"), "{answer}");
    let answer = stand.ask("POST", EXPLAIN, &format!("X-API-Key: {token}\r\n"), &asked(token));
    assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("brief"), "its holder learns nothing: {answer}");
    let unknown = "kmt_TestVector0TestVector0TestVector0TestVector13nLa6";
    assert!(stand.ask("POST", EXPLAIN, &headers, &asked(unknown)).starts_with("HTTP/1.1 404 "));
    let answer = stand.ask("POST", EXPLAIN, &headers, &format!(r#"{{"token":"{token}x","setup":{{}}}}"#));
    assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains(token), "{answer}");
    assert!(stand.ask("GET", EXPLAIN, &headers, "").starts_with("HTTP/1.1 405 "));
}

#[test]
fn a_repeated_order_gets_the_same_token_and_a_changed_one_none_56() {
    let stand = TokenStand::start();
    let key = &stand.stand.key;
    let headers = format!("Authorization: Bearer {key}\r\nIdempotency-Key: order-1\r\n");
    let [first, again] = [(); 2].map(|()| json_of(&stand.ask("POST", OWN, &headers, r#"{"uses":2}"#)));
    assert_eq!(first["token"], again["token"]);
    let changed = stand.ask("POST", OWN, &headers, r#"{"uses":3}"#);
    assert!(changed.starts_with("HTTP/1.1 400 ") && changed.contains("idempotency"), "{changed}");
    let other = format!("Authorization: Bearer {key}\r\nIdempotency-Key: order-2\r\n");
    assert_ne!(json_of(&stand.ask("POST", OWN, &other, r#"{"uses":2}"#))["token"], first["token"]);
    let wrong = format!("Authorization: Bearer {key}\r\nIdempotency-Key: \r\n");
    assert!(stand.ask("POST", OWN, &wrong, "{}").starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_body_has_its_bounds() {
    let stand = TokenStand::start();
    let headers = format!("X-API-Key: {}\r\n", stand.stand.key);
    let large = format!(r#"{{"uses":1,"x":"{}"}}"#, "x".repeat(64 << 10));
    let answer = stand.ask("POST", OWN, &headers, &large);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(stand.ask("POST", OWN, &headers, &deep).starts_with("HTTP/1.1 400 "));
    assert!(stand.ask("POST", OWN, &headers, r#"{"constraint":{}}"#).starts_with("HTTP/1.1 400 "));
}

#[test]
fn pages_mint_where_the_route_lists_them_and_nowhere_else() {
    let stand = TokenStand::with(Limits::default(), |settings| {
        let listed = Origins::List(vec![Origin::parse("https://app.example").expect("an origin")]);
        settings.routes.iter_mut().filter(|route| &*route.name == "gemini").for_each(|route| {
            route.origins = listed.clone();
        });
    });
    let from = |page: &str| format!("x-goog-api-key: {}\r\nOrigin: {page}\r\n", stand.stand.key);
    let answer = stand.ask("POST", GEMINI, &from("https://app.example"), "{}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("access-control-allow-origin: https://app.example"), "{answer}");
    let answer = stand.ask("POST", GEMINI, &from("https://evil.example"), "{}");
    assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("kmt_"), "{answer}");
}

#[test]
fn without_the_store_nobody_mints_and_no_token_is_taken() {
    let stand = TokenStand::start();
    let held = stand.minted(|token| token.uses = Uses::AtMost(5));
    stand.desk.clone().stop();
    let headers = format!("x-goog-api-key: {}\r\n", stand.stand.key);
    let answer = stand.ask("POST", GEMINI, &headers, "{}");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    assert_eq!(json_of(&answer)["error"]["status"], "UNAVAILABLE");
    let answer = stand.stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\n", held.text));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let (code, reason) = close_of(&stand.live(&held.text, SETUP).1);
    assert_eq!(code, 1011, "{reason}");
    assert!(reason.starts_with("unavailable: "), "{reason}");
    assert!(stand.stand.fetch("/demo/echo", &headers).starts_with("HTTP/1.1 200 "), "keys go on");
    assert_eq!(stand.uses_left(&held.token), Some(5));
}

#[test]
fn a_token_is_in_the_answer_to_its_minting_and_nowhere_else() {
    let stand = TokenStand::start();
    let headers = format!("x-goog-api-key: {}\r\n", stand.stand.key);
    let minted = json_of(&stand.ask("POST", GEMINI, &headers, r#"{"uses":2}"#));
    let name = minted["name"].as_str().expect("a name");
    let token = name.strip_prefix("auth_tokens/").expect("its spelling").to_owned();
    let mut outputs = Vec::new();
    let (stream, answer) = stand.live(name, SETUP);
    outputs.push(format!("{answer:?}"));
    drop(stream);
    outputs.push(format!("{:?}", stand.live(name, br#"{"setup":null}"#).1));
    for (path, headers) in [
        ("/demo/echo", format!("X-API-Key: {token}\r\n")),
        ("/v1beta/models", format!("x-goog-api-key: {name}\r\n")),
        ("/nowhere", format!("Authorization: Bearer {token}\r\n")),
    ] {
        outputs.push(stand.stand.fetch(path, &headers));
    }
    outputs.push(stand.stand.fetch(&format!("/demo/{token}"), &format!("X-API-Key: {token}\r\n")));
    outputs.push(stand.ask("POST", OWN, &format!("X-API-Key: {token}\r\n"), &format!(r#"{{"{token}":"{token}"}}"#)));
    outputs.push(stand.ask("DELETE", &format!("{OWN}/{token}"), &headers, ""));
    outputs.push(format!("{:?}", stand.stand.records(9)));
    outputs.push(format!("{:?}", stand.store.tokens(None, super::now()).expect("the store answers")));
    for output in outputs {
        assert!(!output.contains(&token), "{output}");
    }
    assert!(stand.stand.recorder.places_of(&token).is_empty());
    let codes: Vec<_> = stand.stand.records(9).into_iter().filter_map(|record| record.code).collect();
    assert!(codes.contains(&Code::Forbidden), "{codes:?}");
}
