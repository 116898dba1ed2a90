//! Texts that are read, and those that must not be.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

fn fault(text: impl AsRef<[u8]>) -> Fault {
    parse(text.as_ref(), &Caps::default()).expect_err("refused").fault
}

fn rendered(text: &str) -> String {
    parse(text.as_bytes(), &Caps::default()).unwrap().render()
}

#[test]
fn values_come_out_as_they_went_in() {
    for text in [
        "null",
        "true",
        "[]",
        "{}",
        r#"{"b":1,"a":[-0,1.50,1E+2,18446744073709551615,-9223372036854775808,0.10000000000000000555]}"#,
        r#""a\"b\\c\nd\u0000é😀/""#,
        r#"{"":{"":[[]]}}"#,
    ] {
        assert_eq!(rendered(text), text);
    }
    assert_eq!(rendered(" { \"a\" :\t[ 1 ,\r\n2 ] } "), r#"{"a":[1,2]}"#);
    assert_eq!(rendered(r#""\u0041\/\ud83d\ude00\b\f\r\t""#), "\"A/😀\\u0008\\u000c\\u000d\\u0009\"");
}

#[test]
fn e58_refuses_a_member_that_stands_twice_in_both_orders() {
    for text in [
        r#"{"setup":{},"setup":{}}"#,
        r#"{"setup":{"model":"a","x":1,"model":"b"}}"#,
        r#"{"setup":{"model":"b","x":1,"model":"a"}}"#,
    ] {
        assert_eq!(fault(text), Fault::Twice, "{text}");
    }
    let many = |last: &str| {
        let members: Vec<String> = (0..40).map(|n| format!("\"k{n}\":0")).collect();
        format!("{{{},\"{last}\":0}}", members.join(","))
    };
    assert_eq!(fault(many("k0")), Fault::Twice);
    assert_eq!(fault(many("k39")), Fault::Twice);
    assert!(parse(many("k40").as_bytes(), &Caps::default()).is_ok());
}

#[test]
fn e59_compares_names_with_their_escapes_decoded() {
    assert_eq!(fault(r#"{"setup":1,"\u0073etup":2}"#), Fault::Twice);
    assert_eq!(fault(r#"{"\u0073etup":1,"s\u0065tup":2}"#), Fault::Twice);
    assert_eq!(rendered(r#"{"\u0073etup":1}"#), r#"{"setup":1}"#);
}

#[test]
fn e70_refuses_what_parsers_read_differently() {
    for (text, expected) in [
        ("", Fault::End),
        (" ", Fault::End),
        ("\u{feff}{}", Fault::ByteOrderMark),
        ("{} {}", Fault::Trailing),
        ("{}\0", Fault::Trailing),
        ("1 2", Fault::Trailing),
        ("NaN", Fault::Syntax),
        ("Infinity", Fault::Syntax),
        ("-Infinity", Fault::Syntax),
        ("[1e400]", Fault::Number),
        ("[-1e400]", Fault::Number),
        ("[18446744073709551616]", Fault::Number),
        ("[-9223372036854775809]", Fault::Number),
        ("[01]", Fault::Syntax),
        ("[+1]", Fault::Syntax),
        ("[.5]", Fault::Syntax),
        ("[1.]", Fault::Syntax),
        ("[1,]", Fault::Syntax),
        ("[,1]", Fault::Syntax),
        (r#"{"a":1,}"#, Fault::Syntax),
        ("{'a':1}", Fault::Syntax),
        ("{a:1}", Fault::Syntax),
        ("{\"a\" 1}", Fault::Syntax),
        ("// c\n{}", Fault::Syntax),
        ("\u{a0}{}", Fault::Syntax),
        ("[\"a\nb\"]", Fault::Syntax),
        (r#"["\x41"]"#, Fault::Syntax),
        (r#"["\u00g0"]"#, Fault::Syntax),
        (r#"["\ud800"]"#, Fault::Surrogate),
        (r#"["\ud800\n"]"#, Fault::Surrogate),
        (r#"["\ud800\u0041"]"#, Fault::Surrogate),
        (r#"["\udc00\ud800"]"#, Fault::Surrogate),
        (r#"["a"#, Fault::End),
        (r#"{"a":"#, Fault::End),
        ("tru", Fault::End),
        ("True", Fault::Syntax),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
    assert_eq!(fault(b"[\"\xff\"]"), Fault::Utf8);
    assert_eq!(fault(b"[\"\xed\xa0\x80\"]"), Fault::Utf8);
    assert_eq!(fault("[".repeat(10_000)), Fault::TooDeep(64));
    assert_eq!(fault("{\"a\":".repeat(65)), Fault::TooDeep(64));
    assert_eq!(fault(format!("[{}1]", "1,".repeat(10_000))), Fault::TooMany(10_000));
    let names: Vec<String> = (0..20_000).map(|n| format!("\"{n}\":0")).collect();
    assert_eq!(fault(format!("{{{}}}", names.join(","))), Fault::TooMany(10_000));
    assert_eq!(fault(" ".repeat((256 << 10) + 1)), Fault::TooLong(256 << 10));
}

#[test]
fn the_deepest_that_is_allowed_is_read() {
    let text = format!("{}{}", "[".repeat(64), "]".repeat(64));
    assert_eq!(rendered(&text), text);
}

#[test]
fn neither_an_error_nor_debug_shows_what_was_written() {
    let text = r#"{"canary":"canary","canary":1}"#;
    let error = parse(text.as_bytes(), &Caps::default()).unwrap_err();
    assert_eq!(error.to_string(), "a member that stands twice in one object at byte 19");
    let value = parse(br#"{"canary":["canary"],"a":"canary"}"#, &Caps::default()).unwrap();
    assert_eq!(format!("{value:?}"), "object of 2");
}

/// Any value, as a reference parser holds it.
fn values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_rendered_is_read_as_the_same_value_by_another_parser(value in values()) {
        let text = value.to_string();
        let ours = parse(text.as_bytes(), &Caps::default()).unwrap();
        let rendered = ours.render();
        let theirs = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        prop_assert_eq!(theirs(&rendered), theirs(&text));
        prop_assert!(parse(rendered.as_bytes(), &Caps::default()).unwrap() == ours);
    }

    #[test]
    fn what_is_read_another_parser_reads_too(bytes in "[\\[\\]{}:,\"a-c0-9eE.+ \\\\u-]{0,40}") {
        if let Ok(ours) = parse(bytes.as_bytes(), &Caps::default()) {
            let theirs: serde_json::Value = serde_json::from_str(&bytes).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&ours.render()).unwrap(), theirs);
        }
    }
}
