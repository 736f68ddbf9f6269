//! The reader of all keys: a section requests its keys, and the reader records each key's origin and mistakes, and finally
//! the values that no section has requested.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::origin::Origin;
use super::problems::{Problems, nearest};
use super::raw::{RawConfig, RawNode, RawValue};
use super::settings::Setting;

/// The treatment of an insecure setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It is accepted.
    Silent,
    /// It becomes a warning.
    Warn,
    /// It is refused.
    Refuse,
}

/// Reads the values of all sources.
pub(crate) struct ConfigReader {
    pub(crate) raw: RawConfig,
    /// The folder to which relative paths in the file are relative.
    pub(crate) base: PathBuf,
    pub(crate) settings: Vec<Setting>,
    pub(crate) problems: Problems,
    pub(crate) warnings: Problems,
    pub(crate) strictness: Strictness,
    /// Sections whose keys are names that the user chooses.
    pub(crate) tables: Vec<String>,
}

impl ConfigReader {
    pub(crate) fn new(raw: RawConfig, base: &Path, problems: Problems) -> Self {
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

    /// Returns the origin of a key; [`Origin::Default`] if it is not set.
    pub(crate) fn origin(&self, key: &str) -> Origin {
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

    /// Returns the position of the name of a key or section; the origin of its value if that is not in the file.
    fn name_origin(&self, key: &str, raw_value: &RawValue) -> Origin {
        match (&raw_value.origin, self.raw.sections.get(key)) {
            (Origin::File { .. }, Some(place)) => place.clone(),
            _ => raw_value.origin.clone(),
        }
    }

    /// Adds a problem for each value that no section has requested.
    pub(crate) fn reject_unknown_keys(&mut self) {
        let known: BTreeSet<String> = self.settings.iter().map(|s| s.key.clone()).collect();
        let is_below = |key: &str, section: &str| {
            key.strip_prefix(section)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        let mut reported = BTreeSet::new();
        for (key, raw_value) in &self.raw.values {
            if known.contains(key) {
                continue;
            }
            let is_nothing = matches!(raw_value.value, RawNode::Null | RawNode::Section);
            let as_value = known.iter().find(|value| is_below(key, value));
            let is_section = self.tables.contains(key) || known.iter().any(|k| is_below(k, key));
            if let Some(value) = as_value {
                if reported.insert(value.clone()) {
                    let place = self.name_origin(value, raw_value);
                    self.problems
                        .add(place, value, "it is a value, not a section with keys");
                }
            } else if is_section {
                if !is_nothing {
                    let text = "it is a section: its keys must stand below it";
                    self.problems
                        .add(self.name_origin(key, raw_value), key, text);
                }
            } else {
                let unknown = first_unknown(key, &known, &self.tables);
                if reported.insert(unknown.to_owned()) {
                    let place = self.name_origin(unknown, raw_value);
                    self.problems
                        .add(place, unknown, no_such_key(unknown, &known));
                }
            }
        }
    }
}

/// Returns the shortest prefix of an unknown key that is not a section: `hot` for `hot.batch_size`, if there is no section `hot`.
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
