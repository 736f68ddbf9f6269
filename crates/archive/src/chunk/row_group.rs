//! A row group that is being written: by this crate's encoder or by the library's, column by column. Blocks.

use std::sync::{Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, FieldRef};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnDescPtr;

use crate::chunk::column_sums;
use crate::chunk::dictionary::{self, DictionaryColumn, EncodedColumn, Zstd};
use crate::chunk::parallel::in_parallel;
use mpsync_core::error::{Error, Result};

/// A row group that is being written: for each column the writers of its leaves.
pub(crate) struct Group {
    columns: Vec<ColumnWriters>,
    /// Its rows so far.
    pub(crate) rows: u64,
    /// Their bytes before encoding.
    pub(crate) plain_bytes: u64,
}

/// The writers of the leaves of a column.
enum ColumnWriters {
    Library(Vec<ArrowColumnWriter>),
    Dictionary(Vec<DictionaryColumn>),
}

/// A leaf whose rows are complete.
enum Leaf {
    Library(Box<ArrowColumnWriter>),
    Dictionary(DictionaryColumn),
}

/// A leaf's bytes.
pub(crate) enum EncodedLeaf {
    Library(ArrowColumnChunk),
    Dictionary(EncodedColumn),
}

/// A pool of compressors: one takes megabytes, and time to create.
pub(crate) struct Compressors {
    level: i32,
    idle: Mutex<Vec<Zstd>>,
}

impl Compressors {
    pub(crate) fn new(level: i32) -> Self {
        Self {
            level,
            idle: Mutex::default(),
        }
    }

    fn lend<T>(&self, work: impl FnOnce(&mut Zstd) -> Result<T>) -> Result<T> {
        // Nothing panics while it is held.
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let used = idle().pop();
        let mut zstd = used.map_or_else(|| Zstd::new(self.level), Ok)?;
        let done = work(&mut zstd);
        idle().push(zstd);
        done
    }
}

impl Group {
    /// Returns a row group with a writer for each field, from the library's writers of all leaves.
    pub(crate) fn new(
        writers: Vec<ArrowColumnWriter>,
        fields: &[FieldRef],
        leaves: &[ColumnDescPtr],
        ours: bool,
    ) -> Self {
        let (mut writers, mut leaves) = (writers.into_iter(), leaves);
        let columns = fields.iter().map(|field| {
            let count = leaf_count(field.data_type());
            let theirs = writers.by_ref().take(count).collect();
            let (its, others) = leaves.split_at(count.min(leaves.len()));
            leaves = others;
            match ours.then(|| dictionary::columns(field, its)).flatten() {
                Some(columns) => ColumnWriters::Dictionary(columns),
                None => ColumnWriters::Library(theirs),
            }
        });
        Self {
            columns: columns.collect(),
            rows: 0,
            plain_bytes: 0,
        }
    }

    /// Takes rows; returns for each column the sum of its values' hashes.
    pub(crate) fn write(
        &mut self,
        rows: &RecordBatch,
        fields: &[FieldRef],
        threads: usize,
    ) -> Result<Vec<u64>> {
        let columns = fields.iter().zip(rows.columns());
        let work = columns.zip(&mut self.columns).collect();
        in_parallel(work, threads, |((field, column), writers)| {
            writers.write(field, column)?;
            column_sums::sum(column)
        })
    }

    /// Returns the estimated bytes when it is encoded.
    pub(crate) fn estimated_bytes(&self) -> u64 {
        let columns = self.columns.iter();
        columns.map(ColumnWriters::estimated_bytes).sum::<usize>() as u64
    }

    /// Encodes the rest, leaf by leaf.
    pub(crate) fn close(
        self,
        compressors: &Compressors,
        threads: usize,
    ) -> Result<Vec<EncodedLeaf>> {
        let leaves = self.columns.into_iter().flat_map(ColumnWriters::leaves);
        in_parallel(leaves.collect(), threads, |leaf| match leaf {
            Leaf::Library(writer) => Ok(EncodedLeaf::Library(writer.close()?)),
            Leaf::Dictionary(column) => {
                let encoded = compressors.lend(|zstd| column.close(zstd))?;
                Ok(EncodedLeaf::Dictionary(encoded))
            }
        })
    }
}

impl ColumnWriters {
    fn write(&mut self, field: &Field, column: &ArrayRef) -> Result<()> {
        match self {
            Self::Library(writers) => write_column(field, column, writers),
            Self::Dictionary(columns) => columns.iter_mut().try_for_each(|leaf| leaf.write(column)),
        }
    }

    fn estimated_bytes(&self) -> usize {
        match self {
            Self::Library(writers) => writers
                .iter()
                .map(ArrowColumnWriter::get_estimated_total_bytes)
                .sum(),
            Self::Dictionary(columns) => {
                columns.iter().map(DictionaryColumn::estimated_bytes).sum()
            }
        }
    }

    fn leaves(self) -> Vec<Leaf> {
        match self {
            Self::Library(writers) => {
                let writers = writers.into_iter().map(Box::new);
                writers.map(Leaf::Library).collect()
            }
            Self::Dictionary(columns) => columns.into_iter().map(Leaf::Dictionary).collect(),
        }
    }
}

impl EncodedLeaf {
    /// Appends it as the group's next column.
    pub(crate) fn append_to_row_group<W: std::io::Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        match self {
            Self::Library(chunk) => chunk.append_to_row_group(group),
            Self::Dictionary(column) => column.append_to_row_group(group),
        }
    }
}

/// Returns how many Parquet columns an Arrow column becomes.
fn leaf_count(data_type: &arrow::datatypes::DataType) -> usize {
    use arrow::datatypes::DataType;
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => leaf_count(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|f| leaf_count(f.data_type())).sum(),
        _ => 1,
    }
}

fn write_column(field: &Field, column: &ArrayRef, writers: &mut [ArrowColumnWriter]) -> Result<()> {
    let leaves = compute_leaves(field, column)?;
    if leaves.len() != writers.len() {
        return Err(Error::schema(format!(
            "column {} has {} leaves, not {}",
            field.name(),
            leaves.len(),
            writers.len()
        )));
    }
    for (leaf, writer) in leaves.iter().zip(writers) {
        writer.write(leaf)?;
    }
    Ok(())
}
