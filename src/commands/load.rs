//! Loads the configuration that a command line names, with the flags that override its keys.

use crate::cli::{Cli, Command, RunArgs};
use mpsync_config::{Flag, LiveConfig, Sources};
use mpsync_core::error::Result;

/// Loads the configuration of a command line. Completions and man pages are written without it, so that a fault does not stop
/// them.
pub fn load(cli: &Cli) -> Result<LiveConfig> {
    match cli.command {
        Command::Completions { .. } | Command::Man { .. } => {
            LiveConfig::load(Sources::default(), Vec::new())
        }
        _ => LiveConfig::load(sources(cli), mpsync_config::environment()?),
    }
}

fn sources(cli: &Cli) -> Sources {
    let mut flags: Vec<Flag> = level(cli).into_iter().collect();
    if let Command::Run(args) = &cli.command {
        flags.extend(run_flags(args));
    }
    Sources {
        file: cli.global.config.clone(),
        flags,
    }
}

/// Returns the flag that sets the log level, if one is given.
fn level(cli: &Cli) -> Option<Flag> {
    const KEY: &str = "logging.level";
    let global = &cli.global;
    let (name, level) = match global.verbose {
        _ if global.quiet => ("--quiet", "error"),
        0 => return flag("--log", KEY, global.log.clone()),
        1 => ("--verbose", "info"),
        _ => ("--verbose", "info,mpsync=debug"),
    };
    flag(name, KEY, Some(level.to_owned()))
}

/// Returns the flag that overrides a configuration key, if it is given.
fn flag(name: &'static str, key: &'static str, value: Option<String>) -> Option<Flag> {
    value.map(|value| Flag { name, key, value })
}

/// Returns the flags of `mpsync run` that override configuration keys.
fn run_flags(args: &RunArgs) -> impl Iterator<Item = Flag> {
    let text = |address: Option<std::net::SocketAddr>| address.map(|address| address.to_string());
    let hosts = (!args.allowed_hosts.is_empty()).then(|| args.allowed_hosts.join(","));
    [
        flag("--hot-listen", "http.hot_listen", text(args.hot_listen)),
        flag("--cold-listen", "http.cold_listen", text(args.cold_listen)),
        flag("--token-file", "http.token_file", args.token_file.clone()),
        flag("--allow-host", "http.allow_hosts", hosts),
    ]
    .into_iter()
    .flatten()
}
