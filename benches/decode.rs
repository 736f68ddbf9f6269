//! How fast messages become rows, on one core: `cargo bench --bench decode`.
//!
//! It measures the decoder alone: payloads lie in memory, batches are taken and dropped; no NATS, no insert, no hashing.
//! Time is the thread's own on a processor where the system tells it, so that a busy machine does not spoil the numbers.
//! The messages are made to look like real ones: trades of about 300 bytes, books of 20 and 200 levels a side.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use mpsync::clickhouse::{TableColumn, TableSchema};
use mpsync::dataset::{ColumnType, Dataset, Epoch, Position, builtin};
use mpsync::ingest::{Decoder, MessageMeta};

const BATCH_ROWS: usize = 50_000;
const STORED_AT_MS: u64 = 1_774_590_000_000;
const MEASURE_FOR: Duration = Duration::from_secs(2);

fn main() {
    if let Err(e) = run() {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

fn run() -> mpsync::error::Result<()> {
    // `cargo bench --bench decode -- books` measures the books only.
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let trades: Vec<_> = (0..1000).map(trade).collect();
    if !wanted.contains("books") {
        measure("trades", "trades", &trades)?;
    }
    for depth in [20, 200] {
        let books: Vec<_> = (0..200).map(|i| book(i, depth)).collect();
        if !wanted.contains("trades") {
            measure(
                &format!("books, {depth} levels a side"),
                "orderbooks",
                &books,
            )?;
        }
    }
    Ok(())
}

fn measure(what: &str, dataset: &str, messages: &[String]) -> mpsync::error::Result<()> {
    let dataset = builtin()
        .iter()
        .find(|d| d.name.as_str() == dataset)
        .ok_or_else(|| mpsync::error::Error::usage("no such dataset"))?;
    let mut decoder = Decoder::new(dataset, &table(dataset)?)?;
    let batch_rows = BATCH_ROWS.min(50_000_000 / messages[0].len());
    let (mut rows, mut bytes, mut seq) = (0_u64, 0_u64, 0_u64);
    let (start, cpu_start) = (Instant::now(), cpu_nanos());
    while start.elapsed() < MEASURE_FOR {
        for message in messages.iter().cycle().take(batch_rows) {
            seq += 1;
            let meta = MessageMeta {
                subject: "trade.binance.spot.BTC-USDT",
                position: Position {
                    epoch: Epoch(1),
                    seq,
                },
                stored_at_nanos: i64::try_from(STORED_AT_MS * 1_000_000 + seq).unwrap_or(i64::MAX),
            };
            if let Err(rejection) = decoder.append(&meta, message.as_bytes()) {
                return Err(mpsync::error::Error::malformed(rejection.to_string()));
            }
            rows += 1;
            bytes += message.len() as u64;
        }
        black_box(decoder.finish()?);
    }
    let elapsed = match (cpu_start, cpu_nanos()) {
        (Some(from), Some(to)) => Duration::from_nanos(to - from),
        _ => start.elapsed(),
    };
    let secs = elapsed.as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let (rows, bytes) = (rows as f64 / secs, bytes as f64 / secs);
    println!(
        "{what}: {} bytes a message, {rows:.0} rows/s, {:.0} MB/s",
        messages[0].len(),
        bytes / 1e6
    );
    Ok(())
}

/// How long this thread has been on a processor.
fn cpu_nanos() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The table of a built-in dataset, from the column lines of its DDL.
fn table(dataset: &Dataset) -> mpsync::error::Result<TableSchema> {
    let mut columns = Vec::new();
    for line in dataset.ddl.lines().map(str::trim) {
        if let Some((name, rest)) = line.strip_prefix('`').and_then(|l| l.split_once('`')) {
            let type_text = rest.split(" CODEC(").next().unwrap_or(rest).trim();
            columns.push(TableColumn {
                name: name.to_owned(),
                column_type: ColumnType::parse(type_text)?,
                default_kind: String::new(),
            });
        }
    }
    Ok(TableSchema {
        database: "hot".into(),
        table: dataset.table.clone(),
        engine: "MergeTree".into(),
        partition_key: String::new(),
        sorting_key: String::new(),
        create_query: String::new(),
        columns,
    })
}

const SYMBOLS: [&str; 5] = [
    "BTC-USDT",
    "ETH-USDT",
    "SOL-USDT",
    "DOGE-USDT",
    "1000SHIB-USDT",
];

fn head(data_type: &str, i: u64) -> String {
    let symbol = SYMBOLS[usize::try_from(i).unwrap_or(0) % SYMBOLS.len()];
    let ts_ms = STORED_AT_MS - 1000 + i;
    format!(
        r#"{{"data_type":"{data_type}","exchange":"binance","market_type":"spot","symbol":"{symbol}","publisher":"unified-collector","ts_ms":{ts_ms},"collected_ts_ms":{},"data_source":"marketprism""#,
        ts_ms + 12
    )
}

fn trade(i: u64) -> String {
    let mut text = head("trade", i);
    let _ = write!(
        text,
        r#","trade_id":"{}","price":"{}.{:02}","quantity":"0.{:08}","side":"{}","is_maker":{},"trade_ts_ms":{}}}"#,
        3_548_213_997 + i,
        64_000 + i % 977,
        i % 100,
        i * 7919 % 100_000_000,
        if i.is_multiple_of(3) { "buy" } else { "sell" },
        !i.is_multiple_of(3),
        STORED_AT_MS - 1003 + i
    );
    text
}

fn book(i: u64, depth: u64) -> String {
    let mut text = head("orderbook", i);
    let _ = write!(text, r#","last_update_id":{}"#, 52_000_000_000 + i);
    for (side, sign) in [("bids", -1_i64), ("asks", 1)] {
        let _ = write!(text, r#","{side}":["#);
        for level in 0..depth {
            let step = i64::try_from(level).unwrap_or(0) + 1;
            let cents = 6_500_000 + sign * step * 13;
            let comma = if level == 0 { "" } else { "," };
            let quantity = (i + level) * 104_729 % 1_000_000_000;
            let _ = write!(
                text,
                r#"{comma}["{}.{:02}","{}.{:08}"]"#,
                cents / 100,
                cents % 100,
                quantity / 100_000_000,
                quantity % 100_000_000
            );
        }
        text.push(']');
    }
    text.push('}');
    text
}
