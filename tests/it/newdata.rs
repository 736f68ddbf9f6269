//! A kind of data that is not built in needs no code: candles, from NATS to cold, by a YAML and a DDL file.

use std::path::Path;
use std::process::Output;

use mpsync_clickhouse::Tier;
use mpsync_core::dataset::TierRole;

use crate::support::daemon::World;
use crate::support::nats::publish;

async fn run(config: &Path, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(crate::support::mpsync());
    command
        .arg("--config")
        .arg(config)
        .args(arguments)
        .kill_on_drop(true);
    let ended = tokio::time::timeout(crate::support::PATIENCE, command.output()).await;
    ended.expect("it ends").expect("it runs")
}

async fn succeed(config: &Path, arguments: &[&str]) -> String {
    let output = run(config, arguments).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The Nth candle, a minute each. Every third spells its prices out, every fifth leaves the number of trades away.
fn candle(n: u64) -> (String, serde_json::Value) {
    let mut candle = serde_json::json!({
        "data_type": "candle", "exchange": "okx", "market_type": "spot", "interval": "1m",
        "open_ts_ms": 1_760_000_400_000 + n * 60_000, "v": format!("{n}.000000000000000001"), "closed": n.is_multiple_of(2),
    });
    let names = if n.is_multiple_of(3) {
        ["open", "high", "low", "close"]
    } else {
        ["o", "h", "l", "c"]
    };
    for (name, add) in names.into_iter().zip([100, 120, 90, 110]) {
        candle[name] = format!("{}.25", n + add).into();
    }
    if !n.is_multiple_of(5) {
        candle["trades"] = (n * 7).into();
    }
    (format!("candle.okx.spot.COIN{}-USDT.1m", n % 4), candle)
}

#[derive(Debug, PartialEq, clickhouse::Row, serde::Deserialize)]
struct Row {
    millis: i64,
    symbol: String,
    interval: String,
    open: String,
    high: String,
    low: String,
    close: String,
    volume: String,
    trades: Option<u64>,
    is_closed: Option<bool>,
}

fn expected(n: u64) -> Row {
    let price = |add: u64| format!("{}.25", n + add);
    Row {
        millis: 1_760_000_400_000 + i64::try_from(n).expect("small") * 60_000,
        symbol: format!("COIN{}-USDT", n % 4),
        interval: "1m".into(),
        open: price(100),
        high: price(120),
        low: price(90),
        close: price(110),
        volume: format!("{n}.000000000000000001"),
        trades: (!n.is_multiple_of(5)).then_some(n * 7),
        is_closed: Some(n.is_multiple_of(2)),
    }
}

const CANDLES: u64 = 600;

#[tokio::test]
async fn candles_go_from_nats_to_cold_by_a_yaml_and_a_ddl_file_alone() {
    let world = World::start(&[], &[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema");
    for file in ["candles.yaml", "candles.sql"] {
        std::fs::copy(schema.join(file), folder.path().join(file)).expect("copied");
    }
    let config = folder.path().join("mpsync.yaml");
    let port = world.clickhouse.port();
    let yaml = format!(
        "nats: {{url: '{}'}}\nhot_storage: {{clickhouse_http_port: {port}}}\ncold_storage: {{clickhouse_http_port: {port}}}\n\
         archive: {{path: archive}}\ndatasets: {{files: [candles.yaml]}}\n",
        world.nats.url()
    );
    std::fs::write(&config, yaml).expect("written");
    for tier in ["hot", "cold"] {
        succeed(
            &config,
            &["schema", "apply", "--tier", tier, "--dataset", "candles"],
        )
        .await;
    }

    // The sample fits, by the DDL and by the live table.
    let sample = folder.path().join("sample.jsonl");
    let line = |n| {
        let (subject, payload) = candle(n);
        format!(
            "{}\n",
            serde_json::json!({"subject": subject, "msg_id": n.to_string(), "payload": payload})
        )
    };
    std::fs::write(&sample, (0..20).map(line).collect::<String>()).expect("written");
    let sample = sample.to_str().expect("text");
    let told = succeed(&config, &["schema", "check", "--sample", sample]).await;
    assert!(told.contains("candles: 20 messages, 20 rows"), "{told}");
    assert!(
        told.contains("no field fills quote_volume, collected_at"),
        "{told}"
    );
    succeed(
        &config,
        &[
            "schema",
            "check",
            "--tier",
            "hot",
            "--dataset",
            "candles",
            "--sample",
            sample,
        ],
    )
    .await;

    succeed(&config, &["run", "--drain", "--dataset", "candles"]).await;
    let messages = (0..CANDLES)
        .map(candle)
        .map(|(s, p)| (s, p.to_string().into_bytes()));
    publish(&world.nats.jetstream().await, messages).await;
    let told = succeed(&config, &["run", "--drain", "--dataset", "candles"]).await;
    assert!(told.contains("candles: 600 messages, 600 rows"), "{told}");
    succeed(&config, &["sync", "--cleanup", "--dataset", "candles"]).await;
    succeed(
        &config,
        &[
            "verify",
            "--deep",
            "--dataset",
            "candles",
            "--against",
            "cold",
        ],
    )
    .await;

    let settings = mpsync_config::Config::load(Some(&config), []).expect("a configuration");
    let cold = Tier::new(TierRole::Cold, &settings.cold);
    let rows: Vec<Row> = cold
        .query(
            "SELECT toUnixTimestamp64Milli(timestamp) AS millis, toString(symbol) AS symbol, toString(interval) AS interval, \
             toString(open) AS open, toString(high) AS high, toString(low) AS low, toString(close) AS close, \
             toString(volume) AS volume, trades, is_closed FROM marketprism_cold.candles ORDER BY timestamp",
        )
        .fetch_all()
        .await
        .expect("rows");
    assert_eq!(rows.len() as u64, CANDLES);
    for (n, row) in (0..).zip(rows) {
        assert_eq!(row, expected(n));
    }
    assert_eq!(world.count("candles").await, 0, "hot is clean");
    what_is_replayed_is_ingested_to_the_same_rows(&config, folder.path(), &cold).await;
}

async fn what_is_replayed_is_ingested_to_the_same_rows(config: &Path, folder: &Path, cold: &Tier) {
    let lines = folder.join("replayed.jsonl");
    let lines = lines.to_str().expect("text");
    let into = ["--into", "jsonl", "--file", lines];
    succeed(
        config,
        &[&["replay", "--dataset", "candles"][..], &into].concat(),
    )
    .await;
    succeed(config, &["generate", "--into-live", "--from", lines]).await;
    succeed(config, &["run", "--drain", "--dataset", "candles"]).await;
    let fingerprint = async |database: &str| {
        let sql = format!(
            "SELECT concat(toString(count()), ' ', toString(sum(cityHash64(tuple(* EXCEPT (stream_epoch, stream_seq, created_at)))))) \
             FROM {database}.candles"
        );
        let found: String = cold.query(&sql).fetch_one().await.expect("a fingerprint");
        found
    };
    let again = fingerprint("marketprism_hot").await;
    assert_eq!(again, fingerprint("marketprism_cold").await);
    assert!(again.starts_with(&format!("{CANDLES} ")), "{again}");
}

#[tokio::test]
async fn a_sample_that_does_not_fit_is_told_field_by_field_and_exits_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = folder.path().join("sample.jsonl");
    std::fs::write(
        &sample,
        "{\"subject\":\"trade.okx.spot.X\",\"msg_id\":\"1\",\"payload\":{\"ts_ms\":1760000000000,\"venue\":\"A\",\"price\":\"x\"}}\n\
         {\"subject\":\"weather.berlin\",\"msg_id\":\"2\",\"payload\":{}}\n",
    )
    .expect("written");
    let sample = sample.to_str().expect("text");
    let config = folder.path().join("empty.yaml");
    std::fs::write(&config, "").expect("written");
    let output = run(
        &config,
        &["schema", "check", "--output", "json", "--sample", sample],
    )
    .await;
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let trades = &json["datasets"][0];
    assert_eq!(
        trades["unknown_fields"]["venue"]["example"], "\"A\"",
        "{json}"
    );
    assert_eq!(trades["rows"], 0, "{json}");
    assert_eq!(
        json["foreign_subjects"]["weather.berlin"]["messages"], 1,
        "{json}"
    );
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages/deribit.jsonl");
    let told = succeed(
        &config,
        &["schema", "check", "--sample", real.to_str().expect("text")],
    )
    .await;
    assert!(
        told.contains("open_interests: 89 messages, 89 rows"),
        "{told}"
    );
}

#[tokio::test]
async fn a_sample_may_come_from_standard_input() {
    use tokio::io::AsyncWriteExt as _;
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages/deribit.jsonl");
    let real = std::fs::read(real).expect("the fixture");
    let mut child = tokio::process::Command::from(crate::support::mpsync())
        .args(["schema", "check", "--sample", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("its input");
    let feeding = tokio::spawn(async move { input.write_all(&real).await });
    let ended = tokio::time::timeout(crate::support::PATIENCE, child.wait_with_output()).await;
    let output = ended.expect("it ends").expect("it runs");
    feeding.await.expect("fed").expect("all was read");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("open_interests: 89 messages, 89 rows"),
        "{told}"
    );
}
