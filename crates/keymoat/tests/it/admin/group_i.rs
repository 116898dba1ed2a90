//! What browsers and guessers try, by the numbers of the inputs and faults that it must withstand.

use serde_json::{Value, json};

use super::{Administered, ask};
use crate::harness::request;

const PASSWORD: &str = "correct horse battery";

/// A person who is signed in: the cookie, and what proves that a page of ours asks.
fn signed_in(administered: &Administered) -> (String, String) {
    let new = json!({"name": "ada", "role": "admin", "password": PASSWORD});
    assert_eq!(administered.ask("POST", "/api/v1/admins", Some(new)).status, 201);
    let body = json!({"name": "ada", "password": PASSWORD});
    let answer = administered.ask_with("POST", "/api/v1/sign-in", &[], Some(body));
    assert_eq!(answer.status, 200, "{answer:?}");
    (answer.cookie().to_owned(), answer.json()["csrf_token"].as_str().expect("a token").to_owned())
}

#[test]
fn i101_markup_in_names_comes_back_as_data_and_never_as_a_page() {
    let administered = Administered::first_run();
    let name = "<script>alert(1)</script>";
    let made = administered.ask("POST", "/api/v1/keys", Some(json!({"name": name})));
    assert_eq!(made.status, 201, "{made:?}");
    let listed = administered.ask("GET", "/api/v1/keys?text=script", None);
    assert_eq!(listed.json()["items"][0]["name"], name);
    for answer in [&made, &listed] {
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn i102_a_cross_site_form_or_plain_text_changes_nothing() {
    let administered = Administered::first_run();
    let (cookie, csrf) = signed_in(&administered);
    let own = format!("http://{}", administered.address());
    let body = || Some(Value::String("{\"name\":\"forged\"}".to_owned()));
    let post = |headers: &[(&str, &str)]| {
        let all = [&[("Cookie", cookie.as_str())], headers].concat();
        administered.ask_with("POST", "/api/v1/keys", &all, body())
    };
    for headers in [
        &[("Origin", "http://evil.example"), ("Content-Type", "application/json")][..],
        &[("Origin", "null"), ("Content-Type", "text/plain")],
        &[("Sec-Fetch-Site", "cross-site"), ("Content-Type", "application/json")],
        // A page on another port of this machine is same-site, and gets its cookies sent.
        &[("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:3000"), ("Content-Type", "application/json")],
        &[("Origin", &own), ("Content-Type", "text/plain")],
        &[("Origin", &own), ("Content-Type", "application/x-www-form-urlencoded")],
        &[("Content-Type", "application/json")],
        &[("Origin", &own), ("Content-Type", "application/json"), ("X-CSRF-Token", "made-up")],
    ] {
        let answer = post(headers);
        assert_eq!(answer.status, 403, "{headers:?}: {answer:?}");
        assert!(["origin_refused", "csrf_refused"].contains(&answer.code().as_str()), "{answer:?}");
    }
    assert_eq!(administered.ask("GET", "/api/v1/keys?text=forged", None).json()["items"], json!([]));
    let proven = [("Origin", own.as_str()), ("Content-Type", "application/json"), ("X-CSRF-Token", &csrf)];
    assert_eq!(post(&proven).status, 201);
    // There is no answer to a preflight, so no other page may send what needs one.
    let preflight = [("Origin", "http://evil.example"), ("Access-Control-Request-Method", "POST")];
    let answer = administered.ask_with("OPTIONS", "/api/v1/keys", &preflight, None);
    assert!(answer.status == 403 && answer.header("access-control-allow-origin").is_none(), "{answer:?}");
}

#[test]
fn i103_a_foreign_page_reads_nothing_even_with_the_cookie() {
    let administered = Administered::first_run();
    let (cookie, _) = signed_in(&administered);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:3000"] {
        let headers = [("Cookie", cookie.as_str()), ("Origin", origin)];
        let answer = administered.ask_with("GET", "/api/v1/keys", &headers, None);
        assert_eq!((answer.status, answer.code().as_str()), (403, "origin_refused"), "{origin}");
        assert!(answer.header("access-control-allow-origin").is_none());
    }
}

#[test]
fn i104_paths_that_climb_lead_nowhere() {
    let administered = Administered::first_run();
    for path in [
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/../../etc/passwd",
        "/%5c..%5cmaster.key",
        "/..%252f..%252fmaster.key",
        "/api/v1/keys/..%2f..%2fadmins",
        "/api/v1/keys/%2e%2e%2fadmins",
        "//etc/passwd",
        "/api/v1/routes/..%5c..%5cx",
    ] {
        let answer = administered.ask("GET", path, None);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(!answer.text.contains("root:") && !answer.text.contains("adm_"), "{path}");
    }
}

#[test]
fn i105_every_answer_forbids_framing_sniffing_caching_and_referrers() {
    let administered = Administered::first_run();
    for (method, target) in [
        ("GET", "/api/v1/me"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/healthz"),
        ("GET", "/nothing"),
        ("PUT", "/api/v1/keys"),
        ("GET", "/api/v1/me?api_key=x"),
        ("HEAD", "/api/v1/health"),
    ] {
        let answer = administered.ask(method, target, None);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{target}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{target}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{target}");
        assert!(
            answer.header("content-security-policy").is_some_and(|policy| policy.contains("frame-ancestors 'none'"))
        );
    }
    let answer = administered.ask("PUT", "/api/v1/keys", None);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD,POST")));
}

#[test]
fn i106_a_name_that_was_pointed_here_is_not_answered_to() {
    let administered = Administered::first_run();
    let bearer = format!("Bearer {}", administered.root);
    for host in ["evil.example", "evil.example:8788", "127.0.0.1.evil.example", ""] {
        let headers = [("Host", host), ("Authorization", bearer.as_str())];
        let answer = administered.ask_with("GET", "/api/v1/me", &headers, None);
        assert!([400, 421].contains(&answer.status), "{host}: {answer:?}");
    }
    for host in ["localhost:8788", "127.0.0.1", "[::1]:1"] {
        let headers = [("Host", host), ("Authorization", bearer.as_str())];
        assert_eq!(administered.ask_with("GET", "/api/v1/me", &headers, None).status, 200, "{host}");
    }
    let (cookie, _) = signed_in(&administered);
    let headers = [("Host", "evil.example"), ("Cookie", cookie.as_str()), ("Origin", "http://evil.example")];
    assert_eq!(administered.ask_with("GET", "/api/v1/keys", &headers, None).code(), "host_unknown");
}

#[test]
fn i108_an_id_of_something_else_is_not_found() {
    let administered = Administered::first_run();
    let key =
        administered.ask("GET", "/api/v1/keys", None).json()["items"][0]["id"].as_str().expect("a key").to_owned();
    let admin = administered.ask("GET", "/api/v1/me", None).json()["id"].as_str().expect("me").to_owned();
    for (method, target) in [
        ("GET", format!("/api/v1/tokens/{key}")),
        ("GET", format!("/api/v1/admins/{key}")),
        ("GET", format!("/api/v1/keys/{admin}")),
        ("POST", format!("/api/v1/keys/{admin}/revoke")),
        ("POST", format!("/api/v1/sessions/{key}/end")),
        ("GET", "/api/v1/routes/none".to_owned()),
        ("GET", "/api/v1/upstreams/none".to_owned()),
    ] {
        let body = (method == "POST").then(|| json!({}));
        let answer = administered.ask(method, &target, body);
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{method} {target}: {answer:?}");
        assert!(!answer.text.contains(&key) && !answer.text.contains(&admin));
    }
}

#[test]
fn i109_what_a_terminal_or_a_sheet_would_obey_is_refused_or_escaped() {
    let administered = Administered::first_run();
    for name in ["a\r\nSet-Cookie: x=y", "a\u{1b}[2J", "a\nb"] {
        let answer = administered.ask("POST", "/api/v1/keys", Some(json!({"name": name})));
        assert_eq!((answer.status, answer.code().as_str()), (422, "field_invalid"), "{name:?}");
        let answer = administered.ask("POST", "/api/v1/admins", Some(json!({"name": name, "role": "viewer"})));
        assert_eq!(answer.status, 422, "{name:?}");
    }
    // A formula is a text: JSON has no cells.
    let answer = administered.ask("POST", "/api/v1/keys", Some(json!({"name": "=cmd|' /C calc'!A0"})));
    assert_eq!(answer.status, 201);
}

#[test]
fn i110_nothing_is_set_through_fields_that_do_not_belong() {
    let administered = Administered::first_run();
    for (target, body, field) in [
        ("/api/v1/keys", json!({"name": "a", "id": "key_mine"}), "id"),
        ("/api/v1/keys", json!({"name": "a", "revoked_at": null}), "revoked_at"),
        ("/api/v1/keys", json!({"name": "a", "limits": {"unlimited": true}}), "limits.unlimited"),
        ("/api/v1/admins", json!({"name": "a", "role": "viewer", "is_admin": true}), "is_admin"),
        ("/api/v1/tokens", json!({"key_id": "key_x", "uses_left": 9}), "uses_left"),
        ("/api/v1/sign-in", json!({"name": "a", "password": "x", "role": "admin"}), "role"),
        ("/api/v1/claim", json!({"claim": "x", "role": "admin"}), "role"),
    ] {
        let answer = administered.ask("POST", target, Some(body));
        assert_eq!((answer.status, answer.code().as_str()), (422, "field_unknown"), "{target}: {answer:?}");
        assert_eq!(answer.json()["field"], field);
    }
    let answer = administered.ask("GET", "/api/v1/keys?role=admin", None);
    assert_eq!((answer.status, answer.code().as_str()), (422, "field_unknown"));
    // Of two that differ in one name, none is chosen.
    let twice = Value::String("{\"name\":\"a\",\"name\":\"b\"}".to_owned());
    assert_eq!(administered.ask("POST", "/api/v1/keys", Some(twice)).status, 400);
    // A viewer becomes nothing else by asking.
    let viewer = administered.bearer("viewer");
    let body = json!({"name": "b", "role": "admin"});
    assert_eq!(administered.ask_with("POST", "/api/v1/admins", &[("Authorization", &viewer)], Some(body)).status, 403);
}

#[test]
fn the_listener_answers_when_the_gateway_is_full() {
    let administered = Administered::in_folder({
        let folder = crate::harness::Folder::new();
        folder.write(
            "keymoat.toml",
            "[listen]\nthreads = 1\n[tls]\nmode = \"disabled\"\n[limits]\nconnections_max = 1\n[upstream.x]\nurl = \"http://127.0.0.1:9\"\n\
             [route.x]\nupstream = \"x\"\npaths = [\"/*\"]\n",
        );
        folder.into()
    });
    let data = administered.keymoat.address();
    let _only_one = std::net::TcpStream::connect(data).expect("the only place");
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(request(data, "GET", "/x", &[]).contains("503"));
    let answer = ask(administered.address(), "GET", "/healthz", &[], None);
    assert_eq!((answer.status, answer.text.as_str()), (200, "ok\n"));
}
