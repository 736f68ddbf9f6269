//! Dead letters after the fact, against real servers: listed, shown, replayed into their original positions once, discarded.

use std::process::Output;

use serde_json::Value;

use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::terminal::Terminal;

/// A world whose archive and cold are there, with the stream and the consumer made.
async fn world(folder: &tempfile::TempDir) -> World {
    let archive = folder.path().join("archive");
    std::fs::create_dir(&archive).expect("a folder");
    let archive = archive.to_str().expect("text").to_owned();
    let mut world = World::start(&["trades"], &[("MPSYNC__ARCHIVE__PATH", &archive)]).await;
    let port = world.clickhouse.port().to_string();
    world.set("MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT", &port);
    world.drain("trades").await;
    world
}

/// Runs the program to its end.
async fn run(world: &World, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(crate::support::mpsync());
    command
        .envs(world.settings.clone())
        .args(["--log", "mpsync=debug"])
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(crate::support::PATIENCE, command.output()).await;
    ended.expect("it ends").expect("it runs")
}

/// Runs it and reads its JSON lines.
async fn lines(world: &World, arguments: &[&str]) -> Vec<Value> {
    let output = run(world, &[arguments, &["--output", "json"]].concat()).await;
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect()
}

fn trade(n: u64, price: &str, symbol: &str) -> (String, Vec<u8>) {
    let payload = serde_json::json!({
        "data_type": "trade", "exchange": "okx", "market_type": "spot", "symbol": symbol, "data_source": "marketprism",
        "ts_ms": 1_760_000_000_000_u64 + n, "trade_id": n.to_string(), "price": price, "quantity": "1", "side": "buy",
    });
    (
        format!("trade.okx.spot.{symbol}"),
        payload.to_string().into_bytes(),
    )
}

/// Twenty decimals, where the column holds eighteen.
const TOO_FINE: &str = "0.12345678901234567891";

/// Eight good trades and four bad ones: two too fine, one without a number, one of no JSON.
async fn publish_some(world: &World) {
    let mut messages: Vec<_> = (0..8).map(|n| trade(n, "1.5", "BTC-USDT")).collect();
    messages.insert(2, trade(100, TOO_FINE, "BTC-USDT"));
    messages.insert(5, trade(101, TOO_FINE, "ETH-USDT"));
    messages.push(trade(102, "many", "BTC-USDT"));
    messages.push(("trade.okx.spot.X".into(), vec![0xff, 0x00, b'{']));
    publish(&world.nats.jetstream().await, messages).await;
    let report = world.drain("trades").await;
    assert_eq!(report["rows"], 8, "{report}");
}

/// The table takes more decimals from now on.
async fn widen(world: &World) {
    for column in ["price", "quantity"] {
        let sql =
            format!("ALTER TABLE marketprism_hot.trades MODIFY COLUMN {column} Decimal(76, 30)");
        world
            .hot()
            .execute(&sql)
            .await
            .expect("the column is altered");
    }
}

#[tokio::test]
async fn letters_are_listed_filtered_and_shown_as_they_came() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(&folder).await;
    assert!(lines(&world, &["dead-letters", "list"]).await.is_empty());
    publish_some(&world).await;
    let all = lines(&world, &["dead-letters", "list"]).await;
    let reasons: Vec<_> = all
        .iter()
        .map(|l| l["reason"].as_str().expect("text"))
        .collect();
    assert_eq!(
        reasons,
        ["excess_digits", "excess_digits", "bad_number", "not_json"],
        "{all:?}"
    );
    for (filter, count) in [
        (["--reason", "bad_number"], 1),
        (["--symbol", "ETH-USDT"], 1),
        (["--subject", "trade.*.spot.BTC-USDT"], 2),
        (["--dataset", "trades"], 4),
        (["--dataset", "orderbooks"], 0),
        (["--from", "1h ago"], 4),
        (["--to", "1h ago"], 0),
        (["--limit", "3"], 3),
    ] {
        let some = lines(&world, &["dead-letters", "list", filter[0], filter[1]]).await;
        assert_eq!(some.len(), count, "{filter:?}");
    }
    let shown = lines(
        &world,
        &[
            "dead-letters",
            "show",
            all[3]["letter"].as_str().expect("an id"),
        ],
    )
    .await;
    assert_eq!(shown[0]["payload_hex"], "ff007b");
    let text = run(&world, &["dead-letters", "show", "--reason", "bad_number"]).await;
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(
        text.contains("\"price\":\"many\"") && text.contains("field `price`"),
        "{text}"
    );
    let table =
        String::from_utf8(run(&world, &["dead-letters", "list"]).await.stdout).expect("text");
    assert!(
        table.contains("4 dead letters") && table.contains("trade.okx.spot.ETH-USDT"),
        "{table}"
    );
}

#[tokio::test]
async fn a_replayed_letter_lands_at_its_original_position_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(&folder).await;
    publish_some(&world).await;
    let before = lines(&world, &["dead-letters", "list"]).await;
    let daemon = world.daemon(&["--dataset", "trades"]);
    // The daemon runs all the while and is not superseded.
    publish(
        &world.nats.jetstream().await,
        (200..300).map(|n| trade(n, "2", "BTC-USDT")),
    )
    .await;
    world.until_rows("trades", 108).await;
    let still = lines(&world, &["dead-letters", "replay"]).await;
    assert!(still.iter().all(|l| l["fate"] == "remains"), "{still:?}");
    assert_eq!(lines(&world, &["dead-letters", "list"]).await.len(), 4);
    let daemon_log = daemon.log();
    daemon.kill();
    assert!(!daemon_log.contains("took over"), "{daemon_log}");
    widen(&world).await;
    let done = lines(&world, &["dead-letters", "replay"]).await;
    let fates = |done: &[Value], fate: &str| done.iter().filter(|l| l["fate"] == fate).count();
    assert_eq!(
        (fates(&done, "landed"), fates(&done, "remains")),
        (2, 2),
        "{done:?}"
    );
    let rows: Vec<(u64, i64, String)> = world
        .ask(
            "SELECT stream_seq, toUnixTimestamp64Nano(created_at), toString(price) FROM hot.trades \
             WHERE trade_id IN ('100', '101') ORDER BY stream_seq",
        )
        .await;
    let wanted: Vec<_> = before[..2]
        .iter()
        .map(|l| {
            let stored_at = l["stored_at_nanos"].as_i64().expect("a number");
            (
                l["sequence"].as_u64().expect("a number"),
                stored_at,
                TOO_FINE.to_owned(),
            )
        })
        .collect();
    assert_eq!(rows, wanted);
    // Again, and ingest from the stream's beginning: nothing doubles.
    assert_eq!(
        fates(&lines(&world, &["dead-letters", "replay"]).await, "landed"),
        0
    );
    let jetstream = world.nats.jetstream().await;
    let stream = jetstream
        .get_stream("MARKET_DATA")
        .await
        .expect("the stream");
    stream
        .delete_consumer("mpsync-trades")
        .await
        .expect("deleted");
    world.drain("trades").await;
    assert_eq!(world.count("trades").await, 110);
    let distinct: Vec<u64> = world
        .ask("SELECT uniqExact(stream_epoch, stream_seq) FROM hot.trades")
        .await;
    assert_eq!(distinct, [110]);
}

#[tokio::test]
async fn a_letter_whose_position_is_held_or_not_settled_does_not_land() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(&folder).await;
    publish_some(&world).await;
    widen(&world).await;
    // A consumer that begins anew: ingest may deliver all of it again.
    let jetstream = world.nats.jetstream().await;
    let stream = jetstream
        .get_stream("MARKET_DATA")
        .await
        .expect("the stream");
    let info = stream
        .consumer_info("mpsync-trades")
        .await
        .expect("the consumer");
    stream
        .delete_consumer("mpsync-trades")
        .await
        .expect("deleted");
    let config: async_nats::jetstream::consumer::pull::Config =
        async_nats::jetstream::consumer::FromConsumer::try_from_consumer_config(info.config)
            .expect("a config");
    stream.create_consumer(config).await.expect("created");
    let done = lines(&world, &["dead-letters", "replay"]).await;
    assert!(
        done.len() == 4 && done.iter().all(|l| l["fate"] == "unsettled"),
        "{done:?}"
    );
    // Now ingest itself lands the two, and their letters are only deleted.
    assert_eq!(world.drain("trades").await["rows"], 2);
    let done = lines(&world, &["dead-letters", "replay"]).await;
    assert_eq!(
        done.iter().filter(|l| l["fate"] == "held").count(),
        2,
        "{done:?}"
    );
    assert_eq!(world.count("trades").await, 10);
    assert_eq!(lines(&world, &["dead-letters", "list"]).await.len(), 2);
}

#[tokio::test]
async fn a_letter_whose_row_has_left_hot_for_the_archive_does_not_land() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(&folder).await;
    publish_some(&world).await;
    widen(&world).await;
    // A row of a letter's position that lands, is archived and cleaned while its letter stays: a replay that was killed.
    let letter = lines(&world, &["dead-letters", "list", "--symbol", "ETH-USDT"])
        .await
        .remove(0);
    let columns = "timestamp, exchange, market_type, symbol, data_source, trade_id, price, quantity, side, created_at";
    let sql = format!(
        "INSERT INTO marketprism_hot.trades ({columns}, stream_epoch, stream_seq) SELECT {columns}, {}, {} \
         FROM marketprism_hot.trades LIMIT 1",
        letter["epoch"], letter["sequence"]
    );
    world.hot().execute(&sql).await.expect("inserted");
    let apply = run(
        &world,
        &["schema", "apply", "--tier", "cold", "--dataset", "trades"],
    )
    .await;
    assert!(
        apply.status.success(),
        "{}",
        String::from_utf8_lossy(&apply.stderr)
    );
    for column in ["price", "quantity"] {
        let sql =
            format!("ALTER TABLE marketprism_cold.trades MODIFY COLUMN {column} Decimal(76, 30)");
        world
            .hot()
            .execute(&sql)
            .await
            .expect("the column is altered");
    }
    let sync = run(&world, &["sync", "--cleanup", "--dataset", "trades"]).await;
    assert!(
        sync.status.success(),
        "{}",
        String::from_utf8_lossy(&sync.stderr)
    );
    assert_eq!(world.count("trades").await, 0);
    let done = lines(&world, &["dead-letters", "replay", "--symbol", "ETH-USDT"]).await;
    assert_eq!(done[0]["fate"], "held", "{done:?}");
    assert_eq!(world.count("trades").await, 0);
    // Where the archive cannot be asked, nothing lands.
    std::fs::rename(folder.path().join("archive"), folder.path().join("away")).expect("renamed");
    let refused = run(
        &world,
        &["dead-letters", "replay", "--reason", "excess_digits"],
    )
    .await;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("there is no archive"),
        "{text}"
    );
    assert_eq!(world.count("trades").await, 0);
}

#[tokio::test]
async fn dead_letters_are_discarded_only_after_a_confirmation() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(&folder).await;
    publish_some(&world).await;
    let asked = run(&world, &["dead-letters", "discard", "--reason", "not_json"]).await;
    assert_eq!(asked.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&asked.stdout).contains("would discard trades."));
    assert_eq!(lines(&world, &["dead-letters", "list"]).await.len(), 4);
    // A terminal has an operator to ask; the command has a short name.
    let mut command = crate::support::mpsync();
    command
        .envs(world.settings.clone())
        .args(["dlq", "discard", "--reason", "not_json"]);
    let mut terminal = Terminal::start(command, "xterm", 160, 24);
    terminal.until("the question", |moment| {
        moment
            .text()
            .contains("Discard these 1 dead letters for good? [y/N]")
    });
    terminal.send("n\n");
    let (status, last) = terminal.end(|_| ());
    assert!(status.success(), "{}", last.text());
    assert_eq!(lines(&world, &["dead-letters", "list"]).await.len(), 4);
    let done = run(
        &world,
        &["dead-letters", "discard", "--reason", "not_json", "--yes"],
    )
    .await;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success() && text.contains("1 dead letters discarded"),
        "{text}"
    );
    let left = lines(&world, &["dead-letters", "list"]).await;
    assert!(
        left.len() == 3 && left.iter().all(|l| l["reason"] != "not_json"),
        "{left:?}"
    );
}
