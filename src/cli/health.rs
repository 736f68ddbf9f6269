//! `mpsync health`

use std::path::PathBuf;

use clap::Args;

use super::Mode;

/// `mpsync health`
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The URL of the daemon, such as `https://hot.internal:8085` [default: the listen address of the configuration]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The side whose listen address the configuration gives
    #[arg(long, env = "STORAGE_MODE", value_enum, default_value_t = Mode::Hot)]
    pub mode: Mode,
    /// With --url: the certificate authorities to trust instead of those of the system
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca_file: Option<PathBuf>,
    /// The seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub timeout: u16,
}
