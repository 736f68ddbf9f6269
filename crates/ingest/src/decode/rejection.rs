//! The reasons why a message does not become a row.

use std::fmt;

use super::fault::excerpt;
use super::json::JsonError;

/// The location of a refused value: its column, and its field in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueLocation {
    /// The column that asked for the value.
    pub column: String,
    /// Its type, as ClickHouse writes it.
    pub column_type: String,
    /// The message's field, with the way into it: `bids[3][0]`, `bids[3].price`.
    pub field: String,
    /// The value's text, shortened and escaped.
    pub value: String,
}

impl fmt::Display for ValueLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "column `{}` of type {}: field `{}` is {}",
            self.column, self.column_type, self.field, self.value
        )
    }
}

/// The reason why a message does not become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The payload has no bytes.
    Empty,
    /// The payload is larger than a message may be.
    TooLarge {
        /// The payload's size.
        bytes: usize,
        /// The size allowed.
        limit: usize,
    },
    /// The payload is not a JSON object.
    NotJson {
        /// The flaw.
        what: &'static str,
        /// Bytes from the payload's beginning.
        offset: usize,
    },
    /// A field occurs twice: it is unknown which one is meant.
    DuplicateField {
        /// Its name, escaped.
        field: String,
    },
    /// A column that cannot be NULL has no value.
    Missing {
        /// The column.
        column: String,
        /// The fields that were looked for, in order of preference.
        fields: Vec<String>,
    },
    /// The value is of a kind that the column cannot take.
    WrongType(ValueLocation),
    /// A level or tuple does not have the elements that it must have.
    WrongElements(ValueLocation),
    /// The value is not a number.
    BadNumber(ValueLocation),
    /// The number has more digits after the point than the column holds, and the dataset does not round.
    ExcessDigits(ValueLocation),
    /// The value is beyond what the column holds.
    OutOfRange(ValueLocation),
    /// The value is not a time.
    BadTime(ValueLocation),
    /// The time cannot be right: hour partitions wrap around for such times, so it must not get there.
    ImplausibleTime {
        /// Its location.
        place: ValueLocation,
        /// The plausible range.
        expected: String,
    },
    /// The buffer holds all that an Arrow array can address: take it with `finish`, then append the message again.
    BatchFull,
}

impl Reason {
    /// The payload is not a JSON object.
    #[cold]
    pub(super) fn not_json(e: JsonError) -> Self {
        Self::NotJson {
            what: e.flaw.text(),
            offset: e.offset as usize,
        }
    }

    /// A field occurs twice.
    #[cold]
    pub(super) fn duplicate(name: &str) -> Self {
        Self::DuplicateField {
            field: excerpt(name),
        }
    }

    /// Returns a short name that does not change, for metrics and dead letters.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::NotJson { .. } => "not_json",
            Self::DuplicateField { .. } => "duplicate_field",
            Self::Missing { .. } => "missing",
            Self::WrongType(_) => "wrong_type",
            Self::WrongElements(_) => "wrong_elements",
            Self::BadNumber(_) => "bad_number",
            Self::ExcessDigits(_) => "excess_digits",
            Self::OutOfRange(_) => "out_of_range",
            Self::BadTime(_) => "bad_time",
            Self::ImplausibleTime { .. } => "implausible_time",
            Self::BatchFull => "batch_full",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the payload is empty"),
            Self::TooLarge { bytes, limit } => {
                write!(
                    f,
                    "the payload has {bytes} bytes, more than the {limit} allowed"
                )
            }
            Self::NotJson { what, offset } => {
                write!(
                    f,
                    "the payload is not a JSON object: {what} at byte {offset}"
                )
            }
            Self::DuplicateField { field } => write!(f, "field `{field}` is there twice"),
            Self::Missing { column, fields } => {
                let fields: Vec<_> = fields.iter().map(|name| format!("`{name}`")).collect();
                write!(
                    f,
                    "column `{column}` cannot be NULL, and the message has none of the fields {}",
                    fields.join(", ")
                )
            }
            Self::WrongType(place) => write!(f, "{place}, which it cannot take"),
            Self::WrongElements(place) => {
                write!(
                    f,
                    "{place}, which does not have the elements that it must have"
                )
            }
            Self::BadNumber(place) => write!(f, "{place}, which is not a number"),
            Self::ExcessDigits(place) => {
                write!(f, "{place}, which has more decimals than the column holds")
            }
            Self::OutOfRange(place) => write!(f, "{place}, which is beyond what the column holds"),
            Self::BadTime(place) => write!(f, "{place}, which is not a time"),
            Self::ImplausibleTime { place, expected } => {
                write!(f, "{place}, which is not a plausible time: {expected}")
            }
            Self::BatchFull => f.write_str("the batch is full and must be taken first"),
        }
    }
}

/// A message that did not become a row. It left no trace among the buffered ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Rejection {}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason }
    }
}
