//! Several daemons on one dataset: one works, the others stand by and take over.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::trades::{check_trades, trade};
use crate::support::until;

#[tokio::test]
async fn superseded_daemon_stands_by_and_takes_over_when_the_other_dies() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let first = world.daemon(&["--dataset", "trades"]);
    until("the first session", async || {
        first.lines("ingesting").len() == 1
    })
    .await;
    publish(&jetstream, (0..500).map(trade)).await;
    world.until_rows("trades", 500).await;
    let second = world.daemon(&["--dataset", "trades"]);
    until("the second session", async || {
        second.lines("ingesting").len() == 1
    })
    .await;
    publish(&jetstream, (500..1000).map(trade)).await;
    world.until_rows("trades", 1000).await;
    until("the first to stand by", async || {
        first.lines("superseded: standing by").len() == 1
    })
    .await;
    // They do not supersede each other in turn, with and without messages.
    let sessions = (
        first.lines("ingesting").len(),
        second.lines("ingesting").len(),
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    publish(&jetstream, (1000..1500).map(trade)).await;
    world.until_rows("trades", 1500).await;
    let now = (
        first.lines("ingesting").len(),
        second.lines("ingesting").len(),
    );
    assert_eq!(now, sessions, "{}\n{}", first.log(), second.log());
    let killed = Instant::now();
    second.kill();
    publish(&jetstream, (1500..2000).map(trade)).await;
    world.until_rows("trades", 2000).await;
    println!("takeover after {:?}", killed.elapsed());
    check_trades(&world, 2000).await;
}

#[tokio::test]
async fn drain_is_refused_beside_a_daemon() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let mut daemon = world.daemon(&["--dataset", "trades"]);
    until("the session", async || daemon.lines("ingesting").len() == 1).await;
    let output = world.run(&["--drain", "--dataset", "trades"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("another daemon ingests trades"), "{text}");
    publish(&jetstream, (0..300).map(trade)).await;
    world.until_rows("trades", 300).await;
    assert_eq!(daemon.lines("ingesting").len(), 1, "{}", daemon.log());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().await.code(), Some(143), "{}", daemon.log());
    world.drain("trades").await;
    check_trades(&world, 300).await;
}
