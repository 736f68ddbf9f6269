//! Daemons, engine and nats-server end, sleep and come back: every message is in hot once.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::{NatsServer, publish};
use crate::support::trades::{assert_no_doors, check_trades, publish_slowly, trade};
use crate::support::until;

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
        first.log().contains("superseded session"),
        "{}",
        first.log()
    );
    publishing.await.expect("published");
    world.until_rows("trades", 20_000).await;
    second.signal(Signal::TERM);
    assert!(second.ended().await.code() == Some(143), "{}", second.log());
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
        // The last session to begin wins, so this one must have begun before it sleeps.
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
    assert!(last.ended().await.code() == Some(143), "{}", last.log());
    // A sleeper that had nothing to insert does not know yet; it ends in order.
    for sleeper in &mut sleepers {
        let _ = sleeper.signal_if_alive(Signal::TERM);
        sleeper.ended().await;
    }
    world.drain("trades").await;
    check_trades(&world, 30_000).await;
}

#[tokio::test]
async fn engine_and_nats_server_may_die_in_the_middle() {
    let settings = [("MPSYNC__HOT_STORAGE__BATCH_SIZE", "1000")];
    let mut world = World::start_syncing(&["trades"], &settings).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let publishing = publish_slowly(&jetstream, 15_000);
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
    world.until_rows("trades", 15_000).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.code() == Some(143), "{}", daemon.log());
    check_trades(&world, 15_000).await;
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
            subjects: mpsync_core::dataset::builtin()
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
async fn on_an_older_server_and_over_an_upgrade_nothing_is_lost_or_doubled() {
    let Some(nats) = NatsServer::start_old().await else {
        println!("left out: scripts/tools has no older nats-server for this machine");
        return;
    };
    let settings = [
        ("MPSYNC__INGEST__ACK_WAIT_SECONDS", "2"),
        ("MPSYNC__HOT_STORAGE__BATCH_SIZE", "500"),
    ];
    let clickhouse = ClickHouse::start().await;
    let mut world = World::of(nats, clickhouse, &["trades"], &settings).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let publishing = publish_slowly(&jetstream, 10_000);
    for wait in [0, 100, 200] {
        let daemon = world.daemon(&["--dataset", "trades"]);
        until("the slower way to be named", async || {
            daemon
                .log()
                .contains("acknowledging each message by itself")
        })
        .await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        daemon.kill();
    }
    publishing.await.expect("published");
    world.drain("trades").await;
    check_trades(&world, 10_000).await;
    world.nats.upgrade().await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (10_000..11_000).map(trade)).await;
    let report = world.drain("trades").await;
    assert_eq!(report["rows"], 1000, "{report}");
    // On a machine under load an older server was seen to forget the consumer's floor as it ended: what came again was known.
    assert!(report["already_held"].as_u64() <= Some(10_000), "{report}");
    check_trades(&world, 11_000).await;
    let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
    let info = stream.consumer_info("mpsync-trades").await.expect("there");
    assert_eq!(
        info.config.ack_policy,
        async_nats::jetstream::consumer::AckPolicy::All
    );
}

#[tokio::test]
async fn signals_reload_or_end_the_daemon_and_its_exit_code_says_which() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mpsync.yaml");
    let write = |yaml: &str| std::fs::write(&file, yaml).expect("written");
    write("logging: {level: info}\n");
    let world = World::start(&["trades"], &[]).await;
    let flags = [
        "--dataset",
        "trades",
        "--config",
        file.to_str().expect("UTF-8"),
    ];
    for (signal, code, from) in [(Signal::INT, 130, 0), (Signal::TERM, 143, 100)] {
        write("logging: {level: info}\n");
        let mut daemon = world.daemon(&flags);
        until("the life to begin", async || {
            daemon.log().contains("\"ingesting\"")
        })
        .await;
        write("logging: {level: warn}\nnats: {stream: OTHER}\n");
        daemon.signal(Signal::HUP);
        until("the reload", async || {
            daemon.log().contains("need a restart")
        })
        .await;
        write("loging: {level: warn}\n");
        daemon.signal(Signal::HUP);
        until("the refusal", async || {
            daemon.log().contains("did you mean `logging`?")
        })
        .await;
        let more = (from..from + 100).map(trade);
        publish(&world.nats.jetstream().await, more).await;
        daemon.signal(signal);
        assert_eq!(daemon.ended().await.code(), Some(code), "{}", daemon.log());
        world.drain("trades").await;
        check_trades(&world, from + 100).await;
    }
}
