//! The tables in the book: written from the rules with `UPDATE=1`, compared without.

use std::fs;
use std::path::Path;

const UPDATE: &str = "UPDATE=1 cargo nextest run -p keymoat-redact --test it page";
/// What stands in front of the tables.
const START: &str = "--test it page -->\n\n";

#[test]
fn the_page_of_the_book_lists_the_rules() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/redaction.md");
    let found = fs::read_to_string(&path).expect("the page is there");
    let (text, _) = found.split_once(START).expect("the place of the tables is marked");
    let expected = format!("{text}{START}{}", keymoat_redact::page::tables());
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, &expected).expect("the page can be written");
    }
    let found = fs::read_to_string(&path).expect("the page is there");
    assert!(found == expected, "docs/src/redaction.md is stale: run `{UPDATE}`");
}
