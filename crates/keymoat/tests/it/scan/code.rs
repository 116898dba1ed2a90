//! Source code, OpenAPI descriptions and documents.

use keymoat_redact::scan::code::Rule;
use serde_json::{Value, json};

use super::{KEY, Scene, TOKEN, credentials, only};

fn places(report: &Value) -> Vec<(String, u64)> {
    let code = report["code"].as_array().expect("a list");
    let place = |found: &Value| {
        (found["place"]["file"].as_str().expect("text").to_owned(), found["place"]["line"].as_u64().expect("a line"))
    };
    code.iter().map(place).collect()
}

#[test]
fn the_line_that_puts_a_credential_into_a_url_is_named_in_every_language() {
    let scene = Scene::new();
    let files = [
        ("a.py", "import x\nuri = f'{base}/ws?key={api_key}'\n"),
        ("b.js", "// x\nconst url = `${base}/ws?key=${apiKey}`;\n"),
        ("c.ts", "// x\nurl.searchParams.set('api_key', apiKey);\n"),
        ("d.go", "// x\nurl := fmt.Sprintf(\"%s/v1?api_key=%s\", base, key)\n"),
        ("e.rs", "// x\nlet url = format!(\"{base}/v1?api_key={key}\");\n"),
        ("f.sh", "#!/bin/sh\ncurl \"https://api.example/v1?api_key=$KEY\"\n"),
        ("g.conf", "# x\nproxy_pass https://backend/events?api_key=$backend_key;\n"),
        ("h.java", "// x\nString url = base + \"?apikey=\" + key;\n"),
        ("i.kt", "// x\nval url = \"$base/v1?api_key=$key\"\n"),
        ("j.swift", "// x\nlet url = \"\\(base)/v1?api_key=\\(key)\"\n"),
        ("k.yaml", "security:\n    type: apiKey\n    name: api_key\n    in: query\n"),
    ];
    for (name, text) in files {
        scene.write(name, text);
    }
    let scanned = scene.scan(&["in", "--format", "json"]);
    assert_eq!(scanned.code, Some(1));
    let report = scanned.json();
    let expected: Vec<_> = files.iter().map(|(name, _)| (format!("in/{name}"), 2)).collect();
    assert_eq!(places(&report), expected, "{report:#}");
    let python = &report["code"][0];
    assert_eq!(python["rule"], "url-credential-interpolation");
    assert_eq!((&python["parameter"], &python["redundant"]), (&json!("key"), &json!(false)));
    assert_eq!(python["place"]["column"], 18);
    assert!(python["remedy"].as_str().expect("text").contains("header"));
}

#[test]
fn a_header_makes_it_redundant_a_waiver_is_counted_and_examples_are_reported_on_demand() {
    let scene = Scene::new();
    scene.write("music.py", "headers = {'x-goog-api-key': api_key}\nuri = f'{base}/ws?key={api_key}'\n");
    scene.write(
        "waived.py",
        "uri = f'{base}/ws?key={api_key}'  # keymoat: allow(url-credential) it takes nothing else\n",
    );
    scene.write("README.md", "Call `https://api.example/v1?api_key=YOUR_API_KEY`.\n");
    let report = scene.report(&[]);
    assert_eq!(places(&report), [("in/music.py".to_owned(), 2)]);
    assert_eq!((&report["code"][0]["redundant"], &report["waived"]), (&json!(true), &json!(1)));
    assert!(report["code"][0]["remedy"].as_str().expect("text").starts_with("drop the parameter"));
    let report = scene.report(&["--docs"]);
    assert_eq!(places(&report), [("in/README.md".to_owned(), 1), ("in/music.py".to_owned(), 2)]);
    assert_eq!(report["code"][0]["rule"], "url-credential-example");
}

#[test]
fn a_credential_in_code_is_found_and_an_expression_is_not() {
    let scene = Scene::new();
    scene.write(
        "settings.py",
        format!("token = self.read_token_2(path)\nsignature: Annotated[Sign2a3ture, x] = None\nAPI_KEY = \"{KEY}\"\nheaders['authorization'] = token\n"),
    );
    scene.write("run.env", format!("NAME=x\nACCESS_TOKEN={TOKEN}\n"));
    let report = scene.report(&[]);
    let found: Vec<_> = credentials(&report)
        .iter()
        .map(|found| (found["places"][0]["file"].clone(), found["places"][0]["line"].clone()))
        .collect();
    assert_eq!(found, [(json!("in/run.env"), json!(2)), (json!("in/settings.py"), json!(3))], "{report:#}");
    assert!(report["credentials"][1]["cleaning"].as_str().expect("text").contains("history"));
}

#[test]
fn a_private_key_is_one_finding() {
    let scene = Scene::new();
    let body: String = (0..24).map(|at| format!("{}{at:02}{}\n", &KEY[..30], &TOKEN[..32])).collect();
    scene.write("key.log", format!("before\n-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\nafter\n"));
    let report = scene.report(&[]);
    let found = only(&report);
    assert_eq!((&found["kind"], &found["carrier"], &found["count"]), (&json!("private_key"), &json!("pem"), &json!(1)));
}

#[test]
fn the_book_lists_every_rule() {
    let page = include_str!("../../../../../docs/src/scan.md");
    let rows = Rule::ALL.map(|rule| format!("| `{}` | {} |\n", rule.id(), rule.meaning()));
    assert!(page.contains(&format!("|---|---|\n{}\n", rows.concat())), "{}", rows.concat());
}
