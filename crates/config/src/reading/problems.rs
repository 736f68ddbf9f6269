//! Everything that is wrong with a configuration, said at once. Pure.

use std::fmt;

use super::source::Origin;
use mpsync_core::error::{Error, Result};

/// Something that is wrong: where it was said, of which key, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was said.
    pub origin: Origin,
    /// The key, or empty where the file's form is wrong.
    pub key: String,
    /// What is wrong and what is allowed. Never the value of a secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// What is wrong, in order: the file's from its top, then the environment's and the flags'.
#[derive(Debug, Clone, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, origin: Origin, key: &str, what: impl Into<String>) {
        self.0.push(Problem {
            origin,
            key: key.to_owned(),
            what: what.into(),
        });
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, sorted.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort_by_key(|problem| match &problem.origin {
            Origin::File { line, column, .. } => (0, *line, *column, String::new()),
            Origin::Environment(name) => (1, 0, 0, name.clone()),
            Origin::Flag(name) => (2, 0, 0, (*name).to_owned()),
            Origin::Default => (3, 0, 0, problem.key.clone()),
        });
        self.0
    }

    /// An error that says all of them, or nothing.
    pub fn into_result(self) -> Result<()> {
        let problems = self.into_sorted();
        match &*problems {
            [] => Ok(()),
            [only] => Err(Error::config(only.to_string())),
            several => {
                let lines: Vec<_> = several.iter().map(|p| format!("\n  {p}")).collect();
                Err(Error::config(format!(
                    "the configuration has {} mistakes:{}",
                    several.len(),
                    lines.concat()
                )))
            }
        }
    }
}

/// Of the names that there are the one that was meant, if any is near.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
