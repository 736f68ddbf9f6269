//! The command line: clap types only.

mod config;
mod dead_letters;
mod doctor;
mod generate;
mod health;
mod replay;
mod run;
mod schema;
mod tasks;
mod transfer;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use config::{ConfigAction, ConfigArgs};
pub use dead_letters::{DeadLetterSelection, DeadLettersAction, DeadLettersArgs};
pub use doctor::DoctorArgs;
pub use generate::{DemoArgs, GenerateArgs};
pub use health::HealthArgs;
pub use replay::{InspectArgs, InspectWhat, ReplayArgs, ReplayId, ReplayOrder, ReplayTarget};
pub use run::{EngineArgs, Mode, RunArgs};
pub use schema::{SchemaAction, SchemaArgs, SchemaCheckArgs, SchemaTarget};
pub use tasks::{SubmitArgs, TaskListArgs, TasksAction, TasksArgs};
pub use transfer::{GcArgs, Selection, TransferArgs, VerifyArgs};

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
    /// What every command takes
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
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
    /// What is written to standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// What is logged, such as warn or `mpsync=debug`, instead of what LOG_LEVEL or logging.level says
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
}

/// What is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences for people
    Text,
    /// One JSON document
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ingest from NATS JetStream into hot
    Run(RunArgs),
    /// Ask a running daemon how it is
    Health(HealthArgs),
    /// Check servers, stream and archive for conditions that could break a promise
    Doctor(DoctorArgs),
    /// Serve the embedded ClickHouse over HTTP
    Engine(EngineArgs),
    /// Run the whole road on this machine, on real and generated messages
    Demo(DemoArgs),
    /// Publish realistic or given messages
    Generate(GenerateArgs),
    /// Show or create the tables
    Schema(SchemaArgs),
    /// Export windows of hot to the archive
    Export(TransferArgs),
    /// Load windows of the archive into cold
    Import(TransferArgs),
    /// Export, load, verify and, where enabled, clean hot
    Sync(TransferArgs),
    /// Prove that the archive is what it says, alone or against hot or cold
    Verify(VerifyArgs),
    /// Sweep what broken-off runs left in archive, hot and cold
    Gc(GcArgs),
    /// Look at transfers, have one tried again or left alone, ask for one
    Tasks(TasksArgs),
    /// Send what the archive holds out again, as the stream of messages that it came from
    Replay(ReplayArgs),
    /// Look at what the archive holds
    Inspect(InspectArgs),
    /// Look at, replay or discard messages that could not be rows
    Dlq(DeadLettersArgs),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
