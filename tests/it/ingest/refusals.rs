//! Messages that cannot be rows, and starts that are refused.

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::{NatsServer, publish};
use crate::support::trades::{check_trades, trade};

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
