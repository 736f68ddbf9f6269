//! Lands a batch: inserts its rows through the life's door, keeps its dead letters, then acknowledges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, TimestampNanosecondType, UInt64Type};
use arrow::ipc::writer::StreamWriter;
use async_nats::Client;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use jiff::Timestamp;
use rand::RngExt as _;

use crate::dead_letters::queue::{DeadLetterQueue, RejectedMessage};
use crate::session::budget::Share;
use crate::session::end::{SessionEnd, Uncertainty};
use crate::session::recovery::HeldPositions;
use crate::source::ack::PendingAcks;
use crate::source::stream::is_no_message;
use crate::stats::DatasetStats;
use crate::writer::insert_gate::{InsertGate, superseded};
use crate::writer::partition_split::split_by_partition;
use mpsync_clickhouse::{
    TABLE_IS_DROPPED, TOO_MANY_PARTS, TableSchema, Tier, UNKNOWN_TABLE, check_columns,
};
use mpsync_core::dataset::{ColumnSource, Dataset, EPOCH_COLUMN, Epoch, Position, SEQ_COLUMN};
use mpsync_core::error::{Context as _, Disposition, Error, Result};
use mpsync_core::retry::Backoff;

/// Partitions that one insert touches at most; ClickHouse refuses more than 100.
const PARTITIONS_PER_INSERT: usize = 50;
/// What ClickHouse says of an insert that touches more partitions than `max_partitions_per_insert_block`.
const TOO_MANY_PARTITIONS: &str = "partitions for single INSERT block";
/// Bytes of an insert's body that are sent at once.
const SEND_BYTES: usize = 1 << 20;
/// The label of dead letters that ClickHouse refused.
pub(crate) const REFUSED_LABEL: &str = "refused_by_clickhouse";
/// What every insert through a door sends beside [`mpsync_clickhouse::STRICT_INSERT`], whatever the user's profile says: an
/// error in the view must fail the insert, and an insert must never be dropped for being like an earlier one.
const GATE_SETTINGS: [(&str, &str); 2] = [
    ("materialized_views_ignore_errors", "0"),
    ("insert_deduplicate", "0"),
];

/// What is to be landed, and what is owed for it.
pub(crate) struct Batch {
    pub(crate) rows: Option<RecordBatch>,
    pub(crate) dead_letters: Vec<RejectedMessage>,
    pub(crate) acks: PendingAcks,
    /// Given back when the batch has landed.
    pub(crate) share: Share,
    pub(crate) messages: u64,
    pub(crate) last_seq: u64,
}

/// How a life lands batches.
pub(crate) struct Sink {
    pub(crate) tier: Tier,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) live: TableSchema,
    pub(crate) gate: InsertGate,
    pub(crate) held_positions: HeldPositions,
    pub(crate) dead_letters: DeadLetterQueue,
    pub(crate) stream: Stream,
    pub(crate) client: Client,
    pub(crate) stats: Arc<DatasetStats>,
}

/// A row that ClickHouse refused.
pub(crate) struct Refused {
    pub(crate) position: Position,
    stored_at_nanos: i64,
    pub(crate) text: String,
}

impl Sink {
    /// Lands a batch. When it returns `Ok`, every message of the batch is a row or a dead letter.
    ///
    /// Not cancel-safe: a batch that was cancelled is a doubt.
    pub(crate) async fn land(&self, batch: Batch) -> Result<(), SessionEnd> {
        let began = Instant::now();
        let mut rejected = batch.dead_letters;
        let mut rows = 0;
        if let Some(batch) = &batch.rows {
            rows = batch.num_rows();
            let refused = self.insert(batch).await?;
            rows -= refused.len();
            for row in refused {
                rejected.push(self.dead_letter(row).await?);
            }
            self.stats.rows.add(rows as u64);
        }
        let dead_letters = rejected.len();
        self.dead_letters
            .store(&self.dataset.name, rejected, &self.stats)
            .await;
        let acknowledged = batch.acks.send(&self.client).await;
        if !acknowledged {
            tracing::warn!(
                dataset = %self.dataset.name, last_seq = batch.last_seq,
                "the acknowledgement was not confirmed; the messages may come again and will be known"
            );
        }
        drop(batch.share);
        self.stats.batches.add(1);
        self.stats.settled_seq.set(batch.last_seq);
        tracing::debug!(
            dataset = %self.dataset.name, session = self.gate.fencing_token(), messages = batch.messages, rows,
            dead_letters, last_seq = batch.last_seq, duration = ?began.elapsed(), "batch landed"
        );
        Ok(())
    }

    /// Inserts rows, piece by piece in their order; returns those that ClickHouse refuses for what they are.
    pub(crate) async fn insert(&self, batch: &RecordBatch) -> Result<Vec<Refused>, SessionEnd> {
        let mut refused = Vec::new();
        let mut pieces =
            split_by_partition(batch, &self.dataset.time_column, PARTITIONS_PER_INSERT)?;
        // A stack: the next piece last.
        pieces.reverse();
        let mut failed = 0;
        while let Some(piece) = pieces.pop() {
            match self.insert_once(&piece).await {
                Ok(()) => failed = 0,
                Err(e) => {
                    failed += 1;
                    let smaller = self.after_failure(e, piece, failed, &mut refused).await?;
                    pieces.extend(smaller.into_iter().rev());
                }
            }
        }
        Ok(refused)
    }

    /// What is still to be inserted of a piece whose insert failed, or why the life ends.
    async fn after_failure(
        &self,
        e: Error,
        piece: RecordBatch,
        failed: u32,
        refused: &mut Vec<Refused>,
    ) -> Result<Vec<RecordBatch>, SessionEnd> {
        let code = e.server_code();
        match e.disposition() {
            // Only an answer of the server says that the insert is over.
            Disposition::Retry if code.is_none() => {
                return Err(Uncertainty::InsertUnknown(e).into());
            }
            Disposition::Halt if matches!(code, Some(UNKNOWN_TABLE | TABLE_IS_DROPPED)) => {
                return Err(self.gate_is_gone(e).await);
            }
            Disposition::Halt => return Err(SessionEnd::Failed(e)),
            Disposition::Retry | Disposition::Reject => {}
        }
        self.stats.insert_retries.add(1);
        // A piece of several partitions becomes several parts, some of which may have landed.
        let left = self.not_held(piece).await?;
        if left.num_rows() == 0 {
            return Ok(Vec::new());
        }
        if e.disposition() == Disposition::Reject {
            self.still_fits().await?;
            if left.num_rows() == 1 {
                refused.push(self.refused_row(&left, &e)?);
                return Ok(Vec::new());
            }
            return Ok(halves(&left));
        }
        // One code for two cases: it touches too many partitions, which waiting does not change; or merges are behind,
        // where smaller inserts would make it worse.
        if code == Some(TOO_MANY_PARTS) && e.to_string().contains(TOO_MANY_PARTITIONS) {
            let hours = split_by_partition(&left, &self.dataset.time_column, 1)?.len();
            if hours > 1 {
                tracing::info!(dataset = %self.dataset.name, hours, "splitting an insert that touches too many partitions");
                return Ok(split_by_partition(
                    &left,
                    &self.dataset.time_column,
                    hours / 2,
                )?);
            }
        }
        let pause = Backoff::DAEMON.pause(failed, rand::rng().random());
        tracing::warn!(
            dataset = %self.dataset.name, failed, ?pause, rows = left.num_rows(), error = %e, "insert failed, will try again"
        );
        tokio::time::sleep(pause).await;
        Ok(vec![left])
    }

    /// One insert through the door. An error says nothing about which rows landed.
    async fn insert_once(&self, piece: &RecordBatch) -> Result<()> {
        let began = Instant::now();
        let columns: Vec<&str> = self
            .dataset
            .columns
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let mut body = arrow_stream(piece)?;
        let bytes = body.len();
        let mut insert = self
            .tier
            .insert(&self.gate.table(), &columns, "ArrowStream");
        for (name, value) in GATE_SETTINGS {
            insert = insert.with_setting(name, value);
        }
        while !body.is_empty() {
            let part = body.split_to(body.len().min(SEND_BYTES));
            insert.send(part).await?;
        }
        insert.end().await?;
        self.stats.inserted(Timestamp::now(), began.elapsed());
        tracing::trace!(
            dataset = %self.dataset.name, rows = piece.num_rows(), bytes, duration = ?began.elapsed(), "inserted"
        );
        Ok(())
    }

    /// Somebody dropped the door: a newer life, or a person.
    async fn gate_is_gone(&self, e: Error) -> SessionEnd {
        match self.gate.newest().await {
            Ok(Some(newest)) if newest > self.gate.fencing_token() => {
                SessionEnd::Failed(superseded(
                    self.dataset.name.as_str(),
                    self.gate.fencing_token(),
                    newest,
                ))
            }
            Ok(_) => Uncertainty::GateDropped(e).into(),
            Err(e) => e.into(),
        }
    }

    /// The rows of a piece that hot does not hold.
    async fn not_held(&self, piece: RecordBatch) -> Result<RecordBatch> {
        let epochs = numbers(&piece, EPOCH_COLUMN)?;
        let seqs = numbers(&piece, SEQ_COLUMN)?;
        let mut wanted: Vec<bool> = vec![true; piece.num_rows()];
        let mut distinct: Vec<u64> = epochs.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        for epoch in distinct.into_iter().map(Epoch) {
            let of_epoch = || {
                epochs
                    .iter()
                    .zip(seqs)
                    .enumerate()
                    .filter(move |(_, (e, _))| **e == epoch.0)
            };
            let (Some(lowest), Some(highest)) = (
                of_epoch().map(|(_, (_, seq))| *seq).min(),
                of_epoch().map(|(_, (_, seq))| *seq).max(),
            ) else {
                continue;
            };
            let held = self
                .held_positions
                .held(epoch, lowest.saturating_sub(1), highest)
                .await?;
            for (row, (_, &seq)) in of_epoch() {
                wanted[row] = !held.contains(Position { epoch, seq });
            }
        }
        if wanted.iter().all(|w| *w) {
            return Ok(piece);
        }
        Ok(filter_record_batch(&piece, &BooleanArray::from(wanted))?)
    }

    /// Refused content may mean that somebody altered the table: then every message would become a dead letter.
    async fn still_fits(&self) -> Result<(), SessionEnd> {
        let live = self.tier.describe_existing(&self.dataset.table).await?;
        check_columns(&self.dataset, &live)?;
        if live.columns == self.live.columns {
            Ok(())
        } else {
            Err(Uncertainty::TableAltered.into())
        }
    }

    fn refused_row(&self, row: &RecordBatch, e: &Error) -> Result<Refused> {
        let lacking = || Error::schema("a batch has no row to say where it came from");
        let first =
            |column| -> Result<u64> { numbers(row, column)?.first().copied().ok_or_else(lacking) };
        Ok(Refused {
            position: Position {
                epoch: Epoch(first(EPOCH_COLUMN)?),
                seq: first(SEQ_COLUMN)?,
            },
            stored_at_nanos: self.stored_at(row),
            text: e.cause().to_string(),
        })
    }

    /// When the row's message was stored, where its column says so in nanoseconds.
    fn stored_at(&self, row: &RecordBatch) -> i64 {
        let column = self
            .dataset
            .columns
            .iter()
            .find(|(_, source)| *source == ColumnSource::StoredAt)
            .and_then(|(name, _)| row.column_by_name(name));
        let nanos = column.and_then(|array| {
            array
                .as_primitive_opt::<TimestampNanosecondType>()
                .map(|a| a.value(0))
                .or_else(|| array.as_primitive_opt::<Int64Type>().map(|a| a.value(0)))
        });
        nanos.unwrap_or_default()
    }

    /// The dead letter of a refused row: its bytes are asked of the stream, so that they need not be kept for all rows.
    async fn dead_letter(&self, row: Refused) -> Result<RejectedMessage, SessionEnd> {
        let mut rejected_message = RejectedMessage {
            position: row.position,
            label: REFUSED_LABEL.into(),
            reason: row.text,
            subject: String::new(),
            stored_at_nanos: row.stored_at_nanos,
            message_id: None,
            body: Bytes::new(),
        };
        match self.stream.get_raw_message(row.position.seq).await {
            Ok(message) => {
                rejected_message.subject = message.subject.to_string();
                rejected_message.message_id = message_id(Some(&message.headers));
                rejected_message.body = message.payload;
            }
            Err(e) if is_no_message(&e.kind()) => {
                rejected_message.reason = format!(
                    "{}; its bytes are gone, the stream dropped the message meanwhile",
                    rejected_message.reason
                );
            }
            Err(e) => {
                return Err(SessionEnd::from(Error::nats(e).context(format!(
                    "asking for message {}, which ClickHouse refused",
                    row.position
                ))));
            }
        }
        Ok(rejected_message)
    }
}

/// A message's own id.
pub(crate) fn message_id(headers: Option<&async_nats::HeaderMap>) -> Option<String> {
    headers
        .and_then(|h| h.get(async_nats::header::NATS_MESSAGE_ID))
        .map(|id| id.as_str().to_owned())
}

/// A column of whole numbers.
fn numbers<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a [u64]> {
    batch
        .column_by_name(column)
        .and_then(|array| array.as_primitive_opt::<UInt64Type>())
        .map(|array| array.values().as_ref())
        .ok_or_else(|| Error::schema(format!("column `{column}` must be UInt64")))
}

/// Two halves of a batch of at least two rows.
fn halves(batch: &RecordBatch) -> Vec<RecordBatch> {
    let middle = batch.num_rows() / 2;
    vec![
        batch.slice(0, middle),
        batch.slice(middle, batch.num_rows() - middle),
    ]
}

/// A batch as one Arrow IPC stream.
fn arrow_stream(batch: &RecordBatch) -> Result<Bytes> {
    let context = || "writing an Arrow stream";
    let mut body = Vec::with_capacity(batch.get_array_memory_size() + (64 << 10));
    let mut writer = StreamWriter::try_new(&mut body, batch.schema_ref()).context(context)?;
    writer.write(batch).context(context)?;
    writer.finish().context(context)?;
    drop(writer);
    Ok(Bytes::from(body))
}

/// How long a life may take to end in order when the process is to end.
pub(crate) const LAST_FLUSH: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, UInt64Array};

    use super::*;

    fn batch(seqs: &[u64]) -> RecordBatch {
        let column: ArrayRef = Arc::new(UInt64Array::from(seqs.to_vec()));
        RecordBatch::try_from_iter([(SEQ_COLUMN, column)]).unwrap()
    }

    #[test]
    fn halving_keeps_every_row_in_order() {
        let parts = halves(&batch(&[1, 2, 3, 4, 5]));
        let seqs: Vec<u64> = parts
            .iter()
            .flat_map(|p| numbers(p, SEQ_COLUMN).unwrap().to_vec())
            .collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
        assert!(parts.iter().all(|p| p.num_rows() >= 2));
    }

    #[test]
    fn a_half_is_written_without_the_other() {
        let whole = batch(&(0..10_000).collect::<Vec<_>>());
        let small = arrow_stream(&halves(&whole)[0].slice(0, 1)).unwrap();
        assert!(small.len() < 2000, "{}", small.len());
    }
}
