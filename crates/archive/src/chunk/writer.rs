//! Writing the chunks of one generation.

use arrow::array::RecordBatch;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::encoder::{Encoder, Written};
use super::schema::ChunkSchema;
use crate::format::layout::GenerationId;
use crate::store::archive::Archive;
use mpsync_core::error::{Error, Result};

/// Batches that may wait for the encoder: one is encoded while the next is fetched.
const WAITING_BATCHES: usize = 1;

enum EncoderCommand {
    Batch(RecordBatch),
    Finish,
}

/// Writes the chunks of one generation, in one attempt. Encoding, hashing and uploading run on a thread of their own.
///
/// After an error, and when it is dropped unfinished, the chunks are removed; no manifest names those that cannot be.
#[derive(Debug)]
pub struct ChunkWriter(WriterState);

#[derive(Debug)]
enum WriterState {
    Open {
        commands: mpsc::Sender<EncoderCommand>,
        encoder: JoinHandle<Result<Option<Written>>>,
    },
    Finished,
}

impl ChunkWriter {
    /// Returns a writer for an attempt at a generation. Must be called within a tokio runtime.
    ///
    /// The attempt's number becomes part of the names: no two attempts share a file.
    pub fn new(
        archive: &Archive,
        id: GenerationId,
        attempt: u64,
        schema: ChunkSchema,
    ) -> Result<Self> {
        let runtime = Handle::try_current().map_err(std::io::Error::other)?;
        let encoder = Encoder::new(archive, id, attempt, schema, runtime)?;
        let (commands, receiver) = mpsc::channel(WAITING_BATCHES);
        let encoder = tokio::task::spawn_blocking(move || encode(encoder, receiver));
        Ok(Self(WriterState::Open { commands, encoder }))
    }

    /// Takes rows; waits while the encoder is behind. Full chunks are uploaded meanwhile.
    ///
    /// Cancel-safe: a batch is taken whole or not at all. After an error the writer is finished.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let WriterState::Open { commands, .. } = &self.0 else {
            return Err(finished());
        };
        if commands.send(EncoderCommand::Batch(batch)).await.is_ok() {
            return Ok(());
        }
        // The encoder ends early only with an error.
        self.end().await.map(drop)
    }

    /// Completes the last chunk. On return all chunks are whole and durable, and were read back if `verify_after_write` is set.
    /// Without rows there are no chunks.
    pub async fn finish(mut self) -> Result<Written> {
        if let WriterState::Open { commands, .. } = &self.0 {
            // An encoder that has ended returns its error below.
            let _ = commands.send(EncoderCommand::Finish).await;
        }
        self.end().await
    }

    /// Aborts the generation and removes its chunks.
    pub async fn abort(mut self) {
        if let WriterState::Open { commands, encoder } =
            std::mem::replace(&mut self.0, WriterState::Finished)
        {
            drop(commands);
            if let Err(e) = encoder.await {
                tracing::warn!(error = %e, "the encoder failed");
            }
        }
    }

    async fn end(&mut self) -> Result<Written> {
        let WriterState::Open { commands, encoder } =
            std::mem::replace(&mut self.0, WriterState::Finished)
        else {
            return Err(finished());
        };
        drop(commands);
        let written = encoder.await.map_err(std::io::Error::other)??;
        written.ok_or_else(finished)
    }
}

fn finished() -> Error {
    Error::usage("the chunk writer is finished")
}

/// Runs on the encoder's thread. `None` if the writer was dropped or aborted.
fn encode(
    mut encoder: Encoder,
    mut commands: mpsc::Receiver<EncoderCommand>,
) -> Result<Option<Written>> {
    loop {
        match commands.blocking_recv() {
            Some(EncoderCommand::Batch(batch)) => {
                if let Err(e) = encoder.write(&batch) {
                    encoder.abort();
                    return Err(e);
                }
            }
            Some(EncoderCommand::Finish) => return encoder.finish().map(Some),
            None => {
                encoder.abort();
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array as _, ArrayRef, BinaryArray, Decimal128Array, ListArray, StructArray,
        TimestampMillisecondArray, UInt64Array,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Fields};
    use futures_util::TryStreamExt as _;
    use object_store::memory::InMemory;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;

    use super::*;
    use mpsync_core::fingerprint::HashedColumn;

    use crate::testing::{id, small, trades, trades_schema, usual, write};
    use crate::{ArchiveConfig, Chunk};

    fn in_memory(config: &ArchiveConfig) -> Archive {
        Archive::with_part_bytes(Arc::new(InMemory::new()), config, 4096)
    }

    async fn read_all(archive: &Archive, id: &GenerationId, chunks: &[Chunk]) -> RecordBatch {
        let mut batches = Vec::new();
        for chunk in chunks {
            let read = archive.read_chunk(id, chunk).await.unwrap();
            batches.extend(read.try_collect::<Vec<_>>().await.unwrap());
        }
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    /// Equal values, whatever the types that hold them: text is text, in a dictionary or not.
    fn assert_equal_values(sent: &RecordBatch, read: &RecordBatch) {
        assert_eq!(sent.num_rows(), read.num_rows());
        for (sent, read) in sent.columns().iter().zip(read.columns()) {
            let sent = arrow::compute::cast(sent, read.data_type()).unwrap();
            assert_eq!(&sent, read);
        }
    }

    #[tokio::test]
    async fn chunks_are_cut_by_rows_and_hold_what_was_written_in_its_order() {
        let archive = in_memory(&small("".as_ref()));
        let batch = trades(1, 3500);
        let chunks = write(&archive, &id(0), 7, &batch).await.unwrap();
        let rows: Vec<_> = chunks.iter().map(|c| c.rows).collect();
        assert_eq!(rows, [1000, 1000, 1000, 500]);
        assert_eq!(chunks[3].file, "part-00003-a7.parquet");
        assert!(chunks.iter().all(|c| c.min_time <= c.max_time));
        assert_equal_values(&batch, &read_all(&archive, &id(0), &chunks).await);
    }

    #[tokio::test]
    async fn chunks_are_cut_by_bytes() {
        let config = ArchiveConfig {
            chunk_bytes: 8000,
            ..small("".as_ref())
        };
        let archive = in_memory(&config);
        let batch = trades(1, 3500);
        let chunks = write(&archive, &id(0), 1, &batch).await.unwrap();
        assert!(chunks.len() > 4, "{}", chunks.len());
        assert_eq!(chunks.iter().map(|c| c.rows).sum::<u64>(), 3500);
    }

    #[tokio::test]
    async fn a_chunk_says_where_it_belongs_and_how_it_is_sorted() {
        let archive = in_memory(&usual("".as_ref()));
        let batch = trades(1, 500);
        let chunks = write(&archive, &id(0), 1, &batch).await.unwrap();
        let bytes = archive.chunk_bytes(&id(0), &chunks[0]).await.unwrap();
        let bytes = bytes.collect().await.unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let metadata = builder.metadata();
        let pairs = metadata.file_metadata().key_value_metadata().unwrap();
        let value = |key: &str| {
            let pair = pairs.iter().find(|pair| pair.key == key).unwrap();
            pair.value.clone().unwrap()
        };
        assert_eq!(value("mpsync.dataset"), "trades");
        assert_eq!(value("mpsync.window.start"), "2026-01-01T05:00:00Z");
        assert!(value("mpsync.columns").contains(r#"{"name":"price","type":"Decimal(38, 18)"}"#));
        let group = metadata.row_group(0);
        let sorted: Vec<_> = group
            .sorting_columns()
            .unwrap()
            .iter()
            .map(|c| c.column_idx)
            .collect();
        assert_eq!(sorted, [1, 2, 3, 0, 13, 14]);
        assert!(
            group
                .columns()
                .iter()
                .all(|c| c.statistics().is_some() && c.column_index_range().is_some())
        );
        let symbol = builder.parquet_schema().column(3);
        assert_eq!(format!("{:?}", symbol.logical_type_ref()), "Some(String)");
    }

    #[tokio::test]
    async fn column_is_bytes_from_the_first_value_on_that_is_not_utf8() {
        let archive = in_memory(&usual("".as_ref()));
        let start = id(0).window.start().as_millisecond();
        let rows = |names: Vec<&[u8]>| {
            let times = TimestampMillisecondArray::from_value(start, names.len());
            RecordBatch::try_from_iter([
                (
                    "timestamp",
                    Arc::new(times.with_timezone("UTC")) as ArrayRef,
                ),
                ("name", Arc::new(BinaryArray::from_vec(names))),
            ])
            .unwrap()
        };
        let batches = [
            rows(vec![b"a", b"b"]),
            rows(vec![b"c", b"\xff"]),
            rows(vec![b"d"]),
        ];
        let column = |name: &str, type_name: &str| HashedColumn {
            name: name.into(),
            type_name: type_name.into(),
        };
        let schema = ChunkSchema {
            arrow: batches[0].schema(),
            columns: vec![
                column("timestamp", "DateTime64(3, 'UTC')"),
                column("name", "String"),
            ],
            time_column: "timestamp".into(),
            sorting_key: String::new(),
        };
        let mut writer = ChunkWriter::new(&archive, id(0), 1, schema).unwrap();
        for batch in &batches {
            writer.write(batch.clone()).await.unwrap();
        }
        let chunks = writer.finish().await.unwrap().chunks;
        let mut read = Vec::new();
        for chunk in &chunks {
            read.push(read_all(&archive, &id(0), std::slice::from_ref(chunk)).await);
        }
        let types: Vec<_> = read
            .iter()
            .map(|b| b.column(1).data_type().clone())
            .collect();
        assert_eq!(types, [DataType::Utf8, DataType::Binary]);
        assert_eq!(
            read[1].column(1).as_ref(),
            &BinaryArray::from_vec(vec![b"c", b"\xff", b"d"])
        );
    }

    #[tokio::test]
    async fn rows_of_another_window_end_the_writer_and_leave_nothing() {
        let archive = in_memory(&small("".as_ref()));
        let batch = trades(1, 3000);
        let mut other = id(0);
        other.window = "2026-01-01T06".parse().unwrap();
        let e = write(&archive, &other, 1, &batch).await.unwrap_err();
        assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Integrity);
        assert!(archive.list(&other.folder()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_aborted_writer_leaves_nothing_and_no_rows_give_no_chunks() {
        let archive = in_memory(&small("".as_ref()));
        let batch = trades(1, 3000);
        let mut writer = ChunkWriter::new(&archive, id(0), 1, trades_schema(&batch)).unwrap();
        writer.write(batch.clone()).await.unwrap();
        writer.abort().await;
        assert!(archive.list(&id(0).folder()).await.unwrap().is_empty());
        let writer = ChunkWriter::new(&archive, id(0), 2, trades_schema(&batch)).unwrap();
        assert_eq!(writer.finish().await.unwrap(), Written::default());
    }

    /// Rows of every shape that mpsync's tables have: text, decimals, NULLs, nested levels.
    fn books(levels: &[Vec<(i128, i128)>], best: &[Option<i64>]) -> RecordBatch {
        let start = id(0).window.start().as_millisecond();
        let flat: Vec<_> = levels.iter().flatten().copied().collect();
        let decimal = |values: Vec<i128>| -> ArrayRef {
            let values = Decimal128Array::from(values);
            Arc::new(values.with_precision_and_scale(38, 18).unwrap())
        };
        let fields = Fields::from(vec![
            Field::new("price", DataType::Decimal128(38, 18), false),
            Field::new("quantity", DataType::Decimal128(38, 18), false),
        ]);
        let sides = StructArray::new(
            fields.clone(),
            vec![
                decimal(flat.iter().map(|l| l.0).collect()),
                decimal(flat.iter().map(|l| l.1).collect()),
            ],
            None,
        );
        let bids = ListArray::new(
            Arc::new(Field::new("item", DataType::Struct(fields), false)),
            OffsetBuffer::from_lengths(levels.iter().map(Vec::len)),
            Arc::new(sides),
            None,
        );
        let times = (0_i64..).take(levels.len()).map(|i| start + i);
        let best = best.iter().map(|p| p.map(i128::from));
        let best = best.collect::<Decimal128Array>();
        RecordBatch::try_from_iter([
            (
                "timestamp",
                Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
                    as ArrayRef,
            ),
            ("bids", Arc::new(bids)),
            (
                "best",
                Arc::new(best.with_precision_and_scale(18, 9).unwrap()),
            ),
            (
                "n",
                Arc::new(UInt64Array::from_iter_values(
                    levels.iter().map(|l| u64::MAX - l.len() as u64),
                )),
            ),
        ])
        .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn every_value_survives_the_archive(
            rows in prop::collection::vec(
                (
                    prop::collection::vec((-10_i128.pow(37)..10_i128.pow(37), any::<u32>().prop_map(i128::from)), 0..6),
                    prop::option::of(any::<i32>().prop_map(i64::from)),
                ),
                1..200,
            ),
            cuts in (1_u64..50, 1_u64..50, 1_usize..60),
        ) {
            let (levels, best): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            let batch = books(&levels, &best);
            let types = [
                "DateTime64(3, 'UTC')",
                "Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18)))",
                "Nullable(Decimal(18, 9))",
                "UInt64",
            ];
            let schema = ChunkSchema {
                arrow: batch.schema(),
                columns: batch.schema().fields().iter().zip(types).map(|(field, type_name)| HashedColumn {
                    name: field.name().clone(),
                    type_name: type_name.into(),
                }).collect(),
                time_column: "timestamp".into(),
                sorting_key: "timestamp".into(),
            };
            let config = ArchiveConfig { chunk_rows: cuts.0, row_group_rows: cuts.1, ..small("".as_ref()) };
            let read = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let archive = in_memory(&config);
                let mut writer = ChunkWriter::new(&archive, id(0), 1, schema).unwrap();
                for offset in (0..batch.num_rows()).step_by(cuts.2) {
                    writer.write(batch.slice(offset, cuts.2.min(batch.num_rows() - offset))).await.unwrap();
                }
                let chunks = writer.finish().await.unwrap().chunks;
                read_all(&archive, &id(0), &chunks).await
            });
            prop_assert_eq!(read.columns(), batch.columns());
        }
    }
}
