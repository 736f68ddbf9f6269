//! What was said, by whom and where: the file's leaves, the environment's and the flags', one laid over the other. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::problems::Problems;
use super::yaml;

/// Who said a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is what holds when nothing is said.
    Default,
    /// The configuration file.
    File {
        /// Which.
        file: Arc<Path>,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, column } => {
                write!(f, "{}:{line}:{column}", file.display())
            }
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value as it was written: nobody has decided yet whether `0123` is a number or a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum RawNode {
    /// Nothing after the colon, `~` or `null`: as if the key were not there.
    Null,
    /// Text, a number, a truth value.
    Scalar(String),
    /// A list, each item where it stands.
    List(Vec<RawValue>),
    /// `{}`, or a section within a list.
    Section,
}

/// A value with who said it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RawValue {
    pub(super) value: RawNode,
    pub(super) origin: Origin,
}

/// Everything that was said, by dotted key. Secrets are among it: it has no `Debug`.
#[derive(Clone, Default)]
pub(super) struct RawConfig {
    /// Values by key: `hot_storage.batch_size`.
    pub(super) values: BTreeMap<String, RawValue>,
    /// Where the file's sections begin, for problems with a whole section.
    pub(super) sections: BTreeMap<String, Origin>,
}

/// How the names of the environment variables that say a key begin; `__` stands between its parts.
const PREFIX: &str = "MPSYNC__";

/// Variables that the system which mpsync replaces and the AWS tools know, with the key that each says.
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

/// A flag that says a key.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag, such as `--log`.
    pub name: &'static str,
    /// The key, such as `logging.level`.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

impl RawConfig {
    /// What a file says.
    pub(super) fn file(text: &str, file: &Arc<Path>, problems: &mut Problems) -> Self {
        yaml::read(text, file, problems)
    }

    /// Lays the environment over it. `MPSYNC__…` is stronger than the old variables' names.
    pub(super) fn overlay_environment<'v>(
        &mut self,
        variables: impl IntoIterator<Item = (&'v str, &'v str)> + Clone,
    ) {
        for (name, value) in variables.clone() {
            let old = OLD_VARIABLES.iter().find(|(old, _)| *old == name);
            // Compose files hand variables through that nobody has set: empty.
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
        for (name, value) in variables {
            if let Some(key) = name.strip_prefix(PREFIX) {
                let key = key.to_lowercase().replace("__", ".");
                self.set(key, value, Origin::Environment(name.to_owned()));
            }
        }
    }

    /// Lays flags over it.
    pub(super) fn overlay_flags(&mut self, flags: &[Flag]) {
        for flag in flags {
            self.set(flag.key.to_owned(), &flag.value, Origin::Flag(flag.name));
        }
    }

    /// Where a variable or a flag says a whole section in YAML, such as `{trades: {batch_size: 5}}`: takes it apart.
    /// `false` where it is none.
    pub(super) fn expand_section(&mut self, key: &str) -> bool {
        let Some(RawValue {
            value: RawNode::Scalar(text),
            origin,
        }) = self.values.get(key).cloned()
        else {
            return true;
        };
        let nobody: Arc<Path> = Arc::from(Path::new(""));
        let mut problems = Problems::default();
        let inner = yaml::read(&text, &nobody, &mut problems);
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
        // A list or a map of the file gives way as a whole.
        let below = format!("{key}.");
        self.values.retain(|other, _| !other.starts_with(&below));
        let value = RawNode::Scalar(value.to_owned());
        self.values.insert(key, RawValue { value, origin });
    }
}

/// Whether an environment variable says a key.
pub(super) fn concerns(name: &str) -> bool {
    name.starts_with(PREFIX) || OLD_VARIABLES.iter().any(|(old, _)| *old == name)
}
