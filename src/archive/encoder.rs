//! From record batches to chunks: cut, encoded, hashed and handed to the store in one pass. Blocks: runs on a thread of its
//! own.
//!
//! Memory is bounded by one row group, encoded, and two parts of an upload, however big the window is.

use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Field;
use bytes::Bytes;
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions,
    compute_leaves,
};
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::chunk_writer::{ChunkSchema, Written};
use super::column_sums::{self, ColumnSums};
use super::encodings::{WRITER, properties};
use super::encryption::encryption;
use super::layout::{GenerationId, chunk_file};
use super::manifest::Chunk;
use super::parallel::in_parallel;
use super::store::Archive;
use super::stored::{StoredSchema, Unstorable, index_of, time_bounds};
use super::upload::Upload;
use crate::config::KeyId;
use crate::error::{Error, Result};

/// Encoded bytes of a row group at most, about: wide rows (order books) reach it long before `row_group_rows`.
const GROUP_BYTES: u64 = 32 << 20;
/// Bytes of a batch that are encoded between two looks at the limits.
const SLICE_BYTES: usize = 16 << 20;
/// More threads than this wait for the few columns that take long.
const MAX_THREADS: usize = 4;

/// Makes the chunks of one generation.
pub(super) struct Encoder {
    archive: Archive,
    id: GenerationId,
    attempt: u64,
    schema: ChunkSchema,
    stored: StoredSchema,
    time_index: usize,
    runtime: Handle,
    threads: usize,
    open: Option<OpenChunk>,
    done: Vec<Chunk>,
    column_sums: ColumnSums,
}

impl Encoder {
    pub(super) fn new(
        archive: &Archive,
        id: GenerationId,
        attempt: u64,
        schema: ChunkSchema,
        runtime: Handle,
    ) -> Result<Self> {
        let stored = StoredSchema::new(&schema.arrow, &schema.columns)?;
        let time_index = index_of(stored.stored(), &schema.time_column)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            archive: archive.clone(),
            id,
            attempt,
            time_index,
            stored,
            schema,
            runtime,
            threads: threads.min(MAX_THREADS),
            open: None,
            done: Vec::new(),
            column_sums: ColumnSums::default(),
        })
    }

    /// Takes more rows, in the order in which they are to lie.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = loop {
            match self.stored.convert(batch) {
                Ok(stored) => break stored,
                Err(Unstorable::Wrong(e)) => return Err(e),
                Err(Unstorable::NotText(column)) => {
                    let name = batch.schema_ref().field(column).name();
                    tracing::warn!(
                        generation = %self.id, column = %name,
                        "the column holds values that are not UTF-8: stored as bytes from here on"
                    );
                    self.close_chunk()?;
                    self.stored.give_up_text(column);
                }
            }
        };
        let bytes_per_row = bytes_of(&batch)? / batch.num_rows();
        let slice_rows = (SLICE_BYTES / bytes_per_row.max(1)).max(1);
        let mut offset = 0;
        while offset < batch.num_rows() {
            let left = batch.num_rows() - offset;
            let rest = batch.slice(offset, left);
            let rows = self.room(&rest)?.min(slice_rows).min(left);
            self.write_slice(&batch.slice(offset, rows))?;
            offset += rows;
        }
        Ok(())
    }

    /// Ends the last chunk and returns all.
    pub(super) fn finish(mut self) -> Result<Written> {
        match self.close_chunk() {
            Ok(()) => Ok(Written {
                chunks: self.done,
                column_sums: self.column_sums,
            }),
            Err(e) => {
                self.abort();
                Err(e)
            }
        }
    }

    /// Removes what was written. Best effort: what is left is named by no manifest, and swept by `gc`.
    pub(super) fn abort(&mut self) {
        if let Some(open) = self.open.take() {
            open.upload.abort();
        }
        for chunk in self.done.drain(..) {
            let path = self.id.file(&chunk.file);
            if let Err(e) = self.runtime.block_on(self.archive.remove(&path)) {
                tracing::warn!(%path, error = %e, "a chunk that no manifest names was left behind");
            }
        }
    }

    /// Rows that fit into the open row group; opens a chunk for `rest`, which comes next, where there is none.
    fn room(&mut self, rest: &RecordBatch) -> Result<usize> {
        let options = self.archive.options();
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(OpenChunk::new(
                &self.archive,
                &self.id,
                u32::try_from(self.done.len()).map_err(|_| Error::usage("too many chunks"))?,
                self.attempt,
                &self.schema,
                rest,
                &self.runtime,
            )?),
        };
        let group = open.group_rows();
        let room =
            (options.row_group_rows - group).min(options.chunk_rows.saturating_sub(open.rows));
        Ok(usize::try_from(room).unwrap_or(usize::MAX))
    }

    fn write_slice(&mut self, slice: &RecordBatch) -> Result<()> {
        let window = self.id.window;
        let times = time_bounds(slice.column(self.time_index))?;
        if let Some((earliest, latest)) = times
            && !(window.contains(earliest) && window.contains(latest))
        {
            return Err(Error::integrity(format!(
                "rows from {earliest} to {latest} came for the window {window}"
            )));
        }
        let options = self.archive.options();
        let (row_group_rows, chunk_rows, chunk_bytes) = (
            options.row_group_rows,
            options.chunk_rows,
            options.chunk_bytes,
        );
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let sums = open.write(slice, times, self.threads)?;
        for (field, sum) in slice.schema_ref().fields().iter().zip(sums) {
            self.column_sums.add_sum(field.name(), sum);
        }
        let full = open.rows >= chunk_rows;
        if full
            || open.group_rows() >= row_group_rows
            || open.group_bytes() >= GROUP_BYTES.min(chunk_bytes)
        {
            open.end_group(self.threads)?;
        }
        if full || open.bytes >= chunk_bytes {
            self.close_chunk()?;
        }
        Ok(())
    }

    fn close_chunk(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let chunk = open.close(self.threads)?;
        self.done.push(chunk.clone());
        if self.archive.options().verify_after_write {
            let read_back = async {
                let bytes = self.archive.chunk_bytes(&self.id, &chunk).await?;
                bytes.drain().await
            };
            self.runtime
                .block_on(read_back)
                .map_err(|e| e.doing("reading back what was just written"))?;
        }
        Ok(())
    }
}

/// The file in the making.
struct OpenChunk {
    name: String,
    started: Instant,
    /// Writes to memory, which is emptied into `upload` after each row group.
    file: SerializedFileWriter<Vec<u8>>,
    columns: ArrowRowGroupWriterFactory,
    fields: Vec<std::sync::Arc<Field>>,
    group: Option<Group>,
    groups: usize,
    upload: Upload,
    hash: Sha256,
    bytes: u64,
    rows: u64,
    times: Option<(Timestamp, Timestamp)>,
    key_id: Option<KeyId>,
}

/// The row group in the making: for each column the writers of its leaves.
struct Group {
    writers: Vec<Vec<ArrowColumnWriter>>,
    rows: u64,
}

impl OpenChunk {
    fn new(
        archive: &Archive,
        id: &GenerationId,
        number: u32,
        attempt: u64,
        schema: &ChunkSchema,
        first: &RecordBatch,
        runtime: &Handle,
    ) -> Result<Self> {
        let name = chunk_file(number, attempt);
        let key = archive.options().encryption.writing();
        let properties = properties(
            first,
            &schema.sorting_key,
            archive.options().zstd_level,
            provenance(id, attempt, schema)?,
            key.map(|key| encryption(key, id, &name)).transpose()?,
        )?;
        let options = ArrowWriterOptions::new().with_properties(properties);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), first.schema(), options)?;
        let (file, columns) = writer.into_serialized_writer()?;
        Ok(Self {
            started: Instant::now(),
            upload: Upload::new(archive.clone(), id.file(&name), runtime.clone()),
            fields: first.schema_ref().fields().to_vec(),
            name,
            file,
            columns,
            group: None,
            groups: 0,
            hash: Sha256::new(),
            bytes: 0,
            rows: 0,
            times: None,
            key_id: key.map(|key| key.id().clone()),
        })
    }

    fn group_rows(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.rows)
    }

    /// What the open row group takes when encoded, estimated.
    fn group_bytes(&self) -> u64 {
        let writers = self.group.iter().flat_map(|g| g.writers.iter().flatten());
        let bytes: usize = writers
            .map(ArrowColumnWriter::get_estimated_total_bytes)
            .sum();
        bytes as u64
    }

    /// Takes rows; gives for each column the sum of its values' hashes.
    fn write(
        &mut self,
        slice: &RecordBatch,
        times: Option<(Timestamp, Timestamp)>,
        threads: usize,
    ) -> Result<Vec<u64>> {
        let group = match &mut self.group {
            Some(group) => group,
            none => none.insert(Group::new(&self.columns, self.groups, &self.fields)?),
        };
        let work = self
            .fields
            .iter()
            .zip(slice.columns())
            .zip(&mut group.writers)
            .collect();
        let sums = in_parallel(work, threads, |((field, column), writers)| {
            write_column(field, column, writers)?;
            column_sums::sum(column)
        })?;
        let rows = slice.num_rows() as u64;
        group.rows += rows;
        self.rows += rows;
        self.times = match (self.times, times) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (before, now) => before.or(now),
        };
        Ok(sums)
    }

    /// Encodes what is left of the row group, and hands its bytes on.
    fn end_group(&mut self, threads: usize) -> Result<()> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let writers = group.writers.into_iter().flatten().collect();
        let columns: Vec<ArrowColumnChunk> =
            in_parallel(writers, threads, |writer: ArrowColumnWriter| {
                Ok(writer.close()?)
            })?;
        let mut row_group = self.file.next_row_group()?;
        for column in columns {
            column.append_to_row_group(&mut row_group)?;
        }
        row_group.close()?;
        self.groups += 1;
        self.hand_on()
    }

    fn close(mut self, threads: usize) -> Result<Chunk> {
        let finished = self.end_group(threads).and_then(|()| {
            self.file.finish()?;
            self.hand_on()
        });
        if let Err(e) = finished {
            self.upload.abort();
            return Err(e);
        }
        let Some((min_time, max_time)) = self.times else {
            self.upload.abort();
            return Err(Error::malformed(format!(
                "the chunk {} has no rows",
                self.name
            )));
        };
        self.upload.finish()?;
        let sha256 = hex(&self.hash.finalize());
        tracing::debug!(
            chunk = %self.name, rows = self.rows, bytes = self.bytes, groups = self.groups,
            duration = ?self.started.elapsed(), "chunk written"
        );
        Ok(Chunk {
            file: self.name,
            rows: self.rows,
            bytes: self.bytes,
            sha256,
            min_time,
            max_time,
            key_id: self.key_id,
        })
    }

    /// Hashes what the Parquet writer has written since, and gives it to the upload.
    fn hand_on(&mut self) -> Result<()> {
        self.file
            .flush()
            .map_err(parquet::errors::ParquetError::from)?;
        let bytes = Bytes::from(std::mem::take(self.file.inner_mut()));
        self.hash.update(&bytes);
        self.bytes += bytes.len() as u64;
        self.upload.push(bytes)
    }
}

impl Group {
    fn new(
        columns: &ArrowRowGroupWriterFactory,
        number: usize,
        fields: &[std::sync::Arc<Field>],
    ) -> Result<Self> {
        let mut leaves = columns.create_column_writers(number)?.into_iter();
        let writers = fields
            .iter()
            .map(|field| {
                leaves
                    .by_ref()
                    .take(leaf_count(field.data_type()))
                    .collect()
            })
            .collect();
        Ok(Self { writers, rows: 0 })
    }
}

/// The bytes of these rows alone: a batch may be a slice of a larger one.
fn bytes_of(batch: &RecordBatch) -> Result<usize> {
    let mut bytes = 0;
    for column in batch.columns() {
        bytes += column.to_data().get_slice_memory_size()?;
    }
    Ok(bytes)
}

/// How many Parquet columns an Arrow column becomes.
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

/// Where the file belongs and how it came about, for whoever finds it alone.
fn provenance(id: &GenerationId, attempt: u64, schema: &ChunkSchema) -> Result<Vec<KeyValue>> {
    let columns =
        serde_json::to_string(&schema.columns).map_err(|e| Error::malformed(e.to_string()))?;
    let pairs = [
        ("mpsync.writer", WRITER.to_owned()),
        ("mpsync.dataset", id.dataset.to_string()),
        ("mpsync.window.start", id.window.start().to_string()),
        ("mpsync.window.end", id.window.end().to_string()),
        ("mpsync.generation", id.generation.to_string()),
        ("mpsync.attempt", attempt.to_string()),
        ("mpsync.time_column", schema.time_column.clone()),
        ("mpsync.sorting_key", schema.sorting_key.clone()),
        ("mpsync.columns", columns),
    ];
    let pair = |(key, value): (&str, String)| KeyValue::new(key.to_owned(), value);
    Ok(pairs.into_iter().map(pair).collect())
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
