//! Every test that the page of invariants names exists.

use std::collections::BTreeSet;

use crate::reader::{Kind, code};
use crate::workspace::{RUST, root};

/// Where the invariants are written, the first of these that is there.
const PAGES: [&str; 2] = ["docs/dev/invariants.md", "ARCHITECTURE.md"];

/// Returns the tests that a page's tables name: what stands in backticks in the last cell of a row.
fn named(page: &str) -> Vec<&str> {
    page.lines()
        .filter(|line| line.starts_with("| ") && line.ends_with("` |"))
        .filter_map(|line| line.trim_end_matches(" |").rsplit_once(" | "))
        .flat_map(|(_, held_by)| held_by.split('`').skip(1).step_by(2))
        .collect()
}

/// Returns the names of all functions of the workspace, those of tests in other folders included.
fn functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for text in RUST.values() {
        for pair in code(text).windows(2) {
            if pair[0].is("fn") && pair[1].kind == Kind::Name {
                found.insert(pair[1].text.clone());
            }
        }
    }
    found
}

#[test]
fn every_test_that_the_invariants_name_exists() {
    let mut pages = PAGES.into_iter().filter(|page| root().join(page).is_file());
    let page = pages.next().expect("a page of invariants");
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let named = named(&text);
    assert!(
        named.len() > 20,
        "the tables of {page} were not understood: {named:?}"
    );
    let functions = functions();
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !functions.contains(**name))
        .collect();
    assert!(
        missing.is_empty(),
        "{page} names tests that do not exist: {missing:?}"
    );
}

#[test]
fn tests_are_named_in_the_last_cell_of_a_row() {
    let page = "| invariant | held by |\n|---|---|\n| `a` is b. | `one`, `two` |\n| c | d |\n";
    assert_eq!(named(page), ["one", "two"]);
}
