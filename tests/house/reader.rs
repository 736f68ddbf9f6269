//! Reads the source: its files, their names and punctuation, and what they import.

use std::collections::BTreeMap;
use std::path::Path;

/// Every Rust file of a folder of the project by its path, `/` between its parts.
pub(crate) fn files_in(folder: &str) -> BTreeMap<String, String> {
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    walk(&root, &format!("{folder}/"), &mut all);
    all
}

/// Every Rust file by its path below `src`.
pub(crate) fn files() -> BTreeMap<String, String> {
    let below = |(file, text): (String, String)| {
        let file = file.strip_prefix("src/").unwrap();
        (file.to_owned(), text)
    };
    let all: BTreeMap<_, _> = files_in("src").into_iter().map(below).collect();
    assert!(all.len() > 20, "the source is not where this test looks");
    all
}

/// Names and punctuation of a source text, without comments, texts and characters; each with the number of its line.
pub(crate) fn tokens(text: &str) -> Vec<(usize, String)> {
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
pub(crate) fn imports(file: &str, text: &str) -> BTreeMap<String, usize> {
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
