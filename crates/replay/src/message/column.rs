//! Columns of a batch as values of messages. Pure.

use arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, Decimal128Array, Decimal256Array, DictionaryArray,
    Float64Array, Int64Array, StringArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use jiff::Timestamp;

use crate::number::{push_decimal_text, push_decimal128, push_i64, push_text, push_u64};
use mpsync_core::error::{Context as _, Error, Result};

/// The integers that every reader interprets as milliseconds: 2009 to 2262.
const PLAIN_MS: std::ops::Range<i64> = 1_230_768_000_000..9_223_372_036_000;
const NANOS_PER_SEC: i64 = 1_000_000_000;

/// A column of times.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) values: Int64Array,
    /// Nanoseconds of one unit.
    unit: i64,
}

impl Times {
    pub(crate) fn new(array: &ArrayRef, name: &str) -> Result<Self> {
        match Column::new(array).context(|| format!("column {name}"))? {
            Column::Time { values, per_sec } => Ok(Self {
                values,
                unit: NANOS_PER_SEC / per_sec,
            }),
            _ => Err(Error::schema(format!("column `{name}` is not a timestamp"))),
        }
    }

    #[inline]
    pub(crate) fn nanos(&self, row: usize) -> i64 {
        self.values.value(row).saturating_mul(self.unit)
    }
}

/// A column of a batch, ready to be written.
#[derive(Debug)]
pub(crate) enum Column {
    Bool(BooleanArray),
    Int(Int64Array),
    UInt(UInt64Array),
    Float(Float64Array),
    Decimal(Decimal128Array, u32),
    WideDecimal(Decimal256Array, u32),
    Text(StringArray),
    /// The keys, and every value as JSON.
    Dictionary(DictionaryArray<Int32Type>, Vec<Vec<u8>>),
    Date(Int64Array),
    Time {
        values: Int64Array,
        per_sec: i64,
    },
    List(OffsetBuffer<i32>, Option<NullBuffer>, Box<Column>),
    /// Written as an array of its fields.
    Tuple(Vec<Column>, Option<NullBuffer>),
}

pub(crate) fn as_type(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let exactly = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(cast_with_options(array, to, &exactly)?)
}

impl Column {
    pub(crate) fn new(array: &ArrayRef) -> Result<Self> {
        let to = |t: &DataType| as_type(array, t);
        Ok(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Self::Int(to(&DataType::Int64)?.as_primitive().clone())
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Self::UInt(to(&DataType::UInt64)?.as_primitive().clone())
            }
            DataType::Float32 | DataType::Float64 => {
                Self::Float(to(&DataType::Float64)?.as_primitive().clone())
            }
            DataType::Decimal128(_, scale) => {
                Self::Decimal(array.as_primitive().clone(), unsigned(*scale)?)
            }
            DataType::Decimal256(_, scale) => {
                Self::WideDecimal(array.as_primitive().clone(), unsigned(*scale)?)
            }
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary => Self::Text(to(&DataType::Utf8)?.as_string().clone()),
            DataType::Dictionary(_, values) if !values.is_nested() => Self::dictionary(array)?,
            DataType::Date32 => Self::Date(
                as_type(&to(&DataType::Int32)?, &DataType::Int64)?
                    .as_primitive()
                    .clone(),
            ),
            DataType::Timestamp(unit, _) => Self::Time {
                values: to(&DataType::Int64)?.as_primitive().clone(),
                per_sec: match unit {
                    TimeUnit::Second => 1,
                    TimeUnit::Millisecond => 1_000,
                    TimeUnit::Microsecond => 1_000_000,
                    TimeUnit::Nanosecond => NANOS_PER_SEC,
                },
            },
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(
                    list.offsets().clone(),
                    list.nulls().cloned(),
                    Box::new(Self::new(list.values())?),
                )
            }
            DataType::Struct(_) => {
                let tuple = array.as_struct();
                let columns = tuple
                    .columns()
                    .iter()
                    .map(Self::new)
                    .collect::<Result<_>>()?;
                Self::Tuple(columns, tuple.nulls().cloned())
            }
            other => {
                return Err(Error::schema(format!(
                    "cannot write a value of type {other} in a message"
                )));
            }
        })
    }

    fn dictionary(array: &ArrayRef) -> Result<Self> {
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let array = as_type(array, &text)?;
        let keys = array.as_dictionary::<Int32Type>().clone();
        let values = keys.values().as_string::<i32>();
        let rendered = values.iter().map(|value| {
            let mut out = Vec::new();
            push_text(value.unwrap_or_default(), &mut out);
            out
        });
        let rendered = rendered.collect();
        Ok(Self::Dictionary(keys, rendered))
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(a) => a.is_null(row),
            Self::Int(a) | Self::Date(a) | Self::Time { values: a, .. } => a.is_null(row),
            Self::UInt(a) => a.is_null(row),
            Self::Float(a) => a.is_null(row),
            Self::Decimal(a, _) => a.is_null(row),
            Self::WideDecimal(a, _) => a.is_null(row),
            Self::Text(a) => a.is_null(row),
            Self::Dictionary(a, _) => a.is_null(row),
            Self::List(_, nulls, _) | Self::Tuple(_, nulls) => {
                nulls.as_ref().is_some_and(|n| n.is_null(row))
            }
        }
    }

    /// Whether it is a time that is not a whole number of milliseconds.
    #[inline]
    pub(crate) fn is_fine(&self, row: usize, shift_secs: i64) -> bool {
        match self {
            Self::Time { values, per_sec } => {
                plain_ms(values.value(row), *per_sec, shift_secs).is_none()
            }
            _ => false,
        }
    }

    #[inline]
    pub(crate) fn push(&self, row: usize, shift_secs: i64, out: &mut Vec<u8>) {
        match self {
            Self::Bool(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
            Self::Int(a) => push_i64(a.value(row), out),
            Self::UInt(a) => push_u64(a.value(row), out),
            Self::Float(a) => push_float(a.value(row), out),
            Self::Decimal(a, scale) => push_decimal128(a.value(row), *scale, out),
            Self::WideDecimal(a, scale) => {
                push_decimal_text(&a.value(row).to_string(), *scale, out);
            }
            Self::Text(a) => push_text(a.value(row), out),
            Self::Dictionary(a, rendered) => {
                let key = usize::try_from(a.keys().value(row)).unwrap_or(usize::MAX);
                out.extend_from_slice(rendered.get(key).map_or(b"null", Vec::as_slice));
            }
            Self::Date(a) => push_date(a.value(row), shift_secs, out),
            Self::Time { values, per_sec } => {
                push_time(values.value(row), *per_sec, shift_secs, out);
            }
            Self::List(offsets, _, child) => {
                let span = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
                out.push(b'[');
                for (nth, element) in (span(row)..span(row + 1)).enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    child.push_or_null(element, shift_secs, out);
                }
                out.push(b']');
            }
            Self::Tuple(columns, _) => {
                out.push(b'[');
                for (nth, column) in columns.iter().enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    column.push_or_null(row, shift_secs, out);
                }
                out.push(b']');
            }
        }
    }

    #[inline]
    fn push_or_null(&self, row: usize, shift_secs: i64, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            self.push(row, shift_secs, out);
        }
    }
}

fn unsigned(scale: i8) -> Result<u32> {
    u32::try_from(scale).map_err(|_| {
        Error::schema(format!(
            "cannot write a decimal of scale {scale} in a message"
        ))
    })
}

/// Returns milliseconds since 1970, if it is a whole number that cannot be mistaken for another unit.
#[inline]
fn plain_ms(value: i64, per_sec: i64, shift_secs: i64) -> Option<i64> {
    let value = value.checked_add(shift_secs.checked_mul(per_sec)?)?;
    let ms = match per_sec {
        1_000 => value,
        1 => value.checked_mul(1_000)?,
        finer => {
            let unit = finer / 1_000;
            (value % unit == 0).then_some(value / unit)?
        }
    };
    PLAIN_MS.contains(&ms).then_some(ms)
}

fn push_time(value: i64, per_sec: i64, shift_secs: i64, out: &mut Vec<u8>) {
    if let Some(ms) = plain_ms(value, per_sec, shift_secs) {
        return push_i64(ms, out);
    }
    let nanos = i128::from(value) * i128::from(NANOS_PER_SEC / per_sec)
        + i128::from(shift_secs) * i128::from(NANOS_PER_SEC);
    match Timestamp::from_nanosecond(nanos) {
        Ok(time) => {
            out.push(b'"');
            out.extend_from_slice(time.to_string().as_bytes());
            out.push(b'"');
        }
        // Beyond the year 9999, the limit of columns.
        Err(_) => out.extend_from_slice(b"null"),
    }
}

fn push_date(days: i64, shift_secs: i64, out: &mut Vec<u8>) {
    let secs = days.saturating_mul(86_400).saturating_add(shift_secs);
    match Timestamp::from_second(secs) {
        Ok(day) => {
            out.push(b'"');
            out.extend_from_slice(day.strftime("%Y-%m-%d").to_string().as_bytes());
            out.push(b'"');
        }
        Err(_) => out.extend_from_slice(b"null"),
    }
}

/// Writes the shortest text that parses to the same number; NaN and infinities, which JSON lacks, as text.
fn push_float(value: f64, out: &mut Vec<u8>) {
    let text = value.to_string();
    if value.is_finite() {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_text(&text, out);
    }
}
