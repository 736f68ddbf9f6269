//! The checks after a drain: hot and the dead letters are compared with the stream, and both with an undisturbed ingest of the
//! same stream.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::{self, stream::Stream};
use futures_util::StreamExt as _;
use mpsync_ingest::{DETAIL_HEADER, REASON_HEADER, SEQUENCE_HEADER, SUBJECT_HEADER};
use serde_json::Value;

use super::load::{Acknowledged, DATASETS, fingerprint, is_whole};
use crate::support::daemon::{World, dataset};

/// Of how many messages the values are compared field by field; of all of them the hash is.
const SAMPLES: u64 = 30_000;

/// The contents of the stream.
#[derive(Default)]
struct Published {
    /// The sequences of those that can be rows, by table.
    rows: BTreeMap<&'static str, BTreeSet<u64>>,
    damaged: BTreeMap<u64, u64>,
    samples: BTreeMap<u64, Value>,
}

/// Everything.
pub(super) async fn all(world: &mut World, acknowledged: &Acknowledged) {
    let jetstream = world.nats.jetstream().await;
    let published = read(&jetstream, acknowledged).await;
    let mut findings = check_dead_letters(&jetstream, &published.damaged).await;
    for (table, sequences) in &published.rows {
        findings.extend(check_positions(world, table, sequences).await);
    }
    if !findings.is_empty() {
        // What was found out about the stream on the way.
        for text in ["rewound", "dropped messages"] {
            findings.extend(world.logged(text));
        }
        panic!("{}", findings.join("\n"));
    }
    check_values(world, &published.samples).await;
    let gates: Vec<String> = world
        .ask("SELECT name FROM system.tables WHERE database = 'marketprism_hot' AND position(name, '_in_') > 0")
        .await;
    assert!(gates.is_empty(), "{gates:?}");
    ingest_undisturbed(world, &jetstream).await;
    for table in published.rows.keys() {
        compare_hashes(world, table).await;
    }
}

async fn stream(jetstream: &jetstream::Context, name: &str) -> (Stream, u64) {
    let mut stream = jetstream.get_stream(name).await.expect("the stream");
    let state = &stream.info().await.expect("its state").state;
    assert!(
        state.messages == 0 || state.first_sequence == 1,
        "the stream dropped something"
    );
    let messages = state.messages;
    assert_eq!(messages, state.last_sequence);
    (stream, messages)
}

/// Reads the stream; every acknowledged message must be in it, as it was published.
async fn read(jetstream: &jetstream::Context, acknowledged: &Acknowledged) -> Published {
    let (stream, count) = stream(jetstream, "MARKET_DATA").await;
    let mut published = Published::default();
    let mut unknown = Vec::new();
    each(&stream, count, |seq, message| {
        let print = fingerprint(&message.subject, &message.payload);
        match acknowledged.get(&seq) {
            Some(known) => assert_eq!(*known, print, "message {seq} is another one"),
            None => unknown.push(seq),
        }
        let table = match message.subject.split('.').next() {
            Some("trade") => "trades",
            Some("orderbook") => "orderbooks",
            Some("liquidation") => "liquidations",
            other => panic!("message {seq} is of {other:?}"),
        };
        if !is_whole(&message.payload) {
            published.damaged.insert(seq, print);
            return;
        }
        published.rows.entry(table).or_default().insert(seq);
        if seq.is_multiple_of(count.div_ceil(SAMPLES)) {
            let value = serde_json::from_slice(&message.payload).expect("JSON");
            published.samples.insert(seq, value);
        }
    })
    .await;
    assert!(
        unknown.is_empty(),
        "stored, but never acknowledged: {unknown:?}"
    );
    assert_eq!(
        count,
        acknowledged.len() as u64,
        "acknowledged messages are gone from the stream"
    );
    published
}

/// Calls a function with every message.
async fn each(stream: &Stream, count: u64, mut look: impl FnMut(u64, &async_nats::Message)) {
    if count == 0 {
        return;
    }
    let consumer = stream
        .create_consumer(OrderedConfig::default())
        .await
        .expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    for seq in 1..=count {
        let message = messages
            .next()
            .await
            .expect("a message")
            .expect("a message");
        assert_eq!(message.info().expect("its place").stream_sequence, seq);
        look(seq, &message);
    }
}

/// Each sequence is there once, in one epoch, and no other; says what is not so.
async fn check_positions(world: &World, table: &str, expected: &BTreeSet<u64>) -> Vec<String> {
    let facts: Vec<(u64, u64, u64, u64, u64)> = world
        .ask(&format!(
            "SELECT count(), uniqExact(stream_epoch, stream_seq), min(stream_seq), max(stream_seq), \
             uniqExact(stream_epoch) FROM hot.{table}"
        ))
        .await;
    let rows: Vec<u64> = world
        .ask(&format!(
            "SELECT stream_seq FROM hot.{table} ORDER BY stream_seq"
        ))
        .await;
    let doubled: Vec<u64> = rows
        .windows(2)
        .filter(|w| w[0] == w[1])
        .map(|w| w[0])
        .collect();
    let found: BTreeSet<u64> = rows.into_iter().collect();
    let missing: Vec<u64> = expected.difference(&found).copied().collect();
    let foreign: Vec<u64> = found.difference(expected).copied().collect();
    let mut findings = Vec::new();
    for (what, some) in [
        ("doubled", doubled),
        ("missing", missing),
        ("foreign", foreign),
    ] {
        if !some.is_empty() {
            let first = &some[..some.len().min(10)];
            findings.push(format!(
                "{table}: {} {what}, the first {first:?}",
                some.len()
            ));
        }
    }
    let count = expected.len() as u64;
    let (low, high) = (
        expected.first().expect("rows"),
        expected.last().expect("rows"),
    );
    if facts != [(count, count, *low, *high, 1)] {
        findings.push(format!(
            "{table}: {facts:?} instead of {count} rows of one epoch, {low} to {high}"
        ));
    }
    findings
}

/// Each damaged message is one dead letter, with its bytes; says what is not so.
async fn check_dead_letters(
    jetstream: &jetstream::Context,
    damaged: &BTreeMap<u64, u64>,
) -> Vec<String> {
    let (stream, count) = stream(jetstream, "MPSYNC_DEAD_LETTERS").await;
    let mut findings = Vec::new();
    let mut found = BTreeSet::new();
    each(&stream, count, |_, letter| {
        let header = |name: &str| {
            let headers = letter.headers.as_ref();
            headers
                .and_then(|h| h.get(name))
                .expect("a header")
                .as_str()
        };
        let seq: u64 = header(SEQUENCE_HEADER).parse().expect("a sequence");
        let print = fingerprint(header(SUBJECT_HEADER), &letter.payload);
        if !found.insert(seq) || damaged.get(&seq) != Some(&print) {
            let (reason, detail) = (header(REASON_HEADER), header(DETAIL_HEADER));
            findings.push(format!(
                "message {seq} is a dead letter that should not be: {reason}, {detail}"
            ));
        }
    })
    .await;
    let missing: Vec<&u64> = damaged.keys().filter(|seq| !found.contains(seq)).collect();
    if !missing.is_empty() {
        findings.push(format!(
            "damaged messages that did not become dead letters: {missing:?}"
        ));
    }
    findings
}

/// The rows say what their messages say, read by other means than ours.
async fn check_values(world: &World, samples: &BTreeMap<u64, Value>) {
    let mut seen = 0;
    let trades: Vec<(u64, i64, String, String, String, String)> = world
        .ask(
            "SELECT stream_seq, toUnixTimestamp64Milli(timestamp), trade_id, toString(side), toString(price), \
             toString(quantity) FROM hot.trades",
        )
        .await;
    for (seq, millis, id, side, price, quantity) in trades {
        let Some(p) = samples.get(&seq) else { continue };
        let row = (
            Some(millis),
            Some(id.as_str()),
            Some(side.as_str()),
            price,
            quantity,
        );
        let message = (
            p["ts_ms"].as_i64(),
            p["trade_id"].as_str(),
            p["side"].as_str(),
            plain(&p["price"]),
            plain(&p["quantity"]),
        );
        assert_eq!(row, message, "trade {seq}");
        seen += 1;
    }
    let books: Vec<Book> = world
        .ask(
            "SELECT stream_seq AS seq, toUnixTimestamp64Milli(timestamp) AS millis, \
             arrayMap(l -> (toString(l.1), toString(l.2)), bids) AS bids, \
             arrayMap(l -> (toString(l.1), toString(l.2)), asks) AS asks FROM hot.orderbooks",
        )
        .await;
    for book in books {
        let Some(p) = samples.get(&book.seq) else {
            continue;
        };
        let message = (p["ts_ms"].as_i64(), levels(&p["bids"]), levels(&p["asks"]));
        let row = (Some(book.millis), book.bids, book.asks);
        assert_eq!(row, message, "book {}", book.seq);
        seen += 1;
    }
    let liquidations: Vec<(u64, i64, String, String)> = world
        .ask(
            "SELECT stream_seq, toUnixTimestamp64Milli(timestamp), toString(assumeNotNull(price)), \
             toString(assumeNotNull(quantity)) FROM hot.liquidations",
        )
        .await;
    for (seq, millis, price, quantity) in liquidations {
        let Some(p) = samples.get(&seq) else { continue };
        let message = (
            p["ts_ms"].as_i64(),
            plain(&p["price"]),
            plain(&p["quantity"]),
        );
        assert_eq!(
            (Some(millis), price, quantity),
            message,
            "liquidation {seq}"
        );
        seen += 1;
    }
    assert_eq!(seen, samples.len());
}

#[derive(clickhouse::Row, serde::Deserialize)]
struct Book {
    seq: u64,
    millis: i64,
    bids: Vec<(String, String)>,
    asks: Vec<(String, String)>,
}

fn levels(side: &Value) -> Vec<(String, String)> {
    let level = |l: &Value| match l {
        Value::Array(pair) => (plain(&pair[0]), plain(&pair[1])),
        object => (plain(&object["price"]), plain(&object["quantity"])),
    };
    side.as_array().expect("levels").iter().map(level).collect()
}

/// A number as ClickHouse writes a decimal: without an exponent and without trailing zeros.
fn plain(number: &Value) -> String {
    let text = match number {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().expect("an exponent");
    let (sign, mantissa) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |m| ("-", m));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).expect("few digits") + exponent;
    let (before, after) = match usize::try_from(point) {
        Ok(at) if at >= digits.len() => (format!("{digits:0<at$}"), String::new()),
        Ok(at) => (digits[..at].to_owned(), digits[at..].to_owned()),
        Err(_) => {
            let zeros = usize::try_from(-point).expect("a small number");
            (String::new(), "0".repeat(zeros) + &digits)
        }
    };
    let (before, after) = (before.trim_start_matches('0'), after.trim_end_matches('0'));
    let before = if before.is_empty() { "0" } else { before };
    match after {
        "" if before == "0" => "0".to_owned(),
        "" => format!("{sign}{before}"),
        after => format!("{sign}{before}.{after}"),
    }
}

/// Ingests the whole stream again, into a database of its own.
async fn ingest_undisturbed(world: &mut World, jetstream: &jetstream::Context) {
    let (stream, _) = stream(jetstream, "MARKET_DATA").await;
    for dataset in DATASETS.split(',') {
        stream
            .delete_consumer(&format!("mpsync-{dataset}"))
            .await
            .expect("deleted");
    }
    for (name, value) in [("CLICKHOUSE_DATABASE", "fresh"), ("BATCH_SIZE", "20000")] {
        world.set(&format!("MPSYNC__HOT_STORAGE__{name}"), value);
    }
    let datasets: Vec<_> = DATASETS.split(',').map(dataset).collect();
    world
        .hot()
        .apply_schema(&datasets)
        .await
        .expect("the tables are made");
    let output = world.run(&["--drain", "--dataset", DATASETS]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Each row is in both databases, once in each, with the same hash over all columns.
async fn compare_hashes(world: &World, table: &str) {
    let other: Vec<(u64, u64)> = world
        .ask(&format!(
            "SELECT seq, count() FROM (SELECT stream_epoch AS epoch, stream_seq AS seq, cityHash64(tuple(*)) AS hash FROM hot.{table} \
             UNION ALL SELECT stream_epoch, stream_seq, cityHash64(tuple(*)) FROM fresh.{table}) \
             GROUP BY epoch, seq, hash HAVING count() != 2 ORDER BY seq LIMIT 10"
        ))
        .await;
    assert!(
        other.is_empty(),
        "{table}: rows of another hash than an undisturbed ingest has: {other:?}"
    );
}

#[test]
fn a_number_in_any_form_is_written_without_exponent_and_trailing_zeros() {
    for (form, expected) in [
        ("9.2E-7", "0.00000092"),
        ("1e3", "1000"),
        ("-12.50", "-12.5"),
        ("0.0", "0"),
        ("-0", "0"),
        ("100", "100"),
        ("1.25e1", "12.5"),
    ] {
        assert_eq!(plain(&Value::String(form.to_owned())), expected, "{form}");
    }
}
