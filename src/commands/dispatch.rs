//! Runs the command that a command line names, with an embedded engine if it needs one.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::context::CommandContext;
use super::{
    config, dead_letters, demo, doctor, embedded, engine, gc, generate, health, inspect, man,
    replay, run, schema, tasks, transfer, verify,
};
use crate::cli::{Cli, Command, DeadLettersAction, ReplayTarget, SchemaAction};
use crate::logging::Logs;
use crate::output;
use crate::progress::Display;
use mpsync_config::LiveConfig;
use mpsync_core::error::{Error, Result};
use mpsync_transfer::Goal;

/// Confines the process of a command that needs little of the system. For a process without other threads.
pub fn confine(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Engine(args) => engine::confine(args),
        _ => Ok(()),
    }
}

/// Runs the command of a command line.
pub async fn run_command(
    cli: Cli,
    live: LiveConfig,
    logs: Logs,
    shutdown: CancellationToken,
) -> Result<()> {
    let (output, display) = (cli.global.output, Display::of(&cli));
    let live = Arc::new(live);
    let context = || {
        CommandContext::load(
            output,
            display,
            live.clone(),
            Some(logs.clone()),
            shutdown.clone(),
        )
    };
    let needs_a_tier = needs_a_tier(&cli.command);
    // Started if the command needs it and no daemon runs it; stopped before another command can look for it.
    let mut engine = None;
    let mut stores = async || {
        let mut context = context()?;
        engine = embedded::reach(&mut context, needs_a_tier).await?;
        Ok::<_, Error>(context)
    };
    let done = match cli.command {
        Command::Generate(args) => generate::run(&context()?, &args).await,
        Command::Schema(args) => schema::run(&stores().await?, &args).await,
        Command::Demo(args) => demo::run(&context()?, &args).await,
        Command::Engine(args) => engine::run(&args, shutdown).await,
        Command::Doctor(args) => doctor::run(&stores().await?, &args).await,
        Command::Health(args) => health::run(&context()?, &args).await,
        Command::Run(args) => run::run(context()?, &args).await,
        Command::Export(args) => transfer::run(&stores().await?, &args, Goal::Export).await,
        Command::Import(args) => transfer::run(&stores().await?, &args, Goal::Import).await,
        Command::Sync(args) => transfer::run(&stores().await?, &args, Goal::Sync).await,
        Command::Verify(args) => verify::run(&stores().await?, &args).await,
        Command::Gc(args) => gc::run(&stores().await?, &args).await,
        Command::Tasks(args) => tasks::run(&stores().await?, &args).await,
        Command::Replay(args) => replay::run(&stores().await?, &args).await,
        Command::Inspect(args) => inspect::run(&stores().await?, &args).await,
        Command::Config(args) => {
            let mut context = context()?;
            embedded::settle(&mut context.config)?;
            config::run(&context, &args);
            Ok(())
        }
        Command::DeadLetters(args) => dead_letters::run(&stores().await?, &args).await,
        Command::Man { folder } => man::run(&folder),
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "mpsync", &mut script);
            output::out!("{}", String::from_utf8_lossy(&script));
            Ok(())
        }
    };
    if let Some(engine) = engine {
        engine.stop().await?;
    }
    done.and(output::finish())
}

/// Returns whether the command needs a ClickHouse server.
fn needs_a_tier(command: &Command) -> bool {
    match command {
        Command::Schema(args) => !matches!(args.action, SchemaAction::Show(_)),
        Command::Doctor(_)
        | Command::Export(_)
        | Command::Import(_)
        | Command::Sync(_)
        | Command::Gc(_) => true,
        Command::Verify(args) => args.against.is_some() || args.repair,
        Command::Replay(args) => args.into == ReplayTarget::Clickhouse,
        Command::DeadLetters(args) => matches!(args.action, DeadLettersAction::Replay { .. }),
        _ => false,
    }
}
