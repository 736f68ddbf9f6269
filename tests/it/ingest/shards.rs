//! Several daemons share the work: what all of them land together is everything, once.

use rustix::process::Signal;

use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::trades::{assert_no_doors, check_trades, publish_slowly, trade};
use crate::support::until;

/// Sets the subjects of processes that are started from now on.
fn filter(world: &mut World, name: &str, filters: &str) {
    world.set("MPSYNC__INGEST__FILTER_NAME", name);
    world.set("MPSYNC__INGEST__FILTERS", filters);
}

fn output_text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn daemons_with_disjoint_filters_land_everything_once_together() {
    let mut world = World::start(&["trades"], &[("MPSYNC__HOT_STORAGE__BATCH_SIZE", "700")]).await;
    filter(&mut world, "binance", "['*.binance.>']");
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let publishing = publish_slowly(&jetstream, 20_000);
    let mut first = world.daemon(&["--dataset", "trades"]);
    filter(&mut world, "rest", "['*.okx.>', '*.deribit.>']");
    for _ in 0..3 {
        let killed = world.daemon(&["--dataset", "trades"]);
        let before = world.count("trades").await;
        world
            .until_rows("trades", (before + 2000).min(19_000))
            .await;
        killed.kill();
    }
    publishing.await.expect("published");
    world.drain("trades").await;
    world.until_rows("trades", 20_000).await;
    check_trades(&world, 20_000).await;
    assert!(!first.log().contains("took over"), "{}", first.log());
    first.signal(Signal::TERM);
    assert!(first.ended().await.code() == Some(143), "{}", first.log());
    assert_no_doors(&world).await;
}

#[tokio::test]
async fn filters_that_overlap_another_daemon_s_are_refused_with_both_named() {
    let mut world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    filter(&mut world, "okx", "['trade.okx.>']");
    let output = world.run(&["--drain", "--dataset", "trades"]).await;
    let text = output_text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "mpsync-trades-okx",
        "consumer mpsync-trades takes trade.>",
        "ingest.filters",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let jetstream = world.nats.jetstream().await;
    let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
    assert!(
        stream.consumer_info("mpsync-trades-okx").await.is_err(),
        "it was made"
    );
    filter(&mut world, "okx", "['trade.>', '*.okx.>']");
    let output = world.run(&["--drain", "--dataset", "trades"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", output_text(&output));
}

#[tokio::test]
async fn parts_that_are_put_together_again_double_nothing() {
    let mut world = World::start(&["trades"], &[]).await;
    filter(&mut world, "a", "['*.binance.>', '*.okx.>']");
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..3000).map(trade)).await;
    let daemon = world.daemon(&["--dataset", "trades"]);
    world.until_rows("trades", 2000).await;
    // It leaves its door behind.
    daemon.kill();
    filter(&mut world, "b", "['*.deribit.>']");
    world.drain("trades").await;
    check_trades(&world, 3000).await;
    publish(&jetstream, (3000..4000).map(trade)).await;
    let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
    for name in ["mpsync-trades-a", "mpsync-trades-b"] {
        stream.delete_consumer(name).await.expect("deleted");
    }
    world
        .settings
        .retain(|(name, _)| !name.contains("INGEST__FILTER"));
    let report = world.drain("trades").await;
    assert_eq!(
        (&report["rows"], &report["already_held"]),
        (&1000.into(), &3000.into()),
        "{report}"
    );
    check_trades(&world, 4000).await;
    assert_no_doors(&world).await;
}

#[tokio::test]
async fn of_two_shards_each_takes_datasets_of_its_own() {
    let mut world = World::start(&["trades", "orderbooks"], &[]).await;
    world.set("MPSYNC__INGEST__SHARDS", "2");
    let mut taken = Vec::new();
    for index in ["0", "1"] {
        world.set("MPSYNC__INGEST__SHARD_INDEX", index);
        let output = world
            .run(&["--drain", "--dataset", "trades,orderbooks"])
            .await;
        assert!(output.status.success(), "{}", output_text(&output));
        let jetstream = world.nats.jetstream().await;
        let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
        let mut there = 0;
        for name in ["mpsync-trades", "mpsync-orderbooks"] {
            there += usize::from(stream.consumer_info(name).await.is_ok());
        }
        taken.push(there);
    }
    assert_eq!(taken, [1, 2]);
    world.set("MPSYNC__INGEST__SHARD_INDEX", "2");
    let output = world.run(&["--drain"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", output_text(&output));
}

#[tokio::test]
async fn a_daemon_that_loses_one_dataset_to_another_goes_on_with_the_rest() {
    let world = World::start(&["trades", "open_interests"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let mut first = world.daemon(&["--dataset", "trades,open_interests"]);
    until("both lives to begin", async || {
        first.log().matches("\"ingesting\"").count() == 2
    })
    .await;
    let mut second = world.daemon(&["--dataset", "trades"]);
    until("the second's life to begin", async || {
        second.log().contains("\"ingesting\"")
    })
    .await;
    publish(&jetstream, (0..500).map(trade)).await;
    until("the first to know", async || {
        first.log().contains("superseded session")
    })
    .await;
    let interest = serde_json::json!({
        "data_type": "open_interest", "exchange": "okx", "market_type": "perpetual", "symbol": "X",
        "data_source": "marketprism", "ts_ms": 1_760_000_000_000_u64, "open_interest": "5", "instrument_id": "X",
    });
    let subject = "open_interest.okx.perpetual.X".to_owned();
    publish(&jetstream, [(subject, interest.to_string().into_bytes())]).await;
    world.until_rows("open_interests", 1).await;
    world.until_rows("trades", 500).await;
    first.signal(Signal::TERM);
    assert_eq!(first.ended().await.code(), Some(1), "{}", first.log());
    second.signal(Signal::TERM);
    assert!(second.ended().await.code() == Some(143), "{}", second.log());
    check_trades(&world, 500).await;
}
