//! A daemon from the example configuration, and one from the configuration of the system that it replaces.

use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use mpsync_generate::{Generator, GeneratorOptions};
use serde_json::Value;

use super::{OFTEN, both_ready, metric, until_stats};
use crate::http::{ask, json};
use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::{Daemon, own_places};
use crate::support::mpsync;
use crate::support::nats::{NatsServer, publish};
use crate::support::trades::trade_at;

/// The example with only ports changed; its relative folders lie beside it.
fn example(nats: &NatsServer, clickhouse: &ClickHouse, folder: &Path) -> std::path::PathBuf {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tiered_storage_config.yaml.example");
    let text = std::fs::read_to_string(path).expect("the example");
    let port = format!("clickhouse_http_port: {}", clickhouse.port());
    let text = text
        .replace("nats://127.0.0.1:4222", &nats.url())
        .replace("clickhouse_http_port: 8123", &port)
        .replace("127.0.0.1:8085", "127.0.0.1:0")
        .replace("127.0.0.1:8086", "127.0.0.1:0");
    let file = folder.join("config.yaml");
    std::fs::write(&file, text).expect("written");
    file
}

fn apply_schema(file: &Path) {
    for tier in ["hot", "cold"] {
        let mut command = mpsync();
        command.arg("--config").arg(file);
        command.args(["schema", "apply", "--tier", tier]);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
    }
}

fn run(file: &Path, folder: &Path) -> Command {
    let mut command = mpsync();
    command.arg("--config").arg(file).arg("run");
    own_places(&mut command, folder);
    command
}

/// Messages of all kinds.
fn messages(seed: u64, count: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    let options = GeneratorOptions {
        seed,
        count,
        span_ms: 2 * 3_600_000,
        ..GeneratorOptions::default()
    };
    let generator = Generator::new(options).expect("good options");
    generator.map(|message| (message.subject, message.payload.to_vec()))
}

/// Whether every message is a row or a dead letter, and every row is in hot, in the archive and in cold.
fn all_there(stats: &Value, published: u64) -> bool {
    let datasets = stats["ingest"]["datasets"].as_array().expect("datasets");
    let rows: u64 = datasets.iter().filter_map(|d| d["rows"].as_u64()).sum();
    let letters = stats["ingest"]["dead_letters"].as_u64().unwrap_or(0);
    let places = [
        &stats["tiers"]["hot"]["rows"],
        &stats["tiers"]["cold"]["rows"],
        &stats["archive"]["rows"],
    ];
    rows + letters == published && rows > 0 && places.iter().all(|place| **place == rows)
}

#[tokio::test]
async fn the_example_runs_both_sides_and_two_syncs_and_everything_is_found_over_http() {
    let folder = tempfile::tempdir().expect("a folder");
    let (nats, clickhouse) = tokio::join!(NatsServer::start(), ClickHouse::start());
    let file = example(&nats, &clickhouse, folder.path());
    apply_schema(&file);
    let mut command = run(&file, folder.path());
    command
        .args(["--mode", "both", "--log", "mpsync=debug"])
        .env("MPSYNC__SYNC__INTERVAL_HOURS", OFTEN);
    let mut daemon = Daemon::spawn(command, folder.path().join("log"));
    let doors = both_ready(&daemon).await;
    let address = &doors[0];
    let jetstream = nats.jetstream().await;
    let ok = |address: &str| metric(address, "mpsync_sync_runs_total{result=\"ok\"}");

    publish(&jetstream, messages(1, 1500)).await;
    until_stats(address, "the first messages everywhere", |stats| {
        all_there(stats, 1500)
    })
    .await;
    let before = ok(address).expect("a sync");
    // The same hours again: supplements.
    publish(&jetstream, messages(2, 500)).await;
    until_stats(
        address,
        "all messages everywhere, after a second sync",
        |stats| all_there(stats, 2000) && ok(address) > Some(before),
    )
    .await;

    for door in &doors {
        check_stats(&json(door, "/stats"));
        let (status, health) = ask(door, "GET", "/health", "", "");
        assert_eq!(status, 200, "{health}");
        let (status, page) = ask(door, "GET", "/", "", "");
        assert!(status == 200 && page.contains("<html"), "{page}");
    }
    check_metrics(address);
    check_steps(&daemon);
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ended().await.code(), Some(143));
}

fn check_stats(stats: &Value) {
    let of = |list: &Value, name: &str| {
        let all = list.as_array().expect("datasets");
        let found = all.iter().find(|d| d["dataset"] == name);
        found.expect("the dataset").clone()
    };
    for dataset in stats["ingest"]["datasets"].as_array().expect("datasets") {
        let name = dataset["dataset"].as_str().expect("a name");
        let rows = &dataset["rows"];
        let cold = of(&stats["tiers"]["cold"]["datasets"], name);
        let hot = of(&stats["tiers"]["hot"]["datasets"], name);
        let archived = of(&stats["archive"]["datasets"], name);
        assert_eq!(
            [&hot["rows"], &cold["rows"], &archived["rows"]],
            [rows; 3],
            "{name}"
        );
        if *rows != 0 {
            let span = |tier: &Value| {
                ["oldest", "newest"].map(|end| {
                    let moment = tier[end].as_str().expect("a moment");
                    moment.parse::<Timestamp>().expect("a moment")
                })
            };
            assert_eq!(span(&hot), span(&cold), "{name}");
            assert!(span(&hot)[0] <= span(&hot)[1], "{name}");
            assert!(dataset["last_insert_at"].is_string(), "{dataset}");
        }
    }
    let sync = &stats["sync"];
    assert_eq!(sync["schedule"], "every 1s 980ms", "{sync}");
    assert!(sync["next_at"].is_string() && sync["halted"] == 0, "{sync}");
    assert_eq!(sync["last"]["ok"], true, "{sync}");
}

fn check_metrics(address: &str) {
    let of = |sample: &str| metric(address, sample).unwrap_or_else(|| panic!("no {sample}"));
    let trades = of("mpsync_ingest_rows_total{dataset=\"trades\"}");
    assert!(trades > 0.0);
    for sample in [
        "mpsync_transfer_rows_total{dataset=\"trades\"}",
        "mpsync_tier_rows{dataset=\"trades\",tier=\"cold\"}",
        "mpsync_archive_rows{dataset=\"trades\"}",
    ] {
        assert!(
            (of(sample) - trades).abs() < 0.5,
            "{sample} is not {trades}"
        );
    }
    let inserts = of("mpsync_ingest_inserts_total{dataset=\"trades\"}");
    let counted = of("mpsync_ingest_insert_duration_seconds_count{dataset=\"trades\"}");
    assert!((inserts - counted).abs() < 0.5);
    assert!(of("mpsync_transfer_windows_total{dataset=\"trades\",result=\"done\"}") >= 2.0);
    assert!(of("mpsync_transfer_bytes_total{dataset=\"trades\"}") > 0.0);
    assert!(of("mpsync_transfer_tasks{status=\"done\"}") >= 2.0);
    for status in ["queued", "running", "waiting", "halted", "cancelled"] {
        of(&format!("mpsync_transfer_tasks{{status=\"{status}\"}}"));
    }
    for step in ["exporting", "loading", "moving"] {
        let sample = format!("mpsync_transfer_step_duration_seconds_count{{step=\"{step}\"}}");
        assert!(of(&sample) >= 2.0, "{sample}");
    }
    assert!(of("process_resident_memory_bytes") > 1e6);
    assert!(of("process_cpu_seconds_total") > 0.0);
    assert!(of("process_open_fds") > 3.0);
    assert!(of("process_start_time_seconds") > 1.6e9);
}

/// Each step of a transfer is one line with how long it took, what it moved, and its task.
fn check_steps(daemon: &Daemon) {
    let lines = daemon.lines("step ended");
    for step in ["exporting", "loading", "moving"] {
        let of_step: Vec<_> = lines.iter().filter(|line| line["step"] == step).collect();
        assert!(!of_step.is_empty(), "no line of {step}");
        for line in of_step {
            assert!(line["duration"].is_f64(), "{line}");
            assert!(line["rows"].as_u64() > Some(0), "{line}");
            assert!(line["bytes"].as_u64() > Some(0), "{line}");
            let task = &line["spans"][0];
            let id = task["id"].as_str().expect("the task's id");
            let dataset = task["dataset"].as_str().expect("a dataset");
            assert!(id.starts_with(&format!("{dataset}@20")), "{line}");
        }
    }
}

/// As the system that mpsync replaces is configured: its keys, each of them.
fn old_configuration(nats: &NatsServer, clickhouse: &ClickHouse) -> String {
    let (url, port) = (nats.url(), clickhouse.port());
    format!(
        "\
nats:
  url: \"{url}\"
  max_reconnect_attempts: 10

hot_storage:
  clickhouse_host: \"localhost\"
  clickhouse_http_port: {port}
  clickhouse_user: \"default\"
  clickhouse_password: \"\"
  clickhouse_database: \"marketprism_hot\"
  retention_days: 3
  batch_size: 1000
  flush_interval: 1.0

cold_storage:
  clickhouse_host: \"localhost\"
  clickhouse_http_port: {port}
  clickhouse_user: \"default\"
  clickhouse_password: \"\"
  clickhouse_database: \"marketprism_cold\"
  retention_days: 365
  batch_size: 5000
  flush_interval: 5.0

sync:
  interval_hours: 6
  batch_hours: 24
  cleanup_enabled: true
  cleanup_delay_hours: 2
"
    )
}

#[tokio::test]
async fn the_configuration_of_the_system_that_it_replaces_starts_it_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let (nats, clickhouse) = tokio::join!(NatsServer::start(), ClickHouse::start());
    let file = folder.path().join("tiered_storage_config.yaml");
    std::fs::write(&file, old_configuration(&nats, &clickhouse)).expect("written");
    apply_schema(&file);
    let start = |log: &str| {
        let mut command = run(&file, folder.path());
        command.current_dir(folder.path()).envs([
            ("STORAGE_MODE", "both"),
            ("LOG_LEVEL", "INFO"),
            ("ENVIRONMENT", "development"),
        ]);
        Daemon::spawn(command, folder.path().join(log))
    };
    let mut daemon = start("first");
    let doors = both_ready(&daemon).await;
    let jetstream = nats.jetstream().await;
    // Older than hot keeps rows, and than cleanup waits; younger than cold gives them up.
    let days_ago = Timestamp::now().as_millisecond().unsigned_abs() - 5 * 86_400_000;
    publish(&jetstream, (0..500).map(|n| trade_at(days_ago, n))).await;
    until_stats(&doors[0], "all rows in hot", |stats| {
        stats["tiers"]["hot"]["rows"] == 500
    })
    .await;
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ended().await.code(), Some(143));
    // The first run of a process comes at once, six hours or not.
    let daemon = start("second");
    let doors = both_ready(&daemon).await;
    until_stats(&doors[1], "all rows in cold, and none in hot", |stats| {
        stats["archive"]["rows"] == 500
            && stats["tiers"]["cold"]["rows"] == 500
            && stats["tiers"]["hot"]["rows"] == 0
            && stats["sync"]["last"]["ok"] == true
    })
    .await;
    let sync = json(&doors[1], "/stats")["sync"].clone();
    assert_eq!(sync["schedule"], "every 6h", "{sync}");
    assert_eq!(sync["last"]["ok"], true, "{sync}");
}
