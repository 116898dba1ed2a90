//! Group C of the bad inputs: credentials, through the wire.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keymoat_core::record::Outcome;
use keymoat_core::route::QueryPolicy;
use keymoat_core::{Code, Key, Scopes, UnixMillis, format};
use keymoat_gateway::settings::Limits;

use crate::stand::{REAL_KEY, Stand, close_of, generic, read_all, read_frame, upstream};

/// A second well-formed credential that nobody was given.
fn stranger(kind: format::Kind) -> String {
    let mut seed = 99_u8;
    let credential = format::generate(kind, &mut |bytes| {
        for byte in bytes {
            seed = seed.wrapping_mul(13).wrapping_add(71);
            *byte = seed;
        }
    });
    // The test plays the client, which knows its own credential.
    String::from_utf8(credential.expose().to_vec()).expect("base62")
}

/// Status and problem document, without the head's date.
fn problem(answer: &str) -> (u16, serde_json::Value) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("a problem document"))
}

/// Nothing of `credential` is in `answer`, in none of the spellings that a log could have.
fn shows_nothing_of(credential: &str, answer: &str) {
    let percent: String = credential.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for spelling in [credential, &URL_SAFE_NO_PAD.encode(credential), &STANDARD.encode(credential), &percent] {
        assert!(!answer.contains(spelling), "{spelling} is in {answer}");
    }
}

/// A gateway that has every query policy below `/q/POLICY/`.
fn stand() -> Stand {
    Stand::with(Limits::default(), |settings| {
        let behind = &settings.upstreams[0].origin;
        let address = format!("{}:{}", behind.host, behind.port).parse().expect("an address");
        settings.upstreams.push(upstream("q", address, "x-api-key"));
        let policies = [
            ("refuse", QueryPolicy::Refuse),
            ("tokens", QueryPolicy::Tokens),
            ("warn", QueryPolicy::Warn),
            ("allow", QueryPolicy::Allow),
        ];
        for (word, policy) in policies {
            settings.routes.push(generic(word, "q", &[&format!("/q/{word}/*")], policy));
        }
    })
}

#[test]
fn c38_what_matches_nothing_looks_alike() {
    let stand = stand();
    let expired = stranger(format::Kind::Key);
    let known = Stand::a_key("key_old", Scopes::All);
    stand.know(&expired, &Key { expires_at: Some(UnixMillis(1)), ..known });
    let unknown = format::generate(format::Kind::Key, &mut |bytes| bytes.fill(5));
    let unknown = String::from_utf8(unknown.expose().to_vec()).expect("base62");
    let answers: Vec<_> = [&expired, &unknown, &String::from("an-imported-key-that-is-unknown")]
        .into_iter()
        .map(|credential| {
            let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {credential}\r\n"));
            shows_nothing_of(credential, &answer);
            problem(&answer)
        })
        .collect();
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(stand.recorder.requests().is_empty());
    let records = stand.records(3);
    assert!(records.iter().all(|record| record.code == Some(Code::CredentialInvalid)));
    assert_eq!(records[0].cause.as_deref(), Some("the key has expired"), "the operator is told");
}

#[test]
fn c38_none_empty_and_blank_are_missing() {
    let stand = stand();
    for line in [
        "",
        "X-API-Key:\r\n",
        "X-API-Key:   \r\n",
        "X-API-Key: undefined\r\n",
        "X-API-Key: null\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Cookie: session=abc\r\n",
    ] {
        let (status, document) = problem(&stand.fetch("/demo/echo", line));
        assert_eq!((status, &document["code"]), (401, &"credential_missing".into()), "{line:?}");
    }
    let (status, document) = problem(&stand.fetch("/demo/echo?key=&api_key=undefined", ""));
    assert_eq!((status, &document["code"]), (401, &"credential_missing".into()));
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn c38_revoked_is_told_and_goes_nowhere() {
    let stand = stand();
    let key = Stand::a_key("key_one", Scopes::All);
    stand.know(&stand.key, &Key { revoked_at: Some(UnixMillis(1)), ..key });
    let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\n", stand.key));
    shows_nothing_of(&stand.key, &answer);
    assert_eq!(problem(&answer).1["code"], "credential_revoked");
    let (_, mut stream) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 4001);
    assert!(reason.starts_with("credential_revoked"), "{reason}");
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn c38_near_misses_get_a_hint_that_depends_on_the_syntax_alone() {
    let stand = stand();
    let key = stand.key.clone();
    let token = stranger(format::Kind::Token);
    let last = if key.ends_with('a') { "b" } else { "a" };
    for (credential, hint) in [
        (format!("{}{last}", &key[..key.len() - 1]), "checksum"),
        (key[..key.len() - 1].to_owned(), "length"),
        (format!("{key}x"), "length"),
        (format!("{}-", &key[..key.len() - 1]), "copied whole"),
        (format!("auth_tokens/{key}"), "without them"),
        (format!("ek_{key}"), "without them"),
        (format!("authTokens/{token}"), "write `auth_tokens/`"),
        (format!("auth_tokens%2F{token}"), "percent-encoded"),
        (key.replacen("km_", "kma_", 1), "admin"),
    ] {
        let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {credential}\r\n"));
        shows_nothing_of(&credential, &answer);
        let (status, document) = problem(&answer);
        assert_eq!((status, &document["code"]), (401, &"credential_invalid".into()), "{credential}");
        let detail = document["detail"].as_str().expect("a detail");
        assert!(detail.contains(hint), "{credential}: {detail}");
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn c39_equal_copies_are_one_credential_also_in_header_and_query() {
    let stand = stand();
    let key = &stand.key;
    for policy in ["refuse", "tokens", "warn", "allow"] {
        // As google-genai for Python does it for Live Music: the long-lived key in the header and in the URL.
        let answer = stand.fetch(&format!("/q/{policy}/x?key={key}&a=1"), &format!("x-goog-api-key: {key}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 404 "), "the upstream has no such path: {answer}");
        // The header is enough, but the key stands in the URL all the same.
        assert_eq!(answer.contains("deprecation:"), policy == "warn", "{answer}");
        assert!(answer.contains("cache-control: private, no-store"), "{answer}");
    }
    let answer = stand.fetch(
        &format!("/q/tokens/x?key={key}&api_key={key}"),
        &format!("X-API-Key: {key}\r\nAuthorization: Bearer {key}\r\nAuthorization: Token {key}\r\n"),
    );
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let records = stand.records(5);
    assert!(records.iter().all(|record| record.outcome == Outcome::Allowed));
    assert_eq!(records[..4].iter().map(|record| record.copies_stripped).collect::<Vec<_>>(), [1; 4]);
    assert_eq!(records[4].copies_stripped, 4);
    assert!(
        records.iter().all(|record| record.carrier.as_ref().is_some_and(|it| it.to_string().starts_with("header:")))
    );
    let seen = stand.recorder.requests();
    assert_eq!(seen.len(), 5);
    assert!(seen[..4].iter().all(|request| request.query.as_deref() == Some("a=1")));
    assert!(stand.recorder.places_of(key).is_empty());
}

#[test]
fn c39_live_music_with_the_key_in_header_and_url_works() {
    let stand = Stand::start();
    let path = "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateMusic";
    let (head, mut stream) =
        stand.open_websocket(&format!("{path}?key={}", stand.key), &format!("x-goog-api-key: {}\r\n", stand.key));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    std::io::Write::write_all(
        &mut stream,
        &crate::stand::frame(1, br#"{"setup":{"model":"models/lyria-realtime-exp"}}"#),
    )
    .expect("sent");
    assert!(String::from_utf8_lossy(&read_frame(&mut stream).1).contains("setupComplete"));
    let seen = stand.recorder.requests();
    assert_eq!((seen[0].query.as_deref(), seen[0].header("x-goog-api-key")), (None, Some(REAL_KEY)));
    drop(stream);
    assert_eq!(stand.records(1)[0].copies_stripped, 1);
}

#[test]
fn c39_two_different_credentials_are_refused_or_the_header_wins_where_clients_migrate() {
    let stand = stand();
    let key = &stand.key;
    let stale = stranger(format::Kind::Key);
    for (policy, passes) in [("refuse", false), ("tokens", false), ("warn", true), ("allow", true)] {
        stand.recorder.clear();
        let answer = stand.fetch(&format!("/q/{policy}/x?api_key={stale}"), &format!("X-API-Key: {key}\r\n"));
        shows_nothing_of(key, &answer);
        shows_nothing_of(&stale, &answer);
        if passes {
            assert!(answer.starts_with("HTTP/1.1 404 "), "{policy}: {answer}");
            assert_eq!(stand.recorder.requests()[0].query, None, "{policy}");
        } else {
            let (status, document) = problem(&answer);
            assert_eq!((status, &document["code"]), (400, &"credential_ambiguous".into()), "{policy}");
            assert!(stand.recorder.requests().is_empty());
        }
        // Two headers never agree to differ.
        let answer =
            stand.fetch(&format!("/q/{policy}/x"), &format!("X-API-Key: {key}\r\nAuthorization: Bearer {stale}\r\n"));
        assert_eq!(problem(&answer).0, 400, "{policy}");
    }
}

#[test]
fn c40_a_key_in_the_query_needs_a_route_that_takes_it() {
    let stand = stand();
    let key = &stand.key;
    for (policy, taken) in [("refuse", false), ("tokens", false), ("warn", true), ("allow", true)] {
        for name in ["key", "api_key", "access_token", "token", "api%5Fkey"] {
            stand.recorder.clear();
            let answer = stand.fetch(&format!("/q/{policy}/x?a=1&{name}={key}&b=2"), "");
            shows_nothing_of(key, &answer);
            if taken {
                assert!(answer.starts_with("HTTP/1.1 404 "), "{policy} {name}: {answer}");
                assert_eq!(answer.contains("deprecation: @"), policy == "warn", "{policy} {name}: {answer}");
                assert!(answer.contains("cache-control: private, no-store"), "{answer}");
                assert!(answer.contains("referrer-policy: no-referrer") && answer.contains("vary: "), "{answer}");
                assert_eq!(stand.recorder.requests()[0].query.as_deref(), Some("a=1&b=2"));
            } else {
                let (status, document) = problem(&answer);
                assert_eq!((status, &document["code"]), (401, &"credential_in_query".into()), "{policy} {name}");
                assert!(!document["detail"].as_str().unwrap_or_default().contains('?'), "{document}");
                assert!(stand.recorder.requests().is_empty());
            }
            assert!(stand.recorder.places_of(key).is_empty());
        }
    }
    let records = stand.records(20);
    assert!(records.iter().all(|record| !record.path.contains(key.as_str())));
}

#[test]
fn c40_names_that_a_server_might_read_as_the_parameter_are_removed_and_not_read() {
    let stand = stand();
    for name in ["API_KEY", "api%255Fkey", "api_key[]", "x=1;api_key"] {
        let answer = stand.fetch(&format!("/q/warn/x?{name}={}", stand.key), "");
        assert_eq!(problem(&answer).1["code"], "credential_missing", "{name}");
        let answer = stand.fetch(&format!("/q/warn/x?{name}={}", stand.key), &format!("X-API-Key: {}\r\n", stand.key));
        assert!(answer.starts_with("HTTP/1.1 404 "), "{name}: {answer}");
    }
    assert!(stand.recorder.places_of(&stand.key).is_empty());
    assert!(stand.recorder.requests().iter().all(|request| request.query.is_none()));
}

#[test]
fn c41_a_token_in_the_query_is_decoded_once() {
    let stand = stand();
    let token = stranger(format::Kind::Token);
    for (value, detail) in [
        (format!("auth_tokens%2F{token}"), "the credential is not accepted"),
        (format!("auth_tokens/{token}"), "the credential is not accepted"),
        (format!("auth_tokens%252F{token}"), "percent-encoded"),
        (format!("authTokens/{token}"), "write `auth_tokens/`"),
    ] {
        let answer = stand.fetch(&format!("/q/tokens/x?access_token={value}"), "");
        shows_nothing_of(&token, &answer);
        let (status, document) = problem(&answer);
        assert_eq!((status, &document["code"]), (401, &"credential_invalid".into()), "{value}");
        assert!(document["detail"].as_str().is_some_and(|text| text.contains(detail)), "{value}: {document}");
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn c43_monstrous_credentials_are_refused_unread() {
    let stand = stand();
    let long = "k".repeat(1 << 20);
    let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {long}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 431 ") && answer.len() < 1000, "{}", answer.len());
    let answer = stand.fetch(&format!("/demo/echo?key={long}"), "");
    assert!(answer.starts_with("HTTP/1.1 414 ") && answer.len() < 1000, "{}", answer.len());
    let long = "k".repeat(1025);
    for (path, line) in [
        ("/demo/echo".to_owned(), format!("X-API-Key: {long}\r\n")),
        ("/q/warn/x".to_owned() + "?key=" + &long, String::new()),
    ] {
        let answer = stand.fetch(&path, &line);
        shows_nothing_of(&long, &answer);
        assert_eq!(problem(&answer).1["code"], "credential_invalid");
    }
    let offer = format!("Sec-WebSocket-Protocol: keymoat.v1, api-key.{long}\r\n");
    let (_, mut stream) = stand.open_websocket("/demo/ws", &offer);
    assert_eq!(close_of(&read_frame(&mut stream)).0, 4001);
    // As long as may be, and unknown.
    let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\n", "k".repeat(1024)));
    assert_eq!(problem(&answer).1["detail"], "the credential is not accepted");
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn c43_characters_that_no_credential_has_are_refused() {
    let stand = stand();
    for (line, status) in [
        ("X-API-Key: a\0b\r\n", 400),
        ("X-API-Key: sch\u{fc}ssel\r\n", 400),
        ("X-API-Key: a b\r\n", 401),
        ("X-API-Key: a\tb\r\n", 401),
    ] {
        let answer = stand.fetch("/demo/echo", line);
        assert_eq!(problem(&answer).0, status, "{line:?}: {answer}");
    }
    for value in ["a%00b", "sch%C3%BCssel", "a%0D%0AX:b", "a+b"] {
        let answer = stand.fetch(&format!("/q/warn/x?key={value}"), "");
        assert_eq!(problem(&answer).1["code"], "credential_invalid", "{value}");
    }
    let offer = format!("Sec-WebSocket-Protocol: keymoat.v1, keymoat.token.{}\r\n", URL_SAFE_NO_PAD.encode("a\0b"));
    let (_, mut stream) = stand.open_websocket("/demo/ws", &offer);
    assert_eq!(close_of(&read_frame(&mut stream)).0, 4001);
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn c44_c45_a_token_is_not_accepted_where_none_was_minted() {
    let stand = stand();
    let token = stranger(format::Kind::Token);
    for line in [
        format!("Authorization: Token auth_tokens/{token}\r\n"),
        format!("Authorization: Bearer ek_{token}\r\n"),
        format!("x-goog-api-key: {token}\r\n"),
    ] {
        let answer = stand.fetch("/v1beta/models", &line);
        shows_nothing_of(&token, &answer);
        let (status, document) = problem(&answer);
        assert_eq!((status, &document["code"]), (401, &"credential_invalid".into()));
        assert_eq!(document["error"]["status"], "UNAUTHENTICATED", "Google's SDKs read this: {document}");
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn c46_a_key_with_other_scopes_is_forbidden_here() {
    let stand = stand();
    stand.know(&stand.key, &Stand::a_key("key_one", Scopes::from_words(["tokens"])));
    let (head, mut stream) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 4003);
    assert!(reason.contains("`demo`"), "the scope that is missing: {reason}");
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn c47_credential_headers_of_the_upstream_never_come_from_a_client() {
    let stand = stand();
    let answer = stand.fetch(
        "/v1beta/models?key=",
        &format!(
            "x-goog-api-key: {}\r\nxi-api-key: theirs\r\nX-Hume-Api-Key: theirs\r\nCookie: a=theirs\r\n\
             Proxy-Authorization: Basic dGhlaXJz\r\nX-Goog-User-Project: theirs\r\nOrigin: https://theirs.example\r\n\
             Referer: https://theirs.example/\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=theirs\r\n",
            stand.key
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = &stand.recorder.requests()[0];
    assert_eq!(seen.credentials.len(), 1, "{:?}", seen.credentials);
    assert_eq!((seen.header("x-goog-api-key"), seen.query.as_deref()), (Some(REAL_KEY), None));
    for needle in ["theirs", "6.6.6.6", "dGhlaXJz"] {
        assert!(stand.recorder.places_of(needle).is_empty(), "{needle} at {:?}", stand.recorder.places_of(needle));
    }
}

#[test]
fn no_answer_contains_the_credential_that_was_presented() {
    let stand = stand();
    let stranger = stranger(format::Kind::Key);
    let paths = ["/demo/echo", "/nowhere", "/q/warn/x", "/q/tokens/x", "/v1beta/models", "/a/../b", "/keymoat/readyz"];
    for credential in [&stand.key, &stranger, &String::from("an-imported-key-0123456789")] {
        let b64 = URL_SAFE_NO_PAD.encode(credential);
        let carriers = [
            format!("X-API-Key: {credential}\r\n"),
            format!("Authorization: Bearer {credential}\r\n"),
            format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("user:{credential}"))),
            format!("Authorization: {credential}\r\n"),
            format!("Cookie: session={credential}\r\n"),
            format!("X-Other: {credential}\r\n"),
            format!("Expect: {credential}\r\n"),
            format!("Upgrade: {credential}\r\nConnection: {credential}\r\n"),
            format!("Origin: https://{credential}.example\r\n"),
            format!("{credential}: x\r\n"),
            format!("{credential}\r\n"),
            format!("Content-Length: {credential}\r\n"),
        ];
        for path in paths {
            for line in &carriers {
                shows_nothing_of(credential, &stand.fetch(path, line));
            }
            for written in
                [format!("{path}?key={credential}"), format!("{path}?x={credential}#"), format!("{path}/{credential}")]
            {
                shows_nothing_of(credential, &stand.fetch(&written, ""));
            }
            for offer in [
                format!("keymoat.v1, api-key.{credential}"),
                format!("api-key.{credential}"),
                format!("keymoat.token.{b64}"),
                format!("bearer.{credential}"),
                format!("chat, {b64}"),
                credential.clone(),
            ] {
                let (head, mut stream) =
                    stand.open_websocket(path, &format!("Sec-WebSocket-Protocol: {offer}\r\nConnection: close\r\n"));
                let mut text = head.clone();
                if head.starts_with("HTTP/1.1 101 ") {
                    let (opcode, payload) = read_frame(&mut stream);
                    text += &format!("{opcode} {}", String::from_utf8_lossy(&payload));
                } else {
                    text += &read_all(&mut stream);
                }
                // A label that is nobody's credential here may be selected: it is one only by being presented elsewhere.
                let is_label = offer == *credential || offer.starts_with("chat");
                if !(is_label && credential.starts_with("an-imported")) {
                    shows_nothing_of(credential, &text);
                }
            }
        }
    }
    let places = stand.recorder.places_of(&stand.key);
    assert!(places.is_empty(), "{places:?}");
    for record in stand.records(1) {
        assert!(!format!("{record:?}").contains(&stand.key), "{record:?}");
        assert!(!format!("{record:?}").contains(&stranger), "{record:?}");
    }
}
