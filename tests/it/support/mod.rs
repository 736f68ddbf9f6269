//! What the tests share: the program under test and the servers.

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
