//! Rows and manifests for tests of the archive. `mpsync-archive` compiles this file into its own unit tests, too: there,
//! `mpsync_archive` is the crate itself.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "generated numbers are small"
)]

use std::path::Path as FilePath;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, BooleanArray, Decimal128Array,
    DictionaryArray, RecordBatch, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Int32Type, UInt64Type};
use rand::{RngExt as _, SeedableRng as _};

use mpsync_archive::{
    Archive, ArchiveConfig, ArchivePlace, Chunk, ChunkSchema, ChunkWriter, ColumnSums, Committed,
    EncryptionKeys, FORMAT, GenerationId, Manifest, ManifestSchema, ManifestSource,
};
use mpsync_core::dataset::{Epoch, Position};
use mpsync_core::error::Result;
use mpsync_core::fingerprint::{Fingerprint, HashedColumn};

/// The epoch of all rows.
pub const EPOCH: u64 = 1_767_000_000_000_000_000;

/// Returns a configuration of small chunks of small row groups.
pub fn small(path: &FilePath) -> ArchiveConfig {
    ArchiveConfig {
        place: ArchivePlace::Folder(path.to_owned()),
        upload_bytes_per_second: None,
        zstd_level: 3,
        chunk_rows: 1000,
        chunk_bytes: 1 << 20,
        row_group_rows: 400,
        verify_after_write: true,
        retention_days: None,
        encryption: EncryptionKeys::default(),
    }
}

/// Returns the defaults of the configuration.
pub fn usual(path: &FilePath) -> ArchiveConfig {
    ArchiveConfig {
        chunk_rows: 4_000_000,
        chunk_bytes: 256 << 20,
        row_group_rows: 131_072,
        ..small(path)
    }
}

/// Returns a generation of the one window that is used, 05:00 to 06:00.
pub fn id(generation: u32) -> GenerationId {
    GenerationId {
        dataset: "trades".parse().unwrap(),
        window: "2026-01-01T05".parse().unwrap(),
        generation,
    }
}

struct Trade {
    symbol: usize,
    at: i64,
    seq: u64,
    id: u64,
    price: i64,
    quantity: i64,
    buys: bool,
    maker: bool,
    latency: i64,
}

const SYMBOLS: [(&str, &str); 12] = [
    ("binance_derivatives", "ADA-USDT"),
    ("binance_derivatives", "BTC-USDT"),
    ("binance_derivatives", "ETH-USDT"),
    ("binance_derivatives", "SOL-USDT"),
    ("binance_spot", "BTC-USDT"),
    ("binance_spot", "DOGE-USDT"),
    ("binance_spot", "ETH-USDT"),
    ("binance_spot", "XRP-USDT"),
    ("okx_derivatives", "BTC-USDT"),
    ("okx_derivatives", "ETH-USDT"),
    ("okx_spot", "BTC-USDT"),
    ("okx_spot", "ETH-USDT"),
];

/// Returns trades of one hour as ClickHouse sends them, in the hot table's order: random walks on a tick, round and odd
/// quantities, bursts within one millisecond.
pub fn trades(seed: u64, rows: usize) -> RecordBatch {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let start = id(0).window.start().as_millisecond();
    let mut at = 0.0;
    let step = 3_500_000.0 / rows as f64;
    let mut prices: Vec<i64> = (0..SYMBOLS.len())
        .map(|_| rng.random_range(2_000..7_000_000))
        .collect();
    let mut ids: Vec<u64> = (0..SYMBOLS.len())
        .map(|_| rng.random_range(1_000_000..6_000_000_000))
        .collect();
    let mut trades: Vec<Trade> = (0..rows)
        .map(|row| {
            at += if rng.random_bool(0.4) {
                0.0
            } else {
                rng.random::<f64>() * step * 3.0
            };
            // Some symbols are traded far more than others.
            let symbol = (rng.random::<f64>().powi(2) * SYMBOLS.len() as f64) as usize;
            prices[symbol] = (prices[symbol] + rng.random_range(-3..=3)).max(1);
            ids[symbol] += 1;
            let quantity = if rng.random_bool(0.3) {
                rng.random_range(1..100) * 1000
            } else {
                (10.0_f64.powf(rng.random::<f64>() * 5.0)) as i64 + 1
            };
            Trade {
                symbol,
                at: start + at.min(3_599_999.0) as i64,
                seq: 1000 + row as u64,
                id: ids[symbol],
                price: prices[symbol],
                quantity,
                buys: rng.random(),
                maker: rng.random(),
                latency: rng.random_range(2_000_000..60_000_000),
            }
        })
        .collect();
    trades.sort_by_key(|t| (SYMBOLS[t.symbol], t.at, t.seq));
    to_batch(&trades)
}

fn to_batch(trades: &[Trade]) -> RecordBatch {
    let dictionary = |values: Vec<&str>, keys: Vec<i32>| -> ArrayRef {
        let values = BinaryArray::from_iter_values(values);
        Arc::new(DictionaryArray::<Int32Type>::new(
            keys.into(),
            Arc::new(values),
        ))
    };
    // Each value once, as a server's dictionary has it.
    let by_symbol = |value: fn(usize) -> &'static str| {
        let mut values: Vec<_> = (0..SYMBOLS.len()).map(value).collect();
        values.sort_unstable();
        values.dedup();
        let key = |t: &Trade| values.binary_search(&value(t.symbol)).unwrap() as i32;
        let keys = trades.iter().map(key).collect();
        dictionary(values, keys)
    };
    let decimal = |value: fn(&Trade) -> i128| -> ArrayRef {
        let values = Decimal128Array::from_iter_values(trades.iter().map(value));
        Arc::new(values.with_precision_and_scale(38, 18).unwrap())
    };
    let millis = |value: fn(&Trade) -> Option<i64>| -> ArrayRef {
        Arc::new(
            trades
                .iter()
                .map(value)
                .collect::<TimestampMillisecondArray>()
                .with_timezone("UTC"),
        )
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("timestamp", millis(|t| Some(t.at))),
        ("exchange", by_symbol(|s| SYMBOLS[s].0)),
        (
            "market_type",
            by_symbol(|s| {
                if SYMBOLS[s].0.ends_with("spot") {
                    "spot"
                } else {
                    "perpetual"
                }
            }),
        ),
        ("symbol", by_symbol(|s| SYMBOLS[s].1)),
        ("data_source", by_symbol(|_| "marketprism")),
        (
            "trade_id",
            Arc::new(BinaryArray::from_iter_values(
                trades.iter().map(|t| t.id.to_string()),
            )),
        ),
        (
            "price",
            decimal(|t| i128::from(t.price) * 10_000_000_000_000_000),
        ),
        (
            "quantity",
            decimal(|t| i128::from(t.quantity) * 10_000_000_000_000),
        ),
        (
            "side",
            dictionary(
                vec!["buy", "sell"],
                trades.iter().map(|t| i32::from(t.buys)).collect(),
            ),
        ),
        (
            "is_maker",
            Arc::new(
                trades
                    .iter()
                    .map(|t| Some(t.maker))
                    .collect::<BooleanArray>(),
            ),
        ),
        ("trade_time", millis(|t| Some(t.at))),
        (
            "collected_at",
            millis(|t| (t.id % 50 != 0).then_some(t.at + t.latency / 1_000_000 - 1)),
        ),
        (
            "created_at",
            Arc::new(
                TimestampNanosecondArray::from_iter_values(
                    trades.iter().map(|t| t.at * 1_000_000 + t.latency),
                )
                .with_timezone("UTC"),
            ),
        ),
        (
            "stream_epoch",
            Arc::new(UInt64Array::from_value(EPOCH, trades.len())),
        ),
        (
            "stream_seq",
            Arc::new(UInt64Array::from_iter_values(trades.iter().map(|t| t.seq))),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Returns the schema of [`trades`].
pub fn trades_schema(batch: &RecordBatch) -> ChunkSchema {
    let types = [
        "DateTime64(3, 'UTC')",
        "LowCardinality(String)",
        "LowCardinality(String)",
        "LowCardinality(String)",
        "LowCardinality(String)",
        "String",
        "Decimal(38, 18)",
        "Decimal(38, 18)",
        "LowCardinality(String)",
        "Nullable(Bool)",
        "Nullable(DateTime64(3, 'UTC'))",
        "Nullable(DateTime64(3, 'UTC'))",
        "DateTime64(9, 'UTC')",
        "UInt64",
        "UInt64",
    ];
    ChunkSchema {
        arrow: batch.schema(),
        columns: batch
            .schema()
            .fields()
            .iter()
            .zip(types)
            .map(|(field, type_name)| HashedColumn {
                name: field.name().clone(),
                type_name: type_name.into(),
            })
            .collect(),
        time_column: "timestamp".into(),
        sorting_key: "exchange, market_type, symbol, timestamp, stream_epoch, stream_seq".into(),
    }
}

/// Writes a batch as the chunks of a generation.
pub async fn write(
    archive: &Archive,
    id: &GenerationId,
    attempt: u64,
    batch: &RecordBatch,
) -> Result<Vec<Chunk>> {
    let mut writer = ChunkWriter::new(archive, id.clone(), attempt, trades_schema(batch))?;
    // Pieces that do not divide any limit.
    for offset in (0..batch.num_rows()).step_by(333) {
        let rows = 333.min(batch.num_rows() - offset);
        writer.write(batch.slice(offset, rows)).await?;
    }
    Ok(writer.finish().await?.chunks)
}

/// Returns the manifest of chunks that hold a batch of trades.
pub fn manifest(
    id: &GenerationId,
    attempt: u64,
    batch: &RecordBatch,
    chunks: Vec<Chunk>,
) -> Manifest {
    let schema = trades_schema(batch);
    let seqs = batch.column_by_name("stream_seq").unwrap();
    let positions = seqs
        .as_primitive::<UInt64Type>()
        .values()
        .iter()
        .map(|&seq| Position {
            epoch: Epoch(EPOCH),
            seq,
        });
    let mut sums = ColumnSums::default();
    sums.add(batch).unwrap();
    Manifest {
        format: FORMAT,
        writer: "mpsync test".into(),
        dataset: id.dataset.clone(),
        window: id.window,
        generation: id.generation,
        revision: 0,
        attempt,
        created_at: id.window.end(),
        source: ManifestSource {
            database: "hot".into(),
            table: "trades".into(),
            server_version: "26.7".into(),
        },
        filter: None,
        schema: ManifestSchema {
            columns: schema.columns,
            time_column: schema.time_column,
            sorting_key: schema.sorting_key,
        },
        fingerprint: Fingerprint {
            rows: batch.num_rows() as u64,
            sum: seqs.len() as u64,
        },
        column_sums: sums.to_hex(),
        positions: positions.collect(),
        chunks,
    }
}

/// Writes and commits a generation of `rows` trades.
pub async fn generation(archive: &Archive, number: u32, rows: usize) -> Manifest {
    let batch = trades(u64::from(number), rows);
    let id = id(number);
    let chunks = write(archive, &id, 1, &batch).await.unwrap();
    let manifest = manifest(&id, 1, &batch, chunks);
    match archive.commit(manifest).await.unwrap() {
        Committed::Won(manifest) => manifest,
        Committed::Lost(_) => panic!("no other attempt was made"),
    }
}
