//! No two files of a crate import each other, directly or through others: each can be read, tested
//! and moved with what lies below it alone. Between crates Cargo holds the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::modules::{CRATES, Crate, Found};
use crate::rules::CIRCLES;

/// The files that a file imports, each with the names and lines by which it does.
type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<(usize, String)>>>;

/// Returns which file imports what of which. A name counts for the file that defines it, through
/// whatever it was re-exported; `mod x;` is not an import, nor is a `pub use` of something that the
/// file itself does not need.
fn imports(of_crate: &Crate) -> Imports {
    // By file: the names that stand alone in its code, and those with which a longer path begins.
    let (mut alone, mut first) = (BTreeSet::new(), BTreeSet::new());
    for module in &of_crate.modules {
        for (path, _) in &module.paths {
            let into = if path.len() == 1 {
                &mut alone
            } else {
                &mut first
            };
            into.insert((module.file.as_str(), path[0].as_str()));
        }
    }
    let mut found = Imports::new();
    for (at, module) in of_crate.modules.iter().enumerate() {
        let mut add = |target: &Found, line: usize, name: String| {
            let file = match target {
                Found::Item(file) => file,
                Found::Module(module) => &of_crate.modules[*module].file,
            };
            if *file != module.file {
                let of_file = found.entry(module.file.clone()).or_default();
                of_file
                    .entry(file.clone())
                    .or_default()
                    .insert((line, name));
            }
        };
        for (path, line) in &module.paths {
            // A single name is an import where it comes by `*`; otherwise its `use` is.
            if path.len() == 1 && of_crate.knows(at, &path[0]) {
                continue;
            }
            if let Some(target) = leads_to(of_crate, at, path) {
                add(&target, *line, path.join("::"));
            }
        }
        for of_use in module.uses.iter().filter(|of_use| of_use.alias != "*") {
            let Some(target) = of_crate.resolve(at, &of_use.path) else {
                continue;
            };
            let name = (module.file.as_str(), of_use.alias.as_str());
            // A path through a module counts for the file to which it leads, not for the module's.
            let is_item = matches!(target, Found::Item(_));
            if alone.contains(&name) || is_item && (of_use.alias == "_" || first.contains(&name)) {
                add(&target, of_use.line, of_use.path.join("::"));
            }
        }
    }
    found
}

/// Returns what a path leads to, or its longest beginning if a macro makes the rest.
fn leads_to(of_crate: &Crate, module: usize, path: &[String]) -> Option<Found> {
    if let Some(found) = of_crate.resolve(module, path) {
        return Some(found);
    }
    let beginnings = (1..path.len()).rev();
    let mut found = beginnings.filter_map(|length| of_crate.resolve(module, &path[..length]));
    found.next().filter(|found| *found != Found::Module(0))
}

/// Returns the sets of files that import each other, directly or through others.
fn circles(imports: &Imports) -> Vec<BTreeSet<String>> {
    let closure: BTreeMap<_, _> = imports
        .keys()
        .map(|file| (file, reach(imports, file)))
        .collect();
    let reaches = |from: &String, to: &String| closure.get(from).is_some_and(|r| r.contains(to));
    let mut found: Vec<BTreeSet<String>> = Vec::new();
    for file in imports.keys() {
        if !reaches(file, file) || found.iter().any(|circle| circle.contains(file)) {
            continue;
        }
        let others = closure[file].iter().filter(|other| reaches(other, file));
        found.push(others.cloned().collect());
    }
    found
}

/// Returns every file that is imported by a file, directly or through others.
fn reach(imports: &Imports, from: &str) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        for next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    found
}

/// Removes the imports among files that the rules allow to import each other.
fn without_allowed(mut imports: Imports) -> Imports {
    for (allowed, _) in CIRCLES {
        for file in *allowed {
            if let Some(of_file) = imports.get_mut(*file) {
                of_file.retain(|other, _| !allowed.contains(&other.as_str()));
            }
        }
    }
    imports
}

fn describe(circle: &BTreeSet<String>, imports: &Imports) -> String {
    let mut text = format!("{} files import each other:", circle.len());
    for file in circle {
        for (other, names) in imports[file]
            .iter()
            .filter(|(other, _)| circle.contains(*other))
        {
            for (line, name) in names {
                let _ = write!(text, "\n  {file}:{line}: {name} of {other}");
            }
        }
    }
    text
}

#[test]
fn no_two_files_import_each_other() {
    let (mut wrong, mut allowed) = (Vec::new(), BTreeSet::new());
    for of_crate in CRATES.iter() {
        wrong.extend(of_crate.missing.iter().map(|m| format!("{m} has no file")));
        let all = imports(of_crate);
        allowed.extend(circles(&all).into_iter().flatten());
        let rest = without_allowed(all);
        let found = circles(&rest);
        wrong.extend(found.iter().map(|circle| describe(circle, &rest)));
    }
    for file in CIRCLES.iter().flat_map(|(files, _)| *files) {
        if !allowed.contains(*file) {
            wrong.push(format!("{file} is in no circle: take it from CIRCLES"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[cfg(test)]
fn of_texts(texts: &[(&str, &str)]) -> Imports {
    let own = |(file, text): &(&str, &str)| ((*file).to_owned(), (*text).to_owned());
    imports(&Crate::read("src/lib.rs", &texts.iter().map(own).collect()))
}

#[cfg(test)]
fn names(circles: &[BTreeSet<String>]) -> String {
    let names: Vec<_> = circles
        .iter()
        .map(|circle| {
            circle
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    names.join("; ")
}

#[test]
fn a_circle_is_found_through_a_re_export_and_through_others() {
    let imports = of_texts(&[
        (
            "src/lib.rs",
            "mod a; mod b; mod c; mod d; pub use a::A; pub use c::C;",
        ),
        (
            "src/a.rs",
            "use super::C; pub struct A; impl A { fn f(_: C) {} }",
        ),
        ("src/b.rs", "use crate::A; pub struct B(A);"),
        (
            "src/c.rs",
            "pub struct C; impl C { fn f() { super::b::B::g() } }",
        ),
        ("src/d.rs", "use super::{A, b::B}; pub struct D(A, B);"),
    ]);
    assert_eq!(names(&circles(&imports)), "src/a.rs src/b.rs src/c.rs");
    let text = describe(&circles(&imports)[0], &imports);
    assert!(
        text.contains("src/c.rs:1: super::b::B::g of src/b.rs"),
        "{text}"
    );
}

#[test]
fn declaring_re_exporting_and_testing_are_not_imports() {
    let imports = of_texts(&[
        (
            "src/lib.rs",
            "mod a; pub use a::{A, Unneeded}; pub struct Root;",
        ),
        (
            "src/a.rs",
            "pub(in crate::a) struct A(super::Root); #[cfg(test)] mod tests { use crate::b; }",
        ),
    ]);
    assert_eq!(names(&circles(&imports)), "");
    let imports = of_texts(&[
        (
            "src/lib.rs",
            "mod a; pub use a::A; pub struct Root; fn f() -> A { a::make() }",
        ),
        ("src/a.rs", "use super::*; pub struct A(Root);"),
    ]);
    assert_eq!(names(&circles(&imports)), "src/a.rs src/lib.rs");
}

#[test]
fn a_module_s_name_is_an_import_of_where_its_paths_lead() {
    let imports = of_texts(&[
        ("src/lib.rs", "mod a; mod b;"),
        (
            "src/a/mod.rs",
            "mod deep; pub use deep::Deep; use crate::b::B; pub fn f(_: B) {}",
        ),
        ("src/a/deep.rs", "pub struct Deep;"),
        ("src/b.rs", "use crate::a; pub struct B(a::Deep);"),
    ]);
    assert_eq!(names(&circles(&imports)), "");
}
