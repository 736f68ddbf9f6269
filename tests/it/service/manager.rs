//! Notifications to a service manager (`Type=notify`).

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::support::daemon::World;
use crate::support::{PATIENCE, until};

/// A service manager's ear.
struct Ear(UnixDatagram);

impl Ear {
    /// Waits for a message that is not of the watchdog.
    async fn hears(&self) -> String {
        let mut heard = String::new();
        until("a message to the service manager", async || {
            heard = self.next().unwrap_or_default();
            !heard.is_empty() && heard != "WATCHDOG=1\n"
        })
        .await;
        heard
    }

    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        match self.0.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(e) => panic!("{e}"),
        }
    }
}

#[tokio::test]
async fn the_service_manager_hears_of_readiness_life_each_reload_and_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_nonblocking(true).expect("it does not block");
    let ear = Ear(socket);
    let file = folder.path().join("c.yaml");
    std::fs::write(&file, "logging: {level: debug}\n").expect("written");
    let settings = [
        ("NOTIFY_SOCKET", path.to_str().expect("UTF-8")),
        // The socket buffers the heartbeats of ten seconds without a reader.
        ("WATCHDOG_USEC", "2000000"),
        ("MPSYNC_CONFIG", file.to_str().expect("UTF-8")),
    ];
    let world = World::start(&["trades"], &settings).await;
    let mut daemon = world.daemon(&["--mode", "hot", "--dataset", "trades"]);
    assert_eq!(ear.hears().await, "READY=1\n");
    until("a sign of life", async || {
        ear.next().as_deref() == Some("WATCHDOG=1\n")
    })
    .await;
    // One that is taken over and one that is not: it runs on after either.
    let mut before = 0_i64;
    for text in ["logging: {level: info}\n", "logging: {level: loud}\n"] {
        std::fs::write(&file, text).expect("written");
        daemon.signal(Signal::HUP);
        let heard = ear.hears().await;
        let at: Vec<&str> = heard.lines().collect();
        assert_eq!(at[0], "RELOADING=1", "{heard}");
        let at = at[1].strip_prefix("MONOTONIC_USEC=").expect("the clock");
        let at: i64 = at.parse().expect("a number");
        assert!(before < at, "{before} {heard}");
        before = at;
        assert_eq!(ear.hears().await, "READY=1\n");
    }
    daemon.signal(Signal::TERM);
    assert_eq!(ear.hears().await, "STOPPING=1\n");
    let ended = tokio::time::timeout(PATIENCE, daemon.ended()).await;
    assert_eq!(ended.expect("it ends").code(), Some(143));
}
