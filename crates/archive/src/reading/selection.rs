//! Which rows are read, and which of their columns.

use arrow::array::{Array, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};

use crate::chunk::parquet_schema::index_of;
use crate::format::manifest::Chunk;
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Error, Result};

/// Rows of a dataset: all of them, or those whose event time lies in a range; and all columns or some.
///
/// ```
/// use mpsync_archive::Selection;
///
/// # fn main() -> mpsync_archive::Result<()> {
/// let hour = Selection::new("trades".parse()?)
///     .within("2026-01-01T05".parse()?)
///     .columns(["timestamp", "symbol", "price"]);
/// # let _ = hour;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Selection {
    pub(super) dataset: DatasetName,
    pub(super) range: Option<Window>,
    columns: Option<Vec<String>>,
}

impl Selection {
    /// Returns the selection of all rows of a dataset.
    #[must_use]
    pub fn new(dataset: DatasetName) -> Self {
        Self {
            dataset,
            range: None,
            columns: None,
        }
    }

    /// Selects the rows whose event time lies in this range: its start included, its end not. An hour is written
    /// `2026-01-01T05`, a day `2026-01-01`, any other range as two times with `_` between them.
    #[must_use]
    pub fn within(mut self, range: Window) -> Self {
        self.range = Some(range);
        self
    }

    /// Selects these columns, in this order.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Returns whether a chunk can have rows of the selection.
    pub(super) fn touches(&self, chunk: &Chunk) -> bool {
        self.range
            .is_none_or(|range| chunk.min_time < range.end() && chunk.max_time >= range.start())
    }

    /// Returns the selected rows and columns of a batch; `None` if no row is selected.
    pub(super) fn apply(
        &self,
        batch: RecordBatch,
        time_column: &str,
    ) -> Result<Option<RecordBatch>> {
        let batch = match self.range {
            None => batch,
            Some(range) => {
                let times = batch.column(index_of(&batch.schema(), time_column)?);
                let wanted = wanted(times.as_ref(), range)?;
                if wanted.true_count() == batch.num_rows() {
                    batch
                } else {
                    filter_record_batch(&batch, &wanted)?
                }
            }
        };
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let Some(columns) = &self.columns else {
            return Ok(Some(batch));
        };
        let schema = batch.schema();
        let indices = columns.iter().map(|name| index_of(&schema, name));
        let indices = indices.collect::<Result<Vec<_>>>()?;
        Ok(Some(batch.project(&indices)?))
    }
}

/// Returns for each time of a column whether it lies in a range.
fn wanted(times: &dyn Array, range: Window) -> Result<BooleanArray> {
    fn mask<T: ArrowPrimitiveType>(times: &dyn Array, unit: i128, range: Window) -> BooleanArray
    where
        T::Native: Into<i64>,
    {
        let bounds = range.start().as_nanosecond()..range.end().as_nanosecond();
        let times = times.as_primitive::<T>();
        let within = |time: Option<T::Native>| {
            time.map(|time| bounds.contains(&(i128::from(time.into()) * unit)))
        };
        times.iter().map(within).collect()
    }
    Ok(match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            mask::<TimestampSecondType>(times, 1_000_000_000, range)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            mask::<TimestampMillisecondType>(times, 1_000_000, range)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            mask::<TimestampMicrosecondType>(times, 1_000, range)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            mask::<TimestampNanosecondType>(times, 1, range)
        }
        DataType::Date32 => mask::<Date32Type>(times, 86_400_000_000_000, range),
        other => {
            return Err(Error::schema(format!(
                "a column of type {other} holds no times"
            )));
        }
    })
}
