//! Ingest against real servers: every message of the stream is in hot exactly once, whatever happens on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::{NatsServer, publish, publish_surely};
use crate::support::until;

/// The Nth generated trade: its values follow from N, so that each can be checked.
fn trade(n: u64) -> (String, Vec<u8>) {
    let exchange = ["binance", "okx", "deribit"][(n % 3) as usize];
    let symbol = format!("COIN{}-USDT", n % 17);
    let payload = serde_json::json!({
        "data_type": "trade", "exchange": exchange, "market_type": "spot", "symbol": symbol,
        "publisher": "unified-collector", "data_source": "marketprism",
        "ts_ms": EVENT_MILLIS + n, "collected_ts_ms": EVENT_MILLIS + n + 5,
        "trade_id": n.to_string(), "price": format!("{}.{:018}", n % 100_000, n * 7_919),
        "quantity": format!("0.{:018}", n + 1), "side": if n.is_multiple_of(2) { "buy" } else { "sell" },
        "is_maker": n % 2 == 1, "trade_ts_ms": EVENT_MILLIS + n,
    });
    (
        format!("trade.{exchange}.spot.{symbol}"),
        payload.to_string().into_bytes(),
    )
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

/// Publishes the trades `0..n` in the background, in groups, pausing between them.
fn publish_slowly(
    jetstream: &async_nats::jetstream::Context,
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

#[tokio::test]
async fn a_daemon_killed_at_random_moments_loses_and_doubles_nothing() {
    const SEED: u64 = 20_251_009;
    println!("seed {SEED}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(SEED);
    let world = World::start(&["trades"], &[("MPSYNC__HOT_STORAGE__BATCH_SIZE", "700")]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let publishing = publish_slowly(&jetstream, 30_000);
    for _ in 0..12 {
        let daemon = world.daemon(&["--dataset", "trades"]);
        tokio::time::sleep(Duration::from_millis(random.random_range(20..600))).await;
        daemon.kill();
    }
    publishing.await.expect("published");
    world.drain("trades").await;
    check_trades(&world, 30_000).await;
    assert_no_doors(&world).await;
}

/// A daemon that ended in order leaves no door.
async fn assert_no_doors(world: &World) {
    let doors: Vec<String> = world
        .ask("SELECT name FROM system.tables WHERE database = 'marketprism_hot' AND name LIKE 'trades_in_%'")
        .await;
    assert!(doors.is_empty(), "{doors:?}");
}

#[tokio::test]
async fn a_second_daemon_takes_over_and_the_first_says_so() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let publishing = publish_slowly(&jetstream, 20_000);
    let mut first = world.daemon(&["--dataset", "trades"]);
    world.until_rows("trades", 1000).await;
    let mut second = world.daemon(&["--dataset", "trades"]);
    let status = first.ended().await;
    assert_eq!(status.code(), Some(1), "{}", first.log());
    assert!(
        first.log().contains("took over from life"),
        "{}",
        first.log()
    );
    publishing.await.expect("published");
    world.until_rows("trades", 20_000).await;
    second.signal(Signal::TERM);
    assert!(second.ended().await.success(), "{}", second.log());
    check_trades(&world, 20_000).await;
    assert_no_doors(&world).await;
}

#[tokio::test]
async fn a_daemon_that_slept_while_another_took_over_harms_nothing_when_it_wakes() {
    let world = World::start(&["trades"], &[("MPSYNC__HOT_STORAGE__BATCH_SIZE", "500")]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let publishing = publish_slowly(&jetstream, 30_000);
    let mut sleepers = Vec::new();
    for wait in [150, 40, 90] {
        let sleeper = world.daemon(&["--dataset", "trades"]);
        // Whoever begins its life last stays, so that it must have begun before it sleeps.
        until("its life to begin", async || {
            sleeper.log().contains("\"ingesting\"")
        })
        .await;
        let before = world.count("trades").await;
        world.until_rows("trades", (before + 500).min(29_000)).await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        sleeper.signal(Signal::STOP);
        sleepers.push(sleeper);
    }
    let mut last = world.daemon(&["--dataset", "trades"]);
    let before = world.count("trades").await;
    world.until_rows("trades", (before + 500).min(30_000)).await;
    for sleeper in &sleepers {
        sleeper.signal(Signal::CONT);
    }
    publishing.await.expect("published");
    world.until_rows("trades", 30_000).await;
    last.signal(Signal::TERM);
    assert!(last.ended().await.success(), "{}", last.log());
    // A sleeper that had nothing to insert does not know yet; it ends in order.
    for sleeper in &mut sleepers {
        let _ = sleeper.signal_if_alive(Signal::TERM);
        sleeper.ended().await;
    }
    world.drain("trades").await;
    check_trades(&world, 30_000).await;
}

#[tokio::test]
async fn a_bad_message_becomes_one_dead_letter_and_the_rest_of_its_batch_lands() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let bad = |payload: &str| {
        (
            "trade.binance.spot.BAD".to_owned(),
            payload.as_bytes().to_vec(),
        )
    };
    let mut messages: Vec<_> = (0..1000).map(trade).collect();
    messages.insert(500, bad("{\"price\": \"1\""));
    messages.insert(700, bad("{\"ts_ms\": 1760000000000, \"price\": \"1e-40\", \"quantity\": \"1\", \"trade_id\": \"x\", \"side\": \"buy\", \"data_source\": \"d\"}"));
    messages.push(bad(""));
    publish(&jetstream, messages).await;
    for round in 0..3 {
        if round > 0 {
            // As if no acknowledgement had ever arrived: everything is delivered again.
            forget_acknowledgements(&jetstream, 1).await;
        }
        let report = world.drain("trades").await;
        let rows = if round == 0 { 1000 } else { 0 };
        assert_eq!(report["rows"], rows, "{report}");
    }
    check_trades(&world, 1000).await;
    let mut letters = jetstream
        .get_stream("MPSYNC_DEAD_LETTERS")
        .await
        .expect("the stream");
    assert_eq!(letters.info().await.expect("its state").state.messages, 3);
    let first = letters.get_raw_message(1).await.expect("a dead letter");
    assert_eq!(first.payload.as_ref(), b"{\"price\": \"1\"");
    let header = |name: &str| first.headers.get(name).map(|v| v.as_str().to_owned());
    assert_eq!(header("Mpsync-Reason").as_deref(), Some("not_json"));
    assert_eq!(header("Mpsync-Sequence").as_deref(), Some("501"));
    assert_eq!(
        header("Mpsync-Subject").as_deref(),
        Some("trade.binance.spot.BAD")
    );
    let second = letters.get_raw_message(2).await.expect("a dead letter");
    assert_eq!(
        second
            .headers
            .get("Mpsync-Reason")
            .map(async_nats::HeaderValue::as_str),
        Some("excess_digits")
    );
}

/// Sets the consumer of trades back.
async fn forget_acknowledgements(jetstream: &async_nats::jetstream::Context, to: u64) {
    let stream = jetstream
        .get_stream("MARKET_DATA")
        .await
        .expect("the stream");
    stream
        .reset_consumer("mpsync-trades", Some(to))
        .await
        .expect("it is set back");
}

#[tokio::test]
async fn rows_that_the_table_refuses_become_dead_letters_one_by_one() {
    let world = World::start(&["trades"], &[]).await;
    world
        .hot()
        .execute("ALTER TABLE marketprism_hot.trades ADD CONSTRAINT odd CHECK trade_id NOT IN ('77', '1234', '1999')")
        .await
        .expect("the constraint is made");
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..2000).map(trade)).await;
    let report = world.drain("trades").await;
    assert_eq!(report["rows"], 1997, "{report}");
    assert_eq!(
        report["dead_letters"]["refused_by_clickhouse"], 3,
        "{report}"
    );
    let letters = jetstream
        .get_stream("MPSYNC_DEAD_LETTERS")
        .await
        .expect("the stream");
    let first = letters.get_raw_message(1).await.expect("a dead letter");
    assert_eq!(first.payload, trade(77).1);
}

#[tokio::test]
async fn engine_and_nats_server_may_die_in_the_middle() {
    let mut world = World::start(&["trades"], &[("MPSYNC__HOT_STORAGE__BATCH_SIZE", "1000")]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let publishing = publish_slowly(&jetstream, 30_000);
    let mut daemon = world.daemon(&["--dataset", "trades"]);
    for round in 1..=2 {
        world.until_rows("trades", round * 4000).await;
        world.clickhouse.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.clickhouse.launch().await;
        world.until_rows("trades", round * 4000 + 2000).await;
        world.nats.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.nats.launch().await;
    }
    publishing.await.expect("published");
    world.until_rows("trades", 30_000).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.success(), "{}", daemon.log());
    check_trades(&world, 30_000).await;
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

#[tokio::test]
async fn a_stream_that_lost_its_tail_begins_a_new_epoch() {
    let mut world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..1000).map(trade)).await;
    world.drain("trades").await;
    world.nats.kill();
    let copy = tempfile::tempdir().expect("a folder");
    copy_folder(&world.nats.store(), copy.path());
    world.nats.launch().await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (1000..1600).map(trade)).await;
    world.drain("trades").await;
    // The server comes back as it was, and issues the sequences from 1001 on to other messages.
    world.nats.kill();
    std::fs::remove_dir_all(world.nats.store()).expect("removed");
    copy_folder(copy.path(), &world.nats.store());
    world.nats.launch().await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (1600..2500).map(trade)).await;
    let report = world.drain("trades").await;
    assert_eq!(report["rewinds"], 1, "{report}");
    check_trades(&world, 2500).await;
    let epochs: Vec<(u64, u64, u64)> = world
        .ask("SELECT min(stream_seq), max(stream_seq), count() FROM hot.trades GROUP BY stream_epoch ORDER BY stream_epoch")
        .await;
    assert_eq!(epochs, [(1, 1600, 1600), (1001, 1900, 900)]);
    // The next start knows.
    publish(&jetstream, (2500..2600).map(trade)).await;
    let report = world.drain("trades").await;
    assert_eq!(
        (&report["rewinds"], &report["rows"]),
        (&0.into(), &100.into()),
        "{report}"
    );
    check_trades(&world, 2600).await;
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[tokio::test]
async fn a_stream_that_was_made_anew_is_another_stream() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..500).map(trade)).await;
    world.drain("trades").await;
    jetstream
        .delete_stream("MARKET_DATA")
        .await
        .expect("deleted");
    world.drain("trades").await;
    publish(&jetstream, (500..900).map(trade)).await;
    world.drain("trades").await;
    check_trades(&world, 900).await;
}

#[tokio::test]
async fn where_each_message_is_acknowledged_by_itself_a_killed_daemon_loses_and_doubles_nothing() {
    let world = World::start(
        &["trades"],
        &[
            ("MPSYNC__INGEST__ACK_WAIT_SECONDS", "2"),
            ("MPSYNC__HOT_STORAGE__BATCH_SIZE", "500"),
        ],
    )
    .await;
    let jetstream = world.nats.jetstream().await;
    // Interest retention forgets what is acknowledged: one acknowledgement for all is out of the question.
    jetstream
        .create_stream(async_nats::jetstream::stream::Config {
            name: "MARKET_DATA".into(),
            subjects: mpsync::dataset::builtin()
                .iter()
                .flat_map(|d| d.subjects.clone())
                .collect(),
            retention: async_nats::jetstream::stream::RetentionPolicy::Interest,
            ..Default::default()
        })
        .await
        .expect("made");
    world.drain("trades").await;
    let publishing = publish_slowly(&jetstream, 10_000);
    for wait in [200, 400, 300] {
        let daemon = world.daemon(&["--dataset", "trades"]);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        daemon.kill();
    }
    publishing.await.expect("published");
    world.drain("trades").await;
    check_trades(&world, 10_000).await;
}

#[tokio::test]
async fn what_the_stream_dropped_before_it_was_ingested_is_counted_as_a_gap() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..100).map(trade)).await;
    world.drain("trades").await;
    publish(&jetstream, (100..300).map(trade)).await;
    let stream = jetstream
        .get_stream("MARKET_DATA")
        .await
        .expect("the stream");
    stream.purge().sequence(251).await.expect("purged");
    let report = world.drain("trades").await;
    assert_eq!(report["gap_sequences"], 150, "{report}");
    assert_eq!(world.count("trades").await, 150);
}

#[tokio::test]
async fn a_table_with_other_columns_is_refused_with_each_difference() {
    let world = World::start(&["trades"], &[]).await;
    let hot = world.hot();
    hot.execute("ALTER TABLE marketprism_hot.trades DROP COLUMN side")
        .await
        .expect("dropped");
    hot.execute("ALTER TABLE marketprism_hot.trades ADD COLUMN venue String")
        .await
        .expect("added");
    let output = world.run(&["--dataset", "trades"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("`side` is missing") && said.contains("`venue`"),
        "{said}"
    );
    let output = world.run(&["--dataset", "orderbooks"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no table marketprism_hot.orderbooks") && said.contains("schema apply"),
        "{said}"
    );
}

#[tokio::test]
async fn no_server_and_a_wrong_password_are_said_at_once() {
    let (nats, clickhouse) = tokio::join!(NatsServer::start(), ClickHouse::start_with(true));
    let mut world = World::without_tables(nats, clickhouse);
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    world.set("MPSYNC__HOT_STORAGE__CLICKHOUSE_PASSWORD", "wrong");
    let output = world.run(&["--dataset", "trades"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("password"), "{}", said(&output));
    world.clickhouse.kill();
    let output = world.run(&["--dataset", "trades"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("no answer from ClickHouse"),
        "{}",
        said(&output)
    );
    let mut world = World::start(&["trades"], &[]).await;
    world.nats.kill();
    let output = world.run(&["--dataset", "trades"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("connecting to NATS"),
        "{}",
        said(&output)
    );
    world.set("MPSYNC__HOT_STORAGE__BATCH_SIZE", "many");
    let output = world.run(&["--dataset", "trades"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

/// How fast the whole road from stream to table is; prints its numbers.
#[tokio::test]
#[ignore = "takes a while; run it by name with --ignored --nocapture"]
async fn throughput_of_a_backlog() {
    const MESSAGES: u64 = 500_000;
    let world = World::start(&["trades"], &[("MPSYNC__HOT_STORAGE__FLUSH_INTERVAL", "1")]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..MESSAGES).map(trade)).await;
    let begun = std::time::Instant::now();
    let report = world.drain("trades").await;
    let took = begun.elapsed();
    let a_second = u128::from(MESSAGES) * 1000 / took.as_millis().max(1);
    println!("{MESSAGES} trades in {took:.2?}, {a_second} a second; {report}");
    assert_eq!(world.count("trades").await, MESSAGES);
}
