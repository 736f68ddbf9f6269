//! Columns of times.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, TimeUnit};

use super::buffers::{inconsistent, renew};
use super::fault::{DecodeContext, Fault, ValueFlaw};
use super::time::{self, Instant, power_of_ten};
use super::value::JsonItem;
use mpsync_core::decimal::Plain;
use mpsync_core::error::Result;

/// Times in the unit of their Arrow type.
#[derive(Debug)]
pub(super) struct Times {
    pub values: Vec<i64>,
    /// Digits of a second that the column holds.
    scale: u8,
    /// Arrow units in a unit of the column: Arrow knows every third scale only.
    factor: i64,
    /// Nanoseconds in an Arrow unit.
    pub unit_nanos: i64,
    /// The column's range, in its own units, both included.
    first: i64,
    last: i64,
}

impl Times {
    pub(super) fn new(scale: u8, data_type: &DataType, first_secs: i64, last_secs: i64) -> Self {
        let unit_digits: u8 = match data_type {
            DataType::Timestamp(TimeUnit::Second, _) => 0,
            DataType::Timestamp(TimeUnit::Millisecond, _) => 3,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 6,
            _ => 9,
        };
        Self {
            values: Vec::new(),
            scale,
            factor: power_of_ten(unit_digits.saturating_sub(scale)),
            unit_nanos: power_of_ten(9 - unit_digits),
            first: first_secs.saturating_mul(power_of_ten(scale)),
            last: last_secs
                .saturating_add(1)
                .saturating_mul(power_of_ten(scale))
                .saturating_sub(1),
        }
    }

    /// Reads a time. The usual one, a number in a unit no finer than the column's, takes a multiplication.
    #[inline]
    pub(super) fn push_item(
        &mut self,
        item: JsonItem<'_>,
        cx: &mut DecodeContext,
    ) -> Result<(), Fault> {
        let text = item
            .scalar_text(&mut cx.scratch)
            .ok_or(ValueFlaw::WrongType)?;
        if let Some(number) = Plain::parse(text).and_then(Plain::natural)
            && let Some((ticks, digits)) = time::ticks(number)
            && let Some(more_digits) = self.scale.checked_sub(digits)
        {
            let value = ticks.checked_mul(power_of_ten(more_digits));
            return Ok(self.push_scaled(value.ok_or(ValueFlaw::OutOfRange)?)?);
        }
        if self.push(Instant::parse(text)?)? {
            if !cx.round {
                return Err(ValueFlaw::ExcessDigits.into());
            }
            cx.rounded += 1;
        }
        Ok(())
    }

    /// Adds an instant; whether it had to be rounded.
    pub(super) fn push(&mut self, instant: Instant) -> Result<bool, ValueFlaw> {
        let (value, rounded) = instant.at_scale(self.scale).ok_or(ValueFlaw::OutOfRange)?;
        self.push_scaled(value)?;
        Ok(rounded)
    }

    /// Adds a time in the column's own unit.
    #[inline]
    fn push_scaled(&mut self, value: i64) -> Result<(), ValueFlaw> {
        if !(self.first..=self.last).contains(&value) {
            return Err(ValueFlaw::OutOfRange);
        }
        let value = value
            .checked_mul(self.factor)
            .ok_or(ValueFlaw::OutOfRange)?;
        self.values.push(value);
        Ok(())
    }

    pub(super) fn finish(
        &mut self,
        data_type: &DataType,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let DataType::Timestamp(unit, zone) = data_type else {
            return Err(inconsistent(data_type));
        };
        let values = renew(&mut self.values).into();
        let zone = zone.clone();
        Ok(match unit {
            TimeUnit::Second => {
                Arc::new(TimestampSecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
            }
            TimeUnit::Millisecond => {
                Arc::new(TimestampMillisecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
            }
            TimeUnit::Microsecond => {
                Arc::new(TimestampMicrosecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
            }
            TimeUnit::Nanosecond => {
                Arc::new(TimestampNanosecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
            }
        })
    }
}
