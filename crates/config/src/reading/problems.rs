//! All mistakes of a configuration, reported at once. Pure.

use std::fmt;

use super::origin::Origin;
use mpsync_core::error::{Error, Result};

/// A mistake: its place, its key and its description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place of the value.
    pub origin: Origin,
    /// The key; empty for a mistake of syntax.
    pub key: String,
    /// The description, with the permitted values. Never contains a secret.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// The mistakes of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a mistake.
    pub fn add(&mut self, origin: Origin, key: &str, text: impl Into<String>) {
        self.0.push(Problem {
            origin,
            key: key.to_owned(),
            text: text.into(),
        });
    }

    /// Returns whether there are no mistakes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the mistakes: those of the file from its top, then those of the environment, the flags and the defaults.
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

    /// Returns an error that names all mistakes, if there are any.
    ///
    /// # Errors
    ///
    /// If there is a mistake.
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

/// Returns the known name that is most similar to a name, if one is similar enough.
pub(crate) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
