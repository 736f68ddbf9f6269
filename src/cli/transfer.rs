//! `mpsync export`, `import`, `sync`, `verify` and `gc`

use clap::Args;

use mpsync_core::dataset::TierRole;

/// A selection of rows by dataset and event time.
#[derive(Debug, Args)]
pub struct Selection {
    /// The datasets [default: all]
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// The first event time: RFC 3339, a date, or `6h ago`
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// The end of the event times, exclusive
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

/// `mpsync export`, `import` and `sync`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct TransferArgs {
    /// The rows
    #[command(flatten)]
    pub selection: Selection,
    /// Only these exchanges: the transfer records the filter and never justifies cleanup
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub exchange: Vec<String>,
    /// Only these symbols: the transfer records the filter and never justifies cleanup
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub symbol: Vec<String>,
    /// Also delete proven windows from hot (`sync` only), as `sync.cleanup_enabled` does
    #[arg(long)]
    pub cleanup: bool,
    /// Also delete data past its retention from cold and the archive (`sync` only), as `sync.cleanup_enabled` does
    #[arg(long)]
    pub retention: bool,
    /// Do not ask before --cleanup and --retention delete data
    #[arg(long)]
    pub yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The number of windows to transfer at once
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Only the last HOURS hours, as the schedule does; halted windows are skipped, unlike with --from
    #[arg(long, value_name = "HOURS", conflicts_with = "from", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub lookback: Option<u32>,
}

/// `mpsync verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The rows
    #[command(flatten)]
    pub selection: Selection,
    /// Also compare with the rows of a tier
    #[arg(long, value_enum, value_name = "TIER")]
    pub against: Option<TierRole>,
    /// Read every value, not only checksums and row counts
    #[arg(long)]
    pub deep: bool,
    /// Rebuild damaged and missing chunks from cold or hot, if one of them provably still has their rows
    #[arg(long)]
    pub repair: bool,
}

/// `mpsync gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// The datasets [default: all]
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// The minimum age: longer than any process may sleep and still wake up
    #[arg(long, value_name = "AGE", default_value = "24h")]
    pub older_than: String,
    /// Do not ask before removing
    #[arg(long)]
    pub yes: bool,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}
