//! Names of symbols and exchanges come from outside: they are values, and never a path, a statement or a subject.

use std::collections::BTreeSet;

use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::World;
use crate::support::nats::{NatsServer, publish};
use crate::support::trades::EVENT_MILLIS;
use crate::support::transfer::output_text;

/// Returns names of symbols that an attacker may publish.
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
        "*",
        ">",
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
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        output_text(&output)
    );
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

/// All trades, by their ids: what came in is what is there.
async fn rows(world: &World) -> Vec<(String, String, String)> {
    world
        .ask("SELECT trade_id, toString(symbol), toString(exchange) FROM hot.trades")
        .await
}

/// The name that the trade of this id was given, and in which field.
fn given<'a>(names: &'a [String], id: &str) -> (&'static str, &'a str) {
    let n: usize = id.parse().expect("a number");
    let field = if n < names.len() {
        "symbol"
    } else {
        "exchange"
    };
    (field, &names[n % names.len()])
}

/// The trades as messages again, under one subject.
async fn replayed(world: &World, filter: &[&str]) -> Vec<serde_json::Value> {
    let all = ["replay", "--into", "jsonl", "--dataset", "trades"];
    let subject = ["--subject", "replay.{dataset}"];
    let text = succeed(world, &[&all[..], &subject, filter].concat()).await;
    let parse = |line: &str| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
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
    let trades = ["--dataset", "trades"];
    let apply = ["schema", "apply", "--tier", "cold"];
    succeed(&world, &[&apply[..], &trades].concat()).await;

    // Into hot: each is a row with exactly its name, or a dead letter; none is something else.
    world.drain("trades").await;
    let sent = messages(&names);
    publish(&world.nats.jetstream().await, sent.clone()).await;
    let report = world.drain("trades").await;
    let letters = report["dead_letters"].as_object().expect("reasons");
    let letters: u64 = letters.values().filter_map(serde_json::Value::as_u64).sum();
    let landed = rows(&world).await;
    assert_eq!(landed.len() as u64 + letters, sent.len() as u64);
    assert!(landed.len() > names.len(), "most can be rows: {report}");
    for (id, symbol, exchange) in &landed {
        let (field, name) = given(&names, id);
        assert_eq!(name, if field == "symbol" { symbol } else { exchange });
    }

    // To the archive and cold, and proven; nothing else is there afterwards.
    succeed(&world, &[&["sync"][..], &trades].concat()).await;
    let verify = ["verify", "--deep", "--against", "cold"];
    succeed(&world, &[&verify[..], &trades].concat()).await;
    let tables = "SELECT concat(database, '.', name) FROM system.tables \
                  WHERE startsWith(database, 'marketprism') AND engine != 'Null' ORDER BY 1";
    let tables: Vec<String> = world.ask(tables).await;
    assert_eq!(
        tables,
        ["marketprism_cold.trades", "marketprism_hot.trades"]
    );
    let sums = "SELECT count(), sum(cityHash64(tuple(*))) FROM";
    let hot: Vec<(u64, u64)> = world.ask(&format!("{sums} hot.trades")).await;
    let cold: Vec<(u64, u64)> = world.ask(&format!("{sums} marketprism_cold.trades")).await;
    assert_eq!(hot, cold);
    let mut files = BTreeSet::new();
    walk(&archive, &mut files);
    let plain = |c: char| c.is_ascii_alphanumeric() || "=-_.@".contains(c);
    files.retain(|name| !name.chars().all(plain));
    assert!(files.is_empty(), "{files:?}");

    // Out again.
    let all = replayed(&world, &[]).await;
    assert_eq!(all.len(), landed.len());
    for message in &all {
        assert_eq!(message["subject"], "replay.trades");
        let payload = &message["payload"];
        let (field, name) = given(&names, payload["trade_id"].as_str().expect("an id"));
        assert_eq!(payload[field], name, "{message}");
    }
    filters(&world, &names, &landed).await;
    subjects(&world).await;
}

/// As filters on the command line they find the rows that bear them, and no other.
async fn filters(world: &World, names: &[String], landed: &[(String, String, String)]) {
    // What a shell can pass: no zero byte; and a comma parts two names.
    let passable = |name: &&String| name.len() < 1000 && !name.contains(['\0', ',']);
    for name in names
        .iter()
        .filter(|name| !name.is_empty())
        .filter(passable)
    {
        for field in ["symbol", "exchange"] {
            let flag = format!("--{field}={name}");
            let dry = ["sync", "--dry-run", "--dataset", "trades", &flag];
            succeed(world, &dry).await;
            let found = replayed(world, &[&flag]).await;
            let bears = |m: &serde_json::Value| m["payload"][field] == name.as_str();
            assert!(found.iter().all(bears), "{flag}: {found:?}");
            let of = |row: &&(String, String, String)| {
                name == if field == "symbol" { &row.1 } else { &row.2 }
            };
            assert_eq!(found.len(), landed.iter().filter(of).count(), "{flag}");
        }
    }
}

/// In subjects that contain names, an invalid token is refused or changed: no message goes to another subject.
async fn subjects(world: &World) {
    let arguments = ["replay", "--into", "jsonl", "--dataset", "trades"];
    let output = mpsync(world, &arguments).await;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let subject = message["subject"].as_str().expect("text");
        assert!(subject.starts_with("trade."), "{subject}");
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        assert!(!subject.contains(is_odd), "{subject}");
        // A star within a longer token is none.
        assert_eq!(subject.split('.').count(), 4, "{subject}");
        assert!(!subject.split('.').any(|t| ["", "*", ">"].contains(&t)));
    }
}
