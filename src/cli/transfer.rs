//! `mpsync export`, `import`, `sync`, `verify` and `gc`

use clap::Args;

use mpsync_core::dataset::TierRole;

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
    /// Have leave cold and the archive what is past its retention (`sync` only), as `sync.cleanup_enabled` does
    #[arg(long)]
    pub retention: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How many windows at once
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Only the last so many hours, as the schedule does; windows that halted are left alone, unlike with --from
    #[arg(long, value_name = "HOURS", conflicts_with = "from", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub lookback: Option<u32>,
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
    /// Make damaged and missing chunks again from cold or hot, where one still proves to hold their rows
    #[arg(long)]
    pub repair: bool,
}

/// `mpsync gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// The datasets; all when not given
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// Only what is at least so old: longer than any process may sleep and still wake up
    #[arg(long, value_name = "AGE", default_value = "24h")]
    pub older_than: String,
    /// Say what would be swept, and sweep nothing
    #[arg(long)]
    pub dry_run: bool,
}
