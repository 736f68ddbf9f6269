//! Every setting with its value, its origin, and whether a reload changes it, for `mpsync config show`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::origin::Origin;
use super::problems::Problem;
use super::raw::RawConfig;

/// One key with its current value.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The dotted key, such as `hot_storage.batch_size`.
    pub key: String,
    /// Its value: `null` if it has none, `***` for a secret.
    pub value: serde_json::Value,
    /// The place at which it is set.
    pub origin: Origin,
    /// Whether SIGHUP changes it in a running process.
    pub is_live: bool,
}

/// All keys.
#[derive(Clone, Default)]
pub struct Settings {
    pub(crate) all: Arc<[Setting]>,
    pub(crate) warnings: Arc<[Problem]>,
    pub(crate) raw: Arc<RawConfig>,
}

impl Settings {
    /// Returns all keys, by section.
    #[must_use]
    pub fn all(&self) -> &[Setting] {
        &self.all
    }

    /// Returns the settings that are permitted but insecure.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Returns the origin of a key; [`Origin::Default`] if it is not set.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        let setting = self.all.iter().find(|setting| setting.key == key);
        setting.map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Sets the displayed value of a key that is not set and whose default depends on the machine.
    pub fn fill_default(&mut self, key: &str, value: &Path) {
        let mut all = self.all.to_vec();
        let is_open = |s: &&mut Setting| s.key == key && s.origin == Origin::Default;
        if let Some(setting) = all.iter_mut().find(is_open) {
            setting.value = value.display().to_string().into();
        }
        self.all = all.into();
    }

    /// Returns the origin of the first key below a section that is set.
    pub(crate) fn origin_below(&self, section: &str) -> Origin {
        let below = format!("{section}.");
        let is_set = |s: &&Setting| s.key.starts_with(&below) && s.origin != Origin::Default;
        let found = self.all.iter().find(is_set);
        found.map_or(Origin::Default, |setting| setting.origin.clone())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} settings", self.all.len())
    }
}
