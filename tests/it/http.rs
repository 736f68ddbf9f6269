//! A daemon of both sides, asked over HTTP.

mod asked;
mod dead_letters;
mod tasks;
mod windows;

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::daemon::{World, dataset};
use crate::support::nats::publish;
use crate::support::trades::{check_trades, trade};
use crate::support::{PATIENCE, until};
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::TierRole;

/// Sends a request and reads its answer: status and body.
pub(crate) fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let mut socket = TcpStream::connect(address).expect("connects");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).expect("sends");
    socket.write_all(body.as_bytes()).expect("sends");
    let mut answer = String::new();
    BufReader::new(socket)
        .read_to_string(&mut answer)
        .expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    (status, body.to_owned())
}

/// Returns the answer of a route.
pub(crate) fn json(address: &str, path: &str) -> Value {
    let (_, body) = ask(address, "GET", path, "", "");
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
}

/// Servers with the trades' tables in both tiers, an archive, and a schedule of some seconds.
pub(crate) async fn world(archive: &std::path::Path) -> World {
    let mut world = World::start(&["trades"], &[]).await;
    world.set("MPSYNC__ARCHIVE__PATH", archive.to_str().expect("UTF-8"));
    world.set("MPSYNC__SYNC__INTERVAL_HOURS", "0.0005");
    let port = world.clickhouse.port().to_string();
    world.set("MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT", &port);
    let cold = Tier::new(TierRole::Cold, &world.config().cold);
    cold.apply_schema(&[dataset("trades")])
        .await
        .expect("the tables are made");
    world
}

#[tokio::test]
async fn a_daemon_of_both_sides_ingests_and_syncs_by_itself_and_says_so_over_http() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(&folder.path().join("archive")).await;
    let jetstream = world.nats.jetstream().await;
    let mut daemon = world.daemon(&["--mode", "both", "--dataset", "trades"]);
    let address = daemon.http().await[0].clone();
    until("readiness", async || {
        ask(&address, "GET", "/ready", "", "").0 == 200
    })
    .await;
    publish(&jetstream, (0..1000).map(trade)).await;
    until("all rows in the archive and in cold", async || {
        let figures = json(&address, "/stats");
        figures["archive"]["rows"] == 1000 && figures["tiers"]["cold"]["rows"] == 1000
    })
    .await;
    let figures = json(&address, "/stats");
    assert_eq!(figures["ingest"]["datasets"][0]["rows"], 1000, "{figures}");
    assert_eq!(figures["sync"]["halted"], 0, "{figures}");
    assert_eq!(figures["sync"]["last"]["ok"], true, "{figures}");
    assert!(figures["sync"]["next_at"].is_string(), "{figures}");
    let (status, health) = ask(&address, "GET", "/health", "", "");
    assert_eq!(status, 200, "{health}");
    let (status, metrics) = ask(&address, "GET", "/metrics", "", "");
    assert_eq!(status, 200);
    for line in [
        "mpsync_ingest_rows_total{dataset=\"trades\"} 1000",
        "mpsync_tier_rows{dataset=\"trades\",tier=\"cold\"} 1000",
        "mpsync_nats_up 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    check_trades(&world, 1000).await;
    daemon.signal(rustix::process::Signal::TERM);
    let status = daemon.ended().await;
    assert!(status.success() || status.code() == Some(143), "{status}");
}

#[tokio::test]
async fn what_changes_something_needs_the_token_and_every_refusal_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = world(&folder.path().join("archive")).await;
    world.set("MPSYNC__SYNC__INTERVAL_HOURS", "10");
    let daemon = world.daemon(&["--mode", "cold", "--dataset", "trades"]);
    let address = daemon.http().await[0].clone();
    let (status, body) = ask(
        &address,
        "POST",
        "/sync",
        "Content-Type: application/json\r\n",
        "{}",
    );
    assert_eq!(status, 401, "{body}");
    let refusal: Value = serde_json::from_str(&body).expect("JSON");
    assert!(
        refusal["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("Bearer")),
        "{body}"
    );
    let right = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        world.token()
    );
    until("the first run's end", async || {
        json(&address, "/stats")["sync"]["last"]["ok"] == true
    })
    .await;
    let before = json(&address, "/stats")["sync"]["last"]["started_at"].clone();
    assert_eq!(
        ask(
            &address,
            "POST",
            "/sync",
            &right,
            r#"{"lookback_hours":24}"#
        )
        .0,
        202
    );
    until("a run that was asked for", async || {
        json(&address, "/stats")["sync"]["last"]["started_at"] != before
    })
    .await;
    for (method, path, headers, body, expected) in [
        ("POST", "/sync", right.as_str(), r#"{"lookback":24}"#, 400),
        (
            "POST",
            "/sync",
            right.as_str(),
            r#"{"lookback_hours":0}"#,
            400,
        ),
        ("POST", "/sync", right.as_str(), "{", 400),
        ("PUT", "/sync", right.as_str(), "{}", 405),
        ("GET", "/nothing", "", "", 404),
        ("GET", "/stats", "Origin: https://evil.example\r\n", "", 403),
        (
            "POST",
            "/sync",
            "Authorization: Bearer wrong\r\n",
            "{}",
            401,
        ),
    ] {
        let (status, text) = ask(&address, method, path, headers, body);
        assert_eq!(status, expected, "{method} {path}: {text}");
        let refusal: Value = serde_json::from_str(&text).expect("JSON");
        assert!(refusal["error"].is_string(), "{text}");
    }
}
