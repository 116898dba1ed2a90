//! Claim, admin keys, people, roles.

use serde_json::{Value, json};

use super::{Administered, admin_key, ask, ask_socket};
use crate::harness::{Folder, Keymoat, request, status, told};

const PASSWORD: &str = "correct horse battery";

fn claim_of(folder: &Folder) -> String {
    let (code, link, _) = told(&folder.run(&["admin", "claim"]));
    assert_eq!(code, Some(0));
    link.trim().split_once("#claim=").expect("a fragment").1.to_owned()
}

#[test]
fn the_first_admin_is_made_once_by_the_link_and_is_signed_in() {
    let keymoat = Keymoat::first_run();
    let address =
        keymoat.ready["admin"].as_str().expect("an address").strip_prefix("http://").expect("plain text").to_owned();
    assert!(!keymoat.output().contains("#claim="), "in JSON mode nothing prints a link by itself");
    let older = claim_of(&keymoat.folder);
    let link = told(&keymoat.folder.run(&["admin", "claim"])).1;
    assert!(link.starts_with(&format!("http://{address}/#claim=kma_")), "the running server says where it is: {link}");
    let claim = link.trim().split_once("#claim=").expect("a fragment").1.to_owned();

    let try_claim = |claim: &str, body: Value| {
        let mut body = body;
        body["claim"] = claim.into();
        ask(&address, "POST", "/api/v1/claim", &[], Some(&body))
    };
    let person = json!({"name": "ada", "password": PASSWORD, "key_name": "ci"});
    assert_eq!(try_claim(&older, person.clone()).code(), "claim_invalid", "a newer link took its place");
    assert_eq!(try_claim("kma_x", person.clone()).code(), "claim_invalid");
    assert_eq!(try_claim(&claim, json!({"name": "ada", "password": "short"})).code(), "field_invalid");
    assert_eq!(try_claim(&claim, json!({})).code(), "field_invalid");
    let made = try_claim(&claim, person.clone());
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!((made.json()["name"].as_str(), made.json()["role"].as_str()), (Some("ada"), Some("admin")));
    assert_eq!(try_claim(&claim, person).code(), "claim_invalid", "it was used");

    let cookie = made.header("set-cookie").expect("signed in");
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let me = ask(&address, "GET", "/api/v1/me", &[("Cookie", made.cookie())], None).json();
    assert_eq!((me["name"].as_str(), me["kind"].as_str()), (Some("ada"), Some("person")));
    let key = made.json()["secret"].as_str().expect("the admin key").to_owned();
    let me = ask(&address, "GET", "/api/v1/me", &[("Authorization", &format!("Bearer {key}"))], None).json();
    assert_eq!((me["name"].as_str(), me["kind"].as_str()), (Some("ci"), Some("key")));
}

#[test]
fn c46_a_data_key_opens_nothing_on_the_admin_listener_and_an_admin_key_nothing_with_data() {
    let administered = Administered::first_run();
    let demo = administered.keymoat.demo_key();
    for headers in [("Authorization", format!("Bearer {demo}")), ("X-API-Key", demo.clone())] {
        let answer = administered.ask_with("GET", "/api/v1/me", &[(headers.0, &headers.1)], None);
        assert_eq!((answer.status, answer.code().as_str()), (401, "credential_invalid"));
        assert!(answer.text.contains("data listener") && !answer.text.contains(&demo));
    }
    let data = administered.keymoat.address();
    let root = &administered.root;
    for headers in [("X-API-Key", root.clone()), ("Authorization", format!("Bearer {root}"))] {
        let answer = request(data, "GET", "/api/events", &[(headers.0, &headers.1)]);
        assert_eq!(status(&answer), 401, "{answer}");
        assert!(answer.contains("admin listener"), "{answer}");
    }
    assert_eq!(status(&request(data, "GET", "/api/events", &[("X-API-Key", &demo)])), 200);
}

#[test]
fn every_operation_needs_the_role_that_it_says() {
    let administered = Administered::first_run();
    let description: Value = administered.ask_with("GET", "/api/v1/openapi.json", &[], None).json();
    let bearers = ["viewer", "operator"].map(|role| (role, administered.bearer(role)));
    let mut seen = 0;
    for (path, item) in description["paths"].as_object().expect("paths") {
        // One never ends for whoever is let in, the other speaks by close codes: the tests of live events open them.
        if path == "/api/events/stream" || path == "/ws/events" {
            continue;
        }
        for (method, operation) in item.as_object().expect("operations") {
            let target =
                path.replace("{id}", "none_such").replace("{name}", "none_such").replace("{code}", "not_found");
            let method = method.to_uppercase();
            let text = operation["description"].as_str().unwrap_or_default();
            let needed = ["viewer", "operator", "admin"]
                .into_iter()
                .find(|role| text.ends_with(&format!("Needs the role `{role}`.")));
            let Some(needed) = needed else {
                assert_eq!(operation["security"], json!([]), "{method} {path}");
                continue;
            };
            let body = operation.get("requestBody").map(|_| json!({}));
            let unknown = administered.ask_with(&method, &target, &[], body.clone());
            assert_eq!((unknown.status, unknown.code().as_str()), (401, "credential_missing"), "{method} {path}");
            for (role, bearer) in &bearers {
                let answer = administered.ask_with(&method, &target, &[("Authorization", bearer)], body.clone());
                let may = match needed {
                    "viewer" => true,
                    "operator" => *role == "operator",
                    _ => false,
                };
                let is_refused = answer.status == 403 && answer.text.contains("needs the role");
                assert_eq!(!is_refused, may, "{role}: {method} {path}: {answer:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn people_sign_in_under_a_new_id_each_time_and_out_again() {
    let administered = Administered::first_run();
    let new = json!({"name": "ada", "role": "operator", "password": PASSWORD});
    let made = administered.ask("POST", "/api/v1/admins", Some(new));
    assert_eq!(made.status, 201, "{made:?}");
    let origin = format!("http://{}", administered.address());
    let sign_in = |cookie: Option<&str>| {
        let mut headers = vec![("Origin", origin.as_str())];
        headers.extend(cookie.map(|cookie| ("Cookie", cookie)));
        let body = json!({"name": "ada", "password": PASSWORD});
        administered.ask_with("POST", "/api/v1/sign-in", &headers, Some(body))
    };
    // A cookie that was planted before is not taken up.
    let planted = format!("keymoat={}", admin_key(&administered.keymoat.folder, "planted", "viewer"));
    let first = sign_in(Some(&planted));
    assert_eq!(first.status, 200, "{first:?}");
    assert_ne!(first.cookie(), planted);
    let second = sign_in(Some(first.cookie()));
    assert_ne!(first.cookie(), second.cookie());
    let me = |cookie: &str| administered.ask_with("GET", "/api/v1/me", &[("Cookie", cookie)], None);
    assert_eq!(me(first.cookie()).status, 200);
    assert_eq!(me(&planted).status, 401, "an admin key is no session");
    let token = first.json()["csrf_token"].as_str().expect("for the page").to_owned();
    let out = [("Cookie", first.cookie()), ("Origin", &origin), ("X-CSRF-Token", &token)];
    assert_eq!(administered.ask_with("DELETE", "/api/v1/sign-in", &out, None).status, 204);
    assert_eq!(me(first.cookie()).status, 401);
    assert_eq!(me(second.cookie()).status, 200);

    // A change of role ends the sessions.
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let target = format!("/api/v1/admins/{id}");
    let shown = administered.ask("GET", &target, None);
    let tag = shown.header("etag").expect("a tag").to_owned();
    let bearer = format!("Bearer {}", administered.root);
    let change = |tag: &str, body: Value| {
        administered.ask_with("PATCH", &target, &[("Authorization", &bearer), ("If-Match", tag)], Some(body))
    };
    assert_eq!(administered.ask("PATCH", &target, Some(json!({"role": "viewer"}))).status, 428);
    assert_eq!(change("\"other\"", json!({"role": "viewer"})).status, 412);
    assert_eq!(change(&tag, json!({"role": "viewer"})).status, 200);
    assert_eq!(change(&tag, json!({"role": "admin"})).status, 412, "it has changed");
    assert_eq!(me(second.cookie()).status, 401);
}

#[test]
fn i107_guessing_is_slowed_down_and_says_nothing_of_who_there_is() {
    let administered = Administered::first_run();
    administered.ask("POST", "/api/v1/admins", Some(json!({"name": "ada", "role": "viewer", "password": PASSWORD})));
    let guess = |name: &str| {
        let body = json!({"name": name, "password": "not the password"});
        administered.ask_with("POST", "/api/v1/sign-in", &[], Some(body))
    };
    let (known, unknown) = (guess("ada"), guess("bob"));
    assert_eq!((known.status, known.text), (401, unknown.text));
    let answers: Vec<_> = (0..6).map(|_| guess("ada")).collect();
    let slowed = answers.iter().find(|answer| answer.status == 429).expect("slowed down");
    assert!(slowed.header("retry-after").is_some() && slowed.code() == "rate_limited");
    // A key cannot be guessed, and a good one is let in whatever others at its address do.
    for _ in 0..20 {
        let wrong = administered.ask_with("GET", "/api/v1/me", &[("Authorization", "Bearer kma_guess")], None);
        assert_eq!(wrong.status, 401);
    }
    assert_eq!(administered.ask("GET", "/api/v1/me", None).status, 200);
    // Whoever may open the store is not kept out.
    let me = ask_socket(&administered.keymoat.folder, "GET", "/api/v1/me", None);
    assert_eq!((me.status, me.json()["kind"].as_str()), (200, Some("command")));
}

#[test]
fn the_last_one_who_may_do_everything_stays() {
    let administered = Administered::first_run();
    let admins = administered.ask("GET", "/api/v1/admins", None).json();
    let id = admins["items"][0]["id"].as_str().expect("root").to_owned();
    let answer = administered.ask("DELETE", &format!("/api/v1/admins/{id}"), None);
    assert_eq!((answer.status, answer.code().as_str()), (409, "conflict"));
    admin_key(&administered.keymoat.folder, "second", "admin");
    assert_eq!(administered.ask("DELETE", &format!("/api/v1/admins/{id}"), None).status, 204);
    assert_eq!(administered.ask("GET", "/api/v1/me", None).status, 401, "the removed key works no longer");
}
