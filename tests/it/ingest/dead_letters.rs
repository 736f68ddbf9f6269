//! Dead letters where JetStream refuses them: kept as files, held where that fails too, and each once.

use std::path::Path;
use std::process::Output;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::{NatsServer, publish};
use crate::support::trades::{check_trades, trade};
use crate::support::until;

fn bad(payload: &[u8]) -> (String, Vec<u8>) {
    ("trade.binance.spot.BAD".into(), payload.to_vec())
}

/// A world whose letters' folder is below `folder`.
async fn world(folder: &Path) -> World {
    let letters = folder.join("letters").display().to_string();
    let world = World::start(
        &["trades"],
        &[("MPSYNC__INGEST__DEAD_LETTER_FOLDER", &letters)],
    )
    .await;
    world.drain("trades").await;
    world
}

/// The stream of letters is replaced by one that takes at most so many.
async fn only(jetstream: &Context, letters: i64) {
    jetstream
        .delete_stream("MPSYNC_DEAD_LETTERS")
        .await
        .expect("deleted");
    jetstream
        .create_stream(Config {
            name: "MPSYNC_DEAD_LETTERS".into(),
            subjects: vec!["mpsync_dead_letters.>".into()],
            max_messages: letters,
            discard: DiscardPolicy::New,
            ..Config::default()
        })
        .await
        .expect("made");
}

async fn dlq(world: &World, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(crate::support::mpsync());
    command
        .envs(world.settings.clone())
        .args(["dlq", "--output", "json"])
        .args(arguments)
        .kill_on_drop(true);
    let ended = tokio::time::timeout(crate::support::PATIENCE, command.output()).await;
    ended.expect("it ends").expect("it runs")
}

async fn lines(world: &World, arguments: &[&str]) -> Vec<Value> {
    let output = dlq(world, arguments).await;
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

/// Makes the stream of dead letters too full for any.
async fn refuse_letters(jetstream: &async_nats::jetstream::Context) {
    let full = Config {
        name: "MPSYNC_DEAD_LETTERS".into(),
        subjects: vec!["mpsync_dead_letters.>".into()],
        max_bytes: 1,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    jetstream.update_stream(&full).await.expect("it is full");
}

/// The letters' files.
fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("letters")) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn letters_that_a_full_stream_refuses_are_files_once_however_often_they_are_tried() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path()).await;
    let jetstream = world.nats.jetstream().await;
    only(&jetstream, 1).await;
    let mut messages: Vec<_> = (0..100).map(trade).collect();
    messages.insert(10, bad(b"{\"one\""));
    messages.insert(20, bad(b"{\"two\""));
    messages.insert(30, bad(b"\xff\x00three"));
    publish(&jetstream, messages).await;
    let report = world.drain("trades").await;
    assert_eq!(
        (&report["rows"], &report["dead_letters_in_files"]),
        (&100.into(), &2.into()),
        "{report}"
    );
    let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
    stream
        .reset_consumer("mpsync-trades", Some(1))
        .await
        .expect("set back");
    let again = world.drain("trades").await;
    assert_eq!(again["dead_letters"]["not_json"], 3, "{again}");
    check_trades(&world, 100).await;
    assert_eq!(files(folder.path()).len(), 2);
    let listed = lines(&world, &["list"]).await;
    let places: Vec<_> = listed
        .iter()
        .map(|l| l["kept_in"].as_str().expect("text"))
        .collect();
    assert_eq!(places, ["stream", "folder", "folder"], "{listed:?}");
    let shown = lines(&world, &["show", "--limit", "3"]).await;
    assert_eq!(
        (&shown[1]["payload"], &shown[2]["payload_hex"]),
        (&"{\"two\"".into(), &"ff007468726565".into())
    );
    assert_eq!(lines(&world, &["discard", "--yes"]).await.len(), 3);
    assert!(lines(&world, &["list"]).await.is_empty());
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn a_letter_larger_than_the_server_takes_becomes_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("nats.conf");
    std::fs::write(&config, "max_payload: 4096\n").expect("written");
    let config = config.display().to_string();
    let options = ["--config", &config];
    let (nats, clickhouse) = tokio::join!(NatsServer::start_with(&options), ClickHouse::start());
    let letters = folder.path().join("letters").display().to_string();
    let settings = [("MPSYNC__INGEST__DEAD_LETTER_FOLDER", letters.as_str())];
    let world = World::of(nats, clickhouse, &["trades"], &settings).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let large = vec![b'{'; 4096];
    publish(&jetstream, [bad(&large), trade(0), bad(b"{")]).await;
    let report = world.drain("trades").await;
    assert_eq!(report["dead_letters_in_files"], 1, "{report}");
    check_trades(&world, 1).await;
    let listed = lines(&world, &["list"]).await;
    assert_eq!(
        listed.iter().map(|l| &l["bytes"]).collect::<Vec<_>>(),
        [1, 4096]
    );
}

#[tokio::test]
async fn where_stream_and_folder_refuse_the_message_is_held_until_one_takes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path()).await;
    let jetstream = world.nats.jetstream().await;
    only(&jetstream, 0).await;
    refuse_letters(&jetstream).await;
    // A file where the folder is to be: nobody's permissions matter.
    std::fs::write(folder.path().join("letters"), "").expect("written");
    let mut daemon = world.daemon(&["--dataset", "trades"]);
    publish(&jetstream, (0..50).map(trade).chain([bad(b"{")])).await;
    until("the letter to be held", async || {
        daemon.log().contains("held and not acknowledged")
    })
    .await;
    let floor = async || {
        let stream = jetstream.get_stream("MARKET_DATA").await.expect("there");
        let info = stream.consumer_info("mpsync-trades").await.expect("there");
        info.ack_floor.stream_sequence
    };
    assert!(floor().await <= 50, "the bad message was acknowledged");
    std::fs::remove_file(folder.path().join("letters")).expect("removed");
    until("the letter to be a file", async || {
        files(folder.path()).len() == 1
    })
    .await;
    until("the message to be acknowledged", async || {
        floor().await == 51
    })
    .await;
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.code() == Some(143), "{}", daemon.log());
    check_trades(&world, 50).await;
}

#[tokio::test]
async fn a_letter_that_is_a_file_is_replayed_into_its_position_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path()).await;
    let jetstream = world.nats.jetstream().await;
    only(&jetstream, 0).await;
    refuse_letters(&jetstream).await;
    let (subject, payload) = trade(1);
    let mut fine: Value = serde_json::from_slice(&payload).expect("JSON");
    fine["price"] = "0.12345678901234567891".into();
    publish(
        &jetstream,
        [
            trade(0),
            (subject, fine.to_string().into_bytes()),
            bad(b"{"),
        ],
    )
    .await;
    world.drain("trades").await;
    assert_eq!(files(folder.path()).len(), 2);
    for column in ["price", "quantity"] {
        let sql =
            format!("ALTER TABLE marketprism_hot.trades MODIFY COLUMN {column} Decimal(76, 30)");
        world.hot().execute(&sql).await.expect("altered");
    }
    let fates = lines(&world, &["replay", "--hot-only"]).await;
    let fates: Vec<_> = fates
        .iter()
        .map(|l| l["fate"].as_str().expect("text"))
        .collect();
    assert_eq!(fates, ["remains", "landed"], "{fates:?}");
    let rows: Vec<(u64, String)> = world
        .ask("SELECT stream_seq, toString(price) FROM hot.trades WHERE trade_id = '1'")
        .await;
    assert_eq!(rows, [(2, "0.12345678901234567891".to_owned())]);
    let left = files(folder.path());
    assert!(left.len() == 1 && left[0].ends_with(".3.json"), "{left:?}");
}

#[tokio::test]
async fn letters_that_may_not_be_published_become_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("nats.conf");
    let users = r#"authorization { users: [
        {user: admin, password: secret}
        {user: mpsync, password: secret, permissions: {publish: {deny: ["mpsync_dead_letters.>"]}}}
    ] }"#;
    std::fs::write(&config, users).expect("written");
    let config = config.display().to_string();
    let options = ["--config", &config];
    let (nats, clickhouse) = tokio::join!(NatsServer::start_with(&options), ClickHouse::start());
    let letters = folder.path().join("letters").display().to_string();
    let settings = [
        ("MPSYNC__INGEST__DEAD_LETTER_FOLDER", letters.as_str()),
        ("MPSYNC__NATS__USER", "mpsync"),
        ("MPSYNC__NATS__PASSWORD", "secret"),
    ];
    let world = World::of(nats, clickhouse, &["trades"], &settings).await;
    world.drain("trades").await;
    let admin = async_nats::ConnectOptions::with_user_and_password("admin".into(), "secret".into())
        .connect(world.nats.url())
        .await
        .expect("connects");
    let jetstream = async_nats::jetstream::new(admin);
    publish(&jetstream, [trade(0), bad(b"{"), trade(1)]).await;
    // The server says nothing to the publisher: it is asked twice.
    let report = world.drain("trades").await;
    assert_eq!(report["dead_letters_in_files"], 1, "{report}");
    check_trades(&world, 2).await;
}
