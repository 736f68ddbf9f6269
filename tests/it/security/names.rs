//! Names of symbols and exchanges come from outside: they are values, and never a path, a statement or a subject.

use std::collections::BTreeSet;

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::{NatsServer, publish};
use crate::support::trades::EVENT_MILLIS;
use crate::support::transfer::told;

/// What somebody who means harm may call a symbol.
fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "'; DROP TABLE trades; --",
        "\"; DROP DATABASE marketprism_hot; --",
        "` UNION SELECT 1 --",
        "../../../../etc/passwd",
        "/etc/shadow",
        "..\\..\\windows",
        "a\nb\r\nc",
        "100%' OR 1=1 %s %n %00 %2e%2e%2f",
        "{symbol:String} ${HOME} $(id) `id` |id;",
        "\\'\\\\\\0\t\u{8}",
        "\u{0} in the middle \u{0}",
        "* > . trade.>",
        "\u{202e}drowssap\u{feff}",
        "date=2020-01-01/hour=00",
        "<script>alert(1)</script>",
        "NULL",
        "",
    ]
    .map(str::to_owned)
    .into();
    names.push("x'`\"".repeat(2500));
    names
}

fn message(n: usize, symbol: &str, exchange: &str) -> (String, Vec<u8>) {
    let millis = EVENT_MILLIS + n as u64;
    let payload = serde_json::json!({
        "data_type": "trade", "exchange": exchange, "market_type": "spot", "symbol": symbol,
        "publisher": "p", "data_source": "marketprism", "ts_ms": millis, "collected_ts_ms": millis,
        "trade_id": n.to_string(), "price": "1.5", "quantity": "2", "side": "buy", "is_maker": true,
        "trade_ts_ms": millis,
    });
    (
        "trade.x.spot.y".to_owned(),
        payload.to_string().into_bytes(),
    )
}

/// Trades of hostile symbols on an honest exchange, and of an honest symbol on hostile exchanges.
fn messages(names: &[String]) -> Vec<(String, Vec<u8>)> {
    let symbols = names
        .iter()
        .enumerate()
        .map(|(n, name)| message(n, name, "binance"));
    let exchanges = names
        .iter()
        .enumerate()
        .map(|(n, name)| message(names.len() + n, "BTC-USDT", name));
    symbols.chain(exchanges).collect()
}

/// The program, with a transfer's settings.
async fn mpsync(world: &World, arguments: &[&str]) -> std::process::Output {
    let mut command = tokio::process::Command::from(crate::support::mpsync());
    command
        .envs(world.settings.clone())
        .args(arguments)
        .kill_on_drop(true);
    let ended = tokio::time::timeout(crate::support::PATIENCE, command.output()).await;
    ended.expect("it ends").expect("it runs")
}

async fn succeed(world: &World, arguments: &[&str]) -> String {
    let output = mpsync(world, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    String::from_utf8(output.stdout).expect("text")
}

fn walk(folder: &std::path::Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_str().expect("text");
        found.insert(name.to_owned());
        if path.is_dir() {
            walk(&path, found);
        }
    }
}

#[tokio::test]
async fn hostile_names_are_values_all_the_way_and_reach_no_path_and_no_statement() {
    let names = hostile();
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    let (nats, clickhouse) = tokio::join!(NatsServer::start(), ClickHouse::start());
    let port = clickhouse.port().to_string();
    let settings = [
        ("MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT", port.as_str()),
        ("MPSYNC__ARCHIVE__PATH", archive.to_str().expect("text")),
    ];
    let world = World::of(nats, clickhouse, &["trades"], &settings).await;
    let tables = "SELECT concat(database, '.', name) FROM system.tables WHERE startsWith(database, 'marketprism') ORDER BY 1";
    succeed(
        &world,
        &["schema", "apply", "--tier", "cold", "--dataset", "trades"],
    )
    .await;
    let before: Vec<String> = world.ask(tables).await;

    // Into hot: each is a row with exactly its name, or a dead letter; none is something else.
    world.drain("trades").await;
    let sent = messages(&names);
    publish(&world.nats.jetstream().await, sent.clone()).await;
    let report = world.drain("trades").await;
    let letters: u64 = report["dead_letters"]
        .as_object()
        .expect("reasons")
        .values()
        .map(|n| n.as_u64().expect("a count"))
        .sum();
    let rows: Vec<(String, String, String)> = world
        .ask("SELECT trade_id, toString(symbol), toString(exchange) FROM hot.trades")
        .await;
    assert_eq!(rows.len() as u64 + letters, sent.len() as u64);
    assert!(
        rows.len() > names.len(),
        "most of them can be rows: {report}"
    );
    for (id, symbol, exchange) in &rows {
        let n: usize = id.parse().expect("a number");
        let name = &names[n % names.len()];
        assert_eq!(name, if n < names.len() { symbol } else { exchange });
    }

    // To the archive and cold, and proven.
    succeed(&world, &["sync", "--dataset", "trades"]).await;
    succeed(
        &world,
        &[
            "verify",
            "--deep",
            "--against",
            "cold",
            "--dataset",
            "trades",
        ],
    )
    .await;
    let there: Vec<String> = world
        .ask("SELECT name FROM system.tables WHERE database = 'marketprism_cold' AND engine != 'Null'")
        .await;
    assert_eq!(there, ["trades"]);
    let hash = "sum(cityHash64(tuple(*)))";
    let hot: Vec<(u64, u64)> = world
        .ask(&format!("SELECT count(), {hash} FROM hot.trades"))
        .await;
    let cold: Vec<(u64, u64)> = world
        .ask(&format!(
            "SELECT count(), {hash} FROM marketprism_cold.trades"
        ))
        .await;
    assert_eq!(hot, cold);
    let mut files = BTreeSet::new();
    walk(&archive, &mut files);
    let plain = |c: char| c.is_ascii_alphanumeric() || "=-_.@".contains(c);
    let odd: Vec<_> = files
        .iter()
        .filter(|name| !name.chars().all(plain))
        .collect();
    assert!(odd.is_empty(), "{odd:?}");

    // As filters on the command line, which a shell would not pass with a zero byte.
    let filterable = names
        .iter()
        .filter(|name| !name.is_empty() && name.len() < 1000 && !name.contains(['\0', ',']));
    for name in filterable {
        for filter in ["--symbol", "--exchange"] {
            let flag = format!("{filter}={name}");
            succeed(&world, &["sync", "--dry-run", "--dataset", "trades", &flag]).await;
            let replayed = succeed(
                &world,
                &[
                    "replay",
                    "--into",
                    "jsonl",
                    "--dataset",
                    "trades",
                    "--subject",
                    "replay.{dataset}",
                    &flag,
                ],
            )
            .await;
            let field = filter.trim_start_matches('-');
            for line in replayed.lines() {
                let message: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert_eq!(message["payload"][field], name.as_str(), "{line}");
            }
            let landed = rows
                .iter()
                .filter(|(_, symbol, exchange)| {
                    name == if field == "symbol" { symbol } else { exchange }
                })
                .count();
            assert_eq!(replayed.lines().count(), landed, "{flag}");
        }
    }

    // Out again, into another stream whose subjects no name can choose, and in again: the same values.
    let replayed = succeed(
        &world,
        &[
            "replay",
            "--into",
            "jsonl",
            "--dataset",
            "trades",
            "--subject",
            "replay.{dataset}",
        ],
    )
    .await;
    assert_eq!(replayed.lines().count(), rows.len());
    for line in replayed.lines() {
        let message: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(message["subject"], "replay.trades");
        let n: usize = message["payload"]["trade_id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("a number");
        let field = if n < names.len() {
            "symbol"
        } else {
            "exchange"
        };
        assert_eq!(
            message["payload"][field],
            names[n % names.len()].as_str(),
            "{line}"
        );
    }
    // With the subjects made of names, a name that is none is refused or sent as one token: nothing goes elsewhere.
    let output = mpsync(
        &world,
        &["replay", "--into", "jsonl", "--dataset", "trades"],
    )
    .await;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let subject = message["subject"].as_str().expect("text");
        assert!(subject.starts_with("trade."), "{subject}");
        assert!(
            !subject.contains(char::is_whitespace) && !subject.contains(['*', '>']),
            "{subject}"
        );
    }
    let after: Vec<String> = world.ask(tables).await;
    let lost: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
