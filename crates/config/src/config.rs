//! The checked configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mpsync_archive::ArchiveConfig;
use mpsync_clickhouse::TierConfig;
use mpsync_core::error::Result;

use crate::reading::key::Choice;
use crate::reading::problems::{Problems, nearest};
use crate::reading::raw::RawConfig;
use crate::reading::reader::{ConfigReader, Strictness};
use crate::reading::section::Section;
use crate::reading::settings::Settings;
use crate::sections::engine::EngineConfig;
use crate::sections::http::HttpConfig;
use crate::sections::ingest::{BatchLimits, IngestConfig};
use crate::sections::logging::LoggingConfig;
use crate::sections::nats::NatsConfig;
use crate::sections::sync::SyncConfig;
use crate::sections::{archive, storage};

/// The purpose of the installation, which decides how insecure settings are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    /// Insecure settings are accepted.
    #[default]
    Development,
    /// Insecure settings become warnings.
    Staging,
    /// Insecure settings are refused, unless `allow_insecure` is true: then they become warnings.
    Production,
}

impl Choice for Environment {
    const ALL: &'static [(&'static str, Self)] = &[
        ("development", Self::Development),
        ("staging", Self::Staging),
        ("production", Self::Production),
    ];
}

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The purpose of the installation.
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
    /// Every key with its value and its origin.
    pub settings: Settings,
}

impl Config {
    /// Returns the limits of a dataset's batches.
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

    /// Adds a problem for each key that names an unknown dataset.
    pub fn check_datasets(&self, known: &[&str], problems: &mut Problems) {
        for name in self.ingest.batches.keys() {
            if !known.contains(&name.as_str()) {
                let key = format!("ingest.batches.{name}");
                let similar = nearest(name, known.iter().copied());
                let hint = match similar {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!("the datasets are {}", known.join(", ")),
                };
                let text = format!("unknown dataset; {hint}");
                problems.add(self.settings.origin_below(&key), &key, text);
            }
        }
    }

    /// Checks the values of all sources. One error names all mistakes.
    pub(crate) fn from_raw(raw: RawConfig, base: &Path, problems: Problems) -> Result<Self> {
        let mut reader = ConfigReader::new(raw, base, problems);
        let mut top = Section::top(&mut reader);
        let environment = top.key("environment").choice(Environment::Development);
        let allow_insecure = top.key("allow_insecure").flag(false);
        reader.strictness = match environment {
            Environment::Development => Strictness::Silent,
            Environment::Production if !allow_insecure => Strictness::Refuse,
            Environment::Staging | Environment::Production => Strictness::Warn,
        };
        let mut config = Self {
            environment,
            nats: NatsConfig::read(&mut Section::of(&mut reader, "nats")),
            hot: storage::read(
                &mut Section::of(&mut reader, "hot_storage"),
                "marketprism_hot",
                3,
            ),
            cold: storage::read(
                &mut Section::of(&mut reader, "cold_storage"),
                "marketprism_cold",
                365,
            ),
            engine: EngineConfig::read(&mut reader),
            archive: archive::read(&mut Section::of(&mut reader, "archive")),
            ingest: IngestConfig::read(&mut Section::of(&mut reader, "ingest")),
            sync: SyncConfig::read(&mut Section::of(&mut reader, "sync")),
            http: HttpConfig::read(&mut Section::of(&mut reader, "http")),
            logging: LoggingConfig::read(&mut Section::of(&mut reader, "logging")),
            dataset_files: Section::of(&mut reader, "datasets").key("files").paths(),
            settings: Settings::default(),
        };
        let (hot, cold) = (&config.hot, &config.cold);
        if hot.url == cold.url && hot.database == cold.database {
            let text = format!(
                "hot_storage and cold_storage are the same database, {}, {}: cleanup would delete the only copy",
                hot.url, hot.database
            );
            Section::of(&mut reader, "cold_storage").wrong("clickhouse_database", text);
        }
        if let Some(text) = archive::refuse_retention(&config.archive, config.cold.retention_days) {
            Section::of(&mut reader, "archive").wrong("retention_days", text);
        }
        reader.reject_unknown_keys();
        reader.problems.into_result()?;
        config.settings = Settings {
            all: reader.settings.into(),
            warnings: reader.warnings.into_sorted().into(),
            raw: Arc::new(reader.raw),
        };
        Ok(config)
    }
}
