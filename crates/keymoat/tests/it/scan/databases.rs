//! Histories of browsers and other databases, while another program holds them.

use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use super::{GOOGLE, KEY, Scene, TOKEN, credentials};

/// 2026-01-10T13:55:36Z in Chrome's microseconds since 1601.
const CHROME: i64 = 13_412_526_936_000_000;
/// The same in Firefox's since 1970.
const FIREFOX: i64 = 1_768_053_336_000_000;

fn open(path: &Path) -> Connection {
    Connection::open(path).expect("a database")
}

fn chrome(path: &Path, journal: &str) -> Connection {
    let database = open(path);
    database
        .execute_batch(&format!(
            "PRAGMA journal_mode = {journal}; PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE urls (id INTEGER PRIMARY KEY, url LONGVARCHAR, title LONGVARCHAR, last_visit_time INTEGER);
             CREATE TABLE visits (id INTEGER PRIMARY KEY, url INTEGER, visit_time INTEGER);
             CREATE TABLE downloads (id INTEGER PRIMARY KEY, start_time INTEGER);
             CREATE TABLE downloads_url_chains (id INTEGER, chain_index INTEGER, url LONGVARCHAR, PRIMARY KEY (id, chain_index));
             CREATE TABLE keyword_search_terms (keyword_id INTEGER, url_id INTEGER, term LONGVARCHAR, normalized_term LONGVARCHAR);
             INSERT INTO urls VALUES (1, 'https://example.com/?page=1&sort_key=price', 'fine', {CHROME});"
        ))
        .expect("made");
    database
}

fn leak(database: &Connection) {
    database
        .execute_batch(&format!(
            "INSERT INTO urls VALUES (2, 'https://api.example/events?page=2&api_key={KEY}&x=1', 'events', {CHROME});
             INSERT INTO visits VALUES (1, 2, {CHROME} - 86400000000), (2, 2, {CHROME});
             INSERT INTO downloads VALUES (5, {CHROME});
             INSERT INTO downloads_url_chains VALUES (5, 0, 'https://files.example/a?access_token={TOKEN}');
             INSERT INTO keyword_search_terms VALUES (1, 2, 'what is {GOOGLE}', 'what is it');"
        ))
        .expect("inserted");
}

#[test]
fn chromes_history_is_read_while_the_browser_holds_it_and_from_its_log() {
    for journal in ["WAL", "DELETE"] {
        let scene = Scene::new();
        let path = scene.path("in/History");
        let browser = chrome(&path, journal);
        browser.execute_batch("PRAGMA locking_mode = EXCLUSIVE;").expect("set");
        leak(&browser);
        if journal == "WAL" {
            let main = std::fs::read(&path).expect("there");
            assert!(memchr(&main, KEY).is_none(), "the row is in the log only");
        }
        browser
            .execute_batch("BEGIN EXCLUSIVE; INSERT INTO urls VALUES (9, 'https://example.com/', 'x', 0);")
            .expect("locked");
        let report = scene.report(&[]);
        assert_eq!(credentials(&report).len(), 3, "{journal} {report:#}");
        let of = |table: &str| {
            credentials(&report).iter().find(|found| found["places"][0]["table"] == table).expect(table).clone()
        };
        let url = of("urls");
        assert_eq!(url["places"], json!([{ "file": "in/History", "table": "urls", "row": 2, "table_column": "url" }]));
        assert_eq!(url["first_seen"], "2026-01-09T13:55:36.000Z");
        assert_eq!(url["last_seen"], "2026-01-10T13:55:36.000Z");
        assert_eq!(url["line"], "https://api.example/events?page=2&api_key=[REDACTED:api_key]&x=1");
        assert_eq!(url["cleaning"], "delete the entry from the browser's history");
        assert_eq!(of("downloads_url_chains")["first_seen"], "2026-01-10T13:55:36.000Z");
        assert_eq!(of("keyword_search_terms")["vendor"], "Google");
        browser.execute_batch("ROLLBACK").expect("the browser goes on");
    }
}

fn memchr(text: &[u8], needle: &str) -> Option<usize> {
    text.windows(needle.len()).position(|part| part == needle.as_bytes())
}

#[test]
fn a_transaction_that_did_not_end_hides_nothing() {
    let scene = Scene::new();
    let path = scene.path("in/History");
    let browser = chrome(&path, "DELETE");
    leak(&browser);
    // More than the cache holds: half of the change is in the file, and the old pages are in the journal.
    browser
        .execute_batch("PRAGMA cache_size = 2; BEGIN; UPDATE urls SET url = 'https://example.com/';")
        .expect("begun");
    for id in 100..2000 {
        browser
            .execute("INSERT INTO urls VALUES (?1, 'https://example.com/', ?2, 0)", (id, "t".repeat(200)))
            .expect("inserted");
    }
    assert!(scene.path("in/History-journal").exists());
    let report = scene.report(&[]);
    assert!(credentials(&report).iter().any(|found| found["places"][0]["table"] == "urls"), "{report:#}");
    browser.execute_batch("ROLLBACK").expect("the browser goes on");
}

#[test]
fn firefoxs_history_is_read_with_its_annotations() {
    let scene = Scene::new();
    let browser = open(&scene.path("in/places.sqlite"));
    browser
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE moz_places (id INTEGER PRIMARY KEY, url LONGVARCHAR, title LONGVARCHAR, last_visit_date INTEGER);
             CREATE TABLE moz_historyvisits (id INTEGER PRIMARY KEY, place_id INTEGER, visit_date INTEGER);
             CREATE TABLE moz_annos (id INTEGER PRIMARY KEY, place_id INTEGER, content LONGVARCHAR, dateAdded INTEGER, lastModified INTEGER);
             INSERT INTO moz_places VALUES (7, 'https://api.example/#access_token={TOKEN}', NULL, {FIREFOX});
             INSERT INTO moz_historyvisits VALUES (1, 7, {FIREFOX} - 3600000000);
             INSERT INTO moz_annos VALUES (3, 7, 'file:///d?api_key={KEY}', {FIREFOX}, {FIREFOX});"
        ))
        .expect("made");
    let report = scene.report(&[]);
    assert_eq!(credentials(&report).len(), 2, "{report:#}");
    let [anno, place] = [&report["credentials"][0], &report["credentials"][1]];
    assert_eq!(
        (&anno["places"][0]["table"], &anno["first_seen"]),
        (&json!("moz_annos"), &json!("2026-01-10T13:55:36.000Z"))
    );
    assert_eq!((&place["places"][0]["row"], &place["first_seen"]), (&json!(7), &json!("2026-01-10T12:55:36.000Z")));
}

#[test]
fn every_text_of_any_other_database_is_read() {
    let scene = Scene::new();
    let database = open(&scene.path("in/app.db"));
    database
        .execute_batch(&format!(
            "CREATE TABLE \"odd \"\"name\" (a INTEGER, note TEXT); INSERT INTO \"odd \"\"name\" VALUES (1, 'call /?key={KEY}');
             CREATE TABLE settings (id TEXT PRIMARY KEY, api_key TEXT, note TEXT) WITHOUT ROWID;
             INSERT INTO settings VALUES ('x', '{TOKEN}', 'none');"
        ))
        .expect("made");
    drop(database);
    let report = scene.report(&[]);
    assert_eq!(credentials(&report).len(), 2, "{report:#}");
    assert_eq!(report["credentials"][0]["places"][0]["table"], "odd \"name");
    assert_eq!(report["credentials"][1]["places"][0]["table_column"], "api_key");
}

#[test]
fn no_copy_of_a_database_stays_behind() {
    let scene = Scene::new();
    let temporary = scene.path("temporary");
    std::fs::create_dir(&temporary).expect("a folder");
    leak(&chrome(&scene.path("in/History"), "DELETE"));
    let output = scene.command(&["in", "--format", "json"]).env("TMPDIR", &temporary).output().expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(credentials(&report).len(), 3);
    assert_eq!(std::fs::read_dir(&temporary).expect("there").count(), 0);
}
