//! Logs of every format, plain and compressed, HAR files, and files that are hard to read.

use std::io::Write;

use serde_json::{Value, json};

use super::{GOOGLE, KEY, Scene, TOKEN, credentials, only};

/// A log, the line of a leak in it, the carrier, and where that is known the JSON Pointer.
fn logs() -> Vec<(&'static str, String, &'static str, Option<&'static str>)> {
    let agent = r#""Mozilla/5.0 (X11; Linux x86_64)""#;
    vec![
        ("nginx.log", format!(r#"1.2.3.4 - - [10/Jan/2026:13:55:36 +0000] "GET /api/events?page=3&api_key={KEY}&x=1 HTTP/1.1" 200 2 "-" {agent}"#), "query", None),
        ("nginx-referer.log", format!(r#"1.2.3.4 - - [10/Jan/2026:13:55:36 +0000] "GET / HTTP/1.1" 200 2 "https://a.example/?access_token={KEY}" {agent}"#), "query", None),
        ("nginx-escaped.log", format!(r#"1.2.3.4 - - [10/Jan/2026:13:55:36 +0000] "GET /?api\x5Fkey={KEY} HTTP/1.1" 200 2 "-" "-""#), "query", None),
        ("nginx-json.log", json!({ "time": "2026-01-10T13:55:36+00:00", "request": format!("GET /?api_key={KEY} HTTP/1.1"), "status": 200 }).to_string(), "query", Some("/request")),
        ("nginx-error.log", format!(r#"2026/01/10 13:55:36 [error] 31#31: *1 upstream timed out while reading response header from upstream, client: 10.0.0.1, server: _, request: "GET /ws?token={KEY} HTTP/1.1", host: "x""#), "query", None),
        ("apache-vhost.log", format!(r#"www.example:443 1.2.3.4 - frank [10/Jan/2026:14:55:36 +0100] "GET /?token={KEY} HTTP/1.1" 200 23 "-" "say \"hi\"""#), "query", None),
        ("apache-error.log", format!("[Sat Jan 10 13:55:36.000000 2026] [proxy:error] [pid 1:tid 2] AH00898: Error reading from remote server returned by /x?api_key={KEY}"), "query", None),
        ("haproxy.log", format!(r#"Jan 10 13:55:36 lb haproxy[1]: 10.0.1.2:33317 [10/Jan/2026:13:55:36.000] in~ static/s1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {{api.example|Bearer {KEY}}} "GET /x HTTP/1.1""#), "bare", None),
        ("caddy.log", json!({ "level": "info", "ts": 1_768_053_336.0, "request": { "uri": "/x", "headers": { "X-Api-Key": [KEY] } } }).to_string(), "member", Some("/request/headers/X-Api-Key/0")),
        ("caddy-uri.log", json!({ "level": "info", "ts": 1_768_053_336.0, "request": { "uri": format!("/ws?api_key={KEY}") } }).to_string(), "query", Some("/request/uri")),
        ("envoy.log", format!(r#"[2026-01-10T13:55:36.000Z] "GET /api?key={KEY} HTTP/1.1" 200 - 0 154 "-" "curl/8.5.0""#), "query", None),
        ("alb.log", format!(r#"https 2026-01-10T13:55:36.000000Z app/lb/50dc6c 192.0.2.1:2817 10.0.0.1:80 0.0 0.0 0.0 200 200 34 366 "GET https://www.example:443/?access_token={KEY} HTTP/1.1" "curl/7.46.0""#), "query", None),
        ("nested.log", json!({ "ts": 1_768_053_336_000_u64, "message": json!({ "path": format!("/a?api_key={KEY}") }).to_string() }).to_string(), "query", Some("/message")),
    ]
}

#[test]
fn every_log_format_gives_place_time_and_carrier() {
    for (name, line, carrier, pointer) in logs() {
        let scene = Scene::new();
        let clean = r#"1.2.3.4 - - [09/Jan/2026:00:00:00 +0000] "GET /?page=1&sort_key=price HTTP/1.1" 200 2 "-" "-""#;
        scene.write(name, format!("{clean}\n{line}\n{clean}\n"));
        let scanned = scene.scan(&["in", "--format", "json"]);
        assert_eq!(scanned.code, Some(1), "{}", scanned.stderr);
        let report = scanned.json();
        let found = only(&report);
        assert_eq!(found["carrier"], carrier, "{name}");
        assert_eq!(found["first_seen"], "2026-01-10T13:55:36.000Z", "{name}");
        let place = &found["places"][0];
        let column = line.find(KEY).expect("it is in the line") + 1;
        assert_eq!((&place["line"], &place["column"]), (&json!(2), &json!(column)), "{name}");
        assert_eq!(place["pointer"].as_str(), pointer, "{name}");
        assert!(found["line"].as_str().expect("text").contains("[REDACTED:"), "{name}");
    }
}

#[test]
fn one_credential_in_rotated_and_compressed_logs_is_one_finding_with_its_times() {
    let scene = Scene::new();
    let line = |day: u32, form: &str| {
        format!("1.2.3.4 - - [{day:02}/Jan/2026:13:55:36 +0000] \"GET /?{form} HTTP/1.1\" 200 2\n")
    };
    let gzip = |text: String| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    };
    let zstd = |text: String| zstd::encode_all(text.as_bytes(), 3).expect("memory");
    scene.write("access.log", line(20, &format!("api_key={KEY}")));
    scene.write("access.log.1", line(19, &format!("api%5Fkey={KEY}&x=1")));
    scene.write("access.log.2.gz", [gzip(line(18, "a=b")), gzip(line(17, &format!("key={KEY}")))].concat());
    scene.write("access.log.3.zst", [zstd(line(16, "a=b")), zstd(line(15, &format!("token={KEY}")))].concat());
    let report = scene.report(&[]);
    let found = only(&report);
    assert_eq!((&found["count"], &found["fingerprint_of"]), (&json!(4), &json!("value")));
    assert_eq!(found["first_seen"], "2026-01-15T13:55:36.000Z");
    assert_eq!(found["last_seen"], "2026-01-20T13:55:36.000Z");
    let places: Vec<_> = found["places"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|place| (place["file"].clone(), place["line"].clone()))
        .collect();
    let expected =
        [("in/access.log", 1), ("in/access.log.1", 1), ("in/access.log.2.gz", 2), ("in/access.log.3.zst", 2)];
    assert_eq!(places, expected.map(|(file, line)| (json!(file), json!(line))));
}

#[test]
fn places_are_bounded_and_the_rest_is_counted() {
    let scene = Scene::new();
    scene.write("access.log", format!("GET /?api_key={KEY}\n").repeat(1000));
    let report = scene.report(&[]);
    let found = only(&report);
    assert_eq!((&found["count"], &found["places_further"]), (&json!(1000), &json!(990)));
}

/// A HAR file whose entries are `padding` long, with credentials in some of them.
fn har(entries: usize) -> Value {
    let entry = |index: usize| {
        let mut headers = vec![json!({ "name": "Accept", "value": "*/*" })];
        let mut query = Vec::new();
        let mut url = format!("https://api.example/v1/items?page={index}");
        match index % 100 {
            7 => headers.push(json!({ "name": "x-goog-api-key", "value": GOOGLE })),
            13 => {
                url = format!("https://api.example/v1?api_key={KEY}&page={index}");
                query.push(json!({ "name": "api_key", "value": KEY }));
            }
            _ => {}
        }
        let text = "lorem ipsum dolor ".repeat(400);
        json!({
            // Sorted before all others, as programs write it.
            "_startedDateTime": format!("2026-01-10T13:{:02}:36.000Z", index % 60),
            "request": { "method": "GET", "url": url, "headers": headers, "queryString": query, "cookies": [],
                "postData": { "text": json!({ "access_token": if index % 100 == 42 { TOKEN } else { "" } }).to_string() } },
            "response": { "headers": [], "content": { "text": text } },
        })
    };
    json!({ "log": { "version": "1.2", "entries": (0..entries).map(entry).collect::<Vec<_>>() } })
}

#[test]
fn a_har_file_in_one_huge_line_loses_nothing() {
    let har = har(500);
    let line = har.to_string();
    assert!(line.len() > 3 << 20 && !line.contains('\n'));
    for (name, text) in [("line.har", line), ("pretty.har", serde_json::to_string_pretty(&har).expect("JSON"))] {
        let scene = Scene::new();
        scene.write(name, text.replace("_startedDateTime", "startedDateTime"));
        let report = scene.report(&[]);
        let by_vendor = |vendor: &Value| {
            credentials(&report).iter().find(|found| &found["vendor"] == vendor).expect("found").clone()
        };
        let google = by_vendor(&json!("Google"));
        assert_eq!(google["count"], 5, "{name}");
        assert_eq!(google["places"][1]["pointer"], "/log/entries/107/request/headers/1/value", "{name}");
        assert_eq!(google["first_seen"], "2026-01-10T13:07:36.000Z", "{name}");
        let others: Vec<_> = credentials(&report).iter().filter(|found| found["vendor"].is_null()).collect();
        let counts: Vec<_> = others.iter().map(|found| found["count"].as_u64().expect("a number")).collect();
        assert_eq!(counts, [10, 5], "{name}: url and queryString, postData\n{report:#}");
        assert_eq!(others[0]["places"][0]["pointer"], "/log/entries/13/request/queryString/0/value", "{name}");
        assert!(others[0]["cleaning"].as_str().expect("text").contains("do not pass the file on"));
    }
}

#[test]
fn a_large_log_is_told_alike_by_one_thread_and_by_many() {
    let scene = Scene::new();
    let mut log = String::new();
    for index in 0..150_000 {
        match index % 10_000 {
            77 => log.push_str(&format!("{{\"ts\":1768053336,\"uri\":\"/?api_key={KEY}{index}\"}}\n")),
            99 => log.push_str(&format!("x{}?token={TOKEN}\n", "-".repeat(100_000))),
            _ => log.push_str("1.2.3.4 - - [10/Jan/2026:13:55:36 +0000] \"GET /?page=1 HTTP/1.1\" 200 2 \"-\" \"-\"\n"),
        }
    }
    scene.write("access.log", &log);
    let one = scene.scan(&["in", "--format", "json", "--threads", "1"]);
    let many = scene.scan(&["in", "--format", "json", "--threads", "3"]);
    assert_eq!(one.stdout, many.stdout);
    let report = one.json();
    let number = |needle: &str| log[..log.find(needle).expect("there")].matches('\n').count() + 1;
    let found: Vec<_> =
        credentials(&report).iter().map(|found| found["places"][0]["line"].as_u64().expect("a line")).collect();
    assert_eq!(found.len(), 16, "{report:#}");
    assert!(found.contains(&(number(&format!("{KEY}140077")) as u64)));
    let token = credentials(&report).iter().find(|found| found["count"] == 15).expect("the token");
    assert_eq!(token["places"][0]["column"], 100_009);
}

#[test]
fn what_cannot_be_read_is_told_and_exits_with_two() {
    let scene = Scene::new();
    let mut gz = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(format!("GET /?api_key={KEY}\n").as_bytes()).expect("memory");
        let noise: Vec<u8> =
            (0..400_000_u32).map(|at| b'a' + (at.wrapping_mul(2_654_435_761) >> 27) as u8 % 26).collect();
        encoder.write_all(&noise).expect("memory");
        encoder.finish().expect("memory")
    };
    gz.truncate(gz.len() - 1000);
    scene.write("broken.gz", gz);
    scene.write("fine.log", format!("token={TOKEN}\n"));
    scene.write("no.db", b"SQLite format 3\0and then nothing that is one");
    let scanned = scene.scan(&["in", "missing", "--format", "json"]);
    assert_eq!(scanned.code, Some(2), "{}", scanned.stderr);
    let report = scanned.json();
    assert_eq!(credentials(&report).len(), 2, "what could be read was: {report:#}");
    let errors: Vec<_> = report["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| error["file"].as_str().expect("text"))
        .collect();
    assert_eq!(errors, ["in/broken.gz", "in/no.db", "missing"], "{report:#}");
    assert_eq!(report["errors"][2]["reason"], "No such file or directory (os error 2)");
    assert_eq!(scene.scan(&["in", "--skip-unreadable"]).code, Some(1));
    std::fs::remove_file(scene.path("in/fine.log")).expect("removed");
    std::fs::remove_file(scene.path("in/broken.gz")).expect("removed");
    assert_eq!(scene.scan(&["in", "--skip-unreadable"]).code, Some(0));
}

#[test]
fn binary_empty_hidden_and_named_files_are_looked_into_and_links_are_not() {
    let scene = Scene::new();
    scene.write("empty.log", "");
    scene.write(".hidden/.gitignore", "*\n");
    scene.write(".hidden/ignored.log", format!("GET /?api_key={KEY}\n"));
    let mut cached = vec![0x30, 0x5c, 0x72, 0xa7, 0, 0, 0, 0, 0x1b, 0xff];
    cached.extend_from_slice(format!("1/0/https://api.example/ws?access_token={TOKEN}").as_bytes());
    cached.extend([0, 0xd8, 0x41, 0x0d, 0x97, 0x45, 0x6f, 0xfa].repeat(3000));
    scene.write("Cache_Data/f_0001", &cached);
    scene.write(&format!("index.html?key={GOOGLE}"), "<html></html>");
    std::os::unix::fs::symlink("/proc/self/environ", scene.path("in/link")).expect("linked");
    let report = scene.report(&[]);
    let found: Vec<_> =
        credentials(&report).iter().map(|found| (found["kind"].as_str().expect("text"), &found["places"][0])).collect();
    assert_eq!(found.len(), 3, "{report:#}");
    assert_eq!(found[0].1["line"], 1);
    assert_eq!(
        (&found[1].1["offset"], &found[1].1["line"]),
        (&json!(cached.windows(8).position(|part| part == &TOKEN.as_bytes()[..8])), &Value::Null)
    );
    assert_eq!(found[2].1["in_file_name"], true);
    assert_eq!(report["files"], 5);
}

#[test]
fn standard_input_is_scanned() {
    let scene = Scene::new();
    let log = std::fs::write(scene.path("log"), format!("GET /?api_key={KEY}\n"));
    log.expect("written");
    let file = std::fs::File::open(scene.path("log")).expect("there");
    let output = scene.command(&["-"]).stdin(file).output().expect("it runs");
    let (code, stdout, _) = crate::harness::told(&output);
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("-:1:15: api key in query"), "{stdout}");
}
