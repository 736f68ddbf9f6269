//! Pure files name no runtime, server, store, file or clock; `unsafe` stays where it is; nothing is
//! left to be done.

use crate::reader::code;
use crate::rules::{IMPURE, PURE, UNSAFE};
use crate::workspace::sources;

/// Whether the documentation of a file's module says that it is pure.
fn says_pure(text: &str) -> bool {
    text.lines()
        .take_while(|line| line.starts_with("//!"))
        .any(|line| line.contains("Pure."))
}

/// Whether a rule names a file, or a folder that it lies in.
fn covers(rule: &str, file: &str) -> bool {
    file == rule || rule.ends_with('/') && file.starts_with(rule)
}

/// Returns the lines on which a source uses what a pure one does not, each with the name.
fn impurities(text: &str) -> Vec<(usize, String)> {
    let tokens = code(text);
    let is_clock = |at: usize| tokens[at].is("now") && at > 0 && tokens[at - 1].is("::");
    let found = (0..tokens.len())
        .filter(|at| is_clock(*at) || IMPURE.iter().any(|name| tokens[*at].is(name)));
    found
        .map(|at| (tokens[at].line, tokens[at].text.clone()))
        .collect()
}

#[test]
fn pure_files_know_no_runtime_no_server_no_store_and_no_clock() {
    let mut wrong: Vec<String> = PURE
        .iter()
        .filter(|rule| !sources().any(|(file, _)| covers(rule, file)))
        .map(|rule| format!("{rule} is gone: take it from PURE, or name what took its place"))
        .collect();
    for (file, text) in sources() {
        if says_pure(text) || PURE.iter().any(|rule| covers(rule, file)) {
            let found = impurities(text).into_iter();
            wrong.extend(
                found.map(|(line, name)| format!("{file}:{line}: a pure file names {name}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_is_where_the_engine_is_called_and_nowhere_else() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let unsafe_code = code(text).into_iter().filter(|token| token.is("unsafe"));
        let lines: Vec<_> = unsafe_code.map(|token| token.line).collect();
        match (lines.is_empty(), UNSAFE.contains(&file.as_str())) {
            (false, false) => wrong.push(format!("{file}: unsafe in lines {lines:?}")),
            (true, true) => wrong.push(format!("{file} has no unsafe: take it from UNSAFE")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_to_be_done() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        for pair in code(text).windows(2) {
            let is_left = ["todo", "unimplemented", "dbg"]
                .iter()
                .any(|name| pair[0].is(name));
            if is_left && pair[1].is("!") {
                wrong.push(format!("{file}:{}: {}!", pair[0].line, pair[0].text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn impurities_are_names_in_code() {
    let text = "use tokio::x; // tokio\nfn f() { a::now(); now(); \"fs\"; std::fs::read(y) }";
    let found: Vec<_> = impurities(text)
        .into_iter()
        .map(|(line, name)| format!("{line}{name}"))
        .collect();
    assert_eq!(found, ["1tokio", "2now", "2fs"]);
    assert!(says_pure("//! A plan.\n//! Pure.\nuse x;"));
    assert!(!says_pure("use x;\n//! Pure."));
    assert!(covers("a/b/", "a/b/c.rs") && covers("a.rs", "a.rs") && !covers("a/b", "a/b/c.rs"));
}
