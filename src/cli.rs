//! The command line: clap types only.

use std::path::PathBuf;

use crate::dataset::TierRole;
use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// What is logged to standard error: error, warn, info, debug, trace, or a filter such as `mpsync=debug`
    #[arg(
        long,
        global = true,
        env = "LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log: String,
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
    /// Send what the archive holds out again, as the stream of messages that it came from
    Replay(ReplayArgs),
    /// Look at what the archive holds
    Inspect(InspectArgs),
    /// Look at, replay or discard messages that could not be rows
    Dlq(DlqArgs),
    /// Check the configuration
    Config(ConfigArgs),
    /// Write a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which side of the tiers runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Ingest
    Hot,
    /// Transfer on schedule
    Cold,
    /// Both in one process
    Both,
}

/// `mpsync run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which side runs
    #[arg(long, env = "STORAGE_MODE", value_enum, default_value_t = Mode::Hot)]
    pub mode: Mode,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// Stop when everything that is in the stream now is in hot
    #[arg(long)]
    pub drain: bool,
    /// Where HTTP listens for the hot side; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8085", value_name = "ADDRESS")]
    pub hot_listen: std::net::SocketAddr,
    /// Where HTTP listens for the cold side
    #[arg(long, default_value = "127.0.0.1:8086", value_name = "ADDRESS")]
    pub cold_listen: std::net::SocketAddr,
    /// The file with the token that HTTP asks of who changes something; made where it is not there
    #[arg(long, default_value = "mpsync-token", value_name = "FILE")]
    pub token_file: PathBuf,
    /// A name by which HTTP is reached, beside its addresses; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
}

/// `mpsync engine`
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// The folder of the data
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8123", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// The user
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub user: String,
    /// A file with the user's password, instead of the generated one in DIR/password
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    pub password_file: Option<PathBuf>,
    /// Ask for no password (only on loopback)
    #[arg(long)]
    pub no_auth: bool,
    /// Refuse queries beyond so much memory, such as 4G [default: 90 % of the machine's]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory_limit: Option<u64>,
    /// A name by which clients reach it, beside its addresses; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// Another folder that file() may read, such as the archive; may be repeated. DIR/user_files it reads and writes
    #[arg(long = "user-files", value_name = "DIR")]
    pub user_files: Vec<PathBuf>,
    /// Requests that run at once; further ones wait
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub max_requests: u32,
}

/// Reads `1073741824`, `1G`, `512M` or `64K`, in powers of 1024.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let (number, shift) = match upper.trim_end_matches("IB").trim_end_matches('B') {
        t if t.ends_with('K') => (t.trim_end_matches('K'), 10),
        t if t.ends_with('M') => (t.trim_end_matches('M'), 20),
        t if t.ends_with('G') => (t.trim_end_matches('G'), 30),
        t => (t, 0),
    };
    let number: u64 = number
        .trim()
        .parse()
        .map_err(|_| "expected a size such as 4G, 512M or 1073741824".to_owned())?;
    number
        .checked_mul(1 << shift)
        .filter(|n| *n > 0)
        .ok_or_else(|| "the size is out of range".to_owned())
}

/// `mpsync demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The folder to work in; a temporary one when not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The real messages to publish first
    #[arg(long, default_value = "fixtures/messages", value_name = "DIR")]
    pub messages: PathBuf,
    /// How many messages to generate beside the real ones
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    pub generate: u64,
    /// The seed of the generated messages
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Leave everything running and print how to look further
    #[arg(long)]
    pub keep: bool,
}

/// `mpsync generate`
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Publish the messages of these files (JSON lines: subject, msg_id, payload) instead of making some
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from: Vec<PathBuf>,
    /// Write JSON lines to this file (`-` for standard output) instead of publishing
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// How many messages in all
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub count: u64,
    /// The seed: the same seed and flags make the same messages
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Messages a second; as fast as possible when not given
    #[arg(long, value_name = "N")]
    pub rate: Option<std::num::NonZeroU64>,
    /// How many messages may wait for JetStream's acknowledgement at once
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub in_flight: u32,
    /// Only these kinds of data (dataset names)
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// How many symbols on each exchange
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub symbols: u32,
    /// The exchanges
    #[arg(
        long,
        default_value = "binance,okx,deribit",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    pub exchanges: Vec<String>,
    /// The event time of the first message (RFC 3339); two hours ago when not given
    #[arg(long, value_name = "TIME")]
    pub start: Option<jiff::Timestamp>,
    /// Over how much event time the messages spread, in minutes
    #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub span_minutes: u32,
    /// Levels of each side of a generated book's snapshots
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=5000))]
    pub depth: u32,
}

/// `mpsync schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// What to do
    #[command(subcommand)]
    pub action: SchemaAction,
}

/// What to do with the tables.
#[derive(Debug, Subcommand)]
pub enum SchemaAction {
    /// Print the statements that create the tables
    Show(SchemaTarget),
    /// Create the database and the tables that are missing, and check those that are there
    Apply(SchemaTarget),
    /// Hold a sample of messages against the tables: fields no column takes, columns no field fills, dead letters to be
    ///
    /// Exits with 0 when every message would become a row and every field has a column or is listed in `ignored_fields`,
    /// with 1 otherwise. Columns that no field of the sample fills are named, and are no reason to fail.
    Check(SchemaCheckArgs),
}

/// `mpsync schema check`
#[derive(Debug, Args)]
pub struct SchemaCheckArgs {
    /// Messages as JSON lines (subject, msg_id, payload); `-` for standard input
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub sample: Vec<PathBuf>,
    /// Hold them against this tier's live tables instead of the datasets' own DDL
    #[arg(long, value_enum)]
    pub tier: Option<TierRole>,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
}

/// Which tables.
#[derive(Debug, Args)]
pub struct SchemaTarget {
    /// The tier
    #[arg(long, value_enum)]
    pub tier: TierRole,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
}

/// Which rows: of which datasets, over which time.
#[derive(Debug, Args)]
pub struct Selection {
    /// The datasets; all when not given
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// From this event time on: RFC 3339, a date, or `6h ago`
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Up to this event time, exclusive
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

/// `mpsync export`, `import` and `sync`
#[derive(Debug, Args)]
pub struct TransferArgs {
    /// Which rows
    #[command(flatten)]
    pub selection: Selection,
    /// Only these exchanges: such a transfer records its filter and is never the ground for cleanup
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub exchange: Vec<String>,
    /// Only these symbols: such a transfer records its filter and is never the ground for cleanup
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub symbol: Vec<String>,
    /// Clean proven windows out of hot (`sync` only), as `sync.cleanup_enabled` does
    #[arg(long)]
    pub cleanup: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How many windows at once
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// `mpsync verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Which rows
    #[command(flatten)]
    pub selection: Selection,
    /// Compare with what a tier holds too
    #[arg(long, value_enum, value_name = "TIER")]
    pub against: Option<TierRole>,
    /// Read every value, not only the bytes and their counts
    #[arg(long)]
    pub deep: bool,
}

/// Where a replay goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplayTarget {
    /// NATS JetStream, every message acknowledged
    Jetstream,
    /// NATS without acknowledgements: a stream that listens loses what it cannot take
    Core,
    /// JSON lines, as `generate --from` publishes them
    Jsonl,
    /// Nowhere, to measure everything before
    Null,
}

/// `mpsync replay`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct ReplayArgs {
    /// Which rows
    #[command(flatten)]
    pub selection: Selection,
    /// Only these exchanges
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub exchange: Vec<String>,
    /// Only these symbols
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub symbol: Vec<String>,
    /// Where the messages go
    #[arg(long, value_enum, default_value_t = ReplayTarget::Jetstream)]
    pub into: ReplayTarget,
    /// The file of `--into jsonl` (`-` for standard output)
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// The JetStream stream, made if it is absent, instead of nats.stream
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// The subjects instead of the original ones: text with {subject}, {dataset} or {column} in it, such as 'replay.{subject}'
    #[arg(long, value_name = "TEMPLATE")]
    pub subject: Option<String>,
    /// How many messages may wait for JetStream's acknowledgement at once
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub in_flight: u32,
    /// How fast event time passes: 1, 10, 0.5, or max
    #[arg(long, value_name = "SPEED", default_value = "max")]
    pub speed: String,
    /// Begin again at the end, until interrupted
    #[arg(long = "loop")]
    pub endless: bool,
    /// Move all times so that the first message's event time is now
    #[arg(long)]
    pub shift_to_now: bool,
    /// Keep the place that was reached in this file, and continue there
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Pass over what is damaged and list it, instead of ending with exit code 3
    #[arg(long)]
    pub skip_damaged: bool,
    /// Do not check the SHA-256 of what is read
    #[arg(long)]
    pub no_verify: bool,
    /// What sorted rows may occupy in memory, over all datasets
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_bytes)]
    pub memory: u64,
    /// Say what would be replayed, and replay nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `mpsync inspect`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct InspectArgs {
    /// Which windows
    #[command(flatten)]
    pub selection: Selection,
    /// Every day, not only every dataset
    #[arg(long)]
    pub days: bool,
    /// What to look at, instead of everything
    #[command(subcommand)]
    pub what: Option<InspectWhat>,
}

/// One object of the archive.
#[derive(Debug, Subcommand)]
pub enum InspectWhat {
    /// The first rows of a chunk
    Chunk {
        /// The Parquet file, by its path within the archive or its place on the disk
        path: PathBuf,
        /// How many rows
        #[arg(long, default_value_t = 10, value_name = "N")]
        rows: usize,
    },
    /// A manifest in readable form
    Manifest {
        /// The manifest, by its path within the archive or its place on the disk
        path: PathBuf,
    },
}

/// `mpsync dlq`
#[derive(Debug, Args)]
pub struct DlqArgs {
    /// What to do
    #[command(subcommand)]
    pub action: DlqAction,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqAction {
    /// List them: a table, or JSON lines
    List(LetterSelection),
    /// Show them whole: headers, reason, payload as text or hex
    Show(LetterSelection),
    /// Decode them again with the dataset and table of now, and land them at their original positions, once
    Replay {
        /// Which letters
        #[command(flatten)]
        selection: LetterSelection,
        /// Ask only hot which rows are there: only where nothing was ever archived or loaded into cold
        #[arg(long)]
        hot_only: bool,
    },
    /// Delete them
    Discard {
        /// Which letters
        #[command(flatten)]
        selection: LetterSelection,
        /// Yes, delete them; without it they are only counted
        #[arg(long)]
        yes: bool,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct LetterSelection {
    /// Only these letters, as `dlq list` names them
    #[arg(value_name = "LETTER")]
    pub ids: Vec<String>,
    /// Only of these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// Only for these reasons, such as `excess_digits`
    #[arg(long = "reason", value_name = "NAME", value_delimiter = ',')]
    pub reasons: Vec<String>,
    /// Only messages that JetStream stored from this time on: RFC 3339, a date, or `6h ago`
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only messages stored before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Only messages whose subject matches this pattern, such as `trade.okx.>`
    #[arg(long, value_name = "PATTERN")]
    pub subject: Option<String>,
    /// Only messages of these symbols, the subject's fourth part
    #[arg(long = "symbol", value_name = "NAME", value_delimiter = ',')]
    pub symbols: Vec<String>,
    /// At most so many [default: 100 to list or show, else all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// `mpsync config`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Say whether it is well-formed
    Check,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        assert_eq!(parse_bytes("4G"), Ok(4 << 30));
        assert_eq!(parse_bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert!(parse_bytes("0").is_err() && parse_bytes("many").is_err());
    }
}
