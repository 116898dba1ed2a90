//! The open corpus: 60 leaks and 9 texts that must stay as they are.

use std::sync::Arc;

use keymoat_redact::{Known, KnownSecrets, Options, Redactor, Rules};
use serde_json::Value;

const CORPUS: &str = include_str!("../vectors/redaction.jsonl");
/// The secret of the cases that have no name: found once it is registered.
const SECRET: &str = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";
const BY_KNOWN_VALUE: [&str; 3] = ["path-segment", "sql", "rust-debug-bytes"];

/// What must be left beside the secret.
const SURVIVES: [(&str, &str); 15] = [
    ("cookie", "theme=dark; session=[REDACTED:cookie]; lang=en"),
    ("json-slash-u0026", "\\u0026y=2\"}"),
    ("matrix", "/p;api_key=[REDACTED:api_key];v=1/x"),
    ("quoted-value", "api_key='[REDACTED:api_key]' next=ok"),
    ("go-urlerror", "\": dial tcp: refused"),
    ("amp-entity", "&amp;y=2\">"),
    ("fragment", "&token_type=bearer"),
    ("ws-subproto", "api-key.[REDACTED:subprotocol], chat"),
    ("ws-subproto-b64", ", v4.channel.k8s.io"),
    ("set-cookie", "__Host-sid=[REDACTED:cookie]; Path=/; HttpOnly"),
    ("cli-flag", "--api-key [REDACTED:api_key] --port 80"),
    ("go-map", "map[Authorization:[Bearer [REDACTED:authorization]] Accept:[*/*]]"),
    ("userinfo-at", "postgres://app:[REDACTED:password]@db/x"),
    ("logfmt", "level=info authorization=\"Bearer [REDACTED:authorization]\" path=/x"),
    ("hdr-digest", "Digest username=\"u\", response=\"[REDACTED:authorization]\""),
];

fn redacted(known: bool, parts: &[&[u8]]) -> Vec<u8> {
    let secrets = KnownSecrets::default();
    if known {
        secrets.replace(Known::new([SECRET.as_bytes()]));
    }
    let mut redactor = Redactor::new(Arc::new(Rules::default()), Options { known: secrets, ..Options::default() });
    let mut out = Vec::new();
    for part in parts {
        redactor.write(part, &mut out).expect("memory");
    }
    redactor.finish(&mut out).expect("memory");
    out
}

fn leaks(out: &[u8], secret: &[u8]) -> bool {
    secret.windows(8.min(secret.len())).any(|window| out.windows(window.len()).any(|part| part == window))
}

#[test]
fn no_case_of_the_open_corpus_leaks_and_no_negative_changes() {
    let mut wrong = Vec::new();
    for line in CORPUS.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let text = case["text"].as_str().expect("a text").as_bytes();
        let id = case["id"].as_str().expect("an id");
        let split = usize::try_from(case["split_at"].as_u64().unwrap_or(0)).expect("small");
        let (first, second) = text.split_at(split);
        let known = BY_KNOWN_VALUE.contains(&id);
        let out = redacted(known, &[first, second]);
        let shown = String::from_utf8_lossy(&out).into_owned();
        if case["kind"] == "negative" {
            if out != text {
                wrong.push(format!("{id} changed: {shown}"));
            }
            continue;
        }
        for secret in case["must_not_contain"].as_array().expect("a list") {
            if leaks(&out, secret.as_str().expect("text").as_bytes()) {
                wrong.push(format!("{id} leaks: {shown}"));
            }
        }
        if let Some((_, left)) = SURVIVES.iter().find(|(survivor, _)| *survivor == id)
            && !shown.contains(left)
        {
            wrong.push(format!("{id} lost `{left}`: {shown}"));
        }
        if redacted(known, &[&out]) != out {
            wrong.push(format!("{id} changes again: {shown}"));
        }
        for split in 0..=text.len() {
            let (first, second) = text.split_at(split);
            if redacted(known, &[first, second]) != out {
                wrong.push(format!("{id} differs when split at {split}"));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
