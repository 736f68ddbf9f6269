//! Text that must not be displayed.

use std::fmt;
use std::path::Path;

use mpsync_core::error::{Error, Result};

/// Text that no log, error or debug output shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file, without a line end at its end.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
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

/// Returns the text with user and password of its URLs replaced: `nats://***@host:4222`.
#[must_use]
pub fn without_logins(text: &str) -> String {
    let mut display = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        display.push_str(before);
        let authority = after.find(['/', ',', ' ', '?', '#']).unwrap_or(after.len());
        match after[..authority].rfind('@') {
            Some(at) => {
                display.push_str("***");
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    display.push_str(rest);
    display
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_of_urls_are_hidden() {
        for (text, display) in [
            (
                "nats://u:p@h:4222,tls://q@i",
                "nats://***@h:4222,tls://***@i",
            ),
            ("http://h/a@b", "http://h/a@b"),
            ("u@h", "u@h"),
            ("nats://p@ss@h", "nats://***@h"),
        ] {
            assert_eq!(without_logins(text), display);
        }
    }
}
