//! What holds for every text: splits, repetition, the passing over of clean lines, bounded memory, linear time.

use std::sync::{Arc, LazyLock};

use keymoat_redact::{Custom, Finder, Fingerprinter, KnownSecrets, Options, Pattern, Redactor, Rules};
use proptest::prelude::*;

/// Pieces of which texts are made that the engine has most to do with.
const PIECES: [&str; 64] = [
    "api_key",
    "apiKey",
    "token",
    "key",
    "password",
    "Authorization",
    "authorization",
    "Cookie",
    "Sec-WebSocket-Protocol",
    "name",
    "value",
    "=",
    ":",
    ": ",
    " = ",
    "\"",
    "'",
    "\\\"",
    "\\\\\\\"",
    "&",
    "?",
    ";",
    "#",
    ",",
    ", ",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "<",
    ">",
    "</",
    "\n",
    "\r\n",
    "\\n",
    " ",
    "  ",
    "%3D",
    "%253D",
    "%26",
    "\\u0026",
    "\\x22",
    "#137",
    "&amp;",
    "@",
    "//",
    "https://",
    "Bearer ",
    "Basic ",
    "Some(",
    "--",
    "-u ",
    "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue",
    "sk-proj-9fK2mVx7Qw4Lr8TnXb3Yc6",
    "hunter2",
    "[REDACTED:api_key]",
    "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.MDEyMw",
    "-----BEGIN PRIVATE KEY-----",
    "\0",
    "\u{200b}",
    "ｋｅｙ",
    "\x1b[0m",
];

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => proptest::sample::select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        2 => (proptest::sample::select(&PIECES[..]), any::<proptest::sample::Index>(), 0..10_usize).prop_map(twisted),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// A piece with one letter in the other case, or with something between two of its bytes.
fn twisted((piece, place, how): (&str, proptest::sample::Index, usize)) -> Vec<u8> {
    let mut piece = piece.as_bytes().to_vec();
    let at = place.index(piece.len());
    match b"_-. ][/@".get(how) {
        Some(joint) => piece.insert(at, *joint),
        None if piece[at].is_ascii_alphabetic() => piece[at] ^= 0x20,
        None => {}
    }
    piece
}

const SECRET: &str = "Zk7Qw2Lr9TnXb4Vm8PcY";

/// What stands around a value that somebody put a mark into.
const SHIELDS: [(&str, &str); 16] = [
    ("api_key=", ""),
    ("GET /e?page=3&api_key=", "&x=1 HTTP/1.1"),
    ("GET /e?token=", " HTTP/1.1"),
    ("level=info token=", " path=/x"),
    ("password: ", ""),
    ("X-Api-Key: ", ""),
    ("Authorization: Bearer ", ""),
    ("{\"api_key\":\"", "\",\"x\":1}"),
    ("{\"name\":\"x-api-key\",\"value\":\"", "\"}"),
    ("Cookie: theme=dark; sid=", "; lang=en"),
    ("Set-Cookie: sid=", "; Path=/"),
    ("https://user:", "@host/"),
    ("curl --api-key ", " https://h/"),
    ("curl -u user:", " https://h/"),
    ("<apiKey>", "</apiKey>"),
    ("Sec-WebSocket-Protocol: chat, api-key.", ""),
];

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(Arc::default);

fn redactor() -> Redactor {
    Redactor::new(Arc::clone(&RULES), Options::default())
}

fn whole(text: &[u8]) -> Vec<u8> {
    in_chunks(text, usize::MAX)
}

/// Texts of one statement: what opens it, a name, what stands between, a value, what follows.
///
/// Of several in one line without order, one in tens of thousands is masked further by a second pass: where the mark of a
/// value has swallowed the quote or the separator that ended another one. Nothing leaks by that.
fn statement_alone() -> impl Strategy<Value = Vec<u8>> {
    let pick = |list: &'static [&'static str]| proptest::sample::select(list);
    let opened = pick(&["", "{\"", "'", "curl -H \""]);
    let statement = (
        pick(&["", "?", "&", "- ", "<", "GET /e?x=1%26", "--"]),
        pick(&[
            "api_key",
            "token",
            "password",
            "Authorization",
            "Cookie",
            "x-api-key",
            "key",
            "client%5Fsecret",
            "name",
            "page",
        ]),
        pick(&["=", ": ", "\":\"", "': '", " = ", ">", "%3D", " ", ": Bearer ", ": a=b; sid="]),
        pick(&[
            "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue",
            "sk-proj-9fK2mVx7Qw4Lr8TnXb3Yc6",
            "hunter2",
            "$KEY",
            "svc:Zk7Qw2Lr9@h",
            "1234567",
            "see docs",
            "",
        ]),
        pick(&["", "&x=1", "\"", "'", "</a>", " HTTP/1.1\"", "%26y%3D2", "\n", "\r\n", ", ", " "]),
    );
    (opened, statement).prop_map(|(opened, (a, b, c, d, e))| [opened, a, b, c, d, e].concat().into_bytes())
}

fn in_chunks(text: &[u8], size: usize) -> Vec<u8> {
    let mut redactor = redactor();
    let mut out = Vec::new();
    for chunk in text.chunks(size.min(text.len().max(1))) {
        redactor.write(chunk, &mut out).expect("memory");
    }
    redactor.finish(&mut out).expect("memory");
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_size_of_writes_changes_nothing(text in text(), size in 1_usize..50) {
        let expected = whole(&text);
        let shown = in_chunks(&text, size);
        prop_assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(&expected));
        prop_assert_eq!(&*redactor().redact(&text), &*expected);
    }

    #[test]
    fn redacting_again_changes_nothing(text in statement_alone()) {
        let once = whole(&text);
        let twice = whole(&once);
        prop_assert_eq!(String::from_utf8_lossy(&twice), String::from_utf8_lossy(&once), "of {:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn no_mark_shields_what_stands_beside_it(
        head in proptest::sample::select(&SHIELDS[..]),
        front in any::<bool>(),
        mark in proptest::sample::select(&["[REDACTED:api_key]", "[REDACTED:token:fp=7f3a9c01]", "[REDACTED]", "[REDACTED:x][REDACTED:y]"][..]),
        glue in proptest::sample::select(&["", "", ".", "-", "_", "/", "+", ":"][..]),
    ) {
        let (open, close) = head;
        // No password has a slash in it: it is the host that ends there.
        prop_assume!(glue != "/" || !open.contains("://"));
        let value = if front { format!("{SECRET}{glue}{mark}") } else { format!("{mark}{glue}{SECRET}") };
        let text = format!("{open}{value}{close}");
        let once = whole(text.as_bytes());
        let shown = String::from_utf8_lossy(&once);
        prop_assert!(!SECRET.as_bytes().windows(8).any(|part| memchr::memmem::find(&once, part).is_some()), "{text} -> {shown}");
        let twice = whole(&once);
        prop_assert_eq!(String::from_utf8_lossy(&twice), shown, "of {:?}", text);
        let alone = format!("{open}{mark}{close}");
        let left = whole(alone.as_bytes());
        prop_assert_eq!(String::from_utf8_lossy(&left), alone.as_str());
    }

    #[test]
    fn findings_are_in_order_within_the_text_and_what_the_redactor_masks(text in text()) {
        let mut end = 0;
        let mut count = 0;
        let mut wrong = false;
        Finder::new(Arc::clone(&RULES), KnownSecrets::default()).find(&text, &mut |finding| {
            wrong |= finding.span.start < end || finding.span.is_empty() || finding.span.end > text.len();
            end = finding.span.end;
            count += 1;
        });
        prop_assert!(!wrong);
        prop_assert_eq!(count == 0, whole(&text) == text, "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn arbitrary_bytes_do_not_stop_it(text in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut redactor = redactor();
        let _ = redactor.redact(&text);
        prop_assert_eq!(redactor.stats().lines_dropped, 0);
    }
}

fn with(custom: &Custom, options: Options) -> Redactor {
    Redactor::new(Arc::new(Rules::new(custom).expect("well formed")), options)
}

#[test]
fn an_endless_line_is_masked_within_bounded_memory() {
    let secret = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";
    let filler = "abcdefgh ".repeat(1000);
    let line = format!("{filler}api_key={secret}&x=1 {filler}").repeat(12);
    for size in [1000, 65_536, usize::MAX] {
        let out = in_chunks(line.as_bytes(), size);
        assert_eq!(String::from_utf8_lossy(&out), line.replace(secret, "[REDACTED:api_key]"), "{size}");
    }
    let open = format!("a=1 password=\"{}", "Zk7Qw2Lr".repeat(40_000));
    for tail in ["", "\" b=2\n", "\\\" c\" b=2\nnext\n"] {
        let text = format!("{open}{tail}");
        let out = in_chunks(text.as_bytes(), 4096);
        assert_eq!(out, whole(text.as_bytes()));
        let shown = String::from_utf8_lossy(&out);
        assert!(shown.starts_with("a=1 password=\"[REDACTED:oversize]") && !shown.contains("Zk7Q"), "{shown}");
        assert!(tail.is_empty() || shown.contains("\" b=2\n"), "{shown}");
    }
}

#[test]
fn every_kind_of_endless_value_is_dropped_and_never_shown() {
    let long = "Zk7Qw2Lr9TnXb4Vm".repeat(20_000);
    for start in [
        "api_key=",
        "?api_key=",
        "Authorization: Bearer ",
        "Cookie: sid=",
        "Sec-WebSocket-Protocol: api-key.",
        "{\"password\":\"",
        "https://svc:",
        "-----BEGIN PRIVATE KEY-----\\n",
        "<apiKey>",
        "x eyJhbGciOiJIUzI1NiJ9.",
    ] {
        let text = format!("{start}{long}@h\nclean\n");
        let shown = String::from_utf8(whole(text.as_bytes())).expect("text");
        assert!(!shown.contains("Zk7Qw2Lr"), "{start}: {}", &shown[..200]);
        assert!(shown.ends_with("\nclean\n"), "{start}");
        assert_eq!(String::from_utf8_lossy(&in_chunks(text.as_bytes(), 777)), shown, "{start}");
    }
}

#[test]
fn a_pem_block_without_an_end_is_capped() {
    let body = "MIIEowIBAAKCAQEAx7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1UeZk7Qw2Lr9TnXb4Vm8\n";
    let text = format!("-----BEGIN RSA PRIVATE KEY-----\n{}\nafter\n", body.repeat(1000));
    let shown = String::from_utf8(whole(text.as_bytes())).expect("text");
    assert!(!shown.contains("MIIE") && shown.contains("[REDACTED:oversize]") && shown.ends_with("\nafter\n"));
}

#[test]
fn a_label_that_was_masked_is_no_private_keys() {
    let text = "-----BEGIN PRIVATE KEY Authorization: Bearer Zk7Qw2Lr9TnXbAuthorization: Bearer Zk7E KEY-----\n";
    let once = whole(text.as_bytes());
    assert_eq!(String::from_utf8_lossy(&whole(&once)), String::from_utf8_lossy(&once));
    let label =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIEowIBAAKCAQEAx7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1UeZk7Qw2Lr9TnXb4Vm8\n";
    assert!(!whole(label.as_bytes()).windows(4).any(|part| part == b"MIIE"));
}

#[test]
fn known_secrets_are_replaced_while_it_runs_and_found_in_any_encoding() {
    let known = KnownSecrets::default();
    let mut redactor = with(&Custom::default(), Options { known: known.clone(), ..Options::default() });
    let line = b"GET /v3/q9-T/x+Lm=R2vB7nZk/status";
    assert_eq!(&*redactor.redact(line), line);
    known.replace(keymoat_redact::Known::new([&b"q9-T/x+Lm=R2vB7nZk"[..]]));
    for text in [
        "q9-T/x+Lm=R2vB7nZk",
        "q9-T%2Fx%2BLm%3DR2vB7nZk",
        "q9-T%252fx%2BLm=R2vB7nZk",
        "%71%39%2D%54%2F%78%2B%4C%6D%3D%52%32%76%42%37%6E%5A%6B",
        "q9-T\\/x\\u002bLm=R2vB7nZk",
        "cTktVC94K0xtPVIydkI3blpr",
        "71392d542f782b4c6d3d52327642376e5a6b",
        "113, 57, 45, 84, 47, 120, 43, 76, 109",
    ] {
        let text = format!("a {text} b");
        assert_eq!(String::from_utf8_lossy(&redactor.redact(text.as_bytes())), "a [REDACTED:known] b", "{text}");
    }
    known.replace(None);
    assert_eq!(&*redactor.redact(line), line);
}

#[test]
fn users_add_names_patterns_and_exceptions() {
    let custom = Custom {
        names: vec!["X-Badge".into()],
        patterns: vec![Pattern { name: "badge".into(), regex: r"\bBDG-(\d{6})\b".into() }],
        allow: vec!["sk-test-not-a-secret-000000".into()],
        protocols: vec!["our-own-long-protocol.v1".into()],
    };
    let mut redactor = with(&custom, Options::default());
    let mut shown = |text: &str| String::from_utf8(redactor.redact(text.as_bytes()).into_owned()).expect("text");
    assert_eq!(shown("x_badge=abc123&y=1"), "x_badge=[REDACTED:credential]&y=1");
    assert_eq!(shown("worn BDG-123456 here"), "worn BDG-[REDACTED:badge] here");
    assert_eq!(shown("key sk-test-not-a-secret-000000"), "key sk-test-not-a-secret-000000");
    assert_eq!(
        shown("Sec-WebSocket-Protocol: our-own-long-protocol.v1"),
        "Sec-WebSocket-Protocol: our-own-long-protocol.v1"
    );
}

#[test]
fn a_fingerprint_tells_equal_values_in_any_encoding() {
    let fingerprint = Fingerprinter::new(&[9; 32]).expect("long enough");
    let mut redactor = with(&Custom::default(), Options { fingerprint: Some(fingerprint), ..Options::default() });
    let shown = |redactor: &mut Redactor, text: &str| {
        String::from_utf8(redactor.redact(text.as_bytes()).into_owned()).expect("text")
    };
    let one = shown(&mut redactor, "?key=auth_tokens%2FZk7Qw2Lr9TnXb4Vm");
    let two = shown(&mut redactor, "?key=auth_tokens/Zk7Qw2Lr9TnXb4Vm");
    assert_eq!(one, two);
    assert!(one.starts_with("?key=[REDACTED:api_key:fp=") && one.len() == "?key=[REDACTED:api_key:fp=01234567]".len());
    assert_eq!(shown(&mut redactor, &one), one);
    assert_eq!(shown(&mut redactor, "password=hunter2"), "password=[REDACTED:password]");
}

#[test]
fn a_waiting_reader_sees_what_is_sure() {
    let mut redactor = redactor();
    let mut out = Vec::new();
    redactor.write(b"login at 10:30 with password=Zk7Qw2", &mut out).expect("memory");
    redactor.flush_partial(&mut out).expect("memory");
    assert_eq!(String::from_utf8_lossy(&out), "login at 10:30 with ");
    redactor.write(b"Lr9TnX ok? ", &mut out).expect("memory");
    redactor.flush_partial(&mut out).expect("memory");
    assert_eq!(String::from_utf8_lossy(&out), "login at 10:30 with password=[REDACTED:password] ok? ");
    redactor.write(b"yes\n", &mut out).expect("memory");
    redactor.finish(&mut out).expect("memory");
    assert_eq!(String::from_utf8_lossy(&out), "login at 10:30 with password=[REDACTED:password] ok? yes\n");
}

#[test]
fn json_stays_json() {
    for text in [
        r#"{"password":123456,"token":"Zk7Qw2Lr9TnXb4Vm8Pc","list":{"api_key":[90,107,55,81,119,50,76,114,57]}}"#,
        r#"{"headers":{"authorization":["Bearer Zk7Qw2Lr9TnXb4Vm8Pc"]},"nested":"{\"secret\":\"a\\\"b1234567\"}"}"#,
    ] {
        let out = whole(text.as_bytes());
        let shown: serde_json::Value =
            serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)));
        let before: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(
            shown.as_object().expect("object").keys().collect::<Vec<_>>(),
            before.as_object().expect("object").keys().collect::<Vec<_>>()
        );
        assert!(!String::from_utf8_lossy(&out).contains("Zk7Q") && out != text.as_bytes());
    }
}

#[test]
fn a_clean_line_costs_no_allocation() {
    let mut redactor = redactor();
    let line = b"203.0.113.9 - - [03/Jan/2026:10:30:45 +0000] \"GET /api/v1/users/5?page=3&sort_key=price HTTP/1.1\" 200 512 \"https://shop.example/products?page=2\" \"Mozilla/5.0 (X11; Linux x86_64; rv:128.0)\"\n";
    // The first look at what can be replaced registers the thread.
    let _ = redactor.redact(line);
    let info = allocation_counter::measure(|| assert_eq!(redactor.redact(line).len(), line.len()));
    assert_eq!(info.count_total, 0);
    let mut out = Vec::with_capacity(4096);
    redactor.write(line, &mut out).expect("memory");
    let info = allocation_counter::measure(|| redactor.write(line, &mut out).expect("memory"));
    assert_eq!(info.count_total, 0);
}
