//! What goes to NATS and to files of messages: core, ids, orders, symbols, endless replays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::{HeaderMap, Message};
use futures_util::StreamExt as _;
use serde_json::Value;

use super::{Archived, command, lines, parsed, succeed};
use crate::support::PATIENCE;
use crate::support::nats::NatsServer;

/// What a line of a file of messages is: its subject, its id, its payload.
fn parts(line: &str) -> (String, String, Value) {
    let line = parsed(line);
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    (text("subject"), text("msg_id"), line["payload"].clone())
}

async fn all_messages(server: &NatsServer, stream: &str) -> Vec<Message> {
    let mut stream = server.jetstream().await.get_stream(stream).await.unwrap();
    let count = usize::try_from(stream.info().await.unwrap().state.messages).unwrap();
    let consumer = stream
        .create_consumer(pull::OrderedConfig {
            deliver_policy: DeliverPolicy::All,
            ..pull::OrderedConfig::default()
        })
        .await
        .unwrap();
    let messages = consumer.messages().await.unwrap().take(count);
    let messages = messages.map(|message| message.unwrap().message.clone());
    tokio::time::timeout(PATIENCE, messages.collect())
        .await
        .unwrap()
}

fn header(headers: Option<&HeaderMap>, name: &str) -> Option<String> {
    headers?.get(name).map(ToString::to_string)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_to_core_nats_gets_the_messages_with_both_ids() {
    let archived = Archived::of(5000).await;
    let whole = archived.lines("whole.jsonl", &[]);
    let client = async_nats::connect(archived.nats.url()).await.unwrap();
    let mut heard = client.subscribe("again.>").await.unwrap();
    client.flush().await.unwrap();
    succeed(
        &archived.settings,
        &["replay", "--into", "core", "--subject", "again.{subject}"],
    );
    let original = all_messages(&archived.nats, "MARKET_DATA").await;
    let mut originals: BTreeMap<String, usize> = BTreeMap::new();
    for message in &original {
        let id = header(message.headers.as_ref(), "Nats-Msg-Id").unwrap();
        *originals.entry(id).or_default() += 1;
    }
    for line in &whole {
        let message = tokio::time::timeout(PATIENCE, heard.next())
            .await
            .unwrap()
            .unwrap();
        let (subject, msg_id, payload) = parts(line);
        assert_eq!(message.subject.as_str(), format!("again.{subject}"));
        assert_eq!(
            serde_json::from_slice::<Value>(&message.payload).unwrap(),
            payload
        );
        let headers = message.headers.as_ref();
        assert_eq!(header(headers, "Nats-Msg-Id"), Some(msg_id));
        // The id that the publisher gave it, where all of it is in the row.
        if let Some(id) = header(headers, "Mpsync-Publisher-Msg-Id") {
            let left = originals
                .get_mut(&id)
                .unwrap_or_else(|| panic!("{id} was never published"));
            *left = left
                .checked_sub(1)
                .unwrap_or_else(|| panic!("{id} once too often"));
        }
    }
    let left: Vec<_> = originals.iter().filter(|(_, left)| **left > 0).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_option_the_publishers_own_id_is_what_a_stream_knows_a_message_by() {
    let archived = Archived::of(3000).await;
    let other = NatsServer::start().await;
    let settings = archived.settings_of(&other.url(), "first");
    let arguments = [
        "replay",
        "--into-live",
        "--msg-id",
        "publisher",
        "--dataset",
        "trades",
        "--output",
        "json",
    ];
    let report = parsed(&succeed(&settings, &arguments));
    let sent = report["messages"].as_u64().unwrap();
    assert_eq!(report["duplicates"], 0, "{report}");
    let messages = all_messages(&other, "MARKET_DATA").await;
    assert_eq!(messages.len() as u64, sent);
    let ids: BTreeSet<String> = messages
        .iter()
        .map(|message| {
            let headers = message.headers.as_ref();
            let position = header(headers, "Mpsync-Position").unwrap();
            assert!(
                position.contains('-') && !position.contains(':'),
                "{position}"
            );
            header(headers, "Nats-Msg-Id").unwrap()
        })
        .collect();
    assert_eq!(ids.len() as u64, sent);
    assert!(
        ids.iter().all(|id| id.starts_with("trade:")),
        "{:?}",
        ids.first()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_messages_come_in_the_order_and_of_the_symbols_that_are_asked_for() {
    let archived = Archived::of(20_000).await;
    let whole = archived.lines("whole.jsonl", &[]);
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let positions = |lines: &[String]| -> Vec<(u64, u64)> {
        let position = |line: &String| {
            let (epoch, seq) = parts(line)
                .1
                .split_once('-')
                .map(|(e, s)| (e.to_owned(), s.to_owned()))
                .unwrap();
            (epoch.parse().unwrap(), seq.parse().unwrap())
        };
        lines.iter().map(position).collect()
    };
    let by_position = archived.lines("position.jsonl", &["--order", "position"]);
    assert!(positions(&by_position).is_sorted());
    assert!(!positions(&whole).is_sorted());
    let by_arrival = archived.lines("arrival.jsonl", &["--order", "arrival"]);
    let collected: Vec<i64> = by_arrival
        .iter()
        .filter_map(|line| parts(line).2["collected_ts_ms"].as_i64())
        .collect();
    assert!(collected.is_sorted() && collected.len() > 20_000);
    for lines in [by_position, by_arrival] {
        assert!(sorted(lines) == sorted(whole.clone()));
    }
    let symbol = parts(&whole[whole.len() / 2]).2["symbol"]
        .as_str()
        .unwrap()
        .to_owned();
    let of_symbol: Vec<String> = whole
        .iter()
        .filter(|line| parts(line).2["symbol"] == symbol.as_str())
        .cloned()
        .collect();
    assert!(archived.lines("symbol.jsonl", &["--symbol", &symbol]) == of_symbol);
    let unverified = archived.lines("pages.jsonl", &["--symbol", &symbol, "--no-verify"]);
    assert!(unverified == of_symbol);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_replay_begins_again_now_until_it_is_asked_to_end() {
    let archived = Archived::of(3000).await;
    let once = archived.lines("once.jsonl", &["--dataset", "trades"]);
    let file = archived.file("endless.jsonl");
    let arguments = [
        "replay",
        "--into",
        "jsonl",
        "--file",
        &file,
        "--dataset",
        "trades",
        "--loop",
        "--shift-to-now",
    ];
    let mut child = command(&archived.settings, &arguments).spawn().unwrap();
    let began = Instant::now();
    while std::fs::metadata(&file).map_or(0, |found| found.len()) < 3 * 400 * once.len() as u64 {
        assert!(began.elapsed() < PATIENCE, "it does not go on");
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let found = lines(&file);
    assert!(found.len() > 2 * once.len(), "{} lines", found.len());
    let ids: BTreeSet<String> = found.iter().map(|line| parts(line).1).collect();
    assert_eq!(ids.len(), found.len(), "two passes share an id");
    let distances = |lines: &[String]| -> Vec<i64> {
        let times: Vec<i64> = lines.iter().map(|line| super::event_time(line)).collect();
        times.iter().map(|time| time - times[0]).collect()
    };
    for pass in found
        .chunks(once.len())
        .filter(|pass| pass.len() == once.len())
    {
        assert_eq!(distances(pass), distances(&once));
        assert!(super::event_time(&pass[0]) > super::event_time(&once[0]));
    }
}
