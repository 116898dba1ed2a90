//! Links between documents: every relative link in a Markdown file leads to a file, and its fragment to a heading.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no documents of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "book"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_symlink() || SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The lines that are prose: nothing between code fences.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return false;
        }
        !fenced
    })
}

/// What `[text](target)` and `[label]: target` lead to; text between backticks is code and no link.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        let line: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        if let Some((label, target)) = line.split_once("]: ")
            && label.starts_with('[')
        {
            links.push(target.trim().to_owned());
        }
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        links.extend(targets.map(|target| target.split(' ').next().unwrap_or_default().to_owned()));
    }
    links
}

/// The fragments that a document's headings answer to, as GitHub and mdBook make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
            kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
        })
        .collect()
}

/// Why `link` in the document at `from` leads nowhere, if it does.
fn broken(from: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, fragment) = link.split_once('#').map_or((link, None), |(path, fragment)| (path, Some(fragment)));
    let target = if path.is_empty() { from.to_owned() } else { from.parent().unwrap_or(from).join(path) };
    if !target.exists() {
        return Some(format!("{}: `{link}`: no such file", from.display()));
    }
    let fragment = fragment?;
    let text = fs::read_to_string(&target).unwrap_or_default();
    let known = anchors(&text).iter().any(|anchor| anchor == fragment);
    (!known).then(|| format!("{}: `{link}`: no such heading", from.display()))
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut found = Vec::new();
    documents(&root(), &mut found);
    assert!(found.iter().any(|path| path.ends_with("README.md")), "the documents are not where this test looks");
    let mut wrong = Vec::new();
    for document in &found {
        let text = fs::read_to_string(document).expect("a document can be read");
        wrong.extend(links(&text).iter().filter_map(|link| broken(document, link)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_of_the_book_is_in_its_summary() {
    let book = root().join("docs/src");
    let summary = fs::read_to_string(book.join("SUMMARY.md")).expect("the book has a summary");
    let listed: Vec<PathBuf> = links(&summary).iter().map(|link| book.join(link)).collect();
    let mut pages = Vec::new();
    documents(&book, &mut pages);
    let missing: Vec<_> = pages.iter().filter(|page| !page.ends_with("SUMMARY.md") && !listed.contains(page)).collect();
    assert!(missing.is_empty(), "not in docs/src/SUMMARY.md: {missing:?}");
}

#[test]
fn a_link_to_nowhere_is_found_and_code_is_no_link() {
    let text =
        "see [a](gone.md), [b](https://example.org) and `[c](also-gone.md)`\n```\n[d](code.md)\n```\n[e]: there.md\n";
    assert_eq!(links(text), ["gone.md", "https://example.org", "there.md"]);
    let document = root().join("README.md");
    assert!(broken(&document, "gone.md").is_some());
    assert!(broken(&document, "https://example.org").is_none());
    assert!(broken(&document, "ARCHITECTURE.md").is_none());
    assert!(broken(&document, "ARCHITECTURE.md#no-such-heading").is_some());
}
