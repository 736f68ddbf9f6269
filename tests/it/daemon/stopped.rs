//! Daemons that are stopped, killed and cut off under load lose nothing.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream;
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::TierRole;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::{OFTEN, both_ready, until_stats};
use crate::http::{ask, json};
use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::{Daemon, World, dataset};
use crate::support::nats::{publish, publish_surely};
use crate::support::trades::{check_trades, check_trades_in, trade};
use crate::support::until;

/// Messages of a group of the load.
const GROUP: u64 = 50;

const BOTH: [&str; 4] = ["--mode", "both", "--dataset", "trades"];

/// Publishes trades until `stop` is cancelled; returns their number.
fn load(jetstream: &jetstream::Context, stop: CancellationToken) -> tokio::task::JoinHandle<u64> {
    let jetstream = jetstream.clone();
    tokio::spawn(async move {
        let mut n = 0;
        while !stop.is_cancelled() {
            publish_surely(&jetstream, (n..n + GROUP).map(|i| (i, trade(i)))).await;
            n += GROUP;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        n
    })
}

/// Servers with the trades' tables in both tiers of one engine, or cold in this one, and an archive.
async fn world(archive: &Path, cold: Option<&ClickHouse>) -> World {
    let mut world = World::start(&["trades"], &[]).await;
    world.set("MPSYNC__ARCHIVE__PATH", archive.to_str().expect("UTF-8"));
    let port = cold.unwrap_or(&world.clickhouse).port().to_string();
    world.set("MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT", &port);
    let tier = Tier::new(TierRole::Cold, &world.config().cold);
    tier.apply_schema(&[dataset("trades")])
        .await
        .expect("the tables are made");
    world
}

/// Waits until a daemon has landed rows of its own, and has finished a sync.
async fn at_work(daemon: &Daemon) -> String {
    let [address, _] = both_ready(daemon).await;
    until_stats(&address, "rows and a sync of this daemon", |stats| {
        stats["ingest"]["datasets"][0]["rows"].as_u64() > Some(0)
            && stats["sync"]["last"]["started_at"].as_str() > stats["started_at"].as_str()
    })
    .await;
    address
}

#[tokio::test]
async fn signals_and_kills_under_load_lose_nothing_and_exit_codes_say_which_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = world(&folder.path().join("archive"), None).await;
    // Hot is cleaned all the while: what is lost is lost for good.
    for (name, value) in [
        ("MPSYNC__SYNC__INTERVAL_HOURS", OFTEN),
        ("MPSYNC__SYNC__CLEANUP_ENABLED", "true"),
        ("MPSYNC__SYNC__CLEANUP_DELAY_HOURS", "0"),
        ("MPSYNC__HOT_STORAGE__RETENTION_DAYS", "0"),
        ("MPSYNC__COLD_STORAGE__RETENTION_DAYS", "0"),
    ] {
        world.set(name, value);
    }
    let jetstream = world.nats.jetstream().await;
    let mut daemon = world.daemon(&BOTH);
    both_ready(&daemon).await;
    let stop = CancellationToken::new();
    let load = load(&jetstream, stop.clone());
    for signal in [
        Signal::KILL,
        Signal::TERM,
        Signal::HUP,
        Signal::INT,
        Signal::KILL,
        Signal::TERM,
    ] {
        let address = at_work(&daemon).await;
        daemon.signal(signal);
        if signal == Signal::HUP {
            let before = json(&address, "/stats")["ingest"]["datasets"][0]["rows"].as_u64();
            until("the reload", async || {
                !daemon.lines("configuration reloaded").is_empty()
            })
            .await;
            until_stats(&address, "rows after the reload", |stats| {
                stats["ingest"]["datasets"][0]["rows"].as_u64() > before
            })
            .await;
            continue;
        }
        let code = daemon.ended().await.code();
        let expected = match signal {
            Signal::TERM => Some(143),
            Signal::INT => Some(130),
            _ => None,
        };
        assert_eq!(code, expected, "{signal:?}:\n{}", daemon.log());
        daemon = world.daemon(&BOTH);
    }
    stop.cancel();
    let n = load.await.expect("the load");
    let count = "SELECT count() FROM marketprism_cold.trades";
    until("all rows in cold", async || {
        world.ask::<u64>(count).await[0] >= n
    })
    .await;
    until("none in hot", async || world.count("trades").await == 0).await;
    check_trades_in(&world, "marketprism_cold.trades", n).await;
    let [address, _] = both_ready(&daemon).await;
    until_stats(&address, "as many rows in the archive", |stats| {
        stats["archive"]["rows"] == n && stats["sync"]["halted"] == 0
    })
    .await;
}

#[tokio::test]
async fn a_cold_side_that_was_down_catches_up_by_itself_while_ingest_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cold = ClickHouse::start().await;
    let mut world = world(&folder.path().join("archive"), Some(&cold)).await;
    world.set("MPSYNC__SYNC__CRON", "*/2 * * * * *");
    world.set("MPSYNC__COLD_STORAGE__REQUEST_TIMEOUT_SECONDS", "5");
    let jetstream = world.nats.jetstream().await;
    let daemon = world.daemon(&BOTH);
    let [address, _] = both_ready(&daemon).await;
    publish(&jetstream, (0..1000).map(trade)).await;
    until_stats(&address, "the first rows in cold", |stats| {
        stats["tiers"]["cold"]["rows"] == 1000
    })
    .await;
    cold.kill();
    publish(&jetstream, (1000..2000).map(trade)).await;
    world.until_rows("trades", 2000).await;
    until_stats(
        &address,
        "a sync that failed, and cold out of reach",
        |stats| {
            stats["sync"]["last"]["ok"] == false && stats["tiers"]["cold"]["reachable"] == false
        },
    )
    .await;
    let (_, health) = ask(&address, "GET", "/health", "", "");
    let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
    let is_ok = |name: &str| {
        let checks = health["checks"].as_array().expect("checks");
        checks.iter().find(|c| c["name"] == name).expect("a check")["ok"] == true
    };
    assert!(
        is_ok("ingest") && is_ok("hot") && !is_ok("cold"),
        "{health}"
    );
    // Ingest goes on.
    publish(&jetstream, (2000..3000).map(trade)).await;
    world.until_rows("trades", 3000).await;
    cold.launch().await;
    until_stats(&address, "all rows in cold", |stats| {
        stats["tiers"]["cold"]["rows"] == 3000 && stats["sync"]["last"]["ok"] == true
    })
    .await;
    assert_eq!(json(&address, "/stats")["sync"]["halted"], 0);
    check_trades(&world, 3000).await;
}
