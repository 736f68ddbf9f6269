//! Replay: the archive back into the stream that it came from.

mod guard;
mod kills;
mod streams;
mod targets;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mpsync_core::dataset::builtin;
use serde_json::Value;

use crate::support::clickhouse::ClickHouse;
use crate::support::messages_folder;
use crate::support::nats::NatsServer;
use crate::support::transfer::output_text;

/// An archive of the real messages and of generated ones, and the hot tables that it was exported from.
struct Archived {
    clickhouse: ClickHouse,
    settings: Vec<(String, String)>,
    folder: tempfile::TempDir,
    nats: NatsServer,
}

impl Archived {
    async fn of(generate: u32) -> Self {
        let (nats, clickhouse) = tokio::join!(NatsServer::start(), ClickHouse::start());
        let folder = tempfile::tempdir().unwrap();
        let mut archived = Self {
            clickhouse,
            settings: Vec::new(),
            folder,
            nats,
        };
        archived.settings = archived.settings_of(&archived.nats.url(), "first");
        let all = archived.settings.clone();
        let files: Vec<PathBuf> = [
            "deribit",
            "binance_us_spot",
            "binance_futures",
            "binance_spot",
        ]
        .map(|name| messages_folder().join(format!("{name}.jsonl")))
        .into();
        let files: Vec<&str> = files.iter().map(|f| f.to_str().unwrap()).collect();
        succeed(&all, &["schema", "apply", "--tier", "hot"]);
        succeed(&all, &[&["generate", "--from"], &files[..]].concat());
        succeed(
            &all,
            &[
                "generate",
                "--into-live",
                "--count",
                &generate.to_string(),
                "--seed",
                "7",
                "--start",
                "2025-10-09T08:20:00Z",
            ],
        );
        succeed(&all, &["run", "--drain"]);
        succeed(&all, &["export"]);
        archived
    }

    fn settings_of(&self, nats: &str, database: &str) -> Vec<(String, String)> {
        let port = self.clickhouse.port().to_string();
        let archive = self.archive();
        [
            ("MPSYNC__NATS__URL", nats),
            ("MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT", &port),
            ("MPSYNC__HOT_STORAGE__CLICKHOUSE_DATABASE", database),
            ("MPSYNC__HOT_STORAGE__FLUSH_INTERVAL", "0.2"),
            // A replay that is repeated is known again however long the first one took.
            ("MPSYNC__NATS__DUPLICATE_WINDOW_SECONDS", "3600"),
            ("MPSYNC__ARCHIVE__PATH", archive.to_str().unwrap()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Replays into a file; gives its lines.
    fn lines(&self, name: &str, arguments: &[&str]) -> Vec<String> {
        let file = self.file(name);
        succeed(
            &self.settings,
            &[&["replay", "--into", "jsonl", "--file", &file], arguments].concat(),
        );
        lines(&file)
    }

    fn tier(&self) -> mpsync_clickhouse::Tier {
        let config = mpsync_config::Config::load(None, self.settings.clone()).unwrap();
        mpsync_clickhouse::Tier::new(mpsync_core::dataset::TierRole::Hot, &config.hot)
    }

    async fn execute(&self, sql: &str) {
        self.tier().execute(sql).await.unwrap();
    }

    /// Levels are JSON there, times RFC 3339.
    async fn load_csv(&self, table: &str, csv: &str) {
        let names = csv.lines().next().unwrap();
        let columns: Vec<&str> = names.split(',').collect();
        let mut insert = self
            .tier()
            .insert(table, &columns, "CSVWithNames")
            .with_setting("date_time_input_format", "best_effort")
            .with_setting("input_format_csv_empty_as_default", "1")
            .with_setting("input_format_null_as_default", "0");
        insert.send(csv.to_owned().into()).await.unwrap();
        insert.end().await.unwrap();
    }

    async fn sql(&self, sql: &str) -> String {
        self.tier()
            .query(sql)
            .fetch_one::<String>()
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    }
}

fn lines(file: &str) -> Vec<String> {
    std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn command(settings: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = crate::support::mpsync();
    command
        .envs(settings.iter().cloned())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(settings: &[(String, String)], arguments: &[&str]) -> Output {
    command(settings, arguments).output().unwrap()
}

fn succeed(settings: &[(String, String)], arguments: &[&str]) -> String {
    let output = run(settings, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        output_text(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn event_time(line: &str) -> i64 {
    parsed(line)["payload"]["ts_ms"].as_i64().unwrap()
}

/// The real messages, and `MPSYNC_MESSAGES` generated ones beside them: `just round-trip` says a million.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_ingested_archived_replayed_and_ingested_again_is_the_same() {
    let generated = std::env::var("MPSYNC_MESSAGES").map_or(100_000, |n| n.parse().unwrap());
    let archived = Archived::of(generated).await;
    let other = NatsServer::start().await;
    let second = archived.settings_of(&other.url(), "second");
    succeed(&second, &["schema", "apply", "--tier", "hot"]);
    let report = parsed(&succeed(
        &second,
        &["replay", "--into-live", "--output", "json"],
    ));
    assert_eq!(report["duplicates"], 0, "{report}");
    // A repeated replay changes nothing.
    if generated <= 100_000 {
        let again = ["replay", "--into-live", "--output", "json"];
        let repeated = parsed(&succeed(&second, &again));
        assert_eq!(repeated["duplicates"], report["messages"], "{repeated}");
    }
    succeed(&second, &["run", "--drain"]);
    let mut rows = 0;
    for dataset in builtin() {
        let fingerprint = async |database: &str| {
            let sql = format!(
                "SELECT concat(toString(count()), ' ', toString(sum(cityHash64(tuple(* EXCEPT (stream_epoch, stream_seq, created_at)))))) FROM {database}.{}",
                dataset.table
            );
            archived.sql(&sql).await
        };
        let first = fingerprint("first").await;
        assert_eq!(first, fingerprint("second").await, "{}", dataset.name);
        let count: u64 = first.split(' ').next().unwrap().parse().unwrap();
        assert!(count > 0, "{} has no row", dataset.name);
        rows += count;
    }
    assert_eq!(report["messages"], rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_in_order_and_parts_of_it_are_parts_of_the_whole() {
    let archived = Archived::of(30_000).await;
    let whole = archived.lines("whole.jsonl", &[]);
    assert!(whole.len() > 30_000);
    assert!(
        whole
            .windows(2)
            .all(|pair| event_time(&pair[0]) <= event_time(&pair[1]))
    );
    // Sorted in files, where a window does not fit the memory.
    assert!(archived.lines("sorted.jsonl", &["--memory-limit", "1"]) == whole);
    assert!(archived.lines("unverified.jsonl", &["--no-verify"]) == whole);
    let (from, to) = (1_759_999_800_000, 1_760_000_400_000);
    let in_time: Vec<_> = whole
        .iter()
        .filter(|l| (from..to).contains(&event_time(l)))
        .cloned()
        .collect();
    assert!(!in_time.is_empty());
    let span = [
        "--from",
        "2025-10-09T08:50:00Z",
        "--to",
        "2025-10-09T09:00:00Z",
    ];
    assert!(archived.lines("span.jsonl", &span) == in_time);
    let of_okx = |line: &&String| {
        let line = parsed(line);
        line["payload"]["exchange"] == "okx"
            && line["subject"].as_str().unwrap().starts_with("trade.")
    };
    let okx: Vec<_> = whole.iter().filter(of_okx).cloned().collect();
    assert!(!okx.is_empty());
    assert!(archived.lines("okx.jsonl", &["--dataset", "trades", "--exchange", "okx"]) == okx);
    // What is said of it beforehand and afterwards.
    let plan = parsed(&succeed(
        &archived.settings,
        &["replay", "--dry-run", "--output", "json"],
    ));
    assert_eq!(plan["rows"], whole.len());
    assert!(plan["seconds"].is_null(), "{plan}");
    let hour = [
        "replay",
        "--dry-run",
        "--output",
        "json",
        "--speed",
        "2",
        "--from",
        "2025-10-09T08:30:00Z",
        "--to",
        "2025-10-09T08:40:00Z",
    ];
    let plan = parsed(&succeed(&archived.settings, &hour));
    assert_eq!(plan["seconds"], 300.0, "{plan}");
    let some = [
        "replay",
        "--into",
        "null",
        "--to",
        "2025-01-01",
        "--output",
        "json",
    ];
    let report = parsed(&succeed(&archived.settings, &some));
    let bytes = |name: &str| report[name].as_u64().unwrap();
    assert!(
        bytes("bytes_read") > 0 && bytes("bytes_read") < bytes("archive_bytes"),
        "{report}"
    );
    let contents = parsed(&succeed(
        &archived.settings,
        &["inspect", "--output", "json"],
    ));
    let rows: u64 = contents["datasets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["rows"].as_u64().unwrap())
        .sum();
    assert_eq!(rows, whole.len() as u64);
    let calendar = succeed(
        &archived.settings,
        &["inspect", "--calendar", "--ratio", "--dataset", "trades"],
    );
    assert!(calendar.contains("2025-10-09  ········█"), "{calendar}");
    assert!(
        calendar.contains("days of which nothing is there"),
        "{calendar}"
    );
    // Times that were moved keep their distances.
    let moved = archived.lines("moved.jsonl", &["--shift-to-now", "--dataset", "trades"]);
    let trades = archived.lines("trades.jsonl", &["--dataset", "trades"]);
    let distance = event_time(&moved[0]) - event_time(&trades[0]);
    assert!(distance > 0 && distance % 1000 == 0);
    assert!(
        moved
            .iter()
            .zip(&trades)
            .all(|(m, t)| event_time(m) - event_time(t) == distance)
    );
    for (chunk, what) in [("chunk", ".parquet"), ("manifest", "manifest.json")] {
        let path = find(&archived.archive(), what);
        assert!(
            succeed(
                &archived.settings,
                &["inspect", chunk, path.to_str().unwrap()]
            )
            .contains("stream_seq")
        );
    }
    damage_is_an_error_unless_it_is_passed_over(&archived, &whole);
}

fn find(folder: &Path, ending: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                return path;
            }
        }
    }
    panic!("no {ending}");
}

fn damage_is_an_error_unless_it_is_passed_over(archived: &Archived, whole: &[String]) {
    let chunk = find(&archived.archive().join("trades"), ".parquet");
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&chunk).unwrap();
    std::fs::write(&chunk, bytes).unwrap();
    let failed = run(&archived.settings, &["replay", "--into", "null"]);
    assert_eq!(failed.status.code(), Some(3), "{}", output_text(&failed));
    let passed = parsed(&succeed(
        &archived.settings,
        &[
            "replay",
            "--into",
            "null",
            "--skip-damaged",
            "--output",
            "json",
        ],
    ));
    let skipped = &passed["skipped"][0];
    assert!(
        chunk
            .to_str()
            .unwrap()
            .ends_with(skipped["what"].as_str().unwrap()),
        "{passed}"
    );
    let messages = passed["messages"].as_u64().unwrap() + skipped["rows"].as_u64().unwrap();
    assert_eq!(messages, whole.len() as u64);
}
