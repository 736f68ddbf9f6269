//! The workspace as it lies on the disk: packages, their manifests, their files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Texts of files by their path from the root of the workspace, `/` between its parts.
pub(crate) type Files = BTreeMap<String, String>;

/// Folders that hold Rust of the workspace beside `src` and `crates`.
const BESIDE: [&str; 3] = ["benches", "examples", "tests"];

/// Every Rust file of the workspace.
pub(crate) static RUST: LazyLock<Files> = LazyLock::new(|| {
    let mut files = Files::new();
    for folder in ["src", "crates"].into_iter().chain(BESIDE) {
        walk(folder, "rs", &mut files);
    }
    assert!(files.len() > 100, "the source is not where this test looks");
    files
});

/// One package of the workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name, such as `mpsync-core`.
    pub(crate) name: String,
    /// Its folder with a `/` at the end; empty for the package at the root.
    pub(crate) folder: String,
    /// Its keys by section, such as `("package", "description")`.
    pub(crate) keys: BTreeMap<(String, String), String>,
    /// The packages of the workspace that it depends on.
    pub(crate) dependencies: BTreeSet<String>,
    /// The same for its tests, benches and examples.
    pub(crate) dev_dependencies: BTreeSet<String>,
}

/// Every package of the workspace.
pub(crate) static PACKAGES: LazyLock<Vec<Package>> = LazyLock::new(|| {
    let mut folders = vec![String::new()];
    if let Ok(crates) = std::fs::read_dir(root().join("crates")) {
        folders.extend(crates.map(|entry| {
            let name = entry.unwrap().file_name();
            format!("crates/{}/", name.to_str().unwrap())
        }));
    }
    folders.sort();
    folders.into_iter().map(|folder| package(&folder)).collect()
});

fn package(folder: &str) -> Package {
    let manifest = root().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    Package::parse(folder, &text)
}

impl Package {
    /// Reads what the rules need of a manifest: a key a line, as Cargo's own format has it.
    pub(crate) fn parse(folder: &str, manifest: &str) -> Self {
        let mut package = Self {
            folder: folder.to_owned(),
            ..Self::default()
        };
        let mut section = String::new();
        for line in manifest.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[') {
                name.trim_end_matches(']').clone_into(&mut section);
                // `[dependencies.mpsync-core]`
                if let Some((table, name)) = section.split_once('.') {
                    package.depend(table, name);
                }
            } else if let Some((key, value)) = line.split_once('=')
                && !line.starts_with('#')
            {
                let (key, value) = (key.trim(), value.trim().trim_matches('"'));
                package.depend(&section, key.split('.').next().unwrap());
                package
                    .keys
                    .insert((section.clone(), key.to_owned()), value.to_owned());
            }
        }
        let name = package.key("package", "name").unwrap_or_default();
        package.name = String::from(name);
        package
    }

    fn depend(&mut self, table: &str, name: &str) {
        let into = match table {
            "dependencies" => &mut self.dependencies,
            "dev-dependencies" => &mut self.dev_dependencies,
            _ => return,
        };
        if name.starts_with("mpsync-") {
            into.insert(name.to_owned());
        }
    }

    /// Returns the value of a key, without quotes.
    pub(crate) fn key(&self, section: &str, key: &str) -> Option<&str> {
        let place = (section.to_owned(), key.to_owned());
        self.keys.get(&place).map(String::as_str)
    }

    /// Returns the files of its `src`.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&'static String, &'static String)> {
        let src = format!("{}src/", self.folder);
        RUST.iter().filter(move |(file, _)| file.starts_with(&src))
    }

    /// Returns the files of its tests, benches and examples.
    pub(crate) fn beside(&self) -> impl Iterator<Item = (&'static String, &'static String)> {
        let folders = BESIDE.map(|folder| format!("{}{folder}/", self.folder));
        RUST.iter()
            .filter(move |(file, _)| folders.iter().any(|folder| file.starts_with(folder)))
    }
}

/// Returns every source file of every package.
pub(crate) fn sources() -> impl Iterator<Item = (&'static String, &'static String)> {
    PACKAGES.iter().flat_map(Package::sources)
}

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Adds every file below a folder whose name ends so. A folder that is missing has none.
pub(crate) fn walk(folder: &str, extension: &str, into: &mut Files) {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        let path = entry.path();
        if path.is_dir() {
            // Cargo marks what it builds, wherever that is.
            if !path.join("CACHEDIR.TAG").exists() {
                walk(&name, extension, into);
            }
        } else if Path::new(&name).extension() == Some(extension.as_ref()) {
            into.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn a_manifest_is_read_as_cargo_reads_it() {
    let manifest = r#"
        [package]
        name = "mpsync-a"
        version.workspace = true
        [dependencies]
        # mpsync-none.workspace = true
        mpsync-b.workspace = true
        mpsync-c = { workspace = true, features = ["x"] }
        serde = "1"
        [dependencies.mpsync-d]
        path = "../d"
        [dev-dependencies]
        mpsync-testkit.workspace = true
        [lints]
        workspace = true
    "#;
    let package = Package::parse("crates/a/", manifest);
    let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(package.name, "mpsync-a");
    assert_eq!(names(&package.dependencies), "mpsync-b mpsync-c mpsync-d");
    assert_eq!(names(&package.dev_dependencies), "mpsync-testkit");
    assert_eq!(package.key("lints", "workspace"), Some("true"));
    assert_eq!(package.key("package", "description"), None);
}
