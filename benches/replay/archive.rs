//! A day of trades in an archive, without a server: rows are decoded from messages and written as chunks.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema as ArrowSchema};
use jiff::Timestamp;
use mpsync_archive::{
    Archive, ChunkSchema, ChunkWriter, FORMAT, GenerationId, Manifest, ManifestSchema,
    ManifestSource,
};
use mpsync_clickhouse::TableSchema;
use mpsync_config::Config;
use mpsync_core::dataset::{Dataset, Epoch, Position, PositionSet, Window, builtin};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::{Fingerprint, HashedColumn};
use mpsync_ingest::{Decoder, MessageMeta};

/// 2026-01-01T00:00:00Z
const DAY_START_MS: u64 = 1_767_225_600_000;
const HOURS: u64 = 24;
const HOUR_MS: u64 = 3_600_000;
const EPOCH: u64 = 1_767_000_000_000_000_000;
/// Rows that are decoded at once.
const BATCH_ROWS: usize = 50_000;

/// The archive that was made.
pub(crate) struct Made {
    pub(crate) rows: u64,
    pub(crate) chunks: usize,
    pub(crate) bytes: u64,
}

/// The time before which about so many of all messages are.
pub(crate) fn time_of(messages: u64, all: u64) -> String {
    let part = HOURS * HOUR_MS * messages.min(all) / all.max(1);
    let time = i64::try_from(DAY_START_MS + part).map(Timestamp::from_millisecond);
    time.ok()
        .and_then(std::result::Result::ok)
        .unwrap_or_default()
        .to_string()
}

/// Writes a day of trades, the same number in every hour and of every symbol.
pub(crate) async fn make(place: &Path, messages: u64, symbols: u64) -> Result<Made> {
    let settings = [(
        "MPSYNC__ARCHIVE__PATH".to_owned(),
        place.display().to_string(),
    )];
    let archive = Archive::open(&Config::load(None, settings)?.archive).await?;
    let dataset = builtin()
        .iter()
        .find(|d| d.name.as_str() == "trades")
        .ok_or_else(|| Error::usage("there are no trades"))?;
    let each = messages.div_ceil(HOURS * symbols).max(1);
    let mut made = Made {
        rows: 0,
        chunks: 0,
        bytes: 0,
    };
    for hour in 0..HOURS {
        let manifest = write_hour(&archive, dataset, hour, symbols, each).await?;
        made.rows += manifest.fingerprint.rows;
        made.chunks += manifest.chunks.len();
        made.bytes += manifest.bytes();
    }
    Ok(made)
}

async fn write_hour(
    archive: &Archive,
    dataset: &Dataset,
    hour: u64,
    symbols: u64,
    each: u64,
) -> Result<Manifest> {
    let start = DAY_START_MS + hour * HOUR_MS;
    let time = |ms: u64| {
        Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX))
            .map_err(|e| Error::malformed(e.to_string()))
    };
    let id = GenerationId {
        dataset: dataset.name.clone(),
        window: Window::new(time(start)?, time(start + HOUR_MS)?)?,
        generation: 0,
    };
    let table = TableSchema::of_ddl(dataset)?;
    let mut decoder = Decoder::new(dataset, &table)?;
    let mut writer: Option<ChunkWriter> = None;
    let mut schema: Option<ChunkSchema> = None;
    let mut text = String::new();
    for symbol in 0..symbols {
        for nth in 0..each {
            let within = nth * symbols + symbol;
            let ms = start + within * HOUR_MS / (each * symbols);
            let seq = hour * each * symbols + within + 1;
            text.clear();
            trade(symbol, ms, seq, &mut text);
            let meta = MessageMeta {
                subject: "trade.binance.spot.X",
                position: Position {
                    epoch: Epoch(EPOCH),
                    seq,
                },
                stored_at_nanos: i64::try_from(ms * 1_000_000 + 30_000_000 + seq)
                    .unwrap_or(i64::MAX),
            };
            if let Err(rejection) = decoder.append(&meta, text.as_bytes()) {
                return Err(Error::malformed(rejection.to_string()));
            }
            let is_last = symbol + 1 == symbols && nth + 1 == each;
            if decoder.rows() == BATCH_ROWS || is_last {
                let batch = with_dictionaries(&decoder.finish()?, &table)?;
                let writer = match &mut writer {
                    Some(writer) => writer,
                    empty => {
                        let schema = schema.insert(chunk_schema(&batch, &table));
                        empty.insert(ChunkWriter::new(archive, id.clone(), 1, schema.clone())?)
                    }
                };
                writer.write(batch).await?;
            }
        }
    }
    let (Some(writer), Some(schema)) = (writer, schema) else {
        return Err(Error::usage("there is no row"));
    };
    let written = writer.finish().await?;
    let rows = each * symbols;
    let seqs = (1..=rows).map(|seq| hour * rows + seq);
    let positions: PositionSet = seqs
        .map(|seq| Position {
            epoch: Epoch(EPOCH),
            seq,
        })
        .collect();
    let manifest = Manifest {
        format: FORMAT,
        writer: "bench".into(),
        dataset: dataset.name.clone(),
        window: id.window,
        generation: 0,
        revision: 0,
        attempt: 1,
        created_at: id.window.end(),
        source: ManifestSource {
            database: "hot".into(),
            table: dataset.table.clone(),
            server_version: "none".into(),
        },
        filter: None,
        schema: ManifestSchema {
            columns: schema.columns,
            time_column: schema.time_column,
            sorting_key: schema.sorting_key,
        },
        fingerprint: Fingerprint { rows, sum: 0 },
        column_sums: written.column_sums.to_hex(),
        positions,
        chunks: written.chunks,
    };
    Ok(archive.commit(manifest).await?.manifest().clone())
}

/// A trade of about 320 bytes: prices on a tick that wander, round and crooked quantities.
fn trade(symbol: u64, ms: u64, seq: u64, text: &mut String) {
    let cents = 100 * (20 + symbol * symbol * 37) + (seq / 64) % 1999;
    let hash = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let quantity = if hash.is_multiple_of(3) {
        (1 + hash / 3 % 100) * 100_000
    } else {
        1 + hash / 3 % 1_000_000_000
    };
    let _ = write!(
        text,
        r#"{{"data_type":"trade","exchange":"binance","market_type":"spot","symbol":"COIN{symbol:02}-USDT","ts_ms":{ms},"collected_ts_ms":{},"data_source":"marketprism","trade_id":"{}","price":"{}.{:02}","quantity":"{}.{:08}","side":"{}","is_maker":{},"trade_ts_ms":{ms}}}"#,
        ms + 12,
        3_548_213_997 + seq,
        cents / 100,
        cents % 100,
        quantity / 100_000_000,
        quantity % 100_000_000,
        if hash.is_multiple_of(2) {
            "buy"
        } else {
            "sell"
        },
        !hash.is_multiple_of(2),
    );
}

fn type_of(table: &TableSchema, name: &str) -> String {
    let found = table.columns.iter().find(|c| c.name == name);
    found.map_or_else(String::new, |c| c.column_type.to_string())
}

/// Columns of few values as the server sends them.
fn with_dictionaries(batch: &RecordBatch, table: &TableSchema) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let is_plain = !matches!(field.data_type(), DataType::Dictionary(..));
        let column = if is_plain && type_of(table, field.name()).starts_with("LowCardinality(") {
            let few = DataType::Dictionary(
                Box::new(DataType::Int32),
                Box::new(field.data_type().clone()),
            );
            cast(column, &few)?
        } else {
            Arc::clone(column)
        };
        let data_type = column.data_type().clone();
        fields.push(field.as_ref().clone().with_data_type(data_type));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(
        Arc::new(ArrowSchema::new(fields)),
        columns,
    )?)
}

fn chunk_schema(batch: &RecordBatch, table: &TableSchema) -> ChunkSchema {
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name());
    ChunkSchema {
        columns: names
            .map(|name| HashedColumn {
                name: name.clone(),
                type_name: type_of(table, name),
            })
            .collect(),
        arrow: batch.schema(),
        time_column: "timestamp".into(),
        sorting_key: "exchange, market_type, symbol, timestamp, stream_epoch, stream_seq".into(),
    }
}
