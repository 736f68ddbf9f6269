//! The sources of a configuration: file, environment, flags.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mpsync_core::error::{Error, Result};

use crate::config::Config;
use crate::reading::aliases;
use crate::reading::overlay::{self, Flag};
use crate::reading::problems::Problems;
use crate::reading::raw::RawConfig;
use crate::reading::yaml;

/// The sources of a configuration; kept, so that it can be read again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The YAML file.
    pub file: Option<PathBuf>,
    /// The flags that set a key.
    pub flags: Vec<Flag>,
}

impl Config {
    /// Reads the configuration: defaults, then the file, then the environment.
    ///
    /// `environment` is a parameter, so that a test need not change that of the process.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the configuration has mistakes; the error names all of them.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let sources = Sources {
            file: file.map(Path::to_owned),
            flags: Vec::new(),
        };
        sources.load(environment)
    }
}

impl Sources {
    /// Reads the sources: file, then environment, then flags.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the configuration has mistakes; the error names all of them.
    pub fn load(&self, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config> {
        let (raw, problems) = self.read(environment)?;
        Config::from_raw(raw, self.base(), problems)
    }

    pub(crate) fn base(&self) -> &Path {
        let folder = self.file.as_deref().and_then(Path::parent);
        folder.unwrap_or(Path::new(""))
    }

    pub(crate) fn read(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(RawConfig, Problems)> {
        let mut problems = Problems::default();
        let mut raw = match &self.file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| {
                    let path = path.display();
                    Error::config(format!("cannot read the configuration {path}: {e}"))
                })?;
                let raw = yaml::read(&text, &Arc::from(path.as_path()), &mut problems);
                aliases::rename(raw, &mut problems)
            }
            None => RawConfig::default(),
        };
        let variables: Vec<(String, String)> = environment.into_iter().collect();
        raw.overlay_environment(
            variables.iter().map(|(n, v)| (n.as_str(), v.as_str())),
            &mut problems,
        );
        raw.overlay_flags(&self.flags);
        Ok((raw, problems))
    }
}

/// Returns the environment variables of this process that concern the configuration.
///
/// # Errors
///
/// If the value of such a variable is not UTF-8.
pub fn environment() -> Result<Vec<(String, String)>> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| overlay::concerns(name))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(Error::config(format!(
                "environment variable {name}: the value is not UTF-8"
            ))),
        })
        .collect()
}
