//! `mpsync demo` and `mpsync generate`

use std::path::PathBuf;

use clap::Args;

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
    /// Allow a stream that contains messages already
    #[arg(long, conflicts_with = "to")]
    pub into_live: bool,
    /// Allow to publish in a production environment
    #[arg(long, conflicts_with = "to")]
    pub yes: bool,
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
