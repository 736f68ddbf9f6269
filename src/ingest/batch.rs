//! Cutting a batch so that no piece touches more partitions than an insert may.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};

use crate::error::{Context, Error, Result};

const SECS_PER_HOUR: i64 = 3600;

/// Cuts a batch into pieces that each touch at most `max_partitions` hours of the time column.
///
/// Every piece takes neighbouring hours, the earliest first; the order of rows within a piece is that of the batch. A
/// batch that touches few enough hours comes back as it is, and an empty one as no piece at all.
pub fn split_by_partition(
    batch: &RecordBatch,
    time_column: &str,
    max_partitions: usize,
) -> Result<Vec<RecordBatch>> {
    if max_partitions == 0 {
        return Err(Error::config(
            "an insert must be allowed to touch at least one partition",
        ));
    }
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let hours = hours(batch, time_column)?;
    let mut pieces: BTreeMap<i64, usize> = hours.iter().map(|&hour| (hour, 0)).collect();
    if pieces.len() <= max_partitions {
        return Ok(vec![batch.clone()]);
    }
    for (rank, piece) in pieces.values_mut().enumerate() {
        *piece = rank / max_partitions;
    }
    let mut rows = vec![Vec::new(); pieces.len().div_ceil(max_partitions)];
    for (row, hour) in (0_u32..).zip(&hours) {
        if let Some(piece) = pieces.get(hour).and_then(|&piece| rows.get_mut(piece)) {
            piece.push(row);
        }
    }
    rows.into_iter()
        .map(|rows| {
            take_record_batch(batch, &UInt32Array::from(rows))
                .doing(|| "cutting a batch at its partitions")
        })
        .collect()
}

/// Every row's hour since 1970.
fn hours(batch: &RecordBatch, time_column: &str) -> Result<Vec<i64>> {
    let times = batch.column_by_name(time_column).ok_or_else(|| {
        Error::schema(format!(
            "the batch has no column `{time_column}` to cut it by"
        ))
    })?;
    if times.null_count() > 0 {
        return Err(Error::malformed(format!(
            "column `{time_column}` holds the event time and has {} NULLs",
            times.null_count()
        )));
    }
    let (values, per_sec) = ticks(times).ok_or_else(|| {
        Error::schema(format!(
            "column `{time_column}` holds {} instead of the event time",
            times.data_type()
        ))
    })?;
    let per_hour = per_sec * SECS_PER_HOUR;
    Ok(values
        .iter()
        .map(|tick| tick.div_euclid(per_hour))
        .collect())
}

/// A time column's numbers, and how many of its units make a second.
fn ticks(times: &ArrayRef) -> Option<(&[i64], i64)> {
    let DataType::Timestamp(unit, _) = times.data_type() else {
        return None;
    };
    Some(match unit {
        TimeUnit::Second => (times.as_primitive_opt::<TimestampSecondType>()?.values(), 1),
        TimeUnit::Millisecond => (
            times
                .as_primitive_opt::<TimestampMillisecondType>()?
                .values(),
            1_000,
        ),
        TimeUnit::Microsecond => (
            times
                .as_primitive_opt::<TimestampMicrosecondType>()?
                .values(),
            1_000_000,
        ),
        TimeUnit::Nanosecond => (
            times
                .as_primitive_opt::<TimestampNanosecondType>()?
                .values(),
            1_000_000_000,
        ),
    })
}
