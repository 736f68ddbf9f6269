//! The demo is a test: the whole road, and then every real message looked for in cold, value for value.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Stdio;

use mpsync_clickhouse::Tier;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::value::RawValue;

use crate::support::{messages_folder, start_demo};

/// First token of the subject, table, fields with their SQL.
type Kind = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// The fields of each kind, with the SQL expression of the column that must hold the same value as text.
const FIELDS: [Kind; 3] = [
    (
        "orderbook",
        "orderbooks",
        &[
            ("last_update_id", "toString(last_update_id)"),
            (
                "bids",
                "arrayMap(level -> [toString(level.price), toString(level.quantity)], bids)",
            ),
            (
                "asks",
                "arrayMap(level -> [toString(level.price), toString(level.quantity)], asks)",
            ),
        ],
    ),
    (
        "trade",
        "trades",
        &[
            ("trade_id", "trade_id"),
            ("price", "toString(price)"),
            ("quantity", "toString(quantity)"),
            ("side", "side"),
            ("is_maker", "is_maker"),
            ("trade_ts_ms", "toUnixTimestamp64Milli(trade_time)"),
        ],
    ),
    (
        "open_interest",
        "open_interests",
        &[
            ("instrument_id", "instrument_id"),
            ("open_interest_value", "toString(open_interest_value)"),
            ("open_interest_usd", "toString(open_interest_usd)"),
            ("open_interest_unit", "open_interest_unit"),
        ],
    ),
];

/// The fields of every kind.
const COMMON: [(&str, &str); 6] = [
    ("exchange", "exchange"),
    ("market_type", "market_type"),
    ("symbol", "symbol"),
    ("data_source", "data_source"),
    ("ts_ms", "toUnixTimestamp64Milli(timestamp)"),
    ("collected_ts_ms", "toUnixTimestamp64Milli(collected_at)"),
];

type Fields = BTreeMap<String, Box<RawValue>>;

#[derive(serde::Deserialize)]
struct Line {
    subject: String,
    msg_id: String,
    payload: Fields,
}

/// The real messages that JetStream takes: the first of each id, in order, so that the nth has sequence n.
fn accepted_messages(folder: &Path) -> Vec<Line> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    let mut seen = HashSet::new();
    let read = |path| std::fs::read_to_string(path).unwrap();
    let texts: Vec<_> = files.into_iter().map(read).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines
        .map(|line| serde_json::from_str::<Line>(line).unwrap())
        .filter(|l| seen.insert(l.msg_id.clone()))
        .collect()
}

/// A JSON value in one form: numbers and numeric text as plain decimals without exponent or outer zeros.
fn canonical(raw: &RawValue) -> String {
    let text = raw.get();
    if let Ok(items) = serde_json::from_str::<Vec<Box<RawValue>>>(text) {
        return format!(
            "[{}]",
            items
                .iter()
                .map(|item| canonical(item))
                .collect::<Vec<_>>()
                .join(",")
        );
    }
    if let Ok(level) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text) {
        return format!(
            "[{},{}]",
            canonical(&level["price"]),
            canonical(&level["quantity"])
        );
    }
    let bare = text.trim_matches('"');
    plain_decimal(bare).unwrap_or_else(|| bare.to_owned())
}

/// Returns `0.00000092` for `9.20E-7`; `None` if the text is not a number.
fn plain_decimal(text: &str) -> Option<String> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, digits) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty()
        || !whole
            .chars()
            .chain(fraction.chars())
            .all(|c| c.is_ascii_digit())
    {
        return None;
    }
    let mut all = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    if point <= 0 {
        all = format!("{}{all}", "0".repeat(usize::try_from(1 - point).ok()?));
    }
    let point = usize::try_from(point.max(1)).ok()?;
    all.push_str(&"0".repeat(point.saturating_sub(all.len())));
    let (whole, fraction) = all.split_at(point);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        other => other,
    };
    let fraction = fraction.trim_end_matches('0');
    Some(if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    })
}

#[test]
fn a_decimal_has_one_plain_form() {
    for (text, plain) in [
        ("9.20E-7", "0.00000092"),
        ("1e3", "1000"),
        ("0.10", "0.1"),
        ("007", "7"),
        ("0.0", "0"),
        ("-1.50", "-1.5"),
    ] {
        assert_eq!(plain_decimal(text).as_deref(), Some(plain));
    }
    assert_eq!(plain_decimal("BTC-24SEP21"), None);
}

async fn rows_by_seq(tier: &Tier, table: &str, fields: &[(&str, &str)]) -> BTreeMap<u64, Fields> {
    let columns: Vec<_> = fields
        .iter()
        .map(|(field, sql)| format!("{sql} AS f_{field}"))
        .collect();
    let sql = format!(
        "SELECT toString(stream_seq) AS seq, {} FROM {}",
        columns.join(", "),
        tier.table(table)
    );
    let query = tier
        .query(&sql)
        .with_setting("output_format_json_quote_64bit_integers", "0");
    let bytes = tier
        .select(query, "JSONEachRow")
        .unwrap()
        .collect()
        .await
        .unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let parse = |line: &str| {
        let mut row: Fields = serde_json::from_str(line).unwrap();
        let seq: String = serde_json::from_str(row.remove("seq").unwrap().get()).unwrap();
        (seq.parse().unwrap(), row)
    };
    text.lines().map(parse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_accounts_for_every_message_and_cold_holds_every_real_value() {
    let folder = tempfile::tempdir().unwrap();
    let demo = start_demo(folder.path(), 20_000).await;
    let report = demo
        .run(&tokio_util::sync::CancellationToken::new())
        .await
        .unwrap();
    println!("{}", report.table());
    report.audit().unwrap();

    let messages = accepted_messages(&messages_folder());
    assert_eq!(
        messages.len(),
        3620,
        "3636 messages, 16 of them with an id that one before them bore"
    );
    let mut compared = 0;
    for (kind, table, own) in FIELDS {
        let fields: Vec<_> = COMMON.iter().chain(own).copied().collect();
        let rows = rows_by_seq(demo.cold(), table, &fields).await;
        for (seq, message) in (1..)
            .zip(&messages)
            .filter(|(_, m)| m.subject.starts_with(&format!("{kind}.")))
        {
            let row = rows
                .get(&seq)
                .unwrap_or_else(|| panic!("message {seq} ({}) is not in cold", message.msg_id));
            for (field, _) in &fields {
                let sent = message
                    .payload
                    .get(*field)
                    .map_or_else(|| "null".into(), |raw| canonical(raw));
                let found = canonical(&row[&format!("f_{field}")]);
                assert_eq!(found, sent, "{field} of message {seq} ({})", message.msg_id);
            }
            compared += 1;
        }
    }
    assert_eq!(compared, messages.len());
    demo.stop().await.unwrap();
}

/// A demo with its own servers; they die with it.
fn run_demo(folder: &Path) -> std::process::Command {
    let mut command = crate::support::mpsync();
    command
        .args(["--output", "json", "demo", "--generate", "5000", "--data"])
        .arg(folder);
    command
        .arg("--messages")
        .arg(messages_folder())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// A report without what differs from run to run.
fn books(json: &[u8]) -> serde_json::Value {
    let mut document: serde_json::Value = serde_json::from_slice(json).unwrap();
    let mut books = document["report"]["datasets"].take();
    for account in books.as_array_mut().unwrap() {
        let account = account.as_object_mut().unwrap();
        // Sizes on disk depend on how the rows fell into parts, times on the machine.
        for differs in ["seconds", "ratio", "archive_bytes"] {
            account.remove(differs).unwrap();
        }
    }
    books
}

#[test]
fn a_demo_killed_at_any_moment_and_started_again_ends_in_the_same_table() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let whole = tempfile::tempdir().unwrap();
    let begun = std::time::Instant::now();
    let output = run_demo(whole.path()).output().unwrap();
    assert!(output.status.success());
    let length = begun.elapsed();
    let expected = books(&output.stdout);

    let killed = tempfile::tempdir().unwrap();
    for _ in 0..6 {
        let mut child = run_demo(killed.path()).spawn().unwrap();
        let after = length.mul_f64(rng.random_range(0.05..0.95));
        println!("kill after {after:?}");
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = run_demo(killed.path()).output().unwrap();
    assert!(output.status.success(), "seed {seed}");
    assert_eq!(books(&output.stdout), expected, "seed {seed}");
}
