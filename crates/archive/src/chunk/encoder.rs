//! From record batches to chunks: cut, encoded, hashed and uploaded in one pass. Blocks: runs on a thread of its own.
//!
//! Memory is bounded by one row group, whose rows are bounded in number and in bytes, and by two parts of an upload, however big
//! the window is.

use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, ArrowWriterOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use tokio::runtime::Handle;

use super::schema::ChunkSchema;
use crate::KeyId;
use crate::chunk::column_sums::ColumnSums;
use crate::chunk::encodings::{WRITER, properties};
use crate::chunk::encryption::encryption;
use crate::chunk::hashing_writer::HashingWriter;
use crate::chunk::parallel::EncoderSlot;
use crate::chunk::parquet_schema::{ParquetSchema, Unstorable, index_of, time_bounds};
use crate::chunk::row_group::{Compressors, Group};
use crate::format::layout::{GenerationId, chunk_file};
use crate::format::manifest::Chunk;
use crate::store::archive::Archive;
use crate::store::upload::Upload;
use mpsync_core::error::{Error, Result};

/// The approximate limit of encoded bytes of a row group: wide rows (order books) reach it long before `row_group_rows`.
const GROUP_BYTES: u64 = 16 << 20;
/// The limit of bytes of a row group before encoding, with which the memory of its encoders grows.
const GROUP_PLAIN_BYTES: u64 = 64 << 20;
/// Bytes of a batch that are encoded between two checks of the limits.
const SLICE_BYTES: usize = 4 << 20;

/// The chunks that were written of a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Its chunks, in order.
    pub chunks: Vec<Chunk>,
    /// The sums of the hashes of exactly the values in them.
    pub column_sums: ColumnSums,
}

/// Encodes the chunks of one generation.
pub(crate) struct Encoder {
    archive: Archive,
    id: GenerationId,
    attempt: u64,
    schema: ChunkSchema,
    stored: ParquetSchema,
    time_index: usize,
    runtime: Handle,
    slot: EncoderSlot,
    open: Option<OpenChunk>,
    done: Vec<Chunk>,
    column_sums: ColumnSums,
}

impl Encoder {
    pub(crate) fn new(
        archive: &Archive,
        id: GenerationId,
        attempt: u64,
        schema: ChunkSchema,
        runtime: Handle,
    ) -> Result<Self> {
        let stored = ParquetSchema::new(&schema.arrow, &schema.columns)?;
        let time_index = index_of(stored.stored(), &schema.time_column)?;
        Ok(Self {
            archive: archive.clone(),
            id,
            attempt,
            time_index,
            stored,
            schema,
            runtime,
            slot: archive.encoder_slots().acquire(),
            open: None,
            done: Vec::new(),
            column_sums: ColumnSums::default(),
        })
    }

    /// Takes more rows, in their final order.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
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
            self.write_slice(&batch.slice(offset, rows), bytes_per_row * rows)?;
            offset += rows;
        }
        Ok(())
    }

    /// Completes the last chunk and returns all chunks.
    pub(crate) fn finish(mut self) -> Result<Written> {
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

    /// Removes the chunks. Best effort: no manifest names the rest, which `gc` sweeps.
    pub(crate) fn abort(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
        }
        for chunk in self.done.drain(..) {
            let path = self.id.file(&chunk.file);
            if let Err(e) = self.runtime.block_on(self.archive.remove(&path)) {
                tracing::warn!(%path, error = %e, "a chunk that no manifest names was left behind");
            }
        }
    }

    /// Returns the rows that fit into the open row group. Opens a chunk for `rest`, which comes next, if none is open.
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

    fn write_slice(&mut self, slice: &RecordBatch, bytes: usize) -> Result<()> {
        let window = self.id.window;
        let times = time_bounds(slice.column(self.time_index))?;
        if let Some((earliest, latest)) = times
            && !(window.contains(earliest) && window.contains(latest))
        {
            return Err(Error::integrity(format!(
                "rows from {earliest} to {latest} do not belong to the window {window}"
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
        let sums = open.write(slice, bytes, times, self.slot.threads())?;
        for (field, sum) in slice.schema_ref().fields().iter().zip(sums) {
            self.column_sums.add_sum(field.name(), sum);
        }
        let full = open.rows >= chunk_rows;
        if full
            || open.group_rows() >= row_group_rows
            || open.group_bytes() >= GROUP_BYTES.min(chunk_bytes)
            || open.group_plain_bytes() >= GROUP_PLAIN_BYTES
        {
            open.end_group(self.slot.threads())?;
        }
        if full || open.bytes() >= chunk_bytes {
            self.close_chunk()?;
        }
        Ok(())
    }

    fn close_chunk(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let chunk = open.close(self.slot.threads())?;
        self.done.push(chunk.clone());
        if self.archive.options().verify_after_write {
            let read_back = async {
                let bytes = self.archive.chunk_bytes(&self.id, &chunk).await?;
                bytes.drain().await
            };
            self.runtime
                .block_on(read_back)
                .map_err(|e| e.context("reading back what was just written"))?;
        }
        Ok(())
    }
}

/// The file that is being written.
struct OpenChunk {
    name: String,
    started: Instant,
    file: SerializedFileWriter<HashingWriter>,
    columns: ArrowRowGroupWriterFactory,
    fields: Vec<std::sync::Arc<Field>>,
    group: Option<Group>,
    groups: usize,
    compressors: Compressors,
    /// Whether pages may be encoded by this crate: only the library encrypts.
    ours: bool,
    rows: u64,
    times: Option<(Timestamp, Timestamp)>,
    key_id: Option<KeyId>,
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
        let upload = Upload::new(archive.clone(), id.file(&name), runtime.clone());
        let writer = HashingWriter::new(upload);
        let writer = ArrowWriter::try_new_with_options(writer, first.schema(), options)?;
        let (file, columns) = writer.into_serialized_writer()?;
        Ok(Self {
            started: Instant::now(),
            compressors: Compressors::new(archive.options().zstd_level),
            ours: key.is_none(),
            fields: first.schema_ref().fields().to_vec(),
            name,
            file,
            columns,
            group: None,
            groups: 0,
            rows: 0,
            times: None,
            key_id: key.map(|key| key.id().clone()),
        })
    }

    fn group_rows(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.rows)
    }

    /// Returns the estimated bytes of the open row group when encoded.
    fn group_bytes(&self) -> u64 {
        self.group.as_ref().map_or(0, Group::estimated_bytes)
    }

    /// Returns the bytes of the open row group before encoding.
    fn group_plain_bytes(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.plain_bytes)
    }

    /// Returns the bytes that were written so far.
    fn bytes(&self) -> u64 {
        self.file.inner().bytes()
    }

    /// Takes rows; returns for each column the sum of its values' hashes.
    fn write(
        &mut self,
        slice: &RecordBatch,
        bytes: usize,
        times: Option<(Timestamp, Timestamp)>,
        threads: usize,
    ) -> Result<Vec<u64>> {
        let group = match &mut self.group {
            Some(group) => group,
            none => {
                let leaves = self.file.schema_descr().columns();
                let writers = self.columns.create_column_writers(self.groups)?;
                none.insert(Group::new(writers, &self.fields, leaves, self.ours))
            }
        };
        let sums = group.write(slice, &self.fields, threads)?;
        let rows = slice.num_rows() as u64;
        group.rows += rows;
        group.plain_bytes += bytes as u64;
        self.rows += rows;
        self.times = match (self.times, times) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (before, now) => before.or(now),
        };
        Ok(sums)
    }

    /// Encodes the rest of the row group, and passes its bytes on.
    fn end_group(&mut self, threads: usize) -> Result<()> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let columns = group.close(&self.compressors, threads)?;
        let mut row_group = self.file.next_row_group()?;
        let appended = columns
            .into_iter()
            .try_for_each(|column| column.append_to_row_group(&mut row_group))
            .and_then(|()| row_group.close().map(drop));
        self.groups += 1;
        appended.map_err(|e| self.failure(e))
    }

    fn close(mut self, threads: usize) -> Result<Chunk> {
        let finished = self.end_group(threads).and_then(|()| {
            let finished = self.file.finish().map(drop);
            finished.map_err(|e| self.failure(e))
        });
        let sent = match (finished, self.times) {
            (Err(e), _) => Err(e),
            (Ok(()), None) => Err(Error::malformed(format!(
                "the chunk {} has no rows",
                self.name
            ))),
            (Ok(()), Some(times)) => self.file.inner_mut().finish().map(|sent| (sent, times)),
        };
        let (sent, (min_time, max_time)) = match sent {
            Ok(sent) => sent,
            Err(e) => {
                self.abort();
                return Err(e);
            }
        };
        tracing::debug!(
            chunk = %self.name, rows = self.rows, bytes = sent.bytes, groups = self.groups,
            duration = ?self.started.elapsed(), "chunk written"
        );
        Ok(Chunk {
            file: self.name,
            rows: self.rows,
            bytes: sent.bytes,
            sha256: sent.sha256,
            min_time,
            max_time,
            key_id: self.key_id,
        })
    }

    fn abort(mut self) {
        self.file.inner_mut().abort();
    }

    /// Returns why the file could not be written: the error of the upload if it failed.
    fn failure(&mut self, e: ParquetError) -> Error {
        self.file.inner_mut().failure().unwrap_or_else(|| e.into())
    }
}

/// Returns the bytes of these rows alone: a batch may be a slice of a larger one.
fn bytes_of(batch: &RecordBatch) -> Result<usize> {
    let mut bytes = 0;
    for column in batch.columns() {
        bytes += column.to_data().get_slice_memory_size()?;
    }
    Ok(bytes)
}

/// Returns the key-value metadata that says where a file belongs and how it came about, if it is found alone.
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
