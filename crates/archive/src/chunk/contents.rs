//! The contents of a Parquet file, to be compared with its manifest. Pure.

use std::collections::BTreeSet;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::UInt64Type;
use bytes::Bytes;
use jiff::Timestamp;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::chunk::column_sums::ColumnSums;
use crate::chunk::parquet_schema::{index_of, time_bounds};
use crate::format::manifest::Manifest;
use mpsync_core::dataset::{EPOCH_COLUMN, Epoch, Position, PositionSet, SEQ_COLUMN};
use mpsync_core::error::{Error, Result};

/// The footer of a Parquet file, as far as manifests have the same.
pub(crate) struct Footer {
    pub(crate) rows: u64,
    pub(crate) columns: Vec<String>,
    pub(crate) times: Option<(Timestamp, Timestamp)>,
}

impl Footer {
    pub(crate) fn read(
        bytes: Bytes,
        options: ArrowReaderOptions,
        time_column: &str,
    ) -> Result<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?;
        let metadata = builder.metadata();
        let statistics =
            StatisticsConverter::try_new(time_column, builder.schema(), builder.parquet_schema())?;
        let groups = metadata.row_groups();
        let mins = time_bounds(&statistics.row_group_mins(groups)?)?;
        let maxes = time_bounds(&statistics.row_group_maxes(groups)?)?;
        Ok(Self {
            rows: u64::try_from(metadata.file_metadata().num_rows())
                .map_err(|_| Error::malformed("it has a negative number of rows"))?,
            columns: builder
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
            times: mins.zip(maxes).map(|(mins, maxes)| (mins.0, maxes.1)),
        })
    }
}

/// The contents of all chunks of a generation.
#[derive(Default)]
pub(crate) struct GenerationContents {
    pub(crate) positions: PositionSet,
    pub(crate) column_sums: ColumnSums,
}

impl GenerationContents {
    /// Returns the columns whose values differ from the manifest's checksums; none if it has no checksums.
    pub(crate) fn other_columns(&self, manifest: &Manifest) -> Vec<String> {
        let mut archived = ColumnSums::default();
        if !archived.add_hex(&manifest.column_sums) {
            return Vec::new();
        }
        self.column_sums
            .differences(&archived, &manifest.schema.columns)
    }
}

/// The totals of a chunk's values.
#[derive(Default)]
pub(crate) struct ChunkTotals {
    pub(crate) rows: u64,
    pub(crate) times: Option<(Timestamp, Timestamp)>,
    pub(crate) twice: BTreeSet<Position>,
}

impl ChunkTotals {
    pub(crate) fn add(
        &mut self,
        batch: &RecordBatch,
        manifest: &Manifest,
        held: &mut GenerationContents,
    ) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        held.column_sums.add(batch)?;
        let times = index_of(&batch.schema(), &manifest.schema.time_column)?;
        self.times = match (self.times, time_bounds(batch.column(times))?) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (before, now) => before.or(now),
        };
        // A table without positions has none in its manifests.
        if manifest.positions.is_empty() {
            return Ok(());
        }
        let numbers = |name: &str| {
            let column = batch.column(index_of(&batch.schema(), name)?);
            column
                .as_primitive_opt::<UInt64Type>()
                .ok_or_else(|| Error::schema(format!("column {name} does not hold UInt64")))
        };
        let (epochs, seqs) = (numbers(EPOCH_COLUMN)?, numbers(SEQ_COLUMN)?);
        for (&epoch, &seq) in epochs.values().iter().zip(seqs.values()) {
            let position = Position {
                epoch: Epoch(epoch),
                seq,
            };
            if !held.positions.insert(position) {
                self.twice.insert(position);
            }
        }
        Ok(())
    }
}
