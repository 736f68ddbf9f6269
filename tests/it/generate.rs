//! `mpsync generate`: to files and to JetStream.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use mpsync_clickhouse::{TableColumn, TableSchema};
use mpsync_core::dataset::{ColumnType, Dataset, Epoch, Position, builtin};
use mpsync_generate::{Message, read_messages};
use mpsync_ingest::{Decoder, MessageMeta};

use crate::support::nats::NatsServer;
use crate::support::{messages_folder, mpsync};

/// Two hours of events that do not depend on the clock.
const START: &str = "2026-01-01T00:00:00Z";

fn generate(arguments: &[&str]) -> Output {
    let output = mpsync()
        .args(["generate", "--start", START])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Off the test's own runtime, which must go on meanwhile.
async fn generate_to(server: &NatsServer, arguments: &[&str]) -> serde_json::Value {
    let url = server.url();
    let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        mpsync()
            .env("MPSYNC__NATS__URL", url)
            .args([
                "--output",
                "json",
                "generate",
                "--into-live",
                "--start",
                START,
            ])
            .args(&arguments)
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn messages(file: &Path) -> Vec<Message> {
    read_messages(file)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_same_seed_makes_the_same_file_and_another_seed_another() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, seed: &str| -> PathBuf {
        let path = folder.path().join(name);
        generate(&["--seed", seed, "--count", "5000", "--to", text(&path)]);
        path
    };
    let read = |path: &Path| std::fs::read(path).unwrap();
    let first = made("a", "7");
    assert_eq!(messages(&first).len(), 5000);
    assert!(read(&first) == read(&made("b", "7")));
    assert!(read(&first) != read(&made("c", "8")));
    let stdout = generate(&["--seed", "7", "--count", "5000", "--to", "-"]).stdout;
    assert!(stdout == read(&first), "standard output is the file");
}

#[test]
fn every_kind_that_is_made_decodes_to_rows() {
    let folder = tempfile::tempdir().unwrap();
    for dataset in builtin() {
        let path = folder.path().join(dataset.name.as_str());
        generate(&[
            "--dataset",
            dataset.name.as_str(),
            "--count",
            "2000",
            "--to",
            text(&path),
        ]);
        let made = messages(&path);
        assert_eq!(made.len(), 2000);
        let mut decoder = Decoder::new(dataset, &table(dataset)).unwrap();
        let mut subjects = BTreeSet::new();
        for (seq, message) in (1..).zip(&made) {
            subjects.insert(&message.subject);
            let meta = MessageMeta {
                subject: &message.subject,
                position: Position {
                    epoch: Epoch(1),
                    seq,
                },
                stored_at_nanos: 1_767_300_000_000_000_000,
            };
            if let Err(rejection) = decoder.append(&meta, &message.payload) {
                panic!("{}: {rejection}", message.subject);
            }
        }
        assert!(subjects.len() > 1, "{} has one subject only", dataset.name);
        assert_eq!(
            decoder.finish().unwrap().num_rows(),
            2000,
            "{}",
            dataset.name
        );
        assert!(
            decoder.counters().unknown_fields.is_empty(),
            "{:?}",
            decoder.counters()
        );
    }
}

/// The table of a built-in dataset, from the column lines of its DDL.
fn table(dataset: &Dataset) -> TableSchema {
    let column = |line: &str| {
        let (name, rest) = line.trim().strip_prefix('`')?.split_once('`')?;
        let type_text = rest.split(" CODEC(").next().unwrap_or(rest).trim();
        Some(TableColumn {
            name: name.to_owned(),
            column_type: ColumnType::parse(type_text.trim_end_matches(',')).unwrap(),
            default_kind: String::new(),
        })
    };
    TableSchema {
        database: "hot".into(),
        table: dataset.table.clone(),
        engine: "MergeTree".into(),
        partition_key: String::new(),
        sorting_key: String::new(),
        create_query: String::new(),
        columns: dataset.ddl.lines().filter_map(column).collect(),
    }
}

/// What the stream holds: subject, id and payload of each message, in order.
async fn stored(server: &NatsServer) -> Vec<(String, String, Vec<u8>)> {
    let stream = server
        .jetstream()
        .await
        .get_stream("MARKET_DATA")
        .await
        .unwrap();
    let count = usize::try_from(stream.cached_info().state.messages).unwrap();
    let consumer = stream
        .create_consumer(async_nats::jetstream::consumer::pull::OrderedConfig::default())
        .await
        .unwrap();
    let got = consumer.messages().await.unwrap().take(count);
    got.map(|message| {
        let message = message.unwrap().message;
        let id = message.headers.as_ref().and_then(|h| h.get("Nats-Msg-Id"));
        (
            message.subject.to_string(),
            id.map(ToString::to_string).unwrap_or_default(),
            message.payload.to_vec(),
        )
    })
    .collect()
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_in_the_stream_under_its_id_and_repeats_are_named() {
    let server = NatsServer::start().await;
    drop(server.jetstream().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made");
    generate(&["--count", "3000", "--to", text(&file)]);
    let report = generate_to(&server, &["--count", "3000"]).await;
    let published = report["published"].as_u64().unwrap();
    let repeats = report["duplicates"].as_u64().unwrap();
    assert_eq!(published + repeats, 3000, "{report}");

    let stored_first = stored(&server).await;
    assert_eq!(stored_first.len() as u64, published);
    let mut ids = BTreeSet::new();
    let expected: Vec<_> = messages(&file)
        .into_iter()
        .filter(|m| ids.insert(m.msg_id.clone()))
        .map(|m| (m.subject, m.msg_id, m.payload.to_vec()))
        .collect();
    // Which of two messages of one id arrives first is not said: their ids are what must agree.
    let names = |all: &[(String, String, Vec<u8>)]| -> BTreeSet<String> {
        all.iter().map(|(_, id, _)| id.clone()).collect()
    };
    assert_eq!(names(&stored_first), names(&expected));

    // The same file again: JetStream refuses every one, and each is accounted for.
    let again = generate_to(&server, &["--from", text(&file)]).await;
    assert_eq!(again["published"].as_u64(), Some(0), "{again}");
    assert_eq!(again["duplicates"].as_u64(), Some(3000), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_messages_are_published_byte_for_byte() {
    let server = NatsServer::start().await;
    drop(server.jetstream().await);
    let given = messages_folder().join("deribit.jsonl");
    let report = generate_to(&server, &["--from", text(&given)]).await;
    let all: BTreeSet<_> = messages(&given)
        .into_iter()
        .map(|m| (m.subject, m.msg_id, m.payload.to_vec()))
        .collect();
    let ids: BTreeSet<_> = all.iter().map(|(_, id, _)| id).collect();
    let got: BTreeSet<_> = stored(&server).await.into_iter().collect();
    assert!(
        got.is_subset(&all),
        "a message came out other than it went in"
    );
    // Of several messages under one id, JetStream keeps the first that arrives.
    assert_eq!(report["published"].as_u64(), Some(ids.len() as u64));
    assert_eq!(got.len(), ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept() {
    let server = NatsServer::start().await;
    drop(server.jetstream().await);
    let begun = Instant::now();
    let report = generate_to(&server, &["--count", "600", "--rate", "300"]).await;
    // The first second's worth may go at once; what comes too slowly is the machine's doing.
    assert!(begun.elapsed() >= Duration::from_millis(900), "{report}");
    assert!(report["seconds"].as_f64().unwrap() >= 0.9, "{report}");
}

#[test]
fn a_broken_line_and_an_unknown_dataset_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.jsonl");
    std::fs::write(
        &file,
        "{\"subject\":\"a.b\",\"msg_id\":\"1\",\"payload\":{}}\n{\"subject\":1}\n",
    )
    .unwrap();
    let out = folder.path().join("out");
    let run = |arguments: &[&str]| {
        let output = mpsync().arg("generate").args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, error) = run(&["--from", text(&file), "--to", text(&out)]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("broken.jsonl, line 2"), "{error}");
    let (code, error) = run(&["--dataset", "nowhere", "--to", text(&out)]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("nowhere"), "{error}");
}
