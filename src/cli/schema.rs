//! `mpsync schema`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use mpsync_core::dataset::TierRole;

/// `mpsync schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The action
    #[command(subcommand)]
    pub action: SchemaAction,
}

/// An action on the tables.
#[derive(Debug, Subcommand)]
pub enum SchemaAction {
    /// Print the statements that create the tables
    Show(SchemaTarget),
    /// Create the database and missing tables, and check existing tables
    Apply(SchemaTarget),
    /// Check a sample of messages against the tables: fields without a column, columns without a field, future dead letters
    ///
    /// Exits with 0 if every message would become a row and every field has a column or is listed in `ignored_fields`,
    /// with 1 otherwise. Columns that no field of the sample fills are listed, but do not cause a failure.
    Check(SchemaCheckArgs),
}

/// `mpsync schema check`
#[derive(Debug, Args)]
pub struct SchemaCheckArgs {
    /// Messages as JSON lines (subject, msg_id, payload); `-` for standard input
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub sample: Vec<PathBuf>,
    /// Check against the live tables of this tier instead of the datasets' DDL
    #[arg(long, value_enum)]
    pub tier: Option<TierRole>,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
}

/// A selection of tables.
#[derive(Debug, Args)]
pub struct SchemaTarget {
    /// The tier
    #[arg(long, value_enum)]
    pub tier: TierRole,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
}
