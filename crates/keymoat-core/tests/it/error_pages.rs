//! The pages of the refusals in the documentation: written from `refusal::page` with `UPDATE=1`, compared without.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use keymoat_core::refusal::{Code, page};
use keymoat_core::route::Dialect;

const UPDATE: &str = "UPDATE=1 cargo test -p keymoat-core --test it error_pages";

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src")
}

/// Every file that belongs into the folder of the error pages.
fn pages() -> BTreeMap<String, String> {
    let mut pages: BTreeMap<String, String> =
        Code::ALL.into_iter().map(|code| (format!("{code}.md"), page(code))).collect();
    pages.insert("index.md".to_owned(), index());
    pages
}

fn index() -> String {
    let mut text = String::from(
        "# Error codes\n\n\
         Every refusal has one of these codes. Over HTTP it stands in the field `code` of the problem document, over a\n\
         WebSocket it is the first word of the close reason, and in the log it is the field `code`. A running gateway\n\
         serves the same pages at `/keymoat/errors/CODE`. OpenAI's SDKs connect again by themselves after 1011, 1012 and\n\
         1013, where they are told to, and never after 3000.\n\n\
         | code | HTTP | WebSocket | Gemini WebSocket | OpenAI WebSocket | title |\n|---|---|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let [own, gemini, openai] = Dialect::ALL.map(|dialect| code.close_code(dialect));
        writeln!(
            text,
            "| [`{code}`]({code}.md) | {} | {own} | {gemini} | {openai} | {} |",
            code.status(),
            code.title()
        )
        .expect("writing to a string does not fail");
    }
    text
}

fn write(folder: &Path, pages: &BTreeMap<String, String>) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    pages.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))
}

#[test]
fn the_error_pages_of_the_book_say_what_the_gateway_says() {
    let folder = book().join("errors");
    let expected = pages();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        write(&folder, &expected).expect("the folder can be written");
    }
    let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}: run `{UPDATE}`", folder.display()));
    let mut found = BTreeMap::new();
    for entry in listed {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        found.insert(name, fs::read_to_string(&path).expect("the page can be read"));
    }
    let names = found.keys().chain(expected.keys());
    let stale: Vec<&String> = names.filter(|name| found.get(*name) != expected.get(*name)).collect();
    assert!(stale.is_empty(), "not what `refusal::page` gives: {stale:?}: run `{UPDATE}`");
}

#[test]
fn the_book_lists_every_error_page_once() {
    let summary = fs::read_to_string(book().join("SUMMARY.md")).expect("the book has a summary");
    for name in pages().keys() {
        assert_eq!(summary.matches(&format!("(errors/{name})")).count(), 1, "docs/src/SUMMARY.md: errors/{name}");
    }
}
