//! Streams that lose, drop or begin anew.

use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::trades::{check_trades, trade};

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
