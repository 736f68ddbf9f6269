//! The rules of the house, held by reading the source: who may import whom, what pure files know, where `unsafe` is,
//! how long a file may be. Needs no server: `cargo test --test house`.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Every module of the crate with those that it may import besides itself. Read from the top: an arrow never points up.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // The engine has its own way to end the process.
    ("main", &["cli", "commands", "engine", "error", "logging"]),
    ("lib", &[]),
    // One thin file a verb: whatever it takes to wire one.
    (
        "commands",
        &[
            "archive",
            "cli",
            "clickhouse",
            "config",
            "daemon",
            "dataset",
            "demo",
            "engine",
            "error",
            "generate",
            "http",
            "ingest",
            "logging",
            "nats",
            "progress",
            "replay",
            "retry",
            "servers",
            "transfer",
        ],
    ),
    // The whole road on one machine.
    (
        "demo",
        &[
            "archive",
            "clickhouse",
            "config",
            "dataset",
            "engine",
            "error",
            "generate",
            "ingest",
            "nats",
            "progress",
            "replay",
            "retry",
            "servers",
            "transfer",
        ],
    ),
    // The sides of one process, and what is said of them.
    (
        "daemon",
        &[
            "access",
            "archive",
            "clickhouse",
            "config",
            "dataset",
            "error",
            "http",
            "ingest",
            "nats",
            "progress",
            "replay",
            "retry",
            "transfer",
        ],
    ),
    (
        "http",
        &[
            "access",
            "archive",
            "clickhouse",
            "config",
            "connections",
            "dataset",
            "error",
            "ingest",
            "nats",
            "progress",
            "retry",
            "transfer",
        ],
    ),
    // The names of datasets, tasks and their states are read where they are typed.
    ("cli", &["config", "dataset", "transfer"]),
    // What mpsync does: none of these knows another.
    (
        "engine",
        &[
            "access",
            "config",
            "connections",
            "error",
            "progress",
            "retry",
        ],
    ),
    (
        "generate",
        &["config", "dataset", "error", "nats", "progress", "retry"],
    ),
    (
        "ingest",
        &[
            "clickhouse",
            "config",
            "dataset",
            "error",
            "nats",
            "progress",
            "retry",
        ],
    ),
    (
        "replay",
        &[
            "archive",
            "clickhouse",
            "config",
            "dataset",
            "error",
            "nats",
            "progress",
            "retry",
        ],
    ),
    (
        "transfer",
        &[
            "archive",
            "clickhouse",
            "config",
            "dataset",
            "error",
            "progress",
            "retry",
        ],
    ),
    // Log lines go above the bars.
    ("logging", &["config", "error", "progress"]),
    // What it works with.
    (
        "archive",
        &["clickhouse", "config", "dataset", "error", "retry"],
    ),
    ("clickhouse", &["config", "dataset", "error", "retry"]),
    ("nats", &["config", "error", "retry"]),
    ("dataset", &["error"]),
    // What everything may use.
    ("access", &["config", "error"]),
    ("connections", &[]),
    ("servers", &["config", "error"]),
    ("config", &["error"]),
    ("progress", &["error"]),
    ("retry", &["error"]),
    ("error", &[]),
];

/// Files and folders that know no runtime, no server, no store, no file and no clock: the same input gives the same output.
/// Every file whose module documentation says `Pure.` is held to it too.
const PURE: &[&str] = &[
    "archive/manifest.rs",
    "clickhouse/fingerprint.rs",
    "clickhouse/sql.rs",
    "dataset/",
    "error/",
    "generate/book.rs",
    "generate/kinds.rs",
    "generate/market.rs",
    "generate/mod.rs",
    "generate/number.rs",
    "ingest/batch.rs",
    "ingest/decode/",
    "ingest/epoch.rs",
    "ingest/order.rs",
    "transfer/plan.rs",
    "transfer/task.rs",
];

/// What a pure file never names; nor any `::now`.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "async_nats",
    "object_store",
    "axum",
    "hyper",
    "libloading",
    "Tier",
    "Archive",
    "fs",
    "async",
    "await",
];

/// The only files with `unsafe`.
const UNSAFE: &[&str] = &["engine/ffi.rs"];

/// Lines of a file at most.
const LINES: usize = 500;

/// Files that are longer, with why they are better whole.
const LONG: &[(&str, &str)] = &[];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file by its path below `src`, `/` between its parts.
fn files() -> BTreeMap<String, String> {
    fn walk(folder: &Path, prefix: &str, into: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                walk(&path, &format!("{name}/"), into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(&source(), "", &mut all);
    assert!(all.len() > 20, "the source is not where this test looks");
    all
}

/// Names and punctuation of a source text, without comments, texts and characters; each with the number of its line.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    while at < chars.len() {
        let rest = &chars[at..];
        let skip = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => quoted(rest),
            ['r', ..] if raw_text(rest).is_some() && (at == 0 || !is_name(chars[at - 1])) => {
                raw_text(rest).unwrap()
            }
            ['b', 'r', ..] if raw_text(&rest[1..]).is_some() => 1 + raw_text(&rest[1..]).unwrap(),
            // A character, not a lifetime.
            ['\'', '\\', ..] => 3 + rest[3..].iter().position(|c| *c == '\'').unwrap_or(0),
            ['\'', _, '\'', ..] => 3,
            [c, ..] if is_name(*c) => {
                let length = rest.iter().position(|c| !is_name(*c)).unwrap_or(rest.len());
                found.push((line, rest[..length].iter().collect()));
                length
            }
            [':', ':', ..] => {
                found.push((line, "::".to_owned()));
                2
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    found.push((line, c.to_string()));
                }
                1
            }
            [] => break,
        };
        line += rest[..skip].iter().filter(|c| **c == '\n').count();
        at += skip;
    }
    found
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of `r"…"` or `r#"…"#`, if that is what stands here.
fn raw_text(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let body = 2 + hashes;
    let found = rest[body..].windows(end.len()).position(|w| w == end)?;
    Some(body + found + end.len())
}

/// The module path of a file: `ingest/decode/mod.rs` is `[ingest, decode]`, `main.rs` and `lib.rs` are roots.
fn module_path(file: &str) -> Vec<&str> {
    let mut path: Vec<_> = file.trim_end_matches(".rs").split('/').collect();
    if path.last() == Some(&"mod") {
        path.pop();
    }
    if path == ["lib"] || path == ["main"] {
        path.clear();
    }
    path
}

/// The top-level modules that a file names by `crate::`, `mpsync::` or enough `super::`s, with the line.
fn imports(file: &str, text: &str) -> BTreeMap<String, usize> {
    let tokens = tokens(text);
    let token = |at: usize| tokens.get(at).map_or("", |(_, text)| text.as_str());
    let depth_of_file = module_path(file).len();
    let mut found = BTreeMap::new();
    // The brace depths at which inline modules opened: within one, `super` means one level less.
    let (mut braces, mut inline) = (0_usize, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match token(at) {
            "{" => {
                braces += 1;
                if at >= 2 && token(at - 2) == "mod" {
                    inline.push(braces);
                }
            }
            "}" => {
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
                braces = braces.saturating_sub(1);
            }
            "crate" | "mpsync" if token(at + 1) == "::" && token(at.wrapping_sub(1)) != "::" => {
                take_names(&tokens, at + 2, &mut found);
            }
            "super" if token(at.wrapping_sub(1)) != "::" => {
                let mut supers = 1;
                while token(at + 1) == "::" && token(at + 2) == "super" {
                    (supers, at) = (supers + 1, at + 2);
                }
                if supers == depth_of_file + inline.len() && token(at + 1) == "::" {
                    take_names(&tokens, at + 2, &mut found);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The first name of a path, or of each path of a `{…}` list. Braces stay to be counted by the caller.
fn take_names(tokens: &[(usize, String)], at: usize, found: &mut BTreeMap<String, usize>) {
    let Some((line, first)) = tokens.get(at) else {
        return;
    };
    if first != "{" {
        found.entry(first.clone()).or_insert(*line);
        return;
    }
    let (mut depth, mut is_start) = (0, false);
    for (line, token) in &tokens[at..] {
        match token.as_str() {
            "{" => (depth, is_start) = (depth + 1, depth == 0),
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            "," => is_start = depth == 1,
            name if is_start => {
                found.entry(name.to_owned()).or_insert(*line);
                is_start = false;
            }
            _ => {}
        }
    }
}

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
    let lengths: BTreeMap<_, _> = files()
        .into_iter()
        .map(|(file, text)| (file, text.lines().count()))
        .collect();
    let mut wrong = Vec::new();
    for (file, lines) in lengths.iter().filter(|(_, lines)| **lines > LINES) {
        if !LONG.iter().any(|(long, _)| long == file) {
            wrong.push(format!(
                "src/{file} has {lines} lines: split it, or say in LONG why not"
            ));
        }
    }
    for (file, _) in LONG {
        if lengths.get(*file).is_none_or(|lines| *lines <= LINES) {
            wrong.push(format!("src/{file} is not long: take it from LONG"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_what_is_there() {
    let text = r##"
        //! use crate::comment;
        use crate::{alpha::{self, inner}, beta, gamma::Deep as Other};
        use super::sibling; /* use crate::block; */
        fn f<'a>(c: &'a str) -> char { let _ = "crate::text"; let _ = r#"crate::raw " "#; mpsync::delta::run(); '"' }
        mod tests { use super::own; use super::super::epsilon; fn g() { crate::zeta::x() } }
        use super::eta;
    "##;
    let names = |file| {
        imports(file, text)
            .into_keys()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        names("a.rs"),
        "alpha beta delta epsilon eta gamma sibling zeta"
    );
    assert_eq!(names("a/mod.rs"), names("a.rs"));
    assert_eq!(names("a/b.rs"), "alpha beta delta gamma zeta");
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
