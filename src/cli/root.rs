//! The root of the command line: global flags and the list of commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    ConfigArgs, DeadLettersArgs, DemoArgs, DoctorArgs, EngineArgs, GcArgs, GenerateArgs,
    HealthArgs, InspectArgs, ReplayArgs, RunArgs, SchemaArgs, TasksArgs, TransferArgs, VerifyArgs,
};

/// Tiered storage for market data: NATS JetStream to hot ClickHouse, Parquet archive and cold ClickHouse, proven row by row.
#[derive(Debug, Parser)]
#[command(
    name = "mpsync",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// The flags of every command
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command
    #[command(subcommand)]
    pub command: Command,
}

/// The flags of every command.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// The configuration file (YAML)
    #[arg(
        long,
        short = 'c',
        global = true,
        env = "MPSYNC_CONFIG",
        value_name = "FILE"
    )]
    pub config: Option<PathBuf>,
    /// The format of standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// The log level or filter, such as warn or `mpsync=debug`, instead of LOG_LEVEL and logging.level
    #[arg(long, global = true, value_name = "LEVEL", conflicts_with_all = ["verbose", "quiet"])]
    pub log: Option<String>,
    /// Log more: -v the steps of the work (the default unless progress bars are drawn), -vv details
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Show no progress and log only errors
    #[arg(long, short = 'q', global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The display of progress on standard error [default: bar on a terminal, log lines elsewhere]
    #[arg(long, global = true, value_enum, value_name = "DISPLAY")]
    pub progress: Option<ProgressMode>,
}

/// The display of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars, redrawn in place; lines of text if standard error is not such a terminal
    Bar,
    /// A line of text every five seconds
    Plain,
    /// A line of JSON every second
    Json,
    /// No progress
    None,
}

/// The format of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences
    Text,
    /// One JSON document
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ingest from NATS JetStream into hot
    Run(RunArgs),
    /// Report the health of a running daemon
    Health(HealthArgs),
    /// Check servers, stream and archive for conditions that could break a promise
    Doctor(DoctorArgs),
    /// Serve the embedded ClickHouse over HTTP
    Engine(EngineArgs),
    /// Run the whole pipeline on this machine, on real and generated messages
    Demo(DemoArgs),
    /// Publish generated messages, or those of a file
    Generate(GenerateArgs),
    /// Show, create or check the tables
    Schema(SchemaArgs),
    /// Export windows from hot to the archive
    Export(TransferArgs),
    /// Load windows from the archive into cold
    Import(TransferArgs),
    /// Export, load, verify and, if enabled, clean hot
    Sync(TransferArgs),
    /// Verify the archive, by itself or against hot or cold
    Verify(VerifyArgs),
    /// Remove what interrupted runs left in the archive, hot and cold
    Gc(GcArgs),
    /// List, retry, cancel or submit transfers
    Tasks(TasksArgs),
    /// Replay rows of the archive as messages, files or tables
    Replay(ReplayArgs),
    /// Show the contents of the archive
    Inspect(InspectArgs),
    /// List, show, replay or discard messages that could not become rows
    #[command(alias = "dlq")]
    DeadLetters(DeadLettersArgs),
    /// Check or show the configuration
    Config(ConfigArgs),
    /// Write a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages to a folder
    #[command(hide = true)]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

impl Command {
    /// Returns whether the command shows its progress.
    #[must_use]
    pub fn has_progress(&self) -> bool {
        match self {
            Self::Export(args) | Self::Import(args) | Self::Sync(args) => !args.dry_run,
            Self::Replay(args) => !args.dry_run,
            Self::Verify(_) | Self::Generate(_) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
