//! An insert counts when its rows are proved to have reached the table.

use rustix::process::Signal;

use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::trades::{check_trades, trade};
use crate::support::until;

#[tokio::test]
async fn rows_that_a_gate_without_its_view_swallowed_are_not_acknowledged() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let mut daemon = world.daemon(&["--dataset", "trades"]);
    until("the session", async || daemon.lines("ingesting").len() == 1).await;
    publish(&jetstream, (0..500).map(trade)).await;
    world.until_rows("trades", 500).await;
    let views: Vec<String> = world
        .ask("SELECT name FROM system.tables WHERE database = 'marketprism_hot' AND name LIKE 'trades_in_%_mv'")
        .await;
    assert_eq!(views.len(), 1, "{views:?}");
    world
        .hot()
        .execute(&format!("DROP TABLE marketprism_hot.{}", views[0]))
        .await
        .expect("dropped");
    publish(&jetstream, (500..1200).map(trade)).await;
    world.until_rows("trades", 1200).await;
    assert!(
        daemon
            .log()
            .contains("the view of the insert gate is missing"),
        "{}",
        daemon.log()
    );
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().await.code(), Some(143), "{}", daemon.log());
    check_trades(&world, 1200).await;
}
