//! `mpsync doctor` and the daemon against prepared bad servers.

use serde_json::Value;

use crate::support::daemon::World;
use crate::support::{PATIENCE, mpsync, until};

/// Runs `mpsync doctor --output json`; returns its exit code and its findings.
async fn doctor(world: &World, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let mut command = tokio::process::Command::from(mpsync());
    command
        .args(["doctor", "--output", "json"])
        .args(arguments)
        .envs(world.settings.clone())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.expect("it ends").expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let document: Value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let findings = document["findings"].as_array().expect("findings").clone();
    (output.status.code(), findings)
}

/// Returns the messages of the findings of a store and check with a severity.
fn messages(findings: &[Value], severity: &str, store: &str, check: &str) -> String {
    let found = findings.iter().filter(|finding| {
        finding["severity"] == severity && finding["store"] == store && finding["check"] == check
    });
    let texts: Vec<&str> = found.filter_map(|f| f["message"].as_str()).collect();
    texts.join("\n")
}

/// Starts servers with tables for hot and cold, and a folder for the archive.
async fn world(settings: &[(&str, &str)]) -> (World, tempfile::TempDir) {
    let mut world = World::start(&["trades", "orderbooks"], settings).await;
    let archive = tempfile::tempdir().expect("a folder");
    let port = world.clickhouse.port().to_string();
    let path = archive.path().display().to_string();
    world.set("MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT", &port);
    world.set("MPSYNC__ARCHIVE__PATH", &path);
    let applied = mpsync()
        .args(["schema", "apply", "--tier", "cold"])
        .envs(world.settings.clone())
        .status();
    assert!(applied.expect("it runs").success());
    (world, archive)
}

#[tokio::test]
async fn a_good_server_has_no_serious_finding() {
    let (world, _archive) = world(&[]).await;
    let (code, findings) = doctor(&world, &[]).await;
    assert_eq!(code, Some(0), "{findings:?}");
    for finding in &findings {
        let severity = finding["severity"].as_str().expect("a severity");
        assert!(matches!(severity, "ok" | "note"), "{finding}");
    }
    for (store, check) in [
        ("nats", "connection"),
        ("hot", "version"),
        ("hot", "settings"),
        ("hot", "drop limits"),
        ("hot", "replicas"),
        ("hot", "clock"),
        ("archive", "writable"),
        ("cold", "version"),
    ] {
        assert_ne!(
            messages(&findings, "ok", store, check),
            "",
            "{store} {check}: {findings:?}"
        );
    }
}

#[tokio::test]
async fn a_bad_server_is_named_line_by_line() {
    let (world, archive) = world(&[]).await;
    let hot = world.hot();
    let ttl = "MODIFY TTL toDateTime(timestamp) + INTERVAL 3 DAY";
    hot.execute(&format!("ALTER TABLE {} {ttl}", hot.table("trades")))
        .await
        .expect("a TTL");
    std::fs::create_dir(archive.path().join("lost+found")).expect("a folder");
    let (code, findings) = doctor(&world, &[]).await;
    assert_eq!(code, Some(1), "{findings:?}");
    let found = |severity, store, check| messages(&findings, severity, store, check);
    let text = found("refused", "hot", "ttl");
    assert!(text.contains("trades has a TTL"), "{text}");
    let text = found("warning", "archive", "foreign files");
    assert!(text.contains("lost+found"), "{text}");
    for finding in &findings {
        let is_ok = finding["severity"] == "ok";
        assert!(
            is_ok || finding["action"].is_string() || finding["severity"] == "note",
            "{finding}"
        );
    }
    // The table for people has the same lines, each with its action.
    let output = mpsync()
        .arg("doctor")
        .envs(world.settings.clone())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("refused"), "{text}");
    assert!(
        text.contains("→ remove it: ALTER TABLE trades REMOVE TTL"),
        "{text}"
    );
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_a_failure() {
    let (mut world, _archive) = world(&[]).await;
    world.clickhouse.kill();
    let (code, findings) = doctor(&world, &["--mode", "hot"]).await;
    assert_eq!(code, Some(1), "{findings:?}");
    assert_ne!(
        messages(&findings, "unreachable", "hot", "connection"),
        "",
        "{findings:?}"
    );
    assert_ne!(
        messages(&findings, "ok", "nats", "connection"),
        "",
        "{findings:?}"
    );
    assert!(findings.iter().all(|finding| finding["store"] != "cold"));
}

#[tokio::test]
async fn a_daemon_refuses_to_transfer_while_a_ttl_deletes_rows_of_hot() {
    let (world, archive) = world(&[("MPSYNC__SYNC__INTERVAL_HOURS", "0.0001")]).await;
    let hot = world.hot();
    let trades = hot.table("trades");
    hot.execute(&format!(
        "ALTER TABLE {trades} MODIFY TTL toDateTime(timestamp) + INTERVAL 3 DAY"
    ))
    .await
    .expect("a TTL");
    let daemon = world.daemon(&["--mode", "cold", "--dataset", "trades"]);
    let address = daemon.http().await[0].clone();
    let health = async || {
        let mut command = tokio::process::Command::from(mpsync());
        command.args(["health", "--url", &format!("http://{address}")]);
        let output = command.output().await.expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    until("the refusal is in /health", async || {
        let text = health().await;
        text.contains("bad  sync") && text.contains("running on could lose data")
    })
    .await;
    let text = health().await;
    assert!(
        text.contains("bad  doctor") && text.contains("trades has a TTL"),
        "{text}"
    );
    assert!(!archive.path().join("trades").exists());
    hot.execute(&format!("ALTER TABLE {trades} REMOVE TTL"))
        .await
        .expect("removed");
    until("the next run succeeds", async || {
        !health().await.contains("bad  sync")
    })
    .await;
}
