//! The type of a column, and what follows from it alone.

/// The type of a ClickHouse column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `Bool`.
    Bool,
    /// `Int8` … `Int256`, `UInt8` … `UInt256`.
    Int {
        /// Width in bits.
        bits: u16,
        /// Whether it has a sign.
        signed: bool,
    },
    /// `Float32`.
    Float32,
    /// `Float64`.
    Float64,
    /// `Decimal(precision, scale)`.
    Decimal {
        /// Digits in all, at most 76.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `String`: bytes, not necessarily text.
    String,
    /// `FixedString(n)`.
    FixedString(u32),
    /// `Date`.
    Date,
    /// `Date32`.
    Date32,
    /// `DateTime` in seconds, with its time zone if one is named.
    DateTime(Option<String>),
    /// `DateTime64(scale)`, with its time zone if one is named.
    DateTime64(u8, Option<String>),
    /// `Enum8(…)` or `Enum16(…)`, kept as the server writes it.
    Enum(String),
    /// `UUID`.
    Uuid,
    /// `Nullable(T)`.
    Nullable(Box<ColumnType>),
    /// `LowCardinality(T)`.
    LowCardinality(Box<ColumnType>),
    /// `Array(T)`.
    Array(Box<ColumnType>),
    /// `Tuple(name T, …)` or `Tuple(T, …)`.
    Tuple(Vec<(Option<String>, ColumnType)>),
    /// `Map(K, V)`.
    Map(Box<ColumnType>, Box<ColumnType>),
    /// Anything else, kept as the server writes it.
    Other(String),
}

impl ColumnType {
    /// Returns the type below `Nullable` and `LowCardinality`.
    #[must_use]
    pub fn inner(&self) -> &Self {
        match self {
            Self::Nullable(t) | Self::LowCardinality(t) => t.inner(),
            other => other,
        }
    }

    /// Tells whether a value may be NULL.
    #[must_use]
    pub fn is_nullable(&self) -> bool {
        match self {
            Self::Nullable(_) => true,
            Self::LowCardinality(t) => t.is_nullable(),
            _ => false,
        }
    }

    /// Returns why a column of this type cannot be transferred with proof; `None` if it can.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Other(name) => Some(format!(
                "{name} does not keep its hash through Arrow and Parquet"
            )),
            Self::Nullable(t) | Self::LowCardinality(t) | Self::Array(t) => t.refusal(),
            Self::Map(k, v) => k.refusal().or_else(|| v.refusal()),
            Self::Tuple(fields) => fields.iter().find_map(|(_, t)| t.refusal()),
            _ => None,
        }
    }
}
