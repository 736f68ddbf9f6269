//! Nothing is configured but NATS: the embedded engine and a local archive.

use std::path::Path;
use std::process::{Command, Output};

use super::{OFTEN, both_ready, until_stats};
use crate::http::json;
use crate::support::daemon::{Daemon, own_places};
use crate::support::mpsync;
use crate::support::nats::{NatsServer, publish};
use crate::support::trades::trade;

/// The program on a laptop whose data folder is this one.
fn on_laptop(nats: &NatsServer, data: &Path) -> Command {
    let mut command = mpsync();
    command
        .current_dir(data)
        .env("XDG_DATA_HOME", data)
        .env("MPSYNC__NATS__URL", nats.url())
        .env("MPSYNC__SYNC__INTERVAL_HOURS", OFTEN);
    command
}

fn run(nats: &NatsServer, data: &Path) -> Command {
    let mut command = on_laptop(nats, data);
    command.args(["run", "--log", "mpsync=debug"]);
    own_places(&mut command, data);
    command
}

async fn once(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output());
    output.await.expect("no panic").expect("it runs")
}

#[tokio::test]
async fn a_laptop_with_a_nats_server_needs_no_configuration() {
    let data = tempfile::tempdir().expect("a folder");
    let nats = NatsServer::start().await;
    let mut daemon = Daemon::spawn(run(&nats, data.path()), data.path().join("first.log"));
    let [address, _] = both_ready(&daemon).await;
    publish(&nats.jetstream().await, (0..300).map(trade)).await;
    let everywhere = |stats: &serde_json::Value| {
        stats["tiers"]["hot"]["rows"] == 300
            && stats["archive"]["rows"] == 300
            && stats["tiers"]["cold"]["rows"] == 300
    };
    until_stats(&address, "all rows everywhere", everywhere).await;
    let said = daemon.log();
    let place = data.path().join("mpsync/archive");
    assert!(place.join("trades").is_dir());
    for text in [
        "the embedded engine has hot and cold",
        "MPSYNC__HOT_STORAGE__CLICKHOUSE_HOST",
        place.to_str().expect("UTF-8"),
    ] {
        assert!(said.contains(text), "{text} is not in {said}");
    }
    // Commands find the engine that runs; a second daemon is refused, and told why.
    let mut verify = on_laptop(&nats, data.path());
    verify.args([
        "verify",
        "--deep",
        "--against",
        "cold",
        "--dataset",
        "trades",
    ]);
    let verified = once(verify).await;
    assert!(verified.status.success(), "{verified:?}");
    let second = once(run(&nats, data.path())).await;
    let why = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{why}");
    assert!(why.contains("--mode both"), "{why}");

    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ended().await.code(), Some(143), "{}", daemon.log());
    assert!(!data.path().join("mpsync/engine/address").exists());
    // Commands start one where none runs, and what was there is there.
    let mut sync = on_laptop(&nats, data.path());
    sync.args(["sync", "--dataset", "trades", "--output", "json"]);
    let synced = once(sync).await;
    assert!(synced.status.success(), "{synced:?}");
    let report: serde_json::Value = serde_json::from_slice(&synced.stdout).expect("JSON");
    assert_eq!(report["datasets"][0]["cold_rows"], 300, "{report}");
    let again = Daemon::spawn(run(&nats, data.path()), data.path().join("second.log"));
    let [address, _] = both_ready(&again).await;
    until_stats(&address, "what was there before", everywhere).await;
    let stats = json(&address, "/stats");
    assert_eq!(stats["ingest"]["datasets"][0]["already_held"], 0, "{stats}");
}

#[test]
fn the_configuration_that_is_shown_says_where_everything_is() {
    let data = tempfile::tempdir().expect("a folder");
    let shown = |archive: Option<&str>| {
        let mut command = mpsync();
        command.args(["config", "show", "--output", "json"]);
        command.env("XDG_DATA_HOME", data.path());
        command.envs(archive.map(|path| ("MPSYNC__ARCHIVE__PATH", path)));
        let output = command.output().expect("it runs");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let settings = json["settings"].as_array().expect("settings").clone();
        move |key: &str| {
            let found = settings.iter().find(|s| s["key"] == key);
            found.expect("the key")["value"].clone()
        }
    };
    let place = |name: &str| data.path().join("mpsync").join(name).display().to_string();
    let open = shown(None);
    assert_eq!(open("engine.folder"), place("").trim_end_matches('/'));
    assert_eq!(open("archive.path"), place("archive"));
    assert_eq!(open("ingest.dead_letter_folder"), place("dead-letters"));
    assert_eq!(shown(Some("/nas"))("archive.path"), "/nas");
    assert!(
        !data.path().join("mpsync").exists(),
        "to show makes nothing"
    );
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_named_with_the_command_that_fetches_it() {
    let data = tempfile::tempdir().expect("a folder");
    let nats = NatsServer::start().await;
    let mut command = run(&nats, data.path());
    command.env("MPSYNC_LIBCHDB", data.path().join("nothing.so"));
    let output = once(command).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for text in ["just tools", "hot_storage.clickhouse_host", "nothing.so"] {
        assert!(said.contains(text), "{text} is not in {said}");
    }
}

#[tokio::test]
async fn where_a_server_is_configured_nothing_embedded_is_started() {
    let data = tempfile::tempdir().expect("a folder");
    let nats = NatsServer::start().await;
    let port = crate::support::free_port().to_string();
    for (variable, value) in [
        ("MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT", port.as_str()),
        ("MPSYNC__ENGINE__EMBEDDED", "false"),
    ] {
        let mut command = on_laptop(&nats, data.path());
        command
            .args(["sync", "--dataset", "trades"])
            .env("MPSYNC__HOT_STORAGE__REQUEST_TIMEOUT_SECONDS", "2")
            .env(variable, value);
        if variable.contains("ENGINE") {
            // A server on the default port of this machine must not be reached.
            command.env("MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT", &port);
        }
        let output = once(command).await;
        assert!(!output.status.success(), "{output:?}");
        assert!(!data.path().join("mpsync/engine").exists(), "{variable}");
    }
}
