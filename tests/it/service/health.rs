//! `mpsync health`, as a container runs it.

use std::future::pending;
use std::process::Output;
use std::sync::Arc;

use mpsync_config::Config;
use mpsync_daemon::{
    Access, ApiState, DaemonState, DataSources, HttpLimits, Listening, Mode, serve,
};
use mpsync_net::Secret;

use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::tls::authority;
use crate::support::trades::trade;
use crate::support::{PATIENCE, free_port, mpsync, until};

async fn health(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::from(mpsync());
    command
        .args(["health", "--timeout", "300"])
        .args(arguments)
        .envs(environment.iter().copied())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    ended.expect("it ends").expect("it runs")
}

fn output_text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// It ends with this code and says all of `said`.
async fn ends(arguments: &[&str], environment: &[(&str, &str)], code: i32, said: &[&str]) {
    let output = health(arguments, environment).await;
    let text = output_text(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for part in said {
        assert!(text.contains(part), "{arguments:?}: {part}: {text}");
    }
}

#[tokio::test]
async fn a_daemon_s_health_is_a_line_a_check_and_an_exit_code() {
    let world = World::start(&["trades"], &[]).await;
    let daemon = world.daemon(&["--mode", "hot", "--dataset", "trades"]);
    let address = daemon.http().await[0].clone();
    let url = format!("http://{address}");
    until("hot and nats were asked", async || {
        let output = health(&["--url", &url], &[]).await;
        let text = output_text(&output);
        output.status.success() && text.contains("ok   nats") && text.contains("ok   hot")
    })
    .await;
    let output = health(&["--url", &url, "--output", "json"], &[]).await;
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["mode"], "hot", "{document}");
    assert!(
        document["checks"]
            .as_array()
            .is_some_and(|checks| checks.len() > 1)
    );
    // As a container asks: by the configuration that the daemon has.
    let configured = [("MPSYNC__HTTP__HOT_LISTEN", address.as_str())];
    ends(&[], &configured, 0, &["(hot)"]).await;
    let everywhere = format!("0.0.0.0:{}", address.rsplit_once(':').expect("a port").1);
    let configured = [
        ("MPSYNC__HTTP__COLD_LISTEN", everywhere.as_str()),
        ("STORAGE_MODE", "cold"),
    ];
    ends(&[], &configured, 0, &["(hot)"]).await;
    // A server that is not a daemon, a port without a listener, and addresses that cannot be used.
    let clickhouse = format!("http://127.0.0.1:{}", world.clickhouse.port());
    ends(
        &["--url", &clickhouse],
        &[],
        1,
        &["not that of an mpsync daemon"],
    )
    .await;
    let nobody = format!("http://127.0.0.1:{}", free_port());
    ends(
        &["--url", &nobody],
        &[],
        1,
        &["no answer", "is it running?"],
    )
    .await;
    ends(&["--url", "https://u:p@h"], &[], 2, &["without login"]).await;
    let any = [("MPSYNC__HTTP__HOT_LISTEN", "127.0.0.1:0")];
    ends(
        &[],
        &any,
        2,
        &["the port of http.hot_listen is chosen at start"],
    )
    .await;
}

#[tokio::test]
async fn a_daemon_that_is_down_says_why_and_exits_1() {
    let config = Config::load(None, []).expect("the defaults");
    let places = DataSources::new(Arc::new(config.clone()), Arc::new(Vec::new()));
    let state = DaemonState::new(Mode::Cold, None, Some("every 1h".into()));
    state.succeeded("cold", Some(0.001));
    state.free("archive", 5);
    let listening = Listening::on("127.0.0.1:0".parse().expect("an address")).await;
    let listening = listening.expect("it listens");
    let url = format!("http://{}", listening.address().expect("an address"));
    let access = Access {
        token: Secret::new("token"),
        token_file: None,
        require_token_for_reads: true,
        hosts: Vec::new(),
    };
    let limits = HttpLimits::from(&config.http);
    let state = ApiState::new(state, places);
    tokio::spawn(serve(listening, state, access, limits, None, pending()));
    let said = [
        "ok   cold",
        "bad  disk:archive",
        "down (cold)",
        "only 5 bytes are free",
        "is down",
    ];
    ends(&["--url", &url], &[], 1, &said).await;
}

#[tokio::test]
async fn unusually_many_dead_letters_degrade_and_are_grouped_by_reason() {
    let world = World::start(&["trades"], &[]).await;
    let daemon = world.daemon(&["--mode", "hot", "--dataset", "trades"]);
    let url = format!("http://{}", daemon.http().await[0]);
    let jetstream = world.nats.jetstream().await;
    until("the daemon has created the stream", async || {
        jetstream.get_stream("MARKET_DATA").await.is_ok()
    })
    .await;
    publish(&jetstream, (0..2000).map(trade)).await;
    let bad = (0..12).map(|n| (format!("trade.x.y.z{n}"), b"no JSON".to_vec()));
    publish(&jetstream, bad).await;
    until("the dead letters are in /health", async || {
        let output = health(&["--url", &url], &[]).await;
        let text = output_text(&output);
        assert!(output.status.success(), "{text}");
        text.contains("bad  dead-letters")
            && text.contains("degraded (hot)")
            && text.contains("12 × ")
    })
    .await;
}

#[tokio::test]
async fn over_tls_a_daemon_is_known_by_its_authority_or_by_its_own_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = authority().written(folder.path());
    let elsewhere = tempfile::tempdir().expect("a folder");
    let other = authority().written(elsewhere.path());
    let path = |path: &std::path::Path| path.display().to_string();
    let (certificate, key, ca) = (path(&files.certificate), path(&files.key), path(&files.ca));
    let settings = [
        ("MPSYNC__HTTP__TLS_CERT_FILE", certificate.as_str()),
        ("MPSYNC__HTTP__TLS_KEY_FILE", key.as_str()),
    ];
    let world = World::start(&["trades"], &settings).await;
    let daemon = world.daemon(&["--mode", "hot", "--dataset", "trades"]);
    let address = daemon.http().await[0].clone();
    let url = format!("https://{address}");
    ends(&["--url", &url, "--ca-file", &ca], &[], 0, &["(hot)"]).await;
    ends(
        &["--url", &url, "--ca-file", &path(&other.ca)],
        &[],
        1,
        &["certificate"],
    )
    .await;
    ends(&["--url", &url], &[], 1, &["certificate"]).await;
    ends(
        &["--url", &format!("http://{address}")],
        &[],
        1,
        &["no answer"],
    )
    .await;
    let listen = ("MPSYNC__HTTP__HOT_LISTEN", address.as_str());
    ends(&[], &[listen, settings[0], settings[1]], 0, &["(hot)"]).await;
    let (certificate, key) = (path(&other.certificate), path(&other.key));
    let foreign = [
        listen,
        ("MPSYNC__HTTP__TLS_CERT_FILE", &certificate),
        ("MPSYNC__HTTP__TLS_KEY_FILE", &key),
    ];
    ends(&[], &foreign, 1, &["differs from the one in", "SIGHUP"]).await;
}
