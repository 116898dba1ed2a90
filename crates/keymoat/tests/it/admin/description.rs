//! The OpenAPI description in the book: written from the running binary with `UPDATE=1`, compared without.

use std::path::Path;

use serde_json::Value;

use super::Administered;

#[test]
fn the_description_in_the_book_is_the_one_that_is_served() {
    let administered = Administered::first_run();
    let served = administered.ask_with("GET", "/api/v1/openapi.json", &[], None);
    assert_eq!(served.status, 200);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/openapi.json");
    let text = served.text.trim_end().to_owned() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(file, text).expect("written");
    }
    let kept = std::fs::read_to_string(file).expect("the book has it");
    assert!(
        kept == text,
        "the description has changed: write it anew with `UPDATE=1 cargo nextest run -p keymoat description`"
    );
}

#[test]
fn every_operation_is_described_with_its_failures_and_no_secret() {
    let administered = Administered::first_run();
    let served = administered.ask_with("GET", "/api/v1/openapi.json", &[], None);
    let description = served.json();
    assert_eq!(description["openapi"], "3.1.0");
    let mut ids = std::collections::HashSet::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}: its id stands twice");
            assert!(operation["summary"].is_string(), "{method} {path}");
            for status in ["400", "403", "421", "500", "503"] {
                let content = &operation["responses"][status]["content"]["application/problem+json"];
                assert_ne!(content, &Value::Null, "{method} {path}: {status}");
            }
        }
    }
    assert!(ids.len() > 40, "{}", ids.len());
    for credential in ["km_", "kmt_", "kma_"] {
        let found = served
            .text
            .split(credential)
            .skip(1)
            .filter(|rest| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() > 8);
        assert_eq!(found.count(), 0, "{credential}");
    }
}
