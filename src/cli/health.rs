//! `mpsync health`

use std::path::PathBuf;

use clap::Args;

use super::Mode;

/// `mpsync health`
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Where the daemon is asked, such as `https://hot.internal:8085` [default: what the configuration lets it listen on]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Of which side the address in the configuration is taken
    #[arg(long, env = "STORAGE_MODE", value_enum, default_value_t = Mode::Hot)]
    pub mode: Mode,
    /// With --url: certificate authorities to trust instead of the system's
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca_file: Option<PathBuf>,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub timeout: u16,
}
