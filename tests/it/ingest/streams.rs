//! Streams that lose, drop or begin anew.

use crate::support::PATIENCE;
use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::trades::{check_trades, trade};

#[tokio::test]
async fn a_stream_that_lost_its_tail_begins_a_new_epoch() {
    let mut world = World::start_syncing(&["trades"], &[]).await;
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

/// Stops the server and puts its store back to a copy, then starts it.
async fn restore(world: &mut World, copy: &std::path::Path) {
    world.nats.kill();
    std::fs::remove_dir_all(world.nats.store()).expect("removed");
    copy_folder(copy, &world.nats.store());
    world.nats.launch().await;
}

/// Stops the server, copies its store, and starts it.
async fn copy(world: &mut World) -> tempfile::TempDir {
    world.nats.kill();
    let copy = tempfile::tempdir().expect("a folder");
    copy_folder(&world.nats.store(), copy.path());
    world.nats.launch().await;
    copy
}

#[tokio::test]
async fn a_stream_that_lost_more_the_second_time_loses_no_message_of_now() {
    let mut world = World::start_syncing(&["trades"], &[]).await;
    world.drain("trades").await;
    let mut published = 0;
    let mut add = async |world: &World, n: u64| {
        let jetstream = world.nats.jetstream().await;
        publish(&jetstream, (published..published + n).map(trade)).await;
        published += n;
        world.drain("trades").await
    };
    add(&world, 500).await;
    let older = copy(&mut world).await;
    add(&world, 500).await;
    let newer = copy(&mut world).await;
    add(&world, 600).await;
    restore(&mut world, newer.path()).await;
    let report = add(&world, 900).await;
    assert_eq!(report["rewinds"], 1, "{report}");
    // Now sequences are issued again that two epochs hold.
    restore(&mut world, older.path()).await;
    let report = add(&world, 700).await;
    assert_eq!(
        (&report["rewinds"], &report["rows"]),
        (&1.into(), &700.into()),
        "{report}"
    );
    // A consumer that is made anew reads everything again, and knows it.
    let jetstream = world.nats.jetstream().await;
    let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
    stream
        .delete_consumer("mpsync-trades")
        .await
        .expect("deleted");
    let report = add(&world, 100).await;
    assert_eq!(
        (&report["rows"], &report["already_held"]),
        (&100.into(), &1200.into()),
        "{report}"
    );
    check_trades(&world, published).await;
    let positions: Vec<u64> = world
        .ask("SELECT uniqExact(stream_epoch, stream_seq) FROM hot.trades")
        .await;
    assert_eq!(positions, [published]);
}

#[tokio::test]
async fn a_consumer_that_was_deleted_is_made_anew_and_nothing_lands_twice() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    publish(&jetstream, (0..1000).map(trade)).await;
    world.drain("trades").await;
    publish(&jetstream, (1000..1500).map(trade)).await;
    let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
    stream
        .delete_consumer("mpsync-trades")
        .await
        .expect("deleted");
    let report = world.drain("trades").await;
    assert_eq!(
        (&report["rows"], &report["already_held"]),
        (&500.into(), &1000.into()),
        "{report}"
    );
    check_trades(&world, 1500).await;
}

#[tokio::test]
async fn a_consumer_that_acknowledges_in_another_way_is_made_anew_from_its_floor() {
    let world = World::start(&["trades"], &[]).await;
    let jetstream = world.nats.jetstream().await;
    let stream = jetstream
        .create_stream(async_nats::jetstream::stream::Config {
            name: "MARKET_DATA".into(),
            subjects: mpsync_core::dataset::builtin()
                .iter()
                .flat_map(|d| d.subjects.clone())
                .collect(),
            ..Default::default()
        })
        .await
        .expect("made");
    // As an older server's daemon left it.
    let older = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("mpsync-trades".into()),
        ack_policy: async_nats::jetstream::consumer::AckPolicy::Explicit,
        filter_subjects: vec!["trade.>".into()],
        ack_wait: std::time::Duration::from_mins(2),
        ..Default::default()
    };
    let consumer = stream.create_consumer(older).await.expect("made");
    publish(&jetstream, (0..1000).map(trade)).await;
    let mut messages = consumer
        .batch()
        .max_messages(300)
        .expires(PATIENCE)
        .messages()
        .await
        .expect("messages");
    while let Some(message) = futures_util::StreamExt::next(&mut messages).await {
        let message = message.expect("a message");
        message.double_ack().await.expect("acknowledged");
    }
    let report = world.drain("trades").await;
    assert_eq!(report["rows"], 700, "{report}");
    let info = stream.consumer_info("mpsync-trades").await.expect("there");
    assert_eq!(
        info.config.ack_policy,
        async_nats::jetstream::consumer::AckPolicy::All
    );
    assert_eq!(info.ack_floor.stream_sequence, 1000);
    // The next start finds it as it should be.
    publish(&jetstream, (1000..1100).map(trade)).await;
    assert_eq!(world.drain("trades").await["rows"], 100);
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
