//! Messages made to look like real ones: trades of about 320 bytes, books of any depth.

use std::fmt::Write as _;

use mpsync_clickhouse::{TableColumn, TableSchema};
use mpsync_core::dataset::{ColumnType, Dataset, builtin};

/// When JetStream stored the first of them.
pub(crate) const STORED_AT_MS: u64 = 1_774_590_000_000;

/// A built-in dataset.
pub(crate) fn dataset(name: &str) -> mpsync_core::error::Result<&'static Dataset> {
    builtin()
        .iter()
        .find(|d| d.name.as_str() == name)
        .ok_or_else(|| mpsync_core::error::Error::usage("no such dataset"))
}

/// The table of a built-in dataset, from the column lines of its DDL.
pub(crate) fn table(dataset: &Dataset) -> mpsync_core::error::Result<TableSchema> {
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

/// The Nth trade.
pub(crate) fn trade(i: u64) -> String {
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

/// The Nth book, with so many levels on either side.
pub(crate) fn book(i: u64, depth: u64) -> String {
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
