//! What the API shows and steers.

use serde_json::{Value, json};

use super::Administered;
use crate::harness::{Emulated, Folder, open_websocket, request, status};

#[test]
fn a_key_lives_its_life_over_the_api() {
    let administered = Administered::first_run();
    let new =
        json!({"name": "backend", "scopes": ["events"], "rotate_after_secs": 86400, "limits": {"requests_per_day": 3}});
    let made = administered.ask("POST", "/api/v1/keys", Some(new));
    assert_eq!(made.status, 201, "{made:?}");
    let (id, secret) = (made.json()["key"]["id"].clone(), made.json()["secret"].as_str().expect("once").to_owned());
    let target = format!("/api/v1/keys/{}", id.as_str().expect("an id"));
    assert_eq!(made.header("location"), Some(&*target));
    let uses =
        |secret: &str| status(&request(administered.keymoat.address(), "GET", "/api/events", &[("X-API-Key", secret)]));
    administered.until(|| uses(&secret) == 200);

    let shown = administered.ask("GET", &target, None);
    assert!(!shown.text.contains(&secret));
    assert_eq!((&shown.json()["scopes"], &shown.json()["limits"]["requests_per_day"]), (&json!(["events"]), &json!(3)));
    let tag = shown.header("etag").expect("a tag").to_owned();
    let change = |tag: &str, body: Value| {
        let bearer = format!("Bearer {}", administered.root);
        administered.ask_with("PATCH", &target, &[("Authorization", &bearer), ("If-Match", tag)], Some(body))
    };
    let changed = change(&tag, json!({"name": "backend 2", "limits": null, "rotate_after_secs": null}));
    assert_eq!(
        (changed.status, &changed.json()["name"], &changed.json()["limits"]),
        (200, &json!("backend 2"), &Value::Null)
    );
    assert_eq!(change(&tag, json!({"name": "backend 3"})).code(), "precondition_failed");

    let rotated = administered.ask("POST", &format!("{target}/rotate"), Some(json!({"overlap_secs": 3600})));
    assert_eq!(rotated.status, 201, "{rotated:?}");
    let second = rotated.json()["secret"].as_str().expect("once").to_owned();
    administered.until(|| uses(&second) == 200);
    assert_eq!(uses(&secret), 200, "the old one goes on");
    let again = administered.ask("POST", &format!("{target}/rotate"), Some(json!({})));
    assert_eq!((again.status, again.code().as_str()), (409, "conflict"));
    let young = administered.ask("POST", &format!("{target}/rotate"), Some(json!({"unless_younger_than_secs": 3600})));
    assert_eq!(young.status, 200, "{young:?}");

    let revoked = administered.ask("POST", &format!("{target}/revoke"), None);
    assert_eq!((revoked.status, &revoked.json()["state"]), (200, &json!("revoked")));
    administered.until(|| uses(&second) == 401);
    for word in ["key.created", "key.changed", "key.rotated", "key.revoked"] {
        administered.until(|| administered.has_told(word));
    }
}

#[test]
fn a_key_has_an_owner_and_shows_nothing_of_its_text_but_what_all_keys_begin_with() {
    let administered = Administered::first_run();
    let made = administered.ask("POST", "/api/v1/keys", Some(json!({"name": "paid", "owner": "Payments, Ada"})));
    let key = made.json()["key"].clone();
    assert_eq!((made.status, &key["owner"], &key["prefix"]), (201, &json!("Payments, Ada"), &json!("km_")));
    let found = administered.ask("GET", "/api/v1/keys?text=payments", None);
    assert_eq!(found.json()["items"][0]["id"], key["id"]);
    assert!(!found.text.contains(made.json()["secret"].as_str().expect("once")));
    let target = format!("/api/v1/keys/{}", key["id"].as_str().expect("an id"));
    let change = |body: Value| {
        let tag = administered.ask("GET", &target, None).header("etag").expect("a tag").to_owned();
        let bearer = format!("Bearer {}", administered.root);
        administered.ask_with("PATCH", &target, &[("Authorization", &bearer), ("If-Match", &tag)], Some(body))
    };
    assert_eq!(change(json!({"owner": "Billing"})).json()["owner"], "Billing");
    assert_eq!(change(json!({"name": "paid 2"})).json()["owner"], "Billing", "what is left out stays");
    assert_eq!(change(json!({"owner": null})).json()["owner"], Value::Null);
    let canary = "km_TestVector0TestVector0TestVector0TestVector02cu8n";
    for owner in [canary, "", "a\nb"] {
        let refused = change(json!({ "owner": owner }));
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!("owner")), "{refused:?}");
        assert!(!refused.text.contains(canary));
    }
    let text = json!({"text": "legacy=another-key-of-a-client", "owner": "Legacy team"});
    let imported = administered.ask("POST", "/api/v1/keys/import", Some(text)).json()["imported"][0].clone();
    assert_eq!((&imported["owner"], &imported["prefix"]), (&json!("Legacy team"), &Value::Null));
}

#[test]
fn lists_come_in_pages_that_join_to_the_whole() {
    let administered = Administered::first_run();
    for number in 0..7 {
        let made = administered.ask("POST", "/api/v1/keys", Some(json!({"name": format!("page {number}")})));
        assert_eq!(made.status, 201);
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = administered.ask("GET", &format!("/api/v1/keys?text=page&limit=3{cursor}"), None).json();
        let items = page["items"].as_array().expect("a list").clone();
        assert!(items.len() <= 3);
        names.extend(items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..7).rev().map(|number| format!("page {number}")).collect();
    assert_eq!(names, expected, "the newest first");
    for query in ["limit=0", "limit=501", "limit=x", "cursor=%25", "state=dead"] {
        let answer = administered.ask("GET", &format!("/api/v1/keys?{query}"), None);
        assert_eq!((answer.status, answer.code().as_str()), (422, "field_invalid"), "{query}: {answer:?}");
    }
}

#[test]
fn what_is_asked_for_twice_under_one_key_is_done_once() {
    let administered = Administered::first_run();
    let bearer = format!("Bearer {}", administered.root);
    let post = |target: &str, key: &str, body: Value| {
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key)];
        administered.ask_with("POST", target, &headers, Some(body))
    };
    let first = post("/api/v1/keys", "order-1", json!({"name": "once"}));
    let second = post("/api/v1/keys", "order-1", json!({"name": "once"}));
    assert_eq!((second.status, second.code().as_str()), (409, "idempotency_replay"));
    assert_eq!(second.json()["created_id"], first.json()["key"]["id"]);
    assert!(!second.text.contains(first.json()["secret"].as_str().expect("a secret")));
    assert_eq!(post("/api/v1/keys", "order-1", json!({"name": "other"})).code(), "idempotency_mismatch");
    // What was refused may be mended and asked for again.
    assert_eq!(post("/api/v1/keys", "order-2", json!({"name": "once"})).status, 409);
    assert_eq!(post("/api/v1/keys", "order-2", json!({"name": "mended"})).status, 201);
    // An answer without a secret is given again.
    let target = format!("/api/v1/keys/{}/revoke", first.json()["key"]["id"].as_str().expect("an id"));
    let (first, second) = (post(&target, "order-3", json!({})), post(&target, "order-3", json!({})));
    assert_eq!((first.status, &first.text), (200, &second.text));
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    // A token is drawn from a seed, so that it can be given again.
    let key = administered.ask("GET", "/api/v1/keys?state=live&text=mended", None).json()["items"][0]["id"].clone();
    let mint = || post("/api/v1/tokens", "order-4", json!({"key_id": key}));
    let (first, second) = (mint(), mint());
    assert_eq!((first.status, second.status), (201, 201), "{first:?}");
    assert_eq!(first.json()["token"], second.json()["token"]);
}

#[test]
fn a_token_is_minted_used_and_revoked() {
    let administered = Administered::first_run();
    let key = administered.ask("GET", "/api/v1/keys", None).json()["items"][0]["id"].clone();
    let body =
        json!({"key_id": key, "uses": 5, "live_for_secs": 600, "routes": ["events"], "limits": {"duration_secs": 60}});
    let made = administered.ask("POST", "/api/v1/tokens", Some(body));
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.json()["token"].as_str().expect("once").to_owned();
    assert!(token.starts_with("kmt_") && made.json()["spellings"]["gemini"] == format!("auth_tokens/{token}"));
    let data = administered.keymoat.address();
    let uses = || status(&request(data, "GET", "/api/events", &[("X-API-Key", &token)]));
    assert_eq!(uses(), 200);
    let target = format!("/api/v1/tokens/{}", made.json()["id"].as_str().expect("an id"));
    let shown = administered.ask("GET", &target, None);
    assert_eq!((&shown.json()["uses_left"], &shown.json()["state"]), (&json!(4), &json!("live")));
    assert!(!shown.text.contains(&token));
    let listed = administered.ask("GET", "/api/v1/tokens?state=live", None).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(administered.ask("POST", &format!("{target}/revoke"), None).json()["state"], "revoked");
    administered.until(|| uses() == 401);
    assert_eq!(administered.ask("POST", "/api/v1/tokens", Some(json!({"key_id": "key_none"}))).status, 404);
    for (body, field) in
        [(json!({"key_id": key, "uses": 0}), ""), (json!({"key_id": key, "live_for_secs": 100_000}), "")]
    {
        let answer = administered.ask("POST", "/api/v1/tokens", Some(body));
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.json()["field"].as_str().unwrap_or_default(), field);
    }
}

#[test]
fn a_live_session_is_listed_and_ended_with_a_reason() {
    let administered = Administered::first_run();
    let demo = administered.keymoat.demo_key();
    let (head, mut stream) = open_websocket(administered.keymoat.address(), "/ws/events", &[("X-API-Key", &demo)]);
    assert!(head.contains("101"), "{head}");
    administered.until(|| administered.ask("GET", "/api/v1/sessions", None).json()["items"] != json!([]));
    let sessions = administered.ask("GET", "/api/v1/sessions?route=events", None).json();
    let session = &sessions["items"][0];
    assert_eq!((&session["carrier"], &session["upstream"]), (&json!("header:x-api-key"), &json!("events")));
    assert_eq!(administered.ask("GET", "/api/v1/sessions?route=gemini", None).json()["items"], json!([]));
    let target = format!("/api/v1/sessions/{}/end", session["id"].as_str().expect("an id"));
    let long = administered.ask("POST", &target, Some(json!({"reason": "x".repeat(81)})));
    assert_eq!(long.status, 422);
    assert_eq!(administered.ask("POST", &target, Some(json!({"reason": "lunch"}))).status, 204);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut rest).expect("closed");
    // A close frame: 4003, then the reason.
    let close = [&4003_u16.to_be_bytes()[..], b"forbidden"].concat();
    assert!(rest.windows(close.len()).any(|window| window == close), "{:?}", String::from_utf8_lossy(&rest));
    assert!(String::from_utf8_lossy(&rest).contains("lunch"));
    administered.until(|| administered.ask("GET", "/api/v1/sessions", None).json()["items"] == json!([]));
    administered.until(|| administered.has_told("session.ended"));
}

#[test]
fn routes_upstreams_and_the_configuration_are_shown_and_a_sealed_secret_is_changed() {
    let emulated = Emulated::start();
    let folder = Folder::new();
    folder.write("other.key", "the-other-secret-of-a-test");
    folder.write(
        "keymoat.toml",
        &format!(
            "[upstream.sealed]\nurl = \"{url}\"\ninject = \"header:X-API-Key\"\n[upstream.named]\nurl = \"{url}\"\nsecret = \"${{file:other.key}}\"\n\
             inject = \"header:X-API-Key\"\n[route.events]\nupstream = \"sealed\"\npaths = [\"/api/*\"]\ncarriers = [\"header:x-api-key\", \"query:api_key\"]\n\
             query = \"warn\"\n[route.named]\nupstream = \"named\"\npaths = [\"/named/*\"]\n",
            url = emulated.url()
        ),
    );
    let administered = Administered::in_folder(folder.into());
    let routes = administered.ask("GET", "/api/v1/routes", None).json();
    let names: Vec<_> = routes["items"].as_array().expect("a list").iter().map(|route| route["name"].clone()).collect();
    assert_eq!(names, ["events", "named"]);
    let first = administered.ask("GET", "/api/v1/routes?limit=1", None).json();
    let next = format!("/api/v1/routes?limit=1&cursor={}", first["next_cursor"].as_str().expect("a second page"));
    assert_eq!(administered.ask("GET", &next, None).json()["items"][0]["name"], "named");
    let route = administered.ask("GET", "/api/v1/routes/events", None).json();
    assert_eq!((&route["query"], &route["paths"]), (&json!("warn"), &json!(["/api/*"])));
    assert_eq!(route["carriers"], json!(["header:x-api-key", "query:api_key"]));

    let named = administered.ask("GET", "/api/v1/upstreams/named", None).json();
    assert_eq!(named["secret"]["source"], "configuration");
    let shown = || administered.ask("GET", "/api/v1/upstreams/sealed", None).json()["secret"]["source"].clone();
    assert_eq!(shown(), "none");
    let set = |name: &str, secret: &str| {
        administered.ask("PUT", &format!("/api/v1/upstreams/{name}/secret"), Some(json!({"secret": secret})))
    };
    assert_eq!(set("named", "x").code(), "conflict");
    let secret = emulated.key();
    let sealed = set("sealed", &secret);
    assert_eq!((sealed.status, &sealed.json()["version"]), (200, &json!(1)));
    assert!(!sealed.text.contains(&secret));
    assert_eq!(shown(), "sealed");
    let works = || {
        let made = administered.ask("GET", "/api/v1/keys?text=client", None).json();
        if made["items"] == json!([]) {
            administered.ask("POST", "/api/v1/keys", Some(json!({"name": "client"})));
        }
        administered.ask("POST", "/api/v1/upstreams/sealed/test", None).json()["status"] == 404
    };
    administered.until(works);
    assert_eq!(administered.ask("DELETE", "/api/v1/upstreams/sealed/secret", None).status, 204);
    assert_eq!(administered.ask("DELETE", "/api/v1/upstreams/sealed/secret", None).status, 404);

    let settings = administered.ask("GET", "/api/v1/configuration?section=route.events", None).json();
    let query = settings["settings"].as_array().expect("a list").iter().find(|one| one["name"] == "query").cloned();
    assert_eq!(query.expect("it is shown")["value"], "warn");
    let whole = administered.ask("GET", "/api/v1/configuration", None).text;
    assert!(!whole.contains("the-other-secret-of-a-test") && whole.contains("${file:"), "{whole}");
}

#[test]
fn keys_are_taken_over_with_their_secrets_and_nothing_is_repeated() {
    let administered = Administered::first_run();
    let text = "# old keys\nfirst=the-first-old-key\nthe-second-old-key\nshort\n";
    let import = |dry_run: bool| {
        administered.ask("POST", "/api/v1/keys/import", Some(json!({"text": text, "dry_run": dry_run})))
    };
    let tried = import(true);
    assert_eq!((tried.status, tried.json()["imported"].as_array().map(Vec::len)), (200, Some(2)), "{tried:?}");
    let done = import(false);
    assert_eq!(done.json()["imported"].as_array().map(Vec::len), Some(2));
    assert_eq!(done.json()["refused"], json!([{"line": 4, "detail": "a key has 8 to 1024 bytes"}]));
    assert!(!done.text.contains("old-key"), "{done:?}");
    assert_eq!(import(false).json()["known"].as_array().map(Vec::len), Some(2));
    let data = administered.keymoat.address();
    administered.until(|| status(&request(data, "GET", "/api/events", &[("X-API-Key", "the-second-old-key")])) == 200);
}

#[test]
fn the_process_that_answers_is_the_node_of_its_own_store() {
    let administered = Administered::first_run();
    let listed = administered.ask("GET", "/api/v1/nodes", None);
    assert_eq!(listed.status, 200, "{listed:?}");
    let (nodes, health) = (listed.json()["items"].clone(), administered.ask("GET", "/api/v1/health", None).json());
    assert_eq!(nodes.as_array().map(Vec::len), Some(1), "{nodes:#}");
    let node = &nodes[0];
    assert_eq!((&node["is_this"], &node["state"], &node["unseen_millis"]), (&json!(true), &json!("ready"), &json!(0)));
    assert_eq!((&node["address"], &node["version"]), (&health["listeners"][0], &health["version"]));
    assert!(node["id"].as_str().is_some_and(|id| id.starts_with("node_")));
    let metrics = administered.ask("GET", "/metrics", None).text;
    assert!(metrics.contains("\nkeymoat_store_changes_seen "), "{metrics}");
}

#[test]
fn a_text_is_masked_and_the_rules_that_hit_are_named() {
    let administered = Administered::first_run();
    let text = "GET /events?api_key=Zk7Qw2Lr9TnXb4Vm HTTP/1.1";
    let answer = administered.ask("POST", "/api/v1/redactions", Some(json!({"text": text}))).json();
    assert_eq!(answer["text"], "GET /events?api_key=[REDACTED:api_key] HTTP/1.1");
    assert_eq!(answer["rules"], json!([{"name": "api_key", "count": 1}]));
}
