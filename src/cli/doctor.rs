//! `mpsync doctor`

use clap::Args;

use super::Mode;

/// `mpsync doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The sides whose stores are examined
    #[arg(long, value_enum, default_value_t = Mode::Both)]
    pub mode: Mode,
}
