//! Generated trades whose values follow from their number, so that each can be checked wherever it landed.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream;

use super::daemon::World;
use super::nats::publish_surely;

/// The Nth generated trade: its values follow from N, so that each can be checked.
pub(crate) fn trade(n: u64) -> (String, Vec<u8>) {
    trade_at(EVENT_MILLIS, n)
}

/// The same where the first one happened at this time, in milliseconds since 1970.
pub(crate) fn trade_at(first_millis: u64, n: u64) -> (String, Vec<u8>) {
    let exchange = ["binance", "okx", "deribit"][(n % 3) as usize];
    let symbol = format!("COIN{}-USDT", n % 17);
    let payload = serde_json::json!({
        "data_type": "trade", "exchange": exchange, "market_type": "spot", "symbol": symbol,
        "publisher": "unified-collector", "data_source": "marketprism",
        "ts_ms": first_millis + n, "collected_ts_ms": first_millis + n + 5,
        "trade_id": n.to_string(), "price": format!("{}.{:018}", n % 100_000, n * 7_919),
        "quantity": format!("0.{:018}", n + 1), "side": if n.is_multiple_of(2) { "buy" } else { "sell" },
        "is_maker": n % 2 == 1, "trade_ts_ms": first_millis + n,
    });
    (
        format!("trade.{exchange}.spot.{symbol}"),
        payload.to_string().into_bytes(),
    )
}

/// 2025-10-09 08:53:20 UTC.
pub(crate) const EVENT_MILLIS: u64 = 1_760_000_000_000;

#[derive(Debug, PartialEq, Eq, clickhouse::Row, serde::Deserialize)]
struct Landed {
    trade_id: String,
    exchange: String,
    symbol: String,
    price: String,
    quantity: String,
    side: String,
    millis: i64,
    seq: u64,
}

/// Every one of the generated trades `0..n` is in hot once, with its values.
pub(crate) async fn check_trades(world: &World, n: u64) {
    check_trades_in(world, "hot.trades", n).await;
}

/// Every one of the generated trades `0..n` is in this table of hot's server once, with its values.
pub(crate) async fn check_trades_in(world: &World, table: &str, n: u64) {
    let rows: Vec<Landed> = world
        .ask(
            &format!("SELECT trade_id, toString(exchange) AS exchange, toString(symbol) AS symbol, toString(price) AS price, \
             toString(quantity) AS quantity, toString(side) AS side, toUnixTimestamp64Milli(timestamp) AS millis, \
             stream_seq AS seq FROM {table}"),
        )
        .await;
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    for row in &rows {
        let i: u64 = row.trade_id.parse().expect("a number");
        *times.entry(i).or_default() += 1;
        let decimal = |whole: u64, digits: u64| {
            let text = format!("{whole}.{digits:018}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        assert_eq!(row.price, decimal(i % 100_000, i * 7_919));
        assert_eq!(row.quantity, decimal(0, i + 1));
        assert_eq!(row.side, if i.is_multiple_of(2) { "buy" } else { "sell" });
        assert_eq!(row.symbol, format!("COIN{}-USDT", i % 17));
        assert_eq!(row.millis.cast_unsigned(), EVENT_MILLIS + i);
    }
    let doubled: Vec<_> = times
        .iter()
        .filter(|(_, times)| **times != 1)
        .take(5)
        .collect();
    let missing: Vec<_> = (0..n).filter(|i| !times.contains_key(i)).take(5).collect();
    assert!(
        doubled.is_empty() && missing.is_empty(),
        "doubled {doubled:?}, missing {missing:?}, rows {}",
        rows.len()
    );
    assert_eq!(rows.len() as u64, n);
}

/// Publishes the trades `0..n` in the background, in groups, pausing between them.
pub(crate) fn publish_slowly(
    jetstream: &jetstream::Context,
    n: u64,
) -> tokio::task::JoinHandle<()> {
    let jetstream = jetstream.clone();
    tokio::spawn(async move {
        for from in (0..n).step_by(500) {
            // While the server restarts, publishing fails; the message id makes a second try safe.
            publish_surely(
                &jetstream,
                (from..(from + 500).min(n)).map(|i| (i, trade(i))),
            )
            .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// A daemon that ended in order leaves no door.
pub(crate) async fn assert_no_doors(world: &World) {
    let gates: Vec<String> = world
        .ask("SELECT name FROM system.tables WHERE database = 'marketprism_hot' AND name LIKE 'trades_in_%'")
        .await;
    assert!(gates.is_empty(), "{gates:?}");
}
