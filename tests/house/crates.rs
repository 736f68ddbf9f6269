//! Which crate depends on which, and what each crate's manifest says. Cargo refuses a circle; these
//! tests hold the direction that is meant, and that a dependency is used.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::PRODUCTION;
use crate::reader::{Kind, Token, code, without_tests};
use crate::rules::{ALLOWED, WORKING};
use crate::workspace::{PACKAGES, Package, root};

/// Compares what is declared with what is allowed, both ways.
fn compare(
    package: &str,
    table: &str,
    declared: &BTreeSet<String>,
    allowed: &[&str],
) -> Vec<String> {
    let unlisted = declared
        .iter()
        .filter(|name| !allowed.contains(&name.as_str()));
    let unlisted = unlisted
        .map(|name| format!("{package}: [{table}] has {name}, which ALLOWED does not list"));
    let unused = allowed.iter().filter(|name| !declared.contains(**name));
    let unused = unused
        .map(|name| format!("{package}: ALLOWED lists {name}, which [{table}] does not have"));
    unlisted.chain(unused).collect()
}

#[test]
fn dependencies_between_crates_are_those_that_are_allowed() {
    let rules: BTreeMap<_, _> = ALLOWED
        .iter()
        .map(|(name, of, dev)| (*name, (*of, *dev)))
        .collect();
    let mut wrong = Vec::new();
    for package in PACKAGES.iter() {
        let name = package.name.as_str();
        let Some((of, dev)) = rules.get(name) else {
            wrong.push(format!("{name} is not in ALLOWED"));
            continue;
        };
        wrong.extend(compare(name, "dependencies", &package.dependencies, of));
        wrong.extend(compare(
            name,
            "dev-dependencies",
            &package.dev_dependencies,
            dev,
        ));
    }
    for name in rules.keys() {
        if !PACKAGES.iter().any(|package| package.name == *name) {
            wrong.push(format!("ALLOWED lists {name}, which is not a package"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn dependencies_run_one_way() {
    let place = |package: &str| ALLOWED.iter().position(|(name, ..)| *name == package);
    for (package, allowed, _) in ALLOWED {
        for other in *allowed {
            assert!(
                place(other) > place(package),
                "{package} stands below {other}, on which it may depend"
            );
        }
    }
    for (package, allowed, _) in ALLOWED.iter().filter(|(name, ..)| WORKING.contains(name)) {
        assert!(
            allowed.iter().all(|other| !WORKING.contains(other)),
            "{package} does work and depends on another package that does"
        );
    }
}

/// Returns the packages of the workspace that code names: `mpsync_core` is `mpsync-core`.
fn named(tokens: &[Token]) -> BTreeSet<String> {
    let names = tokens.iter().filter(|token| token.kind == Kind::Name);
    let names = names.filter(|token| token.text.starts_with("mpsync_"));
    names.map(|token| token.text.replace('_', "-")).collect()
}

/// Returns the packages that a package's production code names, and those that any of its code
/// names.
fn used(package: &Package) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut production, mut any) = (BTreeSet::new(), BTreeSet::new());
    for (file, text) in package.sources() {
        let tokens = code(text);
        any.extend(named(&tokens));
        if PRODUCTION.contains(file.as_str()) {
            production.extend(named(&without_tests(&tokens)));
        }
    }
    for (_, text) in package.beside() {
        any.extend(named(&code(text)));
    }
    (production, any)
}

#[test]
fn every_dependency_between_crates_is_used() {
    let mut wrong = Vec::new();
    for package in PACKAGES.iter() {
        let (production, any) = used(package);
        let manifest = format!("{}Cargo.toml", package.folder);
        for name in package.dependencies.difference(&production) {
            wrong.push(match any.contains(name) {
                true => format!(
                    "{manifest}: only tests name {name}: it belongs into [dev-dependencies]"
                ),
                false => format!("{manifest}: no source names {name}"),
            });
        }
        for name in package.dev_dependencies.difference(&any) {
            wrong.push(format!(
                "{manifest}: no test, bench or example names {name}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_says_what_it_is_and_takes_the_workspace_s_lints() {
    let mut wrong = Vec::new();
    for package in PACKAGES.iter() {
        let manifest = format!("{}Cargo.toml", package.folder);
        if package.key("lints", "workspace") != Some("true") {
            wrong.push(format!("{manifest}: [lints] workspace = true is missing"));
        }
        if package
            .key("package", "description")
            .is_none_or(str::is_empty)
        {
            wrong.push(format!("{manifest}: the description is missing"));
        }
        if !root().join(&package.folder).join("README.md").is_file() {
            wrong.push(format!("{}README.md is missing", package.folder));
        }
        let folder = package
            .folder
            .trim_start_matches("crates/")
            .trim_end_matches('/');
        if !folder.is_empty() && package.name != format!("mpsync-{folder}") {
            wrong.push(format!(
                "{manifest}: {} is not named for its folder",
                package.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn dependencies_are_compared_both_ways() {
    let declared = BTreeSet::from(["mpsync-a".to_owned(), "mpsync-b".to_owned()]);
    let wrong = compare(
        "mpsync-x",
        "dependencies",
        &declared,
        &["mpsync-b", "mpsync-c"],
    );
    assert_eq!(
        wrong,
        [
            "mpsync-x: [dependencies] has mpsync-a, which ALLOWED does not list",
            "mpsync-x: ALLOWED lists mpsync-c, which [dependencies] does not have",
        ]
    );
    let tokens = code("use mpsync_core::error; mpsync_net::x(\"mpsync_text\"); // mpsync_comment");
    assert_eq!(
        named(&tokens),
        BTreeSet::from(["mpsync-core".to_owned(), "mpsync-net".to_owned()])
    );
}
