//! `mpsync demo` and `mpsync generate`

use std::path::PathBuf;

use clap::Args;

/// `mpsync demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The working folder [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The folder of the real messages, which are published first
    #[arg(long, default_value = "fixtures/messages", value_name = "DIR")]
    pub messages: PathBuf,
    /// The number of messages to generate in addition to the real ones
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    pub generate: u64,
    /// The seed of the generated messages
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Keep the servers running at the end and print how to reach them
    #[arg(long)]
    pub keep: bool,
}

/// `mpsync generate`
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Publish the messages of these files (JSON lines: subject, msg_id, payload) instead of generated ones
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from: Vec<PathBuf>,
    /// Write JSON lines to this file (`-` for standard output) instead of publishing
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// The number of messages
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub count: u64,
    /// Allow a stream that contains messages already
    #[arg(long, conflicts_with = "to")]
    pub into_live: bool,
    /// Allow to publish in a production environment
    #[arg(long, conflicts_with = "to")]
    pub yes: bool,
    /// The seed: the same seed and flags generate the same messages
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Messages per second [default: as fast as possible]
    #[arg(long, value_name = "N")]
    pub rate: Option<std::num::NonZeroU64>,
    /// The maximum number of messages that wait for JetStream's acknowledgement
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub in_flight: u32,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// The number of symbols on each exchange
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
    /// The event time of the first message (RFC 3339) [default: two hours ago]
    #[arg(long, value_name = "TIME")]
    pub start: Option<jiff::Timestamp>,
    /// The span of event time that the messages cover, in minutes
    #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub span_minutes: u32,
    /// The number of levels on each side of a generated order book
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=5000))]
    pub depth: u32,
}
