//! What the tests share: the program under test and the servers.

pub(crate) mod engine;
pub(crate) mod transfer;

use std::process::Command;

/// The program under test, its environment without what a developer's shell may say.
pub(crate) fn mpsync() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpsync"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MPSYNC__")) {
        command.env_remove(name);
    }
    command
        .env_remove("MPSYNC_CONFIG")
        .env_remove("LOG_LEVEL")
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
