//! Why a text does not fit a column, and a value that does.

/// The reason why a number does not become a value of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFault {
    /// The text is not a number.
    Malformed,
    /// It has more digits after the point than the column holds.
    ExcessDigits,
    /// It is larger than the column holds.
    OutOfRange,
}

/// A number at its column's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaled<T> {
    /// The value times 10 to the scale.
    pub value: T,
    /// Whether digits were rounded away.
    pub rounded: bool,
}
