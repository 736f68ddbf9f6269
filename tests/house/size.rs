//! A file and a function are no longer than can be read at once.

use std::collections::BTreeMap;

use crate::modules::PRODUCTION;
use crate::reader::{Token, closing, code, without_tests};
use crate::rules::{FUNCTION_LINES, LINES, LONG, LONG_FUNCTIONS};
use crate::workspace::{PACKAGES, RUST};

#[test]
fn a_file_is_no_longer_than_can_be_read_at_once() {
    let mut wrong = Vec::new();
    let lengths = RUST.iter().map(|(file, text)| (file, text.lines().count()));
    for (file, lines) in lengths.filter(|(_, lines)| *lines > LINES) {
        if !LONG.iter().any(|(long, _)| long == file) {
            wrong.push(format!(
                "{file} has {lines} lines: split it, or say in LONG why not"
            ));
        }
    }
    for (file, _) in LONG {
        if RUST
            .get(*file)
            .is_none_or(|text| text.lines().count() <= LINES)
        {
            wrong.push(format!("{file} is not long: take it from LONG"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the functions of a source with their first and last line, test code left out.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let tokens = without_tests(&code(text));
    let found = (0..tokens.len()).filter(|at| tokens[*at].is("fn"));
    found.filter_map(|at| function(&tokens, at)).collect()
}

/// Reads the function at `at`; `None` for one without a body, and for the type of a pointer to one.
fn function(tokens: &[Token], at: usize) -> Option<(String, usize, usize)> {
    let name = tokens.get(at + 1).filter(|name| !name.is("("))?;
    let mut body = at;
    loop {
        let token = tokens.get(body)?;
        if token.is("{") {
            break;
        } else if token.is(";") {
            return None;
        } else if token.is("(") || token.is("[") {
            body = closing(tokens, body);
        } else {
            body += 1;
        }
    }
    let last = tokens.get(closing(tokens, body) - 1)?;
    Some((name.text.clone(), tokens[at].line, last.line))
}

/// Every production function by its length, as `file:line: name`.
fn lengths() -> Vec<(usize, String, String)> {
    let mut lengths = Vec::new();
    for file in PRODUCTION.iter() {
        for (name, first, last) in functions(&RUST[*file]) {
            let place = format!("{file}:{first}: {name}");
            lengths.push((last + 1 - first, place, format!("{file}: {name}")));
        }
    }
    lengths.sort();
    lengths
}

#[test]
fn a_function_fits_on_two_screens() {
    let lengths = lengths();
    let mut wrong = Vec::new();
    for (lines, place, name) in lengths.iter().filter(|(lines, ..)| *lines > FUNCTION_LINES) {
        if !LONG_FUNCTIONS.iter().any(|(long, _)| long == name) {
            wrong.push(format!(
                "{place} has {lines} lines: split it, or say in LONG_FUNCTIONS why not"
            ));
        }
    }
    for (long, _) in LONG_FUNCTIONS {
        if !lengths
            .iter()
            .any(|(lines, _, name)| name == long && *lines > FUNCTION_LINES)
        {
            wrong.push(format!("{long} is not long: take it from LONG_FUNCTIONS"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "prints figures: `cargo test --test house figures -- --ignored --nocapture`"]
fn the_figures_of_the_house_are_printed() {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for file in PRODUCTION.iter() {
        let (folder, _) = file.rsplit_once('/').unwrap();
        *folders.entry(folder).or_default() += 1;
    }
    let (folder, files) = folders.iter().max_by_key(|(_, files)| **files).unwrap();
    println!("files in a folder at most: {files}, in {folder}");
    for (lines, place, _) in lengths().iter().rev().take(5) {
        println!("long functions: {place}, {lines} lines");
    }
    for package in PACKAGES.iter() {
        let (mut files, mut lines) = (0, 0);
        for (_, text) in package.sources() {
            (files, lines) = (files + 1, lines + text.lines().count());
        }
        println!(
            "{}: {lines} lines in {files} files, tests among them",
            package.name
        );
    }
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let text = "
        fn one(a: fn(u8) -> u8,
               b: [u8; 2]) {
            if a { b }
        }
        trait T { fn none(&self); fn two(&self) {} }
        #[cfg(test)] mod tests { fn gone() {} }
    ";
    let found = functions(text);
    let shown: Vec<_> = found
        .iter()
        .map(|(n, first, last)| format!("{n} {first}-{last}"))
        .collect();
    assert_eq!(shown, ["one 2-5", "two 6-6"]);
}
