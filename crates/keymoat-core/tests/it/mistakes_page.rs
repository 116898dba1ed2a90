//! The page of mistakes in the book: written from the table with `UPDATE=1`, compared without.

use std::fs;
use std::path::Path;

const UPDATE: &str = "UPDATE=1 cargo test -p keymoat-core --test it mistakes_page";
/// What stands in front of the table.
const START: &str = "--test it mistakes_page -->\n\n";

#[test]
fn the_page_of_the_book_lists_the_mistakes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/explain.md");
    let found = fs::read_to_string(&path).expect("the page is there");
    let (text, _) = found.split_once(START).expect("the place of the table is marked");
    let expected = format!("{text}{START}{}", keymoat_core::mistake::page());
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, &expected).expect("the page can be written");
    }
    let found = fs::read_to_string(&path).expect("the page is there");
    assert!(found == expected, "docs/src/explain.md is stale: run `{UPDATE}`");
}
