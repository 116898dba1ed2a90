//! Group C of the bad inputs: where credentials sit, which are refused, and what the client is told.

use base64::prelude::*;
use http::Method;
use keymoat_core::refusal::REASON_BYTES_MAX;
use keymoat_core::{QueryPolicy, Scopes, UnixMillis};

use crate::scenario::{IMPORTED, KEY, NOW, OTHER, Outcome, Scenario, TOKEN};

fn b64(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

#[test]
fn reads_every_listed_carrier() {
    for (scenario, carrier) in [
        (Scenario::http("/a").header("x-api-key", KEY), "header:x-api-key"),
        (Scenario::http("/a").header("authorization", format!("Bearer {KEY}")), "header:authorization"),
        (Scenario::http("/a").header("authorization", format!("bEARER   {KEY} ")), "header:authorization"),
        (Scenario::http("/a").header("authorization", format!("Token {KEY}")), "header:authorization"),
        (Scenario::http("/a?x=1&api_key=").header("x-api-key", KEY), "header:x-api-key"),
        (Scenario::http(&format!("/a?api_key={KEY}")).query(QueryPolicy::Warn), "query:api_key"),
        (Scenario::http(&format!("/a?api%5Fkey={KEY}")).query(QueryPolicy::Allow), "query:api_key"),
        (
            Scenario::websocket("/a").header("sec-websocket-protocol", format!("keymoat.v1, api-key.{KEY}")),
            "subprotocol",
        ),
        (
            Scenario::websocket("/a")
                .header("sec-websocket-protocol", "keymoat.v1")
                .header("sec-websocket-protocol", format!("keymoat.token.{}", b64(KEY))),
            "subprotocol",
        ),
        (
            Scenario::websocket("/a")
                .header("sec-websocket-protocol", format!("realtime,openai-insecure-api-key.{KEY}")),
            "subprotocol",
        ),
        (
            Scenario::websocket("/a")
                .header("sec-websocket-protocol", format!("base64url.bearer.authorization.k8s.io.{}, app", b64(KEY))),
            "subprotocol",
        ),
    ] {
        let outcome = scenario.run();
        assert_eq!((outcome.word().as_str(), outcome.carrier().as_str()), ("known", carrier), "{}", outcome.detail());
        assert_eq!(outcome.record.copies_stripped, 0);
        assert_eq!(outcome.record.key_id.as_deref(), Some("known"));
    }
}

#[test]
fn imported_keys_are_found_by_their_bytes() {
    assert_eq!(Scenario::http("/a").header("x-api-key", IMPORTED).run().word(), "imported");
    let outcome = Scenario::websocket("/a")
        .header("sec-websocket-protocol", format!("keymoat.v1, keymoat.token.{}", b64(IMPORTED)))
        .run();
    assert_eq!(outcome.word(), "imported");
}

#[test]
fn c38_no_credential_in_any_way_of_writing_it() {
    for scenario in [
        Scenario::http("/a"),
        Scenario::http("/a").header("x-api-key", ""),
        Scenario::http("/a").header("x-api-key", "   "),
        Scenario::http("/a").header("x-api-key", "undefined"),
        Scenario::http("/a").header("x-api-key", "null"),
        Scenario::http("/a").header("authorization", "Bearer"),
        Scenario::http("/a").header("authorization", "Bearer  undefined"),
        Scenario::http("/a?api_key"),
        Scenario::http("/a?api_key="),
        Scenario::http("/a?api_key=+"),
        Scenario::http("/a?api_key=undefined"),
        Scenario::websocket("/a").header("sec-websocket-protocol", "keymoat.v1, api-key."),
        Scenario::websocket("/a").header("sec-websocket-protocol", "keymoat.v1, api-key.undefined"),
        Scenario::websocket("/a").header("sec-websocket-protocol", "keymoat.v1, keymoat.token."),
    ] {
        let outcome = scenario.run();
        assert_eq!(outcome.word(), "credential_missing");
        assert!(outcome.head.query.is_empty());
        assert!(outcome.record.carrier.is_none());
    }
}

#[test]
fn c38_unknown_mistyped_and_expired_look_alike() {
    let unknown = Scenario::http("/a").header("x-api-key", OTHER).run();
    let expired = Scenario::http("/a").header("x-api-key", KEY).key(KEY, |key| key.expires_at = Some(NOW)).run();
    let foreign = Scenario::http("/a").header("x-api-key", "sk-unknown").run();
    assert_eq!(unknown.word(), "credential_invalid");
    assert_eq!(unknown.result.as_ref().err(), expired.result.as_ref().err());
    assert_eq!(unknown.result.as_ref().err(), foreign.result.as_ref().err());
    // The operator can tell them apart.
    assert_eq!(expired.record.key_id.as_deref(), Some("changed"));
    assert_eq!(expired.record.cause.as_deref(), Some("the key has expired"));
    let mistyped = Scenario::http("/a").header("x-api-key", KEY.replace("Vector0", "Vector1")).run();
    assert_eq!(mistyped.word(), "credential_invalid");
    assert!(mistyped.detail().contains("checksum"));
}

#[test]
fn c38_a_hint_depends_on_the_syntax_and_not_on_the_store() {
    // A known credential and an unknown one of the same syntax, in a place that is not read, get the same words.
    let told = |value: &str| {
        let scenario = Scenario::http("/a").carriers(&["header:x-api-key"]).header("api-key", value);
        scenario.run().detail()
    };
    assert_eq!(told(KEY), told(OTHER));
    assert_eq!(told(IMPORTED), told("c2VjcmV0/LWtl+eXN="));
    // The same where no place is well known.
    for target in ["/a", "/a?key=x"] {
        let told = |value: &str| {
            Scenario::http(target)
                .carriers(&["header:x-api-key"])
                .header("x-secret-of-mine", value)
                .header("cookie", format!("token={value}"))
                .run()
                .detail()
        };
        assert_eq!(told(IMPORTED), told("c2VjcmV0/LWtl+eXN="));
    }
    let query =
        |value: &str| Scenario::http(&format!("/a?my_token={value}")).carriers(&["header:x-api-key"]).run().detail();
    assert_eq!(query("c2VjcmV0%2FLWtl%2BeXM%3D"), query("c2VjcmV0%2FLWtl%2BeXN%3D"));
    assert_eq!(told(KEY), "no credential: header `api-key` is not read here: send it in header `x-api-key`");
}

#[test]
fn c38_revoked_is_told_and_outlives_a_clock_that_steps_back() {
    for at in [NOW, UnixMillis(i64::MAX)] {
        let outcome = Scenario::http("/a").header("x-api-key", KEY).key(KEY, |key| key.revoked_at = Some(at)).run();
        assert_eq!(outcome.word(), "credential_revoked");
    }
}

#[test]
fn c39_equal_copies_are_one_credential() {
    let outcome = Scenario::websocket(&format!("/a?api_key={KEY}&x=1"))
        .header("x-api-key", KEY)
        .header("authorization", format!("Bearer {KEY}"))
        .header("sec-websocket-protocol", format!("app, api-key.{KEY}, keymoat.token.{}", b64(KEY)))
        .run();
    assert_eq!(outcome.word(), "known");
    assert_eq!(outcome.carrier(), "header:x-api-key");
    assert_eq!(outcome.record.copies_stripped, 4);
    assert_eq!(outcome.head.query.as_str(), "x=1");
    assert_eq!(outcome.offer().labels().collect::<Vec<_>>(), ["app"]);
    // Spellings of one token are one credential: this is what google-genai for Python sends.
    let outcome = Scenario::websocket("/a")
        .gemini()
        .header("x-goog-api-key", format!("auth_tokens/{TOKEN}"))
        .header("authorization", format!("Token auth_tokens/{TOKEN}"))
        .run();
    assert_eq!(outcome.word(), "token");
}

#[test]
fn c39_two_different_credentials_are_refused() {
    for scenario in [
        Scenario::http("/a").header("x-api-key", KEY).header("x-api-key", OTHER),
        Scenario::http("/a").header("x-api-key", KEY).header("authorization", format!("Bearer {OTHER}")),
        Scenario::http(&format!("/a?api_key={OTHER}")).header("x-api-key", KEY),
        Scenario::http(&format!("/a?api_key={OTHER}")).header("x-api-key", KEY).query(QueryPolicy::Refuse),
        Scenario::http(&format!("/a?api_key={KEY}&api_key={OTHER}")).query(QueryPolicy::Warn),
        Scenario::http("/a")
            .header("x-api-key", KEY)
            .header("authorization", format!("Bearer {OTHER}"))
            .query(QueryPolicy::Allow),
        Scenario::websocket("/a").header("sec-websocket-protocol", format!("a, api-key.{KEY}, api-key.{OTHER}")),
        Scenario::websocket("/a")
            .header("sec-websocket-protocol", format!("a, api-key.{KEY}"))
            .header("x-api-key", OTHER),
    ] {
        let outcome = scenario.run();
        assert_eq!(outcome.word(), "credential_ambiguous");
        assert!(outcome.record.carrier.is_some());
        assert!(outcome.head.headers.get("x-api-key").is_none() && outcome.head.query.is_empty());
    }
}

#[test]
fn c39_where_keys_may_sit_in_urls_a_header_beats_a_stale_copy_there() {
    for policy in [QueryPolicy::Warn, QueryPolicy::Allow] {
        let outcome = Scenario::http(&format!("/a?api_key={OTHER}&b=2")).header("x-api-key", KEY).query(policy).run();
        assert_eq!((outcome.word().as_str(), outcome.carrier().as_str()), ("known", "header:x-api-key"));
        assert_eq!(outcome.record.copies_stripped, 1);
        assert_eq!(outcome.head.query.as_str(), "b=2");
        let outcome = Scenario::websocket(&format!("/a?api_key={OTHER}"))
            .header("sec-websocket-protocol", format!("app, api-key.{KEY}"))
            .query(policy)
            .run();
        assert_eq!((outcome.word().as_str(), outcome.carrier().as_str()), ("known", "subprotocol"));
    }
}

#[test]
fn c39_a_flood_of_copies_is_refused() {
    let copies = |count: usize| Scenario::http(&format!("/a?{}", vec![format!("api_key={KEY}"); count].join("&")));
    assert_eq!(copies(8).query(QueryPolicy::Warn).run().word(), "known");
    let flooded = copies(9).query(QueryPolicy::Warn).run();
    assert_eq!(flooded.word(), "credential_ambiguous");
    assert!(flooded.head.query.is_empty());
}

#[test]
fn c40_a_key_in_the_query_needs_a_route_that_takes_it() {
    for (policy, value, word) in [
        (QueryPolicy::Refuse, KEY, "credential_in_query"),
        (QueryPolicy::Refuse, TOKEN, "credential_in_query"),
        (QueryPolicy::Refuse, "sk-foreign", "credential_in_query"),
        (QueryPolicy::Tokens, KEY, "credential_in_query"),
        (QueryPolicy::Tokens, "sk-foreign", "credential_in_query"),
        (QueryPolicy::Tokens, TOKEN, "token"),
        (QueryPolicy::Warn, KEY, "known"),
        (QueryPolicy::Allow, KEY, "known"),
        (QueryPolicy::Allow, TOKEN, "token"),
    ] {
        let outcome = Scenario::http(&format!("/a?api_key={value}")).query(policy).run();
        assert_eq!(outcome.word(), word, "{policy:?} {value}");
        assert_eq!(outcome.carrier(), "query:api_key");
        assert!(outcome.head.query.is_empty());
        let warned = outcome.result.is_ok_and(|grant| grant.query_warned);
        assert_eq!(warned, policy == QueryPolicy::Warn, "{policy:?} {value}");
    }
}

#[test]
fn c40_the_hint_names_the_carrier_of_this_route_and_never_the_query() {
    let target = format!("/a?api_key={KEY}");
    for (scenario, advice) in [
        (Scenario::http(&target), "send it in header `x-api-key`"),
        (Scenario::websocket(&target), "send it in header `x-api-key`"),
        (
            Scenario::websocket(&target).header("origin", "https://app.example"),
            "offer subprotocols `keymoat.v1` and `api-key.…`",
        ),
        (
            Scenario::websocket(&target).header("sec-websocket-protocol", "app"),
            "offer subprotocols `keymoat.v1` and `api-key.…`",
        ),
        (
            Scenario::http(&target).carriers(&["header:authorization", "query:api_key"]),
            "send it as `Authorization: Bearer …`",
        ),
        (
            Scenario::http(&target).carriers(&["query:api_key"]),
            "this route lists no other carrier: ask its operator for one",
        ),
    ] {
        let outcome = scenario.run();
        assert_eq!(outcome.detail(), format!("long-lived key in query parameter `api_key`: {advice}"));
    }
    let from_browser = Scenario::websocket(&target).header("origin", "https://app.example").run();
    let reason = from_browser.result.expect_err("refused").reason();
    assert!(reason.len() <= REASON_BYTES_MAX && reason.ends_with("`api-key.…`"), "{reason}");
}

#[test]
fn c41_a_token_in_the_query_is_decoded_once() {
    for (value, word, hint) in [
        (format!("auth_tokens/{TOKEN}"), "token", ""),
        (format!("auth_tokens%2F{TOKEN}"), "token", ""),
        (format!("ek_{TOKEN}"), "token", ""),
        (format!("auth_tokens%252F{TOKEN}"), "credential_invalid", "percent-encoded"),
        (format!("auth_tokens%25252F{TOKEN}"), "credential_invalid", "percent-encoded"),
        (format!("authTokens/{TOKEN}"), "credential_invalid", "write `auth_tokens/`"),
        (TOKEN.replace("13nLa6", "13nLa7"), "credential_invalid", "checksum"),
    ] {
        let outcome = Scenario::websocket(&format!("/a?access_token={value}")).gemini().run();
        assert_eq!(outcome.word(), word, "{value}");
        assert!(outcome.detail().contains(hint), "{}", outcome.detail());
    }
}

#[test]
fn c41_forms_of_authorization_that_are_not_read_get_a_hint() {
    let basic = BASE64_STANDARD.encode(format!("user:{KEY}"));
    for (value, hint) in [
        (format!("Basic {basic}"), "`Basic` is not read"),
        (KEY.to_owned(), "the scheme is missing"),
        (format!("Digest {KEY}"), "the scheme is not read"),
    ] {
        let outcome = Scenario::http("/a").header("authorization", &value).run();
        assert_eq!(outcome.word(), "credential_invalid");
        assert_eq!(outcome.carrier(), "header:authorization");
        assert!(outcome.detail().starts_with(hint) && !outcome.detail().contains(KEY), "{}", outcome.detail());
        assert!(outcome.head.headers.is_empty());
    }
}

#[test]
fn c42_a_lone_subprotocol_credential_is_refused_where_it_would_have_to_be_echoed() {
    for entry in [
        format!("api-key.{KEY}"),
        format!("keymoat.token.{}", b64(KEY)),
        format!("base64url.bearer.authorization.k8s.io.{}", b64(KEY)),
        format!("api-key.{KEY}, xai-client-secret.somebody-elses"),
    ] {
        let outcome = Scenario::websocket("/a").header("sec-websocket-protocol", entry).run();
        assert_eq!(outcome.word(), "credential_invalid");
        assert!(outcome.detail().contains("`keymoat.v1`"));
        assert!(outcome.offer().expose_lone_credential().is_none() && outcome.offer().select(None).is_none());
    }
    // Kubernetes' form is refused alone everywhere.
    let kubernetes = format!("base64url.bearer.authorization.k8s.io.{}", b64(KEY));
    let outcome = Scenario::websocket("/a").echo().header("sec-websocket-protocol", kubernetes).run();
    assert_eq!(outcome.word(), "credential_invalid");
    assert!(outcome.offer().expose_lone_credential().is_none());
}

#[test]
fn c43_what_cannot_be_a_credential_is_refused_before_it_is_digested() {
    let long = "x".repeat(1025);
    // Even when its digest is known: it is never computed.
    let outcome = Scenario::http("/a").key(&long, |_| {}).header("x-api-key", &long).run();
    assert_eq!(outcome.word(), "credential_invalid");
    assert!(outcome.detail().contains("1 KiB"));
    let edge = "x".repeat(1024);
    assert_eq!(Scenario::http("/a").key(&edge, |_| {}).header("x-api-key", &edge).run().word(), "changed");
    for value in ["caf\u{e9}-secret", "two words"] {
        let outcome = Scenario::http("/a").key(value, |_| {}).header("x-api-key", value).run();
        assert_eq!(outcome.word(), "credential_invalid", "{value}");
    }
    for value in ["a%00bcdefgh", "a%0d%0abcdefgh", "%ff%fe"] {
        let outcome = Scenario::http(&format!("/a?api_key={value}")).query(QueryPolicy::Allow).run();
        assert_eq!(outcome.word(), "credential_invalid", "{value}");
    }
}

#[test]
fn c45_a_token_where_tokens_are_unknown_is_not_accepted() {
    let unknown = "kmt_000000000000000000000000000000000000000000023nMur";
    let outcome = Scenario::http("/a").header("authorization", format!("Token auth_tokens/{unknown}")).run();
    assert_eq!(outcome.word(), "credential_invalid");
}

#[test]
fn c46_an_admin_credential_is_not_taken_with_data() {
    let outcome = Scenario::http("/a").header("x-api-key", format!("kma_{}", "0".repeat(49))).run();
    assert_eq!(outcome.word(), "credential_invalid");
    assert!(outcome.detail().contains("admin"));
}

#[test]
fn c47_gemini_sees_no_credential_and_no_page_of_the_client() {
    let outcome =
        Scenario::http("/v1beta/models/m:generateContent?key=undefined&alt=sse&API%255FKEY=x&jwt=y&accessToken=z")
            .gemini()
            .method(Method::POST)
            .header("x-goog-api-key", KEY)
            .header("x-api-key", "theirs")
            .header("api-key", "theirs")
            .header("cookie", "a=b")
            .header("origin", "https://app.example")
            .header("referer", "https://app.example/")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-goog-user-project", "p")
            .header("x-goog-api-client", "google-genai-sdk/3.4.0")
            .header("user-agent", "google-genai-sdk/3.4.0")
            .header("content-type", "application/json")
            .run();
    assert_eq!(outcome.word(), "known");
    let mut names: Vec<_> = outcome.head.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "user-agent", "x-goog-api-client"]);
    assert_eq!(outcome.head.query.as_str(), "alt=sse");
}

#[test]
fn a_generic_route_forwards_what_it_does_not_list() {
    let outcome = Scenario::http("/objects?key=photo.jpg&token=page-2&a=%20b")
        .carriers(&["header:x-api-key"])
        .header("x-api-key", KEY)
        .header("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.")
        .header("cookie", "session=s; theme=dark")
        .run();
    assert_eq!(outcome.word(), "known");
    assert_eq!(outcome.record.copies_stripped, 0);
    assert_eq!(outcome.head.query.as_str(), "key=photo.jpg&token=page-2&a=%20b");
    assert!(outcome.head.headers.contains_key("authorization"));
    assert_eq!(outcome.head.headers["cookie"], "session=s; theme=dark");
}

#[test]
fn a_generic_route_removes_credentials_from_where_they_do_not_belong() {
    let outcome = Scenario::websocket(&format!(
        "/a?next=%2Fws%3Fapi_key%3D{KEY}&k=1&access_token={}",
        "c2VjcmV0%2FLWtl%2BeXM%3D"
    ))
    .carriers(&["header:x-api-key"])
    .header("x-api-key", KEY)
    .header("x-copy", format!("v={KEY}"))
    .header("x-copy", "harmless")
    .header("x-other", format!("Basic {}", BASE64_STANDARD.encode(format!("u:{OTHER}"))))
    .header("x-secret-of-mine", IMPORTED)
    .header("referer", format!("https://app.example/?k={KEY}"))
    .header("cookie", format!("a=1; sid={KEY}; b=2"))
    .header("sec-websocket-protocol", format!("app, my.{OTHER}, api-key.{KEY}"))
    .run();
    assert_eq!(outcome.word(), "known");
    assert_eq!(outcome.head.query.as_str(), "k=1");
    assert_eq!(outcome.head.headers["cookie"], "a=1; b=2");
    assert_eq!(outcome.head.headers.get_all("x-copy").iter().collect::<Vec<_>>(), ["harmless"]);
    assert_eq!(outcome.head.headers.len(), 2);
    assert_eq!(outcome.offer().labels().collect::<Vec<_>>(), ["app"]);
    assert_eq!(outcome.record.copies_stripped, 9);
}

#[test]
fn a_credential_with_a_separator_in_it_is_found_where_the_separator_cuts_it() {
    let credential = "imported;key&of=old";
    let outcome = Scenario::http(&format!("/a?x=1&q={credential}&y=2"))
        .header("x-api-key", credential)
        .header("cookie", format!("theme=dark; sid={credential}; b=2"))
        .run();
    assert_eq!(outcome.head.query.as_str(), "");
    assert!(!outcome.head.headers.contains_key("cookie"));
    assert_eq!(outcome.record.copies_stripped, 2);

    let without_copies = Scenario::http("/a?x=1&y=2").header("x-api-key", credential).header("cookie", "a=1; b=2");
    let outcome = without_copies.run();
    assert_eq!(outcome.head.query.as_str(), "x=1&y=2");
    assert_eq!(outcome.head.headers["cookie"], "a=1; b=2");
}

#[test]
fn a_credential_in_an_unlisted_place_is_removed_and_the_right_place_named() {
    let told = |scenario: Scenario| {
        let outcome: Outcome = scenario.carriers(&["header:x-api-key"]).run();
        assert_eq!(outcome.word(), "credential_missing");
        assert!(outcome.head.headers.get("x-mine").is_none() && outcome.head.query.is_empty());
        outcome.detail()
    };
    let advice = "is not read here: send it in header `x-api-key`";
    let bearer = Scenario::http("/a").header("authorization", format!("Bearer {KEY}"));
    assert_eq!(told(bearer), format!("no credential: header `authorization` {advice}"));
    // A name that the client chose is not repeated to it.
    let mine = Scenario::http("/a").header("x-mine", KEY);
    assert_eq!(told(mine), format!("no credential: another header {advice}"));
    let cookie = Scenario::http("/a").header("cookie", format!("sid={KEY}"));
    assert_eq!(told(cookie), format!("no credential: a cookie {advice}"));
    let query = Scenario::http(&format!("/a?mine={KEY}"));
    assert_eq!(told(query), format!("no credential: another query parameter {advice}"));
    let query = Scenario::http(&format!("/a?key={KEY}"));
    assert_eq!(told(query), format!("no credential: query parameter `key` {advice}"));
    let offered = Scenario::websocket("/a").header("sec-websocket-protocol", format!("keymoat.v1, api-key.{KEY}"));
    assert_eq!(told(offered), format!("no credential: a subprotocol {advice}"));
}

#[test]
fn a_parameter_that_is_almost_a_listed_one_is_told_by_the_listed_name() {
    for query in [format!("API_KEY={KEY}"), format!("Api%5FKey={KEY}")] {
        let outcome = Scenario::http(&format!("/a?{query}")).carriers(&["header:x-api-key", "query:api_key"]).run();
        let detail =
            "no credential: a query parameter that resembles `api_key` is not read: send it in header `x-api-key`";
        assert_eq!((outcome.word().as_str(), outcome.detail().as_str()), ("credential_missing", detail));
        assert!(outcome.head.query.is_empty());
    }
}

#[test]
fn a_credential_in_the_path_is_refused_and_masked() {
    for target in [format!("/a/{KEY}/b"), format!("/a/x{}", KEY.replace('_', "%5F"))] {
        let outcome = Scenario::http(&target).header("x-api-key", KEY).run();
        assert_eq!(outcome.word(), "request_invalid");
        assert_eq!(outcome.detail(), "a credential in the path: send it in header `x-api-key`");
        assert!(outcome.record.path.starts_with("/a/[redacted]"), "{}", outcome.record.path);
    }
    // Two different ones, of a shape that does not show.
    let outcome = Scenario::http("/a/first-of-two/second-of-two")
        .header("x-api-key", "first-of-two")
        .header("authorization", "Bearer second-of-two")
        .run();
    assert_eq!((outcome.word().as_str(), outcome.record.path.as_str()), ("request_invalid", "/[redacted]"));
    // Nobody presented it, but it is one.
    assert_eq!(Scenario::http(&format!("/a/{KEY}")).run().word(), "request_invalid");
    let short = Scenario::http("/api/test").key("test", |_| {}).header("x-api-key", "test").run();
    assert_eq!(short.word(), "changed");
}

#[test]
fn a_route_outside_the_scopes_is_forbidden() {
    let scopes = |words: &[&str]| Scopes::from_words(words.iter().copied());
    let outcome = Scenario::http("/a").key(KEY, |key| key.scopes = scopes(&["voice"])).header("x-api-key", KEY).run();
    assert_eq!(outcome.word(), "forbidden");
    assert_eq!(outcome.detail(), "the key lacks the scope `events`");
    assert_eq!(outcome.record.key_id.as_deref(), Some("changed"));
    let outcome =
        Scenario::http("/a").key(KEY, |key| key.scopes = scopes(&["voice", "events"])).header("x-api-key", KEY).run();
    assert_eq!(outcome.word(), "changed");
}

#[test]
fn refuses_a_credential_in_the_host() {
    let foreign = "An-Imported-Key-0123456789";
    for (host, credential) in [(KEY, KEY), (OTHER, KEY), (foreign, foreign)] {
        let scenario = Scenario::http("/a").host(&format!("{host}.example")).header("x-api-key", credential);
        let outcome = scenario.run();
        assert_eq!(outcome.word(), "request_invalid", "{}", outcome.detail());
        assert!(outcome.detail().starts_with("a credential in the host"), "{}", outcome.detail());
    }
}

#[test]
fn drops_a_header_whose_name_is_a_credential() {
    let name = format!("x{}", KEY.replace('_', "%5f"));
    let (taken, head, record) = Scenario::http("/a").header("x-api-key", KEY).header(&name, "1").take();
    assert!(taken.is_ok());
    assert!(head.headers.keys().all(|name| !name.as_str().contains("%5f")));
    assert_eq!(record.copies_stripped, 1);
}
