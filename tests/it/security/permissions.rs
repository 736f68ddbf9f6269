//! `config/nats/mpsync.conf` gives mpsync what it needs, and nothing that it does not.

use async_nats::jetstream;

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::{NatsServer, publish};
use crate::support::trades::{check_trades, trade};
use crate::support::{PATIENCE, until};

/// A server with the example's accounts, its passwords filled in, its ports and folder those of the test.
async fn server(folder: &std::path::Path) -> NatsServer {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/nats/mpsync.conf");
    let mut config = std::fs::read_to_string(example).expect("the example");
    for (name, password) in [
        ("$NATS_COLLECTOR_PASSWORD", "collects"),
        ("$NATS_MPSYNC_PASSWORD", "ingests"),
        ("$NATS_ADMIN_PASSWORD", "looks"),
    ] {
        assert!(config.contains(name), "{name}");
        config = config.replace(name, password);
    }
    let own = ["listen:", "http:", "store_dir:"];
    config = config
        .lines()
        .filter(|line| !own.iter().any(|key| line.trim_start().starts_with(key)))
        .fold(String::new(), |text, line| text + line + "\n");
    let file = folder.join("nats.conf");
    std::fs::write(&file, config).expect("written");
    NatsServer::start_with(&["--config", file.to_str().expect("text")]).await
}

async fn connect(nats: &NatsServer, user: &str, password: &str) -> jetstream::Context {
    let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
    let client = options.connect(nats.url()).await.expect("connects");
    let mut context = jetstream::new(client);
    context.set_timeout(PATIENCE);
    context
}

/// The same connection for what is forbidden, which gets no answer.
fn brief(context: &jetstream::Context) -> jetstream::Context {
    let mut context = context.clone();
    context.set_timeout(std::time::Duration::from_secs(2));
    context
}

#[tokio::test]
async fn ingest_and_dead_letters_work_with_the_rights_of_the_example_and_more_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (nats, clickhouse) = tokio::join!(server(folder.path()), ClickHouse::start());
    let settings = [
        ("MPSYNC__NATS__USER", "mpsync"),
        ("MPSYNC__NATS__PASSWORD", "ingests"),
    ];
    let world = World::of(nats, clickhouse, &["trades"], &settings).await;
    // Makes the stream, the dead letters' stream and the consumer.
    world.drain("trades").await;
    let collector = connect(&world.nats, "collector", "collects").await;
    publish(&collector, (0..3000).map(trade)).await;
    publish(&collector, [("trade.x.y.z".into(), b"no JSON".to_vec())]).await;
    let report = world.drain("trades").await;
    assert_eq!(report["rows"], 3000, "{report}");
    check_trades(&world, 3000).await;
    // A second life asks for what is held and sets its consumer back.
    world.drain("trades").await;
    for (arguments, said) in [
        (&["dead-letters", "list"][..], "trades"),
        (&["dead-letters", "replay"], ""),
        (&["dead-letters", "discard", "--yes"], ""),
    ] {
        let mut command = tokio::process::Command::from(crate::support::mpsync());
        command.envs(world.settings.clone()).args(arguments);
        let output = command.output().await.expect("it runs");
        let text = crate::support::transfer::output_text(&output);
        assert!(text.contains(said), "{arguments:?}: {text}");
        assert!(
            !text.to_lowercase().contains("permission"),
            "{arguments:?}: {text}"
        );
    }

    let mpsync = connect(&world.nats, "mpsync", "ingests").await;
    mpsync.get_stream("MARKET_DATA").await.expect("it may look");
    let mut looks = None;
    until("it looks, as quickly as is asked for", async || {
        looks = brief(&mpsync).get_stream("MARKET_DATA").await.ok();
        looks.is_some()
    })
    .await;
    let stream = looks.expect("the stream");
    let (mpsync, collector) = (brief(&mpsync), brief(&collector));
    let (subject, payload) = trade(1);
    let refused = mpsync.publish(subject, payload.into()).await;
    assert!(
        refused.expect("it is sent").await.is_err(),
        "mpsync publishes market data"
    );
    assert!(stream.purge().await.is_err(), "mpsync purges");
    assert!(
        stream.delete_message(1).await.is_err(),
        "mpsync deletes market data"
    );
    assert!(
        mpsync.delete_stream("MARKET_DATA").await.is_err(),
        "mpsync deletes the stream"
    );
    assert!(
        collector.get_stream("MARKET_DATA").await.is_err(),
        "the collector reads"
    );
    let elsewhere = collector.publish("other.subject", "x".into()).await;
    assert!(
        elsewhere.expect("it is sent").await.is_err(),
        "the collector publishes messages other than market data"
    );
}

/// The engine knows no users, so that what the rights allow is not tried here: only that a server of this version reads them, and
/// that no table is forgotten.
#[tokio::test]
async fn the_script_of_users_is_sql_and_names_every_table_of_every_built_in_dataset() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/clickhouse/users.sql");
    let script = std::fs::read_to_string(path).expect("the script");
    let lines: Vec<&str> = script
        .lines()
        .map(|line| line.strip_prefix("-- GRANT").map_or(line, |_| &line[3..]))
        .filter(|line| !line.starts_with("--") && !line.is_empty())
        .collect();
    let clickhouse = ClickHouse::start().await;
    let world = World::without_tables(NatsServer::start().await, clickhouse);
    for line in &lines {
        let statement = line.strip_suffix(';').expect("one statement a line");
        let tier = world.hot();
        let formatted = tier
            .query("SELECT formatQuerySingleLine({statement:String})")
            .param("statement", statement)
            .fetch_one::<String>()
            .await;
        formatted.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    for dataset in mpsync_core::dataset::builtin() {
        let table = &dataset.table;
        for right in [
            format!("SELECT, INSERT ON marketprism_hot.{table}, "),
            format!("DROP VIEW ON marketprism_hot.{table}_in_* TO mpsync_hot_ingest"),
            format!("SELECT, INSERT, ALTER DELETE ON marketprism_hot.{table}, "),
            format!("SELECT, INSERT, ALTER DELETE ON marketprism_cold.{table}, "),
        ] {
            assert!(lines.iter().any(|line| line.contains(&right)), "{right}");
        }
    }
}
