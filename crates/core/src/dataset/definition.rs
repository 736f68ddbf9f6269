//! The definition of a dataset: subjects, table, and how the fields of a message map to columns.

use serde::{Deserialize, Serialize};

use super::name::DatasetName;

/// The columns that make up a row's identity, in every table that mpsync's own ingest fills.
pub const EPOCH_COLUMN: &str = "stream_epoch";
/// See [`EPOCH_COLUMN`].
pub const SEQ_COLUMN: &str = "stream_seq";

/// The treatment of a number with more digits after the point than its column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExcessDigits {
    /// The message becomes a dead letter.
    #[default]
    Reject,
    /// The number is rounded half to even, counted and logged.
    Round,
}

/// A side of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BookSide {
    /// The best is the highest price.
    Bid,
    /// The best is the lowest price.
    Ask,
}

/// A number of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LevelPart {
    /// The level's price.
    Price,
    /// The level's quantity.
    Quantity,
}

/// The source of a column's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSource {
    /// The first of these fields that the message has and that is not null; the column's type says how it is read.
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
    /// NULL if no level is left.
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
    /// The NATS subjects of its messages, wildcards allowed; none if another program fills the table and mpsync only
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
    /// Every column with the source of its value, in the table's order; none if another program fills the table.
    pub columns: Vec<(String, ColumnSource)>,
    /// Fields that messages carry and that no column takes, deliberately: not counted as unknown.
    pub ignored_fields: Vec<String>,
    /// The treatment of a number with too many digits.
    pub excess_digits: ExcessDigits,
    /// The publisher's own id of a message: text with `{column}` in it, or `{column|column}` for the first that is not NULL; `None`
    /// if it is unknown how it is made.
    pub message_id: Option<String>,
}
