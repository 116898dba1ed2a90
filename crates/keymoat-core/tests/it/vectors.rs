//! The vectors that the clients are tested with as well: what they send is what is read here.

use std::path::Path;

use base64::prelude::*;
use keymoat_core::format::{self, Kind, NearMiss, Shape, Spelling};
use keymoat_core::{Code, Dialect, Secret};
use serde_json::Value;

use crate::scenario::{Outcome, Scenario};

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/vectors").join(name);
    let text = std::fs::read_to_string(&path).expect("the vectors are in the repository");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

fn rows<'a>(vectors: &'a Value, name: &str) -> &'a [Value] {
    let rows = vectors[name].as_array().expect("a list");
    assert!(!rows.is_empty(), "{name}");
    rows
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().expect("text")
}

fn offering(marker: &str, protocol: &str) -> Scenario {
    Scenario::websocket("/ws/events").header("sec-websocket-protocol", format!("{marker}, app, {protocol}"))
}

fn selects(outcome: &Outcome, marker: &str) -> bool {
    outcome.offer().select(None).as_deref() == Some(marker)
}

#[test]
fn what_a_client_offers_is_read_and_the_marker_is_selected() {
    let vectors = vectors("subprotocols.json");
    let marker = text(&vectors, "marker");
    for row in rows(&vectors, "encoded") {
        let (credential, protocol) = (text(row, "credential"), text(row, "protocol"));
        // A token is known by its plain spelling.
        let spelled = credential.strip_prefix("auth_tokens/").or(credential.strip_prefix("ek_"));
        let outcome = offering(marker, protocol).key(spelled.unwrap_or(credential), |_| ()).run();
        assert_eq!(outcome.word(), "changed", "{credential}");
        assert!(selects(&outcome, marker), "{credential}");
        // The credential of one row is none of the next.
        assert_ne!(offering(marker, protocol).key("another", |_| ()).run().word(), "changed");
    }
}

#[test]
fn what_a_client_does_not_send_is_no_credential_here_either() {
    let vectors = vectors("subprotocols.json");
    let marker = text(&vectors, "marker");
    let protocol = |value: &Value| {
        let credential = value.as_str().expect("text");
        format!("keymoat.token.{}", BASE64_URL_SAFE_NO_PAD.encode(credential))
    };
    for value in rows(&vectors, "absent") {
        let outcome = offering(marker, &protocol(value)).run();
        assert_eq!(outcome.word(), "credential_missing", "{value}");
    }
}

#[test]
fn a_client_sees_the_same_shapes() {
    for row in rows(&vectors("credentials.json"), "shapes") {
        let shape = format::shape(&Secret::from(text(row, "credential")));
        let spelling = row["spelling"].as_str();
        let kind = match text(row, "kind") {
            "key" => Some(Kind::Key),
            "token" => Some(Kind::Token),
            "admin" => Some(Kind::Admin),
            _ => None,
        };
        let expected = match (kind, row["fault"].as_str()) {
            (Some(kind), Some("checksum")) => Shape::NearMiss(NearMiss::Checksum(kind)),
            (Some(kind), Some("length")) => Shape::NearMiss(NearMiss::Length(kind)),
            (Some(kind), Some("alphabet")) => Shape::NearMiss(NearMiss::Alphabet(kind)),
            (_, Some("key_as_token")) => Shape::NearMiss(NearMiss::KeyAsToken),
            (Some(Kind::Admin), None) => Shape::NearMiss(NearMiss::Admin),
            (Some(Kind::Key), None) => Shape::Key,
            (Some(Kind::Token), None) => Shape::Token {
                spelling: match spelling {
                    Some("auth_tokens") => Spelling::AuthTokens,
                    Some("ek") => Spelling::Ek,
                    _ => Spelling::Plain,
                },
            },
            (None, None) => Shape::Foreign,
            (_, Some(fault)) => panic!("no such fault: {fault}"),
        };
        assert_eq!(shape, expected, "{row}");
    }
}

#[test]
fn a_client_knows_what_to_do_about_every_refusal() {
    let vectors = vectors("close-codes.json");
    let known = rows(&vectors, "refusals");
    for code in Code::ALL {
        let row = known.iter().find(|row| row["word"] == code.word());
        let row = row.unwrap_or_else(|| panic!("{code}: say in clients/vectors/close-codes.json what clients do then"));
        for dialect in Dialect::ALL {
            let name = match dialect {
                Dialect::Generic => "own",
                Dialect::Gemini => "gemini",
                Dialect::OpenAi => "openai",
            };
            assert_eq!(row[name], code.close_code(dialect), "{code}");
        }
    }
    assert_eq!(known.len(), Code::ALL.len());
}
