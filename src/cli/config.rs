//! `mpsync config`

use clap::{Args, Subcommand};

/// `mpsync config`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The action
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// An action on the configuration.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigAction {
    /// List every fault of the configuration and of the dataset files that it names
    ///
    /// Exits with 0 if there is no fault, with 2 otherwise. Insecure settings are listed; if ENVIRONMENT is production they are faults.
    Check,
    /// Show every key with its value (secrets as ***) and its origin: flag, environment variable, file and line, or default
    Show,
}
