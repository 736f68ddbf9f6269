//! What flags, environment and YAML say, checked: a [`Config`].
//!
//! Order of strength: flag, environment (`MPSYNC__SECTION__KEY`), file, default. The keys `nats.url`,
//! `hot_storage.clickhouse_host` and so on are those of the system that mpsync replaces.
//!
//! A new key is a field of its section's struct and a line in that section's `read`, which says type, default and what is
//! allowed, and `.live()` where a reload changes it. The rest follows: the environment, `config show`, the report of
//! mistakes. `config/tiered_storage_config.yaml.example` must name it with its default; a test compares.

mod archive;
mod encryption;
mod engine;
mod http;
mod ingest;
mod key;
mod live;
mod logging;
mod nats;
mod problems;
mod reader;
mod schedule;
mod settings;
mod source;
mod storage;
mod sync;
#[cfg(test)]
mod tests;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use key::Choice;
use mpsync_archive::ArchiveConfig;
use mpsync_clickhouse::TierConfig;
use mpsync_core::error::{Error, Result};
use reader::{ConfigReader, Strictness};
use source::RawConfig;

pub use engine::EngineConfig;
pub use http::HttpConfig;
pub use ingest::{BatchLimits, BatchOverride, IngestConfig};
pub use key::parse_bytes;
pub use live::{LiveConfig, Reloaded};
pub use logging::{LogFormat, LogRotation, LoggingConfig, TracesConfig};
pub use nats::{NatsAuth, NatsConfig};
pub use problems::{Problem, Problems};
pub use schedule::{CronExpression, SyncSchedule};
pub use settings::{Setting, Settings};
pub use source::{Flag, Origin};
pub use sync::SyncConfig;

/// What the process runs for: what insecure settings become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    /// Insecure settings are nobody's business.
    #[default]
    Development,
    /// They are warned of.
    Staging,
    /// They are refused, unless `allow_insecure` is true: then they are warned of.
    Production,
}

impl Choice for Environment {
    const ALL: &'static [(&'static str, Self)] = &[
        ("development", Self::Development),
        ("staging", Self::Staging),
        ("production", Self::Production),
    ];
}

/// Everything that can be configured, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the process runs for.
    pub environment: Environment,
    /// `nats:`
    pub nats: NatsConfig,
    /// `hot_storage:`
    pub hot: TierConfig,
    /// `cold_storage:`
    pub cold: TierConfig,
    /// `engine:`
    pub engine: EngineConfig,
    /// `archive:`
    pub archive: ArchiveConfig,
    /// `ingest:`
    pub ingest: IngestConfig,
    /// `sync:`
    pub sync: SyncConfig,
    /// `http:`
    pub http: HttpConfig,
    /// `logging:`
    pub logging: LoggingConfig,
    /// YAML files of datasets beside the built-in ones.
    pub dataset_files: Vec<PathBuf>,
    /// Every key with its value and who said it.
    pub settings: Settings,
}

/// Where a configuration comes from; kept, so that it can be read again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file.
    pub file: Option<PathBuf>,
    /// Flags that say a key.
    pub flags: Vec<Flag>,
}

impl Config {
    /// Reads the configuration: defaults, then the file, then the environment.
    ///
    /// `environment` is handed in, so that a test need not change the process's own.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let sources = Sources {
            file: file.map(Path::to_owned),
            flags: Vec::new(),
        };
        sources.load(environment)
    }

    /// How large and how old a dataset's batches get.
    #[must_use]
    pub fn batch_limits(&self, dataset: &str) -> BatchLimits {
        let own = self
            .ingest
            .batches
            .get(dataset)
            .copied()
            .unwrap_or_default();
        BatchLimits {
            rows: own.rows.unwrap_or(self.hot.batch_rows),
            flush_interval: own.flush_interval.unwrap_or(self.hot.flush_interval),
        }
    }

    /// Adds to the problems what names a dataset that there is not.
    pub fn check_datasets(&self, known: &[&str], problems: &mut Problems) {
        for name in self.ingest.batches.keys() {
            if !known.contains(&name.as_str()) {
                let key = format!("ingest.batches.{name}");
                let meant = problems::nearest(name, known.iter().copied());
                let hint = match meant {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("there are {}", known.join(", ")),
                };
                let what = format!("there is no such dataset; {hint}");
                problems.add(self.settings.origin_below(&key), &key, what);
            }
        }
    }

    /// What was said, checked; all that is wrong with it in one error.
    fn of(raw: RawConfig, base: &Path, problems: Problems) -> Result<Self> {
        let mut reader = ConfigReader::new(raw, base, problems);
        let mut top = reader.top();
        let environment = top.key("environment").choice(Environment::Development);
        let allow_insecure = top.key("allow_insecure").flag(false);
        reader.strictness = match environment {
            Environment::Development => Strictness::Silent,
            Environment::Production if !allow_insecure => Strictness::Refuse,
            Environment::Staging | Environment::Production => Strictness::Warn,
        };
        let mut config = Self {
            environment,
            nats: NatsConfig::read(&mut reader.section("nats")),
            hot: storage::read(&mut reader.section("hot_storage"), "marketprism_hot", 3),
            cold: storage::read(&mut reader.section("cold_storage"), "marketprism_cold", 365),
            engine: EngineConfig::read(&mut reader),
            archive: archive::read(&mut reader.section("archive")),
            ingest: IngestConfig::read(&mut reader.section("ingest")),
            sync: SyncConfig::read(&mut reader.section("sync")),
            http: HttpConfig::read(&mut reader.section("http")),
            logging: LoggingConfig::read(&mut reader.section("logging")),
            dataset_files: reader.section("datasets").key("files").paths(),
            settings: Settings::default(),
        };
        let (hot, cold) = (&config.hot, &config.cold);
        if hot.url == cold.url && hot.database == cold.database {
            let what = format!(
                "hot_storage and cold_storage are one and the same: {}, database {}; cleanup would delete the only copy",
                hot.url, hot.database
            );
            reader
                .section("cold_storage")
                .wrong("clickhouse_database", what);
        }
        if let Some(what) = archive::refuse_retention(&config.archive, config.cold.retention_days) {
            reader.section("archive").wrong("retention_days", what);
        }
        reader.refuse_the_rest();
        reader.problems.into_result()?;
        config.settings = Settings {
            all: reader.settings.into(),
            warnings: reader.warnings.into_sorted().into(),
            raw: Arc::new(reader.raw),
        };
        Ok(config)
    }
}

impl Sources {
    /// Reads them: file, then environment, then flags.
    pub fn load(&self, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config> {
        let (raw, problems) = self.read(environment)?;
        Config::of(raw, self.base(), problems)
    }

    fn base(&self) -> &Path {
        let folder = self.file.as_deref().and_then(Path::parent);
        folder.unwrap_or(Path::new(""))
    }

    fn read(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(RawConfig, Problems)> {
        let mut problems = Problems::default();
        let mut raw = match &self.file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| {
                    let path = path.display();
                    Error::config(format!("cannot read the configuration {path}: {e}"))
                })?;
                RawConfig::file(&text, &Arc::from(path.as_path()), &mut problems)
            }
            None => RawConfig::default(),
        };
        let variables: Vec<(String, String)> = environment.into_iter().collect();
        raw.overlay_environment(variables.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        raw.overlay_flags(&self.flags);
        Ok((raw, problems))
    }
}

/// The environment of this process, as far as it concerns the configuration.
pub fn environment() -> Result<Vec<(String, String)>> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| source::concerns(name))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(Error::config(format!(
                "environment variable {name}: it is not UTF-8"
            ))),
        })
        .collect()
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |a| a.is_loopback())
}
