//! Decimals of one precision and scale, in 128 or 256 bits.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Decimal256Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, i256};

use super::buffers::renew;
use super::fault::{DecodeContext, Fault, ValueFlaw};
use super::value::JsonItem;
use mpsync_core::decimal::{self, Plain};
use mpsync_core::error::{Error, Result};

/// A column's decimals.
#[derive(Debug)]
pub(super) struct Decimals {
    precision: u8,
    scale: u8,
    values: Width,
}

#[derive(Debug)]
enum Width {
    Narrow(Vec<i128>),
    Wide(Vec<i256>),
}

impl Decimals {
    pub(super) fn new(precision: u8, scale: u8) -> Self {
        Self {
            precision,
            scale,
            values: if precision <= DECIMAL128_MAX_PRECISION {
                Width::Narrow(Vec::new())
            } else {
                Width::Wide(Vec::new())
            },
        }
    }

    #[inline]
    pub(super) fn push(&mut self, item: JsonItem<'_>, cx: &mut DecodeContext) -> Result<(), Fault> {
        let text = item
            .scalar_text(&mut cx.scratch)
            .ok_or(ValueFlaw::WrongType)?;
        if let Some(value) = Plain::parse(text).and_then(|plain| self.fit(plain)) {
            self.push_fit(value);
        } else {
            let rounded = self.push_any(text, cx.round)?;
            cx.rounded += u64::from(rounded);
        }
        Ok(())
    }

    /// Adds a number of any form; whether it had to be rounded.
    fn push_any(&mut self, text: &str, round: bool) -> Result<bool, Fault> {
        Ok(match &mut self.values {
            Width::Narrow(values) => {
                let scaled = decimal::decimal(text, self.precision, self.scale, round)?;
                values.push(scaled.value);
                scaled.rounded
            }
            Width::Wide(values) => {
                let scaled = decimal::decimal(text, self.precision, self.scale, round)?;
                values.push(scaled.value);
                scaled.rounded
            }
        })
    }

    /// Returns the number if it obviously fits; only for columns of 128 bits.
    #[inline]
    pub(super) fn fit(&self, plain: Plain) -> Option<i128> {
        match self.values {
            Width::Narrow(_) => plain.at_scale(self.precision, self.scale),
            Width::Wide(_) => None,
        }
    }

    /// Adds a number that [`Decimals::fit`] returned.
    #[inline]
    pub(super) fn push_fit(&mut self, value: i128) {
        match &mut self.values {
            Width::Narrow(values) => values.push(value),
            Width::Wide(values) => values.push(i256::from_i128(value)),
        }
    }

    pub(super) fn push_zero(&mut self) {
        self.push_fit(0);
    }

    /// Adds one of another column's values; `false` if the types differ.
    pub(super) fn push_of(&mut self, other: &Self, index: usize) -> bool {
        if !self.same_type(other) {
            return false;
        }
        match (&mut self.values, &other.values) {
            (Width::Narrow(values), Width::Narrow(other)) => values.extend(other.get(index)),
            (Width::Wide(values), Width::Wide(other)) => values.extend(other.get(index)),
            _ => return false,
        }
        true
    }

    pub(super) fn same_type(&self, other: &Self) -> bool {
        (self.precision, self.scale) == (other.precision, other.scale)
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Width::Narrow(values) => values.len(),
            Width::Wide(values) => values.len(),
        }
    }

    #[inline]
    pub(super) fn is_zero(&self, index: usize) -> bool {
        match &self.values {
            Width::Narrow(values) => values[index] == 0,
            Width::Wide(values) => values[index] == i256::ZERO,
        }
    }

    #[inline]
    pub(super) fn compare(&self, left: usize, right: usize) -> Ordering {
        match &self.values {
            Width::Narrow(values) => values[left].cmp(&values[right]),
            Width::Wide(values) => values[left].cmp(&values[right]),
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        match &mut self.values {
            Width::Narrow(values) => values.truncate(len),
            Width::Wide(values) => values.truncate(len),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.values {
            Width::Narrow(values) => size_of_val(&values[..]),
            Width::Wide(values) => size_of_val(&values[..]),
        }
    }

    pub(super) fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let scale = i8::try_from(self.scale)
            .map_err(|_| Error::schema(format!("a decimal of scale {}", self.scale)))?;
        Ok(match &mut self.values {
            Width::Narrow(values) => Arc::new(
                Decimal128Array::try_new(renew(values).into(), nulls)?
                    .with_precision_and_scale(self.precision, scale)?,
            ),
            Width::Wide(values) => Arc::new(
                Decimal256Array::try_new(renew(values).into(), nulls)?
                    .with_precision_and_scale(self.precision, scale)?,
            ),
        })
    }
}
