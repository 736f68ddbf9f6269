//! `mpsync dlq`

use clap::{Args, Subcommand};

/// `mpsync dlq`
#[derive(Debug, Args)]
pub struct DeadLettersArgs {
    /// What to do
    #[command(subcommand)]
    pub action: DeadLettersAction,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersAction {
    /// List them: a table, or JSON lines
    List(DeadLetterSelection),
    /// Show them whole: headers, reason, payload as text or hex
    Show(DeadLetterSelection),
    /// Decode them again with the dataset and table of now, and land them at their original positions, once
    Replay {
        /// Which letters
        #[command(flatten)]
        selection: DeadLetterSelection,
        /// Ask only hot which rows are there: only where nothing was ever archived or loaded into cold
        #[arg(long)]
        hot_only: bool,
    },
    /// Delete them
    Discard {
        /// Which letters
        #[command(flatten)]
        selection: DeadLetterSelection,
        /// Yes, delete them; without it they are only counted
        #[arg(long)]
        yes: bool,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct DeadLetterSelection {
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
