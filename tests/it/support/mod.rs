//! Shared code of the tests: the program under test, servers, messages.

pub(crate) mod added_settings;
pub(crate) mod breaker;
pub(crate) mod clickhouse;
pub(crate) mod daemon;
pub(crate) mod engine;
pub(crate) mod nats;
pub(crate) mod profile;
pub(crate) mod s3;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod trades;
pub(crate) mod transfer;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives it up. It only ends what hangs: a busy machine must never come near it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// The program under test.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_mpsync"))
}

/// The program under test, its environment without what a developer's shell may say.
pub(crate) fn mpsync() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpsync"));
    for (name, _) in std::env::vars()
        .filter(|(name, _)| name.starts_with("MPSYNC__") || name.starts_with("AWS_"))
    {
        command.env_remove(name);
    }
    command
        .env_remove("MPSYNC_CONFIG")
        .env_remove("LOG_LEVEL")
        .env_remove("ENVIRONMENT")
        .env_remove("STORAGE_MODE")
        .env("COLUMNS", "120");
    command
}

/// The folder of the real messages.
pub(crate) fn messages_folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages")
}

/// A demo with its own servers below `folder`, in this process but for the servers.
pub(crate) async fn start_demo(folder: &std::path::Path, generate: u64) -> mpsync::demo::Demo {
    let options = mpsync::demo::DemoOptions {
        folder: folder.to_owned(),
        messages: messages_folder(),
        generate,
        seed: 1,
    };
    let config = mpsync_config::Config::load(None, []).unwrap();
    let datasets = mpsync_core::dataset::builtin().to_vec();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_mpsync"));
    mpsync::demo::Demo::start(program, options, datasets, config)
        .await
        .unwrap()
}

/// Writes a file with a secret, which only its owner can read: the program refuses others.
pub(crate) fn write_secret(path: &Path, text: impl AsRef<[u8]>) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("written");
    let permissions = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, permissions).expect("permissions");
}

/// Sends a signal to a child that runs; nothing where it does not.
pub(crate) fn signal(child: Option<&Child>, signal: Signal) {
    let pid = child
        .and_then(|child| i32::try_from(child.id()).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process(pid, signal).expect("the process is there");
    }
}

/// Returns an unused port for a server that must come back on the same one; never the same twice.
///
/// It lies below those that the system gives to connections: one of them could be taken while the server is down, and even by
/// the client that tries to reach it, which then is connected with itself.
pub(crate) fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    const LOWEST: u16 = 10_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let of_connections = range.ok().and_then(|range| {
        let lowest = range.split_whitespace().next()?;
        lowest.parse::<u16>().ok()
    });
    let ports = of_connections.unwrap_or(32_768).saturating_sub(LOWEST);
    for _ in 0..ports {
        // Another run of the tests on this machine begins elsewhere.
        let begin = std::process::id().wrapping_mul(7_919);
        let nth = begin.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed).into());
        let offset = u16::try_from(nth % u32::from(ports)).expect("below a port's range");
        if TcpListener::bind(("127.0.0.1", LOWEST + offset)).is_ok() {
            return LOWEST + offset;
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A server is to listen on this port of its own, and has not ended: else its log is shown.
pub(crate) async fn until_listening(child: &mut Child, port: u16, log: &Path) {
    until(&format!("port {port} to be listened on"), async || {
        let is_there = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        if let Some(status) = child.try_wait().expect("a status") {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            panic!("the server on port {port} ended with {status}; it said:\n{log}");
        }
        is_there.is_ok()
    })
    .await;
}

/// Asks until the answer is yes; panics when patience ends.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
