//! The commands, a thin file each: wire, run, print.

mod archive;
mod config;
mod confirm;
mod context;
mod dead_letters;
mod demo;
<<<<<<< HEAD
mod dispatch;
=======
mod doctor;
>>>>>>> daemon
mod embedded;
mod engine;
mod gc;
mod generate;
mod health;
mod inspect;
mod load;
mod man;
mod reload;
mod replay;
mod replay_target;
mod run;
mod schema;
mod selection;
mod tasks;
mod transfer;
mod verify;

<<<<<<< HEAD
pub use context::CommandContext;
pub use dispatch::{confine, run_command};
pub use load::load;
=======
/// What every command works with.
#[derive(Debug)]
pub struct CommandContext {
    /// The configuration.
    pub config: Config,
    /// The built-in datasets and the configured ones.
    pub datasets: Vec<Dataset>,
    /// What standard output is for.
    pub output: Output,
    /// The configuration where it changes while the process runs.
    pub live: Arc<LiveConfig>,
    /// The log, whose level can change; none where somebody else has set it up.
    pub logs: Option<Logs>,
    /// Cancelled by the first signal: finish what must not be left half done, and return.
    pub shutdown: CancellationToken,
}

impl CommandContext {
    /// Reads the configuration and the datasets that it names.
    pub fn load(
        output: Output,
        live: Arc<LiveConfig>,
        logs: Option<Logs>,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let config = Config::clone(&live.now());
        let datasets = datasets(&config)?;
        Ok(Self {
            config,
            datasets,
            output,
            live,
            logs,
            shutdown,
        })
    }

    /// The client of a tier.
    #[must_use]
    pub fn tier(&self, role: TierRole) -> mpsync_clickhouse::Tier {
        let config = match role {
            TierRole::Hot => &self.config.hot,
            TierRole::Cold => &self.config.cold,
        };
        mpsync_clickhouse::Tier::new(role, config)
    }
}

/// The built-in datasets and the configured ones; all that is wrong with the latter in one error.
fn datasets(config: &Config) -> Result<Vec<Dataset>> {
    let mut datasets = builtin().to_vec();
    let mut problems = Problems::default();
    for path in &config.dataset_files {
        match dataset(path) {
            Ok(dataset) => {
                datasets.retain(|known| known.name != dataset.name);
                datasets.push(dataset);
            }
            Err(e) => {
                let origin = config.settings.origin("datasets.files");
                problems.add(origin, "datasets.files", e.to_string());
            }
        }
    }
    // A file that cannot be read may be the one that names the dataset.
    if problems.is_empty() {
        let known: Vec<&str> = datasets.iter().map(|d| d.name.as_str()).collect();
        config.check_datasets(&known, &mut problems);
    }
    problems.into_result()?;
    Ok(datasets)
}

fn dataset(path: &Path) -> Result<Dataset> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|e| Error::config(format!("cannot read {}: {e}", path.display())))
    };
    let ddl = read(&path.with_extension("sql"))?;
    Dataset::from_yaml(&path.display().to_string(), &read(path)?, ddl)
}

/// The configuration of a command line; completions and man pages are written whatever it says.
pub fn load(cli: &Cli) -> Result<LiveConfig> {
    match cli.command {
        Command::Completions { .. } | Command::Man { .. } => {
            LiveConfig::load(Sources::default(), Vec::new())
        }
        _ => LiveConfig::load(sources(cli), mpsync_config::environment()?),
    }
}

fn sources(cli: &Cli) -> Sources {
    let level = cli.global.log.clone();
    let mut flags: Vec<Flag> = flag("--log", "logging.level", level).into_iter().collect();
    if let Command::Run(args) = &cli.command {
        flags.extend(run::flags(args));
    }
    Sources {
        file: cli.global.config.clone(),
        flags,
    }
}

/// A flag that says a key, where it is given.
fn flag(name: &'static str, key: &'static str, value: Option<String>) -> Option<Flag> {
    value.map(|value| Flag { name, key, value })
}

/// Runs what the command line says.
pub async fn run(
    cli: Cli,
    live: LiveConfig,
    logs: Logs,
    shutdown: CancellationToken,
) -> Result<()> {
    let output = cli.global.output;
    let live = Arc::new(live);
    let context =
        || CommandContext::load(output, live.clone(), Some(logs.clone()), shutdown.clone());
    let needs_a_tier = needs_a_tier(&cli.command);
    // Started where a command needs it and no daemon runs it; ended before the next command may look for it.
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
        Command::Dlq(args) => dead_letters::run(&stores().await?, &args).await,
        Command::Man { folder } => man::run(&folder),
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "mpsync", &mut std::io::stdout());
            Ok(())
        }
    };
    if let Some(engine) = engine {
        engine.stop().await?;
    }
    done
}

/// Whether a ClickHouse must be there.
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
        Command::Dlq(args) => matches!(args.action, DeadLettersAction::Replay { .. }),
        _ => false,
    }
}
>>>>>>> daemon
