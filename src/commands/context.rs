//! The context that every command works in: configuration, datasets, clients of the tiers.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::cli::Output;
use crate::logging::Logs;
use crate::progress::Display;
use mpsync_config::{Config, LiveConfig, Problems};
use mpsync_core::dataset::{Dataset, TierRole, builtin};
use mpsync_core::error::{Error, Result};

/// The context of a command.
#[derive(Debug)]
pub struct CommandContext {
    /// The configuration.
    pub config: Config,
    /// The built-in datasets and the configured ones.
    pub datasets: Vec<Dataset>,
    /// The format of standard output.
    pub output: Output,
    /// The display of progress.
    pub display: Display,
    /// The configuration as it changes while the process runs.
    pub live: Arc<LiveConfig>,
    /// The log, whose level can change; `None` if the caller of the library has set it up.
    pub logs: Option<Logs>,
    /// Cancelled by the first signal: finish work that must not be interrupted, and return.
    pub shutdown: CancellationToken,
}

impl CommandContext {
    /// Loads the datasets that the configuration names.
    pub fn load(
        output: Output,
        display: Display,
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
            display,
            live,
            logs,
            shutdown,
        })
    }

    /// Returns a client of a tier.
    #[must_use]
    pub fn tier(&self, role: TierRole) -> mpsync_clickhouse::Tier {
        let config = match role {
            TierRole::Hot => &self.config.hot,
            TierRole::Cold => &self.config.cold,
        };
        mpsync_clickhouse::Tier::new(role, config)
    }
}

/// Returns the built-in and the configured datasets, or one error with all faults of the latter.
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
    // A file that cannot be read may be the one that defines the dataset.
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
