//! One thin file a verb: wire, run, print.

use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, GlobalArgs, Output};
use crate::config::Config;
use crate::dataset::{Dataset, TierRole, builtin};
use crate::error::{Error, Result};
use crate::transfer::Goal;

mod config;
mod demo;
mod dlq;
mod engine;
mod generate;
mod inspect;
mod replay;
mod run;
mod schema;
mod tasks;
mod transfer;
mod verify;

/// What every command works with.
#[derive(Debug)]
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// The built-in datasets and the configured ones.
    pub datasets: Vec<Dataset>,
    /// What standard output is for.
    pub output: Output,
    /// Cancelled by the first signal: finish what must not be left half done, and return.
    pub shutdown: CancellationToken,
}

impl Context {
    /// Reads the configuration and the datasets that it names.
    pub fn load(global: &GlobalArgs, shutdown: CancellationToken) -> Result<Self> {
        let config = Config::load(global.config.as_deref(), std::env::vars())?;
        let mut datasets = builtin().to_vec();
        for path in &config.dataset_files {
            let read = |path: &std::path::Path| {
                std::fs::read_to_string(path)
                    .map_err(|e| Error::config(format!("cannot read {}: {e}", path.display())))
            };
            let ddl = read(&path.with_extension("sql"))?;
            let dataset = Dataset::from_yaml(&path.display().to_string(), &read(path)?, ddl)?;
            datasets.retain(|known| known.name != dataset.name);
            datasets.push(dataset);
        }
        Ok(Self {
            config,
            datasets,
            output: global.output,
            shutdown,
        })
    }

    /// The client of a tier.
    #[must_use]
    pub fn tier(&self, role: TierRole) -> crate::clickhouse::Tier {
        let config = match role {
            TierRole::Hot => &self.config.hot,
            TierRole::Cold => &self.config.cold,
        };
        crate::clickhouse::Tier::new(role, config)
    }
}

/// Runs what the command line says.
pub async fn run(cli: Cli, shutdown: CancellationToken) -> Result<()> {
    let context = || Context::load(&cli.global, shutdown.clone());
    match cli.command {
        Command::Generate(args) => generate::run(&context()?, &args).await,
        Command::Schema(args) => schema::run(&context()?, &args).await,
        Command::Demo(args) => demo::run(&context()?, &args).await,
        Command::Engine(args) => engine::run(&args, shutdown).await,
        Command::Run(args) => run::run(&context()?, &args).await,
        Command::Export(args) => transfer::run(&context()?, &args, Goal::Export).await,
        Command::Import(args) => transfer::run(&context()?, &args, Goal::Import).await,
        Command::Sync(args) => transfer::run(&context()?, &args, Goal::Sync).await,
        Command::Verify(args) => verify::run(&context()?, &args).await,
        Command::Tasks(args) => tasks::run(&context()?, &args).await,
        Command::Replay(args) => replay::run(&context()?, &args).await,
        Command::Inspect(args) => inspect::run(&context()?, &args).await,
        Command::Config(args) => {
            config::run(&context()?, &args);
            Ok(())
        }
        Command::Dlq(args) => dlq::run(&context()?, &args).await,
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "mpsync", &mut std::io::stdout());
            Ok(())
        }
    }
}
