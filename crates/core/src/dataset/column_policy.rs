//! The treatment of values that a column cannot take as they are.

use serde::{Deserialize, Deserializer};

/// The treatment of a number or time with more digits than its column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExcessPolicy {
    /// The message becomes a dead letter.
    Reject,
    /// The value is rounded half to even, and counted.
    Round,
    /// The value becomes NULL, and is counted.
    Null,
}

/// The treatment of an empty text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyPolicy {
    /// The message becomes a dead letter.
    Reject,
    /// The value becomes NULL.
    Null,
}

/// The treatment of a value that the column cannot hold at all: of another type, out of range, unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadPolicy {
    /// The message becomes a dead letter.
    #[default]
    Reject,
    /// The value becomes NULL, and is counted.
    Null,
}

/// A policy that can be "NULL", which YAML reads as its own null unless it is quoted.
pub(super) trait NullPolicy: Sized {
    const NULL: Self;
}

impl NullPolicy for ExcessPolicy {
    const NULL: Self = Self::Null;
}

impl NullPolicy for EmptyPolicy {
    const NULL: Self = Self::Null;
}

impl NullPolicy for BadPolicy {
    const NULL: Self = Self::Null;
}

/// Reads a policy that is given, quoted or not.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + NullPolicy,
{
    let given = Option::<T>::deserialize(deserializer)?;
    Ok(Some(given.unwrap_or(T::NULL)))
}

/// The policies of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ColumnPolicy {
    /// For excess digits; `None` is the dataset's own `excess_digits`.
    pub excess: Option<ExcessPolicy>,
    /// For an empty text. `None` is NULL in a Nullable column of numbers, times or flags, in which an empty text has no other
    /// meaning, and the text itself in a column of text.
    pub empty: Option<EmptyPolicy>,
    /// For every other value that the column cannot hold.
    pub bad: BadPolicy,
    /// Whether a null field is an empty array.
    pub null_is_empty: bool,
}
