//! `mpsync man`: a page for the program and one for each command.

use std::path::Path;

use clap::CommandFactory as _;

use crate::cli::Cli;
use mpsync_core::error::{Context as _, Result};

pub(super) fn run(folder: &Path) -> Result<()> {
    let writing = || format!("writing man pages to {}", folder.display());
    std::fs::create_dir_all(folder).context(writing)?;
    // Hidden commands have no page.
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, folder).context(writing)
}
