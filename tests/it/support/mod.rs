//! What the tests share: the program under test, servers, messages.

pub(crate) mod breaker;
pub(crate) mod clickhouse;
pub(crate) mod daemon;
pub(crate) mod engine;
/// The store that the crate's own tests use, too.
#[path = "../../../src/archive/faults.rs"]
pub(crate) mod faults;
pub(crate) mod nats;
pub(crate) mod s3;
pub(crate) mod tls;
pub(crate) mod trades;
pub(crate) mod transfer;

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives it up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

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
    let options = mpsync::demo::Options {
        folder: folder.to_owned(),
        messages: messages_folder(),
        generate,
        seed: 1,
    };
    let config = mpsync::config::Config::load(None, []).unwrap();
    let datasets = mpsync::dataset::builtin().to_vec();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_mpsync"));
    mpsync::demo::Demo::start(program, options, datasets, config)
        .await
        .unwrap()
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

/// A port that is free now, for a server that must come back on the same one.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Asks until the answer is yes; panics when patience ends.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
