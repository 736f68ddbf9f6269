//! Text that is not shown.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};

/// Text that no log, error or debug print shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file; a line end at its end does not belong to it.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::config(format!("cannot read the secret in {}: {e}", path.display()))
        })?;
        Ok(Self(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A text in which user and password of URLs are not shown: `nats://***@host:4222`.
pub(super) fn without_logins(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        shown.push_str(before);
        let authority = after.find(['/', ',', ' ', '?', '#']).unwrap_or(after.len());
        match after[..authority].rfind('@') {
            Some(at) => {
                shown.push_str("***");
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_login() {
        for (text, shown) in [
            (
                "nats://u:p@h:4222,tls://q@i",
                "nats://***@h:4222,tls://***@i",
            ),
            ("http://h/a@b", "http://h/a@b"),
            ("u@h", "u@h"),
            ("nats://p@ss@h", "nats://***@h"),
        ] {
            assert_eq!(without_logins(text), shown);
        }
    }
}
