//! The name of a dataset.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A dataset's name: a folder of the archive, so lower-case letters, digits and underscores, not beginning with `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetName(String);

impl DatasetName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DatasetName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 64
            && name.chars().all(fits)
        {
            Ok(Self(name))
        } else {
            Err(Error::config(format!(
                "invalid dataset name `{}`: lower-case letters, digits and underscores, a letter first, at most 64",
                name.escape_debug()
            )))
        }
    }
}

impl From<DatasetName> for String {
    fn from(name: DatasetName) -> Self {
        name.0
    }
}

impl std::str::FromStr for DatasetName {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::try_from(name.to_owned())
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
