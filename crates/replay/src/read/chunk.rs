//! The selected rows of one chunk. Row groups and pages that cannot contain any are skipped.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions,
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
    RowSelector,
};
use parquet::data_type::ByteArray;
use parquet::file::metadata::page_index::RowGroupPageIndex;
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use tokio::runtime::Handle;

use crate::read::chunk_source::ChunkSource;
use mpsync_archive::{Archive, Chunk, GenerationId};
use mpsync_core::error::{Error, Result};

/// The most rows of a decoded batch.
const BATCH_ROWS: usize = 8192;
const NANOS_PER_SEC: i64 = 1_000_000_000;

/// The selected rows of a dataset.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The column of the event time.
    pub time_column: String,
    /// The first event time, in nanoseconds since 1970.
    pub from_nanos: i64,
    /// The last event time, included.
    pub to_nanos: i64,
    /// Columns and the values that are selected.
    pub values: Vec<(&'static str, Arc<[String]>)>,
    /// The columns to read; `None` for all.
    pub columns: Option<Vec<String>>,
}

impl Wanted {
    /// Whether every row is selected of a chunk with these earliest and latest event times.
    pub(crate) fn takes_all(&self, span: (i64, i64)) -> bool {
        let wanted = self.from_nanos..=self.to_nanos;
        self.values.is_empty() && wanted.contains(&span.0) && wanted.contains(&span.1)
    }
}

/// An open chunk.
#[derive(Debug)]
pub(crate) struct ChunkRows {
    name: String,
    rows: u64,
    source: ChunkSource,
    metadata: ArrowReaderMetadata,
    /// Its earliest and latest event time in nanoseconds.
    span: (i64, i64),
}

impl ChunkRows {
    /// Reads the footer of a chunk and its page index, by which a filter skips pages.
    pub(crate) fn open(
        name: String,
        chunk: &Chunk,
        span: (i64, i64),
        source: ChunkSource,
        options: ArrowReaderOptions,
    ) -> Result<Self> {
        let options = options.with_page_index_policy(PageIndexPolicy::Optional);
        let metadata =
            ArrowReaderMetadata::load(&source, options).map_err(|e| source.unreadable(&name, e))?;
        Ok(Self {
            name,
            rows: chunk.rows,
            source,
            metadata,
            span,
        })
    }

    /// Returns the selected rows, in batches of which about four fit in `memory` bytes.
    pub(crate) fn batches(&self, wanted: &Wanted, memory: usize) -> Result<Batches> {
        let is_whole = wanted.takes_all(self.span);
        let groups = self.row_groups(wanted);
        let mut batches = Batches {
            reader: None,
            source: self.source.clone(),
            name: self.name.clone(),
            expected: is_whole.then_some(self.rows),
            seen: 0,
        };
        if groups.is_empty() {
            return Ok(batches);
        }
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.source.clone(),
            self.metadata.clone(),
        )
        .with_batch_size(self.batch_rows(memory));
        if let Some(columns) = &wanted.columns {
            builder = builder.with_projection(self.mask(columns));
        }
        if !is_whole {
            let pages = self.pages(wanted, &groups);
            if !pages.selects_any() {
                return Ok(batches);
            }
            builder = builder
                .with_row_selection(pages)
                .with_row_filter(RowFilter::new(self.predicates(wanted)?));
        }
        let reader = builder.with_row_groups(groups).build();
        batches.reader = Some(reader.map_err(|e| self.source.unreadable(&self.name, e))?);
        Ok(batches)
    }

    /// Returns the rows of a batch. The decoded size is an estimate: decimals usually grow eightfold.
    fn batch_rows(&self, memory: usize) -> usize {
        let groups = self.metadata.metadata().row_groups().iter();
        let (bytes, rows) = groups.fold((0, 0), |(bytes, rows), group| {
            (bytes + group.total_byte_size(), rows + group.num_rows())
        });
        let row_bytes = usize::try_from(bytes * 8 / rows.max(1)).unwrap_or(usize::MAX);
        (memory / 4 / row_bytes.max(1)).clamp(64, BATCH_ROWS)
    }

    /// Returns the least time of all rows, in nanoseconds; the time of a row is in the first of these
    /// columns that is not NULL. `None` if the statistics are incomplete.
    pub(crate) fn least<'a>(&self, columns: impl Iterator<Item = &'a str>) -> Option<i64> {
        let mut least: Option<i64> = None;
        for column in columns {
            let Ok(field) = self.metadata.schema().field_with_name(column) else {
                continue;
            };
            let unit = unit_nanos(field.data_type())?;
            let mut is_always_there = true;
            for group in self.metadata.metadata().row_groups() {
                let statistics = statistics(group, column)?;
                let nulls = statistics.null_count_opt();
                is_always_there &= nulls == Some(0);
                let Statistics::Int64(times) = statistics else {
                    return None;
                };
                match times.min_opt() {
                    Some(time) => {
                        let nanos = time.saturating_mul(unit);
                        least = Some(least.map_or(nanos, |least| least.min(nanos)));
                    }
                    None if nulls == u64::try_from(group.num_rows()).ok() => {}
                    None => return None,
                }
            }
            if is_always_there {
                break;
            }
        }
        least
    }

    fn mask<T: AsRef<str>>(&self, columns: &[T]) -> ProjectionMask {
        let schema = self.metadata.schema();
        let found = columns
            .iter()
            .filter_map(|c| schema.index_of(c.as_ref()).ok());
        ProjectionMask::roots(self.metadata.parquet_schema(), found)
    }

    fn mask_of(&self, column: &str) -> Result<ProjectionMask> {
        if self.metadata.schema().index_of(column).is_err() {
            return Err(Error::schema(format!(
                "{} has no column `{column}`",
                self.name
            )));
        }
        Ok(self.mask(&[column]))
    }

    /// Returns the pages that can contain a selected row, by the page index.
    fn pages(&self, wanted: &Wanted, groups: &[usize]) -> RowSelection {
        let metadata = self.metadata.metadata();
        let mut all: Vec<RowSelector> = Vec::new();
        for &number in groups {
            let group = metadata.row_group(number);
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let pages = GroupPages {
                group,
                index: metadata.page_index_for_row_group(number),
                rows,
            };
            let mut found = RowSelection::from(vec![RowSelector::select(rows)]);
            if let Some(unit) = self.time_unit(wanted) {
                let can = |index: &ColumnIndexMetaData, page: usize| match index {
                    ColumnIndexMetaData::INT64(times) => {
                        let first = times.min_value(page).map(|t| t.saturating_mul(unit));
                        let last = times.max_value(page).map(|t| t.saturating_mul(unit));
                        first.is_none_or(|t| t <= wanted.to_nanos)
                            && last.is_none_or(|t| t >= wanted.from_nanos)
                    }
                    _ => true,
                };
                found = pages.narrow(found, &wanted.time_column, can);
            }
            for (column, values) in &wanted.values {
                let can = |index: &ColumnIndexMetaData, page: usize| match index {
                    ColumnIndexMetaData::BYTE_ARRAY(texts) => {
                        can_hold(values, texts.min_value(page), texts.max_value(page))
                    }
                    _ => true,
                };
                found = pages.narrow(found, column, can);
            }
            all.extend(Vec::<RowSelector>::from(found));
        }
        all.into()
    }

    fn time_unit(&self, wanted: &Wanted) -> Option<i64> {
        let schema = self.metadata.schema();
        unit_nanos(
            schema
                .field_with_name(&wanted.time_column)
                .ok()?
                .data_type(),
        )
    }

    /// Returns the row groups that can contain a selected row, by their statistics.
    fn row_groups(&self, wanted: &Wanted) -> Vec<usize> {
        let metadata = self.metadata.metadata();
        let unit = self.time_unit(wanted);
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
                        Some(Statistics::ByteArray(texts)) => can_hold(
                            values,
                            texts.min_opt().map(ByteArray::data),
                            texts.max_opt().map(ByteArray::data),
                        ),
                        _ => true,
                    })
        };
        let groups = metadata.row_groups().iter().enumerate();
        groups
            .filter(|(_, group)| can(group))
            .map(|(at, _)| at)
            .collect()
    }

    /// Returns the filters that not every row of the chunk passes.
    fn predicates(&self, wanted: &Wanted) -> Result<Vec<Box<dyn ArrowPredicate>>> {
        let mut predicates: Vec<Box<dyn ArrowPredicate>> = Vec::new();
        for (column, values) in &wanted.values {
            let values = Arc::clone(values);
            let is_one = move |batch: RecordBatch| one_of(batch.column(0), &values);
            predicates.push(Box::new(ArrowPredicateFn::new(
                self.mask_of(column)?,
                is_one,
            )));
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
                self.mask_of(&wanted.time_column)?,
                in_time,
            )));
        }
        Ok(predicates)
    }
}

/// The pages of a row group.
struct GroupPages<'a> {
    group: &'a RowGroupMetaData,
    index: RowGroupPageIndex,
    rows: usize,
}

impl GroupPages<'_> {
    /// Keeps the rows of a column's pages that can contain a selected row; all if the column has no index.
    fn narrow(
        &self,
        found: RowSelection,
        column: &str,
        can: impl Fn(&ColumnIndexMetaData, usize) -> bool,
    ) -> RowSelection {
        let mut columns = self.group.columns().iter();
        let Some(leaf) = columns.position(|c| c.column_path().parts() == [column]) else {
            return found;
        };
        let (Some(index), Some(places)) = (
            self.index.column_index(leaf),
            self.index.page_locations(leaf),
        ) else {
            return found;
        };
        let start = |page: usize| {
            let first = places.get(page).map(|place| place.first_row_index);
            first.map_or(self.rows, |row| usize::try_from(row).unwrap_or(self.rows))
        };
        let ranges = (0..places.len())
            .filter(|page| can(index, *page))
            .map(|page| start(page)..start(page + 1));
        found.intersection(&RowSelection::from_consecutive_ranges(ranges, self.rows))
    }
}

/// Whether one of these texts is between the least and the greatest.
fn can_hold(values: &[String], least: Option<&[u8]>, greatest: Option<&[u8]>) -> bool {
    values.iter().any(|value| {
        least.is_none_or(|least| least <= value.as_bytes())
            && greatest.is_none_or(|greatest| greatest >= value.as_bytes())
    })
}

/// The batches of a chunk. If all rows are selected, a number other than the manifest's is an error.
pub(crate) struct Batches {
    reader: Option<ParquetRecordBatchReader>,
    source: ChunkSource,
    name: String,
    expected: Option<u64>,
    seen: u64,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.as_mut().and_then(Iterator::next) {
            Some(Ok(batch)) => {
                self.seen += batch.num_rows() as u64;
                Some(Ok(batch))
            }
            Some(Err(e)) => {
                self.reader = None;
                self.expected = None;
                Some(Err(self.source.unreadable(&self.name, e)))
            }
            None => {
                let expected = self.expected.take()?;
                (expected != self.seen).then(|| {
                    Err(Error::integrity(format!(
                        "{} has {} rows, its manifest has {expected}",
                        self.name, self.seen
                    )))
                })
            }
        }
    }
}

fn statistics<'a>(group: &'a RowGroupMetaData, column: &str) -> Option<&'a Statistics> {
    let found = group
        .columns()
        .iter()
        .find(|c| c.column_path().parts() == [column])?;
    found.statistics()
}

/// Returns a column of times as integers, and the nanoseconds of their unit.
fn times(array: &ArrayRef) -> Result<(Int64Array, i64), ArrowError> {
    let unit = unit_nanos(array.data_type())
        .ok_or_else(|| ArrowError::SchemaError("the event time is not a timestamp".into()))?;
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

/// Returns the bytes of a chunk's values before compression, from its footer alone.
pub(crate) async fn uncompressed_bytes(
    archive: &Archive,
    id: &GenerationId,
    chunk: &Chunk,
) -> Result<u64> {
    let counts = Arc::default();
    let source = ChunkSource::parts(archive, id, chunk, &counts, &Handle::current());
    let name = id.file(&chunk.file).to_string();
    let (chunk, span) = (chunk.clone(), (0, 0));
    let options = archive.reader_options(id, &chunk)?;
    let read = move || ChunkRows::open(name, &chunk, span, source, options);
    let read = tokio::task::spawn_blocking(read).await;
    let rows = read.map_err(std::io::Error::other)??;
    let groups = rows.metadata.metadata().row_groups().iter();
    let bytes = groups.map(|group| u64::try_from(group.total_byte_size()).unwrap_or(0));
    Ok(bytes.sum())
}
