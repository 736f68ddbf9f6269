//! Ingest against real servers: every message of the stream is in hot exactly once, whatever happens on the way.

use std::collections::BTreeMap;

use crate::support::daemon::World;
use crate::support::nats::publish;

/// The Nth generated trade: its values follow from N, so that each can be checked.
fn trade(n: u64) -> (String, Vec<u8>) {
    let exchange = ["binance", "okx", "deribit"][(n % 3) as usize];
    let symbol = format!("COIN{}-USDT", n % 17);
    let payload = serde_json::json!({
        "data_type": "trade", "exchange": exchange, "market_type": "spot", "symbol": symbol,
        "publisher": "unified-collector", "data_source": "marketprism",
        "ts_ms": EVENT_MILLIS + n, "collected_ts_ms": EVENT_MILLIS + n + 5,
        "trade_id": n.to_string(), "price": format!("{}.{:018}", n % 100_000, n * 7_919),
        "quantity": format!("0.{:018}", n + 1), "side": if n % 2 == 0 { "buy" } else { "sell" },
        "is_maker": n % 2 == 1, "trade_ts_ms": EVENT_MILLIS + n,
    });
    (format!("trade.{exchange}.spot.{symbol}"), payload.to_string().into_bytes())
}

/// 2025-10-09 08:53:20 UTC.
const EVENT_MILLIS: u64 = 1_760_000_000_000;

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

/// Every one of the generated trades `0..n` is there once, with its values.
async fn check_trades(world: &World, n: u64) {
    let rows: Vec<Landed> = world
        .ask(
            "SELECT trade_id, toString(exchange) AS exchange, toString(symbol) AS symbol, toString(price) AS price, \
             toString(quantity) AS quantity, toString(side) AS side, toUnixTimestamp64Milli(timestamp) AS millis, \
             stream_seq AS seq FROM hot.trades",
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
        assert_eq!(row.side, if i % 2 == 0 { "buy" } else { "sell" });
        assert_eq!(row.symbol, format!("COIN{}-USDT", i % 17));
        assert_eq!(row.millis.cast_unsigned(), EVENT_MILLIS + i);
    }
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times != 1).take(5).collect();
    let missing: Vec<_> = (0..n).filter(|i| !times.contains_key(i)).take(5).collect();
    assert!(doubled.is_empty() && missing.is_empty(), "doubled {doubled:?}, missing {missing:?}, rows {}", rows.len());
    assert_eq!(rows.len() as u64, n);
}

#[tokio::test]
async fn every_generated_trade_lands_once_with_its_values() {
    let world = World::start(&["trades"], &[]).await;
    // The daemon makes the stream.
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..20_000).map(trade)).await;
    let report = world.drain("trades").await;
    assert_eq!(report["rows"], 20_000, "{report}");
    check_trades(&world, 20_000).await;
    let again = world.drain("trades").await;
    assert_eq!(again["rows"], 0, "{again}");
    check_trades(&world, 20_000).await;
}
