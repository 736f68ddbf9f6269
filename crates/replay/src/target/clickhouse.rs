//! Rows into a table of a ClickHouse tier: each position once, however often it is replayed.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray as _, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, TimeUnit, UInt64Type};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use rand::RngExt as _;
use serde::Deserialize;

use super::insert_gate::InsertGate;
use mpsync_clickhouse::{TableSchema, Tier};
use mpsync_core::dataset::{Dataset, EPOCH_COLUMN, SEQ_COLUMN};
use mpsync_core::error::{Context as _, Disposition, Error, Result};
use mpsync_core::fingerprint::HashedColumn;
use mpsync_core::retry::Backoff;

/// About how many rows an insert has.
const INSERT_ROWS: usize = 100_000;
/// About how many bytes an insert has.
const INSERT_BYTES: usize = 16 << 20;
/// The most hours in one insert; ClickHouse refuses more than 100 partitions.
const HOURS_PER_INSERT: usize = 50;
const SEND_BYTES: usize = 1 << 20;
const HOUR_NANOS: i64 = 3_600_000_000_000;
/// Settings that override the user's profile: an error in the view must fail the insert, and an insert
/// must never be dropped as a duplicate of an earlier one.
const GATE_SETTINGS: [(&str, &str); 2] = [
    ("materialized_views_ignore_errors", "0"),
    ("insert_deduplicate", "0"),
];

/// The table that receives a dataset's rows.
#[derive(Debug, Clone)]
pub struct TableTarget {
    /// The server.
    pub tier: Tier,
    /// The table's name in the tier's database.
    pub table: String,
}

/// One dataset's table.
#[derive(Debug)]
pub struct TableSink {
    tier: Tier,
    table: TableSchema,
    time_column: String,
    gate: Option<InsertGate>,
    ready: Vec<RecordBatch>,
    ready_rows: usize,
    ready_bytes: usize,
    held: u64,
}

#[derive(clickhouse::Row, Deserialize)]
struct HeldRow {
    epoch: u64,
    seq: u64,
}

impl TableSink {
    /// Opens a dataset's table; creates it by the dataset's DDL if it does not exist.
    ///
    /// # Errors
    ///
    /// A schema error if a column of the archive is missing in the table or has another type: ClickHouse
    /// would silently truncate a decimal of a greater scale.
    pub async fn open(
        target: &TableTarget,
        dataset: &Dataset,
        archived: &[Vec<HashedColumn>],
    ) -> Result<Self> {
        let tier = &target.tier;
        if tier.describe(&target.table).await?.is_none() {
            tier.create_database().await?;
            let renamed = Dataset {
                table: target.table.clone(),
                ..dataset.clone()
            };
            tier.execute(&tier.create_table_sql(&renamed)?).await?;
        }
        let table = tier.describe_existing(&target.table).await?;
        for columns in archived {
            check_takes(&table, columns)?;
        }
        // Also for a dataset without rows in this replay, which opens no gate of its own.
        InsertGate::sweep(tier, &target.table).await?;
        Ok(Self {
            tier: tier.clone(),
            table,
            time_column: dataset.time_column.clone(),
            gate: None,
            ready: Vec::new(),
            ready_rows: 0,
            ready_bytes: 0,
            held: 0,
        })
    }

    /// Returns the number of rows that the table had already.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    pub(crate) async fn accept(&mut self, batch: RecordBatch) -> Result<()> {
        let fits = |last: &RecordBatch| last.schema_ref() == batch.schema_ref();
        if !self.ready.last().is_none_or(fits) {
            self.flush().await?;
        }
        self.ready_rows += batch.num_rows();
        self.ready_bytes += batch.get_array_memory_size();
        self.ready.push(batch);
        if self.ready_rows >= INSERT_ROWS || self.ready_bytes >= INSERT_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Inserts all accepted rows.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        let Some(first) = self.ready.first() else {
            return Ok(());
        };
        let batch = concat_batches(first.schema_ref(), &self.ready)?;
        self.ready.clear();
        (self.ready_rows, self.ready_bytes) = (0, 0);
        for piece in by_hours(&batch, &self.time_column)? {
            self.land(&piece).await?;
        }
        Ok(())
    }

    pub(crate) async fn close(&mut self) -> Result<()> {
        match self.gate.take() {
            Some(gate) => gate.close().await,
            None => Ok(()),
        }
    }

    /// Inserts the rows of a piece that the table does not contain. An insert of unknown outcome is never
    /// repeated blindly: its gate is dropped, then the table is queried again.
    async fn land(&mut self, piece: &RecordBatch) -> Result<()> {
        let context = format!("inserting into {}", self.table.table);
        let mut failed = 0;
        let mut known = None;
        loop {
            self.ensure_gate(piece).await?;
            let left = self.not_held(piece).await?;
            // Rows that a failed attempt inserted were not there before.
            let before = *known.get_or_insert(piece.num_rows() - left.num_rows());
            if left.num_rows() == 0 {
                self.held += before as u64;
                return Ok(());
            }
            match self.insert(&left).await {
                Ok(()) => {
                    self.held += before as u64;
                    return Ok(());
                }
                Err(e) if e.disposition() == Disposition::Retry => {
                    failed += 1;
                    if !Backoff::INTERACTIVE.goes_on(failed) {
                        return Err(e.context(context));
                    }
                    tracing::warn!(table = self.table.table, error = %e, "insert failed, checking which rows arrived");
                    self.gate = None;
                    let pause = Backoff::INTERACTIVE.pause(failed, rand::rng().random());
                    tokio::time::sleep(pause).await;
                }
                Err(e) => return Err(e.context(context)),
            }
        }
    }

    async fn ensure_gate(&mut self, piece: &RecordBatch) -> Result<()> {
        let schema = piece.schema();
        let names = || schema.fields().iter().map(|f| f.name());
        if !self
            .gate
            .as_ref()
            .is_some_and(|d| d.columns().iter().eq(names()))
        {
            let columns = names().cloned().collect();
            self.gate = Some(InsertGate::open(&self.tier, &self.table.table, columns).await?);
        }
        Ok(())
    }

    /// Returns the rows of a piece whose positions are not in the table.
    async fn not_held(&self, piece: &RecordBatch) -> Result<RecordBatch> {
        let times = nanos(piece, &self.time_column)?;
        let (first, last) = times
            .values()
            .iter()
            .fold((i64::MAX, i64::MIN), |(a, b), t| (a.min(*t), b.max(*t)));
        let sql = format!(
            "SELECT {EPOCH_COLUMN} AS epoch, {SEQ_COLUMN} AS seq FROM {} \
             WHERE {time} >= fromUnixTimestamp64Nano({{first:Int64}}) AND {time} <= fromUnixTimestamp64Nano({{last:Int64}})",
            self.tier.table(&self.table.table),
            time = mpsync_clickhouse::ident(&self.time_column)
        );
        let query = self
            .tier
            .query(&sql)
            .param("first", first)
            .param("last", last);
        let held = query.fetch_all::<HeldRow>().await;
        let held = held.map_err(|e| {
            self.tier
                .error(e)
                .context(format!("reading the positions in {}", self.table.table))
        })?;
        if held.is_empty() {
            return Ok(piece.clone());
        }
        let held: HashSet<(u64, u64)> = held.into_iter().map(|h| (h.epoch, h.seq)).collect();
        let numbers = |name: &str| {
            let column = piece.column_by_name(name);
            let column = column.and_then(|c| c.as_primitive_opt::<UInt64Type>());
            column.ok_or_else(|| Error::schema(format!("the archive's rows have no `{name}`")))
        };
        let (epochs, seqs) = (numbers(EPOCH_COLUMN)?, numbers(SEQ_COLUMN)?);
        let positions = epochs.values().iter().zip(seqs.values());
        let is_new: BooleanArray = positions
            .map(|(epoch, seq)| Some(!held.contains(&(*epoch, *seq))))
            .collect();
        Ok(filter_record_batch(piece, &is_new)?)
    }

    async fn insert(&self, batch: &RecordBatch) -> Result<()> {
        let Some(gate) = &self.gate else {
            return Err(Error::malformed("there is no open insert gate"));
        };
        let context = || "writing an Arrow stream";
        let mut body = Vec::with_capacity(batch.get_array_memory_size());
        let mut writer = StreamWriter::try_new(&mut body, batch.schema_ref()).context(context)?;
        writer.write(batch).context(context)?;
        writer.finish().context(context)?;
        drop(writer);
        let mut body = Bytes::from(body);
        let columns: Vec<&str> = gate.columns().iter().map(String::as_str).collect();
        let mut insert = self.tier.insert(&gate.table(), &columns, "ArrowStream");
        for (name, value) in GATE_SETTINGS {
            insert = insert.with_setting(name, value);
        }
        while !body.is_empty() {
            let piece = body.split_to(SEND_BYTES.min(body.len()));
            insert.send(piece).await?;
        }
        insert.end().await
    }
}

/// Returns the event times of a batch in nanoseconds since 1970.
fn nanos(batch: &RecordBatch, column: &str) -> Result<Int64Array> {
    let missing = || Error::schema(format!("the archive's rows have no time column `{column}`"));
    let array = batch.column_by_name(column).ok_or_else(missing)?;
    let in_nanos = DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::from("UTC")));
    let times = cast(&cast(array, &in_nanos)?, &DataType::Int64)?;
    Ok(times.as_primitive().clone())
}

/// Splits a batch into pieces, in order, none of which has too many hours.
fn by_hours(batch: &RecordBatch, column: &str) -> Result<Vec<RecordBatch>> {
    let times = nanos(batch, column)?;
    let (mut pieces, mut from, mut hours) = (Vec::new(), 0, HashSet::new());
    for (row, time) in times.values().iter().enumerate() {
        let hour = time.div_euclid(HOUR_NANOS);
        if hours.len() >= HOURS_PER_INSERT && !hours.contains(&hour) {
            pieces.push(batch.slice(from, row - from));
            from = row;
            hours.clear();
        }
        hours.insert(hour);
    }
    pieces.push(batch.slice(from, batch.num_rows() - from));
    Ok(pieces)
}

fn check_takes(table: &TableSchema, columns: &[HashedColumn]) -> Result<()> {
    let differences = table.misfits(columns);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::schema(format!(
        "table {}.{} does not fit the archived rows: {}",
        table.database,
        table.table,
        differences.join("; ")
    ))
    .with_hint("name another table with --table; mpsync creates it if it does not exist"))
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMillisecondArray;

    use super::*;

    #[test]
    fn batch_of_many_hours_is_split() {
        let hours: Vec<i64> = (0..120).map(|n| n * 3_600_000).collect();
        let times = TimestampMillisecondArray::from(hours).with_timezone("UTC");
        let batch = RecordBatch::try_from_iter([("timestamp", Arc::new(times) as _)]).unwrap();
        let rows: Vec<usize> = by_hours(&batch, "timestamp")
            .unwrap()
            .iter()
            .map(RecordBatch::num_rows)
            .collect();
        assert_eq!(rows, [50, 50, 20]);
    }
}
