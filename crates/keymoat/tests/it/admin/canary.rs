//! No credential comes out of the admin listener where it does not belong: answers, problems, descriptions, logs, files.

use serde_json::{Value, json};

use super::{Administered, Answer};
use crate::harness::told;

/// What is planted, each of another sort.
struct Canaries {
    key: String,
    admin: String,
    cookie: String,
    password: String,
    upstream: String,
    import: String,
}

impl Canaries {
    fn all(&self) -> [&str; 6] {
        [&self.key, &self.admin, &self.cookie, &self.password, &self.upstream, &self.import]
    }
}

#[test]
fn canaries_through_every_operation_are_found_nowhere() {
    let administered = Administered::first_run();
    let password = "canary-password-7Qw2Lr9TnXb4".to_owned();
    let new = json!({"name": "ada", "role": "admin", "password": password});
    assert_eq!(administered.ask("POST", "/api/v1/admins", Some(new)).status, 201);
    let signed_in =
        administered.ask_with("POST", "/api/v1/sign-in", &[], Some(json!({"name": "ada", "password": password})));
    let cookie = signed_in.cookie().split_once('=').expect("a value").1.to_owned();
    let made = administered.ask("POST", "/api/v1/keys", Some(json!({"name": "canary"})));
    let key = made.json()["secret"].as_str().expect("once").to_owned();
    let canaries = Canaries {
        key,
        admin: administered.root.clone(),
        cookie,
        password,
        upstream: "canary-upstream-Zk7Qw2Lr9TnXb4Vm".to_owned(),
        import: "canary-import-Zk7Qw2Lr9TnXb4Vm".to_owned(),
    };
    let mut told_all = Vec::new();
    let mut tell = |what: String, answer: Answer| told_all.push((what, format!("{}\n{}", answer.head, answer.text)));
    tell("import".into(), administered.ask("POST", "/api/v1/keys/import", Some(json!({"text": canaries.import}))));

    let description: Value = administered.ask("GET", "/api/v1/openapi.json", None).json();
    tell("description".into(), administered.ask("GET", "/api/v1/openapi.json", None));
    for (path, item) in description["paths"].as_object().expect("paths") {
        // It never ends for whoever is let in.
        if path == "/api/events/stream" {
            continue;
        }
        for method in item.as_object().expect("operations").keys() {
            let method = method.to_uppercase();
            if method == "DELETE" && path == "/api/v1/sign-in" {
                continue;
            }
            for canary in canaries.all() {
                let target = path.replace("{id}", canary).replace("{name}", canary).replace("{code}", canary);
                let what = format!("{method} {path}");
                let read_only = method == "GET";
                for body in [
                    json!({"name": canary, "text": format!("api_key={canary}"), "key_id": canary, "secret": canary}),
                    json!({canary: canary}),
                    json!([canary]),
                    Value::String(format!("{{\"name\": \"{canary}")),
                ] {
                    let answer = administered.ask(&method, &target, (!read_only).then_some(body));
                    // What a redaction masks must be a credential by its name or form; nothing else is sent there.
                    tell(what.clone(), answer);
                }
                tell(what.clone(), administered.ask(&method, &format!("{target}?q={canary}"), None));
                tell(
                    what.clone(),
                    administered.ask_with(&method, &target, &[("Authorization", &format!("Bearer {canary}x"))], None),
                );
                tell(
                    what,
                    administered.ask_with(
                        &method,
                        &target,
                        &[("Cookie", &format!("keymoat={canary}x")), ("X-API-Key", canary)],
                        None,
                    ),
                );
            }
        }
    }
    assert!(told_all.len() > 500);
    for (what, text) in &told_all {
        for canary in canaries.all() {
            assert!(!text.contains(canary), "{what} repeats a credential:\n{text}");
        }
    }
    // The log, and every file but those that are for it.
    let output = administered.keymoat.output();
    assert!(canaries.all().iter().all(|canary| !output.contains(canary)), "the log repeats a credential");
    let folder = administered.keymoat.folder.path().join(".keymoat");
    for file in std::fs::read_dir(folder).expect("the store").flatten() {
        let Ok(bytes) = std::fs::read(file.path()) else { continue };
        for canary in canaries.all() {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{} holds a credential", file.path().display());
        }
    }
    let (_, list, _) = told(&administered.keymoat.folder.run(&["admin", "list", "--json"]));
    assert!(canaries.all().iter().all(|canary| !list.contains(canary)));
}
