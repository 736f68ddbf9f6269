//! The rules of the house, held by reading the source: who may import whom, what pure files know, where `unsafe` is,
//! how long a file may be. Needs no server: `cargo test --test house`.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod reader;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use reader::{files, files_in, imports, tokens};
use rules::{IMPURE, LINES, LONG, MAY_IMPORT, PURE, UNSAFE};

/// The top-level module that a file belongs to.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn dependencies_run_one_way() {
    let files = files();
    let modules: BTreeSet<_> = files.keys().map(|file| module_of(file)).collect();
    let rules: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let unknown: Vec<_> = modules
        .iter()
        .filter(|module| !rules.contains_key(*module))
        .collect();
    assert!(
        unknown.is_empty(),
        "modules that MAY_IMPORT does not place: {unknown:?}"
    );
    let mut wrong = Vec::new();
    for (file, text) in &files {
        let own = module_of(file);
        for (name, line) in imports(file, text) {
            // What is no module is the crate's own macro or a name of lib.rs.
            if modules.contains(name.as_str())
                && name != own
                && !rules[own].contains(&name.as_str())
            {
                wrong.push(format!("src/{file}:{line}: {own} may not import {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_rules_themselves_point_down_only() {
    let place = |module: &str| MAY_IMPORT.iter().position(|(name, _)| *name == module);
    for (module, allowed) in MAY_IMPORT {
        for other in *allowed {
            assert!(
                place(other) > place(module),
                "{module} stands below {other}, which it may import"
            );
        }
    }
    // The five that do the work: none of them knows another. HTTP stands above them, since it says how they are.
    let working = ["engine", "generate", "ingest", "replay", "transfer"];
    for (module, allowed) in MAY_IMPORT
        .iter()
        .filter(|(module, _)| working.contains(module))
    {
        assert!(
            allowed.iter().all(|other| !working.contains(other)),
            "{module}"
        );
    }
}

/// Whether the documentation of a file's module says that it is pure.
fn says_pure(text: &str) -> bool {
    text.lines()
        .take_while(|line| line.starts_with("//!"))
        .any(|line| line.contains("Pure."))
}

#[test]
fn pure_files_know_no_runtime_no_server_no_store_and_no_clock() {
    let files = files();
    let is_under =
        |rule: &str, file: &str| file == rule || rule.ends_with('/') && file.starts_with(rule);
    let mut wrong: Vec<String> = PURE
        .iter()
        .filter(|rule| !files.keys().any(|file| is_under(rule, file)))
        .map(|rule| format!("{rule} is gone: take it from PURE, or name what took its place"))
        .collect();
    for (file, text) in &files {
        if !says_pure(text) && !PURE.iter().any(|rule| is_under(rule, file)) {
            continue;
        }
        let tokens = tokens(text);
        for (at, (line, token)) in tokens.iter().enumerate() {
            let is_clock = token == "now" && at > 0 && tokens[at - 1].1 == "::";
            if is_clock || IMPURE.contains(&token.as_str()) {
                wrong.push(format!("src/{file}:{line}: a pure file names {token}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_is_where_the_engine_is_called_and_nowhere_else() {
    for (file, text) in files() {
        let lines: Vec<_> = tokens(&text)
            .into_iter()
            .filter(|(_, token)| token == "unsafe")
            .map(|(line, _)| line)
            .collect();
        assert!(
            lines.is_empty() || UNSAFE.contains(&file.as_str()),
            "src/{file}: unsafe in lines {lines:?}"
        );
    }
}

#[test]
fn nothing_is_left_to_be_done() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let tokens = tokens(&text);
        for pair in tokens.windows(2) {
            let is_macro = pair[1].1 == "!";
            if is_macro && ["todo", "unimplemented", "dbg"].contains(&pair[0].1.as_str()) {
                wrong.push(format!("src/{file}:{}: {}!", pair[0].0, pair[0].1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_is_no_longer_than_can_be_read_at_once() {
    let lengths: BTreeMap<_, _> = ["src", "tests", "benches"]
        .into_iter()
        .flat_map(files_in)
        .map(|(file, text)| (file, text.lines().count()))
        .collect();
    let mut wrong = Vec::new();
    for (file, lines) in lengths.iter().filter(|(_, lines)| **lines > LINES) {
        if !LONG.iter().any(|(long, _)| long == file) {
            wrong.push(format!(
                "{file} has {lines} lines: split it, or say in LONG why not"
            ));
        }
    }
    for (file, _) in LONG {
        if lengths.get(*file).is_none_or(|lines| *lines <= LINES) {
            wrong.push(format!("{file} is not long: take it from LONG"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let named: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.ends_with("` |"))
        .filter_map(|line| {
            line.rsplit_once(" | ")
                .and_then(|(_, held_by)| held_by.strip_suffix(" |").or(Some(held_by)))
        })
        .flat_map(|held_by| held_by.split('`').skip(1).step_by(2))
        .collect();
    assert!(named.len() > 20, "the table was not understood: {named:?}");
    let mut sources = String::new();
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)
            .expect("a folder")
            .map(|e| e.expect("an entry").path())
        {
            match entry.extension() {
                _ if entry.is_dir() => folders.push(entry),
                Some(rs) if rs == "rs" => {
                    sources.push_str(&std::fs::read_to_string(&entry).expect("a file"));
                }
                _ => {}
            }
        }
    }
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !sources.contains(&format!("fn {name}(")))
        .collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md names tests that do not exist: {missing:?}"
    );
}
