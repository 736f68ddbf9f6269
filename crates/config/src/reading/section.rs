//! The keys of one section.

use std::collections::BTreeSet;

use mpsync_net::Secret;

use super::key::ConfigKey;
use super::origin::Origin;
use super::reader::{ConfigReader, Strictness};

/// The keys of one section.
pub(crate) struct Section<'r> {
    /// The name of the section with a dot, or empty.
    prefix: String,
    reader: &'r mut ConfigReader,
}

impl<'r> Section<'r> {
    /// Returns the keys outside of the sections.
    pub(crate) fn top(reader: &'r mut ConfigReader) -> Self {
        Self {
            prefix: String::new(),
            reader,
        }
    }

    /// Returns a section of the file.
    pub(crate) fn of(reader: &'r mut ConfigReader, name: &str) -> Self {
        Self {
            prefix: format!("{name}."),
            reader,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns a key, to be read by one of its methods.
    pub(crate) fn key(&mut self, name: &str) -> ConfigKey<'_> {
        ConfigKey::new(self.path(name), self.reader)
    }

    /// Returns a section within this one.
    pub(crate) fn section(&mut self, name: &str) -> Section<'_> {
        let path = self.path(name);
        Section::of(self.reader, &path)
    }

    /// Returns the names that the user has chosen in a section within this one.
    pub(crate) fn names(&mut self, table: &str) -> Vec<String> {
        let path = self.path(table);
        let raw = &mut self.reader.raw;
        if !raw.expand_section(&path) {
            let text = "it is a section: names with keys below them";
            let origin = self.reader.origin(&path);
            self.reader.problems.add(origin, &path, text);
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

    /// Reads a secret that is set as `name`, or in the file that `name_file` names.
    pub(crate) fn secret(&mut self, name: &str) -> Option<Secret> {
        let file = format!("{name}_file");
        let text = self.key(name).secret_text();
        let path = self.key(&file).optional_path();
        match (text, path) {
            (Some(_), Some(_)) => {
                self.wrong(&file, format!("set {name} or {file}, not both"));
                None
            }
            (Some(text), None) => Some(text),
            (None, Some(path)) => Secret::from_file(&path)
                .map_err(|e| self.wrong(&file, e.to_string()))
                .ok(),
            (None, None) => None,
        }
    }

    /// Returns the origin of a key of this section; `None` if the key is not set.
    pub(crate) fn origin_of(&self, name: &str) -> Option<Origin> {
        let origin = self.reader.origin(&self.path(name));
        (origin != Origin::Default).then_some(origin)
    }

    /// Adds a problem: the key contradicts another one, or a file on disk.
    pub(crate) fn wrong(&mut self, name: &str, text: impl Into<String>) {
        let path = self.path(name);
        let origin = self.reader.origin(&path);
        self.reader.problems.add(origin, &path, text);
    }

    /// Returns whether a key is set.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.reader.origin(&self.path(name)) != Origin::Default
    }

    /// Adds a warning in every environment: the key exposes something, but there may be reasons for it.
    pub(crate) fn warn(&mut self, name: &str, text: &str) {
        let path = self.path(name);
        let origin = self.reader.origin(&path);
        self.reader.warnings.add(origin, &path, text);
    }

    /// Adds a problem in production and a warning in staging: the key exposes what must be protected.
    pub(crate) fn insecure(&mut self, name: &str, text: &str) {
        let path = self.path(name);
        let origin = self.reader.origin(&path);
        match self.reader.strictness {
            Strictness::Silent => {}
            Strictness::Warn => self.reader.warnings.add(origin, &path, text),
            Strictness::Refuse => self.reader.problems.add(
                origin,
                &path,
                format!("{text}; refused if ENVIRONMENT is production and allow_insecure is false"),
            ),
        }
    }
}
