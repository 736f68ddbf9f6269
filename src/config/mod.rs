//! What the YAML and the environment say, checked: a [`Config`].
//!
//! Order of strength: environment (`MPSYNC__SECTION__KEY`), file, default. Flags are laid over it by the commands.
//! The keys `nats.url`, `hot_storage.clickhouse_host` and so on are those of the system that mpsync replaces.

mod archive;
mod raw;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Context as _, Error, Result};
pub use archive::{ArchiveConfig, ArchivePlace, S3Config, S3Credentials, S3Key};
use raw::{Overlay as _, RawConfig, RawStorage};
pub use tls::Tls;

/// Text that no log, error or debug print shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file; a line end at its end does not belong to it.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::config(format!("cannot read the secret in {}: {e}", path.display()))
        })?;
        Ok(Self(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How bodies are compressed between mpsync and a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TierCompression {
    /// Not at all: best on one machine and on fast networks.
    #[default]
    None,
    /// Cheap, for networks of a gigabit and less.
    Lz4,
    /// For slow networks.
    Zstd,
}

/// How a tier's ClickHouse is reached and how long it keeps data.
#[derive(Debug, Clone)]
pub struct TierConfig {
    /// `http://host:port` or `https://host:port`, without user and password.
    pub url: String,
    /// For `https`: authorities to trust instead of the system's.
    pub tls: Option<Tls>,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// The database of the tier's tables.
    pub database: String,
    /// The cluster for `ON CLUSTER` and Replicated tables, where there is one.
    pub cluster: Option<String>,
    /// How bodies are compressed.
    pub compression: TierCompression,
    /// How long to wait for an answer.
    pub request_timeout: Duration,
    /// For how many days rows stay at least.
    pub retention_days: u32,
    /// Rows of an insert at most.
    pub batch_rows: usize,
    /// How old the oldest row of an unfinished batch may get.
    pub flush_interval: Duration,
}

/// How NATS says who we are.
#[derive(Debug, Clone, Default)]
pub enum NatsAuth {
    /// Not at all.
    #[default]
    None,
    /// User and password.
    UserPassword(String, Secret),
    /// A token.
    Token(Secret),
    /// A file with the seed of an nkey.
    Nkey(PathBuf),
    /// A `.creds` file.
    Credentials(PathBuf),
}

/// How NATS is reached.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// One or several, separated by commas: `nats://host:4222`, `tls://host:4222`.
    pub url: String,
    /// Attempts to reconnect before giving up; `None` for ever.
    pub max_reconnect_attempts: Option<usize>,
    /// The JetStream stream of market data.
    pub stream: String,
    /// Who we are.
    pub auth: NatsAuth,
    /// A file of certificate authorities to trust instead of the system's; asks for TLS.
    pub tls_ca_file: Option<PathBuf>,
    /// Within which time JetStream refuses a message id twice, for a stream that mpsync creates.
    pub duplicate_window: Duration,
}

/// How messages become rows.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Bytes that all unfinished batches together may hold.
    pub memory_limit: usize,
    /// Bytes of a batch, about, at most.
    pub batch_bytes: usize,
    /// How long JetStream waits for an acknowledgement before it delivers again.
    pub ack_wait: Duration,
    /// The JetStream stream of dead letters.
    pub dead_letter_stream: String,
    /// The folder of dead letters that JetStream refuses, one file each; `None`: their messages are held instead.
    pub dead_letter_folder: Option<PathBuf>,
    /// Batches of single datasets that are to be other than `hot_storage` says.
    pub batches: BTreeMap<String, BatchOverride>,
    /// Among how many daemons the datasets are shared out, each whole.
    pub shards: u32,
    /// Which of them this one is, from 0.
    pub shard_index: u32,
    /// Patterns of the subjects that this daemon takes; all where there are none.
    pub filters: Vec<String>,
    /// What consumers and doors of these subjects are called.
    pub filter_name: Option<String>,
}

/// How large and how old a batch gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows at most.
    pub rows: usize,
    /// How old its oldest row may get.
    pub flush_interval: Duration,
}

/// What of a dataset's batches is other than `hot_storage` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchOverride {
    /// Rows at most.
    pub rows: Option<usize>,
    /// How old the oldest row may get.
    pub flush_interval: Option<Duration>,
}

/// When and how windows are transferred.
#[derive(Debug, Clone)]
pub struct SyncConfig {
    /// How often.
    pub interval: Duration,
    /// How many hours one run transfers at most, for each dataset.
    pub batch_hours: u32,
    /// Whether proven windows are cleaned out of hot.
    pub cleanup_enabled: bool,
    /// For how long a proven window stays in hot all the same.
    pub cleanup_delay: Duration,
    /// How long after its end a window is exported at the earliest: late messages.
    pub grace: Duration,
    /// How many windows are transferred at once.
    pub max_concurrent_transfers: usize,
}

/// Everything that can be configured, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `nats:`
    pub nats: NatsConfig,
    /// `hot_storage:`
    pub hot: TierConfig,
    /// `cold_storage:`
    pub cold: TierConfig,
    /// `archive:`
    pub archive: ArchiveConfig,
    /// `ingest:`
    pub ingest: IngestConfig,
    /// `sync:`
    pub sync: SyncConfig,
    /// YAML files of datasets beside the built-in ones.
    pub dataset_files: Vec<PathBuf>,
}

const ENV_PREFIX: &str = "MPSYNC__";

impl Config {
    /// Reads the configuration: defaults, then the file, then the environment.
    ///
    /// `environment` is handed in, so that a test need not change the process's own.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let mut raw = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| {
                    Error::config(format!(
                        "cannot read the configuration {}: {e}",
                        path.display()
                    ))
                })?;
                serde_saphyr::from_str(&text)
                    .map_err(|e| Error::config(format!("{}: {}", path.display(), first_line(&e))))?
            }
            None => RawConfig::default(),
        };
        let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
        // What the AWS tools read of the environment counts where the configuration says nothing.
        let mut aws = BTreeMap::new();
        for (name, value) in environment {
            if name.starts_with("AWS_") && !value.is_empty() {
                aws.insert(name, value);
            } else if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                raw = raw.overlay(from_environment(&name, key, &value)?);
            }
        }
        Self::check(raw, base, &aws)
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

    /// Checks what was read; paths in a file are relative to the file.
    fn check(raw: RawConfig, base: &Path, aws: &BTreeMap<String, String>) -> Result<Self> {
        let relative = |path: PathBuf| {
            if path.is_absolute() {
                path
            } else {
                base.join(path)
            }
        };
        let nats = raw.nats.unwrap_or_default();
        let archive = raw.archive.unwrap_or_default();
        let ingest = raw.ingest.unwrap_or_default();
        let sync = raw.sync.unwrap_or_default();
        let auth = nats_auth(&nats, relative)?;
        let hot = tier(
            "hot_storage",
            raw.hot_storage.unwrap_or_default(),
            "marketprism_hot",
            3,
            relative,
        )?;
        let cold = tier(
            "cold_storage",
            raw.cold_storage.unwrap_or_default(),
            "marketprism_cold",
            365,
            relative,
        )?;
        if hot.url == cold.url && hot.database == cold.database {
            return Err(Error::config(format!(
                "hot_storage and cold_storage are one and the same: {}, database {}; cleanup would delete the only copy",
                hot.url, hot.database
            )));
        }
        let config = Self {
            nats: NatsConfig {
                url: nats.url.unwrap_or_else(|| "nats://127.0.0.1:4222".into()),
                max_reconnect_attempts: match nats.max_reconnect_attempts.unwrap_or(-1) {
                    n if n < 0 => None,
                    n => Some(usize::try_from(n).unwrap_or(usize::MAX)),
                },
                stream: nats.stream.unwrap_or_else(|| "MARKET_DATA".into()),
                auth,
                tls_ca_file: nats.tls_ca_file.map(relative),
                duplicate_window: Duration::from_secs(nats.duplicate_window_seconds.unwrap_or(120)),
            },
            hot,
            cold,
            archive: archive::check(archive, relative, aws)?,
            ingest: IngestConfig {
                memory_limit: bytes(
                    "ingest.memory_limit",
                    ingest.memory_limit.unwrap_or(256 << 20),
                )?,
                batch_bytes: bytes("ingest.batch_bytes", ingest.batch_bytes.unwrap_or(16 << 20))?,
                ack_wait: Duration::from_secs(positive(
                    "ingest.ack_wait_seconds",
                    ingest.ack_wait_seconds.unwrap_or(120),
                )?),
                dead_letter_stream: ingest
                    .dead_letter_stream
                    .unwrap_or_else(|| "MPSYNC_DEAD_LETTERS".into()),
                dead_letter_folder: match ingest.dead_letter_folder {
                    Some(path) => (!path.as_os_str().is_empty()).then(|| relative(path)),
                    None => Some(PathBuf::from("mpsync-dead-letters")),
                },
                batches: batches(ingest.batches.unwrap_or_default())?,
                shards: ingest.shards.unwrap_or(1),
                shard_index: ingest.shard_index.unwrap_or(0),
                filters: ingest.filters.unwrap_or_default(),
                filter_name: ingest.filter_name,
            },
            sync: SyncConfig {
                interval: hours("sync.interval_hours", sync.interval_hours.unwrap_or(1.0))?,
                batch_hours: sync.batch_hours.unwrap_or(24),
                cleanup_enabled: sync.cleanup_enabled.unwrap_or(false),
                cleanup_delay: hours(
                    "sync.cleanup_delay_hours",
                    sync.cleanup_delay_hours.unwrap_or(24.0),
                )?,
                grace: hours(
                    "sync.grace_minutes",
                    sync.grace_minutes.unwrap_or(10.0) / 60.0,
                )?,
                max_concurrent_transfers: sync
                    .max_concurrent_transfers
                    .map_or(2, |n| n as usize)
                    .max(1),
            },
            dataset_files: raw
                .datasets
                .and_then(|d| d.files)
                .unwrap_or_default()
                .into_iter()
                .map(relative)
                .collect(),
        };
        if config.ingest.shard_index >= config.ingest.shards {
            return Err(Error::config(format!(
                "ingest.shard_index: {} is not below ingest.shards ({}); the first one is 0",
                config.ingest.shard_index, config.ingest.shards
            )));
        }
        if config.ingest.batch_bytes.saturating_mul(2) > config.ingest.memory_limit {
            return Err(Error::config(format!(
                "ingest.batch_bytes ({}) must be at most half of ingest.memory_limit ({}), or no batch could ever be finished",
                config.ingest.batch_bytes, config.ingest.memory_limit
            )));
        }
        Ok(config)
    }
}

/// One environment variable as a configuration that says nothing else.
fn from_environment(name: &str, key: &str, value: &str) -> Result<RawConfig> {
    let bad = |what: String| Error::config(format!("environment variable {name}: {what}"));
    let (section, field) = key
        .split_once("__")
        .ok_or_else(|| bad("it must be MPSYNC__SECTION__KEY".into()))?;
    let document = |value: &str| {
        format!(
            "{}:\n  {}: {value}\n",
            section.to_lowercase(),
            field.to_lowercase()
        )
    };
    let quoted = format!("'{}'", value.replace('\'', "''"));
    // A number or a list is read as such; what is neither is text, whatever YAML would make of its characters.
    serde_saphyr::from_str::<RawConfig>(&document(&quoted))
        .or_else(|_| serde_saphyr::from_str::<RawConfig>(&document(value)))
        .map_err(|e| bad(first_line(&e)))
}

/// What the YAML reader says in one line: what, and at which line and column; its drawing of the place is left out.
fn first_line(e: &serde_saphyr::Error) -> String {
    let text = e.to_string();
    let line = text.lines().next().unwrap_or(&text);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn nats_auth(nats: &raw::RawNats, relative: impl Fn(PathBuf) -> PathBuf) -> Result<NatsAuth> {
    let secret = |text: &Option<String>, file: &Option<PathBuf>| match (text, file) {
        (Some(text), _) => Ok(Some(Secret::new(text.clone()))),
        (None, Some(file)) => Secret::from_file(&relative(file.clone())).map(Some),
        (None, None) => Ok(None),
    };
    let password = secret(&nats.password, &nats.password_file)?;
    let token = secret(&nats.token, &nats.token_file)?;
    let (nkey, credentials) = (&nats.nkey_seed_file, &nats.credentials_file);
    match (&nats.user, password, token, nkey, credentials) {
        (None, None, None, None, None) => Ok(NatsAuth::None),
        (Some(user), Some(password), None, None, None) => {
            Ok(NatsAuth::UserPassword(user.clone(), password))
        }
        (None, None, Some(token), None, None) => Ok(NatsAuth::Token(token)),
        (None, None, None, Some(file), None) => Ok(NatsAuth::Nkey(relative(file.clone()))),
        (None, None, None, None, Some(file)) => Ok(NatsAuth::Credentials(relative(file.clone()))),
        _ => Err(Error::config(
            "nats: say one of user with password, token, nkey_seed_file, or credentials_file",
        )),
    }
}

fn tier(
    section: &str,
    raw: RawStorage,
    database: &str,
    retention_days: u32,
    relative: impl Fn(PathBuf) -> PathBuf,
) -> Result<TierConfig> {
    let secure = raw.clickhouse_secure.unwrap_or(false);
    let host = raw.clickhouse_host.unwrap_or_else(|| "127.0.0.1".into());
    if host.is_empty() || host.contains(['/', '@', '?', ' ']) {
        return Err(Error::config(format!(
            "{section}.clickhouse_host: `{}` is no host name",
            host.escape_debug()
        )));
    }
    let port = raw
        .clickhouse_http_port
        .unwrap_or(if secure { 8443 } else { 8123 });
    let password = match (raw.clickhouse_password, raw.clickhouse_password_file) {
        (Some(_), Some(_)) => {
            return Err(Error::config(format!(
                "{section}: say clickhouse_password or clickhouse_password_file, not both"
            )));
        }
        (Some(text), None) => Secret::new(text),
        (None, Some(file)) => Secret::from_file(&relative(file))
            .doing(|| format!("{section}.clickhouse_password_file"))?,
        (None, None) => Secret::default(),
    };
    let batch_size = raw.batch_size.unwrap_or(50_000);
    Ok(TierConfig {
        url: format!("{}://{host}:{port}", if secure { "https" } else { "http" }),
        tls: match raw.clickhouse_tls_ca_file {
            Some(_) if !secure => {
                return Err(Error::config(format!(
                    "{section}.clickhouse_tls_ca_file: without clickhouse_secure nothing is encrypted"
                )));
            }
            Some(file) => Some(
                Tls::from_ca_file(&relative(file))
                    .doing(|| format!("{section}.clickhouse_tls_ca_file"))?,
            ),
            None => None,
        },
        user: raw.clickhouse_user.unwrap_or_else(|| "default".into()),
        password,
        database: raw.clickhouse_database.unwrap_or_else(|| database.into()),
        cluster: raw.clickhouse_cluster,
        compression: raw.compression.unwrap_or_default(),
        request_timeout: Duration::from_secs(positive(
            &format!("{section}.request_timeout_seconds"),
            raw.request_timeout_seconds.unwrap_or(60),
        )?),
        retention_days: raw.retention_days.unwrap_or(retention_days),
        batch_rows: bytes(&format!("{section}.batch_size"), u64::from(batch_size))?,
        flush_interval: seconds(
            &format!("{section}.flush_interval"),
            raw.flush_interval.unwrap_or(1.0),
        )?,
    })
}

fn batches(raw: BTreeMap<String, raw::RawBatch>) -> Result<BTreeMap<String, BatchOverride>> {
    raw.into_iter()
        .map(|(dataset, raw)| {
            let key = |name| format!("ingest.batches.{dataset}.{name}");
            let limits = BatchOverride {
                rows: raw
                    .batch_size
                    .map(|rows| bytes(&key("batch_size"), u64::from(rows)))
                    .transpose()?,
                flush_interval: raw
                    .flush_interval
                    .map(|secs| seconds(&key("flush_interval"), secs))
                    .transpose()?,
            };
            Ok((dataset, limits))
        })
        .collect()
}

fn seconds(key: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|d| !d.is_zero())
        .ok_or_else(|| Error::config(format!("{key}: {value} is no number of seconds above zero")))
}

fn positive(key: &str, value: u64) -> Result<u64> {
    if value > 0 {
        Ok(value)
    } else {
        Err(Error::config(format!("{key}: it must be above zero")))
    }
}

fn bytes(key: &str, value: u64) -> Result<usize> {
    usize::try_from(positive(key, value)?)
        .map_err(|_| Error::config(format!("{key}: {value} is too large")))
}

fn hours(key: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value * 3600.0)
        .map_err(|_| Error::config(format!("{key}: {value} is no length of time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str, environment: &[(&str, &str)]) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        std::fs::write(&path, yaml).unwrap();
        Config::load(
            Some(&path),
            environment
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        )
    }

    #[test]
    fn the_keys_of_the_system_that_it_replaces_work_unchanged() {
        let yaml = "nats: {url: 'nats://n:4222', max_reconnect_attempts: 5}\n\
            hot_storage: {clickhouse_host: h, clickhouse_http_port: 8123, clickhouse_user: u, clickhouse_password: p, \
            clickhouse_database: d, retention_days: 3, batch_size: 1000, flush_interval: 2}\n\
            cold_storage: {clickhouse_host: c}\n\
            sync: {interval_hours: 6, batch_hours: 24, cleanup_enabled: true, cleanup_delay_hours: 2}\n";
        let config = load(yaml, &[]).unwrap();
        assert_eq!(config.hot.url, "http://h:8123");
        assert_eq!(config.hot.batch_rows, 1000);
        assert_eq!(config.nats.max_reconnect_attempts, Some(5));
        assert_eq!(config.sync.interval, Duration::from_hours(6));
        assert!(config.sync.cleanup_enabled);
        assert!(!format!("{config:?}").contains("\"p\""));
    }

    #[test]
    fn the_environment_is_stronger_than_the_file() {
        let config = load(
            "hot_storage: {clickhouse_host: file, batch_size: 7}\n",
            &[
                ("MPSYNC__HOT_STORAGE__CLICKHOUSE_HOST", "env"),
                ("MPSYNC__HOT_STORAGE__CLICKHOUSE_PASSWORD", "a: b # 'c'"),
            ],
        )
        .unwrap();
        assert_eq!(config.hot.url, "http://env:8123");
        assert_eq!(config.hot.batch_rows, 7);
        assert_eq!(config.hot.password.reveal(), "a: b # 'c'");
    }

    #[test]
    fn a_broken_key_says_file_line_and_name() {
        let e = load("nats:\n  url: x\nhot_storage:\n  clickhouse_hots: y\n", &[]).unwrap_err();
        let text = e.to_string();
        assert!(
            text.contains("c.yaml") && text.contains("clickhouse_hots") && text.contains('4'),
            "{text}"
        );
        assert_eq!(e.exit_code(), crate::error::ExitCode::Usage);
        let e = load("", &[("MPSYNC__HOT_STORAGE__BATCH_SIZE", "many")])
            .unwrap_err()
            .to_string();
        assert!(e.contains("MPSYNC__HOT_STORAGE__BATCH_SIZE"), "{e}");
    }

    #[test]
    fn the_example_says_the_defaults() {
        let example =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tiered_storage_config.yaml.example");
        let read = Config::load(Some(&example), []).unwrap();
        let mut defaults = Config::load(None, []).unwrap();
        let beside = example.parent().unwrap();
        let folder = defaults
            .archive
            .place
            .folder()
            .map(|path| beside.join(path));
        defaults.archive.place = ArchivePlace::Folder(folder.unwrap());
        let letters = defaults.ingest.dead_letter_folder.take().unwrap();
        defaults.ingest.dead_letter_folder = Some(beside.join(letters));
        assert_eq!(format!("{read:#?}"), format!("{defaults:#?}"));
    }

    #[test]
    fn tiers_that_are_one_and_the_same_are_refused() {
        let e = load(
            "hot_storage: {clickhouse_database: x}\ncold_storage: {clickhouse_database: x}\n",
            &[],
        )
        .unwrap_err();
        assert!(e.to_string().contains("the only copy"), "{e}");
    }
}
