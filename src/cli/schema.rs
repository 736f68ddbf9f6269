//! `mpsync schema`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use mpsync_core::dataset::TierRole;

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
