//! A type as the server writes it.

use std::fmt;

use super::definition::ColumnType;
use super::plain_types;

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int { bits, signed } => write!(f, "{}Int{bits}", if *signed { "" } else { "U" }),
            Self::Decimal { precision, scale } => write!(f, "Decimal({precision}, {scale})"),
            Self::FixedString(n) => write!(f, "FixedString({n})"),
            Self::DateTime(None) => f.write_str("DateTime"),
            Self::DateTime(Some(tz)) => write!(f, "DateTime('{tz}')"),
            Self::DateTime64(scale, None) => write!(f, "DateTime64({scale})"),
            Self::DateTime64(scale, Some(tz)) => write!(f, "DateTime64({scale}, '{tz}')"),
            Self::Enum(text) | Self::Other(text) => f.write_str(text),
            Self::Nullable(t) => write!(f, "Nullable({t})"),
            Self::LowCardinality(t) => write!(f, "LowCardinality({t})"),
            Self::Array(t) => write!(f, "Array({t})"),
            Self::Map(k, v) => write!(f, "Map({k}, {v})"),
            Self::Tuple(fields) => {
                f.write_str("Tuple(")?;
                for (i, (name, t)) in fields.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    if let Some(name) = name {
                        write!(f, "{name} ")?;
                    }
                    write!(f, "{t}")?;
                }
                f.write_str(")")
            }
            plain => f.write_str(plain_types::name(plain).unwrap_or_default()),
        }
    }
}
