//! Cutting a batch so that no piece touches more partitions than an insert may.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};

use mpsync_core::error::{Context, Error, Result};

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
                .context(|| "cutting a batch at its partitions")
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        DictionaryArray, TimestampMillisecondArray, TimestampSecondArray, UInt64Array,
    };
    use arrow::datatypes::{Int32Type, UInt64Type};
    use proptest::prelude::*;

    use super::*;

    fn batch(times: ArrayRef) -> RecordBatch {
        let rows = times.len() as u64;
        let words: DictionaryArray<Int32Type> = (0..rows)
            .map(|i| Some(["a", "b", "c"][(i % 3) as usize]))
            .collect();
        RecordBatch::try_from_iter([
            ("timestamp", times),
            (
                "seq",
                Arc::new(UInt64Array::from_iter_values(0..rows)) as ArrayRef,
            ),
            ("word", Arc::new(words) as ArrayRef),
        ])
        .unwrap()
    }

    fn sequences(batch: &RecordBatch) -> Vec<u64> {
        batch["seq"].as_primitive::<UInt64Type>().values().to_vec()
    }

    #[test]
    fn a_batch_of_few_hours_stays_whole_and_an_empty_one_is_none() {
        let times = TimestampSecondArray::from(vec![-1, 0, 3599, 3600]);
        let whole = batch(Arc::new(times));
        assert_eq!(
            split_by_partition(&whole, "timestamp", 3).unwrap(),
            std::slice::from_ref(&whole)
        );
        assert_eq!(split_by_partition(&whole, "timestamp", 2).unwrap().len(), 2);
        assert!(
            split_by_partition(&whole.slice(0, 0), "timestamp", 2)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_column_that_cannot_be_cut_by_is_refused() {
        let whole = batch(Arc::new(TimestampSecondArray::from(vec![Some(1), None])));
        let text = |column, max| {
            split_by_partition(&whole, column, max)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            text("time", 1),
            "the batch has no column `time` to cut it by"
        );
        assert_eq!(
            text("seq", 1),
            "column `seq` holds UInt64 instead of the event time"
        );
        assert_eq!(
            text("timestamp", 1),
            "column `timestamp` holds the event time and has 1 NULLs"
        );
        assert_eq!(
            text("timestamp", 0),
            "an insert must be allowed to touch at least one partition"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 200,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn pieces_hold_every_row_once_in_order_and_few_hours_each(
            hours in proptest::collection::vec(-5_i64..40, 1..200), max in 1_usize..12,
        ) {
            let times: Vec<i64> = hours.iter().zip(0..).map(|(hour, i)| hour * 3_600_000 + i * 17).collect();
            let whole = batch(Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC")));
            let pieces = split_by_partition(&whole, "timestamp", max).unwrap();
            let distinct: std::collections::BTreeSet<_> = hours.iter().collect();
            prop_assert_eq!(pieces.len(), distinct.len().div_ceil(max));
            let mut all = Vec::new();
            for piece in &pieces {
                prop_assert_eq!(piece.schema(), whole.schema());
                let rows = sequences(piece);
                prop_assert!(rows.is_sorted());
                let touched: std::collections::BTreeSet<_> = rows.iter().map(|&row| hours[usize::try_from(row).unwrap()]).collect();
                prop_assert!(touched.len() <= max);
                for (i, &row) in rows.iter().enumerate() {
                    let row = usize::try_from(row).unwrap();
                    prop_assert_eq!(piece.slice(i, 1), whole.slice(row, 1));
                }
                all.extend(rows);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..hours.len() as u64).collect::<Vec<_>>());
        }
    }
}
