//! `mpsync replay` and `mpsync inspect`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::transfer::Selection;
use mpsync_config::parse_bytes;
use mpsync_core::dataset::TierRole;

/// The target of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplayTarget {
    /// NATS JetStream, every message acknowledged
    Jetstream,
    /// NATS without acknowledgements: a subscriber loses the messages that it is too slow for
    Core,
    /// JSON lines, as `generate --from` publishes them
    Jsonl,
    /// Tables of a tier, each position once: rows that a table has already are skipped and counted
    Clickhouse,
    /// CSV of one dataset, every column
    Csv,
    /// An Arrow IPC stream of one dataset, every column
    Arrow,
    /// A Parquet file of one dataset, every column
    Parquet,
    /// No target: measures reading and decoding
    Null,
}

impl ReplayTarget {
    /// Returns whether the target is a file or standard output.
    #[must_use]
    pub fn is_file(self) -> bool {
        matches!(self, Self::Jsonl | Self::Csv | Self::Arrow | Self::Parquet)
    }

    /// Returns whether the target takes rows of the archive rather than messages.
    #[must_use]
    pub fn takes_rows(self) -> bool {
        matches!(
            self,
            Self::Clickhouse | Self::Csv | Self::Arrow | Self::Parquet
        )
    }
}

/// The order of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplayOrder {
    /// Event time
    Event,
    /// The time of the collector or, if a message has none, the time at which JetStream stored it
    Arrival,
    /// The position in the stream
    Position,
}

/// The source of the Nats-Msg-Id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplayId {
    /// The position of the row, which is unique; the publisher's id is in the header Mpsync-Publisher-Msg-Id
    Position,
    /// The publisher's id, rebuilt by the dataset's message_id; a stream drops messages whose id it has already
    Publisher,
}

/// `mpsync replay`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct ReplayArgs {
    /// The rows
    #[command(flatten)]
    pub selection: Selection,
    /// Only these exchanges
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub exchange: Vec<String>,
    /// Only these symbols
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub symbol: Vec<String>,
    /// The target
    #[arg(long, value_enum, default_value_t = ReplayTarget::Jetstream)]
    pub into: ReplayTarget,
    /// The file of `--into jsonl`, `csv`, `arrow` and `parquet` (`-` for standard output)
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// The tier of `--into clickhouse`
    #[arg(long, value_enum, default_value_t = TierRole::Hot)]
    pub tier: TierRole,
    /// The table of `--into clickhouse`, created if it is missing; {table} stands for the dataset's own, such as in '{table}_again'
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// The JetStream stream instead of nats.stream, created if it is missing; its name becomes the first token of the subjects unless --subject is given
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// A template for the subjects, with {subject}, {dataset} or {column}, such as 'replay.{subject}' [default: the original subjects]
    #[arg(long, value_name = "TEMPLATE")]
    pub subject: Option<String>,
    /// Allow a target that this configuration ingests: each message becomes a row again
    #[arg(long)]
    pub into_live: bool,
    /// The maximum number of messages that wait for JetStream's acknowledgement
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub in_flight: u32,
    /// The source of the Nats-Msg-Id, by which a stream detects duplicates
    #[arg(long, value_enum, default_value_t = ReplayId::Position)]
    pub msg_id: ReplayId,
    /// The order of the messages
    #[arg(long, value_enum, default_value_t = ReplayOrder::Event)]
    pub order: ReplayOrder,
    /// The speed of event time: 1, 10, 0.5, or max
    #[arg(long, value_name = "SPEED", default_value = "max")]
    pub speed: String,
    /// Start over at the end, until interrupted
    #[arg(long = "loop")]
    pub endless: bool,
    /// Shift all times so that the event time of the first message is now
    #[arg(long)]
    pub shift_to_now: bool,
    /// Store the position reached in this file, and continue from it
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Skip damaged chunks and list them, instead of ending with exit code 3
    #[arg(long)]
    pub skip_damaged: bool,
    /// Do not verify the SHA-256 of chunks
    #[arg(long)]
    pub no_verify: bool,
    /// The memory for sorting rows, over all datasets; rows beyond it are sorted in temporary files (below TMPDIR)
    #[arg(long, alias = "memory", value_name = "BYTES", default_value = "96M", value_parser = parse_bytes)]
    pub memory_limit: u64,
    /// Show what would be replayed and where to, and replay nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `mpsync inspect`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct InspectArgs {
    /// The windows
    #[command(flatten)]
    pub selection: Selection,
    /// A line for each day, not only for each dataset
    #[arg(long)]
    pub days: bool,
    /// A calendar of the hours that the archive has and those that it lacks
    #[arg(long)]
    pub calendar: bool,
    /// The compression ratio; reads the footer of every chunk
    #[arg(long)]
    pub ratio: bool,
    /// One object instead of the whole archive
    #[command(subcommand)]
    pub what: Option<InspectWhat>,
}

/// One object of the archive.
#[derive(Debug, Subcommand)]
pub enum InspectWhat {
    /// The first rows of a chunk
    Chunk {
        /// The Parquet file, by its path within the archive or on disk
        path: PathBuf,
        /// The number of rows
        #[arg(long, default_value_t = 10, value_name = "N")]
        rows: usize,
    },
    /// A manifest in readable form
    Manifest {
        /// The manifest, by its path within the archive or on disk
        path: PathBuf,
    },
}
