//! The module tree of a crate, and which file defines what a path names. Re-exports are followed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::reader::{Kind, Token, closing, code, without_tests};
use crate::workspace::{Files, PACKAGES, RUST, sources};

/// Every crate of the workspace: the library of a package, and its program.
pub(crate) static CRATES: LazyLock<Vec<Crate>> =
    LazyLock::new(|| roots().map(|root| Crate::read(&root, &RUST)).collect());

/// Returns the first file of every crate.
fn roots() -> impl Iterator<Item = String> {
    let roots = PACKAGES.iter().flat_map(|package| {
        ["lib.rs", "main.rs"].map(|root| format!("{}src/{root}", package.folder))
    });
    roots.filter(|root| RUST.contains_key(root))
}

/// The files with production code: those of the crates' module trees, without what is compiled for
/// tests only.
pub(crate) static PRODUCTION: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let modules = CRATES.iter().flat_map(|of_crate| &of_crate.modules);
    modules.map(|module| module.file.as_str()).collect()
});

/// A module of production code: a file, or `mod x { … }` within one.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// The items that it defines, each with the file that does: a macro that is exported is an item
    /// of the crate's root.
    items: BTreeMap<String, String>,
    pub(crate) uses: Vec<Use>,
    /// Paths in its code, of one name or several, each with its line.
    pub(crate) paths: Vec<(Vec<String>, usize)>,
}

/// One name of a `use`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) path: Vec<String>,
    /// Its name in the module; `*` for all names of the path.
    pub(crate) alias: String,
    pub(crate) line: usize,
}

/// The target of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// An item of this file.
    Item(String),
    Module(usize),
}

/// The modules of one crate; the first is its root.
#[derive(Debug)]
pub(crate) struct Crate {
    pub(crate) modules: Vec<Module>,
    /// `mod x;` whose file is missing.
    pub(crate) missing: Vec<String>,
    /// Makes tokens of a file's source.
    tokens: fn(&str) -> Vec<Token>,
}

impl Crate {
    /// Reads the crate that begins with the file `root`. Test code is left out.
    pub(crate) fn read(root: &str, files: &Files) -> Self {
        Self::read_by(|source| without_tests(&code(source)), root, files)
    }

    fn read_by(tokens: fn(&str) -> Vec<Token>, root: &str, files: &Files) -> Self {
        let mut of_crate = Self {
            modules: vec![Module {
                file: root.to_owned(),
                ..Module::default()
            }],
            missing: Vec::new(),
            tokens,
        };
        of_crate.load(0, files);
        of_crate
    }

    fn load(&mut self, module: usize, files: &Files) {
        let file = self.modules[module].file.clone();
        let tokens = (self.tokens)(&files[&file]);
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", &file));
        let folder = match name {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
            _ => file.trim_end_matches(".rs").to_owned(),
        };
        self.scan(module, &tokens, &folder, files);
    }

    /// Reads the items of one module; `folder` is where the files of its children lie.
    fn scan(&mut self, module: usize, tokens: &[Token], folder: &str, files: &Files) {
        let mut rest = Vec::with_capacity(tokens.len());
        let (mut at, mut path) = (0, None);
        while let Some(token) = tokens.get(at) {
            let next = |by: usize| tokens.get(at + by).map_or("", |token| token.text.as_str());
            let is_named = tokens.get(at + 1).is_some_and(|t| t.kind == Kind::Name);
            if token.is("#") && matches!(next(1), "[" | "!") {
                let end = closing(tokens, at + 1 + usize::from(next(1) == "!"));
                if next(2) == "path" {
                    // As the compiler has it: from the folder of the file, not from that of its
                    // children.
                    let file = &self.modules[module].file;
                    let beside = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                    path = Some(format!("{beside}/{}", next(4)));
                }
                attribute(&tokens[at..end], &mut rest);
                at = end;
            } else if token.is("mod") && is_named && next(2) == ";" {
                self.child(module, tokens, at, (folder, path.take()), files);
                at += 3;
            } else if token.is("mod") && is_named && next(2) == "{" {
                let end = closing(tokens, at + 2);
                let (name, file) = (next(1), self.modules[module].file.clone());
                let child = self.add(module, name, file);
                let folder = format!("{folder}/{name}");
                self.scan(child, &tokens[at + 3..end - 1], &folder, files);
                at = end;
            } else if token.is("use") && (at == 0 || begins_item(&tokens[at - 1])) {
                let uses = &mut self.modules[module].uses;
                at = use_tree(tokens, at + 1, &[], uses);
            } else if token.is("macro_rules") && next(1) == "!" {
                let exported = at > 1 && tokens[at - 2].is("macro_export");
                let file = self.modules[module].file.clone();
                let home = if exported { 0 } else { module };
                self.modules[home].items.insert(next(2).to_owned(), file);
                let end = closing(tokens, at + 3);
                rest.extend_from_slice(&tokens[at + 3..end]);
                at = end;
            } else {
                rest.push(token.clone());
                at += 1;
            }
        }
        let file = self.modules[module].file.clone();
        let module = &mut self.modules[module];
        let items = definitions(&rest);
        module
            .items
            .extend(items.into_iter().map(|item| (item, file.clone())));
        module.paths.extend(paths(&rest));
    }

    fn add(&mut self, parent: usize, name: &str, file: String) -> usize {
        let child = self.modules.len();
        self.modules.push(Module {
            file,
            parent: Some(parent),
            ..Module::default()
        });
        self.modules[parent].children.insert(name.to_owned(), child);
        child
    }

    /// Reads the file of the `mod x;` at `at`.
    fn child(
        &mut self,
        module: usize,
        tokens: &[Token],
        at: usize,
        (folder, path): (&str, Option<String>),
        files: &Files,
    ) {
        let name = &tokens[at + 1].text;
        let usual = [
            format!("{folder}/{name}.rs"),
            format!("{folder}/{name}/mod.rs"),
        ];
        // A file that a crate shares belongs to the crate in whose folder it lies.
        let is_shared = path.as_deref().is_some_and(|path| path.contains("/../../"));
        let mut candidates = path.into_iter().chain(usual);
        let Some(file) = candidates.find(|file| files.contains_key(file)) else {
            let (file, line) = (&self.modules[module].file, tokens[at].line);
            if !is_shared {
                self.missing.push(format!("{file}:{line}: mod {name}"));
            }
            return;
        };
        let child = self.add(module, name, file);
        self.load(child, files);
    }

    /// Returns what a path leads to that stands in a module; `None` for what is not of this crate.
    pub(crate) fn resolve(&self, module: usize, path: &[String]) -> Option<Found> {
        self.resolve_within(module, path, false, &mut Vec::new())
    }

    /// The same for a path whose end is to be a module, where a module and an item share a name.
    fn resolve_within(
        &self,
        module: usize,
        path: &[String],
        ends_in_module: bool,
        seen: &mut Vec<(usize, String)>,
    ) -> Option<Found> {
        let is_last = |at: usize| at + 1 == path.len();
        let (mut here, mut at) = (module, 0);
        match path.first()?.as_str() {
            "crate" => (here, at) = (0, 1),
            "self" | "super" => {
                while let Some(name) = path.get(at).filter(|n| *n == "self" || *n == "super") {
                    if name == "super" {
                        here = self.modules[here].parent?;
                    }
                    at += 1;
                }
            }
            _ => {}
        }
        while at < path.len() {
            let wants_module = !is_last(at) || ends_in_module;
            match self.lookup(here, &path[at], wants_module, seen)? {
                Found::Module(module) => (here, at) = (module, at + 1),
                // What follows is a variant or an associated item.
                item @ Found::Item(_) => return Some(item),
            }
        }
        Some(Found::Module(here))
    }

    /// Returns what a name means in a module. `seen` ends what re-exports itself.
    fn lookup(
        &self,
        module: usize,
        name: &str,
        wants_module: bool,
        seen: &mut Vec<(usize, String)>,
    ) -> Option<Found> {
        let of = &self.modules[module];
        let child = of.children.get(name).map(|child| Found::Module(*child));
        let item = of.items.get(name).map(|file| Found::Item(file.clone()));
        let own = if wants_module {
            child.or(item)
        } else {
            item.or(child)
        };
        if own.is_some() {
            return own;
        }
        let key = (module, name.to_owned());
        if seen.contains(&key) {
            return None;
        }
        seen.push(key);
        let mut named = Vec::new();
        for of_use in of.uses.iter().filter(|of_use| of_use.alias == name) {
            named.extend(self.resolve_within(
                module,
                &of_use.path,
                wants_module,
                &mut seen.clone(),
            ));
        }
        let fits = |found: &&Found| matches!(found, Found::Module(_)) == wants_module;
        if let Some(found) = named.iter().find(fits).or(named.first()) {
            return Some(found.clone());
        }
        let mut globs = of.uses.iter().filter(|of_use| of_use.alias == "*");
        globs.find_map(|glob| {
            match self.resolve_within(module, &glob.path, true, &mut seen.clone())? {
                Found::Module(target) => self.lookup(target, name, wants_module, seen),
                Found::Item(_) => None,
            }
        })
    }

    /// Returns whether the module itself defines or imports the name, other than by `*`.
    pub(crate) fn knows(&self, module: usize, name: &str) -> bool {
        let module = &self.modules[module];
        module.items.contains_key(name)
            || module.children.contains_key(name)
            || module.uses.iter().any(|of_use| of_use.alias == name)
    }
}

fn begins_item(before: &Token) -> bool {
    [";", "}", "{", "]", ")", "pub"]
        .iter()
        .any(|mark| before.is(mark))
}

/// Keeps an attribute's names, and the paths in its texts, such as `with = "super::hex"`.
fn attribute(tokens: &[Token], rest: &mut Vec<Token>) {
    for token in tokens {
        if token.kind != Kind::Text {
            rest.push(token.clone());
        } else if token.text.contains("::") && !token.text.contains(char::is_whitespace) {
            rest.extend(code(&token.text).into_iter().map(|inner| Token {
                line: token.line,
                ..inner
            }));
        }
    }
}

/// Reads a `use` tree that begins at `at`; returns the index behind it.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], into: &mut Vec<Use>) -> usize {
    let mut path = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    let mut alias = None;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| !token.is("}")) {
                    at = use_tree(tokens, at, &path, into);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.is(",")));
                }
                return at + 1;
            }
            "," | ";" | "}" => break,
            "::" => {}
            "*" => alias = Some("*".to_owned()),
            "as" => {
                at += 1;
                alias = tokens.get(at).map(|token| token.text.clone());
            }
            name => {
                path.push(name.to_owned());
                line = token.line;
            }
        }
        at += 1;
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let alias = alias.or_else(|| path.last().cloned()).unwrap_or_default();
    into.push(Use { path, alias, line });
    at
}

/// Returns the names of the items that stand in a module's code, not within other items.
fn definitions(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 1 < tokens.len() {
        let token = &tokens[at];
        if ["(", "[", "{"].iter().any(|mark| token.is(mark)) {
            at = closing(tokens, at);
            continue;
        }
        let is_definition = [
            "struct", "enum", "union", "trait", "type", "const", "static", "fn",
        ]
        .iter()
        .any(|word| token.is(word));
        let name = match tokens[at + 1].is("mut") {
            true => tokens.get(at + 2),
            false => tokens.get(at + 1),
        };
        if is_definition
            && let Some(name) = name.filter(|name| name.kind == Kind::Name)
            && !["fn", "unsafe", "async"].contains(&name.text.as_str())
        {
            found.push(name.text.clone());
        }
        at += 1;
    }
    found
}

/// Returns the paths in code: every name that does not follow a `.`, with what follows it behind
/// `::`.
fn paths(tokens: &[Token]) -> Vec<(Vec<String>, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let follows = |mark: &str| before.is_some_and(|before| before.is(mark));
        // `pub(in crate::a)` limits visibility and imports nothing.
        if token.is("in") && follows("(") {
            at = closing(tokens, at - 1);
            continue;
        }
        if token.kind != Kind::Name || follows(".") || follows("::") || follows("fn") {
            at += 1;
            continue;
        }
        let (mut path, line) = (vec![token.text.clone()], token.line);
        while tokens.get(at + 1).is_some_and(|token| token.is("::"))
            && let Some(next) = tokens.get(at + 2).filter(|next| next.kind == Kind::Name)
        {
            path.push(next.text.clone());
            at += 2;
        }
        // A field or a parameter of this name; `self`; the scope of `pub(super)`.
        let is_label = tokens.get(at + 1).is_some_and(|token| token.is(":"))
            || ["self", "super", "crate"].contains(&path[0].as_str());
        if path.len() > 1 || !is_label {
            found.push((path, line));
        }
        at += 1;
    }
    found
}

#[test]
fn every_file_belongs_to_a_crate() {
    let mut files: BTreeSet<_> = sources().map(|(file, _)| file.clone()).collect();
    for root in roots() {
        let of_crate = Crate::read_by(code, &root, &RUST);
        assert!(of_crate.missing.is_empty(), "{:?}", of_crate.missing);
        for module in &of_crate.modules {
            files.remove(&module.file);
        }
    }
    assert!(files.is_empty(), "no `mod` names these files: {files:#?}");
}

#[cfg(test)]
fn files(texts: &[(&str, &str)]) -> Files {
    let own = |(file, text): &(&str, &str)| ((*file).to_owned(), (*text).to_owned());
    texts.iter().map(own).collect()
}

#[test]
fn a_path_leads_to_the_file_that_defines_the_item() {
    let files = files(&[
        (
            "src/lib.rs",
            "mod a; pub mod b; pub use a::{Deep as Other, deep}; use a::*;",
        ),
        (
            "src/a/mod.rs",
            "mod deep; pub use self::deep::Deep; pub fn here() {} pub fn deep() {}",
        ),
        (
            "src/a/deep.rs",
            "pub struct Deep; pub mod inline { pub struct Inner; }",
        ),
        (
            "src/b.rs",
            "use super::a::deep::inline; mod tests_of { use super::super::Other; }",
        ),
    ]);
    let of_crate = Crate::read("src/lib.rs", &files);
    assert!(of_crate.missing.is_empty());
    let b = of_crate.modules[0].children["b"];
    let leads_to = |module: usize, path: &str| {
        let path: Vec<_> = path.split("::").map(str::to_owned).collect();
        match of_crate.resolve(module, &path) {
            Some(Found::Item(file)) => file,
            Some(Found::Module(module)) => format!("mod {}", of_crate.modules[module].file),
            None => "nowhere".to_owned(),
        }
    };
    assert_eq!(leads_to(b, "crate::Other"), "src/a/deep.rs");
    assert_eq!(leads_to(b, "super::Other::new"), "src/a/deep.rs");
    assert_eq!(leads_to(b, "super::here"), "src/a/mod.rs");
    assert_eq!(leads_to(b, "inline::Inner"), "src/a/deep.rs");
    assert_eq!(leads_to(b, "inline"), "mod src/a/deep.rs");
    assert_eq!(leads_to(b, "super::a::deep"), "src/a/mod.rs");
    assert_eq!(leads_to(b, "super::a::deep::Deep"), "src/a/deep.rs");
    assert_eq!(leads_to(0, "b"), "mod src/b.rs");
    assert_eq!(leads_to(b, "std::fmt"), "nowhere");
    let inline = of_crate.modules[b].children["tests_of"];
    assert_eq!(leads_to(inline, "Other"), "src/a/deep.rs");
    assert_eq!(leads_to(inline, "super::inline::Inner"), "src/a/deep.rs");
}

#[test]
fn every_form_of_a_use_is_read() {
    let tokens = code("a::{self, b::{C, d as e}, f::*}, ::g, h as _;");
    let mut uses = Vec::new();
    let mut at = 0;
    while !tokens[at].is(";") {
        at = use_tree(&tokens, at, &[], &mut uses);
        at += usize::from(tokens[at].is(","));
    }
    let shown: Vec<_> = uses
        .iter()
        .map(|of_use| format!("{}={}", of_use.alias, of_use.path.join("::")))
        .collect();
    assert_eq!(shown.join(" "), "a=a C=a::b::C e=a::b::d *=a::f g=g _=h");
}

#[test]
fn paths_are_names_that_mean_something_here() {
    let tokens =
        code("pub(in crate::x) fn name(field: Type) -> a::b::C { self.method(d) + e::<F>() }");
    let shown: Vec<_> = paths(&tokens)
        .into_iter()
        .map(|(path, _)| path.join("::"))
        .collect();
    assert_eq!(shown.join(" "), "pub fn Type a::b::C d e F");
}
