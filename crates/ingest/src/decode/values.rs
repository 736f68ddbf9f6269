//! A column's values, by the kind of its type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, Float32Array, Float64Array,
    Int64Array, ListArray, PrimitiveArray, StructArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Int8Type, Int16Type, Int32Type, UInt8Type, UInt16Type, UInt32Type,
};

use super::buffers::{elements, inconsistent, renew};
use super::column::Column;
use super::decimals::Decimals;
use super::fault::{DecodeContext, Fault, ValueFlaw};
use super::json::Scanner;
use super::levels::Levels;
use super::nested::{push_list, push_tuple};
use super::text::{Dictionary, Text};
use super::time::{self, Instant};
use super::times::Times;
use super::value::{JsonItem, JsonKind};
use mpsync_core::dataset::ColumnType;
use mpsync_core::decimal;
use mpsync_core::error::{Error, Result};

/// The values of a column; a NULL has a placeholder.
#[derive(Debug)]
pub(super) enum ColumnValues {
    Bool(BooleanBufferBuilder),
    /// All integers but `UInt64`, range-checked when they come in.
    Int {
        values: Vec<i64>,
        min: i64,
        max: i64,
    },
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Decimals),
    Time(Times),
    Date {
        values: Vec<i32>,
        first: i32,
        last: i32,
    },
    Text {
        text: Text,
        /// An enumeration's names.
        allowed: Option<Vec<String>>,
    },
    Dictionary(Dictionary),
    Levels(Levels),
    List {
        offsets: Vec<i32>,
        child: Box<Column>,
    },
    Tuple {
        names: Vec<String>,
        children: Vec<Column>,
        len: usize,
    },
}

impl ColumnValues {
    pub(super) fn new(column_type: &ColumnType, data_type: &DataType) -> Result<Self> {
        Ok(match column_type.inner() {
            ColumnType::Bool => Self::Bool(BooleanBufferBuilder::new(0)),
            ColumnType::Int {
                bits: 64,
                signed: false,
            } => Self::UInt64(Vec::new()),
            ColumnType::Int { bits, signed } => {
                let (min, max) = integer_range(*bits, *signed);
                Self::Int {
                    values: Vec::new(),
                    min,
                    max,
                }
            }
            ColumnType::Float32 => Self::Float32(Vec::new()),
            ColumnType::Float64 => Self::Float64(Vec::new()),
            ColumnType::Decimal { precision, scale } => {
                Self::Decimal(Decimals::new(*precision, *scale))
            }
            ColumnType::DateTime(_) => Self::Time(Times::new(0, data_type, 0, i64::from(u32::MAX))),
            ColumnType::DateTime64(scale, _) => {
                let (first, last) = time::DATE_TIME64_RANGE_SECS;
                Self::Time(Times::new(*scale, data_type, first, last))
            }
            ColumnType::Date => Self::Date {
                values: Vec::new(),
                first: 0,
                last: i32::from(u16::MAX),
            },
            ColumnType::Date32 => {
                let (first, last) = time::DATE32_RANGE_DAYS;
                Self::Date {
                    values: Vec::new(),
                    first,
                    last,
                }
            }
            ColumnType::String if matches!(data_type, DataType::Dictionary(..)) => {
                Self::Dictionary(Dictionary::new())
            }
            ColumnType::String => Self::Text {
                text: Text::new(),
                allowed: None,
            },
            ColumnType::Enum(definition) => Self::Text {
                text: Text::new(),
                allowed: Some(enum_names(definition)),
            },
            ColumnType::Array(element) => match Levels::new(element) {
                Some(levels) => Self::Levels(levels),
                None => Self::List {
                    offsets: vec![0],
                    child: Box::new(Column::new(element)?),
                },
            },
            ColumnType::Tuple(fields) => Self::tuple(fields)?,
            other => {
                return Err(Error::schema(format!(
                    "a column of type {other} cannot be filled from messages"
                )));
            }
        })
    }

    fn tuple(fields: &[(Option<String>, ColumnType)]) -> Result<Self> {
        let names = fields.iter().enumerate();
        let names = names.map(|(i, (name, _))| name.clone().unwrap_or_else(|| (i + 1).to_string()));
        Ok(Self::Tuple {
            names: names.collect(),
            children: fields
                .iter()
                .map(|(_, field)| Column::new(field))
                .collect::<Result<_>>()?,
            len: 0,
        })
    }

    #[inline]
    pub(super) fn push(&mut self, item: JsonItem<'_>, cx: &mut DecodeContext) -> Result<(), Fault> {
        match self {
            Self::Decimal(decimals) => decimals.push(item, cx)?,
            Self::Time(times) => times.push_item(item, cx)?,
            Self::Dictionary(dictionary) => dictionary.push(text_of(item, &mut cx.scratch)?),
            Self::Text { text, allowed } => {
                let value = text_of(item, &mut cx.scratch)?;
                if let Some(allowed) = allowed
                    && !allowed.iter().any(|name| name == value)
                {
                    return Err(ValueFlaw::OutOfRange.into());
                }
                text.push(value)?;
            }
            Self::Bool(values) => values.append(boolean(item, cx)?),
            Self::Int { .. } | Self::UInt64(_) => {
                let text = item
                    .scalar_text(&mut cx.scratch)
                    .ok_or(ValueFlaw::WrongType)?;
                let value = decimal::integer(text)?;
                if !self.push_integer(value) {
                    return Err(ValueFlaw::OutOfRange.into());
                }
            }
            Self::Float32(values) => {
                let text = item
                    .scalar_text(&mut cx.scratch)
                    .ok_or(ValueFlaw::WrongType)?;
                values.push(decimal::float32(text)?);
            }
            Self::Float64(values) => {
                let text = item
                    .scalar_text(&mut cx.scratch)
                    .ok_or(ValueFlaw::WrongType)?;
                values.push(decimal::float64(text)?);
            }
            Self::Date {
                values,
                first,
                last,
            } => {
                let days = days(item, cx)?;
                if !(*first..=*last).contains(&days) {
                    return Err(ValueFlaw::OutOfRange.into());
                }
                values.push(days);
            }
            Self::Levels(levels) => levels.push(&mut Scanner::new(item.raw), cx)?,
            Self::List { offsets, child } => push_list(offsets, child, item, cx)?,
            Self::Tuple {
                names,
                children,
                len,
            } => {
                push_tuple(names, children, item, cx)?;
                *len += 1;
            }
        }
        Ok(())
    }

    pub(super) fn push_integer(&mut self, value: i128) -> bool {
        match self {
            Self::Int { values, min, max } => match i64::try_from(value) {
                Ok(value) if (*min..=*max).contains(&value) => values.push(value),
                _ => return false,
            },
            Self::UInt64(values) => match u64::try_from(value) {
                Ok(value) => values.push(value),
                Err(_) => return false,
            },
            _ => return false,
        }
        true
    }

    /// Adds the placeholder of a NULL.
    pub(super) fn push_default(&mut self) {
        match self {
            Self::Bool(values) => values.append(false),
            Self::Int { values, .. } => values.push(0),
            Self::UInt64(values) => values.push(0),
            Self::Float32(values) => values.push(0.0),
            Self::Float64(values) => values.push(0.0),
            Self::Decimal(decimals) => decimals.push_zero(),
            Self::Time(times) => times.values.push(0),
            Self::Date { values, .. } => values.push(0),
            Self::Text { text, .. } => text.push_empty(),
            Self::Dictionary(dictionary) => dictionary.keys.push(0),
            Self::Levels(levels) => levels.push_empty(),
            Self::List { offsets, .. } => offsets.extend_from_within(offsets.len() - 1..),
            Self::Tuple { children, len, .. } => {
                for child in children {
                    child.push_stand_in();
                }
                *len += 1;
            }
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Bool(values) => values.truncate(rows),
            Self::Int { values, .. } => values.truncate(rows),
            Self::UInt64(values) => values.truncate(rows),
            Self::Float32(values) => values.truncate(rows),
            Self::Float64(values) => values.truncate(rows),
            Self::Decimal(decimals) => decimals.truncate(rows),
            Self::Time(times) => times.values.truncate(rows),
            Self::Date { values, .. } => values.truncate(rows),
            Self::Text { text, .. } => text.truncate(rows),
            Self::Dictionary(dictionary) => dictionary.truncate(rows),
            Self::Levels(levels) => levels.truncate(rows),
            Self::List { offsets, child } => {
                offsets.truncate(rows + 1);
                child.truncate(elements(offsets));
            }
            Self::Tuple { children, len, .. } => {
                *len = rows.min(*len);
                for child in children {
                    child.truncate(rows);
                }
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Bool(values) => values.as_slice().len(),
            Self::Int { values, .. } => size_of_val(&values[..]),
            Self::UInt64(values) => size_of_val(&values[..]),
            Self::Float32(values) => size_of_val(&values[..]),
            Self::Float64(values) => size_of_val(&values[..]),
            Self::Decimal(decimals) => decimals.bytes(),
            Self::Time(times) => size_of_val(&times.values[..]),
            Self::Date { values, .. } => size_of_val(&values[..]),
            Self::Text { text, .. } => text.bytes(),
            Self::Dictionary(dictionary) => dictionary.bytes(),
            Self::Levels(levels) => levels.bytes(),
            Self::List { offsets, child } => size_of_val(&offsets[..]) + child.bytes(),
            Self::Tuple { children, .. } => children.iter().map(Column::bytes).sum(),
        }
    }

    pub(super) fn finish(
        &mut self,
        data_type: &DataType,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        Ok(match self {
            Self::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Self::Int { values, .. } => integers(renew(values), data_type, nulls)?,
            Self::UInt64(values) => Arc::new(UInt64Array::try_new(renew(values).into(), nulls)?),
            Self::Float32(values) => Arc::new(Float32Array::try_new(renew(values).into(), nulls)?),
            Self::Float64(values) => Arc::new(Float64Array::try_new(renew(values).into(), nulls)?),
            Self::Decimal(decimals) => decimals.finish(nulls)?,
            Self::Time(times) => times.finish(data_type, nulls)?,
            Self::Date { values, .. } => {
                Arc::new(Date32Array::try_new(renew(values).into(), nulls)?)
            }
            Self::Text { text, .. } => text.finish(nulls)?,
            Self::Dictionary(dictionary) => dictionary.finish(nulls)?,
            Self::Levels(levels) => levels.finish(data_type)?,
            Self::List { offsets, child } => {
                let DataType::List(field) = data_type else {
                    return Err(inconsistent(data_type));
                };
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                let list = ListArray::try_new(field.clone(), offsets, child.finish()?, nulls)?;
                Arc::new(list)
            }
            Self::Tuple { children, len, .. } => {
                let DataType::Struct(fields) = data_type else {
                    return Err(inconsistent(data_type));
                };
                *len = 0;
                let children = children.iter_mut().map(Column::finish);
                let children = children.collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new(fields.clone(), children, nulls)?)
            }
        })
    }
}

fn integer_range(bits: u16, signed: bool) -> (i64, i64) {
    match (bits, signed) {
        (8, true) => (i8::MIN.into(), i8::MAX.into()),
        (16, true) => (i16::MIN.into(), i16::MAX.into()),
        (32, true) => (i32::MIN.into(), i32::MAX.into()),
        (8, false) => (0, u8::MAX.into()),
        (16, false) => (0, u16::MAX.into()),
        (32, false) => (0, u32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

fn integers(values: Vec<i64>, data_type: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    fn narrow<T: ArrowPrimitiveType>(values: &[i64], nulls: Option<NullBuffer>) -> Result<ArrayRef>
    where
        T::Native: TryFrom<i64>,
    {
        let narrowed = values.iter().map(|&value| T::Native::try_from(value));
        let narrowed: ScalarBuffer<T::Native> = narrowed
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| inconsistent(&T::DATA_TYPE))?
            .into();
        Ok(Arc::new(PrimitiveArray::<T>::try_new(narrowed, nulls)?))
    }
    match data_type {
        DataType::Int8 => narrow::<Int8Type>(&values, nulls),
        DataType::Int16 => narrow::<Int16Type>(&values, nulls),
        DataType::Int32 => narrow::<Int32Type>(&values, nulls),
        DataType::UInt8 => narrow::<UInt8Type>(&values, nulls),
        DataType::UInt16 => narrow::<UInt16Type>(&values, nulls),
        DataType::UInt32 => narrow::<UInt32Type>(&values, nulls),
        DataType::Int64 => Ok(Arc::new(Int64Array::try_new(values.into(), nulls)?)),
        other => Err(inconsistent(other)),
    }
}

/// The text of a string, or of a number as it is written.
#[inline]
fn text_of<'s>(item: JsonItem<'s>, scratch: &'s mut String) -> Result<&'s str, Fault> {
    item.scalar_text(scratch)
        .ok_or_else(|| ValueFlaw::WrongType.into())
}

fn boolean(item: JsonItem<'_>, cx: &mut DecodeContext) -> Result<bool, Fault> {
    match item.kind {
        JsonKind::True => Ok(true),
        JsonKind::False => Ok(false),
        _ => match item.scalar_text(&mut cx.scratch) {
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            _ => Err(ValueFlaw::WrongType.into()),
        },
    }
}

/// A day: a date, or a time that is midnight UTC.
fn days(item: JsonItem<'_>, cx: &mut DecodeContext) -> Result<i32, Fault> {
    let text = item
        .scalar_text(&mut cx.scratch)
        .ok_or(ValueFlaw::WrongType)?;
    let days = match time::date(text) {
        Some(days) => days,
        None => Instant::parse(text)?
            .days()
            .ok_or(ValueFlaw::ExcessDigits)?,
    };
    i32::try_from(days).map_err(|_| ValueFlaw::OutOfRange.into())
}

/// The names of `Enum8('a' = 1, 'it\'s' = 2)`.
fn enum_names(definition: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name: Option<String> = None;
    let mut chars = definition.chars();
    while let Some(c) = chars.next() {
        match (&mut name, c) {
            (None, '\'') => name = Some(String::new()),
            (None, _) => {}
            (Some(_), '\'') => names.extend(name.take()),
            (Some(text), '\\') => text.extend(chars.next()),
            (Some(text), c) => text.push(c),
        }
    }
    names
}
