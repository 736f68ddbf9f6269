//! Lays the environment and the flags over the file. Pure.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::aliases;
use super::origin::Origin;
use super::problems::Problems;
use super::raw::{RawConfig, RawNode, RawValue};
use super::yaml;

/// The prefix of the environment variables that set a key; `__` separates the parts of the key.
const PREFIX: &str = "MPSYNC__";

/// The variables of the system that mpsync replaces and of the AWS tools, with the key that each sets.
const OLD_VARIABLES: &[(&str, &str)] = &[
    ("LOG_LEVEL", "logging.level"),
    ("ENVIRONMENT", "environment"),
    ("AWS_ACCESS_KEY_ID", "archive.s3_access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "archive.s3_secret_access_key"),
    ("AWS_SESSION_TOKEN", "archive.s3_session_token"),
    ("AWS_SHARED_CREDENTIALS_FILE", "archive.s3_credentials_file"),
    ("AWS_PROFILE", "archive.s3_profile"),
    ("AWS_REGION", "archive.s3_region"),
];

/// A command-line flag that sets a key.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The name of the flag, such as `--log`.
    pub name: &'static str,
    /// The key, such as `logging.level`.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

impl RawConfig {
    /// Lays the environment over the values. `MPSYNC__…` overrides the variables of other systems.
    pub(crate) fn overlay_environment<'v>(
        &mut self,
        variables: impl IntoIterator<Item = (&'v str, &'v str)> + Clone,
        problems: &mut Problems,
    ) {
        for (name, value) in variables.clone() {
            let old = OLD_VARIABLES.iter().find(|(old, _)| *old == name);
            // Compose files pass variables that are not set as empty ones.
            if let Some((_, key)) = old
                && !value.is_empty()
            {
                self.set(
                    (*key).to_owned(),
                    value,
                    Origin::Environment(name.to_owned()),
                );
            }
        }
        let mut set: BTreeMap<String, Origin> = BTreeMap::new();
        for (variable, value) in variables {
            if let Some(key) = variable.strip_prefix(PREFIX) {
                let key = key.to_lowercase().replace("__", ".");
                let name = aliases::current_name(&key);
                let origin = Origin::Environment(variable.to_owned());
                match set.get(&name) {
                    // The same variable once more: the later value holds, as in a shell.
                    Some(first) if *first == origin => self.set(name, value, origin),
                    Some(first) if name != key => {
                        aliases::add_duplicate(problems, origin, &key, first);
                    }
                    // Variables come in any order.
                    Some(first) => {
                        let (alias, first) = (first.clone(), &origin);
                        let earlier = aliases::earlier_name(&name);
                        aliases::add_duplicate(problems, alias, earlier, first);
                    }
                    None => {
                        set.insert(name.clone(), origin.clone());
                        self.set(name, value, origin);
                    }
                }
            }
        }
    }

    /// Lays the flags over the values.
    pub(crate) fn overlay_flags(&mut self, flags: &[Flag]) {
        for flag in flags {
            self.set(flag.key.to_owned(), &flag.value, Origin::Flag(flag.name));
        }
    }

    /// Splits a section that a variable or a flag sets as YAML, such as `{trades: {batch_size: 5}}`, into its keys.
    /// Returns `false` if the value is not a section.
    pub(crate) fn expand_section(&mut self, key: &str) -> bool {
        let Some(RawValue {
            value: RawNode::Scalar(text),
            origin,
        }) = self.values.get(key).cloned()
        else {
            return true;
        };
        let no_file: Arc<Path> = Arc::from(Path::new(""));
        let mut problems = Problems::default();
        let inner = yaml::read(&text, &no_file, &mut problems);
        if matches!(origin, Origin::File { .. }) || !problems.is_empty() || inner.values.is_empty()
        {
            return false;
        }
        self.values.remove(key);
        for (name, raw_value) in inner.values {
            let origin = origin.clone();
            let value = raw_value.value;
            self.values
                .insert(format!("{key}.{name}"), RawValue { value, origin });
        }
        true
    }

    fn set(&mut self, key: String, value: &str, origin: Origin) {
        // Replaces a list or a map of the file as a whole.
        let below = format!("{key}.");
        self.values.retain(|other, _| !other.starts_with(&below));
        let value = RawNode::Scalar(value.to_owned());
        self.values.insert(key, RawValue { value, origin });
    }
}

/// Returns whether an environment variable sets a key.
pub(crate) fn concerns(name: &str) -> bool {
    name.starts_with(PREFIX) || OLD_VARIABLES.iter().any(|(old, _)| *old == name)
}
