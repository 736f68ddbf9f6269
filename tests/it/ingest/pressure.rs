//! Too much at once, and a table that takes nothing: memory is bounded, others go on, nothing is lost.

use async_nats::jetstream;
use rustix::process::Signal;

use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::trades::{EVENT_MILLIS, check_trades, trade};
use crate::support::until;

/// A book with so many levels a side, about 60 bytes each.
fn book(n: u64, levels: u64) -> (String, Vec<u8>) {
    let side = |from: u64, step: i64| -> Vec<[String; 2]> {
        (0..levels)
            .map(|level| {
                let price = from.cast_signed().wrapping_add(step * level.cast_signed());
                [
                    format!("{price}.{:08}", n * 7 + level),
                    format!("{}.{:08}", level % 50, n * 13 + level),
                ]
            })
            .collect()
    };
    let payload = serde_json::json!({
        "data_type": "orderbook", "exchange": "okx", "market_type": "spot", "symbol": "BTC-USDT",
        "data_source": "marketprism", "ts_ms": EVENT_MILLIS + n, "last_update_id": n,
        "bids": side(60_000, -1), "asks": side(60_001, 1),
    });
    (
        "orderbook.okx.spot.BTC-USDT".to_owned(),
        payload.to_string().into_bytes(),
    )
}

/// The peak of a process's resident memory, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("its peak");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") / 1024
}

/// Waits until the server has delivered no further message for a while; gives how many it has.
async fn delivered_at_most(jetstream: &jetstream::Context) -> u64 {
    const LOOKS: u32 = 20;
    let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
    let (mut delivered, mut unchanged) = (0, 0);
    until("fetching to pause", async || {
        let info = stream.consumer_info("mpsync-orderbooks").await;
        let now = info.expect("there").delivered.stream_sequence;
        unchanged = if now == delivered { unchanged + 1 } else { 0 };
        delivered = now;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        unchanged >= LOOKS
    })
    .await;
    delivered
}

/// An ingest that exceeds its limit holds the whole backlog: far more than half of it. Half is many times the limit, so that
/// neither an allocator that returns no memory nor a slower machine comes near it.
#[tokio::test]
async fn memory_stays_bounded_while_the_engine_is_behind_a_backlog_of_deep_books() {
    const BOOKS: u64 = 30_000;
    const LIMIT_MIB: u64 = 16;
    let limit = (LIMIT_MIB << 20).to_string();
    let settings = [
        ("MPSYNC__INGEST__MEMORY_LIMIT", limit.as_str()),
        ("MPSYNC__INGEST__BATCH_BYTES", "8388608"),
        ("MPSYNC__HOT_STORAGE__REQUEST_TIMEOUT_SECONDS", "300"),
    ];
    let world = World::start(&["orderbooks"], &settings).await;
    world.drain("orderbooks").await;
    let jetstream = world.nats.jetstream().await;
    let deep = String::from_utf8(book(0, 200).1).expect("JSON");
    let backlog_mib = (deep.len() as u64 * BOOKS) >> 20;
    let numbered = |n: u64| {
        let (of_first, own) = ("\"last_update_id\":0", format!("\"last_update_id\":{n}"));
        let payload = deep.replacen(of_first, &own, 1).into_bytes();
        ("orderbook.okx.spot.BTC-USDT".to_owned(), payload)
    };
    publish(&jetstream, (0..BOOKS).map(numbered)).await;
    let mut daemon = world.daemon(&["--dataset", "orderbooks"]);
    world.until_rows("orderbooks", 500).await;
    // Nothing lands for a while: what is fetched meanwhile must not grow.
    world.clickhouse.signal(Signal::STOP);
    let delivered = delivered_at_most(&jetstream).await;
    let stopped = peak_mib(daemon.pid());
    world.clickhouse.signal(Signal::CONT);
    world.until_rows("orderbooks", BOOKS).await;
    let peak = peak_mib(daemon.pid());
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.code() == Some(143), "{}", daemon.log());
    println!(
        "a backlog of {backlog_mib} MiB, a limit of {LIMIT_MIB} MiB: {delivered} of {BOOKS} books delivered and a peak of \
         {stopped} MiB while the engine slept, a peak of {peak} MiB in all"
    );
    assert!(delivered < BOOKS / 2, "{delivered} books were fetched");
    assert!(
        peak < backlog_mib / 2,
        "a peak of {peak} MiB with a backlog of {backlog_mib} MiB"
    );
    let distinct: Vec<(u64, u64)> = world
        .ask(
            "SELECT uniqExact(stream_seq), uniqExact(last_update_id) FROM hot.orderbooks \
             WHERE length(bids) = 200 AND length(asks) = 200",
        )
        .await;
    assert_eq!(distinct, [(BOOKS, BOOKS)]);
    assert_eq!(world.count("orderbooks").await, BOOKS);
}

#[tokio::test]
async fn a_table_that_takes_nothing_does_not_stop_the_others_and_goes_on_when_it_is_back() {
    let world = World::start(&["trades", "orderbooks"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let mut daemon = world.daemon(&["--dataset", "trades,orderbooks"]);
    publish(&jetstream, (0..100).map(|n| book(n, 3))).await;
    world.until_rows("orderbooks", 100).await;
    let hot = world.hot();
    let rename = async |from: &str, to: &str| {
        let sql = format!("RENAME TABLE marketprism_hot.{from} TO marketprism_hot.{to}");
        hot.execute(&sql).await.expect("renamed");
    };
    rename("orderbooks", "away").await;
    publish(&jetstream, (100..300).map(|n| book(n, 3))).await;
    publish(&jetstream, (0..3000).map(trade)).await;
    until("the stalled dataset to be named", async || {
        daemon.log().contains("this dataset is stalled")
    })
    .await;
    world.until_rows("trades", 3000).await;
    publish(&jetstream, (3000..4000).map(trade)).await;
    world.until_rows("trades", 4000).await;
    rename("away", "orderbooks").await;
    world.until_rows("orderbooks", 300).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.code() == Some(143), "{}", daemon.log());
    check_trades(&world, 4000).await;
    let books: Vec<(u64, u64)> = world
        .ask("SELECT count(), uniqExact(stream_seq) FROM hot.orderbooks")
        .await;
    assert_eq!(books, [(300, 300)]);
}

#[tokio::test]
async fn too_many_parts_are_waited_out_with_larger_batches() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let hot = world.hot();
    for sql in [
        "SYSTEM STOP MERGES marketprism_hot.trades",
        "ALTER TABLE marketprism_hot.trades MODIFY SETTING parts_to_delay_insert = 0, parts_to_throw_insert = 3",
    ] {
        hot.execute(sql).await.expect("the table is strict");
    }
    let jetstream = world.nats.jetstream().await;
    let mut daemon = world.daemon(&["--dataset", "trades"]);
    let mut published = 0;
    until("the table to have too many parts", async || {
        publish(&jetstream, (published..published + 100).map(trade)).await;
        published += 100;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        daemon.log().contains("insert failed, will retry")
    })
    .await;
    publish(&jetstream, (published..published + 5000).map(trade)).await;
    published += 5000;
    hot.execute("SYSTEM START MERGES marketprism_hot.trades")
        .await
        .expect("merges go on");
    hot.execute("OPTIMIZE TABLE marketprism_hot.trades FINAL")
        .await
        .expect("merged");
    world.until_rows("trades", published).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.code() == Some(143), "{}", daemon.log());
    check_trades(&world, published).await;
    assert!(
        !daemon.log().contains("splitting an insert"),
        "smaller inserts make more parts"
    );
}

#[tokio::test]
async fn a_dataset_has_batches_of_its_own_where_the_configuration_says_so() {
    let world = World::start(
        &["trades"],
        &[(
            "MPSYNC__INGEST__BATCHES",
            "{trades: {batch_size: 100, flush_interval: 3600}}",
        )],
    )
    .await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..1050).map(trade)).await;
    let mut daemon = world.daemon(&["--dataset", "trades"]);
    // With batches as they are otherwise, nothing would land for an hour.
    world.until_rows("trades", 500).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.code() == Some(143), "{}", daemon.log());
    // Nor does what is left wait for company where everything is drained.
    world.drain("trades").await;
    check_trades(&world, 1050).await;
    let output = {
        let mut world = world;
        world.set("MPSYNC__INGEST__BATCHES", "{tradez: {batch_size: 1}}");
        world.run(&["--drain"]).await
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("tradez"), "{said}");
}

#[tokio::test]
async fn fields_that_no_column_takes_are_named_while_it_runs() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let (subject, payload) = trade(0);
    let mut payload: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
    payload["liquidity"] = "maker".into();
    let mut daemon = world.daemon(&["--dataset", "trades"]);
    publish(&jetstream, [(subject, payload.to_string().into_bytes())]).await;
    until("the field to be named", async || {
        daemon.log().contains("liquidity")
    })
    .await;
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.code() == Some(143));
    check_trades(&world, 1).await;
}
