//! What comes out of the redactor, however it is asked.

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

use super::*;
use crate::finder::Finder;

const SECRET: &str = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";

fn faulty() -> Redactor {
    let mut rules = Rules::default();
    rules.fault = Some(b"FAULT");
    Redactor::new(Arc::new(rules), Options::default())
}

fn shown(redactor: &mut Redactor, chunks: &[&[u8]]) -> String {
    let mut out = Vec::new();
    for chunk in chunks {
        redactor.write(chunk, &mut out).unwrap();
    }
    redactor.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn values_are_clean_if_nothing_is_in_any_of_them() {
    let mut redactor = faulty();
    assert!(redactor.are_clean(b"/api/events\nheader:x-api-key\nkey_1\n"));
    assert!(!redactor.are_clean(format!("/api/events\nx api_key={SECRET}\nkey_1\n").as_bytes()));
    assert!(!redactor.are_clean(b"FAULT api_key=\n"));
    let known = KnownSecrets::default();
    known.replace(Known::new([&b"a-secret-in-use"[..]]));
    let options = Options { known, ..Options::default() };
    assert!(!Redactor::new(Arc::default(), options).are_clean(b"/x\na%2Dsecret-in-use\n"));
    let pattern = crate::Pattern { name: "badge".to_owned(), regex: "BDG-([0-9]{6})".to_owned() };
    let custom = crate::Custom { patterns: vec![pattern], ..crate::Custom::default() };
    assert!(!Redactor::new(Arc::new(Rules::new(&custom).unwrap()), Options::default()).are_clean(b"/x\n"));
}

#[test]
fn an_error_of_the_engine_drops_the_line_and_is_counted() {
    let text = format!("clean\nFAULT api_key={SECRET} tail\nnext token={SECRET}\n");
    for split in 0..=text.len() {
        let (first, second) = text.as_bytes().split_at(split);
        let mut redactor = faulty();
        let shown = shown(&mut redactor, &[first, second]);
        assert_eq!(shown, "clean\n[REDACTED:error]\nnext token=[REDACTED:token]\n", "split at {split}");
        assert_eq!((redactor.stats().lines_dropped, redactor.stats().masked), (1, 1));
    }
    let mut redactor = faulty();
    let text = format!("FAULT password={SECRET}");
    assert_eq!(&*redactor.redact(text.as_bytes()), b"[REDACTED:error]");
    assert_eq!(redactor.stats().lines_dropped, 1);
}

#[test]
fn an_error_in_a_line_that_is_taken_in_windows_lets_nothing_of_it_through() {
    for place in [0, LINE_BYTES_MAX / 2, LINE_BYTES_MAX - 100, LINE_BYTES_MAX + 100, 2 * LINE_BYTES_MAX] {
        let mut text = format!("api_key={SECRET} ").repeat(3 * LINE_BYTES_MAX / 41).into_bytes();
        text.splice(place..place, *b" FAULT ");
        text.extend_from_slice(b"\nnext\n");
        let mut redactor = faulty();
        let shown = shown(&mut redactor, &[&text]);
        let leaked = SECRET.as_bytes().windows(8).any(|part| memchr::memmem::find(shown.as_bytes(), part).is_some());
        assert!(!leaked && shown.contains("[REDACTED:error]") && shown.ends_with("\nnext\n"), "at {place}");
        assert!(redactor.stats().lines_dropped > 0, "at {place}");
    }
}

#[test]
fn an_error_while_lines_are_passed_over_lets_nothing_through() {
    let long = format!("{} api_key={SECRET} x=1", "word ".repeat(LONG));
    for text in [
        format!("clean\nPASS api_key={SECRET}\nclean\ntoken={SECRET}\nend"),
        format!("api_key={SECRET}\nclean\ntoken={SECRET} PASS\nclean\n"),
        format!("clean\n{long} PASS\nclean\n"),
        format!("PASS {}\nnext\n", long.repeat(40)),
    ] {
        let mut sound = Redactor::default();
        let expected = shown(&mut sound, &[text.as_bytes()]);
        assert!(!expected.contains(SECRET) && expected.contains("[REDACTED:api_key]"));
        for size in [text.len(), 7000, 100] {
            let mut rules = Rules::default();
            rules.fault_in_passing = Some(b"PASS");
            let mut redactor = Redactor::new(Arc::new(rules), Options::default());
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(shown(&mut redactor, &chunks), expected);
            assert_eq!(redactor.stats().masked, sound.stats().masked);
            assert_eq!(String::from_utf8_lossy(&redactor.redact(text.as_bytes())), expected);
        }
    }
}

#[test]
fn an_error_below_a_name_masks_the_value_that_is_awaited() {
    let text = format!("api_key: >-\n  FAULT {SECRET}\nother: 1\n");
    let shown = shown(&mut faulty(), &[text.as_bytes()]);
    assert_eq!(shown, "api_key: >-\n[REDACTED:error]\nother: 1\n");
}

#[test]
fn a_name_alone_is_passed_over_without_a_loss() {
    assert!(is_name_alone(b"key=") && is_name_alone(b"api-key="));
    for line in [&b""[..], b"key", b"key=a", b"key:", b"key =", b"\"key\"=", b"=\n", b"long_name="] {
        assert!(!is_name_alone(line), "{line:?}");
    }
    let starts = crate::table::PREFIXES.iter().map(|rule| rule.prefix);
    for start in starts.chain(["eyJhbGciOi", "api_key", "cookie", "name", "--key", "-----", "auth", "key", "i-key."]) {
        let line = &start.as_bytes()[..start.len().min(7)];
        let line = [line, b"="].concat();
        assert!(is_name_alone(&line));
        let rules = Rules::default();
        let mut scratch = Scratch::default();
        let carry = LineScan::run(&rules, None, &mut scratch, &line, false, Carry::None);
        assert!(carry == Carry::None && scratch.findings.is_empty(), "{start}");
    }
}

#[test]
fn without_an_error_nothing_is_dropped() {
    let mut redactor = Redactor::default();
    let text = format!("FAULT api_key={SECRET}\n");
    assert_eq!(shown(&mut redactor, &[text.as_bytes()]), "FAULT api_key=[REDACTED:api_key]\n");
    assert_eq!(redactor.stats().lines_dropped, 0);
    let mut count = 0;
    Finder::default().find(text.as_bytes(), &mut |_| count += 1);
    assert_eq!(count, 1);
}
