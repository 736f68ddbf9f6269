//! `mpsync replay` and `mpsync inspect`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::transfer::Selection;
use mpsync_config::parse_bytes;
use mpsync_core::dataset::TierRole;

/// Where a replay goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplayTarget {
    /// NATS JetStream, every message acknowledged
    Jetstream,
    /// NATS without acknowledgements: a stream that listens loses what it cannot take
    Core,
    /// JSON lines, as `generate --from` publishes them
    Jsonl,
    /// Tables of a tier, each position once: what a table holds already is passed over and counted
    Clickhouse,
    /// CSV of one dataset, every column
    Csv,
    /// An Arrow IPC stream of one dataset, every column
    Arrow,
    /// A Parquet file of one dataset, every column
    Parquet,
    /// Nowhere, to measure everything before
    Null,
}

impl ReplayTarget {
    /// Whether it is a file or standard output.
    #[must_use]
    pub fn is_file(self) -> bool {
        matches!(self, Self::Jsonl | Self::Csv | Self::Arrow | Self::Parquet)
    }

    /// Whether it takes the archive's rows, not messages.
    #[must_use]
    pub fn takes_rows(self) -> bool {
        matches!(
            self,
            Self::Clickhouse | Self::Csv | Self::Arrow | Self::Parquet
        )
    }
}

/// By what the messages are in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplayOrder {
    /// Event time
    Event,
    /// The collector's time; where there is none, the time at which JetStream stored the message
    Arrival,
    /// The position in the stream
    Position,
}

/// What becomes the Nats-Msg-Id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplayId {
    /// The row's position, which no two messages share; the publisher's own id is in the header Mpsync-Publisher-Msg-Id
    Position,
    /// The publisher's own id, made again by the dataset's message_id; a stream drops messages of an id that it has
    Publisher,
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
    /// The file of `--into jsonl`, `csv`, `arrow` and `parquet` (`-` for standard output)
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// The tier of `--into clickhouse`
    #[arg(long, value_enum, default_value_t = TierRole::Hot)]
    pub tier: TierRole,
    /// The table of `--into clickhouse`, made where there is none: text in which {table} is the dataset's own, such as '{table}_again'
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// The JetStream stream, created if it does not exist, instead of nats.stream; its name becomes the first token of the subjects, unless --subject is given
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// The subjects instead of the original ones: text with {subject}, {dataset} or {column} in it, such as 'replay.{subject}'
    #[arg(long, value_name = "TEMPLATE")]
    pub subject: Option<String>,
    /// Allow a target that this configuration ingests: each message becomes a row again
    #[arg(long)]
    pub into_live: bool,
    /// How many messages may wait for JetStream's acknowledgement at once
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub in_flight: u32,
    /// What becomes the Nats-Msg-Id, by which a stream knows what it has
    #[arg(long, value_enum, default_value_t = ReplayId::Position)]
    pub msg_id: ReplayId,
    /// In which order
    #[arg(long, value_enum, default_value_t = ReplayOrder::Event)]
    pub order: ReplayOrder,
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
    /// What sorted rows may occupy in memory, over all datasets; what does not fit is sorted in temporary files (TMPDIR says where)
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
    /// Which windows
    #[command(flatten)]
    pub selection: Selection,
    /// Every day, not only every dataset
    #[arg(long)]
    pub days: bool,
    /// Which hours of which days are there, and which are missing
    #[arg(long)]
    pub calendar: bool,
    /// By how much compression made it smaller; reads the end of every chunk
    #[arg(long)]
    pub ratio: bool,
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
