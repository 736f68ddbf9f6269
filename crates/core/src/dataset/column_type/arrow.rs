//! The Arrow type in which values of a column travel.

use std::sync::Arc;

use arrow_schema::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, TimeUnit};

use super::definition::ColumnType;
use super::plain_types;
use crate::error::{Error, Result};

impl ColumnType {
    /// Returns the Arrow type in which mpsync sends values of this type to ClickHouse; an error for types that it does not write.
    ///
    /// Strings come from JSON and are sent as `Utf8`, low-cardinality ones as a dictionary.
    pub fn arrow(&self) -> Result<DataType> {
        Ok(match self {
            Self::Decimal { precision, scale } => {
                let scale = i8::try_from(*scale).map_err(|_| self.unwritable())?;
                if *precision <= DECIMAL128_MAX_PRECISION {
                    DataType::Decimal128(*precision, scale)
                } else {
                    DataType::Decimal256(*precision, scale)
                }
            }
            Self::Enum(_) => DataType::Utf8,
            Self::DateTime(tz) => {
                DataType::Timestamp(TimeUnit::Second, tz.as_deref().map(Arc::from))
            }
            Self::DateTime64(scale, tz) => {
                DataType::Timestamp(time_unit(*scale), tz.as_deref().map(Arc::from))
            }
            Self::Nullable(t) => t.arrow()?,
            Self::LowCardinality(t) => match t.inner() {
                Self::String => {
                    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
                }
                other => other.arrow()?,
            },
            Self::Array(t) => DataType::List(Arc::new(t.arrow_field("item")?)),
            Self::Tuple(fields) => DataType::Struct(
                fields
                    .iter()
                    .enumerate()
                    .map(|(i, (name, t))| {
                        t.arrow_field(name.as_deref().unwrap_or(&(i + 1).to_string()))
                    })
                    .collect::<Result<Fields>>()?,
            ),
            plain => plain_types::arrow(plain).ok_or_else(|| self.unwritable())?,
        })
    }

    /// An Arrow field of this type.
    pub fn arrow_field(&self, name: &str) -> Result<Field> {
        Ok(Field::new(name, self.arrow()?, self.is_nullable()))
    }

    fn unwritable(&self) -> Error {
        Error::schema(format!(
            "a column of type {self} cannot be filled from messages"
        ))
    }
}

/// The coarsest Arrow unit that holds `scale` digits of a second.
fn time_unit(scale: u8) -> TimeUnit {
    match scale {
        0 => TimeUnit::Second,
        1..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}
