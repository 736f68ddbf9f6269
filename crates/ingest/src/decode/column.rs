//! Columns under construction: values in the form in which Arrow wants them, to be cut back to any length.

use arrow::array::{ArrayRef, BooleanBufferBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::decimals::Decimals;
use super::fault::{DecodeContext, Fault, ValueFlaw};
use super::json::Scanner;
use super::levels::Levels;
use super::time::Instant;
use super::value::JsonItem;
use super::values::ColumnValues;
use mpsync_core::dataset::ColumnType;
use mpsync_core::error::Result;

/// One column: its values so far, and which of them are NULL.
#[derive(Debug)]
pub(super) struct Column {
    data_type: DataType,
    validity: Option<BooleanBufferBuilder>,
    values: ColumnValues,
}

impl Column {
    /// A column for a type, or an error for types that messages cannot fill.
    pub(super) fn new(column_type: &ColumnType) -> Result<Self> {
        let data_type = column_type.arrow()?;
        let values = ColumnValues::new(column_type, &data_type)?;
        Ok(Self {
            data_type,
            validity: column_type
                .is_nullable()
                .then(|| BooleanBufferBuilder::new(0)),
            values,
        })
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    pub(super) fn is_nullable(&self) -> bool {
        self.validity.is_some()
    }

    #[inline]
    fn valid(&mut self) {
        if let Some(validity) = &mut self.validity {
            validity.append(true);
        }
    }

    /// Reads a value that is not null.
    #[inline]
    pub(super) fn push(&mut self, item: JsonItem<'_>, cx: &mut DecodeContext) -> Result<(), Fault> {
        self.values.push(item, cx)?;
        self.valid();
        Ok(())
    }

    /// Reads levels from the scanner's position; only for columns that are [`Column::levels`].
    #[inline]
    pub(super) fn push_levels(
        &mut self,
        scanner: &mut Scanner<'_>,
        cx: &mut DecodeContext,
    ) -> Result<(), Fault> {
        match &mut self.values {
            ColumnValues::Levels(levels) => levels.push(scanner, cx),
            _ => Err(ValueFlaw::WrongType.into()),
        }
    }

    /// Adds a NULL; `false` if the column takes none.
    pub(super) fn push_null(&mut self) -> bool {
        let Some(validity) = &mut self.validity else {
            return false;
        };
        validity.append(false);
        self.values.push_default();
        true
    }

    /// Adds the placeholder of a value whose tuple is NULL.
    pub(super) fn push_stand_in(&mut self) {
        if !self.push_null() {
            self.values.push_default();
        }
    }

    /// Adds an integer; `false` if it is out of the column's range.
    pub(super) fn push_integer(&mut self, value: i128) -> bool {
        let fits = self.values.push_integer(value);
        if fits {
            self.valid();
        }
        fits
    }

    /// Adds an instant; `false` if the column does not hold it exactly.
    pub(super) fn push_instant(&mut self, instant: Instant) -> bool {
        let ColumnValues::Time(times) = &mut self.values else {
            return false;
        };
        let exact = matches!(times.push(instant), Ok(false));
        if exact {
            self.valid();
        }
        exact
    }

    /// Adds one of another column's decimals of the same type.
    pub(super) fn push_decimal_of(&mut self, decimals: &Decimals, index: usize) -> bool {
        let copied = match &mut self.values {
            ColumnValues::Decimal(values) => values.push_of(decimals, index),
            _ => false,
        };
        if copied {
            self.valid();
        }
        copied
    }

    /// The levels of a column of price levels.
    pub(super) fn levels(&self) -> Option<&Levels> {
        match &self.values {
            ColumnValues::Levels(levels) => Some(levels),
            _ => None,
        }
    }

    pub(super) fn levels_mut(&mut self) -> Option<&mut Levels> {
        match &mut self.values {
            ColumnValues::Levels(levels) => Some(levels),
            _ => None,
        }
    }

    /// The decimals of a column of decimals.
    pub(super) fn decimals(&self) -> Option<&Decimals> {
        match &self.values {
            ColumnValues::Decimal(decimals) => Some(decimals),
            _ => None,
        }
    }

    pub(super) fn is_integer(&self) -> bool {
        matches!(
            self.values,
            ColumnValues::Int { .. } | ColumnValues::UInt64(_)
        )
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(
            self.values,
            ColumnValues::Levels(_) | ColumnValues::List { .. }
        )
    }

    /// Returns how many elements the last row's array has.
    pub(super) fn last_elements(&self) -> usize {
        let offsets = match &self.values {
            ColumnValues::Levels(levels) => levels.offsets(),
            ColumnValues::List { offsets, .. } => offsets,
            _ => return 0,
        };
        match offsets {
            [.., before, last] => usize::try_from(last - before).unwrap_or(0),
            _ => 0,
        }
    }

    /// Returns the last row's time in nanoseconds since 1970, if it is a time that 64 bits hold.
    #[inline]
    pub(super) fn last_nanos(&self) -> Option<i64> {
        match &self.values {
            ColumnValues::Time(times) => times.values.last()?.checked_mul(times.unit_nanos),
            _ => None,
        }
    }

    /// Cuts the column back to that many rows.
    pub(super) fn truncate(&mut self, rows: usize) {
        if let Some(validity) = &mut self.validity {
            validity.truncate(rows);
        }
        self.values.truncate(rows);
    }

    /// The bytes that the rows occupy.
    pub(super) fn bytes(&self) -> usize {
        let validity = self.validity.as_ref().map_or(0, |v| v.as_slice().len());
        validity + self.values.bytes()
    }

    /// Takes all rows as an array.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = self
            .validity
            .as_mut()
            .map(|validity| NullBuffer::new(validity.finish()));
        self.values.finish(&self.data_type, nulls)
    }
}
