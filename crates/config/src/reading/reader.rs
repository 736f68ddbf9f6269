//! The one reader of all keys: a section asks for its keys, the reader notes who said each, what is wrong with it, and at
//! the end what was said that nobody asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::key::ConfigKey;
use super::problems::{Problems, nearest};
use super::settings::Setting;
use super::source::{Origin, RawConfig, RawNode, RawValue};
use mpsync_net::Secret;

/// What becomes of a setting that is insecure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Nothing is said.
    Silent,
    /// It is a warning.
    Warn,
    /// It is refused.
    Refuse,
}

/// Reads what was said.
pub(super) struct ConfigReader {
    pub(super) raw: RawConfig,
    /// The folder that relative paths of the file begin at.
    pub(super) base: PathBuf,
    pub(super) settings: Vec<Setting>,
    pub(super) problems: Problems,
    pub(super) warnings: Problems,
    pub(super) strictness: Strictness,
    /// Sections whose keys are names that people choose.
    tables: Vec<String>,
}

impl ConfigReader {
    pub(super) fn new(raw: RawConfig, base: &Path, problems: Problems) -> Self {
        Self {
            raw,
            base: base.to_owned(),
            settings: Vec::new(),
            problems,
            warnings: Problems::default(),
            strictness: Strictness::Silent,
            tables: Vec::new(),
        }
    }

    /// The keys beside the sections.
    pub(super) fn top(&mut self) -> Section<'_> {
        Section {
            prefix: String::new(),
            reader: self,
        }
    }

    /// A section of the file.
    pub(super) fn section(&mut self, name: &str) -> Section<'_> {
        Section {
            prefix: format!("{name}."),
            reader: self,
        }
    }

    /// Who said a key; nobody where it is not said.
    pub(super) fn origin(&self, key: &str) -> Origin {
        match self.raw.values.get(key) {
            Some(RawValue { value, origin }) if *value != RawNode::Null => origin.clone(),
            _ => self
                .raw
                .sections
                .get(key)
                .cloned()
                .unwrap_or(Origin::Default),
        }
    }

    /// Where the name of a key or section stands; where its value stands if that came from elsewhere.
    fn place_of_name(&self, key: &str, raw_value: &RawValue) -> Origin {
        match (&raw_value.origin, self.raw.sections.get(key)) {
            (Origin::File { .. }, Some(place)) => place.clone(),
            _ => raw_value.origin.clone(),
        }
    }

    /// Adds to the problems what was said that no section asked for.
    pub(super) fn refuse_the_rest(&mut self) {
        let known: BTreeSet<String> = self.settings.iter().map(|s| s.key.clone()).collect();
        let is_below = |key: &str, section: &str| {
            key.strip_prefix(section)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        let mut told = BTreeSet::new();
        for (key, raw_value) in &self.raw.values {
            if known.contains(key) {
                continue;
            }
            let is_nothing = matches!(raw_value.value, RawNode::Null | RawNode::Section);
            let as_value = known.iter().find(|value| is_below(key, value));
            let is_section = self.tables.contains(key) || known.iter().any(|k| is_below(k, key));
            if let Some(value) = as_value {
                if told.insert(value.clone()) {
                    let place = self.place_of_name(value, raw_value);
                    self.problems
                        .add(place, value, "it is a value, not a section with keys");
                }
            } else if is_section {
                if !is_nothing {
                    let what = "it is a section: its keys stand below it";
                    self.problems
                        .add(self.place_of_name(key, raw_value), key, what);
                }
            } else {
                let unknown = first_unknown(key, &known, &self.tables);
                if told.insert(unknown.to_owned()) {
                    let place = self.place_of_name(unknown, raw_value);
                    self.problems
                        .add(place, unknown, no_such_key(unknown, &known));
                }
            }
        }
    }
}

/// The shortest beginning of an unknown key that is no section: of `hot.batch_size`, where there is no `hot`, `hot`.
fn first_unknown<'k>(key: &'k str, known: &BTreeSet<String>, tables: &[String]) -> &'k str {
    key.match_indices('.')
        .map(|(dot, _)| &key[..dot])
        .find(|section| {
            let section = format!("{section}.");
            !known.iter().any(|k| k.starts_with(&section))
                && !tables.iter().any(|t| section.starts_with(&format!("{t}.")))
        })
        .unwrap_or(key)
}

fn no_such_key(unknown: &str, known: &BTreeSet<String>) -> String {
    let (section, name) = unknown
        .rsplit_once('.')
        .map_or(("", unknown), |(s, n)| (s, n));
    let beside: BTreeSet<&str> = known
        .iter()
        .filter_map(|key| match section {
            "" => Some(key.as_str()),
            section => key.strip_prefix(section)?.strip_prefix('.'),
        })
        .filter_map(|rest| rest.split('.').next())
        .collect();
    let elsewhere = || {
        known
            .iter()
            .find(|key| key.rsplit('.').next() == Some(name))
    };
    if let Some(near) = nearest(name, beside.iter().copied()) {
        format!("there is no such key; did you mean `{near}`?")
    } else if let Some(key) = elsewhere() {
        format!("there is no such key; did you mean `{key}`?")
    } else {
        let all: Vec<_> = beside.into_iter().collect();
        format!("there is no such key; there are {}", all.join(", "))
    }
}

/// The keys of one section.
pub(super) struct Section<'r> {
    /// The section's name with a dot, or nothing.
    prefix: String,
    reader: &'r mut ConfigReader,
}

impl Section<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A key, to be read as what its type says.
    pub(super) fn key(&mut self, name: &str) -> ConfigKey<'_> {
        ConfigKey::new(self.path(name), self.reader)
    }

    /// A section within this one.
    pub(super) fn section(&mut self, name: &str) -> Section<'_> {
        let path = self.path(name);
        self.reader.section(&path)
    }

    /// The names that people chose in a section within this one.
    pub(super) fn names(&mut self, table: &str) -> Vec<String> {
        let path = self.path(table);
        let raw = &mut self.reader.raw;
        if !raw.expand_section(&path) {
            let what = "it is a section: names with keys below them";
            let origin = self.reader.origin(&path);
            self.reader.problems.add(origin, &path, what);
            self.reader.raw.values.remove(&path);
        }
        let below = format!("{path}.");
        self.reader.tables.push(path);
        let leaves = self.reader.raw.values.keys();
        let names: BTreeSet<String> = leaves
            .filter_map(|key| key.strip_prefix(&below))
            .filter_map(|rest| Some(rest.split_once('.')?.0.to_owned()))
            .collect();
        names.into_iter().collect()
    }

    /// A secret, said as `name` or as `name_file`, a file that holds it.
    pub(super) fn secret(&mut self, name: &str) -> Option<Secret> {
        let file = format!("{name}_file");
        let text = self.key(name).secret_text();
        let path = self.key(&file).optional_path();
        match (text, path) {
            (Some(_), Some(_)) => {
                self.wrong(&file, format!("say {name} or {file}, not both"));
                None
            }
            (Some(text), None) => Some(text),
            (None, Some(path)) => Secret::from_file(&path)
                .map_err(|e| self.wrong(&file, e.to_string()))
                .ok(),
            (None, None) => None,
        }
    }

    /// Who said a key of this section; `None` where nobody did.
    pub(super) fn origin_of(&self, name: &str) -> Option<Origin> {
        let origin = self.reader.origin(&self.path(name));
        (origin != Origin::Default).then_some(origin)
    }

    /// A key contradicts another or what is on the disk.
    pub(super) fn wrong(&mut self, name: &str, what: impl Into<String>) {
        let path = self.path(name);
        let origin = self.reader.origin(&path);
        self.reader.problems.add(origin, &path, what);
    }

    /// Whether somebody said a key.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.reader.origin(&self.path(name)) != Origin::Default
    }

    /// A key lets others read or do what they should not, but there may be reasons: warned of in every environment.
    pub(super) fn warn(&mut self, name: &str, what: &str) {
        let path = self.path(name);
        let origin = self.reader.origin(&path);
        self.reader.warnings.add(origin, &path, what);
    }

    /// A key lets others read or do what they must not: refused in production, warned of in staging.
    pub(super) fn insecure(&mut self, name: &str, what: &str) {
        let path = self.path(name);
        let origin = self.reader.origin(&path);
        match self.reader.strictness {
            Strictness::Silent => {}
            Strictness::Warn => self.reader.warnings.add(origin, &path, what),
            Strictness::Refuse => self.reader.problems.add(
                origin,
                &path,
                format!(
                    "{what}; refused where ENVIRONMENT is production and allow_insecure is false"
                ),
            ),
        }
    }
}
