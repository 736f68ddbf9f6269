//! Secrets are in no process list, no log and no error; the archive is its owner's.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::support::transfer::{World, output_text};
use crate::support::{mpsync, nats::NatsServer};

#[test]
fn an_archive_is_closed_to_all_but_its_owner() {
    let world = World::new();
    world.insert_trades("trades", "2026-01-01 05", 1, 100);
    world.succeed(&["sync", "--dataset", "trades"]);
    let mode = std::fs::metadata(world.archive())
        .expect("the archive")
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o777,
        0o700,
        "no other user may enter the folder: {mode:o}"
    );
}

#[tokio::test]
async fn a_password_is_in_no_command_line_no_log_and_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    crate::support::write_secret(&file, "s3cretPassw0rd\n");
    let nats = NatsServer::start().await;
    // No server listens there, so the error reports all that is known about the connection.
    let port = crate::support::free_port().to_string();
    let run = |arguments: &[&str]| {
        let mut command = mpsync();
        command
            .envs([
                ("MPSYNC__NATS__URL", nats.url()),
                ("MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT", port.clone()),
                (
                    "MPSYNC__HOT_STORAGE__CLICKHOUSE_PASSWORD_FILE",
                    file.display().to_string(),
                ),
                (
                    "MPSYNC__COLD_STORAGE__CLICKHOUSE_PASSWORD",
                    "s3cretPassw0rd".to_owned(),
                ),
                ("MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT", port.clone()),
            ])
            .args(["--log", "trace"])
            .args(arguments)
            .stdin(Stdio::null());
        command
    };
    for arguments in [
        &["schema", "apply", "--tier", "hot"][..],
        &["schema", "apply", "--tier", "cold"],
        &["export", "--dataset", "trades"],
        &["config", "check"],
    ] {
        let output = run(arguments).output().expect("it runs");
        let text = output_text(&output);
        assert!(!text.contains("s3cretPassw0rd"), "{arguments:?}: {text}");
    }
    let mut daemon = run(&["run", "--mode", "hot", "--dataset", "trades"])
        .args(["--hot-listen", "127.0.0.1:0", "--token-file"])
        .arg(folder.path().join("token"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let line = std::fs::read(format!("/proc/{}/cmdline", daemon.id())).expect("it lives");
    assert!(!String::from_utf8_lossy(&line).contains("s3cret"));
    daemon.kill().expect("it can be killed");
    daemon.wait().expect("it ends");
}
