//! A stream whose creation time differs is the same stream if it has the messages of held rows.

use async_nats::jetstream;
use rustix::process::Signal;

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::{NatsServer, publish};
use crate::support::trades::{check_trades, trade};
use crate::support::until;

#[tokio::test]
async fn a_mirror_has_the_epoch_of_its_origin() {
    let mut world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..1000).map(trade)).await;
    world.drain("trades").await;
    publish(&jetstream, (1000..1500).map(trade)).await;
    let mut mirror = jetstream
        .create_stream(jetstream::stream::Config {
            name: "MIRROR".into(),
            mirror: Some(jetstream::stream::Source {
                name: "MARKET_DATA".into(),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .expect("made");
    until("the mirror to be complete", async || {
        mirror
            .info()
            .await
            .is_ok_and(|i| i.state.last_sequence == 1500)
    })
    .await;
    world.set("MPSYNC__NATS__STREAM", "MIRROR");
    let report = world.drain("trades").await;
    assert_eq!(
        (&report["rows"], &report["already_held"]),
        (&500.into(), &1000.into()),
        "{report}"
    );
    check_trades(&world, 1500).await;
    let epochs: Vec<u64> = world
        .ask("SELECT uniqExact(stream_epoch) FROM hot.trades")
        .await;
    assert_eq!(epochs, [1]);
    // The consumer remembers it.
    publish(&jetstream, (1500..1600).map(trade)).await;
    until("the mirror to follow", async || {
        mirror
            .info()
            .await
            .is_ok_and(|i| i.state.last_sequence == 1600)
    })
    .await;
    world.drain("trades").await;
    check_trades(&world, 1600).await;
}

/// nats-server before 2.15.1 reports another creation time after a restart, an edit of the stream and another restart.
#[tokio::test]
async fn edit_and_restarts_of_an_older_server_keep_the_epoch() {
    let Some(nats) = NatsServer::start_old().await else {
        return;
    };
    let mut world = World::of(nats, ClickHouse::start().await, &["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..1000).map(trade)).await;
    world.drain("trades").await;
    for round in 0..2 {
        world.nats.signal(Signal::TERM);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        world.nats.kill();
        world.nats.launch().await;
        let jetstream = world.nats.jetstream().await;
        let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
        let mut config = stream.cached_info().config.clone();
        config.description = Some(format!("edit {round}"));
        jetstream.update_stream(config).await.expect("edited");
    }
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (1000..1200).map(trade)).await;
    world.drain("trades").await;
    check_trades(&world, 1200).await;
    let epochs: Vec<u64> = world
        .ask("SELECT uniqExact(stream_epoch) FROM hot.trades")
        .await;
    assert_eq!(epochs, [1]);
}

/// A stream that was deleted and created again is another one, whatever its sequences.
#[tokio::test]
async fn a_stream_created_again_has_a_new_epoch() {
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
    publish(&jetstream, (500..1000).map(trade)).await;
    world.drain("trades").await;
    check_trades(&world, 1000).await;
    let epochs: Vec<u64> = world
        .ask("SELECT uniqExact(stream_epoch) FROM hot.trades")
        .await;
    assert_eq!(epochs, [2]);
}
