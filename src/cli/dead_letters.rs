//! `mpsync dead-letters`

use clap::{Args, Subcommand};

/// `mpsync dead-letters`
#[derive(Debug, Args)]
pub struct DeadLettersArgs {
    /// The action
    #[command(subcommand)]
    pub action: DeadLettersAction,
}

/// An action on dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersAction {
    /// List dead letters: a table, or JSON lines
    List(DeadLetterSelection),
    /// Show dead letters in full: headers, reason, payload as text or hex
    Show(DeadLetterSelection),
    /// Decode dead letters with the current dataset and table, and insert their rows at the original positions, once each
    Replay {
        /// The dead letters
        #[command(flatten)]
        selection: DeadLetterSelection,
        /// Look for rows that exist already in hot only; safe only if nothing was ever archived or loaded into cold
        #[arg(long)]
        hot_only: bool,
    },
    /// Delete dead letters
    Discard {
        /// The dead letters
        #[command(flatten)]
        selection: DeadLetterSelection,
        /// Delete without asking; without this flag and a terminal the dead letters are only listed
        #[arg(long)]
        yes: bool,
    },
}

/// A selection of dead letters.
#[derive(Debug, Args)]
pub struct DeadLetterSelection {
    /// Only these dead letters, by the names of `dead-letters list`
    #[arg(value_name = "LETTER")]
    pub ids: Vec<String>,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// Only these reasons, such as `excess_digits`
    #[arg(long = "reason", value_name = "NAME", value_delimiter = ',')]
    pub reasons: Vec<String>,
    /// Only messages that JetStream stored at or after this time: RFC 3339, a date, or `6h ago`
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only messages that JetStream stored before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Only messages whose subject matches this pattern, such as `trade.okx.>`
    #[arg(long, value_name = "PATTERN")]
    pub subject: Option<String>,
    /// Only messages of these symbols (the fourth token of the subject)
    #[arg(long = "symbol", value_name = "NAME", value_delimiter = ',')]
    pub symbols: Vec<String>,
    /// The maximum number of dead letters [default: 100 for list and show, otherwise all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}
