//! The wanted rows of one chunk whose bytes are in memory. Pure.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderMetadata, ParquetRecordBatchReaderBuilder,
    RowFilter,
};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use crate::error::{Error, Result};

/// Rows of a decoded batch.
const BATCH_ROWS: usize = 8192;
/// Rows from which the size of all others is judged.
const SAMPLE_ROWS: usize = 512;
const NANOS_PER_SEC: i64 = 1_000_000_000;

/// Which rows of a dataset are wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The column of the event time.
    pub time_column: String,
    /// The first event time, in nanoseconds since 1970.
    pub from_nanos: i64,
    /// The last event time, included.
    pub to_nanos: i64,
    /// Columns with the values of which one is wanted.
    pub values: Vec<(&'static str, Arc<[String]>)>,
}

impl Wanted {
    /// The same, of a part of the time.
    pub(super) fn between(&self, from_nanos: i64, to_nanos: i64) -> Self {
        Self {
            from_nanos,
            to_nanos,
            ..self.clone()
        }
    }
}

/// A chunk in memory.
#[derive(Debug)]
pub(super) struct ChunkRows {
    pub name: String,
    pub rows: u64,
    pub bytes: Bytes,
    pub metadata: ArrowReaderMetadata,
    /// Its earliest and latest event time in nanoseconds.
    pub span: (i64, i64),
}

impl ChunkRows {
    /// The wanted rows.
    pub(super) fn read(&self, wanted: &Wanted) -> Result<Vec<RecordBatch>> {
        let groups = self.row_groups(wanted);
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let mut builder = self
            .builder()
            .with_batch_size(BATCH_ROWS)
            .with_row_groups(groups);
        let predicates = self.predicates(wanted)?;
        let is_whole = predicates.is_empty();
        if !is_whole {
            builder = builder.with_row_filter(RowFilter::new(predicates));
        }
        let reader = builder.build().map_err(|e| self.undecodable(&e))?;
        let batches: Vec<RecordBatch> = reader
            .collect::<Result<_, _>>()
            .map_err(|e| self.undecodable(&e))?;
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if is_whole && found as u64 != self.rows {
            return Err(Error::integrity(format!(
                "{} has {found} rows, the manifest says {}",
                self.name, self.rows
            )));
        }
        Ok(batches)
    }

    /// The event times of the rows whose time is wanted.
    pub(super) fn times(&self, wanted: &Wanted) -> Result<Vec<i64>> {
        let mask = self.mask(&wanted.time_column)?;
        let groups = self.row_groups(wanted);
        let builder = self.builder().with_row_groups(groups).with_projection(mask);
        let reader = builder.build().map_err(|e| self.undecodable(&e))?;
        let mut all = Vec::new();
        for batch in reader {
            let batch = batch.map_err(|e| self.undecodable(&e))?;
            let (times, unit) = times(batch.column(0))?;
            let nanos = times.values().iter().map(|t| t.saturating_mul(unit));
            all.extend(nanos.filter(|t| (wanted.from_nanos..=wanted.to_nanos).contains(t)));
        }
        Ok(all)
    }

    /// About how many bytes a decoded row occupies.
    pub(super) fn bytes_per_row(&self) -> Result<usize> {
        let reader = self
            .builder()
            .with_batch_size(SAMPLE_ROWS)
            .with_limit(SAMPLE_ROWS)
            .build();
        let mut reader = reader.map_err(|e| self.undecodable(&e))?;
        match reader.next() {
            Some(batch) => {
                let batch = batch.map_err(|e| self.undecodable(&e))?;
                Ok(batch.get_array_memory_size() / batch.num_rows().max(1))
            }
            None => Ok(0),
        }
    }

    fn builder(&self) -> ParquetRecordBatchReaderBuilder<Bytes> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.bytes.clone(),
            self.metadata.clone(),
        )
    }

    fn undecodable(&self, e: &dyn std::fmt::Display) -> Error {
        Error::integrity(format!("{} is no readable Parquet: {e}", self.name))
    }

    fn mask(&self, column: &str) -> Result<ProjectionMask> {
        let schema = self.metadata.schema();
        let at = schema
            .index_of(column)
            .map_err(|_| Error::schema(format!("{} has no column `{column}`", self.name)))?;
        Ok(ProjectionMask::roots(self.metadata.parquet_schema(), [at]))
    }

    /// The row groups that can hold a wanted row, by their statistics.
    fn row_groups(&self, wanted: &Wanted) -> Vec<usize> {
        let metadata = self.metadata.metadata();
        let unit = self
            .metadata
            .schema()
            .field_with_name(&wanted.time_column)
            .ok()
            .and_then(|f| unit_nanos(f.data_type()));
        let can = |group: &RowGroupMetaData| {
            let in_time = match (statistics(group, &wanted.time_column), unit) {
                (Some(Statistics::Int64(times)), Some(unit)) => {
                    times
                        .min_opt()
                        .is_none_or(|first| first.saturating_mul(unit) <= wanted.to_nanos)
                        && times
                            .max_opt()
                            .is_none_or(|last| last.saturating_mul(unit) >= wanted.from_nanos)
                }
                _ => true,
            };
            in_time
                && wanted
                    .values
                    .iter()
                    .all(|(column, values)| match statistics(group, column) {
                        Some(Statistics::ByteArray(texts)) => values.iter().any(|value| {
                            texts
                                .min_opt()
                                .is_none_or(|first| first.data() <= value.as_bytes())
                                && texts
                                    .max_opt()
                                    .is_none_or(|last| last.data() >= value.as_bytes())
                        }),
                        _ => true,
                    })
        };
        let groups = metadata.row_groups().iter().enumerate();
        groups
            .filter(|(_, group)| can(group))
            .map(|(at, _)| at)
            .collect()
    }

    /// What a row must be, where not every row of the chunk is it.
    fn predicates(&self, wanted: &Wanted) -> Result<Vec<Box<dyn ArrowPredicate>>> {
        let mut predicates: Vec<Box<dyn ArrowPredicate>> = Vec::new();
        for (column, values) in &wanted.values {
            let values = Arc::clone(values);
            let is_one = move |batch: RecordBatch| one_of(batch.column(0), &values);
            predicates.push(Box::new(ArrowPredicateFn::new(self.mask(column)?, is_one)));
        }
        let span = wanted.from_nanos..=wanted.to_nanos;
        if !(span.contains(&self.span.0) && span.contains(&self.span.1)) {
            let in_time = move |batch: RecordBatch| {
                let (times, unit) = times(batch.column(0))?;
                let is_in: Vec<bool> = times
                    .values()
                    .iter()
                    .map(|t| span.contains(&t.saturating_mul(unit)))
                    .collect();
                Ok(BooleanArray::from(is_in))
            };
            predicates.push(Box::new(ArrowPredicateFn::new(
                self.mask(&wanted.time_column)?,
                in_time,
            )));
        }
        Ok(predicates)
    }
}

fn statistics<'a>(group: &'a RowGroupMetaData, column: &str) -> Option<&'a Statistics> {
    let found = group
        .columns()
        .iter()
        .find(|c| c.column_path().parts() == [column])?;
    found.statistics()
}

/// A column of times as whole numbers, and how many nanoseconds one of them is.
fn times(array: &ArrayRef) -> Result<(Int64Array, i64), ArrowError> {
    let unit = unit_nanos(array.data_type())
        .ok_or_else(|| ArrowError::SchemaError("the event time is no time".into()))?;
    Ok((cast(array, &DataType::Int64)?.as_primitive().clone(), unit))
}

fn unit_nanos(data_type: &DataType) -> Option<i64> {
    let DataType::Timestamp(unit, _) = data_type else {
        return None;
    };
    Some(match unit {
        TimeUnit::Second => NANOS_PER_SEC,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    })
}

fn one_of(array: &ArrayRef, values: &[String]) -> Result<BooleanArray, ArrowError> {
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let keys = cast(array, &text)?.as_dictionary::<Int32Type>().clone();
    let is_wanted: Vec<bool> = keys
        .values()
        .as_string::<i32>()
        .iter()
        .map(|v| v.is_some_and(|v| values.iter().any(|w| w == v)))
        .collect();
    let found = (0..keys.len()).map(|row| keys.key(row).is_some_and(|key| is_wanted[key]));
    Ok(found.collect::<Vec<bool>>().into())
}
