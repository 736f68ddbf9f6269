//! `mpsync config`

use clap::{Args, Subcommand};

/// `mpsync config`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// What to do with the configuration.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigAction {
    /// Say everything that is wrong with it and with the files of datasets that it names
    ///
    /// Exits with 0 when nothing is, with 2 otherwise. Insecure settings are named, and refused where ENVIRONMENT is production.
    Check,
    /// Show every key with its value (secrets as ***) and who said it: flag, environment variable, file and line, or default
    Show,
}
