//! Rows equal the published messages, value by value.

use std::collections::BTreeMap;

use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::trades::{EVENT_MILLIS, check_trades, trade};

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

#[tokio::test]
async fn every_real_message_lands_with_its_levels_and_prices() {
    let world = World::start(&["trades", "orderbooks", "open_interests"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let real = real_messages();
    publish(
        &jetstream,
        real.iter()
            .map(|m| (m.subject.clone(), m.payload.to_string().into_bytes())),
    )
    .await;
    let output = world
        .run(&["--drain", "--dataset", "trades,orderbooks,open_interests"])
        .await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let books: Vec<Book> = world
        .ask(
            "SELECT stream_seq, arrayMap(l -> (toString(l.1), toString(l.2)), bids) AS bids, \
             arrayMap(l -> (toString(l.1), toString(l.2)), asks) AS asks FROM hot.orderbooks",
        )
        .await;
    let mut books: BTreeMap<u64, _> = books
        .into_iter()
        .map(|b| (b.stream_seq, (b.bids, b.asks)))
        .collect();
    let trades: Vec<(u64, String, String)> = world
        .ask("SELECT stream_seq, toString(price), toString(quantity) FROM hot.trades")
        .await;
    let mut trades: BTreeMap<u64, _> = trades
        .into_iter()
        .map(|(seq, p, q)| (seq, (p, q)))
        .collect();
    let interests: Vec<(u64, String)> = world
        .ask("SELECT stream_seq, assumeNotNull(toString(open_interest_value)) FROM hot.open_interests")
        .await;
    let mut interests: BTreeMap<u64, String> = interests.into_iter().collect();
    for (seq, message) in (1..).zip(&real) {
        let p = &message.payload;
        match p["data_type"].as_str().expect("a kind") {
            "orderbook" => {
                let (bids, asks) = books
                    .remove(&seq)
                    .unwrap_or_else(|| panic!("message {seq} is missing"));
                assert_eq!(bids, levels(&p["bids"]), "message {seq}");
                assert_eq!(asks, levels(&p["asks"]), "message {seq}");
            }
            "trade" => {
                let found = trades
                    .remove(&seq)
                    .unwrap_or_else(|| panic!("message {seq} is missing"));
                assert_eq!(
                    found,
                    (plain(&p["price"]), plain(&p["quantity"])),
                    "message {seq}"
                );
            }
            _ => {
                let found = interests
                    .remove(&seq)
                    .unwrap_or_else(|| panic!("message {seq} is missing"));
                assert_eq!(found, plain(&p["open_interest_value"]), "message {seq}");
            }
        }
    }
    assert!(
        books.is_empty() && trades.is_empty() && interests.is_empty(),
        "rows that no message made"
    );
}

#[derive(clickhouse::Row, serde::Deserialize)]
struct Book {
    stream_seq: u64,
    bids: Vec<(String, String)>,
    asks: Vec<(String, String)>,
}

#[derive(serde::Deserialize)]
struct Recorded {
    subject: String,
    payload: serde_json::Value,
}

fn real_messages() -> Vec<Recorded> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the fixtures")
        .map(|f| f.expect("a file").path())
        .collect();
    files.sort();
    let lines = files
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e == "jsonl"))
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).expect("text");
            text.lines()
                .map(|l| serde_json::from_str(l).expect("a message"))
                .collect::<Vec<Recorded>>()
        });
    lines.collect()
}

fn levels(side: &serde_json::Value) -> Vec<(String, String)> {
    let level = |l: &serde_json::Value| match l {
        serde_json::Value::Array(pair) => (plain(&pair[0]), plain(&pair[1])),
        object => (plain(&object["price"]), plain(&object["quantity"])),
    };
    side.as_array().expect("levels").iter().map(level).collect()
}

/// A number as ClickHouse writes a decimal: without trailing zeros. The fixtures have no exponents.
fn plain(number: &serde_json::Value) -> String {
    let text = match number {
        serde_json::Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[tokio::test]
async fn a_history_of_500_hours_fits_in_one_batch() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let spread = (0..2000_u64).map(|n| {
        let (subject, payload) = trade(n);
        let mut payload: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
        payload["ts_ms"] = (EVENT_MILLIS - (n * 37 % 500) * 3_600_000).into();
        (subject, payload.to_string().into_bytes())
    });
    publish(&jetstream, spread).await;
    let report = world.drain("trades").await;
    assert_eq!(report["rows"], 2000, "{report}");
    let found: Vec<(u64, u64)> = world
        .ask("SELECT uniqExact(toStartOfHour(timestamp)), uniqExact(stream_seq) FROM hot.trades")
        .await;
    assert_eq!(found, [(500, 2000)]);
    assert_eq!(world.count("trades").await, 2000);
}
