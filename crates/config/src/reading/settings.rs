//! Every setting with its value, who said it, and whether a reload may change it: what `mpsync config show` shows.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::problems::Problem;
use super::source::{Origin, RawConfig};

/// One key as it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The dotted key, such as `hot_storage.batch_size`.
    pub key: String,
    /// Its value: `null` for none, `***` for a secret.
    pub value: serde_json::Value,
    /// Who said it.
    pub origin: Origin,
    /// Whether SIGHUP changes it in a process that runs.
    pub is_live: bool,
}

/// All keys.
#[derive(Clone, Default)]
pub struct Settings {
    pub(super) all: Arc<[Setting]>,
    pub(super) warnings: Arc<[Problem]>,
    pub(super) raw: Arc<RawConfig>,
}

impl Settings {
    /// All of them, by section.
    #[must_use]
    pub fn all(&self) -> &[Setting] {
        &self.all
    }

    /// What is allowed here but insecure.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Who said a key; [`Origin::Default`] where nobody did.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        let setting = self.all.iter().find(|setting| setting.key == key);
        setting.map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Says what a key holds that nobody said, where that follows from the machine.
    pub fn fill_default(&mut self, key: &str, value: &Path) {
        let mut all = self.all.to_vec();
        let is_open = |s: &&mut Setting| s.key == key && s.origin == Origin::Default;
        if let Some(setting) = all.iter_mut().find(is_open) {
            setting.value = value.display().to_string().into();
        }
        self.all = all.into();
    }

    /// Who said something below a section.
    pub(super) fn origin_below(&self, section: &str) -> Origin {
        let below = format!("{section}.");
        let is_said = |s: &&Setting| s.key.starts_with(&below) && s.origin != Origin::Default;
        let found = self.all.iter().find(is_said);
        found.map_or(Origin::Default, |setting| setting.origin.clone())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} settings", self.all.len())
    }
}
