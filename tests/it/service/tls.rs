//! HTTP over TLS.

use std::path::Path;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::client::{ask, closed};
use crate::support::daemon::World;
use crate::support::tls::{Files, authority};
use crate::support::until;

/// The beginning of a TLS client's first message.
const HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
];

/// Servers for a daemon that shows a certificate, with the limits that are given.
async fn world(files: &Files, limits: &[(&str, &str)]) -> World {
    let path = |path: &Path| path.display().to_string();
    let (certificate, key) = (path(&files.certificate), path(&files.key));
    let mut settings = vec![
        ("MPSYNC__HTTP__TLS_CERT_FILE", certificate.as_str()),
        ("MPSYNC__HTTP__TLS_KEY_FILE", key.as_str()),
    ];
    settings.extend(limits);
    World::start(&["trades"], &settings).await
}

async fn hanging(address: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("connects");
    socket.write_all(HELLO).await.expect("sends");
    socket
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_one_of_the_connections_and_its_time_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = authority().written(folder.path());
    // Time enough for the test to end before: what closes the third is the limit.
    let limits = [
        ("MPSYNC__HTTP__MAX_CONNECTIONS", "2"),
        ("MPSYNC__HTTP__HEAD_TIMEOUT_SECONDS", "3600"),
    ];
    let mut world = world(&files, &limits).await;
    let daemon = world.daemon(&["--mode", "hot", "--dataset", "trades"]);
    let full = daemon.http().await[0].clone();
    let mut first = hanging(&full).await;
    let _second = hanging(&full).await;
    // Beyond the limit, a new connection replaces the one that has been idle the longest.
    let _third = TcpStream::connect(&full).await.expect("connects");
    closed(&mut first).await;
    until("a client after one that went", async || {
        let answer = ask(&full, Some(&files.ca), "GET", "/health", "").await;
        answer.is_ok()
    })
    .await;
    daemon.kill();
    world.set("MPSYNC__HTTP__HEAD_TIMEOUT_SECONDS", "0.2");
    let daemon = world.daemon(&["--mode", "hot", "--dataset", "trades"]);
    let short = daemon.http().await[0].clone();
    let mut silent = TcpStream::connect(&short).await.expect("connects");
    let mut half = hanging(&short).await;
    closed(&mut silent).await;
    closed(&mut half).await;
}

#[tokio::test]
async fn a_daemon_speaks_tls_and_takes_a_renewed_certificate_over_on_sighup() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (authority(), authority());
    let files = old.written(folder.path());
    let elsewhere = tempfile::tempdir().expect("a folder");
    let of_new = new.written(elsewhere.path());
    let world = world(&files, &[]).await;
    let daemon = world.daemon(&["--mode", "both", "--dataset", "trades"]);
    until("both addresses", async || daemon.http().await.len() == 2).await;
    let token = format!("Authorization: Bearer {}\r\n", world.token());
    for address in daemon.http().await {
        let status = async |method: &str, path: &str, headers: &str| {
            let answer = ask(&address, Some(&files.ca), method, path, headers).await;
            answer.expect("an answer").0
        };
        assert_eq!(status("GET", "/stats", "").await, 200);
        assert_eq!(status("POST", "/sync", "").await, 401);
        assert_ne!(status("POST", "/sync", &token).await, 401);
        assert!(
            ask(&address, Some(&of_new.ca), "GET", "/stats", "")
                .await
                .is_err()
        );
        assert!(ask(&address, None, "GET", "/stats", "").await.is_err());
    }
    let address = daemon.http().await[0].clone();
    let knows = async |ca: &Path| ask(&address, Some(ca), "GET", "/stats", "").await.is_ok();
    // A broken one changes nothing.
    std::fs::write(&files.key, "no key").expect("written");
    daemon.signal(Signal::HUP);
    until("the refusal", async || {
        daemon.log().contains("cannot reload the configuration")
    })
    .await;
    assert!(knows(&files.ca).await);
    let trusted = tempfile::tempdir().expect("a folder");
    let of_old = old.written(trusted.path());
    new.written(folder.path());
    daemon.signal(Signal::HUP);
    until("the new certificate", async || knows(&of_new.ca).await).await;
    assert!(!knows(&of_old.ca).await);
}
