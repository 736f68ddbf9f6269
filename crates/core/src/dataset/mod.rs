//! What a dataset is: one kind of market data, its subjects, its table and how a message's fields map to columns.
//!
//! A dataset is configuration (YAML) and a DDL file. The eight built-in ones are made the same way and embedded in the
//! binary, so that a new kind of data needs no code.

mod builtin;
mod ddl;
mod position;
mod types;
mod window;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use builtin::builtin;
pub use ddl::DdlOptions;
pub use position::{Epoch, Position, PositionSet};
pub use types::ColumnType;
pub use window::Window;

use crate::error::{Error, Result};

/// The columns that make up a row's identity, in every table that mpsync's own ingest fills.
pub const EPOCH_COLUMN: &str = "stream_epoch";
/// See [`EPOCH_COLUMN`].
pub const SEQ_COLUMN: &str = "stream_seq";

/// Hot or cold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum TierRole {
    /// Kept for days, filled by ingest.
    Hot,
    /// Kept for a year, filled from the archive.
    Cold,
}

impl fmt::Display for TierRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
        })
    }
}

/// A dataset's name: a folder of the archive, so lower-case letters, digits and underscores, not beginning with `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetName(String);

impl DatasetName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DatasetName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 64
            && name.chars().all(fits)
        {
            Ok(Self(name))
        } else {
            Err(Error::config(format!(
                "`{}` is no dataset name: lower-case letters, digits and underscores, a letter first, at most 64",
                name.escape_debug()
            )))
        }
    }
}

impl From<DatasetName> for String {
    fn from(name: DatasetName) -> Self {
        name.0
    }
}

impl std::str::FromStr for DatasetName {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::try_from(name.to_owned())
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What becomes of a number with more digits after the point than its column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExcessDigits {
    /// The message becomes a dead letter.
    #[default]
    Reject,
    /// The number is rounded half to even, counted and logged.
    Round,
}

/// Which side of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BookSide {
    /// The best is the highest price.
    Bid,
    /// The best is the lowest price.
    Ask,
}

/// Which number of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LevelPart {
    /// The level's price.
    Price,
    /// The level's quantity.
    Quantity,
}

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSource {
    /// The first of these fields of the message that is there and not null; the column's type says how it is read.
    /// `$subject.N` is the subject's Nth token, from 0.
    Fields(Vec<String>),
    /// When JetStream stored the message.
    StoredAt,
    /// The stream's epoch.
    Epoch,
    /// The message's stream sequence.
    Sequence,
    /// How many elements another column's array has.
    Count(String),
    /// A number of the best level of another column's book side: levels of quantity zero are removals and do not count;
    /// NULL where no level is left.
    Best {
        /// The column that holds the levels.
        of: String,
        /// Which side it is.
        side: BookSide,
        /// Which number is wanted.
        part: LevelPart,
    },
}

/// How each tier's table is partitioned: an SQL expression over its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierPartition {
    /// In hot: the unit of cleanup. By default the hour.
    pub hot: String,
    /// In cold. By default the day.
    pub cold: String,
}

impl Default for TierPartition {
    fn default() -> Self {
        Self {
            hot: "toStartOfHour(timestamp)".into(),
            cold: "toDate(timestamp)".into(),
        }
    }
}

/// One kind of market data.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Its name, which is also its folder in the archive.
    pub name: DatasetName,
    /// The NATS subjects of its messages, wildcards allowed; none where somebody else fills the table, and mpsync only
    /// transfers it.
    pub subjects: Vec<String>,
    /// Its table, in either tier.
    pub table: String,
    /// The column of the event time, by which windows are cut.
    pub time_column: String,
    /// How each tier's table is partitioned.
    pub partition: TierPartition,
    /// The `CREATE TABLE` statement with its placeholders, see [`Dataset::create_table`].
    pub ddl: String,
    /// Every column with where its value comes from, in the table's order; none where somebody else fills the table.
    pub columns: Vec<(String, ColumnSource)>,
    /// Fields that messages carry and that no column takes, deliberately: not counted as unknown.
    pub ignored_fields: Vec<String>,
    /// What becomes of a number with too many digits.
    pub excess_digits: ExcessDigits,
    /// The publisher's own id of a message: text with `{column}` in it, or `{column|column}` for the first that is not NULL; `None`
    /// where nobody knows how it is made.
    pub message_id: Option<String>,
}

impl Dataset {
    /// Reads a dataset from its YAML and the text of its DDL file; `origin` names the file in errors.
    pub fn from_yaml(origin: &str, yaml: &str, ddl: String) -> Result<Self> {
        let raw: builtin::RawDataset =
            serde_saphyr::from_str(yaml).map_err(|e| Error::config(format!("{origin}: {e}")))?;
        raw.into_dataset(origin, ddl)
    }
}

/// Finds datasets by name; an error names those that exist.
pub fn select<'a>(all: &'a [Dataset], names: &[String]) -> Result<Vec<&'a Dataset>> {
    if names.is_empty() || names.iter().any(|n| n == "all") {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| {
        all.iter().find(|d| d.name.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|d| d.name.as_str()).collect();
            Error::usage(format!("there is no dataset `{}`", name.escape_debug()))
                .with_hint(format!("datasets: {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}
